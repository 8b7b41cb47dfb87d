//! Node: the device.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::{AGE, Home, Kind, NAME, at, by_itself, column, no_default, no_problems, no_warnings, schema_of, typed};

pub(super) const NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    bucket: "NODES",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Status", "string", 0, ready),
        column("Roles", "string", 0, roles),
        AGE,
        column("Version", "string", 0, |object, _| at(object, "/status/nodeInfo/kubeletVersion").into()),
        column("Internal-IP", "string", 1, |object, _| address(object, "InternalIP").into()),
        column("External-IP", "string", 1, |_, _| "<none>".into()),
        column("OS-Image", "string", 1, |object, _| or_unknown(at(object, "/status/nodeInfo/osImage")).into()),
        column("Kernel-Version", "string", 1, |object, _| {
            or_unknown(at(object, "/status/nodeInfo/kernelVersion")).into()
        }),
        column("Container-Runtime", "string", 1, |object, _| {
            or_unknown(at(object, "/status/nodeInfo/containerRuntimeVersion")).into()
        }),
    ],
    selectable: &["spec.unschedulable"],
    dotted_names: true,
    default: no_default,
    home: Home::Everywhere,
    validate: no_problems,
    among: by_itself,
    typed: typed::<Node>,
    schema: schema_of::<Node>,
    warnings: no_warnings,
    protobuf: &[],
};

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "<unknown>" } else { text }
}

fn ready(object: &Value, _now: Timestamp) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    let word = match ready.map(|one| &one["status"]) {
        Some(status) if status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let closed = object.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if closed { format!("{word},SchedulingDisabled").into() } else { word.into() }
}

fn roles(object: &Value, _now: Timestamp) -> Value {
    let labels = crate::metadata::labels(object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| {
            key.strip_prefix("node-role.kubernetes.io/")
                .or_else(|| (key == "kubernetes.io/role").then(|| value.as_str()).flatten())
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".into() } else { roles.join(",").into() }
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    object
        .pointer("/status/addresses")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|one| one["type"] == kind))
        .and_then(|one| one["address"].as_str())
        .unwrap_or("<none>")
}
