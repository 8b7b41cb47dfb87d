//! What is on the device or in the store and belongs to nobody, and what proves that it was ours. Pure.
//!
//! Proof is what mkube wrote itself: the mark of a container, the comment of an interface or port, an owner's uid. Lists have
//! no comment; they are ours if, in this session, a container with our mark and their name referred to them. Nothing is ours by
//! its name alone.

use std::collections::BTreeMap;

use mkube_messages::consistency::{RepairAction, Section};
use mkube_messages::objects::ObjectKey;
use mkube_model::neighbours::router::ContainerState;
use tokio::time::Instant;

use crate::facts::{Facts, commented, marked};
use crate::pod_sight::PodSight;
use crate::sights;

/// Something nobody owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub action: RepairAction,
    /// Name of the row, list or interface; key of a pod.
    pub object: String,
    /// The row's id or the pod's uid: another one of the same name is another suspicion.
    pub identity: String,
    /// Whose it was: a pod, or the Deployment of a pod; nobody's, if it was never known.
    pub owner: Option<ObjectKey>,
    /// When what shows it was read; two sightings need two readings.
    pub evidence: Instant,
    /// What has to go first.
    pub blocked: Option<String>,
}

impl Orphan {
    /// Where it stands in the report, and under which name.
    pub fn check(&self) -> (Section, String) {
        let (section, word) = match self.action {
            RepairAction::RemoveContainer => (Section::Containers, "orphan-container"),
            RepairAction::RemoveInterface => (Section::Network, "orphan-interface"),
            RepairAction::ReleaseAddress => (Section::Ipam, "orphan-address"),
            RepairAction::RemoveMounts => (Section::Mounts, "orphan-mounts"),
            RepairAction::RemoveEnvs => (Section::Envs, "orphan-envs"),
            RepairAction::DeletePod => (Section::Deployments, "orphan-pod"),
        };
        (section, format!("{word}/{}", self.object))
    }

    /// Whose it was, for people.
    pub fn owner_text(&self) -> String {
        match (&self.owner, self.action) {
            (None, _) => "nobody".to_owned(),
            (Some(key), RepairAction::DeletePod) => format!("deployment {key}"),
            (Some(key), _) => format!("pod {key}"),
        }
    }

    /// Equal for the same thing in two runs.
    pub fn suspicion(&self) -> (RepairAction, String, String) {
        (self.action, self.object.clone(), self.identity.clone())
    }
}

/// How much of ours there is, by what would be done to it.
pub type Totals = BTreeMap<RepairAction, usize>;

/// Everything nobody owns. Says nothing before everything was read.
pub fn find(facts: &Facts<'_>) -> Vec<Orphan> {
    let Some(read_at) = facts.device.read_at.filter(|_| facts.is_complete()) else { return Vec::new() };
    let mut found = containers(facts, read_at);
    found.extend(pods(facts));
    found.extend(interfaces(facts, read_at));
    found.extend(lists(facts));
    found.extend(addresses(facts, read_at));
    found
}

/// What of ours is there in all.
pub fn totals(facts: &Facts<'_>) -> Totals {
    let (_, veths) = facts.names_of_pods();
    let device = facts.device;
    let interfaces = device.veths.values().filter(|row| commented(&row.comment).is_some()).count();
    let dead = device.ports.values().filter(|row| commented(&row.comment).is_some());
    let dead = dead.filter(|row| !device.veths.contains_key(&row.interface)).count();
    let lists = facts.device.lists.as_ref();
    let ours = |name: &&String| facts.witnessed.contains_key(*name);
    let owned = facts.pods().filter(|pod| pod.deployment().is_some()).count();
    BTreeMap::from([
        (RepairAction::RemoveContainer, device.containers.values().filter(|row| marked(row).is_some()).count()),
        (RepairAction::RemoveInterface, interfaces + dead),
        (RepairAction::ReleaseAddress, facts.leases.by_veth.len().max(veths.len())),
        (RepairAction::RemoveMounts, lists.map_or(0, |lists| lists.mounts.keys().filter(ours).count())),
        (RepairAction::RemoveEnvs, lists.map_or(0, |lists| lists.envs.keys().filter(ours).count())),
        (RepairAction::DeletePod, owned),
    ])
}

fn containers(facts: &Facts<'_>, evidence: Instant) -> Vec<Orphan> {
    let mut found = Vec::new();
    for row in facts.device.containers.values() {
        let Some(owner) = marked(row).filter(|owner| !facts.has_pod(owner)) else { continue };
        let blocked = match row.state {
            ContainerState::Extracting => Some("it is being unpacked".to_owned()),
            ContainerState::Deleting => Some("it is being removed already".to_owned()),
            ContainerState::Unknown => Some("the device does not say what it is doing".to_owned()),
            _ => None,
        };
        found.push(Orphan {
            action: RepairAction::RemoveContainer,
            object: row.name.clone(),
            identity: row.id.0.clone(),
            owner: Some(owner),
            evidence,
            blocked,
        });
    }
    found
}

