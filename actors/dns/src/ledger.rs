//! What mkube put into servers that do not keep whose things are: read from the stored `DnsEntry` objects. An entry is stored
//! before the thing is made, so that nothing of ours is ever without one; it stays when the thing is gone, marked with the time, so
//! that a server which is put back to an old state is still understood, and an equal thing somebody makes later is theirs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mkube_messages::objects::{KindView, ObjectKey, StoredObject};
use mkube_model::names::fnv1a;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::neighbours::name_servers::RecordRow;
use serde_json::{Value, json};

use crate::desired::SetKey;
use crate::names::{same_data, type_named};

/// Entries of things that are gone, kept for each zone; beyond that the oldest go.
const KEPT: usize = 1000;
/// What was made longer than this before its entry was stored is not ours. Clocks of servers may be wrong, and those that somebody
/// set are not by so much; what is younger cannot be told apart.
const OLDER: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A year before this is that of a clock nobody set, as of a device that has just been started.
const NOBODY_SET: i16 = 2020;

/// What an entry is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A zone that mkube keeps names in.
    Zone,
    /// A forwarder for the zone.
    Forwarder,
    /// A record: name, type, data.
    Record(String, String, String),
}

/// One thing at one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryKey {
    /// The server.
    pub endpoint: String,
    /// The zone.
    pub zone: String,
    /// What.
    pub what: What,
}

impl EntryKey {
    /// A record.
    pub fn record(endpoint: &str, zone: &str, set: &SetKey, data: &str) -> Self {
        let what = What::Record(set.0.clone(), set.1.word().to_owned(), data.to_owned());
        Self { endpoint: endpoint.to_owned(), zone: zone.to_owned(), what }
    }

    /// A zone.
    pub fn zone(endpoint: &str, zone: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), zone: zone.to_owned(), what: What::Zone }
    }

    /// A forwarder.
    pub fn forwarder(endpoint: &str, zone: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), zone: zone.to_owned(), what: What::Forwarder }
    }

    /// The set it is about, if it is about one.
    pub fn set(&self) -> Option<SetKey> {
        match &self.what {
            What::Record(name, kind, _) => Some((name.clone(), type_named(kind)?)),
            What::Zone | What::Forwarder => None,
        }
    }

    /// Name of the object: something to read, and a word that tells them apart.
    pub fn object_name(&self) -> String {
        let (stem, rest) = match &self.what {
            What::Zone => (format!("zone.{}", self.zone), "zone".to_owned()),
            What::Forwarder => (format!("forwarder.{}", self.zone), "forwarder".to_owned()),
            What::Record(name, kind, data) => (format!("{name}.{}", self.zone), format!("{name}|{kind}|{data}")),
        };
        let text = format!("{}|{}|{rest}", self.endpoint, self.zone);
        let letter = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' };
        let stem: String = stem.chars().map(letter).take(200).collect();
        let parts: Vec<&str> =
            stem.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty()).collect();
        format!("{}.{:08x}{:08x}", parts.join("."), fnv1a(&text), fnv1a(&format!("{text}~")))
    }

    /// The object that says so.
    pub fn object(&self) -> Value {
        let mut spec = json!({"endpoint": self.endpoint, "zone": self.zone});
        match &self.what {
            What::Zone => spec["what"] = json!("Zone"),
            What::Forwarder => spec["what"] = json!("Forwarder"),
            What::Record(name, kind, data) => {
                spec["what"] = json!("Record");
                spec["name"] = json!(name);
                spec["type"] = json!(kind);
                spec["data"] = json!(data);
            }
        }
        json!({"apiVersion": "vkube.io/v1alpha1", "kind": "DnsEntry", "metadata": {"name": self.object_name()}, "spec": spec})
    }

    fn of(object: &Value) -> Option<Self> {
        let spec = object.get("spec")?;
        let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = match spec.get("what")?.as_str()? {
            "Zone" => What::Zone,
            "Forwarder" => What::Forwarder,
            "Record" => What::Record(text("name"), text("type"), text("data")),
            _ => return None,
        };
        Some(Self { endpoint: text("endpoint"), zone: text("zone"), what })
    }
}

