//! Whether a write is acceptable, and what the object looks like after it. Pure but for the ids and times handed in.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use mkube_messages::objects::{FieldValidation, PatchType, StoredObject, Writer};
use mkube_model::fields::Submitted;
use mkube_model::kinds::{self, Home, Kind, SCALE, prune, scale_of, unknown_fields};
use mkube_model::metadata;
use mkube_model::patch;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use mkube_model::stored_text;
use mkube_model::workloads::REVISION;
use serde_json::{Value, json};

use crate::recording;

/// What admission needs beside the objects.
pub struct Circumstances {
    /// Time of day.
    pub now: Timestamp,
    /// Name of the node new objects are placed on.
    pub node: String,
    /// Whether controllers of other nodes use the same store.
    pub shared: bool,
    /// A fresh uid.
    pub uid: String,
    /// A random number, for `generateName`.
    pub random: u64,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
    /// Who writes.
    pub writer: Writer,
}

/// An admitted object.
#[derive(Debug)]
pub struct Admitted {
    /// Complete, without `resourceVersion`.
    pub value: Value,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// Parts of metadata that are left out when there is nothing in them.
const METADATA_LISTS: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
/// Bytes of all annotations of an object.
const ANNOTATIONS: usize = 256 << 10;
/// Bytes of an object. Patches of allowed size could else make it grow without end.
pub const OBJECT: usize = 3 << 20;

/// RFC 3339, whole seconds.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Admits a new object. `namespace` is the one of the path, empty for cluster-scoped kinds.
pub fn create(kind: &Kind, namespace: &str, body: Value, given: &Circumstances) -> Result<Admitted, Status> {
    let mut admitted = made(kind, namespace, body, given)?;
    recording::created(kind, &mut admitted.value, given);
    Ok(admitted)
}

/// The same without a word of who made it.
pub fn made(kind: &Kind, namespace: &str, mut body: Value, given: &Circumstances) -> Result<Admitted, Status> {
    check_type(kind, &mut body)?;
    let warnings = decode(kind, &mut body, given.field_validation)?;
    name_it(kind, namespace, &mut body, given)?;
    let name = metadata::name(&body).to_owned();
    let meta = metadata::of_mut(&mut body);
    for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"] {
        meta.remove(field);
    }
    meta.insert("uid".into(), json!(given.uid));
    meta.insert("creationTimestamp".into(), json!(stamp(given.now)));
    meta.insert("generation".into(), json!(1));
    if kind.has_status
        && let Some(fields) = body.as_object_mut()
    {
        fields.remove("status");
    }
    (kind.default)(&mut body);
    settle(kind, &mut body, None, given);
    finish(kind, &name, body, None, warnings)
}

/// A new object is at home here, unless it says otherwise; one that is there stays where it is.
fn settle(kind: &Kind, body: &mut Value, old: Option<&Value>, given: &Circumstances) {
    if kind.home != Home::Annotation || given.shared {
        let node = old.and_then(|old| kind.home.of(old)).unwrap_or(&given.node).to_owned();
        kind.home.settle(body, &node);
    }
}

/// Admits a replacement. `current` is as published.
pub fn update(
    kind: &Kind,
    current: &Value,
    body: Value,
    subresource: &str,
    given: &Circumstances,
) -> Result<Admitted, Status> {
    if subresource == "scale" {
        return rescaled(kind, current, body, given);
    }
    let submitted = recording::submitted(kind, current, &body, subresource)?;
    let mut admitted = replaced(kind, current, body, subresource, given)?;
    recording::updated(kind, current, &mut admitted.value, submitted, subresource, given)?;
    Ok(admitted)
}

