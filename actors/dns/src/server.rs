//! One name server: whether it can be reached, which zones and forwarders it has, and which call is next. Servers know nothing of
//! each other, so that a slow one holds up nobody. No I/O: [`Server::next`] names a call, and
//! `done` in `outcome` is told what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_messages::dns::RecordType;
use mkube_model::neighbours::name_servers::{ForwarderRow, NewRecord, RecordRow, ServerHealth, ZoneRow};
use tokio::time::Instant;

use crate::desired::{SetKey, ZoneWish};
use crate::ledger::{EntryKey, LedgerWrite};
use crate::names::same_data;
use crate::plan::Change;
use crate::zone_state::{Eyes, STRAY_AGE, ZoneState};

/// Pause between two questions whether a server is well.
pub const HEALTH_PAUSE: Duration = Duration::from_secs(15);
/// Pause between two comparisons of everything.
pub const COMPARE_PAUSE: Duration = Duration::from_secs(600);
/// Calls under way at one server.
const TOGETHER: usize = 8;
/// How long a server is looked for that has nothing to do any more but to lose what is ours.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// How it is.
    Health,
    /// Which zones it has.
    ListZones,
    /// A zone is missing.
    CreateZone(String),
    /// What is in a zone: its name and id.
    ListRecords(String, String),
    /// A record is missing: zone, id of the zone, set, record.
    Create(String, String, SetKey, NewRecord),
    /// A record is to say something else.
    Update(String, SetKey, RecordRow),
    /// A record goes: zone, set, id of the zone it is in, id.
    Delete(String, SetKey, String, String),
    /// Which forwarders it has.
    ListForwarders,
    /// A forwarder is missing or wrong.
    PutForwarder(ForwarderRow),
    /// A forwarder goes.
    DeleteForwarder(String),
    /// Something is to be remembered, for the sake of a set, if it is one.
    Ledger(LedgerWrite, Option<(String, SetKey)>),
}

/// Whether it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nobody asked yet.
    Unknown,
    /// It is well.
    Up,
    /// It is not, and why.
    Away(String),
}

/// See the module.
pub struct Server {
    pub endpoint: String,
    pub reach: Reach,
    pub zones: BTreeMap<String, ZoneState>,
    pub(crate) health: ServerHealth,
    /// When it was last well.
    pub(crate) health_at: Option<Instant>,
    pub(crate) health_due: Instant,
    pub(crate) asking: bool,
    pub(crate) failures: u32,
    pub(crate) away_since: Option<Instant>,
    pub(crate) compare_due: Instant,
    /// Its zones by folded name, when they were read.
    pub(crate) listed: Option<BTreeMap<String, Vec<ZoneRow>>>,
    /// Zones or forwarders are being read or changed.
    pub(crate) at_work: bool,
    pub(crate) list_due: Instant,
    pub(crate) list_failures: u32,
    /// It keeps whose a record is. Not known before a record was seen.
    pub(crate) marks: Option<bool>,
    /// It keeps the names of addresses by itself.
    pub(crate) reverses: Option<bool>,
    pub(crate) wanted_forwarders: BTreeMap<String, Vec<String>>,
    /// Those it has; none: not read.
    pub(crate) forwarders: Option<BTreeMap<String, Vec<String>>>,
    pub(crate) forwarders_due: Instant,
    pub(crate) no_forwarders: bool,
    /// Zones whose forwarder was wanted in this incarnation and is not any more.
    pub(crate) released: BTreeSet<String>,
    pub(crate) born: Instant,
    pub(crate) in_flight: usize,
    /// Not before this is written down what is gone: the store took the last one badly.
    pub(crate) upkeep_due: Instant,
}

