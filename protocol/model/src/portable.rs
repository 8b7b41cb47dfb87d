//! What of an object goes along when it moves to another store as text: what its owner wrote, and nothing that a server fills in.
//! Whoever takes it in finds the rest in the object that is there, or fills it in anew. Pure.

use serde_json::Value;

use crate::applied::LAST_APPLIED;
use crate::generated;
use crate::image_pins::{DEPLOYED, DEPLOYED_BEFORE, REFUSED};
use crate::kinds::{BARE_METAL_HOSTS, CONFIGURED_IN, Kind};
use crate::metadata;
use crate::workloads::{DRAIN, REVISION};

/// Fields of `metadata` that a server writes.
const SERVERS_OWN: [&str; 10] = [
    "uid",
    "resourceVersion",
    "generation",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    // They name uids, which nobody has elsewhere.
    "ownerReferences",
];
/// Annotations that mkube writes for itself.
const OWN_ANNOTATIONS: [&str; 7] =
    [DEPLOYED, DEPLOYED_BEFORE, REFUSED, REVISION, DRAIN, "vkube.io/image-wanted", "vkube.io/image-rollout"];
/// Finalizers that say what becomes of dependents.
const OWN_FINALIZERS: [&str; 2] = ["foregroundDeletion", "orphan"];
/// Labels that a Job gives its pods and itself.
const JOB_LABELS: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Parts of metadata that say nothing when there is nothing in them.
const LISTS: [&str; 3] = ["labels", "annotations", "finalizers"];
/// What was brought in of the boot manifest, which is a record of this store and not of its owner.
const BOOT_RECORD: (&str, &str) = ("kube-system", "mkube-boot-manifest");
/// Kinds that others need before they can be of use, in this order; all others come after them, by name.
const FIRST: [&str; 10] = [
    "Namespace",
    "Network",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
    "Pod",
    "Deployment",
    "Job",
    "CronJob",
];

/// Where the objects of a kind stand among others: those that others need come first.
pub fn rank(kind: &Kind) -> (usize, &'static str) {
    (FIRST.iter().position(|first| *first == kind.kind).unwrap_or(FIRST.len()), kind.kind)
}

/// Why objects of a kind never move; none: they do.
pub fn stays(kind: &Kind) -> Option<&'static str> {
    match kind.kind {
        "Event" => Some("what happened here did not happen elsewhere"),
        "Node" => Some("the node is the device, and mkube writes it"),
        "Lease" => Some("who holds one here holds none elsewhere"),
        _ if kind.read_only => Some("mkube writes them"),
        _ => None,
    }
}

/// Whether an object stays behind although its kind moves: somebody makes it again, or it is at its end.
fn stays_behind(kind: &Kind, object: &Value) -> bool {
    let of_controller = || metadata::owners(object).any(|owner| owner["controller"] == true);
    let key = (metadata::namespace(object), metadata::name(object));
    stays(kind).is_some()
        || metadata::is_deleting(object)
        || of_controller()
        || match kind.kind {
            // They would run once more.
            "Pod" => ["Succeeded", "Failed"].contains(&object["status"]["phase"].as_str().unwrap_or_default()),
            "Job" => is_finished(object),
            "Network" => metadata::annotation(object, CONFIGURED_IN).is_some(),
            "ConfigMap" => key == BOOT_RECORD || is_only_generated(object),
            _ => false,
        }
}

fn is_finished(job: &Value) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let ends = |one: &Value| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True";
    conditions.into_iter().any(ends)
}

/// The key that mkube writes in this ConfigMap.
fn generated_key(map: &Value) -> Option<&'static str> {
    if metadata::annotation(map, generated::GENERATED).is_none() || generated::is_kept_by_its_owner(map) {
        return None;
    }
    generated::generated_key(metadata::namespace(map), metadata::name(map))
}

fn is_only_generated(map: &Value) -> bool {
    let keys = |field: &str| map[field].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    generated_key(map).is_some_and(|own| keys("data").chain(keys("binaryData")).all(|key| key == own))
}

/// What of an object moves, or nothing if it stays where it is.
pub fn portable(kind: &Kind, object: &Value) -> Option<Value> {
    (!stays_behind(kind, object)).then(|| stripped(kind, object.clone()))
}

