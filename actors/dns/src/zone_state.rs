//! One zone at one server: what is wanted, what was found, and what is next. No I/O: calls are named here and carried out
//! elsewhere, and what came of them is told here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use mkube_messages::dns::RecordSight;
use mkube_model::neighbours::name_servers::{Origin, RecordRow};
use tokio::time::Instant;

use crate::desired::{SetKey, ZoneWish};
use crate::ledger::{EntryKey, Ledger};
use crate::names::{folded, same_data, type_named, type_of};
use crate::plan::{Change, Owner, plan};

/// How long a record of ours is left of which nobody knows any more what it was for.
pub const STRAY_AGE: Duration = Duration::from_secs(600);
/// Of our records in a zone, so many in a hundred may be strays; else it is the store that is doubted.
const STRAY_SHARE: usize = 75;
/// So few strays are believed whatever the share.
const FEW_STRAYS: usize = 10;
/// So much of what was given up is remembered although it is not there any more.
const REMEMBERED: usize = 1000;
/// First and longest pause after a server refused a record: it may be busy for a moment, or never take it.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What decisions rest on beside the zone itself.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    /// Now.
    pub now: Instant,
    /// What was put into servers that do not keep whose things are.
    pub ledger: &'a Ledger,
    /// What we call ourselves.
    pub origin: &'a str,
    /// The store has pods: one that has none is not believed.
    pub pods_known: bool,
}

/// A set the server did not take.
pub(crate) struct Refusal {
    /// It rests until then.
    until: Instant,
    /// How often in a row.
    times: u32,
    pub(crate) why: String,
}

/// See the module.
pub struct ZoneState {
    pub endpoint: String,
    pub zone: String,
    /// What is wanted.
    pub wish: ZoneWish,
    /// Nobody wants the zone any more: what is ours is taken out of it.
    pub leaving: bool,
    /// Its id at the server.
    pub id: Option<String>,
    /// Serial at the last reading.
    pub serial: u64,
    /// The records are those of the server, as far as we know.
    pub listed: bool,
    /// They are being read.
    pub listing: bool,
    /// Not to be read before.
    pub list_due: Instant,
    pub list_failures: u32,
    /// Something was written since the serial was read, or may have been. So the serial is not that of the records, also where they
    /// were read since: a server that is put back may have it again.
    pub wrote: bool,
    /// What keeps the zone as a whole from being as wanted.
    pub fault: Option<String>,
    /// Records of types we write, whosever.
    pub(crate) rows: BTreeMap<SetKey, Vec<RecordRow>>,
    /// Records that are not ours, at the last reading.
    pub(crate) foreign: usize,
    /// Sets to be looked at.
    queue: BTreeSet<SetKey>,
    /// Those of them from which something is to be taken: they come first.
    urgent: BTreeSet<SetKey>,
    /// Sets for which something is under way.
    pub busy: BTreeSet<SetKey>,
    /// Sets the server refused, until it takes them.
    pub(crate) refused: BTreeMap<SetKey, Refusal>,
    /// Data that was wanted in this incarnation and is not any more: nobody has to guess what it was for, also when a server
    /// that was put back to an old state has it again.
    released: BTreeSet<(SetKey, String)>,
    /// Sets with a call of which nobody knows what came.
    pub doubted: BTreeSet<SetKey>,
    /// Records that look like ours, and were there before us.
    disowned: BTreeSet<(SetKey, String)>,
    /// Records of ours of which nobody knows what they were for, and since when.
    strays: BTreeMap<(SetKey, String), Instant>,
    /// What is published of each set.
    pub(crate) sights: OrdMap<SetKey, RecordSight>,
    pub(crate) duplicates: BTreeSet<SetKey>,
    /// The version of the ledger that has what it is to have of this zone, unless something changed since.
    kept_up: Option<u64>,
}