/// What is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written last.
    pub revision: Revision,
    /// When it was stored first: nothing of ours was there before.
    pub noted_at: Option<Timestamp>,
    /// Since when the thing is known to be gone.
    pub gone_at: Option<String>,
}

/// A write of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerWrite {
    /// It is about to be made.
    Note(EntryKey),
    /// It is gone.
    MarkGone(EntryKey),
    /// Nobody needs to remember it.
    Forget(EntryKey),
}

/// All entries.
#[derive(Debug, Default)]
pub struct Ledger {
    read_from: Arc<KindView>,
    entries: BTreeMap<EntryKey, Entry>,
    names: BTreeMap<ObjectKey, EntryKey>,
    /// Endpoint and zone of the entries of zones.
    zones: BTreeSet<(String, String)>,
    /// Endpoint and zone of the entries of forwarders.
    forwarders: BTreeSet<(String, String)>,
    /// Counts readings that brought something.
    version: u64,
}

impl Ledger {
    /// Reads what changed; answers what came or is said anew.
    pub fn read(&mut self, view: &Arc<KindView>) -> Vec<EntryKey> {
        let mut learnt = Vec::new();
        if Arc::ptr_eq(&self.read_from, view) {
            return learnt;
        }
        let before = std::mem::replace(&mut self.read_from, view.clone());
        self.version += 1;
        for change in before.objects.diff(&view.objects) {
            match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => {
                    learnt.extend(self.learn(key, object));
                }
                DiffItem::Remove(key, _) => self.forget(key),
            }
        }
        learnt
    }

    fn learn(&mut self, name: &ObjectKey, object: &StoredObject) -> Option<EntryKey> {
        self.forget(name);
        let value = object.value();
        let key = EntryKey::of(&value)?;
        let gone_at = value.pointer("/spec/goneAt").and_then(Value::as_str).map(str::to_owned);
        let noted_at = value.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        let noted_at = noted_at.and_then(|text| text.parse().ok());
        self.names.insert(name.clone(), key.clone());
        let place = (key.endpoint.clone(), key.zone.clone());
        match key.what {
            What::Zone => drop(self.zones.insert(place)),
            What::Forwarder => drop(self.forwarders.insert(place)),
            What::Record(..) => {}
        }
        self.entries.insert(key.clone(), Entry { revision: object.revision, noted_at, gone_at });
        Some(key)
    }

    fn forget(&mut self, name: &ObjectKey) {
        let Some(key) = self.names.remove(name) else { return };
        self.entries.remove(&key);
        let place = (key.endpoint, key.zone);
        match key.what {
            What::Zone => drop(self.zones.remove(&place)),
            What::Forwarder => drop(self.forwarders.remove(&place)),
            What::Record(..) => {}
        }
    }

    /// What is stored of it.
    pub fn get(&self, key: &EntryKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Whether it may be made: it stands here, and not as gone.
    pub fn is_noted(&self, key: &EntryKey) -> bool {
        self.get(key).is_some_and(|entry| entry.gone_at.is_none())
    }

    /// Whether a record was made by us, as far as can be told: what was made long before ours, or after ours was gone, is somebody
    /// else's. Such a one comes to light where an equal one of ours was, when a server is put back to an old state.
    pub fn owns(&self, endpoint: &str, zone: &str, set: &SetKey, row: &RecordRow) -> bool {
        let key = EntryKey::record(endpoint, zone, set, &same_data(&row.kind, &row.data));
        let Some(entry) = self.get(&key) else { return false };
        let created = row.created_at.parse::<Timestamp>().ok();
        let is_older = |(created, noted): (Timestamp, Timestamp)| {
            created.to_zoned(TimeZone::UTC).year() >= NOBODY_SET && noted.duration_since(created) > OLDER
        };
        if created.zip(entry.noted_at).is_some_and(is_older) {
            return false;
        }
        let Some(gone_at) = &entry.gone_at else { return true };
        created.zip(gone_at.parse().ok()).is_some_and(|(created, gone): (_, Timestamp)| created <= gone)
    }

    /// Another number when something else is stored.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Zones that mkube keeps, or kept, names in.
    pub fn zones(&self) -> impl Iterator<Item = (&str, &str)> {
        self.zones.iter().map(|(endpoint, zone)| (endpoint.as_str(), zone.as_str()))
    }

    /// Forwarders of ours at a server.
    pub fn forwarders<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a str> {
        let from = (endpoint.to_owned(), String::new());
        self.forwarders.range(from..).take_while(move |(at, _)| at == endpoint).map(|(_, zone)| zone.as_str())
    }

    fn of_zone<'a>(&'a self, endpoint: &'a str, zone: &'a str) -> impl Iterator<Item = (&'a EntryKey, &'a Entry)> {
        let from = EntryKey::zone(endpoint, zone);
        self.entries.range(from..).take_while(move |(key, _)| key.endpoint == endpoint && key.zone == zone)
    }

    /// What is to be brought up to date once everything of a zone is as wanted: what is gone is marked, the oldest of those are
    /// forgotten. One write.
    pub fn upkeep(
        &self,
        endpoint: &str,
        zone: &str,
        is_there: impl Fn(&str, &str, &str) -> bool,
    ) -> Option<LedgerWrite> {
        let mut gone: Vec<(Revision, &EntryKey)> = Vec::new();
        for (key, entry) in self.of_zone(endpoint, zone) {
            let What::Record(name, kind, data) = &key.what else { continue };
            if is_there(name, kind, data) {
                continue;
            }
            if entry.gone_at.is_none() {
                return Some(LedgerWrite::MarkGone(key.clone()));
            }
            gone.push((entry.revision, key));
        }
        let oldest = gone.iter().min_by_key(|(revision, _)| *revision).filter(|_| gone.len() > KEPT);
        oldest.map(|(_, key)| LedgerWrite::Forget((*key).clone()))
    }

    /// The next entry of a zone that nobody needs any more.
    pub fn last_of(&self, endpoint: &str, zone: &str) -> Option<LedgerWrite> {
        self.of_zone(endpoint, zone)
            .map(|(key, _)| key)
            .filter(|key| key.what != What::Forwarder)
            // The zone itself last: as long as it stands here, the rest is looked after.
            .max()
            .map(|key| LedgerWrite::Forget(key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::dns::RecordType;
    use mkube_model::kinds::KindTable;

    const SERVER: &str = "http://10.0.0.252:8080";

    fn record(name: &str, data: &str) -> EntryKey {
        EntryKey::record(SERVER, "gt.lo", &(name.to_owned(), RecordType::A), data)
    }

    fn view(entries: &[(EntryKey, Option<&str>)]) -> Arc<KindView> {
        let kind = KindTable::builtin().named("DnsEntry").expect("a kind").id();
        let object = |at: usize, key: &EntryKey, gone: Option<&str>| {
            let mut value = key.object();
            if let Some(gone) = gone {
                value["spec"]["goneAt"] = json!(gone);
            }
            Arc::new(StoredObject::new(kind, ObjectKey::new("", key.object_name()), &value, at as u64))
        };
        let objects = entries.iter().enumerate().map(|(at, (key, gone))| object(at, key, *gone));
        Arc::new(KindView { objects: objects.map(|one| (one.key.clone(), one)).collect(), ..KindView::default() })
    }

    fn row(data: &str, created_at: &str) -> RecordRow {
        RecordRow { kind: "A".into(), data: data.into(), created_at: created_at.into(), ..RecordRow::default() }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let keys = [record("web", "10.0.0.5"), EntryKey::zone(SERVER, "gt.lo"), EntryKey::forwarder(SERVER, "g10.lo")];
        for key in keys {
            assert_eq!(EntryKey::of(&key.object()), Some(key.clone()));
            assert_eq!(mkube_model::metadata::subdomain_problem(&key.object_name()), None, "{key:?}");
        }
        for odd in ["*", "@", "*.apps", "_sip._tcp", "-a-"] {
            let name = record(odd, "10.0.0.5").object_name();
            assert_eq!(mkube_model::metadata::subdomain_problem(&name), None, "{odd}: {name}");
        }
        assert_ne!(record("web", "10.0.0.5").object_name(), record("web", "10.0.0.6").object_name());
    }

    #[test]
    fn a_record_is_ours_only_with_its_data_and_not_when_it_was_made_after_ours_was_gone() {
        let set = ("web".to_owned(), RecordType::A);
        let mut ledger = Ledger::default();
        ledger.read(&view(&[
            (record("web", "10.0.0.5"), None),
            (record("web", "10.0.0.6"), Some("2026-03-01T10:00:00Z")),
        ]));
        let owns = |row: &RecordRow| ledger.owns(SERVER, "gt.lo", &set, row);
        assert!(owns(&row("10.0.0.5", "2026-01-01T00:00:00+00:00")));
        assert!(!owns(&row("10.0.0.7", "2026-01-01T00:00:00+00:00")), "a person put it there");
        assert!(owns(&row("10.0.0.6", "2026-02-01T00:00:00+00:00")), "an old state of the server is back");
        assert!(!owns(&row("10.0.0.6", "2026-04-01T00:00:00+00:00")), "a person made it since");
        assert!(!owns(&row("10.0.0.6", "yesterday")));
        assert!(!ledger.owns("http://other:8080", "gt.lo", &set, &row("10.0.0.5", "2026-01-01T00:00:00Z")));
    }

    #[test]
    fn what_was_there_long_before_ours_was_written_down_is_somebody_elses() {
        let set = ("web".to_owned(), RecordType::A);
        let kind = KindTable::builtin().named("DnsEntry").expect("a kind").id();
        let key = record("web", "10.0.0.5");
        let owns = |gone: Option<&str>, created: &str| {
            let mut value = key.object();
            value["metadata"]["creationTimestamp"] = json!("2026-03-10T10:00:00Z");
            value["spec"]["goneAt"] = json!(gone);
            let object = Arc::new(StoredObject::new(kind, ObjectKey::new("", key.object_name()), &value, 1));
            let mut ledger = Ledger::default();
            let objects = [(object.key.clone(), object)].into_iter().collect();
            ledger.read(&Arc::new(KindView { objects, ..KindView::default() }));
            ledger.owns(SERVER, "gt.lo", &set, &row("10.0.0.5", created))
        };
        for gone in [None, Some("2026-03-12T10:00:00Z")] {
            assert!(owns(gone, "2026-03-10T10:00:01+00:00"));
            assert!(owns(gone, "2026-03-09T10:00:00+00:00"), "its clock may be wrong");
            assert!(owns(gone, "1970-01-02T00:00:07+00:00"), "nobody set its clock");
            assert!(!owns(gone, "2026-02-10T10:00:00+00:00"));
        }
        assert!(owns(None, "yesterday"), "a server that does not say it in this way is believed to have ours");
    }

    #[test]
    fn what_is_gone_is_marked_once_and_remembered_for_so_many() {
        let mut ledger = Ledger::default();
        let (web, db) = (record("web", "10.0.0.5"), record("db", "10.0.0.6"));
        ledger.read(&view(&[(web.clone(), None), (db, None)]));
        let upkeep = |ledger: &Ledger| ledger.upkeep(SERVER, "gt.lo", |name, _, _| name == "db");
        assert_eq!(upkeep(&ledger), Some(LedgerWrite::MarkGone(web.clone())));
        ledger.read(&view(&[(web, Some("2026-03-01T10:00:00Z"))]));
        assert_eq!(upkeep(&ledger), None);
        let many: Vec<(EntryKey, Option<&str>)> =
            (0..=KEPT).map(|n| (record(&format!("job-{n}"), "10.0.0.9"), Some("2026-03-01T10:00:00Z"))).collect();
        ledger.read(&view(&many));
        assert_eq!(upkeep(&ledger), Some(LedgerWrite::Forget(record("job-0", "10.0.0.9"))));
        ledger.read(&view(&many[1..]));
        assert_eq!(upkeep(&ledger), None);
    }

    #[test]
    fn the_entry_of_a_zone_goes_last() {
        let mut ledger = Ledger::default();
        let zone = EntryKey::zone(SERVER, "gt.lo");
        ledger.read(&view(&[(zone.clone(), None), (record("web", "10.0.0.5"), None)]));
        assert_eq!(ledger.last_of(SERVER, "gt.lo"), Some(LedgerWrite::Forget(record("web", "10.0.0.5"))));
        ledger.read(&view(&[(zone.clone(), None)]));
        assert_eq!(ledger.last_of(SERVER, "gt.lo"), Some(LedgerWrite::Forget(zone)));
    }
}
