//! How lists merge. The types do not say it; clients that compute patches, kubectl among them, read it from the schemas. What they are
//! told is what is done here with a patch: both come from the model's `list_types`.

use mkube_model::list_types::{LISTS, RETAINED, SETS, WHOLE_STRUCTURES};
use serde_json::{Value, json};

const MERGE: &str = "merge";

/// Says of a schema of Kubernetes how its lists merge.
pub fn mark(name: &str, schema: &mut Value) {
    let Some(name) = name.strip_prefix("io.k8s.") else { return };
    if WHOLE_STRUCTURES.iter().any(|(schema, _)| *schema == name) {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for list in LISTS.iter().filter(|list| list.within.contains(&name)) {
        let Some(property) = properties.get_mut(list.list) else { continue };
        if !list.identity.is_empty() {
            let keys: Vec<&str> = list.identity.iter().map(|(field, _)| *field).collect();
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(keys);
        }
        if let Some(key) = list.merge {
            property["x-kubernetes-patch-merge-key"] = json!(key);
            property["x-kubernetes-patch-strategy"] = json!(if list.retains_keys { "merge,retainKeys" } else { MERGE });
        }
    }
    for (_, field) in SETS.iter().filter(|(schema, _)| *schema == name) {
        if let Some(property) = properties.get_mut(*field) {
            property["x-kubernetes-list-type"] = json!("set");
            property["x-kubernetes-patch-strategy"] = json!(MERGE);
        }
    }
    for (_, field) in RETAINED.iter().filter(|(schema, _)| *schema == name) {
        if let Some(property) = properties.get_mut(*field) {
            property["x-kubernetes-patch-strategy"] = json!("retainKeys");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use mkube_model::kinds::{KindTable, schema_of};
    use mkube_model::list_types::{Types, is_set, merge_key};
    use schemars::generate::SchemaSettings;

    use super::*;

    #[test]
    fn every_line_speaks_of_a_list_there_is_with_the_keys_its_items_have() {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        for kind in KindTable::builtin().iter() {
            (kind.schema)(&mut generator);
        }
        schema_of::<PersistentVolumeClaim>(&mut generator);
        let all = generator.take_definitions(true);
        let schema = |name: &str| &all[&format!("io.k8s.{name}")];
        for (list, name) in LISTS.iter().flat_map(|list| list.within.iter().map(move |name| (list, name))) {
            let found = &schema(name)["properties"][list.list];
            assert_eq!(found["type"], "array", "{name} {}", list.list);
            let target = found["items"]["$ref"].as_str().expect("a list of structures");
            let target = target.strip_prefix("#/$defs/").expect("a reference");
            for key in list.identity.iter().map(|(field, _)| *field).chain(list.merge) {
                assert!(all[target]["properties"][key].is_object(), "{name} {}: {key}", list.list);
            }
            let whole = |(schema, _): &(&str, &[&str])| target.strip_prefix("io.k8s.") == Some(schema);
            assert_eq!(list.whole_items, WHOLE_STRUCTURES.iter().any(whole), "{name} {}", list.list);
        }
        for (name, field) in SETS {
            assert_eq!(schema(name)["properties"][field]["items"]["type"], "string", "{name} {field}");
        }
        for (name, field) in RETAINED {
            assert!(schema(name)["properties"][field].is_object(), "{name} {field}");
        }
        for (name, _) in WHOLE_STRUCTURES {
            assert!(all.contains_key(&format!("io.k8s.{name}")), "{name}");
        }
    }

    /// A client that computes a patch by the schemas means what the server does with it, which knows lists by their names.
    #[test]
    fn what_clients_are_told_of_lists_is_what_is_done_with_them() {
        for list in LISTS.iter().filter(|list| list.within != ["api.batch.v1.JobStatus"]) {
            let fields = list.identity.iter().map(|(field, _)| *field).chain(list.merge);
            let items = [Value::Object(fields.map(|field| (field.to_owned(), json!("a"))).collect())];
            assert_eq!(merge_key(list.list, items.iter()), list.merge, "{:?} {}", list.within, list.list);
            let known = Types::new(true).keyed(list.list, items.iter());
            assert_eq!(known, Some(list).filter(|list| !list.identity.is_empty()), "{:?} {}", list.within, list.list);
        }
        assert!(SETS.iter().all(|(_, field)| is_set(field)));
    }
}