impl ZoneState {
    /// Nothing known.
    pub fn new(endpoint: &str, zone: &str, wish: ZoneWish, now: Instant) -> Self {
        let mut state = Self {
            endpoint: endpoint.to_owned(),
            zone: zone.to_owned(),
            wish: ZoneWish { sets: OrdMap::new(), ..wish.clone() },
            leaving: false,
            id: None,
            serial: 0,
            listed: false,
            listing: false,
            list_due: now,
            list_failures: 0,
            wrote: false,
            fault: None,
            rows: BTreeMap::new(),
            foreign: 0,
            queue: BTreeSet::new(),
            urgent: BTreeSet::new(),
            busy: BTreeSet::new(),
            refused: BTreeMap::new(),
            released: BTreeSet::new(),
            doubted: BTreeSet::new(),
            disowned: BTreeSet::new(),
            strays: BTreeMap::new(),
            sights: OrdMap::new(),
            duplicates: BTreeSet::new(),
            kept_up: None,
        };
        state.want(wish);
        state
    }

    /// Something else is wanted. Only sets that differ are looked at again.
    pub fn want(&mut self, wish: ZoneWish) {
        let before = std::mem::replace(&mut self.wish, wish);
        self.kept_up = None;
        let new = self.wish.sets.clone();
        for change in before.sets.diff(&new) {
            let (key, old, new) = match change {
                DiffItem::Add(key, new) => (key, None, Some(new)),
                DiffItem::Update { old: (key, old), new: (_, new) } if old != new => (key, Some(old), Some(new)),
                DiffItem::Update { .. } => continue,
                DiffItem::Remove(key, old) => (key, Some(old), None),
            };
            for data in new.iter().flat_map(|set| &set.data) {
                self.released.remove(&(key.clone(), data.clone()));
            }
            let is_wanted = |data: &&String| new.is_some_and(|set| set.data.contains(*data));
            let gone: Vec<&String> = old.iter().flat_map(|set| &set.data).filter(|data| !is_wanted(data)).collect();
            if !gone.is_empty() {
                self.released.extend(gone.into_iter().map(|data| (key.clone(), data.clone())));
                self.urgent.insert(key.clone());
            }
            self.refused.remove(key);
            self.queue.insert(key.clone());
            self.tell(key, None);
        }
        // An object came that has a right to a name: what stands there of ours is explained.
        let explained = self.strays.keys().map(|(key, _)| key).filter(|key| self.wish.claimed.contains(&key.0));
        self.queue.extend(explained.cloned().collect::<Vec<_>>());
    }

    /// Nobody wants it any more.
    pub fn leave(&mut self) {
        self.leaving = true;
        let wish =
            ZoneWish { sets: OrdMap::new(), claimed: OrdSet::new(), awaited: OrdSet::new(), ..self.wish.clone() };
        self.want(wish);
    }

    /// What is known of the server's records is not to be relied on.
    pub fn doubt(&mut self, due: Instant) {
        self.listed = false;
        self.list_due = self.list_due.max(due);
    }

    /// The records as they are.
    pub fn found(&mut self, rows: Vec<RecordRow>, eyes: Eyes<'_>) {
        let (all, mut ours) = (rows.len(), 0);
        self.rows.clear();
        self.kept_up = None;
        for row in rows {
            let Some(kind) = type_named(&row.kind) else { continue };
            let key = (folded(&row.name), kind);
            ours += usize::from(self.is_ours(&key, &row, eyes));
            self.rows.entry(key).or_default().push(row);
        }
        self.foreign = all - ours;
        (self.listed, self.listing, self.list_failures) = (true, false, 0);
        self.sights = OrdMap::new();
        self.duplicates.clear();
        let keys: BTreeSet<SetKey> = self.wish.sets.keys().chain(self.rows.keys()).cloned().collect();
        for key in &keys {
            if self.wish.sets.contains_key(key) || self.has_ours(key, eyes) {
                self.queue.insert(key.clone());
            }
        }
        self.see_strays(eyes);
        let all: Vec<SetKey> = self.queue.iter().cloned().collect();
        all.iter().for_each(|key| self.tell(key, Some(eyes)));
        if self.released.len() > REMEMBERED {
            let rows = &self.rows;
            let is_there = |(key, data): &(SetKey, String)| {
                rows.get(key).into_iter().flatten().any(|row| same_data(&row.kind, &row.data) == *data)
            };
            self.released.retain(is_there);
        }
    }

