//! Whether the processes of pods that nobody changed are still the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_fakes::{Answer, FakeTarballs};
use mkube_model::workloads::is_observed;
use mkube_model::{metadata, names};
use serde_json::Value;

use crate::invariants::Sight;
use crate::shared::Other;
use crate::steps::{ALIVE, Image, NAME_SERVERS, NAMES, Step};
use crate::workloads::Turn;
use crate::world::World;

/// What began when a ConfigMap was written comes to its end within this time, also when the ConfigMap is gone by then.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// What was sent to the device when a pod was wanted otherwise is done there within this time, also when it is wanted as before again.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// A pod as it was when everything about it was as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settled {
    /// Uid, containers and the text of its ConfigMap.
    wanted: Value,
    /// Row and number of starts of each container.
    processes: Vec<(String, u64)>,
}

/// What is remembered of each pod.
#[derive(Debug, Default)]
pub struct Identities {
    settled: BTreeMap<String, Settled>,
    /// What was wanted of each pod at the last look, and when that was last something else.
    wanted: BTreeMap<String, (Value, Option<Duration>)>,
    /// Pods to which the device did something since the last look.
    struck: BTreeSet<String>,
    /// All of them.
    all_struck: bool,
    /// ConfigMaps that users wrote or deleted since the last look.
    touched: BTreeSet<String>,
    /// When that was the last time.
    touched_at: BTreeMap<String, Duration>,
    /// The node is being emptied, or was: whoever stops and starts pods then is wanted to.
    drained: bool,
    /// Containers did not answer: those that are asked whether they live may be restarted.
    unanswered: bool,
    /// Name servers did not answer: they may be restarted, and nobody else for that.
    silent: bool,
}

/// Whether a pod has the address of a name server.
fn is_name_server(sight: &Sight, pod: &str, containers: &[Value]) -> bool {
    let rows = containers.iter().filter_map(|one| row_of(sight, pod, one["name"].as_str().unwrap_or_default()));
    let interfaces: Vec<&str> = rows.filter_map(|row| row["interface"].as_str()).collect();
    let theirs = |veth: &&Value| interfaces.contains(&veth["name"].as_str().unwrap_or_default());
    let mut addresses = sight.veths.iter().filter(theirs).filter_map(|veth| veth["address"].as_str());
    addresses.any(|address| NAME_SERVERS.contains(&address.split('/').next().unwrap_or_default()))
}

/// The row of a container of a pod.
fn row_of<'a>(sight: &'a Sight, pod: &str, container: &str) -> Option<&'a Value> {
    let name = names::container_name("default", pod, container);
    sight.containers.iter().find(|row| row["name"] == name.as_str())
}

