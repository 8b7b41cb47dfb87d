//! The same as OpenAPI 2.0, in one document for all groups: what kubectl up to 1.28 checks manifests with.

use mkube_model::kinds::KindTable;
use serde_json::{Map, Value, json};

use crate::document::document;
use crate::schemas::COMPONENTS;

/// Where references of version 2 point.
const DEFINITIONS: &str = "#/definitions/";

/// The document.
pub fn swagger(kinds: &KindTable) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for (group, version) in kinds.group_versions() {
        let mut document = document(kinds, group, version);
        if let Value::Object(schemas) = document["components"]["schemas"].take() {
            definitions.extend(schemas.into_iter().map(|(name, schema)| (name, older_schema(schema))));
        }
        if let Value::Object(described) = document["paths"].take() {
            paths.extend(described.into_iter().map(|(path, item)| (path, older_item(item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "mkube", "version": "v1.32.0"},
        "paths": paths,
        "definitions": definitions,
    })
}

fn older_item(item: Value) -> Value {
    let Value::Object(fields) = item else { return item };
    let older = fields.into_iter().map(|(name, value)| match (name.as_str(), value) {
        ("parameters", Value::Array(parameters)) => (name, parameters.into_iter().map(older_parameter).collect()),
        (_, operation) => (name, older_operation(operation)),
    });
    Value::Object(older.collect())
}

fn older_parameter(mut parameter: Value) -> Value {
    if let (Value::Object(schema), Some(fields)) = (parameter["schema"].take(), parameter.as_object_mut()) {
        fields.remove("schema");
        fields.extend(schema);
    }
    parameter
}

fn older_operation(mut operation: Value) -> Value {
    let mut parameters: Vec<Value> = match operation["parameters"].take() {
        Value::Array(parameters) => parameters.into_iter().map(older_parameter).collect(),
        _ => Vec::new(),
    };
    if let Some(mut body) = operation.as_object_mut().and_then(|fields| fields.remove("requestBody"))
        && let Value::Object(content) = body["content"].take()
    {
        operation["consumes"] = content.keys().cloned().collect();
        let schema = content.into_iter().next().map(|(_, mut media)| media["schema"].take()).unwrap_or_default();
        // Version 2 has one schema for all media types, and patches differ by them.
        let schema = if operation["x-kubernetes-action"] == "patch" { json!({"type": "object"}) } else { schema };
        let required = body["required"] == true;
        parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": older_schema(schema)}));
    }
    operation["parameters"] = Value::Array(parameters);
    let mut produces = Vec::new();
    if let Value::Object(responses) = &mut operation["responses"] {
        for response in responses.values_mut() {
            let Some(Value::Object(content)) = response.as_object_mut().and_then(|fields| fields.remove("content"))
            else {
                continue;
            };
            for (media, mut described) in content {
                response["schema"] = older_schema(described["schema"].take());
                if !produces.contains(&media) {
                    produces.push(media);
                }
            }
        }
    }
    operation["produces"] = json!(produces);
    operation
}

fn older_schema(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    if let Some(Value::Array(mut all)) = fields.remove("allOf") {
        let target = all.first_mut().map(|one| one["$ref"].take()).unwrap_or_default();
        let target = target.as_str().unwrap_or_default().replace(COMPONENTS, DEFINITIONS);
        fields.insert("$ref".to_owned(), json!(target));
    }
    if let Some(Value::Array(mut either)) = fields.remove("anyOf") {
        return either.first_mut().map(|one| older_schema(one.take())).unwrap_or_default();
    }
    if fields.remove("oneOf").is_some() {
        // There is no choice of types: clients know what is meant by the format, or by the name.
        fields.insert("type".to_owned(), json!("string"));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner) {
            *schema = older_schema(schema.take());
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for schema in properties.values_mut() {
            *schema = older_schema(schema.take());
        }
    }
    Value::Object(fields)
}