    fn see_strays(&mut self, eyes: Eyes<'_>) {
        let mut strays = BTreeMap::new();
        for (key, rows) in &self.rows {
            for row in rows.iter().filter(|row| self.is_ours(key, row, eyes)) {
                let known = (key.clone(), same_data(&row.kind, &row.data));
                if !self.is_wanted(key, &known.1) && !self.is_explained(&known) {
                    let since = self.strays.get(&known).copied().unwrap_or(eyes.now);
                    strays.insert(known, since);
                }
            }
        }
        self.strays = strays;
    }

    /// Something else is stored of a set: what stands there may be ours, and was not known to be.
    pub fn recognise(&mut self, key: &SetKey, eyes: Eyes<'_>) {
        let Some(rows) = self.rows.get(key).filter(|_| self.listed) else { return };
        let ours = rows.iter().filter(|row| self.is_ours(key, row, eyes));
        let known = ours.map(|row| (key.clone(), same_data(&row.kind, &row.data)));
        let strays: Vec<(SetKey, String)> =
            known.filter(|known| !self.is_wanted(key, &known.1) && !self.is_explained(known)).collect();
        for stray in strays {
            self.strays.entry(stray).or_insert(eyes.now);
        }
        self.queue.insert(key.clone());
    }

    fn is_wanted(&self, key: &SetKey, data: &str) -> bool {
        self.wish.sets.get(key).is_some_and(|set| set.data.contains(data))
    }

    fn is_explained(&self, known: &(SetKey, String)) -> bool {
        self.released.contains(known) || self.wish.claimed.contains(&known.0.0)
    }

    pub(crate) fn is_ours(&self, key: &SetKey, row: &RecordRow, eyes: Eyes<'_>) -> bool {
        match &row.origin {
            Origin::Named(origin) => origin == eyes.origin,
            // Also where the release keeps it now: it may have been another one when the record was made.
            Origin::Unsaid | Origin::NotKept => {
                let known = (key.clone(), same_data(&row.kind, &row.data));
                !self.disowned.contains(&known) && eyes.ledger.owns(&self.endpoint, &self.zone, key, row)
            }
        }
    }

    /// We wanted to make a record and it was there: it is somebody else's, unless it came of an earlier try.
    pub fn disown_unless_doubted(&mut self, key: &SetKey, row: &RecordRow) {
        if !self.doubted.contains(key) {
            self.disowned.insert((key.clone(), same_data(&row.kind, &row.data)));
        }
    }

    /// An entry of the ledger that is about a record of somebody else.
    pub fn next_disowned(&mut self, eyes: Eyes<'_>) -> Option<EntryKey> {
        let entries = self.disowned.iter().map(|(key, data)| self.entry(key, data));
        let entries: Vec<EntryKey> = entries.collect();
        let next = entries.into_iter().find(|entry| eyes.ledger.get(entry).is_some());
        if next.is_none() {
            self.disowned.clear();
        }
        next
    }

    fn has_ours(&self, key: &SetKey, eyes: Eyes<'_>) -> bool {
        self.rows.get(key).into_iter().flatten().any(|row| self.is_ours(key, row, eyes))
    }

    /// Strays that may go now. A store that has nothing, or that lost most of what it had, is not believed.
    fn strays_may_go(&self, eyes: Eyes<'_>) -> bool {
        if !eyes.pods_known {
            return false;
        }
        if self.strays.len() <= FEW_STRAYS || self.leaving {
            return true;
        }
        let ours =
            self.rows.iter().flat_map(|(key, rows)| rows.iter().filter(|row| self.is_ours(key, row, eyes))).count();
        self.strays.len() * 100 <= ours * STRAY_SHARE
    }