/// Containers of a pod's spec.
pub fn containers(pod: &Value) -> &[Value] {
    pod.pointer("/spec/containers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether every container of a pod runs until somebody stops it.
pub fn lasts(pod: &Value) -> bool {
    let ends = pod.pointer("/metadata/annotations/simulation~1ends").is_some();
    !ends && containers(pod).iter().all(|one| Image::lasts(one["image"].as_str().unwrap_or_default()))
}

/// The name of the ConfigMap a pod mounts.
pub fn map_of(pod: &Value) -> Option<&str> {
    pod.pointer("/spec/volumes/0/configMap/name").and_then(Value::as_str)
}

/// Why a pod that should run does not run as it is wanted, as far as the device shows it.
pub fn unlike(world: &World, sight: &Sight, name: &str, pod: &Value) -> Option<String> {
    for (index, container) in containers(pod).iter().enumerate() {
        let container_name = container["name"].as_str().unwrap_or_default();
        let Some(row) = row_of(sight, name, container_name) else {
            return Some(format!("pod {name} has no container {container_name}"));
        };
        let file = FakeTarballs::path(container["image"].as_str().unwrap_or_default());
        if row["running"] != "true" || row["file"] != file.as_str() {
            return Some(format!("container {container_name} of pod {name} does not run {file}: {row}"));
        }
        let veth = names::veth_name("default", name, index);
        if !sight.veths.iter().any(|row| row["name"] == veth.as_str()) {
            return Some(format!("pod {name} has no interface {veth}"));
        }
        if !sight.ports.iter().any(|row| row["interface"] == veth.as_str()) {
            return Some(format!("the interface {veth} of pod {name} is no port"));
        }
    }
    let envs = world.device.rows("container/envs");
    let first = names::container_name("default", name, "c");
    let set = envs.iter().find(|row| row["list"] == first.as_str() && row["key"] == "EDIT").map(|row| &row["value"]);
    let wanted = pod.pointer("/spec/containers/0/env/0/value");
    if set != wanted {
        return Some(format!("the environment of pod {name} is {set:?}, not {wanted:?}"));
    }
    let map = map_of(pod)?;
    let text = sight.stored.get(&("ConfigMap", map.to_owned())).and_then(|map| map.pointer("/data/text"))?;
    let written = world.disk.text(&first, "config", "text");
    (written.as_deref() != text.as_str()).then(|| format!("pod {name} has {written:?} of ConfigMap {map}, not {text}"))
}

impl Identities {
    /// What a step does to processes is no fault of the controller.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::EndProcess(pod, _) | Step::RemoveBehind(pod) | Step::LoseVeth(pod) => {
                self.struck.insert((*pod).to_owned());
            }
            Step::Reboot(_) => self.all_struck = true,
            Step::WriteMap(map) | Step::DeleteMap(map) | Step::Other(Other::WriteMap(map) | Other::DeleteMap(map)) => {
                self.touched.insert((*map).to_owned());
            }
            Step::Node(Turn::Drain) => self.drained = true,
            Step::Answers(ALIVE, Answer::Bad | Answer::Hang) => self.unanswered = true,
            Step::Answers(NAMES, Answer::Bad | Answer::Hang) => self.silent = true,
            _ => {}
        }
    }

    /// Compares with the last look.
    pub fn look(&mut self, world: &World, sight: &Sight) -> Result<(), String> {
        let struck = std::mem::take(&mut self.struck);
        let all_struck = std::mem::take(&mut self.all_struck) || self.drained;
        let before = std::mem::take(&mut self.settled);
        let wanted_before = std::mem::take(&mut self.wanted);
        self.touched_at.extend(std::mem::take(&mut self.touched).into_iter().map(|map| (map, world.now())));
        if world.is_store_lost() {
            // What others wrote is heard of when the store is back.
            self.touched_at.values_mut().for_each(|at| *at = world.now());
        }
        for (name, pod) in sight.of_kind("Pod") {
            let text = map_of(pod)
                .and_then(|map| sight.stored.get(&("ConfigMap", map.to_owned())))
                .map(|map| map["data"].clone());
            let wanted = serde_json::json!([metadata::uid(pod), pod["spec"]["containers"], &text]);
            let processes: Vec<(String, u64)> = containers(pod)
                .iter()
                .filter_map(|container| {
                    let id = row_of(sight, name, container["name"].as_str()?)?[".id"].as_str()?.to_owned();
                    let starts = sight.starts.get(&id).copied().unwrap_or(0);
                    Some((id, starts))
                })
                .collect();
            let changed_at = match wanted_before.get(name) {
                Some((was, at)) if *was == wanted && !world.is_store_lost() => *at,
                Some((was, at)) if *was == wanted => at.map(|_| world.now()),
                Some(_) => Some(world.now()),
                None => None,
            };
            self.wanted.insert(name.to_owned(), (wanted.clone(), changed_at));
            let may_be_struck = changed_at.is_some_and(|at| world.now() < at + IN_FLIGHT);
            let now = Settled { wanted, processes };
            let watched = containers(pod).iter().any(|one| one.get("livenessProbe").is_some()) && self.unanswered;
            let watched = watched || (self.silent && is_name_server(sight, name, containers(pod)));
            // A pod may be on its way to what its ConfigMap said before that was gone.
            let may_follow = text.is_none()
                && map_of(pod).and_then(|map| self.touched_at.get(map)).is_some_and(|at| world.now() < *at + UNDER_WAY);
            let fair = !struck.contains(name) && !all_struck && !watched && !may_follow && !metadata::is_deleting(pod);
            if let Some(before) =
                before.get(name).filter(|before| fair && before.wanted == now.wanted && **before != now)
            {
                return Err(format!("pod {name} had {:?} and has {:?}", before.processes, now.processes));
            }
            let unchanged = before.get(name) == Some(&now) && fair;
            // A pod that took another's name has the other's container for a while, which may look like its own.
            let is_its_own = is_observed(pod) && !metadata::is_deleting(pod) && !may_be_struck;
            let settled = lasts(pod) && is_its_own && !may_follow && unlike(world, sight, name, pod).is_none();
            if settled {
                self.settled.insert(name.to_owned(), now);
            } else if unchanged && lasts(pod) && was_stopped(sight, name, pod) {
                return Err(format!("pod {name} was stopped though nobody asked for it"));
            }
        }
        Ok(())
    }
}

/// Whether a row of a pod does not run.
fn was_stopped(sight: &Sight, name: &str, pod: &Value) -> bool {
    let rows = containers(pod).iter().filter_map(|one| row_of(sight, name, one["name"].as_str().unwrap_or_default()));
    rows.into_iter().any(|row| row["running"] != "true")
}
