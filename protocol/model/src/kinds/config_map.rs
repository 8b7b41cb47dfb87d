//! ConfigMap: files and variables for containers.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::{AGE, Home, Kind, NAME, by_itself, column, config_key_problem, no_default, no_warnings, schema_of, typed};
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

/// Bytes of all values together, as Kubernetes limits them.
const LIMIT: usize = 1 << 20;

pub(super) const CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    bucket: "CONFIGMAPS",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[NAME, column("Data", "integer", 0, |object, _| entries(object).into()), AGE],
    selectable: &[],
    dotted_names: true,
    default: no_default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<ConfigMap>,
    schema: schema_of::<ConfigMap>,
    warnings: no_warnings,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "data", Wire::TextMap),
        Field::new(3, "binaryData", Wire::BytesMap),
        Field::new(4, "immutable", Wire::Boolean),
    ],
};

fn entries(object: &Value) -> usize {
    ["data", "binaryData"].iter().filter_map(|field| object.get(field)?.as_object()).map(serde_json::Map::len).sum()
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in new.get(field).and_then(Value::as_object).into_iter().flatten() {
            size += key.len() + value.as_str().map_or(0, str::len);
            problems.extend(config_key_problem(field, key));
        }
    }
    if size > LIMIT {
        problems.push(Problem::too_long("data", LIMIT));
    }
    if let Some(old) = old
        && old.get("immutable") == Some(&Value::Bool(true))
        && (new.get("data") != old.get("data") || new.get("binaryData") != old.get("binaryData"))
    {
        problems.push(Problem::forbidden("data", "field is immutable when `immutable` is set"));
    }
    problems
}
