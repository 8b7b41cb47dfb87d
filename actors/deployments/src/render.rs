//! The objects a Deployment makes: pods, ReplicaSets, and patches of them. Pure.

use mkube_model::workloads::{OWNER_DEPLOYMENT, REVISION, TEMPLATE_HASH};
use serde_json::{Map, Value, json};

use crate::case::Case;
use crate::decide::From;
use crate::deployment_sight::{DeploymentSight, PROVEN, ROLLOUT_STATE, RolloutState, STATIC_IP, SetSight};
use crate::{decide, kept};

/// Annotations that are each object's own affair.
const NOT_COPIED: [&str; 2] = ["kubectl.kubernetes.io/last-applied-configuration", REVISION];

fn owner(deployment: &DeploymentSight) -> Value {
    json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.key.name, "uid": deployment.uid,
        "controller": true, "blockOwnerDeletion": true,
    }])
}

/// A template with the label of its hash.
fn labelled(template: &Value, hash: &str) -> Value {
    let mut template = template.clone();
    template["metadata"]["labels"][TEMPLATE_HASH] = json!(hash);
    template
}

/// The pod of this number.
pub fn pod(case: &Case<'_>, index: usize, from: &From) -> Value {
    let deployment = case.deployment;
    let set = match from {
        From::Present => None,
        From::Set(hash) => decide::set_of(case, hash),
    };
    let (template, hash) = set.map_or((&deployment.template, &deployment.hash), |set| (&set.template, &set.hash));
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(TEMPLATE_HASH.to_owned(), json!(hash));
    let mut notes = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    notes.insert(OWNER_DEPLOYMENT.to_owned(), json!(deployment.key.name));
    if deployment.replicas > 1 {
        notes.remove(STATIC_IP);
    }
    for (key, text) in kept::for_pod(case, index, template) {
        // What the template says itself goes before.
        notes.entry(key).or_insert(json!(text));
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": deployment.pod_name(index), "namespace": deployment.key.namespace,
            "labels": labels, "annotations": notes, "ownerReferences": owner(deployment),
        },
        "spec": template["spec"],
    })
}

/// The patch that gives a pod its owner.
pub fn adoption(deployment: &DeploymentSight, version: u64, uid: &str) -> Value {
    json!({"metadata": {
        "uid": uid, "resourceVersion": version.to_string(),
        "ownerReferences": owner(deployment), "annotations": {OWNER_DEPLOYMENT: deployment.key.name},
    }})
}

/// The record of the present template.
pub fn set(case: &Case<'_>, revision: u64) -> Value {
    let deployment = case.deployment;
    let mut labels = deployment.template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(TEMPLATE_HASH.to_owned(), json!(deployment.hash));
    labels.insert(ROLLOUT_STATE.to_owned(), json!(RolloutState::Progressing.word()));
    let mut selector = deployment.selector_text.clone();
    selector["matchLabels"][TEMPLATE_HASH] = json!(deployment.hash);
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": deployment.set_name(&deployment.hash), "namespace": deployment.key.namespace, "labels": labels,
            "annotations": notes_of_set(case, revision, None), "ownerReferences": owner(deployment),
        },
        "spec": {
            "replicas": deployment.replicas, "selector": selector, "minReadySeconds": deployment.min_ready.as_secs(),
            "template": labelled(&deployment.template, &deployment.hash),
        },
    })
}

fn notes_of_set(case: &Case<'_>, revision: u64, set: Option<&SetSight>) -> Map<String, Value> {
    let is_current = set.is_none_or(|set| set.hash == case.deployment.hash);
    let mut notes = Map::new();
    if is_current && (set.is_none() || !case.deployment.paused) {
        let copied = |key: &String| !NOT_COPIED.contains(&key.as_str()) && !kept::is_kept(key);
        let copied = case.deployment.annotations.iter().filter(|(key, _)| copied(key));
        notes.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    }
    if is_current {
        let said = |key: &str| set.is_some_and(|set| set.annotations.contains_key(key));
        let kept = kept::of_running(case).into_iter().filter(|(key, text)| !text.is_empty() || said(key));
        notes.extend(kept.map(|(key, text)| (key, json!(text))));
    }
    notes.insert(REVISION.to_owned(), json!(revision.to_string()));
    notes
}

/// The patch that makes a record say this, if it does not.
pub fn set_patch(case: &Case<'_>, set: &SetSight, revision: u64, state: RolloutState, proven: bool) -> Option<Value> {
    let is_current = set.hash == case.deployment.hash;
    let has = case.staying().filter(|member| member.pod.hash.as_deref() == Some(set.hash.as_str())).count();
    let replicas = if is_current { case.deployment.replicas } else { has };
    let notes: Map<String, Value> = notes_of_set(case, revision, Some(set))
        .into_iter()
        .filter(|(key, value)| set.annotations.get(key) != Some(value))
        .collect();
    let same = notes.is_empty() && set.state == state && set.proven == proven && set.replicas == replicas as u64;
    (!same).then(|| {
        json!({
            "metadata": {
                "uid": set.uid, "resourceVersion": set.version.to_string(), "annotations": notes,
                "labels": {ROLLOUT_STATE: state.word(), PROVEN: proven.then_some("true")},
            },
            "spec": {"replicas": replicas},
        })
    })
}

/// The patch that writes the revision down in the Deployment.
pub fn revision_note(deployment: &DeploymentSight, revision: u64) -> Value {
    json!({"metadata": {
        "uid": deployment.uid, "resourceVersion": deployment.version.to_string(),
        "annotations": {REVISION: revision.to_string()},
    }})
}
