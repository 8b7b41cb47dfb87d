//! How lists merge. The types do not say it; clients that compute patches, kubectl among them, read it from the schemas. What is done
//! here with a patch stands in the model's `list_types`, by names of fields; a test holds the two together.

use serde_json::{Value, json};

/// A list, and how its items are told apart.
struct List {
    /// The schema it stands in, without `io.k8s.`.
    schema: &'static str,
    field: &'static str,
    /// What tells items apart when their owners are told apart.
    keys: &'static [&'static str],
    /// What tells items apart in a strategic merge patch.
    merge_key: &'static str,
    strategy: &'static str,
}

const fn list(
    schema: &'static str,
    field: &'static str,
    keys: &'static [&'static str],
    merge_key: &'static str,
    strategy: &'static str,
) -> List {
    List { schema, field, keys, merge_key, strategy }
}

const MERGE: &str = "merge";
/// What stands beside the item's kind of source goes when another kind is chosen.
const RETAIN: &str = "merge,retainKeys";

const LISTS: &[List] = &[
    list("api.core.v1.PodSpec", "containers", &["name"], "name", MERGE),
    list("api.core.v1.PodSpec", "initContainers", &["name"], "name", MERGE),
    list("api.core.v1.PodSpec", "ephemeralContainers", &["name"], "name", MERGE),
    list("api.core.v1.PodSpec", "volumes", &["name"], "name", RETAIN),
    list("api.core.v1.PodSpec", "imagePullSecrets", &["name"], "name", MERGE),
    list("api.core.v1.PodSpec", "hostAliases", &["ip"], "ip", MERGE),
    list(
        "api.core.v1.PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
        "topologyKey",
        MERGE,
    ),
    list("api.core.v1.PodSpec", "resourceClaims", &["name"], "name", RETAIN),
    list("api.core.v1.PodSpec", "schedulingGates", &["name"], "name", MERGE),
    list("api.core.v1.Container", "env", &["name"], "name", MERGE),
    list("api.core.v1.Container", "ports", &["containerPort", "protocol"], "containerPort", MERGE),
    list("api.core.v1.Container", "volumeMounts", &["mountPath"], "mountPath", MERGE),
    list("api.core.v1.Container", "volumeDevices", &["devicePath"], "devicePath", MERGE),
    list("api.core.v1.EphemeralContainer", "env", &["name"], "name", MERGE),
    list("api.core.v1.EphemeralContainer", "ports", &["containerPort", "protocol"], "containerPort", MERGE),
    list("api.core.v1.EphemeralContainer", "volumeMounts", &["mountPath"], "mountPath", MERGE),
    list("api.core.v1.EphemeralContainer", "volumeDevices", &["devicePath"], "devicePath", MERGE),
    list("api.core.v1.ResourceRequirements", "claims", &["name"], "", ""),
    list("api.core.v1.PodStatus", "conditions", &["type"], "type", MERGE),
    list("api.core.v1.PodStatus", "hostIPs", &[], "ip", MERGE),
    list("api.core.v1.PodStatus", "podIPs", &["ip"], "ip", MERGE),
    list("api.core.v1.PodStatus", "resourceClaimStatuses", &["name"], "name", RETAIN),
    list("api.core.v1.ServiceSpec", "ports", &["port", "protocol"], "port", MERGE),
    list("api.core.v1.ServiceStatus", "conditions", &["type"], "type", MERGE),
    list("api.core.v1.NodeStatus", "conditions", &["type"], "type", MERGE),
    list("api.core.v1.NodeStatus", "addresses", &["type"], "type", MERGE),
    list("api.core.v1.NamespaceStatus", "conditions", &["type"], "type", MERGE),
    list("api.core.v1.PersistentVolumeClaimStatus", "conditions", &["type"], "type", MERGE),
    list("api.apps.v1.DeploymentStatus", "conditions", &["type"], "type", MERGE),
    list("api.apps.v1.ReplicaSetStatus", "conditions", &["type"], "type", MERGE),
    list("api.batch.v1.JobStatus", "conditions", &[], "type", MERGE),
    list("apimachinery.pkg.apis.meta.v1.ObjectMeta", "ownerReferences", &["uid"], "uid", MERGE),
];

