//! What every write but an apply leaves behind: who wrote a field manages it, and nobody else does any more.

use serde_json::{Value, json};

use super::OWN;
use super::comparing::{Differences, compare};
use super::element::field;
use super::managers::{Entry, Manager, Managers, Operation};
use super::owned::fields_of;
use super::set::FieldSet;
use crate::list_types::Types;
use crate::metadata;
use crate::problem::Problem;

/// Who manages what stood in an object before anybody's fields were told apart.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";
pub(super) const STATUS: &str = "status";
/// Parts of metadata that are nobody's: the server's, or the object's very name.
pub(super) const SERVERS_OWN: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// Takes out what nobody manages by writing this subresource.
pub(super) fn strip(set: &mut FieldSet, subresource: &str) {
    if subresource == STATUS {
        set.below.retain(|element, _| **element == *field(STATUS));
        return;
    }
    for name in ["apiVersion", "kind", STATUS] {
        set.below.remove(&field(name));
    }
    let metadata = field("metadata");
    if let Some(below) = set.below.get_mut(&metadata) {
        for name in SERVERS_OWN {
            below.below.remove(&field(name));
        }
        below.member = false;
        if below.is_empty() {
            set.below.remove(&metadata);
        }
    }
}

/// What a body says of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// Nothing, as clients do who do not know of it: it stays.
    Nothing,
    /// One empty entry: they are to go.
    Cleared,
    /// These.
    These(Managers),
}

impl Submitted {
    /// Reads a body, or says what is wrong with it.
    pub fn of(body: &Value) -> Result<Self, Problem> {
        let list = body.pointer("/metadata/managedFields");
        match list.and_then(Value::as_array).map(Vec::as_slice) {
            None | Some([]) => Ok(Self::Nothing),
            Some([Value::Object(entry)]) if entry.is_empty() => Ok(Self::Cleared),
            Some(_) => {
                let managers = Managers::read(list.unwrap_or(&Value::Null))?;
                Ok(if managers.is_empty() { Self::Nothing } else { Self::These(managers) })
            }
        }
    }
}

/// Who manages a new object.
pub fn created(object: &Value, by: &Manager, types: Types, now: &str) -> Managers {
    let mut fields = fields_of(object, types);
    strip(&mut fields, &by.subresource);
    let mut managers = Managers::default();
    managers.set(Entry { manager: by.clone(), time: now.to_owned(), fields });
    managers
}

/// Who manages an object of which nothing was recorded.
pub fn before_first_apply(object: &Value, api_version: &str, types: Types, now: &str) -> Managers {
    let by = Manager {
        name: BEFORE_FIRST_APPLY.to_owned(),
        operation: Operation::Update,
        api_version: api_version.to_owned(),
        subresource: String::new(),
    };
    created(object, &by, types, now)
}

/// Who manages an object after a write. While nobody is known nothing is recorded: whoever does not apply need not pay for it.
pub fn updated(old: &Value, new: &Value, mut managers: Managers, by: &Manager, types: Types, now: &str) -> Managers {
    if managers.is_empty() {
        return managers;
    }
    let Differences { mut changed, mut removed } = compare(old, new, types);
    strip(&mut changed, &by.subresource);
    strip(&mut removed, &by.subresource);
    if changed.is_empty() && removed.is_empty() {
        return managers;
    }
    // The status that a controller reports is his as a whole: its fields come and go too often to be told apart.
    if by.name == OWN && by.subresource == STATUS {
        changed = whole_status();
        removed = whole_status();
    }
    managers.each_but(by, |fields| {
        fields.subtract_trees(&removed);
        fields.subtract(&changed);
    });
    let (before, time) = match managers.get(by) {
        Some(entry) => (entry.fields.clone(), entry.time.clone()),
        None => (FieldSet::default(), String::new()),
    };
    let mut fields = before.clone();
    fields.subtract_trees(&removed);
    fields.unite(&changed);
    // Of our own controllers it matters since when they manage a field, not when they wrote it last.
    let same = if by.name == OWN { fields == before } else { changed.is_empty() };
    let time = if same { time } else { now.to_owned() };
    managers.set(Entry { manager: by.clone(), time, fields });
    managers.bound();
    managers
}

fn whole_status() -> FieldSet {
    let mut set = FieldSet::default();
    set.hang(&field(STATUS), FieldSet::leaf());
    set
}

/// Notes in an object that our controllers have just written its status. Nothing to do from the second time on.
pub fn reported(object: &mut Value, api_version: &str, now: &str) {
    let Some(list) = object.pointer("/metadata/managedFields").and_then(Value::as_array) else { return };
    let by = Manager {
        name: OWN.to_owned(),
        operation: Operation::Update,
        api_version: api_version.to_owned(),
        subresource: STATUS.to_owned(),
    };
    let of_status = |entry: &&Value| entry.pointer("/fieldsV1/f:status").is_some();
    let mut all = list.iter().filter(of_status);
    let ours = |entry: &Value| entry["manager"] == OWN && entry["subresource"] == STATUS;
    if all.next().is_some_and(ours) && all.next().is_none() {
        return;
    }
    let mut managers = Managers::of(object);
    if managers.is_empty() {
        return;
    }
    let all = whole_status();
    managers.each_but(&by, |fields| fields.subtract_trees(&all));
    managers.set(Entry { manager: by, time: now.to_owned(), fields: all });
    managers.bound();
    metadata::of_mut(object).insert("managedFields".to_owned(), json!(managers.write()));
}
