//! The documents of all kinds there are.

use std::collections::BTreeSet;

use mkube_model::discovery::subresources;
use mkube_model::kinds::KindTable;
use mkube_openapi::{OpenApi, document, path_of, unpacked};
use serde_json::{Value, json};

const GVK: &str = "x-kubernetes-group-version-kind";

/// All documents, by path.
fn documents() -> Vec<(String, Value)> {
    let kinds = KindTable::builtin();
    let all = kinds.group_versions().into_iter();
    all.map(|(group, version)| (path_of(group, version), document(&kinds, group, version))).collect()
}

/// Calls `look` with everything there is in a value, and what it stands under.
fn walk(value: &Value, under: &str, look: &mut impl FnMut(&str, &Value)) {
    look(under, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, inner)| walk(inner, name, look)),
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, under, look)),
        _ => {}
    }
}

/// Statement 8 of the compatibility reference: `explain` finds a kind by its mark.
#[test]
fn every_kind_has_a_schema_that_names_it_and_explains_its_fields() {
    let kinds = KindTable::builtin();
    for kind in kinds.iter() {
        let document = document(&kinds, kind.group, kind.version);
        let mark = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let of_kind: Vec<_> = schemas
            .iter()
            .filter(|(_, schema)| schema[GVK].as_array().is_some_and(|marks| marks.contains(&mark)))
            .collect();
        let [(name, schema)] = of_kind.as_slice() else { panic!("{}: {} schemas", kind.kind, of_kind.len()) };
        assert!(name.ends_with(&format!(".{}.{}", kind.version, kind.kind)), "{name}");
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(schema["properties"][field].is_object(), "{name}: {field}");
        }
        let properties = schema["properties"].as_object().expect("properties");
        for (field, property) in properties {
            assert!(property["description"].is_string(), "{name}: nobody says what {field} is");
        }
    }
}

#[test]
fn every_verb_of_discovery_is_described_and_no_other() {
    let kinds = KindTable::builtin();
    for kind in kinds.iter() {
        let document = document(&kinds, kind.group, kind.version);
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("/{}{scope}/{}", path_of(kind.group, kind.version), kind.plural);
        let described = |path: &str| -> BTreeSet<String> {
            let item = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is not described"));
            item.iter().filter_map(|(_, one)| one["x-kubernetes-action"].as_str()).map(str::to_owned).collect()
        };
        let known_as = |verb: &&str| match *verb {
            "create" => Some("post".to_owned()),
            "update" => Some("put".to_owned()),
            "watch" => None,
            other => Some(other.to_owned()),
        };
        let object = format!("{collection}/{{name}}");
        let mut found = described(&collection);
        found.extend(described(&object));
        assert_eq!(found, kind.verbs().iter().filter_map(known_as).collect(), "{}", kind.kind);
        for sub in subresources(kind) {
            let path = format!("{object}/{}", sub.name);
            assert_eq!(described(&path), sub.verbs.iter().filter_map(known_as).collect(), "{path}");
        }
    }
}

#[test]
fn figures_are_described_as_what_is_read_only() {
    let kinds = KindTable::builtin();
    let document = document(&kinds, "metrics.k8s.io", "v1beta1");
    let root = "/apis/metrics.k8s.io/v1beta1";
    for (path, action, answer) in [
        (format!("{root}/pods"), "list", "PodMetricsList"),
        (format!("{root}/namespaces/{{namespace}}/pods"), "list", "PodMetricsList"),
        (format!("{root}/namespaces/{{namespace}}/pods/{{name}}"), "get", "PodMetrics"),
        (format!("{root}/nodes"), "list", "NodeMetricsList"),
        (format!("{root}/nodes/{{name}}"), "get", "NodeMetrics"),
    ] {
        let item = &document["paths"][&path];
        let verbs: Vec<&Value> =
            item.as_object().expect("described").values().map(|one| &one["x-kubernetes-action"]).collect();
        assert_eq!(verbs.iter().filter(|verb| verb.is_string()).count(), 1, "{path}");
        let get = &item["get"];
        assert_eq!(get["x-kubernetes-action"], action, "{path}");
        let schema = &get["responses"]["200"]["content"]["application/json"]["schema"]["allOf"][0]["$ref"];
        assert!(schema.as_str().is_some_and(|target| target.ends_with(&format!(".{answer}"))), "{path}: {schema}");
        let named = item["parameters"].as_array().map_or(0, Vec::len);
        assert_eq!(named, path.matches('{').count(), "{path}");
    }
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(5));
}

