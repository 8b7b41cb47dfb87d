//! The boot manifest against the store, Deployments against their pods, and owners against what they own.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::consistency::Section;
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::KindId;
use serde_json::Value;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::pod_sight::{Owner, PodSight};
use crate::sights;

/// Where BootActor keeps what it brought in.
const RECORD: (&str, &str) = ("kube-system", "mkube-boot-manifest");

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    manifest(facts, found);
    deployments(facts, found);
    owners(facts, found);
}

/// Pods that the boot manifest brought in; nothing if there never was one.
fn recorded(facts: &Facts<'_>) -> Option<BTreeSet<ObjectKey>> {
    let maps = sights::id(facts.kinds, "ConfigMap")?;
    let record = facts.view.get(&maps, &ObjectKey::new(RECORD.0, RECORD.1))?.value();
    let text = record.pointer("/data/documents").and_then(Value::as_str)?;
    let pod = |line: &str| {
        let (namespace, name) = line.strip_prefix("pods/")?.split_once('/')?;
        Some(ObjectKey::new(namespace, name))
    };
    Some(text.lines().filter_map(pod).collect())
}

fn manifest(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let Some(recorded) = recorded(facts) else {
        let told = "no boot manifest was brought in";
        found.push(Finding::warn(Section::Containers, "boot-manifest", told));
        found.push(Finding::warn(Section::Manifest, "manifest-load", told));
        return;
    };
    let told = format!("{} pods were brought in", recorded.len());
    found.push(Finding::pass(Section::Manifest, "boot-manifest", told));
    let name = |key: &ObjectKey| format!("manifest/{}/{}", key.namespace, key.name);
    for key in &recorded {
        found.push(if facts.has_pod(key) {
            Finding::pass(Section::Manifest, name(key), "tracked")
        } else {
            // It is brought in once and may be deleted: that is for people to judge.
            Finding::warn(Section::Manifest, name(key), "was brought in by the boot manifest, and deleted since")
        });
    }
    for pod in facts.pods().filter(|pod| !recorded.contains(&pod.key)) {
        found.push(Finding::pass(Section::Manifest, name(&pod.key), "tracked, and not in the boot manifest"));
    }
}

fn deployments(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let mut pods: BTreeMap<ObjectKey, Vec<&PodSight>> = BTreeMap::new();
    for pod in facts.pods() {
        let Some(name) = pod.deployment() else { continue };
        pods.entry(ObjectKey::new(pod.key.namespace.as_str(), name)).or_default().push(pod);
    }
    for deployment in facts.sights.deployments.values() {
        let owned = pods.get(&deployment.key).map(Vec::as_slice).unwrap_or_default();
        // One of another uid is a predecessor's.
        let uid = |pod: &&&PodSight| pod.controller.as_ref().is_none_or(|owner| owner.uid == deployment.uid);
        let count = owned.iter().filter(uid).count() as u64;
        let name = format!("deploy/{}/{}", deployment.key.namespace, deployment.key.name);
        let told = format!("{count} of {} pods", deployment.replicas);
        if count == deployment.replicas {
            found.push(Finding::pass(Section::Deployments, name, told).of(&deployment.key));
            continue;
        }
        let in_flight = !deployment.observed
            || facts.is_young(deployment.created)
            || facts.changed.contains(&deployment.key)
            || owned.iter().any(|pod| facts.in_flight(pod));
        let finding = Finding::fail(Section::Deployments, name, told);
        found.push(finding.saying("its controller makes and removes pods").of_pod(&deployment.key, in_flight));
    }
}

/// Objects whose owner is not there, or is another one by now. A kind that nobody here knows says nothing.
fn owners(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for ((kind, key), owned) in &facts.sights.owned {
        for owner in owned.owners.iter().filter(|owner| is_absent(facts, key, owner)) {
            let told = format!("its owner {} {} is gone", owner.kind, owner.name);
            found.push(Finding::warn(Section::Owners, owner_check(*kind, key), told).of(key));
        }
    }
    let pods = facts.pods().filter(|pod| pod.controller.is_none());
    for (pod, name) in pods.filter_map(|pod| Some((pod, pod.owner_deployment.as_ref()?))) {
        let deployment = ObjectKey::new(pod.key.namespace.as_str(), name.as_str());
        if !facts.sights.deployments.contains_key(&deployment) {
            let told = format!("its annotation names deployment {name}, which is not there");
            let name = format!("owner/pods/{}", pod.key);
            found.push(Finding::warn(Section::Owners, name, told).of(&pod.key));
        }
    }
}

fn owner_check(kind: KindId, key: &ObjectKey) -> String {
    format!("owner/{}/{key}", kind.plural)
}

fn is_absent(facts: &Facts<'_>, owned: &ObjectKey, owner: &Owner) -> bool {
    let Some(kind) = facts.kinds.by_kind(&owner.api_version, &owner.kind) else { return false };
    let namespace = if kind.namespaced { owned.namespace.as_str() } else { "" };
    let there = facts.view.get(&kind.id(), &ObjectKey::new(namespace, owner.name.as_str()));
    there.is_none_or(|object| object.uid() != owner.uid)
}
