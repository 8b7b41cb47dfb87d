//! What clients ask first: which groups, versions and kinds there are.

use serde_json::{Value, json};

use crate::kinds::{Kind, KindTable, SCALE};

/// Answer of `/version`.
pub fn version(mkube: &str) -> Value {
    json!({
        "major": "1",
        "minor": "32",
        "gitVersion": format!("v1.32.0+mkube-{mkube}"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// Answer of `/api`, legacy form.
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// Answer of `/apis`, legacy form.
pub fn groups(kinds: &KindTable) -> Value {
    let groups: Vec<Value> = named_groups(kinds).into_iter().map(|name| group(kinds, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Answer of `/apis/<group>`.
pub fn group(kinds: &KindTable, name: &str) -> Value {
    let versions: Vec<Value> = kinds
        .group_versions()
        .into_iter()
        .filter(|(group, _)| *group == name)
        .map(|(group, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn named_groups(kinds: &KindTable) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        kinds.group_versions().into_iter().map(|(group, _)| group).filter(|group| !group.is_empty()).collect();
    names.dedup();
    names
}

/// Answer of `/api/v1` and `/apis/<group>/<version>`, or nothing when there is no such version.
pub fn resources(kinds: &KindTable, group: &str, version: &str) -> Option<Value> {
    if !kinds.group_versions().contains(&(group, version)) {
        return None;
    }
    let mut resources = Vec::new();
    for kind in kinds.served().filter(|kind| kind.group == group && kind.version == version) {
        resources.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": kind.verbs(), "shortNames": kind.short_names, "categories": kind.categories,
        }));
        for sub in subresources(kind) {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": sub.kind.2, "verbs": sub.verbs,
            });
            if (sub.kind.0, sub.kind.1) != (kind.group, kind.version) {
                resource["group"] = json!(sub.kind.0);
                resource["version"] = json!(sub.kind.1);
            }
            resources.push(resource);
        }
    }
    // Older clients take a version without resources for one that failed.
    if resources.is_empty() && group == "policy" {
        resources.push(json!({
            "name": "pods/eviction", "singularName": "", "namespaced": true, "kind": "Eviction", "verbs": ["create"],
        }));
    }
    resources.extend(measured(group).map(|(plural, namespaced, kind)| {
        json!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]})
    }));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}

/// What is only measured, and no object: plural, whether it is in a namespace, and kind.
pub fn measured(group: &str) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    let all = [("nodes", false, "NodeMetrics"), ("pods", true, "PodMetrics")];
    all.into_iter().filter(move |_| group == "metrics.k8s.io")
}

/// What a kind has beside the object itself, such as `status`.
pub struct Subresource {
    /// The last segment of its path.
    pub name: &'static str,
    /// Group, version and kind of what it takes and answers.
    pub kind: (&'static str, &'static str, &'static str),
    /// What can be asked of it.
    pub verbs: &'static [&'static str],
}

/// All of a kind.
pub fn subresources(kind: &Kind) -> Vec<Subresource> {
    const READ: &[&str] = &["get"];
    const STREAM: &[&str] = &["create", "get"];
    const CHANGE: &[&str] = &["get", "patch", "update"];
    let own = (kind.group, kind.version, kind.kind);
    let named = kind.subresources.iter().map(|name| match *name {
        "scale" => Subresource { name, kind: (SCALE.group, SCALE.version, SCALE.kind), verbs: CHANGE },
        "eviction" => Subresource { name, kind: ("policy", "v1", "Eviction"), verbs: &["create"] },
        "attach" => Subresource { name, kind: ("", "v1", "PodAttachOptions"), verbs: STREAM },
        "exec" => Subresource { name, kind: ("", "v1", "PodExecOptions"), verbs: STREAM },
        "portforward" => Subresource { name, kind: ("", "v1", "PodPortForwardOptions"), verbs: STREAM },
        name => Subresource { name, kind: own, verbs: READ },
    });
    let status = Subresource { name: "status", kind: own, verbs: if kind.read_only { READ } else { CHANGE } };
    named.chain(kind.has_status.then_some(status)).collect()
}

/// Aggregated discovery (v2): of the core group for `/api`, of all others for `/apis`.
pub fn aggregated(kinds: &KindTable, core: bool) -> Value {
    let groups: Vec<&str> = if core { vec![""] } else { named_groups(kinds) };
    let items: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            let versions: Vec<Value> = kinds
                .group_versions()
                .into_iter()
                .filter(|(of, _)| *of == group)
                .map(|(_, version)| {
                    let resources: Vec<Value> = kinds
                        .served()
                        .filter(|kind| kind.group == group && kind.version == version)
                        .map(aggregated_resource)
                        .chain(measured(group).map(|(plural, namespaced, kind)| {
                            json!({
                                "resource": plural, "singularResource": "", "verbs": ["get", "list"],
                                "responseKind": {"group": group, "version": version, "kind": kind},
                                "scope": if namespaced { "Namespaced" } else { "Cluster" },
                            })
                        }))
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let subresources: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|sub| {
            let (group, version, kind) = sub.kind;
            let response = json!({"group": group, "version": version, "kind": kind});
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    json!({
        "resource": kind.plural, "responseKind": response, "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": kind.verbs(), "shortNames": kind.short_names, "categories": kind.categories,
        "subresources": subresources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_in_both_forms_of_discovery() {
        let kinds = KindTable::builtin();
        for kind in kinds.served() {
            let legacy = resources(&kinds, kind.group, kind.version).expect("its version").to_string();
            assert!(legacy.contains(&format!("\"name\":\"{}\"", kind.plural)), "{}", kind.kind);
            let aggregated = aggregated(&kinds, kind.group.is_empty()).to_string();
            assert!(aggregated.contains(&format!("\"resource\":\"{}\"", kind.plural)), "{}", kind.kind);
        }
        assert_eq!(resources(&kinds, "apps", "v9"), None);
    }
}
