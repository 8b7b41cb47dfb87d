//! What must hold after every step, whatever went wrong.

use std::collections::{BTreeMap, BTreeSet};

use mkube_model::kinds::KindTable;
use mkube_supervision::StatusNode;
use serde_json::{Value, json};

use crate::identity::Identities;
use crate::ledger::Name;
use crate::names::{Withdrawals, of_others};
use crate::paused::Paused;
use crate::replicas::{Replicas, of_jobs};
use crate::steps::Step;
use crate::world::World;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What is looked at: device and store at one moment.
pub struct Sight {
    /// Rows of `/container`.
    pub containers: Vec<Value>,
    /// Rows of `/interface/veth`.
    pub veths: Vec<Value>,
    /// Rows of `/interface/bridge/port`.
    pub ports: Vec<Value>,
    /// How often the process of each row was started, by id.
    pub starts: BTreeMap<String, u64>,
    /// What is stored of the kinds users write.
    pub stored: BTreeMap<Name, Value>,
}

/// Kinds users write.
pub const KINDS: [&str; 7] = ["Pod", "ConfigMap", "Namespace", "Deployment", "ReplicaSet", "Job", "Node"];

impl Sight {
    /// What there is now.
    pub fn of(world: &World) -> Self {
        let kinds = KindTable::builtin();
        let mut stored = BTreeMap::new();
        for (at, text) in world.store.contents_and_waiting() {
            let kind = KINDS.into_iter().find(|name| kinds.named(name).is_some_and(|kind| kind.bucket == at.bucket));
            let Some(kind) = kind else { continue };
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            stored.insert((kind, name), value);
        }
        Self {
            containers: world.device.rows("container"),
            veths: world.device.rows("interface/veth"),
            ports: world.device.rows("interface/bridge/port"),
            starts: world.device.starts(),
            stored,
        }
    }

    /// The stored objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.stored.iter().filter(move |((of, _), _)| *of == kind).map(|((_, name), value)| (name.as_str(), value))
    }
}

/// What an invariant remembers from step to step.
pub struct Watch {
    foreign: Value,
    /// The processes of pods nobody changed.
    identities: Identities,
    /// Replicas of Deployments.
    replicas: Replicas,
    /// Pods that are paused.
    paused: Paused,
    /// Names of pods that are stopped.
    withdrawals: Withdrawals,
}

type Check = fn(&mut Watch, &World, &Sight) -> Result<(), String>;

/// All of them.
const ALL: &[(&str, Check)] = &[
    ("no address is on the device twice", no_address_twice),
    ("no name is on the device twice", no_name_twice),
    ("nothing foreign is touched", nothing_foreign),
    ("what was acknowledged is stored, and what was deleted stays away", as_told),
    ("no queue is longer than its bound", queues_are_bounded),
    ("no actor panics by itself", nobody_panics),
    ("processes of pods nobody changed go on", same_processes),
    ("never fewer replicas than allowed", enough_replicas),
    ("a Job has no more pods than it may", few_pods),
    ("paused pods are not touched", hands_off),
    ("records of others are left as they are", foreign_names),
    ("names are gone before their container is stopped", names_go_first),
];

impl Watch {
    /// Begins to watch.
    pub fn new(world: &World) -> Self {
        Self {
            foreign: foreign_rows(world),
            identities: Identities::default(),
            replicas: Replicas::default(),
            paused: Paused::default(),
            withdrawals: Withdrawals::default(),
        }
    }

    /// A step is about to be done.
    pub fn step(&mut self, step: &Step) {
        self.identities.step(step);
        self.replicas.step(step);
        self.paused.step(step);
        self.withdrawals.step(step);
    }

    /// Looks whether everything holds.
    pub fn look(&mut self, world: &World) -> Result<(), Violation> {
        let sight = Sight::of(world);
        for (invariant, check) in ALL {
            check(self, world, &sight).map_err(|what| Violation { invariant, what })?;
        }
        Ok(())
    }
}

fn twice<'a>(words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    words.filter(|word| !word.is_empty()).find(|word| !seen.insert(*word))
}

