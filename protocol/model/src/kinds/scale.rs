//! Scale: how many there are to be of an object's replicas, as autoscalers and `kubectl scale` see any kind that has such a
//! number. It is stored nowhere: it is another look at the object itself.

use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::{Value, json};

use super::deployment::{count, selector_text};
use super::{AGE, Home, Kind, NAME, by_itself, column, no_default, no_warnings, schema_of, typed};
use crate::metadata;
use crate::problem::Problem;

/// The kind of the `scale` subresource; not one of the table of kinds.
pub const SCALE: Kind = Kind {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    plural: "scales",
    singular: "scale",
    short_names: &[],
    categories: &[],
    namespaced: true,
    bucket: "",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[
        NAME,
        column("Desired", "integer", 0, |scale, _| count(scale, "/spec/replicas").into()),
        column("Available", "integer", 0, |scale, _| count(scale, "/status/replicas").into()),
        AGE,
    ],
    selectable: &[],
    dotted_names: true,
    default: no_default,
    home: Home::Everywhere,
    validate: |scale, _| problems(scale),
    among: by_itself,
    typed: typed::<Scale>,
    schema: schema_of::<Scale>,
    warnings: no_warnings,
    protobuf: &[],
};

/// The Scale of an object that has `spec.replicas`, a selector and `status.replicas`.
pub fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    json!({
        "kind": SCALE.kind, "apiVersion": SCALE.api_version(), "metadata": metadata,
        "spec": {"replicas": count(object, "/spec/replicas")},
        "status": {"replicas": count(object, "/status/replicas"), "selector": selector_text(object)},
    })
}

/// The object with the number of its Scale. Types of clients leave out a number that is zero.
pub fn rescaled(mut object: Value, scale: &Value) -> Value {
    object["spec"]["replicas"] = json!(scale.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0));
    object
}

fn problems(scale: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    if metadata::name(scale).is_empty() {
        problems.push(Problem::required("metadata.name"));
    }
    match scale.get("spec") {
        Some(Value::Object(spec)) => {
            if let Some(number) = spec.get("replicas").and_then(Value::as_i64).filter(|number| *number < 0) {
                problems.push(Problem::invalid("spec.replicas", number, "must be greater than or equal to 0"));
            }
        }
        // Nothing said of it is no wish for none.
        _ => problems.push(Problem::required("spec")),
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_the_numbers_of_its_object_and_writes_one_back() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "d", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "paused": true},
            "status": {"replicas": 2},
        });
        let scale = scale_of(&object);
        assert_eq!(
            scale,
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {"name": "web", "namespace": "d", "uid": "u", "resourceVersion": "7"},
                "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "app=web"},
            })
        );
        assert_eq!(problems(&scale), []);
        let mut next = scale.clone();
        next["spec"] = json!({});
        let none = rescaled(object.clone(), &next);
        assert_eq!((&none["spec"]["replicas"], &none["spec"]["paused"]), (&json!(0), &json!(true)));
        next["spec"] = json!({"replicas": -1});
        assert_eq!(
            problems(&next)[0].to_string(),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        next["spec"] = Value::Null;
        assert_eq!(problems(&next)[0].field, "spec");
    }
}
