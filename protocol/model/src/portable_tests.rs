use serde_json::json;

use super::*;
use crate::kinds::KindTable;

fn kind(name: &str) -> Kind {
    *KindTable::builtin().named(name).expect("a kind")
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"},
            "annotations": {
                "vkube.io/image-pin": "c=x@sha256:a", "vkube.io/image-digest": "sha256:a", "vkube.io/image-wanted": "sha256:b",
            },
            "finalizers": ["orphan"], "managedFields": [], "ownerReferences": [{"uid": "somebody"}],
        },
        "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "rose"},
        "status": {"phase": "Running"},
    })
}

#[test]
fn what_a_server_fills_in_stays_and_what_its_owner_wrote_moves() {
    assert_eq!(
        portable(&kind("Pod"), &pod()),
        Some(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "default", "labels": {"app": "web"},
                "annotations": {"vkube.io/image-pin": "c=x@sha256:a"},
            },
            "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "rose"},
        }))
    );
}

#[test]
fn taking_in_what_moved_changes_nothing_where_it_came_from() {
    let admitted = |mut next: Value, current: &Value| {
        // As admission does it: what the server owns is put back.
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
            if let Some(value) = current["metadata"].get(field) {
                next["metadata"][field] = value.clone();
            }
        }
        if let Some(status) = current.get("status") {
            next["status"] = status.clone();
        }
        next
    };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "dns-config", "namespace": "g", "annotations": {"vkube.io/generated": "from network g"}},
        "data": {"microdns.toml": "ours", "more": "theirs"},
    });
    for (name, object) in [("Pod", pod()), ("ConfigMap", map)] {
        let moved = portable(&kind(name), &object).expect("it moves");
        assert_eq!(admitted(taken_in(&kind(name), moved, &object), &object), object, "{name}");
    }
}

#[test]
fn what_a_document_claims_of_the_servers_own_does_not_count() {
    let mut document = pod();
    document["metadata"]["annotations"] = json!({"vkube.io/image-digest": "sha256:lie", "mine": "x"});
    document["metadata"]["ownerReferences"] = json!([{"uid": "stranger"}]);
    let next = taken_in(&kind("Pod"), document, &pod());
    assert_eq!(next["metadata"]["annotations"]["vkube.io/image-digest"], "sha256:a");
    assert_eq!(next["metadata"]["annotations"]["mine"], "x");
    assert_eq!(next["metadata"]["ownerReferences"], pod()["metadata"]["ownerReferences"]);
    assert_eq!(
        next["metadata"]["annotations"].get("vkube.io/image-pin"),
        None,
        "the owner's own is what the document says"
    );
}

#[test]
fn what_somebody_makes_again_or_is_at_its_end_stays_behind() {
    let meta = |more: Value| {
        let mut meta = json!({"name": "x", "namespace": "default"});
        meta.as_object_mut().expect("a map").extend(more.as_object().cloned().expect("a map"));
        meta
    };
    let owned = json!({"ownerReferences": [{"uid": "d", "controller": true}]});
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
    for (name, object) in [
        ("Pod", json!({"metadata": meta(owned.clone())})),
        ("Job", json!({"metadata": meta(owned)})),
        ("Pod", json!({"metadata": meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}))})),
        ("Pod", json!({"metadata": meta(json!({})), "status": {"phase": "Succeeded"}})),
        ("Job", json!({"metadata": meta(json!({})), "status": condition("Complete")})),
        ("Job", json!({"metadata": meta(json!({})), "status": condition("Failed")})),
        ("Network", json!({"metadata": meta(json!({"annotations": {"vkube.io/configured-in": "/etc/x"}}))})),
        ("ConfigMap", json!({"metadata": {"name": "mkube-boot-manifest", "namespace": "kube-system"}})),
        (
            "ConfigMap",
            json!({"metadata": {"name": "dns-config", "namespace": "g", "annotations": {"vkube.io/generated": "from g"}},
                "data": {"microdns.toml": "x"}}),
        ),
        ("Event", json!({"metadata": meta(json!({}))})),
        ("ReplicaSet", json!({"metadata": meta(json!({}))})),
        ("DnsEntry", json!({"metadata": meta(json!({}))})),
        ("Node", json!({"metadata": meta(json!({}))})),
    ] {
        assert_eq!(portable(&kind(name), &object), None, "{name} {object}");
    }
    for (name, object) in [
        ("Pod", json!({"metadata": meta(json!({"ownerReferences": [{"uid": "d"}]}))})),
        ("Job", json!({"metadata": meta(json!({})), "status": condition("Suspended")})),
        ("Network", json!({"metadata": meta(json!({}))})),
        (
            "ConfigMap",
            json!({"metadata": {"name": "dns-config", "namespace": "g", "annotations": {"vkube.io/generated": "false"}}}),
        ),
    ] {
        assert!(portable(&kind(name), &object).is_some(), "{name} {object}");
    }
}

#[test]
fn a_job_loses_what_follows_from_its_uid_and_gets_it_anew() {
    let row = kind("Job");
    let spec = json!({"template": {"metadata": {"labels": {"app": "count"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}});
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count", "namespace": "default", "uid": "old"}, "spec": spec});
    (row.default)(&mut job);
    let moved = portable(&row, &job).expect("it moves");
    assert!(!moved.to_string().contains("old") && !moved.to_string().contains("job-name"), "{moved}");
    let mut anew = moved.clone();
    anew["metadata"]["uid"] = json!("new");
    (row.default)(&mut anew);
    assert_eq!((row.validate)(&anew, None), []);
    assert_eq!(anew["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "new");
    assert_eq!(portable(&row, &anew), Some(moved.clone()));
    // Where it is already, nothing changes.
    let mut again = taken_in(&row, moved, &job);
    again["metadata"]["uid"] = json!("old");
    (row.default)(&mut again);
    assert_eq!(again, job);
}

#[test]
fn namespaces_come_first_and_every_kind_has_its_place() {
    let table = KindTable::builtin();
    let mut kinds: Vec<&Kind> = table.iter().filter(|kind| stays(kind).is_none()).collect();
    kinds.sort_by_key(|kind| rank(kind));
    let names: Vec<&str> = kinds.iter().map(|kind| kind.kind).collect();
    assert_eq!(
        names,
        [
            "Namespace",
            "Network",
            "ConfigMap",
            "Secret",
            "PersistentVolumeClaim",
            "Service",
            "Pod",
            "Deployment",
            "Job",
            "CronJob",
            "BareMetalHost"
        ]
    );
}

#[test]
fn the_password_of_a_machine_goes_along_only_when_asked_for_and_is_kept_where_it_is() {
    let kind = *KindTable::builtin().named("BareMetalHost").expect("a kind");
    let host = json!({"metadata": {"name": "h", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}},
        "spec": {"bmc": {"address": "b", "password": "hunter2"}, "image": "a"}});
    let mut moved = portable(&kind, &host).expect("it moves");
    assert!(moved.to_string().contains("hunter2"));
    hide_passwords(&kind, &mut moved);
    assert!(!moved.to_string().contains("hunter2"), "{moved}");
    moved["spec"]["image"] = json!("b");
    let next = taken_in(&kind, moved, &host);
    assert_eq!(next["spec"], json!({"bmc": {"address": "b", "password": "hunter2"}, "image": "b"}));
}
