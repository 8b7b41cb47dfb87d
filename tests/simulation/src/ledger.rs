//! What users asked for and what they were told: from it follows what may be stored, and what must be.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::door::{CallError, NotAnswered};
use mkube_messages::objects::Written;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::status::Status;
use serde_json::Value;

/// The annotation that carries the number of the write.
pub const EDIT: &str = "simulation/edit";

/// What a user is answered.
pub type Answered = Result<Written, CallError<Status>>;

/// Kind and name of an object.
pub type Name = (&'static str, String);

/// How an object may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Not at all.
    Absent,
    /// As the write of this number left it.
    Edited(u64),
    /// On its way out, or gone already.
    Going,
}

/// What a write would do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    number: u64,
    then: Found,
}

#[derive(Debug, Clone)]
struct Entry {
    /// What is known for certain.
    certain: Found,
    /// The write it is known from.
    since: u64,
    /// The revision of what somebody else did last.
    elsewhere: Option<Revision>,
    /// Writes whose outcome is not known, or not yet.
    pending: Vec<Pending>,
    /// The object that is there.
    uid: String,
}

/// All objects of users.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Name, Entry>,
    dead: BTreeSet<String>,
    number: u64,
    told: Vec<String>,
}

impl Ledger {
    /// The number of the next write.
    pub fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// A write is under way.
    pub fn asked(&mut self, name: &Name, number: u64, then: Found) {
        // Namespaces and the node are there before anybody writes to them.
        let certain = if ["Namespace", "Node"].contains(&name.0) { Found::Edited(0) } else { Found::Absent };
        self.entry(name, certain).pending.push(Pending { number, then });
    }

    fn entry(&mut self, name: &Name, certain: Found) -> &mut Entry {
        let fresh = Entry { certain, since: 0, elsewhere: None, pending: Vec::new(), uid: String::new() };
        self.entries.entry(name.clone()).or_insert(fresh)
    }

    /// Somebody else wrote an object. Writes that are under way may still come after that.
    pub fn done_elsewhere(&mut self, name: &Name, number: u64, then: Found, revision: Revision) {
        let entry = self.entry(name, Found::Absent);
        (entry.certain, entry.since, entry.elsewhere) = (then, number, Some(revision));
    }

    /// A write was answered.
    pub fn answered(&mut self, name: &Name, number: u64, result: Answered) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        self.told.push(format!("answer {number}: {}", words(&result)));
        match result {
            Ok(written) => {
                // Writes of one object follow one another: those before this one are done, or never will be.
                entry.pending.retain(|one| one.number > number);
                let is_later = entry.elsewhere.is_some_and(|at| written.object.revision > at);
                if number > entry.since || is_later {
                    entry.since = number;
                    entry.certain = match () {
                        () if written.gone => Found::Absent,
                        () if written.object.is_deleting() => Found::Going,
                        () => Found::Edited(edit_of(&written.object.value())),
                    };
                }
            }
            Err(CallError::Fault(status)) if !may_be_done(&status) => entry.pending.retain(|one| one.number != number),
            Err(CallError::NotAnswered(NotAnswered::Busy | NotAnswered::Away)) => {
                entry.pending.retain(|one| one.number != number);
            }
            Err(_) => {}
        }
    }

    /// A write of which nothing is remembered was answered.
    pub fn heard(&mut self, result: &Answered) {
        self.told.push(format!("answer: {}", words(result)));
    }

    /// Lines for the trace since the last time.
    pub fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Compares one object with what may be.
    pub fn check(&mut self, name: &Name, stored: Option<&Value>) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        let text = |pointer: &str| stored.and_then(|value| value.pointer(pointer)).and_then(Value::as_str);
        let uid = text("/metadata/uid").unwrap_or_default().to_owned();
        if uid != entry.uid {
            let before = std::mem::replace(&mut entry.uid, uid.clone());
            if !before.is_empty() {
                self.dead.insert(before);
            }
        }
        if self.dead.contains(&uid) {
            return Err(format!("{} {} is back after it was gone", name.0, name.1));
        }
        let deleting = text("/metadata/deletionTimestamp").is_some();
        let fits = |found: &Found| match (found, stored) {
            (Found::Absent | Found::Going, None) => true,
            (Found::Going, Some(_)) => deleting,
            (Found::Edited(number), Some(value)) => !deleting && edit_of(value) == *number,
            _ => false,
        };
        let may_be = || std::iter::once(&entry.certain).chain(entry.pending.iter().map(|one| &one.then));
        if may_be().any(fits) {
            if stored.is_none() && entry.certain == Found::Going {
                entry.certain = Found::Absent;
            }
            return Ok(());
        }
        let is = stored.map_or_else(|| "is not stored".to_owned(), |value| format!("is stored as {value}"));
        Err(format!("{} {} {is}, and may be {:?}", name.0, name.1, may_be().collect::<Vec<_>>()))
    }

    /// All names users ever wrote to.
    pub fn names(&self) -> Vec<Name> {
        self.entries.keys().cloned().collect()
    }
}

fn words(result: &Answered) -> String {
    match result {
        Ok(written) if written.gone => "gone".to_owned(),
        Ok(_) => "done".to_owned(),
        Err(CallError::Fault(status)) => format!("{} {}", status.code, status.message),
        Err(CallError::NotAnswered(why)) => why.to_string(),
    }
}

fn may_be_done(status: &Status) -> bool {
    status.code == 504
}

fn edit_of(value: &Value) -> u64 {
    let text = value.pointer("/metadata/annotations/simulation~1edit").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
