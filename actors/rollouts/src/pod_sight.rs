//! What a pod looks like to rollouts: read from the stored object, nothing remembered.

use mkube_messages::gates::DRAINED;
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::image_pins;
use mkube_model::image_reference::Reference;
use mkube_model::metadata::annotation;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::workloads;
use serde_json::Value;

use crate::annotations::{self, Mark, Pins, Version};

/// How a container is doing, as the pod's status says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Doing {
    /// Nothing is said.
    #[default]
    Unknown,
    /// It runs.
    Running {
        /// It may be used: probes passed, if there are any.
        ready: bool,
    },
    /// It does not run yet, or not any more.
    Waiting {
        /// CamelCase reason such as `CrashLoopBackOff`.
        reason: String,
        /// For people.
        message: String,
    },
    /// It ended and stays so, or was not looked after yet.
    Ended {
        /// Exit code.
        code: i64,
        /// CamelCase reason such as `Error`.
        reason: String,
    },
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSight {
    /// Name in the pod.
    pub name: String,
    /// Reference as the pod writes it.
    pub image: String,
    /// Digest it runs, when known.
    pub running: Option<String>,
    /// How it is doing.
    pub doing: Doing,
    /// Restarts so far.
    pub restarts: u64,
    /// `.id` of its row on the device.
    pub row: Option<String>,
    /// How its last run ended, for people.
    pub last_exit: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed; every patch is made against it.
    pub revision: Revision,
    /// It follows its images.
    pub follows: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Its owner works on it: hands off.
    pub paused: bool,
    /// It ran to its end and will not be started again.
    pub finished: bool,
    /// Whether containers that end are started again.
    pub restarts_always: bool,
    /// A digest that fails is put back.
    pub rollback: bool,
    /// Name and uid of the Deployment that is its controller.
    pub deployment: Option<(String, String)>,
    /// Its status speaks of its present spec: before that it is being replaced by somebody else.
    pub observed: bool,
    /// In order of the spec.
    pub containers: Vec<ContainerSight>,
    /// Digests its containers are to run; entries for another image than the container's are void and left out.
    pub pins: Pins,
    /// Digests that failed on it.
    pub refused: Vec<Version>,
    /// Digests somebody asked for.
    pub wanted: Vec<Version>,
    /// What is being tried on it.
    pub mark: Option<Mark>,
    /// Names of its pull secrets.
    pub pull_secrets: Vec<String>,
}

/// Whether an object may be of interest at all: a look at its text, since most pods are not.
pub fn may_matter(object: &StoredObject) -> bool {
    let text = object.text();
    text.contains("\"vkube.io/image-policy\":\"auto\"") || text.contains("\"vkube.io/image-rollout\"")
}

