//! The document of one group and version, OpenAPI 3.0.

use mkube_model::discovery::{measured, subresources};
use mkube_model::kinds::KindTable;
use serde_json::{Map, Value, json};

use crate::measurements;
use crate::paths;
use crate::schemas::Schemas;

/// `api/v1`, `apis/apps/v1`: where a group and version is served.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The document.
pub fn document(kinds: &KindTable, group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Schemas::new());
    for kind in kinds.served() {
        if (kind.group, kind.version) == (group, version) {
            paths::describe(kind, &mut schemas, &mut paths);
        }
        // Groups that have nothing but what subresources take.
        for sub in subresources(kind).iter().filter(|sub| (sub.kind.0, sub.kind.1) == (group, version)) {
            schemas.of_subresource(sub.kind);
        }
    }
    for measured in measured(group) {
        measurements::describe(version, measured, &mut schemas, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "mkube", "version": "v1.32.0"},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}