/// Takes passwords out of an object that is to be seen by whoever may not see secrets.
pub fn hide_passwords(kind: &Kind, object: &mut Value) {
    if kind.id() == BARE_METAL_HOSTS {
        remove(object.pointer_mut("/spec/bmc"), "password");
        // It repeats the whole object.
        remove(object.pointer_mut("/metadata/annotations"), LAST_APPLIED);
        drop_empty(object.get_mut("metadata"), &LISTS);
    }
}

/// An object without what a server fills in.
pub fn stripped(kind: &Kind, mut object: Value) -> Value {
    let generated = generated_key(&object).filter(|_| kind.kind == "ConfigMap");
    let meta = metadata::of_mut(&mut object);
    for field in SERVERS_OWN {
        meta.remove(field);
    }
    for annotation in OWN_ANNOTATIONS {
        remove(meta.get_mut("annotations"), annotation);
    }
    if let Some(finalizers) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|one| !one.as_str().is_some_and(|one| OWN_FINALIZERS.contains(&one)));
    }
    if let Some(key) = generated {
        remove(meta.get_mut("annotations"), generated::GENERATED);
        remove(object.get_mut("data"), key);
    }
    if kind.kind == "Job" && object["spec"]["manualSelector"] != true {
        for label in JOB_LABELS {
            remove(object.pointer_mut("/metadata/labels"), label);
            remove(object.pointer_mut("/spec/template/metadata/labels"), label);
        }
        remove(object.get_mut("spec"), "selector");
        drop_empty(object.pointer_mut("/spec/template/metadata"), &["labels"]);
        drop_empty(object.pointer_mut("/spec/template"), &["metadata"]);
    }
    drop_empty(object.get_mut("metadata"), &LISTS);
    if kind.has_status {
        remove(Some(&mut object), "status");
    }
    object
}

fn remove(map: Option<&mut Value>, key: &str) {
    if let Some(map) = map.and_then(Value::as_object_mut) {
        map.remove(key);
    }
}

fn drop_empty(map: Option<&mut Value>, fields: &[&str]) {
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        other => other.is_null(),
    };
    if let Some(map) = map.and_then(Value::as_object_mut) {
        map.retain(|field, value| !(fields.contains(&field.as_str()) && is_empty(value)));
    }
}

/// The object to be written where `current` is, so that what moves of it is what `document` says and the rest stays as it is.
pub fn taken_in(kind: &Kind, document: Value, current: &Value) -> Value {
    let mut next = stripped(kind, document);
    if let Some(owners) = current.pointer("/metadata/ownerReferences") {
        metadata::of_mut(&mut next).insert("ownerReferences".to_owned(), owners.clone());
    }
    for annotation in OWN_ANNOTATIONS {
        if let Some(value) = metadata::annotation(current, annotation) {
            put(metadata::of_mut(&mut next), "annotations", annotation, value.into());
        }
    }
    for finalizer in metadata::finalizers(current).filter(|one| OWN_FINALIZERS.contains(one)) {
        let finalizers = metadata::of_mut(&mut next).entry("finalizers").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = finalizers.as_array_mut() {
            list.push(finalizer.into());
        }
    }
    if kind.kind == "ConfigMap"
        && let Some(key) = generated_key(current)
        && !generated::is_kept_by_its_owner(&next)
    {
        let note = metadata::annotation(current, generated::GENERATED).unwrap_or_default();
        put(metadata::of_mut(&mut next), "annotations", generated::GENERATED, note.into());
        if let (Some(text), Some(fields)) = (current["data"].get(key), next.as_object_mut()) {
            put(fields, "data", key, text.clone());
        }
    }
    if kind.id() == BARE_METAL_HOSTS
        && let (Some(password), Some(bmc)) = (current.pointer("/spec/bmc/password"), next.pointer_mut("/spec/bmc"))
        && bmc.get("password").is_none_or(Value::is_null)
        && bmc.is_object()
    {
        // It was exported without.
        bmc["password"] = password.clone();
    }
    if kind.kind == "Job" {
        // Those of the template follow from its uid.
        for label in JOB_LABELS {
            if let Some(value) = metadata::labels(current).and_then(|labels| labels.get(label)) {
                put(metadata::of_mut(&mut next), "labels", label, value.clone());
            }
        }
    }
    next
}

fn put(fields: &mut serde_json::Map<String, Value>, map: &str, key: &str, value: Value) {
    let map = fields.entry(map).or_insert_with(|| Value::Object(serde_json::Map::new()));
    if map.is_null() {
        *map = Value::Object(serde_json::Map::new());
    }
    if let Some(map) = map.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
#[path = "portable_tests.rs"]
mod tests;
