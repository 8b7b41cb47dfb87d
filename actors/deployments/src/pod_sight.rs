//! What a pod looks like to the planner: read from the stored object, nothing remembered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::image_pins;
use mkube_model::metadata::annotation;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::workloads::{self, OWNER_DEPLOYMENT};
use serde_json::{Map, Value, json};

use crate::deployment_sight::{DeploymentSight, STATIC_IP};

/// Annotation of a pod while a digest is tried on it.
const IMAGE_ROLLOUT: &str = "vkube.io/image-rollout";
/// Condition of a pod whose containers are still those of the spec before, when something keeps it from becoming the new one.
const SPEC_APPLIED: &str = "vkube.io/SpecApplied";

/// A pod.
#[derive(Debug, Clone)]
pub struct PodSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed.
    pub version: Revision,
    /// It is being deleted.
    pub deleting: bool,
    /// Its controller: kind, name, uid.
    pub controller: Option<(String, String, String)>,
    /// What the Go controller knew ownership by.
    pub claimed_by: Option<String>,
    /// The template it was made from.
    pub hash: Option<String>,
    /// Labels and annotations alone, for selectors and for what is kept of it.
    pub metadata: Value,
    /// Its spec, when it does not say which template it was made from.
    spec: Option<Value>,
    /// Its status speaks of its present spec.
    pub observed: bool,
    /// Since when it is ready, by the wall clock.
    pub ready_since: Option<Timestamp>,
    /// Restarts of its containers so far.
    pub restarts: u64,
    /// What keeps it from running: a reason such as `CrashLoopBackOff`, and words for people.
    pub trouble: Option<(String, String)>,
    /// A digest is tried on it.
    pub tried: bool,
    /// Its owner works on it: hands off.
    pub paused: bool,
    /// `.id` of its rows on the device.
    pub rows: Vec<String>,
    /// Image of each container, and the digest it runs, as far as known.
    pub images: BTreeMap<String, (String, Option<String>)>,
}

impl PodSight {
    /// Reads a pod.
    pub fn of(object: &StoredObject) -> Self {
        let pod = object.value();
        let hash = workloads::template_of(&pod).map(str::to_owned);
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let statuses = || statuses.into_iter().flatten();
        let controller = workloads::controller_of(&pod);
        let images = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let digest = |name: &Value| {
            let status = statuses().find(|status| status["name"] == *name)?;
            image_pins::digest_of(status["imageID"].as_str()?).map(str::to_owned)
        };
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            version: object.revision,
            deleting: object.is_deleting(),
            controller: controller.map(|(kind, name, uid)| (kind.to_owned(), name.to_owned(), uid.to_owned())),
            claimed_by: annotation(&pod, OWNER_DEPLOYMENT).map(str::to_owned),
            spec: hash.is_none().then(|| pod["spec"].clone()),
            hash,
            metadata: kept_metadata(&pod),
            observed: workloads::is_observed(&pod),
            ready_since: workloads::ready_since(&pod).and_then(|at| at.parse().ok()),
            restarts: statuses().filter_map(|status| status["restartCount"].as_u64()).sum(),
            trouble: not_applied(&pod).or_else(|| statuses().find_map(trouble)),
            tried: annotation(&pod, IMAGE_ROLLOUT).is_some(),
            paused: workloads::says_true(&pod, workloads::PAUSED),
            rows: statuses().filter_map(row_id).collect(),
            images: images.map(|one| (word(&one["name"]), (word(&one["image"]), digest(&one["name"])))).collect(),
        }
    }

    /// One of its annotations.
    pub fn note(&self, key: &str) -> Option<&str> {
        annotation(&self.metadata, key)
    }

    /// Whether this Deployment is its controller.
    pub fn belongs_to(&self, deployment: &DeploymentSight) -> bool {
        self.controller.as_ref().is_some_and(|(kind, _, uid)| kind == "Deployment" && *uid == deployment.uid)
    }

    /// Whether it has no controller and is the Deployment's by name and by what the Go controller wrote, or by its labels.
    pub fn is_adoptable_by(&self, deployment: &DeploymentSight) -> bool {
        let claimed = self.claimed_by.as_deref();
        let fits =
            claimed == Some(&deployment.key.name) || claimed.is_none() && deployment.selector.matches(&self.metadata);
        !self.deleting && self.controller.is_none() && fits && deployment.index_of(&self.key.name).is_some()
    }

    /// Whether it is of the Deployment's present template: it says so, or, without a word, is what the template makes.
    pub fn is_current(&self, deployment: &DeploymentSight) -> bool {
        match (&self.hash, &self.spec) {
            (Some(hash), _) => *hash == deployment.hash,
            (None, Some(spec)) => self.is_made_of(spec, &deployment.template, deployment.replicas),
            (None, None) => false,
        }
    }

    fn is_made_of(&self, spec: &Value, template: &Value, replicas: usize) -> bool {
        let unplaced = |spec: &Value| {
            let mut spec = spec.clone();
            if let Some(fields) = spec.as_object_mut() {
                fields.remove("nodeName");
            }
            spec
        };
        let has = |list: &str| {
            let wanted = template["metadata"][list].as_object();
            let here = &self.metadata["metadata"][list];
            let skipped = |key: &str| key == STATIC_IP && replicas > 1;
            wanted.into_iter().flatten().all(|(key, value)| skipped(key) || here[key] == *value)
        };
        // The Go controller's pods may lack labels that a selector was made up from; labels change no container.
        has("annotations") && unplaced(spec) == unplaced(&template["spec"])
    }
}

fn kept_metadata(pod: &Value) -> Value {
    let lists = ["labels", "annotations"];
    let kept: Map<String, Value> =
        lists.iter().filter_map(|list| Some(((*list).to_owned(), pod["metadata"].get(*list)?.clone()))).collect();
    json!({"metadata": kept})
}

fn words(of: &Value) -> (String, String) {
    let text = |field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// The new spec cannot become true yet, and the containers of the one before go on.
fn not_applied(pod: &Value) -> Option<(String, String)> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|one| one["type"] == SPEC_APPLIED && one["status"] == "False").map(words)
}

fn trouble(status: &Value) -> Option<(String, String)> {
    let name = status["name"].as_str().unwrap_or_default();
    let (reason, message) = match (status.pointer("/state/waiting"), status.pointer("/state/terminated")) {
        (Some(waiting), _) => words(waiting),
        (None, Some(ended)) => (words(ended).0, String::new()),
        (None, None) => return None,
    };
    let exit = status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"));
    let exit = exit.map(|ended| format!("it ended with exit code {}", ended["exitCode"])).unwrap_or_default();
    let told: Vec<String> = [message, exit].into_iter().filter(|text| !text.is_empty()).collect();
    let made = reason.is_empty() || reason == "ContainerCreating";
    (!made).then(|| (reason.clone(), format!("container {name}: {reason} ({})", told.join("; "))))
}

fn row_id(status: &Value) -> Option<String> {
    let running = status.pointer("/state/running").is_some();
    let id = status["containerID"].as_str()?.rsplit('/').next()?;
    running.then(|| id.to_owned())
}

/// Name of the Deployment that a pod's name would belong to.
pub fn stem(name: &str) -> Option<&str> {
    let (stem, number) = name.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !stem.is_empty()).then_some(stem)
}
