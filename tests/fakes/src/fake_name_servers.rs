//! Name servers in memory, of an early or a current release, that fail on cue, lose what they had, and come back with what
//! they had once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::name_servers::{
    CreatedRecord, ForwarderRow, NameFault, NameServers, NewRecord, Origin, RecordRow, ServerHealth, ZoneRow,
};
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::time::{Instant, sleep};

use crate::cue::{Cue, Cues};

/// What a server keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Neither whose a record is, nor the names of addresses, nor forwarders over REST.
    Early,
    /// All of it.
    Current,
}

/// What a server has. Kept by tests as a backup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    zones: BTreeMap<String, (String, u64)>,
    records: BTreeMap<String, RecordRow>,
    forwarders: BTreeMap<String, Vec<String>>,
}

impl Contents {
    /// Records of all zones, in order of their ids.
    pub fn records(&self) -> impl Iterator<Item = &RecordRow> {
        self.records.values()
    }

    /// Whom it asks for other zones.
    pub fn forwarders(&self) -> &BTreeMap<String, Vec<String>> {
        &self.forwarders
    }

    /// The name of a zone.
    pub fn zone_name(&self, id: &str) -> Option<&str> {
        self.zones.get(id).map(|(name, _)| name.as_str())
    }
}

/// An address was written or taken away: when, the record, its name and what it says from then on.
type Turn = (Instant, String, Option<(String, String)>);

struct OneServer {
    release: Release,
    contents: Contents,
    cues: Cues,
    away: bool,
    away_until: Option<Instant>,
    latency: Duration,
    made: u64,
    started: Instant,
    calls: Vec<(Instant, String)>,
    turns: Vec<Turn>,
    clock: Option<Arc<dyn WallClock>>,
}

impl OneServer {
    fn id(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}-{:06}", self.made)
    }

    /// The time of day, as the servers write it.
    fn today(&self) -> String {
        self.clock.as_ref().map_or_else(|| NOW.to_owned(), |clock| clock.now().to_string())
    }

    fn turned(&mut self, id: &str) {
        let row = self.contents.records.get(id).filter(|row| row.kind == "A" && row.enabled);
        let says = row.map(|row| (row.name.clone(), row.data.clone()));
        self.turns.push((Instant::now(), id.to_owned(), says));
    }

    fn is_away(&self) -> bool {
        self.away || self.away_until.is_some_and(|until| Instant::now() < until)
    }

    fn bump(&mut self, zone_id: &str) {
        if let Some((_, serial)) = self.contents.zones.get_mut(zone_id) {
            *serial += 1;
        }
    }

    fn make_zone(&mut self, name: &str) -> ZoneRow {
        let id = self.id("zone");
        self.contents.zones.insert(id.clone(), (name.to_owned(), 2_026_030_100));
        ZoneRow { id, name: name.to_owned(), serial: 2_026_030_100 }
    }

    fn make(&mut self, zone_id: &str, new: &NewRecord, at: &str) -> RecordRow {
        let id = self.id("record");
        let current = self.release == Release::Current;
        let origin = match (current, new.origin.as_str()) {
            (false, _) => Origin::NotKept,
            (true, "") => Origin::Unsaid,
            (true, origin) => Origin::Named(origin.to_owned()),
        };
        let row = RecordRow {
            id: id.clone(),
            zone_id: zone_id.to_owned(),
            name: new.name.clone(),
            kind: new.kind.to_owned(),
            data: new.data.clone(),
            ttl: new.ttl,
            enabled: true,
            watched: false,
            origin,
            source: current.then(|| "manual".to_owned()),
            created_at: at.to_owned(),
        };
        self.contents.records.insert(id.clone(), row.clone());
        self.turned(&id);
        self.bump(zone_id);
        if current && new.kind == "A" {
            self.name_the_address(zone_id, new, at);
        }
        row
    }

    /// One name for each address, whoever wrote last.
    fn name_the_address(&mut self, zone_id: &str, new: &NewRecord, at: &str) {
        let parts: Vec<&str> = new.data.split('.').collect();
        let [a, b, c, d] = parts[..] else { return };
        let zone = self.contents.zones.get(zone_id).map(|(name, _)| name.clone()).unwrap_or_default();
        let reverse = format!("{c}.{b}.{a}.in-addr.arpa");
        let known = self.contents.zones.iter().find(|(_, (name, _))| *name == reverse).map(|(id, _)| id.clone());
        let id = known.unwrap_or_else(|| self.make_zone(&reverse).id);
        self.contents.records.retain(|_, row| row.zone_id != id || row.name != d);
        let data = format!("{}.{zone}.", new.name);
        let name = NewRecord { name: d.to_owned(), kind: "PTR", data, ttl: new.ttl, origin: String::new() };
        self.make(&id, &name, at);
    }
}