    /// When strays are old enough to be looked at again.
    pub fn strays_due(&self) -> Option<Instant> {
        self.strays.values().min().map(|since| *since + STRAY_AGE)
    }

    /// Looks at strays that are old enough.
    pub fn wake_strays(&mut self, eyes: Eyes<'_>) {
        if !self.listed || self.strays_due().is_none_or(|due| due > eyes.now) {
            return;
        }
        self.strays.retain(|known, _| !self.wish.claimed.contains(&known.0.0));
        if !self.strays_may_go(eyes) {
            // Looked at again later: the store may be whole by then.
            let count = self.strays.len();
            self.strays.values_mut().for_each(|since| *since = eyes.now);
            tracing::warn!(
                zone = %self.zone, count,
                "records of ours that nobody wants are left: too many of all there are, or there are no pods at all"
            );
            return;
        }
        let due: Vec<(SetKey, String)> = self
            .strays
            .iter()
            .filter(|(_, since)| **since + STRAY_AGE <= eyes.now)
            .map(|(known, _)| known.clone())
            .collect();
        for known in due {
            self.strays.remove(&known);
            self.queue.insert(known.0.clone());
            self.released.insert(known);
        }
    }

    fn owner(&self, key: &SetKey, row: &RecordRow, eyes: Eyes<'_>) -> Owner {
        if !self.is_ours(key, row, eyes) {
            return Owner::Theirs;
        }
        let known = (key.clone(), same_data(&row.kind, &row.data));
        if self.is_wanted(key, &known.1) || self.is_explained(&known) { Owner::Ours } else { Owner::OursToKeep }
    }

    fn changes(&self, key: &SetKey, eyes: Eyes<'_>) -> Vec<Change> {
        let rows = self.rows.get(key).map(Vec::as_slice).unwrap_or_default();
        plan(key.1, self.wish.sets.get(key), rows, |row| self.owner(key, row, eyes))
    }

    /// The next set for which something is to be done, and what. The caller marks it busy.
    pub fn next_change(&mut self, eyes: Eyes<'_>) -> Option<(SetKey, Change)> {
        if !self.listed || self.listing {
            return None;
        }
        loop {
            let rests = |key: &SetKey| self.refused.get(key).is_some_and(|refusal| refusal.until > eyes.now);
            let is_free = |key: &&SetKey| !self.busy.contains(*key) && !rests(key);
            let is_calling = |key: &&SetKey| self.wish.callings.contains(&key.0);
            let urgent = self.urgent.iter().find(is_free);
            let other = || self.queue.iter().find(|key| is_free(key) && !is_calling(key));
            let calling =
                || self.queue.iter().find(|key| is_free(key) && is_calling(key) && !self.has_names_on_the_way(key));
            let key = urgent.or_else(other).or_else(calling).cloned()?;
            if let Some(change) = self.changes(&key, eyes).into_iter().next() {
                return Some((key, change));
            }
            self.queue.remove(&key);
            self.urgent.remove(&key);
            self.refused.remove(&key);
            self.tell(&key, Some(eyes));
        }
    }

    /// Whether another name of the same addresses is being written, which would be written last.
    fn has_names_on_the_way(&self, key: &SetKey) -> bool {
        let Some(wanted) = self.wish.sets.get(key) else { return false };
        let others = self.busy.iter().filter(|other| !self.wish.callings.contains(&other.0));
        others.filter_map(|other| self.wish.sets.get(other)).any(|other| !other.data.is_disjoint(&wanted.data))
    }

    /// Everything is as wanted.
    pub fn is_settled(&self) -> bool {
        self.listed && self.queue.is_empty() && self.urgent.is_empty() && self.busy.is_empty()
    }

    /// Nothing was ever read from it or written to it.
    pub fn is_untouched(&self) -> bool {
        !self.listed && !self.listing && self.busy.is_empty() && self.rows.is_empty()
    }

    /// Nothing of ours is left in it.
    pub fn is_empty_of_ours(&self, eyes: Eyes<'_>) -> bool {
        self.is_settled() && !self.rows.keys().any(|key| self.has_ours(key, eyes))
    }