/// A field of rows.
pub fn fields<'a>(rows: &'a [Value], field: &'a str) -> impl Iterator<Item = &'a str> {
    rows.iter().map(move |row| row[field].as_str().unwrap_or_default())
}

fn no_address_twice(_watch: &mut Watch, _world: &World, sight: &Sight) -> Result<(), String> {
    twice(fields(&sight.veths, "address")).map_or(Ok(()), |address| Err(format!("{address}: {:?}", sight.veths)))
}

fn no_name_twice(_watch: &mut Watch, _world: &World, sight: &Sight) -> Result<(), String> {
    let containers = twice(fields(&sight.containers, "name"));
    let found =
        containers.or_else(|| twice(fields(&sight.veths, "name"))).or_else(|| twice(fields(&sight.ports, "interface")));
    found.map_or(Ok(()), |name| Err(name.to_owned()))
}

/// Rows that are not ours, without what changes by itself.
fn foreign_rows(world: &World) -> Value {
    let of = |menu: &str, field: &str, wanted: &[&str]| -> Value {
        let rows = world
            .device
            .rows(menu)
            .into_iter()
            .filter(|row| row[field].as_str().is_some_and(|name| name.contains("theirs")));
        let row = |row: Value| -> Value { wanted.iter().map(|name| row[*name].clone()).collect() };
        rows.map(row).collect()
    };
    json!({
        "bridges": of("interface/bridge", "name", &[".id", "name", "comment"]),
        "interfaces": of("interface/veth", "name", &[".id", "name", "address", "gateway", "comment"]),
        "ports": of("interface/bridge/port", "interface", &[".id", "bridge", "interface", "comment"]),
        "environments": of("container/envs", "list", &[".id", "list", "key", "value"]),
        "mounts": of("container/mounts", "list", &[".id", "list", "src", "dst"]),
        "containers": of("container", "name", &[".id", "name", "interface", "comment", "envlists", "mountlists", "root-dir"]),
    })
}

fn nothing_foreign(watch: &mut Watch, world: &World, _sight: &Sight) -> Result<(), String> {
    let now = foreign_rows(world);
    if now == watch.foreign { Ok(()) } else { Err(format!("{now}, and was {}", watch.foreign)) }
}

fn as_told(_watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    let mut ledger = world.ledger();
    for name in ledger.names() {
        ledger.check(&name, sight.stored.get(&name))?;
    }
    Ok(())
}

fn actors(node: &StatusNode, found: &mut Vec<StatusNode>) {
    found.push(StatusNode { children: Vec::new(), ..node.clone() });
    node.children.iter().for_each(|child| actors(child, found));
}

fn all_actors(world: &World) -> Vec<StatusNode> {
    let mut found = Vec::new();
    if let Some(controller) = world.controller() {
        actors(&controller.tree.status(), &mut found);
    }
    found
}

fn queues_are_bounded(_watch: &mut Watch, world: &World, _sight: &Sight) -> Result<(), String> {
    let full = all_actors(world).into_iter().find_map(|actor| {
        let mailbox = actor.mailbox.filter(|mailbox| mailbox.in_flight > mailbox.bound)?;
        Some(format!("{}: {} of {}", actor.name, mailbox.in_flight, mailbox.bound))
    });
    full.map_or(Ok(()), Err)
}

fn nobody_panics(_watch: &mut Watch, world: &World, _sight: &Sight) -> Result<(), String> {
    let fallen = all_actors(world).into_iter().find_map(|actor| {
        let exit = actor.last_exit.filter(|exit| exit.reason == "panicked" && exit.message != "crashed on request")?;
        Some(format!("{}: {}", actor.name, exit.message))
    });
    fallen.map_or(Ok(()), Err)
}

fn same_processes(watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    watch.identities.look(world, sight)
}

fn enough_replicas(watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    watch.replicas.look(world, sight)
}

fn few_pods(_watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    of_jobs(world, sight)
}

fn hands_off(watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    watch.paused.look(world, sight)
}

fn foreign_names(_watch: &mut Watch, world: &World, _sight: &Sight) -> Result<(), String> {
    of_others(world)
}

fn names_go_first(watch: &mut Watch, world: &World, sight: &Sight) -> Result<(), String> {
    watch.withdrawals.look(world, sight)
}
