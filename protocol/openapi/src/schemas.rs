//! The schemas of types as OpenAPI 3.0 and Kubernetes write them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Status};
use mkube_model::kinds::{Kind, SCALE, schema_of};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::lists;

/// Where references point.
pub const COMPONENTS: &str = "#/components/schemas/";
/// Says which kinds a schema, or a request, is about.
pub const GVK: &str = "x-kubernetes-group-version-kind";
/// Marks what is a number or a text.
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// Group, version and kind.
pub type Gvk = (String, String, String);

/// The schemas of one document, gathered while its paths are described.
pub struct Schemas {
    generator: SchemaGenerator,
    /// Schemas that no type has.
    own: BTreeMap<String, Value>,
    kinds: BTreeMap<String, BTreeSet<Gvk>>,
}

impl Schemas {
    /// None so far.
    pub fn new() -> Self {
        let generator = SchemaSettings::draft2020_12().into_generator();
        Self { generator, own: BTreeMap::new(), kinds: BTreeMap::new() }
    }

    /// A reference to a kind's schema.
    pub fn of(&mut self, kind: &Kind) -> Value {
        self.add(kind.schema, gvk_of(kind))
    }

    /// A reference to the schema of a kind that only subresources take or answer; none if its type is not known here.
    pub fn of_subresource(&mut self, (group, version, kind): (&str, &str, &str)) -> Option<Value> {
        let gvk = (group.to_owned(), version.to_owned(), kind.to_owned());
        match (group, kind) {
            ("autoscaling", "Scale") => Some(self.add(SCALE.schema, gvk)),
            ("policy", "Eviction") => Some(self.add(schema_of::<Eviction>, gvk)),
            _ => None,
        }
    }

