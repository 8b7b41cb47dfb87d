//! The name server of a run, and what is promised of names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::{Call, Contents, Cue, FakeClock, FakeNameServers, Release};
use mkube_model::neighbours::name_servers::RecordRow;
use mkube_model::workloads::ready_since;
use mkube_model::{metadata, names};
use serde_json::Value;

use crate::dice::Dice;
use crate::identity::{containers, lasts, map_of};
use crate::invariants::Sight;
use crate::steps::Step;
use crate::world::World;

/// Its REST address.
pub const ENDPOINT: &str = "http://10.90.0.250:8080";
/// The zone of the network.
pub const ZONE: &str = "gt.lo";
/// The zone of its addresses.
const REVERSE: &str = "0.90.10.in-addr.arpa";
/// A pod's annotation with more names for it.
pub const ALIASES: &str = "vkube.io/aliases";

/// When others made what they have, long before the run: what is younger than that may look like ours at an early release.
const LONG_AGO: &str = "2025-11-01T00:00:00.000000+00:00";

/// A server that answers again is known to do so after this time.
const KNOWN: Duration = Duration::from_secs(30);
/// What a server lost or got back is known after this time, where it tells nobody that it was started again.
const COMPARED: Duration = Duration::from_secs(660);

/// What goes wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers for a while.
    Away(Duration),
    /// The nth call of an operation goes wrong.
    Call(&'static str, u8, Cue),
    /// Somebody keeps a copy of what it has.
    Kept,
    /// It starts again with what was kept last, or else with what it had at first.
    PutBack,
    /// It starts again with nothing.
    Wiped,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(time) => write!(out, "cannot be reached for {time:?}"),
            Self::Call(operation, nth, cue) => write!(out, "call {nth} of {operation}: {cue:?}"),
            Self::Kept => write!(out, "somebody keeps a copy"),
            Self::PutBack => write!(out, "starts again with the copy"),
            Self::Wiped => write!(out, "starts again with nothing"),
        }
    }
}

/// The server, and what is there of others.
pub struct NameServer {
    /// The server.
    pub servers: Arc<FakeNameServers>,
    release: Release,
    copy: Contents,
    /// Ids of records of others.
    planted: BTreeSet<String>,
    /// What is there of others, until it is taken away or put back by hand.
    others: String,
}

impl NameServer {
    /// That of a seed: an early release for even ones. Somebody has records there already.
    pub fn new(seed: u64, clock: Arc<FakeClock>) -> Self {
        let servers = Arc::new(FakeNameServers::default());
        let release = if seed.is_multiple_of(2) { Release::Early } else { Release::Current };
        servers.add(ENDPOINT, release);
        servers.set_clock(ENDPOINT, clock);
        let mut dice = Dice::new(seed.rotate_left(32));
        let mut plants = vec![("theirs.lo", "www", "192.0.2.1"), ("theirs.lo", "alpha", "10.90.0.2")];
        if dice.once_in(2) {
            plants.push((ZONE, "printer", "10.90.0.200"));
            plants.extend(dice.once_in(2).then_some((ZONE, "alpha", "10.90.0.2")));
            plants.extend(dice.once_in(2).then_some((ZONE, "beta", "10.90.0.201")));
            plants.extend(dice.once_in(2).then_some((ZONE, "www", "10.90.0.202")));
        }
        if dice.once_in(2) {
            plants.push((REVERSE, "200", "printer.gt.lo."));
            // A current release keeps the names of addresses by itself.
            plants.extend((release == Release::Early).then_some((REVERSE, "2", "theirs.gt.lo.")));
        }
        let mut planted: BTreeSet<String> = plants
            .into_iter()
            .map(|(zone, name, data)| servers.plant_at(ENDPOINT, zone, name, data, LONG_AGO))
            .collect();
        if dice.once_in(2) {
            planted.insert(servers.plant_of(ENDPOINT, ZONE, "beta", "10.90.0.203", "mkube/elsewhere"));
        }
        if release == Release::Current {
            servers.plant_forwarder(ENDPOINT, "corp.lo", "192.0.2.53:53");
        }
        let copy = servers.backup(ENDPOINT);
        let others = others(&copy, &planted);
        Self { servers, release, copy, planted, others }
    }

    /// Something goes wrong.
    pub fn suffer(&mut self, trouble: &Trouble) {
        let servers = &self.servers;
        match trouble {
            Trouble::Away(time) => servers.go_away_for(ENDPOINT, *time),
            Trouble::Call(operation, nth, cue) => servers.at_nth(ENDPOINT, operation, (*nth).into(), cue.clone()),
            Trouble::Kept => self.copy = servers.backup(ENDPOINT),
            Trouble::PutBack => servers.restore(ENDPOINT, self.copy.clone()),
            Trouble::Wiped => servers.restore(ENDPOINT, Contents::default()),
        }
        if matches!(trouble, Trouble::PutBack | Trouble::Wiped) {
            self.others = others(&servers.backup(ENDPOINT), &self.planted);
        }
    }