/// The same without a word of who wrote it: `managedFields` are as before.
pub fn replaced(
    kind: &Kind,
    current: &Value,
    mut body: Value,
    subresource: &str,
    given: &Circumstances,
) -> Result<Admitted, Status> {
    let name = metadata::name(current).to_owned();
    check_type(kind, &mut body)?;
    let mut warnings = decode(kind, &mut body, given.field_validation)?;
    check_identity(kind, current, &body)?;
    if subresource == "status" {
        let mut next = without_version(current);
        next["status"] = body.get("status").cloned().unwrap_or(json!({}));
        warnings.clear();
        return Ok(Admitted { value: next, warnings });
    }
    let current = without_version(current);
    let old = current.get("metadata").cloned().unwrap_or_default();
    let meta = metadata::of_mut(&mut body);
    for field in ["resourceVersion", "selfLink", "generateName"] {
        meta.remove(field);
    }
    // What the server owns stays as it was.
    let owned = [
        "uid",
        "name",
        "namespace",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "managedFields",
    ];
    for field in owned {
        match old.get(field) {
            Some(value) => meta.insert(field.into(), value.clone()),
            None => meta.remove(field),
        };
    }
    if kind.has_status {
        match current.get("status") {
            Some(status) => body["status"] = status.clone(),
            None => drop(body.as_object_mut().map(|fields| fields.remove("status"))),
        }
    }
    if let Some(added) = added_finalizer(&old, &body) {
        let why = "no new finalizers can be added if the object is being deleted, found new finalizer";
        let problem = Problem::forbidden("metadata.finalizers", format!("{why} {added:?}"));
        return Err(Status::invalid(kind, &name, &[problem]));
    }
    (kind.default)(&mut body);
    settle(kind, &mut body, Some(&current), given);
    let noted = kind.annotations_are_wanted() && noted(&body) != noted(&current);
    if noted || what_is_wanted(&body) != what_is_wanted(&current) {
        let generation = old.get("generation").and_then(Value::as_u64).unwrap_or(0) + 1;
        metadata::of_mut(&mut body).insert("generation".into(), json!(generation));
    }
    finish(kind, &name, body, Some(&current), warnings)
}

/// Admits another number of replicas, told as the object's Scale.
fn rescaled(kind: &Kind, current: &Value, mut scale: Value, given: &Circumstances) -> Result<Admitted, Status> {
    check_type(&SCALE, &mut scale)?;
    let warnings = decode(&SCALE, &mut scale, given.field_validation)?;
    check_identity(kind, current, &scale)?;
    let problems = (SCALE.validate)(&scale, None);
    if !problems.is_empty() {
        return Err(Status::invalid(&SCALE, metadata::name(current), &problems));
    }
    let next = kinds::rescaled(current.clone(), &scale);
    let mut admitted = replaced(kind, current, next, "", given)?;
    recording::updated(kind, current, &mut admitted.value, Submitted::Nothing, "scale", given)?;
    Ok(Admitted { warnings, ..admitted })
}

/// Applies a patch to the object as published, then admits the result as a replacement.
pub fn patched(
    kind: &Kind,
    current: &Value,
    how: PatchType,
    body: &Value,
    subresource: &str,
    given: &Circumstances,
) -> Result<Admitted, Status> {
    if how == PatchType::Strategic && !kind.has_strategic_merge() {
        return Err(Status::unsupported_media(format!(
            "application/strategic-merge-patch+json is not supported by {} {}: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            kind.api_version(),
            kind.kind
        )));
    }
    let scale = (subresource == "scale").then(|| scale_of(current));
    let target = scale.as_ref().unwrap_or(current);
    let result = match how {
        PatchType::Json => patch::json_patch(target, body),
        PatchType::Merge => patch::merge_patch(target, body),
        PatchType::Strategic => patch::strategic_merge_patch(target, body),
        PatchType::Apply => return crate::applying::applied(kind, current, body.clone(), subresource, given),
    }?;
    let (old, new) = (metadata::uid(current), metadata::uid(&result));
    if !new.is_empty() && new != old {
        let problem = Problem::invalid("metadata.uid", new, "field is immutable");
        return Err(Status::invalid(kind, metadata::name(current), &[problem]));
    }
    update(kind, current, result, subresource, given)
}

/// The object with a deletion mark.
pub fn mark_deleted(current: &Value, grace: u64, now: Timestamp) -> Value {
    let mut next = without_version(current);
    let meta = metadata::of_mut(&mut next);
    // The time by which it is to be gone. A grace that reaches beyond all calendars ends now.
    let seconds = i64::try_from(grace).unwrap_or(i64::MAX);
    let until = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    meta.insert("deletionTimestamp".into(), json!(stamp(until)));
    meta.insert("deletionGracePeriodSeconds".into(), json!(grace));
    next
}

/// Uids of the owners that an object names and did not name before.
pub fn new_owners<'a>(before: Option<&'a StoredObject>, after: &'a Value) -> impl Iterator<Item = &'a str> {
    let known = before.map(StoredObject::owners).unwrap_or_default();
    let uids = metadata::owners(after).map(metadata::owner_uid);
    uids.filter(move |uid| !known.iter().any(|owner| *owner.uid == **uid))
}

/// Checks `preconditions` of `DeleteOptions`.
pub fn check_preconditions(kind: &Kind, current: &Value, options: &Value) -> Result<(), Status> {
    let name = metadata::name(current);
    let wanted = |field: &str| options.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str);
    if let Some(uid) = wanted("uid")
        && uid != metadata::uid(current)
    {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", metadata::uid(current));
        return Err(Status::conflict(kind, name, why));
    }
    if let Some(version) = wanted("resourceVersion")
        && version != metadata::resource_version(current)
    {
        return Err(Status::stale(kind, name));
    }
    Ok(())
}