/// Name servers, by endpoint.
#[derive(Default)]
pub struct FakeNameServers(Mutex<BTreeMap<String, OneServer>>);

/// Times as the servers write them; tests may plant others.
const NOW: &str = "2026-01-01T00:00:00.000000+00:00";

impl FakeNameServers {
    fn inner(&self) -> MutexGuard<'_, BTreeMap<String, OneServer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, endpoint: &str, work: impl FnOnce(&mut OneServer) -> T) -> T {
        let mut inner = self.inner();
        work(inner.get_mut(endpoint).unwrap_or_else(|| panic!("there is no name server {endpoint}")))
    }

    /// A server without anything.
    pub fn add(&self, endpoint: &str, release: Release) {
        let server = OneServer {
            release,
            contents: Contents::default(),
            cues: Cues::default(),
            away: false,
            away_until: None,
            latency: Duration::ZERO,
            made: 0,
            started: Instant::now(),
            calls: Vec::new(),
            turns: Vec::new(),
            clock: None,
        };
        self.inner().insert(endpoint.to_owned(), server);
    }

    /// Whether there is such a server.
    pub fn has(&self, endpoint: &str) -> bool {
        self.inner().contains_key(endpoint)
    }

    /// The `nth` call (from 1, counted from now) of an operation goes wrong. Operations are named as the methods are.
    pub fn at_nth(&self, endpoint: &str, operation: &str, nth: usize, cue: Cue) {
        self.with(endpoint, |server| server.cues.nth(operation, nth, cue));
    }

    /// Every call of an operation goes wrong, until [`FakeNameServers::behave`].
    pub fn at_every(&self, endpoint: &str, operation: &str, cue: Cue) {
        self.with(endpoint, |server| server.cues.every(operation, cue));
    }

    /// Nothing goes wrong any more.
    pub fn behave(&self, endpoint: &str) {
        self.with(endpoint, |server| server.cues.clear());
    }

    /// Nobody answers, or somebody does again.
    pub fn set_away(&self, endpoint: &str, away: bool) {
        self.with(endpoint, |server| server.away = away);
    }

    /// Nobody answers for so long.
    pub fn go_away_for(&self, endpoint: &str, time: Duration) {
        self.with(endpoint, |server| server.away_until = server.away_until.max(Some(Instant::now() + time)));
    }

    /// It answers again.
    pub fn come_back(&self, endpoint: &str) {
        self.with(endpoint, |server| (server.away, server.away_until) = (false, None));
    }

    /// Whether somebody answers there, and no call is to go wrong.
    pub fn is_well(&self, endpoint: &str) -> bool {
        self.with(endpoint, |server| !server.is_away() && server.cues.is_empty())
    }

    /// It writes the time of this clock beside what is made there.
    pub fn set_clock(&self, endpoint: &str, clock: Arc<dyn WallClock>) {
        self.with(endpoint, |server| server.clock = Some(clock));
    }

    /// Every answer takes so long.
    pub fn set_latency(&self, endpoint: &str, latency: Duration) {
        self.with(endpoint, |server| server.latency = latency);
    }

    /// What it has.
    pub fn backup(&self, endpoint: &str) -> Contents {
        self.with(endpoint, |server| server.contents.clone())
    }

    /// It is started again with that.
    pub fn restore(&self, endpoint: &str, contents: Contents) {
        self.with(endpoint, |server| {
            let before = std::mem::replace(&mut server.contents, contents);
            let ids: BTreeSet<String> =
                before.records.into_keys().chain(server.contents.records.keys().cloned()).collect();
            ids.iter().for_each(|id| server.turned(id));
            server.started = Instant::now();
        });
    }

    /// Somebody makes a zone by hand; its id.
    pub fn plant_zone(&self, endpoint: &str, zone: &str) -> String {
        self.with(endpoint, |server| server.make_zone(zone).id)
    }

    /// Somebody makes a record by hand; its id.
    pub fn plant(&self, endpoint: &str, zone: &str, name: &str, data: &str) -> String {
        self.plant_at(endpoint, zone, name, data, NOW)
    }

    /// The same, at a time.
    pub fn plant_at(&self, endpoint: &str, zone: &str, name: &str, data: &str, at: &str) -> String {
        self.plant_as(endpoint, zone, name, data, at, "")
    }

    /// Another program makes a record, and says so.
    pub fn plant_of(&self, endpoint: &str, zone: &str, name: &str, data: &str, origin: &str) -> String {
        self.plant_as(endpoint, zone, name, data, NOW, origin)
    }

    fn plant_as(&self, endpoint: &str, zone: &str, name: &str, data: &str, at: &str, origin: &str) -> String {
        self.with(endpoint, |server| {
            let known = server.contents.zones.iter().find(|(_, (known, _))| known == zone).map(|(id, _)| id.clone());
            let id = known.unwrap_or_else(|| server.make_zone(zone).id);
            let kind = if data.ends_with('.') { "PTR" } else { "A" };
            let new =
                NewRecord { name: name.to_owned(), kind, data: data.to_owned(), ttl: 300, origin: origin.to_owned() };
            server.make(&id, &new, at).id
        })
    }

    /// Somebody makes a forwarder by hand.
    pub fn plant_forwarder(&self, endpoint: &str, zone: &str, server: &str) {
        self.with(endpoint, |one| one.contents.forwarders.insert(zone.to_owned(), vec![server.to_owned()]));
    }

    /// Data of a name, sorted; with doubles, if there are.
    pub fn data(&self, endpoint: &str, zone: &str, name: &str) -> Vec<String> {
        let rows = self.rows(endpoint, zone);
        let mut data: Vec<String> = rows.into_iter().filter(|row| row.name == name).map(|row| row.data).collect();
        data.sort();
        data
    }

    /// Records of a zone.
    pub fn rows(&self, endpoint: &str, zone: &str) -> Vec<RecordRow> {
        self.with(endpoint, |server| {
            let ids: Vec<&String> =
                server.contents.zones.iter().filter(|(_, (name, _))| name == zone).map(|(id, _)| id).collect();
            server.contents.records.values().filter(|row| ids.contains(&&row.zone_id)).cloned().collect()
        })
    }

    /// Names of its zones.
    pub fn zone_names(&self, endpoint: &str) -> Vec<String> {
        self.with(endpoint, |server| {
            let mut names: Vec<String> = server.contents.zones.values().map(|(name, _)| name.clone()).collect();
            names.sort();
            names
        })
    }

    /// Its forwarders.
    pub fn forwarder_table(&self, endpoint: &str) -> BTreeMap<String, Vec<String>> {
        self.with(endpoint, |server| server.contents.forwarders.clone())
    }

    /// Calls so far but those after its health: the operation, and what it was about.
    pub fn calls(&self, endpoint: &str) -> Vec<String> {
        self.with(endpoint, |server| {
            let calls = server.calls.iter().map(|(_, call)| call);
            calls.filter(|call| *call != "health").cloned().collect()
        })
    }

    /// All calls so far, and when they came.
    pub fn journal(&self, endpoint: &str) -> Vec<(Instant, String)> {
        self.with(endpoint, |server| server.calls.clone())
    }

    /// The names that had this address at a moment, when everything was done that happened at it.
    pub fn names_of(&self, endpoint: &str, address: &str, at: Instant) -> BTreeMap<String, String> {
        self.with(endpoint, |server| {
            let mut names = BTreeMap::new();
            for (_, id, says) in server.turns.iter().take_while(|(when, ..)| *when <= at) {
                match says.as_ref().filter(|(_, data)| data == address) {
                    Some((name, _)) => drop(names.insert(id.clone(), name.clone())),
                    None => drop(names.remove(id)),
                }
            }
            names
        })
    }

    /// Questions after its health so far.
    pub fn health_calls(&self, endpoint: &str) -> usize {
        self.with(endpoint, |server| server.calls.iter().filter(|(_, call)| call == "health").count())
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.inner().values_mut().for_each(|server| server.calls.clear());
    }

    /// One call: what the cue makes of it.
    async fn call<T>(
        &self,
        endpoint: &str,
        operation: &str,
        about: &str,
        work: impl FnOnce(&mut OneServer) -> Result<T, NameFault>,
    ) -> Result<T, NameFault> {
        let found = self.inner().get_mut(endpoint).map(|server| {
            let text = if about.is_empty() { operation.to_owned() } else { format!("{operation} {about}") };
            server.calls.push((Instant::now(), text));
            (server.cues.take(operation), server.is_away(), server.latency)
        });
        let Some((cue, away, latency)) = found else { return Err(NameFault::Away("no such host".into())) };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        if away {
            return Err(NameFault::Away("connection refused".into()));
        }
        match cue {
            None => self.with(endpoint, work),
            Some(Cue::Unreachable) => Err(NameFault::Away("connection refused".into())),
            Some(Cue::LoseRequest) => Err(NameFault::Unknown("no answer in time".into())),
            Some(Cue::Refuse(words)) => Err(NameFault::Refused(words.to_owned())),
            Some(Cue::DoneYet500) => {
                let _ = self.with(endpoint, work);
                Err(NameFault::Unknown("500: internal server error".into()))
            }
            Some(Cue::Late(pause)) => {
                let done = self.with(endpoint, work);
                sleep(pause).await;
                done
            }
            Some(_) => {
                let _ = self.with(endpoint, work);
                Err(NameFault::Unknown("the connection ended".into()))
            }
        }
    }
}