    /// A reference to the schema of a list of a kind.
    pub fn list_of(&mut self, kind: &Kind) -> Value {
        let item = self.of(kind);
        let metadata = self.reference(schema_of::<ListMeta>);
        let name = format!("{}List", name_in(&item));
        let text = |what: &str| json!({"type": "string", "description": what});
        let schema = json!({
            "description": format!("A list of {}.", kind.plural), "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": text("The version of the schema of this list."),
                "kind": text(&format!("{}List.", kind.kind)),
                "metadata": metadata,
                "items": {"type": "array", "description": "The objects.", "items": item},
            },
        });
        self.own.insert(name.clone(), schema);
        let (group, version, kind) = gvk_of(kind);
        self.kinds.entry(name.clone()).or_default().insert((group, version, format!("{kind}List")));
        reference_to(&name)
    }

    /// A reference to the schema of refusals, and of deletions that are done.
    pub fn status(&mut self) -> Value {
        self.add(schema_of::<Status>, ("".into(), "v1".into(), "Status".into()))
    }

    /// A reference to the schema of what a deletion may ask for.
    pub fn delete_options(&mut self) -> Value {
        self.add(schema_of::<DeleteOptions>, ("".into(), "v1".into(), "DeleteOptions".into()))
    }

    /// A reference to the schema of what is only measured, and no object.
    pub fn of_measured(&mut self, version: &str, kind: &str) -> Value {
        let name = format!("io.k8s.metrics.pkg.apis.metrics.{version}.{kind}");
        let text = |what: &str| json!({"type": "string", "description": what});
        let usage = json!({
            "description": "What is used now, by name of the resource: cpu, memory.", "type": "object",
            "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        });
        let mut properties = json!({
            "apiVersion": text(&format!("metrics.k8s.io/{version}.")),
            "kind": text(&format!("{kind}.")),
            "metadata": {"type": "object", "description": "Name, namespace and labels of what was measured."},
            "timestamp": text("When it was measured."),
            "window": text("The time it was measured over."),
        });
        if kind == "PodMetrics" {
            let container = json!({
                "type": "object", "description": "A container.",
                "properties": {"name": text("Its name in the pod."), "usage": usage},
            });
            properties["containers"] =
                json!({"type": "array", "description": "The containers that run.", "items": container});
        } else {
            properties["usage"] = usage;
        }
        let about = format!("{kind}: what the device says of itself and of its containers.");
        self.own.insert(name.clone(), json!({"description": about, "type": "object", "properties": properties}));
        let gvk = ("metrics.k8s.io".to_owned(), version.to_owned(), kind.to_owned());
        let reference = reference_to(&name);
        self.kinds.entry(name).or_default().insert(gvk);
        reference
    }

    fn add(&mut self, schema: fn(&mut SchemaGenerator) -> Schema, gvk: Gvk) -> Value {
        let reference = self.reference(schema);
        self.kinds.entry(name_in(&reference).to_owned()).or_default().insert(gvk);
        reference
    }

    fn reference(&mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
        rewritten(schema(&mut self.generator).to_value())
    }

    /// All of them by name.
    pub fn finish(mut self) -> Map<String, Value> {
        let definitions = self.generator.take_definitions(true);
        let of_types = definitions.into_iter().map(|(name, schema)| {
            let mut schema = rewritten(schema);
            if name == QUANTITY {
                schema["oneOf"] = json!([{"type": "string"}, {"type": "number"}]);
            }
            lists::mark(&name, &mut schema);
            (name, schema)
        });
        let mut all: BTreeMap<String, Value> = of_types.collect();
        all.append(&mut self.own);
        for (name, kinds) in self.kinds {
            if let Some(schema) = all.get_mut(&name) {
                let kinds = kinds.iter().map(|(group, version, kind)| gvk(group, version, kind));
                schema[GVK] = Value::Array(kinds.collect());
            }
        }
        all.into_iter().collect()
    }
}

fn gvk_of(kind: &Kind) -> Gvk {
    (kind.group.to_owned(), kind.version.to_owned(), kind.kind.to_owned())
}

/// Group, version and kind as extensions write them.
pub fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// A reference as Kubernetes writes it: beside it may stand a description.
fn reference_to(name: &str) -> Value {
    json!({"allOf": [{"$ref": format!("{COMPONENTS}{name}")}]})
}

/// The name of the schema a reference points to.
pub fn name_in(reference: &Value) -> &str {
    let target = reference["allOf"][0]["$ref"].as_str().unwrap_or_default();
    target.strip_prefix(COMPONENTS).unwrap_or(target)
}

/// A schema of JSON Schema 2020-12 as one of OpenAPI 3.0.
fn rewritten(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return json!({}) };
    // Types of ours say that a field may be missing by allowing null.
    let or_null = fields.remove("anyOf").and_then(|either| match either {
        Value::Array(either) => either.into_iter().find(|one| one["type"] != "null"),
        _ => None,
    });
    if let Some(Value::Object(one)) = or_null {
        for (name, value) in one {
            fields.entry(name).or_insert(value);
        }
    }
    if let Some(Value::Array(types)) = fields.get("type") {
        let said = types.iter().find(|one| *one != "null").cloned();
        fields.insert("type".to_owned(), said.unwrap_or_default());
    }
    for unknown_to_3_0 in ["$schema", "title", "default"] {
        fields.remove(unknown_to_3_0);
    }
    if let Some(Value::String(target)) = fields.remove("$ref") {
        let name = target.strip_prefix("#/$defs/").unwrap_or(&target);
        fields.insert("allOf".to_owned(), reference_to(name)["allOf"].take());
    }
    if fields.contains_key(INT_OR_STRING) {
        fields.insert("format".to_owned(), json!("int-or-string"));
        fields.insert("oneOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner).filter(|schema| schema.is_object()) {
            *schema = rewritten(schema.take());
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for schema in properties.values_mut() {
            *schema = rewritten(schema.take());
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_rewritten_as_kubernetes_writes_them() {
        for (schema, expected) in [
            (
                json!({"$ref": "#/$defs/io.k8s.A", "description": "d", "default": null}),
                json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.A"}], "description": "d"}),
            ),
            (json!({"type": ["string", "null"]}), json!({"type": "string"})),
            (
                json!({"anyOf": [{"type": "object", "properties": {"b": {"type": ["boolean", "null"]}}, "description": "of the type"},
                                 {"type": "null"}], "description": "of the field"}),
                json!({"type": "object", "properties": {"b": {"type": "boolean"}}, "description": "of the field"}),
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/$defs/x.Y"}}),
                json!({"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/x.Y"}]}}),
            ),
            (json!(true), json!({})),
            (
                json!({INT_OR_STRING: true}),
                json!({INT_OR_STRING: true, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
        ] {
            assert_eq!(rewritten(schema), expected);
        }
    }
}