    /// Nothing goes wrong any more.
    pub fn recover(&self) {
        self.servers.behave(ENDPOINT);
        self.servers.come_back(ENDPOINT);
    }

    /// Calls so far that change something.
    pub fn changes(&self) -> Vec<String> {
        let reads = ["health", "zones", "records", "forwarders"];
        let calls = self.servers.journal(ENDPOINT).into_iter().map(|(_, call)| call);
        calls.filter(|call| !reads.contains(&call.split(' ').next().unwrap_or_default())).collect()
    }

    /// Records of a type in a zone, and whether others made them.
    fn rows(&self, zone: &str, kind: &str) -> Vec<(RecordRow, bool)> {
        let rows = self.servers.rows(ENDPOINT, zone).into_iter().filter(|row| row.kind == kind);
        rows.map(|row| (self.planted.contains(&row.id), row)).map(|(theirs, row)| (row, theirs)).collect()
    }
}

/// What is there of others.
fn others(contents: &Contents, planted: &BTreeSet<String>) -> String {
    let rows: Vec<_> = contents
        .records()
        .filter(|row| planted.contains(&row.id))
        .map(|row| (contents.zone_name(&row.zone_id), row))
        .collect();
    format!("{rows:?}, {:?}", contents.forwarders())
}

/// What others have at the server is there, as they made it.
pub fn of_others(world: &World) -> Result<(), String> {
    let server = &world.names;
    let now = others(&server.servers.backup(ENDPOINT), &server.planted);
    if now == server.others { Ok(()) } else { Err(format!("{now}, and was {}", server.others)) }
}

/// The address of a pod's container.
fn address<'a>(sight: &'a Sight, pod: &str, index: usize) -> Option<&'a str> {
    let veth = names::veth_name("default", pod, index);
    let row = sight.veths.iter().find(|row| row["name"] == veth.as_str())?;
    row["address"].as_str()?.split('/').next()
}

/// Every name a pod has, and the container it leads to.
fn names_of(name: &str, pod: &Value) -> Vec<(String, usize)> {
    let of = |index: usize| containers(pod)[index]["name"].as_str().unwrap_or_default();
    let all = 0..containers(pod).len();
    let mut found = vec![(name.to_owned(), 0)];
    found.extend(all.clone().map(|index| (format!("{}.{name}", of(index)), index)));
    let aliases = metadata::annotation(pod, ALIASES).unwrap_or_default();
    for alias in aliases.split(',').filter(|alias| !alias.is_empty()) {
        let (alias, container) = alias.split_once('=').map_or((alias, None), |(alias, of)| (alias, Some(of)));
        let index = container.map_or(Some(0), |container| all.clone().find(|index| of(*index) == container));
        found.extend(index.map(|index| (alias.to_owned(), index)));
    }
    found
}

/// A container at the last look.
#[derive(Debug, Clone)]
struct Seen {
    pod: String,
    address: String,
}

/// What is remembered of the server and of containers.
#[derive(Debug, Default)]
pub struct Withdrawals {
    containers: BTreeMap<String, Seen>,
    /// Calls of the device that were looked at.
    looked_at: usize,
    /// A step did something to the server.
    shaken: Option<Duration>,
    /// Until then it may not be known what it has, or that it answers.
    unknown_until: Duration,
}

impl Withdrawals {
    /// What a step does to the server is no fault of the controller.
    pub fn step(&mut self, step: &Step) {
        if let Step::Names(trouble) = step {
            let long = matches!(trouble, Trouble::PutBack | Trouble::Wiped);
            self.shaken = self.shaken.max(Some(if long { COMPARED } else { KNOWN }));
        }
    }

    /// Nobody is sent to a container that is about to stop: its pod's names are gone by then.
    pub fn look(&mut self, world: &World, sight: &Sight) -> Result<(), String> {
        if let Some(time) = self.shaken.take() {
            self.unknown_until = self.unknown_until.max(world.now() + time);
        }
        if !world.names.servers.is_well(ENDPOINT) {
            self.unknown_until = self.unknown_until.max(world.now() + KNOWN);
        }
        let now = seen(sight);
        let calls = world.device.calls_since(self.looked_at);
        self.looked_at += calls.len();
        for call in calls.iter().filter(|call| call.operation == "POST /container/stop") {
            self.was_withdrawn(world, sight, call, &now)?;
        }
        self.containers = now;
        Ok(())
    }