impl PodSight {
    /// Reads a pod.
    pub fn of(object: &StoredObject) -> Self {
        let pod = object.value();
        let note = |key: &str| annotation(&pod, key).unwrap_or_default();
        let containers: Vec<ContainerSight> = pod
            .pointer("/spec/containers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|container| container_sight(container, &pod))
            .collect();
        let mut pins = annotations::parse_pins(note(annotations::PIN));
        pins.retain(|name, pin| containers.iter().any(|one| one.name == *name && one.image == pin.image));
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        let restarts = pod.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or("Always");
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            follows: note(annotations::POLICY) == "auto" && note(annotations::FILE).is_empty(),
            deleting: object.is_deleting(),
            paused: workloads::says_true(&pod, workloads::PAUSED),
            finished: phase == "Succeeded" || phase == "Failed",
            restarts_always: restarts == "Always",
            rollback: note(annotations::ROLLBACK) != "false",
            deployment: workloads::controller_of(&pod)
                .filter(|(kind, ..)| *kind == "Deployment")
                .map(|(_, name, uid)| (name.to_owned(), uid.to_owned())),
            observed: workloads::is_observed(&pod),
            pins,
            refused: annotations::parse_versions(note(annotations::REFUSED)),
            wanted: annotations::parse_versions(note(annotations::WANTED)),
            mark: Mark::parse(note(annotations::ROLLOUT)),
            pull_secrets: pod
                .pointer("/spec/imagePullSecrets")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|secret| secret.get("name")?.as_str().map(str::to_owned))
                .collect(),
            containers,
        }
    }

    /// Containers of an image.
    pub fn of_image<'a>(&'a self, image: &'a str) -> impl Iterator<Item = &'a ContainerSight> {
        self.containers.iter().filter(move |container| container.image == image)
    }

    /// Images the pod follows: those that a tag names. A digest means the same for ever.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let followed = self.containers.iter().map(|container| container.image.as_str());
        followed.filter(|image| self.follows && Reference::of(image).digest.is_none())
    }

    /// Its containers of an image run and may be used.
    pub fn is_live(&self, image: &str) -> bool {
        self.of_image(image).all(|container| container.doing == Doing::Running { ready: true })
    }

    /// It is paused, or stopped because the node is emptied: nothing of what it does says anything about an image.
    pub fn is_at_rest(&self) -> bool {
        let drained = |one: &ContainerSight| matches!(&one.doing, Doing::Waiting { reason, .. } if reason == DRAINED);
        self.paused || self.containers.iter().any(drained)
    }

    /// Every container of an image runs this digest.
    pub fn runs(&self, image: &str, digest: &str) -> bool {
        self.of_image(image).all(|container| container.running.as_deref() == Some(digest))
    }

    /// It is coming to be, or its containers are about to be replaced: for the sake of its template, not of an image.
    pub fn is_arriving(&self) -> bool {
        let made = |one: &ContainerSight| {
            matches!(&one.doing, Doing::Waiting { reason, .. } if reason == "ContainerCreating")
                || one.doing == Doing::Unknown
        };
        !self.observed || self.containers.iter().any(made)
    }

    /// A container of it is on its way to the digest it is pinned to.
    pub fn is_moving(&self, image: &str) -> bool {
        self.of_image(image).any(|container| {
            let Some(pin) = self.pins.get(&container.name) else { return false };
            let made = |reason: &str| reason == "ContainerCreating" || reason.is_empty();
            container.running.as_deref() != Some(pin.digest.as_str())
                || matches!(&container.doing, Doing::Waiting { reason, .. } if made(reason))
        })
    }
}

fn container_sight(container: &Value, pod: &Value) -> ContainerSight {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text(container, "name");
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let status = statuses.into_iter().flatten().find(|status| status["name"] == name.as_str());
    let null = Value::Null;
    let status = status.unwrap_or(&null);
    let state = |kind: &str| status.pointer(&format!("/state/{kind}"));
    let code = |ended: &Value| ended.get("exitCode").and_then(Value::as_i64).unwrap_or(255);
    let doing = if state("running").is_some() {
        Doing::Running { ready: status["ready"] == true }
    } else if let Some(ended) = state("terminated") {
        Doing::Ended { code: code(ended), reason: text(ended, "reason") }
    } else if let Some(waiting) = state("waiting") {
        Doing::Waiting { reason: text(waiting, "reason"), message: text(waiting, "message") }
    } else {
        Doing::Unknown
    };
    let exit = |ended: &Value| {
        let message = text(ended, "message");
        let tail = if message.is_empty() { String::new() } else { format!(": {message}") };
        format!("it ended with exit code {} ({}){tail}", code(ended), text(ended, "reason"))
    };
    ContainerSight {
        image: text(container, "image"),
        running: image_pins::digest_of(&text(status, "imageID")).map(str::to_owned),
        doing,
        restarts: status.get("restartCount").and_then(Value::as_u64).unwrap_or(0),
        row: status.get("containerID").and_then(Value::as_str).and_then(|id| id.rsplit('/').next()).map(str::to_owned),
        last_exit: state("terminated").or_else(|| status.pointer("/lastState/terminated")).map(exit),
        name,
    }
}
