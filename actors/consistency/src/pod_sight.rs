//! What the checks need to know of a stored pod, read once for each of its versions. Pure.

use std::net::IpAddr;

use jiff::Timestamp;
use mkube_messages::gates::{BOOT_ORDER, DRAINED, WAITING};
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::image_pins::digest_of;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::{metadata, names, static_addresses, workloads};
use serde_json::Value;

/// An owner as an object names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    /// It manages the object.
    pub controller: bool,
}

/// A pod, as far as it matters here.
#[derive(Debug, Clone)]
pub struct PodSight {
    pub key: ObjectKey,
    pub uid: String,
    pub revision: Revision,
    pub generation: u64,
    pub created: Option<Timestamp>,
    pub deleting: bool,
    /// Its status speaks of its present spec.
    pub observed: bool,
    pub phase: String,
    /// Its owner said: hands off.
    pub paused: bool,
    /// It gets no place: the node takes no new pods.
    pub unschedulable: bool,
    /// The address each container asks for by `vkube.io/static-ip`.
    pub static_ips: Vec<Option<IpAddr>>,
    /// What manages it.
    pub controller: Option<Owner>,
    /// `vkube.io/owner-deployment`.
    pub owner_deployment: Option<String>,
    pub containers: Vec<ContainerSight>,
}

/// A container of it.
#[derive(Debug, Clone)]
pub struct ContainerSight {
    pub name: String,
    /// The names its row may have: the plain one, and the one it has when that is taken.
    pub rows: [String; 2],
    /// The names its interface may have.
    pub veths: [String; 2],
    pub image: String,
    /// An archive of its owner takes the image's place.
    pub has_own_file: bool,
    /// What keeps it from being started, when that is as it should be: the node is emptied, or it is not its turn.
    pub gated: Option<String>,
    /// The image it runs, by its status.
    pub digest: Option<String>,
    pub mount_paths: Vec<String>,
    /// Variables with a value of their own.
    pub variables: Vec<String>,
    /// It sets variables, from wherever.
    pub sets_variables: bool,
}

/// Every owner an object names.
pub fn owners_of(object: &Value) -> Vec<Owner> {
    let text = |owner: &Value, field: &str| owner[field].as_str().unwrap_or_default().to_owned();
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let read = |owner: &Value| Owner {
        api_version: text(owner, "apiVersion"),
        kind: text(owner, "kind"),
        name: text(owner, "name"),
        uid: text(owner, "uid"),
        controller: owner["controller"] == true,
    };
    owners.into_iter().flatten().map(read).collect()
}

fn is_unschedulable(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable")
}

fn gate(status: &Value) -> Option<&str> {
    let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str)?;
    [DRAINED, BOOT_ORDER, WAITING].contains(&reason).then_some(reason)
}

/// When an object was made.
pub fn created(object: &Value) -> Option<Timestamp> {
    object.pointer("/metadata/creationTimestamp")?.as_str()?.parse().ok()
}

impl PodSight {
    pub fn of(object: &StoredObject) -> Self {
        let pod = object.value();
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            generation: metadata::generation(&pod),
            created: created(&pod),
            deleting: object.is_deleting(),
            observed: workloads::is_observed(&pod),
            phase,
            paused: workloads::says_true(&pod, workloads::PAUSED),
            unschedulable: is_unschedulable(&pod),
            static_ips: static_addresses::wanted(&pod)
                .unwrap_or_default()
                .into_iter()
                .map(|wanted| wanted.map(IpAddr::V4))
                .collect(),
            controller: owners_of(&pod).into_iter().find(|owner| owner.controller),
            owner_deployment: metadata::annotation(&pod, workloads::OWNER_DEPLOYMENT).map(str::to_owned),
            containers: containers
                .into_iter()
                .flatten()
                .enumerate()
                .map(|(at, one)| container(&pod, one, at))
                .collect(),
        }
    }

    /// The name of a Deployment that it says it belongs to.
    pub fn deployment(&self) -> Option<&str> {
        let by_reference = self.controller.as_ref().filter(|owner| owner.kind == "Deployment");
        by_reference.map(|owner| owner.name.as_str()).or(self.owner_deployment.as_deref())
    }
}

fn container(pod: &Value, container: &Value, index: usize) -> ContainerSight {
    let (namespace, pod_name) = (metadata::namespace(pod), metadata::name(pod));
    let name = container["name"].as_str().unwrap_or_default();
    let key = ObjectKey::new(namespace, pod_name);
    let row = names::container_name(namespace, pod_name, name);
    let row_aside = names::suffixed(&row, &format!("{key}/{name}"), Some(names::container_name_limit()));
    let veth = names::veth_name(namespace, pod_name, index);
    let veth_aside = names::suffixed(&veth, &format!("{key}/{index}"), None);
    let list = |field: &str| container[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Value, field: &str| one[field].as_str().map(str::to_owned);
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let status = statuses.into_iter().flatten().find(|status| status["name"] == name);
    ContainerSight {
        name: name.to_owned(),
        rows: [row, row_aside],
        veths: [veth, veth_aside],
        image: text(container, "image").unwrap_or_default(),
        has_own_file: metadata::annotation(pod, "vkube.io/file").is_some_and(|file| !file.is_empty()),
        gated: status.and_then(|status| gate(status)).map(str::to_owned),
        digest: status.and_then(|status| digest_of(status["imageID"].as_str()?)).map(str::to_owned),
        mount_paths: list("volumeMounts").iter().filter_map(|mount| text(mount, "mountPath")).collect(),
        variables: list("env")
            .iter()
            .filter(|one| one["value"].is_string())
            .filter_map(|one| text(one, "name"))
            .collect(),
        sets_variables: !list("env").is_empty() || !list("envFrom").is_empty(),
    }
}