    fn was_withdrawn(
        &self,
        world: &World,
        sight: &Sight,
        call: &Call,
        now: &BTreeMap<String, Seen>,
    ) -> Result<(), String> {
        let id = call.body[".id"].as_str().unwrap_or_default();
        let Some(seen) = self.containers.get(id).or_else(|| now.get(id)) else { return Ok(()) };
        // What nobody owns has no names of its own.
        let Some(pod) = sight.stored.get(&("Pod", seen.pod.clone())) else { return Ok(()) };
        if world.time_of(call.at) < self.unknown_until {
            return Ok(());
        }
        let own: BTreeSet<String> = names_of(&seen.pod, pod).into_iter().map(|(name, _)| name).collect();
        let there = world.names.servers.names_of(ENDPOINT, &seen.address, call.at);
        let found = there.iter().find(|(id, name)| own.contains(*name) && !world.names.planted.contains(*id));
        let Some((_, name)) = found else { return Ok(()) };
        Err(format!("the name {name} led to {} when that container of pod {} was stopped", seen.address, seen.pod))
    }
}

/// Containers of pods, by the id of their rows.
fn seen(sight: &Sight) -> BTreeMap<String, Seen> {
    let mut found = BTreeMap::new();
    for (name, pod) in sight.of_kind("Pod") {
        for (index, container) in containers(pod).iter().enumerate() {
            let row = names::container_name("default", name, container["name"].as_str().unwrap_or_default());
            let row = sight.containers.iter().find(|one| one["name"] == row.as_str());
            let id = row.and_then(|row| row[".id"].as_str());
            if let (Some(id), Some(address)) = (id, address(sight, name, index)) {
                found.insert(id.to_owned(), Seen { pod: name.to_owned(), address: address.to_owned() });
            }
        }
    }
    found
}

/// Names and data that must be there, and that may be.
#[derive(Default)]
struct Wanted {
    must: BTreeSet<(String, String)>,
    may: BTreeSet<(String, String)>,
}

impl Wanted {
    fn compare(&self, what: &str, rows: &[(RecordRow, bool)], pods: bool) -> Result<(), String> {
        let said: Vec<(String, String)> = rows.iter().map(|(row, _)| (row.name.clone(), row.data.clone())).collect();
        if let Some(missing) = self.must.iter().find(|one| !said.contains(one)) {
            return Err(format!("{what} {missing:?} is missing at the name server, which has {said:?}"));
        }
        let twice = said.iter().enumerate().find(|(at, one)| said[at + 1..].contains(one));
        if let Some((_, twice)) = twice {
            return Err(format!("{what} {twice:?} is there twice"));
        }
        let ours = rows.iter().zip(&said).filter(|((_, theirs), _)| !theirs).map(|(_, said)| said);
        let mut left = ours.filter(|one| !self.must.contains(one) && !self.may.contains(one));
        // A store without pods is not believed.
        match left.next().filter(|_| pods) {
            Some(left) => Err(format!("{what} {left:?} is left, and nobody wants it")),
            None => Ok(()),
        }
    }
}

/// Whether every pod that is ready is found under its names, and nobody under names of pods that are not.
pub fn names_lead_to_pods(world: &World, sight: &Sight) -> Result<(), String> {
    let (mut forward, mut back) = (Wanted::default(), Wanted::default());
    forward.must.insert(("rose1".into(), "10.90.0.1".into()));
    let taken: BTreeSet<String> =
        world.names.rows(REVERSE, "PTR").into_iter().filter(|(_, theirs)| *theirs).map(|(row, _)| row.name).collect();
    for (name, pod) in sight.of_kind("Pod") {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if ["Succeeded", "Failed"].contains(&phase) {
            continue;
        }
        let map = map_of(pod).is_none_or(|map| sight.stored.contains_key(&("ConfigMap", map.to_owned())));
        let surely = lasts(pod) && map && ready_since(pod).is_some();
        let choose = |wanted: &mut Wanted, one: (String, String)| {
            if surely {
                wanted.must.insert(one)
            } else {
                wanted.may.insert(one)
            };
        };
        // A pod that cannot be made anew, and lost its interface, says what it had.
        let said = |index: usize| pod.pointer(&format!("/status/podIPs/{index}/ip")).and_then(Value::as_str);
        let address = |index| address(sight, name, index).or_else(|| said(index).filter(|_| !surely));
        for (alias, index) in names_of(name, pod) {
            if let Some(address) = address(index) {
                choose(&mut forward, (alias, address.to_owned()));
            }
        }
        for index in 0..containers(pod).len() {
            let last = address(index).and_then(|address| address.rsplit('.').next());
            if let Some(last) = last.filter(|last| !taken.contains(*last)) {
                choose(&mut back, (last.to_owned(), format!("{name}.{ZONE}.")));
            }
        }
    }
    let pods = sight.of_kind("Pod").next().is_some();
    forward.compare("the name", &world.names.rows(ZONE, "A"), pods)?;
    if world.names.release == Release::Early {
        back.compare("the address", &world.names.rows(REVERSE, "PTR"), pods)?;
    }
    Ok(())
}