/// The object as it is stored: its revision is not part of it.
pub fn without_version(object: &Value) -> Value {
    let mut object = object.clone();
    metadata::of_mut(&mut object).remove("resourceVersion");
    object
}

/// Everything a user decides: not metadata, not status.
fn what_is_wanted(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !["metadata", "status", "apiVersion", "kind"].contains(&name.as_str())).collect()
}

/// The annotations that users decide on. The revision is written down by mkube, and is a status.
fn noted(object: &Value) -> BTreeMap<&String, &Value> {
    let notes = object.pointer("/metadata/annotations").and_then(Value::as_object);
    notes.into_iter().flatten().filter(|(key, _)| *key != REVISION).collect()
}

pub fn check_type(kind: &Kind, body: &mut Value) -> Result<(), Status> {
    let Some(fields) = body.as_object_mut() else {
        return Err(Status::bad_request("the body must be a JSON or YAML object"));
    };
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        match fields.get(field) {
            None | Some(Value::Null) => drop(fields.insert(field.into(), json!(expected))),
            Some(Value::String(found)) if *found == expected => {}
            Some(Value::String(found)) if found.is_empty() => drop(fields.insert(field.into(), json!(expected))),
            Some(found) => {
                let message =
                    format!("the {field} in the data ({found}) does not match the expected {field} ({expected:?})");
                return Err(Status::bad_request(message));
            }
        }
    }
    if fields.get("metadata").is_some_and(|meta| !meta.is_object() && !meta.is_null()) {
        return Err(Status::bad_request("metadata must be an object"));
    }
    Ok(())
}

/// Checks types, drops what the kind does not know, and says so as asked.
pub fn decode(kind: &Kind, body: &mut Value, validation: FieldValidation) -> Result<Vec<String>, Status> {
    let known = (kind.typed)(body).map_err(|why| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        ))
    })?;
    let unknown: Vec<String> =
        unknown_fields(body, &known).into_iter().map(|path| format!("unknown field {path:?}")).collect();
    if validation == FieldValidation::Strict && !unknown.is_empty() {
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            unknown.join(", ")
        );
        return Err(Status::bad_request(message));
    }
    prune(body, &known);
    // An empty map or list of metadata says nothing, and is not to make a difference.
    metadata::of_mut(body).retain(|field, value| !(METADATA_LISTS.contains(&field.as_str()) && is_empty(value)));
    let mut warnings = if validation == FieldValidation::Warn { unknown } else { Vec::new() };
    warnings.extend((kind.warnings)(body));
    Ok(warnings)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn name_it(kind: &Kind, namespace: &str, body: &mut Value, given: &Circumstances) -> Result<(), Status> {
    let in_body = metadata::namespace(body).to_owned();
    if kind.namespaced {
        if !in_body.is_empty() && in_body != namespace {
            let message = format!(
                "the namespace of the provided object does not match the namespace sent on the request: {in_body:?}, {namespace:?}"
            );
            return Err(Status::bad_request(message));
        }
        metadata::of_mut(body).insert("namespace".into(), json!(namespace));
    } else {
        metadata::of_mut(body).remove("namespace");
    }
    if metadata::name(body).is_empty() {
        let prefix = body.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
        if prefix.is_empty() {
            let problem = Problem::required_because("metadata.name", "name or generateName is required");
            return Err(Status::invalid(kind, "", &[problem]));
        }
        let name = metadata::generated_name(prefix, given.random);
        metadata::of_mut(body).insert("name".into(), json!(name));
    }
    Ok(())
}

/// A finalizer that an object on its way out did not have before.
fn added_finalizer<'a>(old: &Value, body: &'a Value) -> Option<&'a Value> {
    old.get("deletionTimestamp").filter(|at| !at.is_null())?;
    let before = old.get("finalizers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    body.pointer("/metadata/finalizers")?.as_array()?.iter().find(|one| !before.contains(one))
}

pub fn check_identity(kind: &Kind, current: &Value, body: &Value) -> Result<(), Status> {
    let name = metadata::name(current);
    let differs = |found: &str, expected: &str| !found.is_empty() && found != expected;
    if differs(metadata::name(body), name) {
        let message =
            format!("the name of the object ({}) does not match the name on the URL ({name})", metadata::name(body));
        return Err(Status::bad_request(message));
    }
    if differs(metadata::namespace(body), metadata::namespace(current)) {
        return Err(Status::bad_request("the namespace of the object does not match the namespace on the request"));
    }
    if differs(metadata::resource_version(body), metadata::resource_version(current)) {
        return Err(Status::stale(kind, name));
    }
    if differs(metadata::uid(body), metadata::uid(current)) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            metadata::uid(body),
            metadata::uid(current)
        );
        return Err(Status::conflict(kind, name, why));
    }
    Ok(())
}