fn interfaces(facts: &Facts<'_>, evidence: Instant) -> Vec<Orphan> {
    let device = facts.device;
    let orphan = |object: &str, identity: &str, owner: ObjectKey, blocked: Option<String>| Orphan {
        action: RepairAction::RemoveInterface,
        object: object.to_owned(),
        identity: identity.to_owned(),
        owner: Some(owner),
        evidence,
        blocked,
    };
    let mut found = Vec::new();
    for veth in device.veths.values() {
        let Some(owner) = commented(&veth.comment).filter(|owner| !facts.has_pod(owner)) else { continue };
        let user = device.containers.values().find(|row| row.interfaces.contains(&veth.name));
        let blocked = user.map(|row| format!("container {} uses it and goes first", row.name));
        found.push(orphan(&veth.name, &veth.id.0, owner, blocked));
    }
    for port in device.ports.values().filter(|port| !port.dynamic && !device.veths.contains_key(&port.interface)) {
        let Some(owner) = commented(&port.comment).filter(|owner| !facts.has_pod(owner)) else { continue };
        found.push(orphan(&port.interface, &port.id.0, owner, None));
    }
    found
}

fn lists(facts: &Facts<'_>) -> Vec<Orphan> {
    let Some(lists) = &facts.device.lists else { return Vec::new() };
    let (names, _) = facts.names_of_pods();
    let rows = || facts.device.containers.values();
    let orphan = |action: RepairAction, list: &String| {
        let owner = facts.witnessed.get(list).filter(|owner| !facts.has_pod(owner))?;
        if names.contains(list.as_str()) || facts.was_emptied(list) {
            return None;
        }
        let uses = |row: &&std::sync::Arc<_>| uses_list(row, list);
        let blocked = rows().find(uses).map(|row| format!("container {} uses it and goes first", row.name));
        Some(Orphan {
            action,
            object: list.clone(),
            identity: String::new(),
            owner: Some(owner.clone()),
            evidence: lists.read_at,
            blocked,
        })
    };
    let mounts = lists.mounts.keys().filter_map(|list| orphan(RepairAction::RemoveMounts, list));
    mounts.chain(lists.envs.keys().filter_map(|list| orphan(RepairAction::RemoveEnvs, list))).collect()
}

/// Whether a container has a list's name or refers to it.
pub fn uses_list(row: &mkube_model::neighbours::router::ContainerRow, list: &str) -> bool {
    let refers = |lists: &[String]| lists.iter().any(|one| one == list);
    row.name == list || refers(&row.mount_lists) || refers(&row.env_lists)
}

fn addresses(facts: &Facts<'_>, evidence: Instant) -> Vec<Orphan> {
    if !facts.leases.loaded {
        return Vec::new();
    }
    let (_, veths) = facts.names_of_pods();
    let forgotten = facts.leases.by_veth.iter().filter(|(veth, held)| {
        !facts.device.veths.contains_key(*veth)
            && !veths.contains(veth.as_str())
            && held.pod.as_ref().is_none_or(|pod| !facts.has_pod(pod))
    });
    let orphan = |(veth, held): (&String, &mkube_messages::ipam::HeldAddress)| Orphan {
        action: RepairAction::ReleaseAddress,
        object: veth.clone(),
        identity: held.address.to_string(),
        owner: held.pod.clone(),
        evidence,
        blocked: None,
    };
    forgotten.map(orphan).collect()
}

/// Pods whose Deployment is gone: not one of another uid in its place, which is a new one.
fn pods(facts: &Facts<'_>) -> Vec<Orphan> {
    facts.pods().filter_map(|pod| orphan_pod(facts, pod)).collect()
}

fn orphan_pod(facts: &Facts<'_>, pod: &PodSight) -> Option<Orphan> {
    let owner = pod.controller.as_ref().filter(|owner| owner.kind == "Deployment" && !owner.uid.is_empty())?;
    let deployments = sights::id(facts.kinds, "Deployment")?;
    let key = ObjectKey::new(pod.key.namespace.as_str(), owner.name.as_str());
    let is_there = facts.view.is_unreadable(&deployments, &key)
        || facts.sights.deployments.get(&key).is_some_and(|deployment| deployment.uid == owner.uid);
    if is_there || pod.deleting {
        return None;
    }
    Some(Orphan {
        action: RepairAction::DeletePod,
        object: pod.key.to_string(),
        identity: pod.uid.clone(),
        owner: Some(key),
        evidence: facts.now,
        blocked: None,
    })
}