#[async_trait]
impl NameServers for FakeNameServers {
    async fn health(&self, endpoint: &str) -> Result<ServerHealth, NameFault> {
        self.call(endpoint, "health", "", |server| {
            let current = server.release == Release::Current;
            Ok(ServerHealth {
                version: if current { "0.9.1" } else { "0.1.0" }.to_owned(),
                zones: Some(server.contents.zones.len() as u64),
                uptime: current.then(|| server.started.elapsed().as_secs()),
            })
        })
        .await
    }

    async fn zones(&self, endpoint: &str) -> Result<Vec<ZoneRow>, NameFault> {
        self.call(endpoint, "zones", "", |server| {
            let row = |(id, (name, serial)): (&String, &(String, u64))| ZoneRow {
                id: id.clone(),
                name: name.clone(),
                serial: *serial,
            };
            Ok(server.contents.zones.iter().map(row).collect())
        })
        .await
    }

    async fn create_zone(&self, endpoint: &str, name: &str) -> Result<ZoneRow, NameFault> {
        self.call(endpoint, "create_zone", name, |server| {
            if server.contents.zones.values().any(|(known, _)| known == name) {
                return Err(NameFault::Exists(format!("duplicate zone: {name}")));
            }
            Ok(server.make_zone(name))
        })
        .await
    }

