//! What stands in the store, and the object it stands for. Pure.
//!
//! A store that others write holds what the Go controller left there: objects as they were submitted, without `apiVersion`, `kind`,
//! uid or defaults, and namespaces in a form of their own. They become whole objects here, the same ones at every reading; and what
//! is written can be read by the Go controller.

use bytes::Bytes;
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::StoreKey;
use serde_json::{Map, Value, json};

/// Where an object lies: `<namespace>.<name>` in its kind's bucket.
pub fn store_key(kind: &Kind, key: &ObjectKey) -> StoreKey {
    let name = if kind.namespaced { format!("{}.{}", key.namespace, key.name) } else { key.name.clone() };
    StoreKey { bucket: kind.bucket.to_owned(), key: name }
}

/// Which object lies there.
pub fn object_key(kind: &Kind, at: &StoreKey) -> ObjectKey {
    ObjectKey::stored(kind.namespaced, &at.key)
}

/// The object, or why it is none.
pub fn read(kind: &Kind, at: &StoreKey, bytes: &[u8]) -> Result<(ObjectKey, Value), String> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if !value.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    if kind.kind == NAMESPACE {
        value = namespace_read(value);
    }
    if value.get("metadata").is_some_and(|meta| !meta.is_object()) {
        return Err("its metadata is no JSON object".to_owned());
    }
    let written = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !written.is_empty() && written != kind.kind {
        return Err(format!("it is a {written} and no {}", kind.kind));
    }
    if metadata::name(&value).is_empty() {
        return Err("it has no name".to_owned());
    }
    let place = object_key(kind, at);
    if kind.namespaced && metadata::namespace(&value).is_empty() {
        metadata::of_mut(&mut value).insert("namespace".into(), json!(place.namespace));
    }
    let namespace = if kind.namespaced { metadata::namespace(&value) } else { "" };
    let key = ObjectKey::new(namespace, metadata::name(&value));
    if store_key(kind, &key) != *at {
        return Err(format!("it calls itself {key}"));
    }
    complete(kind, at, &mut value);
    Ok((key, value))
}

/// The object as bytes.
pub fn write(kind: &Kind, value: &Value) -> Bytes {
    if kind.kind == NAMESPACE {
        return Bytes::from(namespace_written(value.clone()).to_string());
    }
    Bytes::from(value.to_string())
}

/// Gives an object that mkube did not admit what it lacks.
fn complete(kind: &Kind, at: &StoreKey, value: &mut Value) {
    value["apiVersion"] = json!(kind.api_version());
    value["kind"] = json!(kind.kind);
    let meta = metadata::of_mut(value);
    if meta.get("creationTimestamp").is_some_and(Value::is_null) {
        meta.remove("creationTimestamp");
    }
    if metadata::uid(value).is_empty() {
        metadata::of_mut(value).insert("uid".into(), json!(uid_of_place(at)));
        (kind.default)(value);
    }
}

/// The uid of an object that has none, until the first write stores it: always the same for a place, in the form of version 8.
fn uid_of_place(at: &StoreKey) -> String {
    let hash = format!("{}/{}", at.bucket, at.key)
        .bytes()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
        });
    let hash = hash & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let text = format!("{hash:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

const NAMESPACE: &str = "Namespace";
/// Annotations of a Namespace, and what the Go controller calls them in its own form.
const TEXTS: [(&str, &str); 4] = [
    ("vkube.io/domain", "domain"),
    ("vkube.io/zone", "zone"),
    ("vkube.io/network", "network"),
    ("vkube.io/mode", "mode"),
];
/// The containers the Go controller counts in a namespace: kept for it as JSON.
const CONTAINERS: &str = "vkube.io/containers";

/// A Namespace from either form. Where both stand together the object is right: whoever writes the other form writes it alone.
fn namespace_read(mut value: Value) -> Value {
    let Some(fields) = value.as_object_mut() else { return value };
    let mut own: Map<String, Value> = Map::new();
    for field in TEXTS.iter().map(|(_, field)| *field).chain(["name", "containers"]) {
        own.extend(fields.remove(field).map(|value| (field.to_owned(), value)));
    }
    if fields.contains_key("metadata") {
        return value;
    }
    let text = |field: &str| own.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut annotations: Map<String, Value> =
        TEXTS.iter().filter_map(|(name, field)| Some(((*name).to_owned(), json!(text(field)?)))).collect();
    if let Some(all) = own.get("containers").filter(|all| all.as_array().is_some_and(|all| !all.is_empty())) {
        annotations.insert(CONTAINERS.to_owned(), json!(all.to_string()));
    }
    let mut meta = json!({"name": text("name").unwrap_or_default()});
    if !annotations.is_empty() {
        meta["annotations"] = Value::Object(annotations);
    }
    json!({"metadata": meta})
}

/// A Namespace in both forms at once.
fn namespace_written(mut value: Value) -> Value {
    let annotation = |name: &str| metadata::annotation(&value, name).unwrap_or_default().to_owned();
    let texts: Vec<(&str, String)> = TEXTS.iter().map(|(name, field)| (*field, annotation(name))).collect();
    let containers = serde_json::from_str(&annotation(CONTAINERS)).ok().filter(Value::is_array).unwrap_or(json!([]));
    value["name"] = json!(metadata::name(&value));
    for (field, text) in texts {
        value[field] = json!(text);
    }
    value["containers"] = containers;
    value
}

#[cfg(test)]
#[path = "stored_form_tests.rs"]
mod tests;