fn finish(
    kind: &Kind,
    name: &str,
    value: Value,
    old: Option<&Value>,
    warnings: Vec<String>,
) -> Result<Admitted, Status> {
    let mut problems = Vec::new();
    let name_problem =
        if kind.dotted_names { metadata::subdomain_problem(name) } else { metadata::label_problem(name) };
    if let Some(why) = name_problem {
        problems.push(Problem::invalid("metadata.name", name, why));
    }
    for (key, value) in metadata::labels(&value).into_iter().flatten() {
        if let Some(why) = metadata::key_problem(key) {
            problems.push(Problem::invalid("metadata.labels", key.as_str(), why));
        }
        if let Some(why) = value.as_str().and_then(metadata::label_value_problem) {
            problems.push(Problem::invalid("metadata.labels", value.clone(), why));
        }
    }
    let mut annotations = 0;
    for (key, value) in value.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten() {
        annotations += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = metadata::key_problem(&key.to_ascii_lowercase()) {
            problems.push(Problem::invalid("metadata.annotations", key.as_str(), why));
        }
    }
    if annotations > ANNOTATIONS {
        problems.push(Problem::too_long("metadata.annotations", ANNOTATIONS));
    }
    if let Some(why) = stored_text::problem(&value) {
        return Err(Status::bad_request(format!("the object could not be read again: {why}")));
    }
    problems.extend((kind.validate)(&value, old));
    if problems.is_empty() && value.to_string().len() > OBJECT {
        return Err(Status::too_large(OBJECT));
    }
    if problems.is_empty() { Ok(Admitted { value, warnings }) } else { Err(Status::invalid(kind, name, &problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::kinds::KindTable;

    fn kind(name: &str) -> Kind {
        *KindTable::builtin().named(name).expect("a kind")
    }

    fn given(field_validation: FieldValidation) -> Circumstances {
        let now = "2026-01-02T03:04:05Z".parse().expect("a literal");
        Circumstances {
            now,
            node: "n".into(),
            shared: false,
            uid: "u1".into(),
            random: 7,
            field_validation,
            writer: Writer::own(),
        }
    }

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}})
    }

    fn created(name: &str) -> Value {
        let mut value =
            create(&kind("Pod"), "default", pod(name), &given(FieldValidation::Strict)).expect("good").value;
        metadata::of_mut(&mut value).insert("resourceVersion".into(), json!("5"));
        value
    }

    #[test]
    fn a_new_object_gets_identity_and_defaults_whatever_it_claims() {
        let mut body = pod("a");
        body["metadata"]["uid"] = json!("mine");
        body["metadata"]["resourceVersion"] = json!("99");
        body["status"] = json!({"phase": "Running"});
        let value = create(&kind("Pod"), "default", body, &given(FieldValidation::Ignore)).expect("good").value;
        assert_eq!(value["metadata"]["uid"], "u1");
        assert_eq!(value["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(value["metadata"]["namespace"], "default");
        assert_eq!(value["metadata"].get("resourceVersion"), None);
        assert_eq!(
            (&value["kind"], &value["apiVersion"], &value["status"]["phase"]),
            (&json!("Pod"), &json!("v1"), &json!("Pending"))
        );
    }

    #[test]
    fn bad_input_is_refused_and_named() {
        let refuse =
            |body: Value, validation| create(&kind("Pod"), "default", body, &given(validation)).expect_err("bad");
        assert_eq!(refuse(json!([]), FieldValidation::Warn).code, 400);
        assert_eq!(refuse(json!({"kind": "ConfigMap"}), FieldValidation::Warn).code, 400);
        assert_eq!(refuse(json!({"metadata": {"namespace": "other", "name": "a"}}), FieldValidation::Warn).code, 400);
        assert_eq!(refuse(json!({"spec": {"containers": []}}), FieldValidation::Warn).code, 422);
        let mut typo = pod("a");
        typo["spec"]["containers"][0]["imagee"] = json!("x");
        let refused = refuse(typo.clone(), FieldValidation::Strict);
        assert!(
            refused.message.contains("strict decoding error: unknown field \"spec.containers[0].imagee\""),
            "{refused}"
        );
        let warned = create(&kind("Pod"), "default", typo, &given(FieldValidation::Warn)).expect("only warned");
        assert_eq!(warned.warnings, ["unknown field \"spec.containers[0].imagee\""]);
        let named = refuse(pod("Not_A_Name"), FieldValidation::Warn);
        assert_eq!(named.details["causes"][0]["field"], "metadata.name");
    }

    #[test]
    fn generate_name_appends_five_characters() {
        let mut body = pod("");
        body["metadata"] = json!({"generateName": "web-"});
        let value = create(&kind("Pod"), "default", body, &given(FieldValidation::Strict)).expect("good").value;
        let name = metadata::name(&value);
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    }

    #[test]
    fn an_update_keeps_what_the_server_owns_and_counts_generations() {
        let current = created("a");
        let mut body = current.clone();
        body["spec"]["containers"][0]["image"] = json!("x:2");
        body["status"] = json!({"phase": "Failed"});
        body["metadata"]["creationTimestamp"] = json!("1999-01-01T00:00:00Z");
        let next = update(&kind("Pod"), &current, body, "", &given(FieldValidation::Strict)).expect("good").value;
        assert_eq!(next["metadata"]["generation"], 2);
        assert_eq!(next["status"]["phase"], "Pending");
        assert_eq!(next["metadata"]["creationTimestamp"], "2026-01-02T03:04:05Z");
        let same =
            update(&kind("Pod"), &current, current.clone(), "", &given(FieldValidation::Strict)).expect("good").value;
        assert_eq!(same, without_version(&current), "an update that says nothing new changes nothing");
    }

    #[test]
    fn a_status_write_changes_only_the_status() {
        let current = created("a");
        let mut body = current.clone();
        body["spec"]["containers"][0]["image"] = json!("evil");
        body["status"] = json!({"phase": "Running"});
        let next = update(&kind("Pod"), &current, body, "status", &given(FieldValidation::Ignore)).expect("good").value;
        assert_eq!(next["status"]["phase"], "Running");
        assert_eq!(next["spec"], current["spec"]);
        assert_eq!(next["metadata"]["generation"], 1);
    }

    #[test]
    fn a_replacement_without_a_node_stays_where_it_is() {
        let current = created("a");
        let mut body = current.clone();
        body["spec"].as_object_mut().expect("a spec").remove("nodeName");
        let next = update(&kind("Pod"), &current, body, "", &given(FieldValidation::Strict)).expect("good").value;
        assert_eq!(next, without_version(&current));
    }

    #[test]
    fn empty_metadata_makes_no_difference() {
        let current = created("a");
        let mut body = current.clone();
        body["metadata"]["annotations"] = json!({});
        body["metadata"]["finalizers"] = json!([]);
        let next = update(&kind("Pod"), &current, body, "", &given(FieldValidation::Strict)).expect("good").value;
        assert_eq!(next, without_version(&current));
    }

    #[test]
    fn annotations_are_checked_and_bounded() {
        for (key, value, count) in [("not a key", "x".to_owned(), 1), ("fine/key", "x".repeat(ANNOTATIONS), 1)] {
            let mut body = pod("a");
            body["metadata"]["annotations"] = json!({key: value});
            let refused = create(&kind("Pod"), "default", body, &given(FieldValidation::Strict)).expect_err("bad");
            assert_eq!(refused.details["causes"].as_array().map(Vec::len), Some(count));
            assert_eq!(refused.details["causes"][0]["field"], "metadata.annotations");
        }
    }

    #[test]
    fn an_object_cannot_grow_beyond_a_request() {
        let mut body = pod("a");
        body["spec"]["containers"][0]["args"] = json!([" ".repeat(OBJECT)]);
        let refused = create(&kind("Pod"), "default", body, &given(FieldValidation::Strict)).expect_err("too large");
        assert_eq!(refused.code, 413);
    }

    #[test]
    fn a_deletion_is_due_after_its_grace() {
        let now = "2026-01-02T03:04:05Z".parse().expect("a literal");
        let marked = mark_deleted(&created("a"), 30, now);
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
        assert_eq!(mark_deleted(&created("a"), u64::MAX, now)["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_stale_version_or_another_uid_is_a_conflict() {
        let current = created("a");
        for (field, value) in [("resourceVersion", "4"), ("uid", "other")] {
            let mut body = current.clone();
            body["metadata"][field] = json!(value);
            let refused = update(&kind("Pod"), &current, body, "", &given(FieldValidation::Strict)).expect_err("stale");
            assert_eq!((refused.code, refused.reason), (409, "Conflict"));
        }
    }
}