    async fn records(&self, endpoint: &str, zone_id: &str) -> Result<Vec<RecordRow>, NameFault> {
        self.call(endpoint, "records", zone_id, |server| {
            if !server.contents.zones.contains_key(zone_id) {
                return Err(NameFault::NotFound("zone not found".into()));
            }
            Ok(server.contents.records.values().filter(|row| row.zone_id == zone_id).cloned().collect())
        })
        .await
    }

    async fn create_record(&self, endpoint: &str, zone_id: &str, new: &NewRecord) -> Result<CreatedRecord, NameFault> {
        let about = format!("{} {}", new.name, new.data);
        self.call(endpoint, "create_record", &about, |server| {
            if !server.contents.zones.contains_key(zone_id) {
                return Err(NameFault::NotFound("zone not found".into()));
            }
            let equal = |row: &&RecordRow| {
                row.zone_id == zone_id
                    && row.name == new.name
                    && row.kind == new.kind
                    && row.data == new.data
                    && row.enabled
            };
            if let Some(row) = server.contents.records.values().find(equal) {
                return Ok(CreatedRecord { row: row.clone(), new: false });
            }
            let today = server.today();
            Ok(CreatedRecord { row: server.make(zone_id, new, &today), new: true })
        })
        .await
    }

    async fn update_record(&self, endpoint: &str, row: &RecordRow) -> Result<RecordRow, NameFault> {
        let about = format!("{} {}", row.name, row.data);
        self.call(endpoint, "update_record", &about, |server| {
            let Some(known) = server.contents.records.get_mut(&row.id) else {
                return Err(NameFault::NotFound("record not found".into()));
            };
            (known.data, known.ttl, known.enabled) = (row.data.clone(), row.ttl, row.enabled);
            let known = known.clone();
            server.turned(&known.id);
            server.bump(&known.zone_id);
            Ok(known)
        })
        .await
    }

    async fn delete_record(&self, endpoint: &str, zone_id: &str, id: &str) -> Result<(), NameFault> {
        self.call(endpoint, "delete_record", id, |server| {
            server.bump(zone_id);
            let removed = server.contents.records.remove(id);
            server.turned(id);
            removed.map(drop).ok_or_else(|| NameFault::NotFound("record not found".into()))
        })
        .await
    }

    async fn forwarders(&self, endpoint: &str) -> Result<Vec<ForwarderRow>, NameFault> {
        self.call(endpoint, "forwarders", "", |server| {
            if server.release == Release::Early {
                return Err(NameFault::Unsupported("404".into()));
            }
            let row = |(zone, servers): (&String, &Vec<String>)| ForwarderRow {
                zone: zone.clone(),
                servers: servers.clone(),
            };
            Ok(server.contents.forwarders.iter().map(row).collect())
        })
        .await
    }

    async fn put_forwarder(&self, endpoint: &str, row: &ForwarderRow) -> Result<ForwarderRow, NameFault> {
        self.call(endpoint, "put_forwarder", &row.zone, |server| {
            server.contents.forwarders.insert(row.zone.clone(), row.servers.clone());
            Ok(row.clone())
        })
        .await
    }

    async fn delete_forwarder(&self, endpoint: &str, zone: &str) -> Result<(), NameFault> {
        self.call(endpoint, "delete_forwarder", zone, |server| {
            let removed = server.contents.forwarders.remove(zone);
            removed.map(drop).ok_or_else(|| NameFault::NotFound("forwarder not found".into()))
        })
        .await
    }
}
