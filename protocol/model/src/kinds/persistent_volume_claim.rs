//! PersistentVolumeClaim: taken, so that manifests apply, and never bound: each container of a pod that names one has a directory
//! of its own that stays, as it has for any volume that is not declared here. The claim says so.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, schema_of, typed};
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const WHY: &str = "claims are not bound here: each container that mounts one has a directory of its own, which stays";

pub(super) const PERSISTENT_VOLUME_CLAIM: Kind = Kind {
    group: "",
    version: "v1",
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    categories: &[],
    namespaced: true,
    bucket: "PERSISTENTVOLUMECLAIMS",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Status", "string", 0, |object, _| at(object, "/status/phase").into()),
        column("Volume", "string", 0, |object, _| at(object, "/spec/volumeName").into()),
        column("Capacity", "string", 0, |object, _| at(object, "/status/capacity/storage").into()),
        column("Access Modes", "string", 0, |object, _| short_modes(object).into()),
        column("StorageClass", "string", 0, |object, _| at(object, "/spec/storageClassName").into()),
        column("VolumeAttributesClass", "string", 0, |object, _| {
            or_unset(at(object, "/spec/volumeAttributesClassName")).into()
        }),
        AGE,
        column("VolumeMode", "string", 1, |object, _| or_unset(at(object, "/spec/volumeMode")).into()),
    ],
    selectable: &[],
    dotted_names: true,
    default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<PersistentVolumeClaim>,
    schema: schema_of::<PersistentVolumeClaim>,
    warnings: |_| vec![format!("spec: {WHY}")],
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(
            2,
            "spec",
            Wire::Message(&[
                Field::new(1, "accessModes", Wire::Texts),
                Field::new(
                    2,
                    "resources",
                    Wire::Message(&[
                        Field::new(1, "limits", Wire::Quantities),
                        Field::new(2, "requests", Wire::Quantities),
                    ]),
                ),
                Field::new(3, "volumeName", Wire::Text),
                Field::new(4, "selector", Wire::Message(&[Field::new(1, "matchLabels", Wire::TextMap)])),
                Field::new(5, "storageClassName", Wire::Text),
                Field::new(6, "volumeMode", Wire::Text),
                Field::new(9, "volumeAttributesClassName", Wire::Text),
            ]),
        ),
        Field::new(3, "status", Wire::Skipped),
    ],
};

fn or_unset(text: &str) -> &str {
    if text.is_empty() { "<unset>" } else { text }
}

fn modes(object: &Value) -> Vec<&str> {
    let list = object.pointer("/spec/accessModes").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `RWO,ROX`, as kubectl writes them.
fn short_modes(object: &Value) -> String {
    let short = |mode: &str| match mode {
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "RWO",
    };
    modes(object).into_iter().map(short).collect::<Vec<_>>().join(",")
}

fn default(object: &mut Value) {
    if object["spec"].is_object() && at(object, "/spec/volumeMode").is_empty() {
        object["spec"]["volumeMode"] = json!("Filesystem");
    }
    if at(object, "/status/phase").is_empty() {
        object["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "vkube.io/Bound", "status": "False", "reason": "NotSupported", "message": WHY}]});
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if modes(new).is_empty() {
        problems.push(Problem::required_because("spec.accessModes", "at least 1 access mode is required"));
    }
    for (index, mode) in modes(new).into_iter().enumerate().filter(|(_, mode)| !MODES.contains(mode)) {
        problems.push(Problem::not_supported(format!("spec.accessModes[{index}]"), mode, &MODES));
    }
    if at(new, "/spec/resources/requests/storage").is_empty() {
        problems.push(Problem::required("spec.resources.requests[storage]"));
    }
    let mode = at(new, "/spec/volumeMode");
    if !["Block", "Filesystem"].contains(&mode) {
        problems.push(Problem::not_supported("spec.volumeMode", mode, &["Block", "Filesystem"]));
    }
    if let Some(old) = old {
        for field in ["accessModes", "selector", "storageClassName", "volumeMode"] {
            if old["spec"][field] != new["spec"][field] {
                let why = "spec is immutable after creation except resources.requests and volumeName";
                problems.push(Problem::forbidden(format!("spec.{field}"), why));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_says_what_it_wants_and_keeps_to_it() {
        let mut claim = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        default(&mut claim);
        assert!(validate(&claim, None).is_empty());
        assert_eq!((short_modes(&claim).as_str(), &claim["status"]["phase"]), ("RWO,ROX", &json!("Pending")));
        let mut other = claim.clone();
        other["spec"]["storageClassName"] = json!("fast");
        assert_eq!(validate(&other, Some(&claim))[0].field, "spec.storageClassName");
        let empty = validate(&json!({"spec": {"accessModes": [], "volumeMode": "x"}}), None);
        let fields: Vec<&str> = empty.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["spec.accessModes", "spec.resources.requests[storage]", "spec.volumeMode"]);
    }
}