impl Server {
    /// Nothing known.
    pub fn new(endpoint: &str, now: Instant) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            reach: Reach::Unknown,
            zones: BTreeMap::new(),
            health: ServerHealth::default(),
            health_at: None,
            health_due: now,
            asking: false,
            failures: 0,
            away_since: None,
            compare_due: now + COMPARE_PAUSE,
            listed: None,
            at_work: false,
            list_due: now,
            list_failures: 0,
            marks: None,
            reverses: None,
            wanted_forwarders: BTreeMap::new(),
            forwarders: None,
            forwarders_due: now,
            no_forwarders: false,
            released: BTreeSet::new(),
            born: now,
            in_flight: 0,
            upkeep_due: now,
        }
    }

    /// What is wanted of it. `kept`: zones it still has something of ours in.
    pub fn want(
        &mut self,
        mut wishes: BTreeMap<String, ZoneWish>,
        forwarders: BTreeMap<String, Vec<String>>,
        kept: &BTreeMap<String, ZoneWish>,
        now: Instant,
    ) {
        for (zone, state) in &mut self.zones {
            match wishes.remove(zone) {
                Some(wish) => {
                    state.leaving = false;
                    state.want(wish);
                }
                None if !state.leaving => state.leave(),
                None => {}
            }
        }
        // Names of addresses the server keeps by itself are no concern of ours.
        self.zones.retain(|_, state| !(state.leaving && state.wish.reverse && state.is_untouched()));
        for (zone, wish) in wishes {
            let state = ZoneState::new(&self.endpoint, &zone, wish, now);
            self.zones.insert(zone, state);
        }
        for (zone, wish) in kept {
            self.zones.entry(zone.clone()).or_insert_with(|| {
                let mut state = ZoneState::new(&self.endpoint, zone, wish.clone(), now);
                state.leave();
                state
            });
        }
        for zone in self.wanted_forwarders.keys().filter(|zone| !forwarders.contains_key(*zone)) {
            self.released.insert(zone.clone());
        }
        self.released.retain(|zone| !forwarders.contains_key(zone));
        self.wanted_forwarders = forwarders;
    }

    /// Nothing is wanted of it, and nothing of ours is left there.
    pub fn is_idle(&self) -> bool {
        self.zones.is_empty() && self.wanted_forwarders.is_empty() && self.in_flight == 0 && !self.asking
    }

    /// The next call, to be carried out now. None: there is nothing to do before [`Server::due`].
    pub fn next(&mut self, eyes: Eyes<'_>) -> Option<Work> {
        if self.health_due <= eyes.now && !self.asking {
            self.asking = true;
            return Some(Work::Health);
        }
        let rests = self.at_work || self.upkeep_due > eyes.now;
        if matches!(self.reach, Reach::Away(_)) && !rests && self.is_given_up(eyes.now) {
            let Some(write) = self.last_entry(eyes) else {
                self.zones.clear();
                return None;
            };
            self.at_work = true;
            self.in_flight += 1;
            return Some(Work::Ledger(write, None));
        }
        if self.reach != Reach::Up || self.in_flight >= TOGETHER {
            return None;
        }
        if self.compare_due <= eyes.now {
            self.compare_due = eyes.now + COMPARE_PAUSE;
            (self.listed, self.forwarders) = (None, None);
        }
        let work = self.next_of_server(eyes).or_else(|| self.next_of_zones(eyes)).or_else(|| self.next_forwarder(eyes));
        let work = work.or_else(|| self.next_upkeep(eyes))?;
        self.in_flight += 1;
        Some(work)
    }

    fn next_of_server(&mut self, eyes: Eyes<'_>) -> Option<Work> {
        if self.at_work || self.list_due > eyes.now {
            return None;
        }
        if self.listed.is_none() {
            // Records that are on their way may be older than the serial that is read now.
            if self.zones.values().any(|state| state.listing) {
                return None;
            }
            self.at_work = true;
            return Some(Work::ListZones);
        }
        let missing = self.zones.values().find(|state| {
            let kept = !state.wish.reverse || self.reverses == Some(false) && !state.wish.sets.is_empty();
            state.id.is_none() && !state.leaving && !state.wish.external && kept
        })?;
        self.at_work = true;
        let key = EntryKey::zone(&self.endpoint, &missing.zone);
        if !eyes.ledger.is_noted(&key) {
            return Some(Work::Ledger(LedgerWrite::Note(key), None));
        }
        Some(Work::CreateZone(missing.zone.clone()))
    }

    /// A reading waits until nothing is being written to the zone, so that it shows what became of it.
    fn next_of_zones(&mut self, eyes: Eyes<'_>) -> Option<Work> {
        self.listed.as_ref()?;
        let alone = self.in_flight == 0;
        for state in self.zones.values_mut() {
            let Some(id) = state.id.clone() else { continue };
            if state.wish.reverse && self.reverses != Some(false) && !state.leaving {
                continue;
            }
            if !state.listed {
                if !state.listing && state.busy.is_empty() && state.list_due <= eyes.now {
                    state.listing = true;
                    return Some(Work::ListRecords(state.zone.clone(), id));
                }
                continue;
            }
            state.wake_strays(eyes);
            let Some((key, change)) = state.next_change(eyes) else { continue };
            let data = match &change {
                Change::Create { data, .. } => Some(data),
                Change::Update { row } => Some(&row.data),
                Change::Delete { .. } => None,
            };
            if let Some(data) = data.filter(|_| self.marks != Some(true)) {
                // Whether it keeps whose a record is shows with the first one.
                if self.marks.is_none() && !alone {
                    continue;
                }
                let entry = state.entry(&key, data);
                if !eyes.ledger.is_noted(&entry) {
                    state.busy.insert(key.clone());
                    return Some(Work::Ledger(LedgerWrite::Note(entry), Some((state.zone.clone(), key))));
                }
            }
            state.busy.insert(key.clone());
            let zone = state.zone.clone();
            return Some(match change {
                Change::Create { data, ttl } => {
                    let data = as_sent(key.1, data);
                    let (name, kind) = (key.0.clone(), key.1.word());
                    Work::Create(zone, id, key, NewRecord { name, kind, data, ttl, origin: eyes.origin.to_owned() })
                }
                Change::Update { row } => {
                    let data = as_sent(key.1, same_data(&row.kind, &row.data));
                    Work::Update(zone, key, RecordRow { data, ..row })
                }
                Change::Delete { id, zone_id } => Work::Delete(zone, key, zone_id, id),
            });
        }
        None
    }

    fn next_forwarder(&mut self, eyes: Eyes<'_>) -> Option<Work> {
        let ours: BTreeSet<String> = eyes.ledger.forwarders(&self.endpoint).map(str::to_owned).collect();
        if self.at_work || self.no_forwarders || self.forwarders_due > eyes.now {
            return None;
        }
        if self.wanted_forwarders.is_empty() && ours.is_empty() {
            return None;
        }
        let Some(there) = &self.forwarders else {
            self.at_work = true;
            return Some(Work::ListForwarders);
        };
        for (zone, servers) in &self.wanted_forwarders {
            let found = there.get(zone);
            // What somebody else says of the zone stands.
            if found == Some(servers) || found.is_some() && !ours.contains(zone) {
                continue;
            }
            self.at_work = true;
            let key = EntryKey::forwarder(&self.endpoint, zone);
            if !ours.contains(zone) {
                return Some(Work::Ledger(LedgerWrite::Note(key), None));
            }
            return Some(Work::PutForwarder(ForwarderRow { zone: zone.clone(), servers: servers.clone() }));
        }
        let old = eyes.pods_known && eyes.now >= self.born + STRAY_AGE;
        for zone in ours.iter().filter(|zone| !self.wanted_forwarders.contains_key(*zone)) {
            if !there.contains_key(zone) {
                self.at_work = true;
                return Some(Work::Ledger(LedgerWrite::Forget(EntryKey::forwarder(&self.endpoint, zone)), None));
            }
            if old || self.released.contains(zone) {
                self.at_work = true;
                return Some(Work::DeleteForwarder(zone.clone()));
            }
        }
        None
    }

    /// Brings the ledger up to date, once everything else is done.
    fn next_upkeep(&mut self, eyes: Eyes<'_>) -> Option<Work> {
        if self.at_work || self.in_flight > 0 || self.upkeep_due > eyes.now {
            return None;
        }
        if let Some(entry) = self.zones.values_mut().find_map(|state| state.next_disowned(eyes)) {
            return Some(self.write_down(LedgerWrite::Forget(entry)));
        }
        let listed = self.listed.is_some();
        for (zone, state) in &mut self.zones {
            let gone = listed && state.id.is_none();
            let write = if state.leaving && (gone || state.is_empty_of_ours(eyes)) {
                eyes.ledger.last_of(&self.endpoint, zone)
            } else if state.is_settled() && !state.is_kept_up(eyes) {
                let needed = |name: &str, kind: &str, data: &str| state.needs_entry(name, kind, data);
                let write = eyes.ledger.upkeep(&self.endpoint, zone, needed);
                if write.is_none() {
                    state.kept_up(eyes);
                }
                write
            } else {
                None
            };
            if let Some(write) = write {
                return Some(self.write_down(write));
            }
        }
        self.zones.retain(|_, state| !state.leaving || !(listed && state.id.is_none() || state.is_empty_of_ours(eyes)));
        None
    }

    /// Nothing is made of a set while it is being written down that something of it is gone: what comes about meanwhile would be
    /// taken for somebody else's.
    fn write_down(&mut self, write: LedgerWrite) -> Work {
        let (LedgerWrite::Note(entry) | LedgerWrite::MarkGone(entry) | LedgerWrite::Forget(entry)) = &write;
        match (entry.set(), self.zones.get_mut(&entry.zone)) {
            (Some(key), Some(state)) => {
                state.busy.insert(key.clone());
                let zone = entry.zone.clone();
                Work::Ledger(write, Some((zone, key)))
            }
            _ => {
                self.at_work = true;
                Work::Ledger(write, None)
            }
        }
    }

    /// A server that only has to lose what is ours, and that nobody has reached for so long, is looked for no more.
    fn is_given_up(&self, now: Instant) -> bool {
        let over = self.away_since.is_some_and(|since| now >= since + GIVE_UP);
        over && self.wanted_forwarders.is_empty() && self.zones.values().all(|state| state.leaving)
    }

    /// What is still remembered of such a server.
    fn last_entry(&self, eyes: Eyes<'_>) -> Option<LedgerWrite> {
        let forwarder = eyes.ledger.forwarders(&self.endpoint).next();
        let forwarder = forwarder.map(|zone| LedgerWrite::Forget(EntryKey::forwarder(&self.endpoint, zone)));
        forwarder.or_else(|| self.zones.keys().find_map(|zone| eyes.ledger.last_of(&self.endpoint, zone)))
    }

    /// When to look again, if nothing happens before.
    pub fn due(&self, now: Instant) -> Instant {
        // While it is being asked, the answer is what comes next.
        let mut due = if self.asking { now + HEALTH_PAUSE } else { self.health_due };
        if self.reach != Reach::Up {
            return due;
        }
        // What is over waits for a call under way.
        let mut consider = |at: Instant| {
            if at > now {
                due = due.min(at);
            }
        };
        consider(self.compare_due);
        consider(self.list_due);
        consider(self.forwarders_due);
        consider(self.upkeep_due);
        for state in self.zones.values() {
            consider(state.list_due);
            state.strays_due().into_iter().chain(state.refused_due()).for_each(&mut consider);
        }
        due
    }
}

/// Names in data are whole ones, with their final dot.
fn as_sent(kind: RecordType, data: String) -> String {
    if kind == RecordType::Ptr { format!("{data}.") } else { data }
}