/// Lists of plain values, which are sets.
const SETS: &[(&str, &str)] =
    &[("apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers"), ("api.core.v1.NodeSpec", "podCIDRs")];

/// Structures of which one part excludes the others.
const RETAINED: &[(&str, &str)] = &[("api.apps.v1.DeploymentSpec", "strategy")];

/// Structures that have one owner.
const ATOMIC: &[&str] = &[
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ObjectReference",
    "api.core.v1.ResourceFieldSelector",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.TypedLocalObjectReference",
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
    "apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Says of a schema of Kubernetes how its lists merge.
pub fn mark(name: &str, schema: &mut Value) {
    let Some(name) = name.strip_prefix("io.k8s.") else { return };
    if ATOMIC.contains(&name) {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for list in LISTS.iter().filter(|list| list.schema == name) {
        let Some(property) = properties.get_mut(list.field) else { continue };
        if !list.keys.is_empty() {
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-list-map-keys"] = json!(list.keys);
        }
        if !list.merge_key.is_empty() {
            property["x-kubernetes-patch-merge-key"] = json!(list.merge_key);
            property["x-kubernetes-patch-strategy"] = json!(list.strategy);
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
        for list in LISTS {
            let found = &schema(list.schema)["properties"][list.field];
            assert_eq!(found["type"], "array", "{} {}", list.schema, list.field);
            let target = found["items"]["$ref"].as_str().expect("a list of structures");
            let item = &all[target.strip_prefix("#/$defs/").expect("a reference")];
            for key in list.keys.iter().chain((!list.merge_key.is_empty()).then_some(&list.merge_key)) {
                assert!(item["properties"][key].is_object(), "{} {}: {key}", list.schema, list.field);
            }
        }
        for (name, field) in SETS {
            assert_eq!(schema(name)["properties"][field]["items"]["type"], "string", "{name} {field}");
        }
        for (name, field) in RETAINED {
            assert!(schema(name)["properties"][field].is_object(), "{name} {field}");
        }
        for name in ATOMIC {
            assert!(all.contains_key(&format!("io.k8s.{name}")), "{name}");
        }
    }

    /// A client that computes a patch by the schemas means what the server does with it.
    #[test]
    fn what_clients_are_told_of_lists_is_what_is_done_with_them() {
        // Names are not enough to tell these from others: apply knows conditions by their type everywhere, and claims of containers
        // are one value.
        let differ = [("api.batch.v1.JobStatus", "conditions"), ("api.core.v1.ResourceRequirements", "claims")];
        for list in LISTS {
            let fields = list.keys.iter().chain([&list.merge_key]).map(|field| ((*field).to_owned(), json!("a")));
            let items = [Value::Object(fields.collect())];
            let merges_by = Some(list.merge_key).filter(|key| !key.is_empty());
            // Patches of these two are rare, and replacing the list is what a server may do.
            if !matches!(list.field, "schedulingGates" | "resourceClaims" | "resourceClaimStatuses") {
                assert_eq!(merge_key(list.field, items.iter()), merges_by, "{} {}", list.schema, list.field);
            }
            if differ.contains(&(list.schema, list.field)) || list.field == "resourceClaimStatuses" {
                continue;
            }
            let known = Types::new(true).keyed(list.field, items.iter());
            let keys: Vec<&str> = known.iter().flat_map(|row| row.identity).map(|(field, _)| *field).collect();
            assert_eq!(keys, list.keys, "{} {}", list.schema, list.field);
        }
        for (name, field) in SETS.iter().filter(|(_, field)| *field != "podCIDRs") {
            assert!(is_set(field), "{name} {field}");
        }
    }
}