    /// When sets that were refused are tried again.
    pub fn refused_due(&self) -> impl Iterator<Item = Instant> {
        self.refused.values().map(|refusal| refusal.until)
    }

    /// A pod is about to stop. What stands under names that lead to its addresses is looked at first, also where nobody has read yet
    /// what stands there.
    pub fn hurry(&mut self, addresses: &BTreeSet<String>) {
        let mut keys: Vec<SetKey> = Vec::new();
        for data in addresses {
            let from = (data.clone(), String::new());
            let names = self.wish.awaited.range(from..).take_while(|(leads_to, _)| leads_to == data);
            let Ok(kind) = data.parse().map(type_of) else { continue };
            let keys_of = names.map(|(_, name)| (name.clone(), kind));
            keys.extend(keys_of.filter(|key| !self.is_wanted(key, data)));
        }
        self.urgent.extend(keys);
    }

    /// Sets from which something is still to be taken.
    pub fn withdrawals(&self) -> impl Iterator<Item = &SetKey> {
        self.urgent.iter()
    }

    /// Whether something is still to be taken from a set.
    pub fn is_withdrawing(&self, key: &SetKey) -> bool {
        self.urgent.contains(key)
    }

    /// A record was made or changed.
    pub fn put(&mut self, key: &SetKey, row: RecordRow, eyes: Eyes<'_>) {
        self.wrote = true;
        self.kept_up = None;
        self.refused.remove(key);
        let rows = self.rows.entry(key.clone()).or_default();
        match rows.iter_mut().find(|one| one.id == row.id) {
            Some(one) => *one = row,
            None => rows.push(row),
        }
        self.tell(key, Some(eyes));
    }

    /// A record is gone.
    pub fn removed(&mut self, key: &SetKey, id: &str, eyes: Eyes<'_>) {
        self.wrote = true;
        self.kept_up = None;
        self.refused.remove(key);
        if let Some(rows) = self.rows.get_mut(key) {
            rows.retain(|row| row.id != id);
            if rows.is_empty() {
                self.rows.remove(key);
            }
        }
        self.tell(key, Some(eyes));
    }

    /// The server does not take it. Nobody waits for it any more, and it is tried again.
    pub fn was_refused(&mut self, key: &SetKey, why: String, now: Instant) {
        self.urgent.remove(key);
        self.queue.insert(key.clone());
        let times = self.refused.get(key).map_or(0, |before| before.times);
        let pause = REFUSED_PAUSE.0.saturating_mul(1 << times.min(8)).min(REFUSED_PAUSE.1);
        self.refused.insert(key.clone(), Refusal { until: now + pause, times: times + 1, why });
    }

    /// Whether a record stands at the server, or is to, now or when somebody is ready: readiness that comes and goes is no matter
    /// for the store.
    pub fn needs_entry(&self, name: &str, kind: &str, data: &str) -> bool {
        let Some(kind) = type_named(kind) else { return true };
        let key = (name.to_owned(), kind);
        let awaited = self.wish.awaited.contains(&(data.to_owned(), name.to_owned()));
        let rows = self.rows.get(&key).into_iter().flatten();
        awaited || self.is_wanted(&key, data) || rows.into_iter().any(|row| same_data(&row.kind, &row.data) == data)
    }

    /// The ledger was looked through for what is to be written down of this zone, and neither changed since.
    pub fn is_kept_up(&self, eyes: Eyes<'_>) -> bool {
        self.kept_up == Some(eyes.ledger.version())
    }

    /// There is nothing to be written down of this zone.
    pub fn kept_up(&mut self, eyes: Eyes<'_>) {
        self.kept_up = Some(eyes.ledger.version());
    }

    /// The entry a record of this data needs.
    pub fn entry(&self, key: &SetKey, data: &str) -> EntryKey {
        EntryKey::record(&self.endpoint, &self.zone, key, data)
    }
}
