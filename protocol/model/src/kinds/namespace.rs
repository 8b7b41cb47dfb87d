//! Namespace.

use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use crate::protobuf::{Field, METADATA, Wire};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, no_problems, no_warnings, schema_of, typed};

pub(super) const NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    bucket: "NAMESPACES",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[NAME, column("Status", "string", 0, |object, _| at(object, "/status/phase").into()), AGE],
    selectable: &["status.phase"],
    dotted_names: false,
    default,
    home: Home::Everywhere,
    validate: no_problems,
    among: by_itself,
    typed: typed::<Namespace>,
    schema: schema_of::<Namespace>,
    warnings: no_warnings,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "spec", Wire::Message(&[Field::new(1, "finalizers", Wire::Texts)])),
        Field::new(3, "status", Wire::Message(&[Field::new(1, "phase", Wire::Text)])),
    ],
};

fn default(object: &mut Value) {
    if object.pointer("/status/phase").is_none() {
        object["status"] = json!({"phase": "Active"});
    }
    let name = at(object, "/metadata/name").to_owned();
    let labels = crate::metadata::of_mut(object).entry("labels").or_insert_with(|| json!({}));
    labels["kubernetes.io/metadata.name"] = json!(name);
}
