//! Who manages which fields of an object that is written, as `metadata.managedFields` says it.

use mkube_model::fields::{self, Manager, Managers, Operation, Submitted};
use mkube_model::kinds::Kind;
use mkube_model::list_types::Types;
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::Value;

use crate::admission::{Circumstances, OBJECT, stamp};

/// Length of `managedFields` from which on the whole object is measured once more.
const LONG: usize = 64 << 10;

/// What is known of the fields of a kind.
pub fn types(kind: &Kind) -> Types {
    Types::new(kind.has_strategic_merge())
}

/// The manager that a write is of.
pub fn manager(kind: &Kind, operation: Operation, subresource: &str, given: &Circumstances) -> Manager {
    let name = if given.writer.manager.is_empty() { "unknown" } else { &given.writer.manager };
    let subresource = if matches!(subresource, "status" | "scale") { subresource } else { "" };
    Manager { name: name.to_owned(), operation, api_version: kind.api_version(), subresource: subresource.to_owned() }
}

/// Notes who made an object.
pub fn created(kind: &Kind, object: &mut Value, given: &Circumstances) {
    let by = manager(kind, Operation::Update, "", given);
    let managers = fields::created(object, &by, types(kind), &stamp(given.now));
    put(object, &managers);
}

/// What a body says of `managedFields`. A subresource does not change them.
pub fn submitted(kind: &Kind, current: &Value, body: &Value, subresource: &str) -> Result<Submitted, Status> {
    let same = || body.pointer("/metadata/managedFields") == current.pointer("/metadata/managedFields");
    if subresource == "status" || same() {
        return Ok(Submitted::Nothing);
    }
    Submitted::of(body).map_err(|problem| Status::invalid(kind, metadata::name(current), &[problem]))
}

/// Notes who changed an object. `next` has the `managedFields` of before.
pub fn updated(
    kind: &Kind,
    current: &Value,
    next: &mut Value,
    submitted: Submitted,
    subresource: &str,
    given: &Circumstances,
) -> Result<(), Status> {
    let by = manager(kind, Operation::Update, subresource, given);
    let before = match &submitted {
        Submitted::Nothing => Managers::of(current),
        Submitted::Cleared => Managers::default(),
        Submitted::These(managers) => managers.clone(),
    };
    let managers = fields::updated(current, next, before.clone(), &by, types(kind), &stamp(given.now));
    if submitted == Submitted::Nothing && managers == before && !before.is_empty() {
        return Ok(());
    }
    put(next, &managers);
    check_size(next)
}

/// Writes down who manages what.
pub fn put(object: &mut Value, managers: &Managers) {
    let meta = metadata::of_mut(object);
    if managers.is_empty() {
        meta.remove("managedFields");
    } else {
        meta.insert("managedFields".into(), managers.write());
    }
}

/// Refuses an object that grew too large by who manages it.
pub fn check_size(object: &Value) -> Result<(), Status> {
    let long = object.pointer("/metadata/managedFields").is_some_and(|list| list.to_string().len() > LONG);
    if long && object.to_string().len() > OBJECT { Err(Status::too_large(OBJECT)) } else { Ok(()) }
}