#[test]
fn references_point_to_schemas_and_nothing_of_another_dialect_is_left() {
    for (path, document) in documents() {
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let mut pointed = BTreeSet::new();
        walk(&document, "", &mut |under, value| {
            if under == "$ref"
                && let Some(target) = value.as_str()
            {
                let name = target.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{path}: {target}"));
                assert!(schemas.contains_key(name), "{path}: {name} is not there");
                pointed.insert(name.to_owned());
            }
            assert!(!value.is_null(), "{path}: {under} is null");
            // A field may be called so, and is then described by a structure.
            if under == "type" && !value.is_object() {
                assert!(value.is_string(), "{path}: a type is {value}");
            }
        });
        for (name, schema) in schemas {
            assert!(
                name.starts_with("io.") && name.matches('.').count() >= 3,
                "{path}: {name} is no name of Kubernetes"
            );
            assert!(pointed.contains(name) || schema.get(GVK).is_some(), "{path}: nobody needs {name}");
        }
        let mut ids = BTreeSet::new();
        walk(&document["paths"], "", &mut |under, value| {
            if under == "operationId" {
                assert!(ids.insert(value.to_string()), "{path}: two requests are called {value}");
            }
        });
    }
}

/// kubectl computes patches by them: a list without its key would be replaced as a whole.
#[test]
fn lists_say_how_they_merge() {
    let kinds = KindTable::builtin();
    let document = document(&kinds, "apps", "v1");
    let of = |schema: &str, field: &str| {
        document["components"]["schemas"][format!("io.k8s.{schema}")]["properties"][field].clone()
    };
    let containers = of("api.core.v1.PodSpec", "containers");
    assert_eq!(
        (&containers["x-kubernetes-patch-merge-key"], &containers["x-kubernetes-patch-strategy"]),
        (&json!("name"), &json!("merge"))
    );
    let ports = of("api.core.v1.Container", "ports");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(of("apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers")["x-kubernetes-list-type"], "set");
}

#[test]
fn strategic_patches_are_offered_where_they_are_understood() {
    let kinds = KindTable::builtin();
    for (kind, path) in [
        ("Deployment", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
        ("Network", "/apis/vkube.io/v1alpha1/networks/{name}"),
    ] {
        let kind = kinds.named(kind).expect("a kind");
        let document = document(&kinds, kind.group, kind.version);
        let content = &document["paths"][path]["patch"]["requestBody"]["content"];
        let strategic = content.get("application/strategic-merge-patch+json").is_some();
        assert_eq!(strategic, kind.has_strategic_merge(), "{path}: {content}");
    }
}

#[test]
fn documents_are_kept_as_they_are_and_known_by_their_hash() {
    let kinds = KindTable::builtin();
    let (one, other) = (OpenApi::new(kinds.clone()), OpenApi::new(kinds.clone()));
    let published = one.v3().expect("made");
    let kept = published.document("apps", "v1").expect("a document");
    let plain: Value = serde_json::from_slice(&unpacked(&kept.gzip).expect("whole")).expect("JSON");
    assert_eq!(plain, document(&kinds, "apps", "v1"));
    assert_eq!((kept.hash.len(), kept.hash.chars().all(|c| c.is_ascii_hexdigit())), (16, true));
    let index: Value = serde_json::from_slice(&unpacked(&published.index.gzip).expect("whole")).expect("JSON");
    let url = format!("/openapi/v3/apis/apps/v1?hash={}", kept.hash);
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], url);
    let again = other.v3().expect("made");
    assert_eq!(again.index.hash, published.index.hash, "the same kinds give the same documents");
    assert_ne!(published.document("", "v1").map(|one| &one.hash), Some(&kept.hash));
    assert!(published.document("apps", "v9").is_none());
    assert_eq!(one.v2().expect("made").hash, other.v2().expect("made").hash);
}
