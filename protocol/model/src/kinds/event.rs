//! Event: what happened to an object, counted rather than repeated.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

use super::{Home, Kind, age, at, by_itself, column, no_default, no_warnings, schema_of, typed};

pub(super) const EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    bucket: "EVENTS",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[
        column("Last Seen", "string", 0, |object, now| {
            seen(object, &["/lastTimestamp", "/series/lastObservedTime", "/firstTimestamp", "/eventTime"], now)
        }),
        column("Type", "string", 0, |object, _| at(object, "/type").into()),
        column("Reason", "string", 0, |object, _| at(object, "/reason").into()),
        column("Object", "string", 0, involved),
        column("Subobject", "string", 1, |object, _| at(object, "/involvedObject/fieldPath").into()),
        column("Source", "string", 1, |object, _| at(object, "/source/component").into()),
        column("Message", "string", 0, |object, _| at(object, "/message").into()),
        column("First Seen", "string", 1, |object, now| seen(object, &["/firstTimestamp", "/eventTime"], now)),
        column("Count", "string", 1, |object, _| object["count"].as_u64().unwrap_or(1).max(1).to_string().into()),
        column("Name", "string", 1, |object, _| at(object, "/metadata/name").into()),
    ],
    selectable: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    dotted_names: true,
    default: no_default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<Event>,
    schema: schema_of::<Event>,
    warnings: no_warnings,
    protobuf: WIRE,
};

const WIRE: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(2, "involvedObject", Wire::Message(REFERENCE)),
    Field::new(3, "reason", Wire::Text),
    Field::new(4, "message", Wire::Text),
    Field::new(5, "source", Wire::Message(SOURCE)),
    Field::new(6, "firstTimestamp", Wire::Time),
    Field::new(7, "lastTimestamp", Wire::Time),
    Field::new(8, "count", Wire::Number),
    Field::new(9, "type", Wire::Text),
    Field::new(10, "eventTime", Wire::MicroTime),
    Field::new(11, "series", Wire::Message(SERIES)),
    Field::new(12, "action", Wire::Text),
    Field::new(13, "related", Wire::Message(REFERENCE)),
    Field::new(14, "reportingComponent", Wire::Text),
    Field::new(15, "reportingInstance", Wire::Text),
];

/// An object that an event speaks of.
pub(super) const REFERENCE: &[Field] = &[
    Field::new(1, "kind", Wire::Text),
    Field::new(2, "namespace", Wire::Text),
    Field::new(3, "name", Wire::Text),
    Field::new(4, "uid", Wire::Text),
    Field::new(5, "apiVersion", Wire::Text),
    Field::new(6, "resourceVersion", Wire::Text),
    Field::new(7, "fieldPath", Wire::Text),
];

/// Who tells it.
pub(super) const SOURCE: &[Field] = &[Field::new(1, "component", Wire::Text), Field::new(2, "host", Wire::Text)];

/// How often it happened.
pub(super) const SERIES: &[Field] =
    &[Field::new(1, "count", Wire::Number), Field::new(2, "lastObservedTime", Wire::MicroTime)];

/// The age of the first of several times that is there.
fn seen(object: &Value, places: &[&str], now: Timestamp) -> Value {
    age(places.iter().map(|place| at(object, place)).find(|time| !time.is_empty()).unwrap_or_default(), now).into()
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let (own, of_object) = (at(new, "/metadata/namespace"), at(new, "/involvedObject/namespace"));
    let of_object = if of_object.is_empty() { "default" } else { of_object };
    if own == of_object {
        return Vec::new();
    }
    vec![Problem::invalid("involvedObject.namespace", of_object, "does not match event.namespace")]
}

fn involved(object: &Value, _now: Timestamp) -> Value {
    let kind = at(object, "/involvedObject/kind").to_lowercase();
    format!("{kind}/{}", at(object, "/involvedObject/name")).into()
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventFacts {
    /// Kind of the object concerned.
    pub kind: String,
    /// Its API version.
    pub api_version: String,
    /// Its namespace, empty when it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// `Warning` or `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A new event. `unique` makes its name.
pub fn new_event(facts: &EventFacts, node: &str, unique: u64, now: Timestamp) -> Value {
    let namespace = if facts.namespace.is_empty() { "default" } else { &facts.namespace };
    let stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{}.{unique:016x}", facts.name), "namespace": namespace},
        "involvedObject": {
            "kind": facts.kind, "apiVersion": facts.api_version, "namespace": facts.namespace,
            "name": facts.name, "uid": facts.uid,
        },
        "reason": facts.reason,
        "message": facts.message,
        "type": if facts.warning { "Warning" } else { "Normal" },
        "source": {"component": "mkube", "host": node},
        "reportingComponent": "mkube",
        "reportingInstance": node,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    })
}

/// The same event, `times` more often, last now.
pub fn coalesce(event: &mut Value, times: u64, now: Timestamp) {
    let count = event["count"].as_u64().unwrap_or(1) + times;
    event["count"] = json!(count);
    event["lastTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
}
