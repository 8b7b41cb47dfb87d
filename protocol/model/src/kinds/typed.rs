//! Finds fields that a kind's Kubernetes type does not know: what does not survive a round trip through it is unknown.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The object after a round trip through `T`; an error names the path.
pub fn typed<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let parsed: T = serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if path == "." { cause.to_string() } else { format!("{path}: {cause}") }
    })?;
    serde_json::to_value(parsed).map_err(|error| error.to_string())
}

/// The schema of `T`, which is named as Kubernetes names schemas: `io.k8s.api.core.v1.Pod`, `io.vkube.v1alpha1.Network`.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Paths of `object` that are not in `known`, such as `spec.containers[0].imagee`.
pub fn unknown_fields(object: &Value, known: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(object, known, String::new(), &mut found);
    found
}

fn compare(object: &Value, known: &Value, path: String, found: &mut Vec<String>) {
    match (object, known) {
        (Value::Object(fields), Value::Object(known)) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => compare(value, known, path, found),
                    // Types leave out what is null: a client that says nothing can say it anywhere.
                    None if value.is_null() => {}
                    None => found.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, known)) in items.iter().zip(known).enumerate() {
                compare(item, known, format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Removes what is not in `known`, and nulls.
pub fn prune(object: &mut Value, known: &Value) {
    match (object, known) {
        (Value::Object(fields), Value::Object(known)) => {
            fields.retain(|name, value| !value.is_null() && known.contains_key(name));
            for (name, value) in fields {
                if let Some(known) = known.get(name) {
                    prune(value, known);
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (item, known) in items.iter_mut().zip(known) {
                prune(item, known);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_named_with_their_path_and_pruned() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "image": "x", "imagee": "y", "env": []}], "nonsense": {"a": 1}, "nothing": {}}
        });
        let known = typed::<k8s_openapi::api::core::v1::Pod>(&pod).expect("a pod");
        assert_eq!(unknown_fields(&pod, &known), ["spec.containers[0].imagee", "spec.nonsense", "spec.nothing"]);
        prune(&mut pod, &known);
        assert_eq!(pod["spec"], json!({"containers": [{"name": "c", "image": "x", "env": []}]}));
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_path() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": 5}]}});
        let error = typed::<k8s_openapi::api::core::v1::Pod>(&pod).expect_err("a number is no name");
        assert!(error.contains("spec.containers[0].name"), "{error}");
    }
}
