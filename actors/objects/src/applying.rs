//! Server-side apply: admits what somebody wants of an object, whether it is there or not.

use mkube_model::fields::{self, Intent, Manager, Managers, Operation};
use mkube_model::kinds::{Kind, SCALE};
use mkube_model::metadata;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::admission::{self, Admitted, Circumstances, stamp};
use crate::recording;

/// Admits what is applied to an object that is there. `current` is as published.
pub fn applied(
    kind: &Kind,
    current: &Value,
    mut body: Value,
    subresource: &str,
    given: &Circumstances,
) -> Result<Admitted, Status> {
    let is_scale = subresource == "scale";
    let row = if is_scale { &SCALE } else { kind };
    check_body(row, &mut body)?;
    admission::check_identity(kind, current, &body)?;
    if subresource == "status" {
        // Only a part of it is taken, and all of it is to be well.
        admission::decode(kind, &mut body.clone(), given.field_validation)?;
    }
    let by = manager(kind, subresource, given)?;
    let config = if is_scale { of_scale(&mut body, current, given)? } else { fields::wanted(&body, subresource) };
    let types = recording::types(kind);
    fields::check_lists(&config, types)?;
    let now = stamp(given.now);
    let intent = Intent { by: &by, force: given.writer.force, types, now: &now };
    let mut before = Managers::of(current);
    if before.is_empty() {
        before = fields::before_first_apply(current, &kind.api_version(), types, &now);
    }
    let refused = |conflicts: Vec<fields::Conflict>| fields::conflict_status(&conflicts);
    let (mut next, mut managers) = fields::apply(current, &config, before, intent).map_err(refused)?;
    if !is_scale {
        fields::refresh_last_applied(&by, &mut next, &body);
    }
    let status = if subresource == "status" { "status" } else { "" };
    let mut admitted = admission::replaced(kind, current, next, status, given)?;
    managers.settle(&by, &admitted.value, types);
    // Who says the same again changes nothing, not even the time.
    if admitted.value != admission::without_version(current) || !managers.say_what(&Managers::of(current)) {
        recording::put(&mut admitted.value, &managers);
        recording::check_size(&admitted.value)?;
    }
    Ok(admitted)
}

/// Admits what is applied where nothing is: it becomes an object.
pub fn applied_anew(
    kind: &Kind,
    namespace: &str,
    name: &str,
    mut body: Value,
    given: &Circumstances,
) -> Result<Admitted, Status> {
    check_body(kind, &mut body)?;
    let differs = |found: &str, expected: &str| !found.is_empty() && found != expected;
    if differs(metadata::name(&body), name) {
        let found = metadata::name(&body);
        let message = format!("the name of the object ({found}) does not match the name on the URL ({name})");
        return Err(Status::bad_request(message));
    }
    // Whoever means a certain object does not mean another one in its place.
    if !metadata::resource_version(&body).is_empty() || !metadata::uid(&body).is_empty() {
        return Err(Status::stale(kind, name));
    }
    let by = manager(kind, "", given)?;
    let mut config = fields::wanted(&body, "");
    let types = recording::types(kind);
    fields::check_lists(&config, types)?;
    let meta = metadata::of_mut(&mut config);
    meta.insert("name".into(), json!(name));
    // A namespace that is not the one of the path is refused with the object.
    if !metadata::namespace(&body).is_empty() {
        metadata::of_mut(&mut config).insert("namespace".into(), json!(metadata::namespace(&body)));
    }
    let now = stamp(given.now);
    let intent = Intent { by: &by, force: true, types, now: &now };
    let refused = |conflicts: Vec<fields::Conflict>| fields::conflict_status(&conflicts);
    let (next, mut managers) = fields::apply(&json!({}), &config, Managers::default(), intent).map_err(refused)?;
    let mut admitted = admission::made(kind, namespace, next, given)?;
    managers.settle(&by, &admitted.value, types);
    recording::put(&mut admitted.value, &managers);
    recording::check_size(&admitted.value)?;
    Ok(admitted)
}

fn check_body(kind: &Kind, body: &mut Value) -> Result<(), Status> {
    if !body.is_object() {
        return Err(Status::bad_request("the body must be a JSON or YAML object"));
    }
    for field in ["apiVersion", "kind"] {
        if body.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Status::bad_request(format!("{field}: must be set in what is applied")));
        }
    }
    admission::check_type(kind, body)?;
    if body.pointer("/metadata/managedFields").is_some_and(|list| !list.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

fn manager(kind: &Kind, subresource: &str, given: &Circumstances) -> Result<Manager, Status> {
    if given.writer.manager.is_empty() {
        let problem = Problem::required_because("fieldManager", "is required for apply patch");
        return Err(Status::invalid_option("PatchOptions", &problem));
    }
    Ok(recording::manager(kind, Operation::Apply, subresource, given))
}

/// What somebody wants who applies a Scale: so many replicas of the object itself.
fn of_scale(body: &mut Value, current: &Value, given: &Circumstances) -> Result<Value, Status> {
    admission::decode(&SCALE, body, given.field_validation)?;
    let problems = (SCALE.validate)(body, None);
    if !problems.is_empty() {
        return Err(Status::invalid(&SCALE, metadata::name(current), &problems));
    }
    Ok(match body.pointer("/spec/replicas") {
        Some(replicas) => json!({"spec": {"replicas": replicas}}),
        None => json!({}),
    })
}
