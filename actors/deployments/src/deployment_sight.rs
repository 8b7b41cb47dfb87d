//! What Deployments and their ReplicaSets look like to the planner: read from the stored objects, nothing remembered.

use std::time::Duration;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::share_of;
use mkube_model::metadata::{self, annotation};
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::selectors::LabelSelector;
use mkube_model::workloads::{self, AUTO_ROLLBACK, REVISION};
use serde_json::{Map, Value};

/// Annotation of a template: its pods follow their images.
pub const IMAGE_POLICY: &str = "vkube.io/image-policy";
/// Annotation of a template: the address its pod has.
pub const STATIC_IP: &str = "vkube.io/static-ip";
/// Label of a ReplicaSet: how far its rollout is. Labels, since `rollout undo` makes a ReplicaSet's annotations those of the
/// Deployment.
pub const ROLLOUT_STATE: &str = "vkube.io/rollout-state";
/// Label of a ReplicaSet: every replica ran it once, so that it is worth going back to.
pub const PROVEN: &str = "vkube.io/proven";

/// How pods of a new template come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// All old ones go first.
    Recreate,
    /// One after the other.
    Rolling {
        /// Replicas that may be unavailable, at least.
        unavailable: usize,
        /// There may be one more for the time of a rollout.
        surge: bool,
    },
}

/// A Deployment.
#[derive(Debug, Clone)]
pub struct DeploymentSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed.
    pub version: Revision,
    /// `metadata.generation`.
    pub generation: u64,
    /// It is being deleted.
    pub deleting: bool,
    /// Pods wanted.
    pub replicas: usize,
    /// Changes of the template wait.
    pub paused: bool,
    /// How pods of a new template come in.
    pub strategy: Strategy,
    /// How long a pod must be ready before it counts.
    pub min_ready: Duration,
    /// How long a rollout may go without getting on.
    pub deadline: Duration,
    /// Old ReplicaSets kept.
    pub history: usize,
    /// The last version that worked comes back when a new one fails.
    pub rolls_back: bool,
    /// The template, without the label of its hash.
    pub template: Value,
    /// The word for the template.
    pub hash: String,
    /// Which pods without an owner are its own.
    pub selector: LabelSelector,
    /// `spec.selector` as it stands.
    pub selector_text: Value,
    /// Its annotations.
    pub annotations: Map<String, Value>,
    /// The revision that was written down last.
    pub revision: u64,
    /// Its status.
    pub status: Value,
}

fn count(value: &Value, fallback: usize) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(fallback)
}

fn seconds(value: &Value, fallback: u64) -> Duration {
    Duration::from_secs(value.as_u64().unwrap_or(fallback))
}

fn strategy(spec: &Value, replicas: usize) -> Strategy {
    if spec["strategy"]["type"] == "Recreate" {
        return Strategy::Recreate;
    }
    let rolling = &spec["strategy"]["rollingUpdate"];
    let whole = u64::try_from(replicas).unwrap_or(u64::MAX);
    let share = |field: &str| share_of(&rolling[field], whole).or_else(|| share_of(&"25%".into(), whole));
    let (unavailable, _) = share("maxUnavailable").unwrap_or_default();
    let (_, surge) = share("maxSurge").unwrap_or_default();
    // Of two pods with one address the second would never start.
    let one_address = replicas == 1 && annotation(&spec["template"], STATIC_IP).is_some_and(|ip| !ip.is_empty());
    let surge = surge > 0 && !one_address;
    let unavailable = usize::try_from(unavailable).unwrap_or(usize::MAX).min(replicas);
    Strategy::Rolling { unavailable: if surge { unavailable } else { unavailable.max(1) }, surge }
}

impl DeploymentSight {
    /// Whether this is another version, that every replica ran and that did not fail.
    pub fn may_go_back_to(&self, set: &SetSight) -> bool {
        set.owner == self.uid && set.hash != self.hash && set.proven && set.state != RolloutState::Failed
    }

    /// Reads a Deployment.
    pub fn of(object: &StoredObject) -> Self {
        let value = object.value();
        let spec = &value["spec"];
        let mut template = spec["template"].clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(workloads::TEMPLATE_HASH);
        }
        let replicas = count(&spec["replicas"], 1);
        let follows = annotation(&template, IMAGE_POLICY) == Some("auto");
        let wish = annotation(&value, AUTO_ROLLBACK);
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            version: object.revision,
            generation: metadata::generation(&value),
            deleting: object.is_deleting(),
            replicas,
            paused: spec["paused"] == true,
            strategy: strategy(spec, replicas),
            min_ready: seconds(&spec["minReadySeconds"], 0),
            deadline: seconds(&spec["progressDeadlineSeconds"], 600),
            history: count(&spec["revisionHistoryLimit"], 10),
            rolls_back: wish == Some("true") || follows && wish != Some("false"),
            hash: workloads::template_hash(&template),
            template,
            selector: LabelSelector::of_object(&spec["selector"]).unwrap_or_default(),
            selector_text: spec["selector"].clone(),
            annotations: value.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default(),
            revision: revision(&value),
            status: value["status"].clone(),
        }
    }

    /// Replicas that must be available at all times.
    pub fn least(&self) -> usize {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::Rolling { unavailable, .. } => self.replicas.saturating_sub(unavailable),
        }
    }

    /// Name of the ReplicaSet of a template.
    pub fn set_name(&self, hash: &str) -> String {
        format!("{}-{hash}", self.key.name)
    }

    /// Name of its pod of this number.
    pub fn pod_name(&self, index: usize) -> String {
        format!("{}-{index}", self.key.name)
    }

    /// The number in a pod's name, if it is one that this Deployment gives.
    pub fn index_of(&self, pod: &str) -> Option<usize> {
        let number = pod.strip_prefix(&self.key.name)?.strip_prefix('-')?;
        let index: usize = number.parse().ok()?;
        (index.to_string() == number).then_some(index)
    }
}

fn revision(object: &Value) -> u64 {
    annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How far the rollout of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutState {
    /// On its way.
    Progressing,
    /// Every replica ran it.
    Complete,
    /// It stopped: a replica of it failed.
    Failed,
}

impl RolloutState {
    /// As the label says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Progressing => "progressing",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// A ReplicaSet: one template the Deployment has or had.
#[derive(Debug, Clone)]
pub struct SetSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed.
    pub version: Revision,
    /// `metadata.generation`.
    pub generation: u64,
    /// Uid of the Deployment it belongs to.
    pub owner: String,
    /// The word for its template.
    pub hash: String,
    /// Which version it is.
    pub revision: u64,
    /// How far its rollout is.
    pub state: RolloutState,
    /// Every replica ran it once.
    pub proven: bool,
    /// Pods it says it wants.
    pub replicas: u64,
    /// Its annotations.
    pub annotations: Map<String, Value>,
    /// The template, without the label of its hash.
    pub template: Value,
    /// Its status.
    pub status: Value,
}

impl SetSight {
    /// Reads a ReplicaSet; with the name of the Deployment it belongs to.
    pub fn of(object: &StoredObject) -> Option<(ObjectKey, Self)> {
        let value = object.value();
        let (kind, name, owner) = workloads::controller_of(&value)?;
        if kind != "Deployment" {
            return None;
        }
        let label = |key: &str| metadata::labels(&value).and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let state = match label(ROLLOUT_STATE) {
            Some("complete") => RolloutState::Complete,
            Some("failed") => RolloutState::Failed,
            _ => RolloutState::Progressing,
        };
        let mut template = value["spec"]["template"].clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(workloads::TEMPLATE_HASH);
        }
        let deployment = ObjectKey::new(object.key.namespace.clone(), name);
        let set = Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            version: object.revision,
            generation: metadata::generation(&value),
            owner: owner.to_owned(),
            hash: label(workloads::TEMPLATE_HASH).unwrap_or_default().to_owned(),
            revision: revision(&value),
            state,
            proven: label(PROVEN) == Some("true"),
            replicas: value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0),
            annotations: value.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default(),
            template,
            status: value["status"].clone(),
        };
        Some((deployment, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shares_of_a_rollout_are_those_of_kubernetes_and_leave_a_way_to_go_on() {
        let of = |replicas: usize, surge: Value, unavailable: Value, address: &str| {
            let template = json!({"metadata": {"annotations": {STATIC_IP: address}}});
            let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            strategy(&json!({"template": template, "strategy": {"rollingUpdate": rolling}}), replicas)
        };
        let quarter = || json!("25%");
        let rolling = |unavailable, surge| Strategy::Rolling { unavailable, surge };
        assert_eq!(of(1, quarter(), quarter(), ""), rolling(0, true));
        assert_eq!(of(8, quarter(), quarter(), ""), rolling(2, true));
        assert_eq!(of(3, json!(0), quarter(), ""), rolling(1, false), "rounds to nothing and there is no other way");
        assert_eq!(of(1, quarter(), quarter(), "10.0.0.9"), rolling(1, false), "one address for two pods");
        assert_eq!(of(3, quarter(), json!(0), "10.0.0.9"), rolling(0, true), "several replicas have their own");
        assert_eq!(of(2, json!(1), json!(9), ""), rolling(2, true));
        assert_eq!(strategy(&json!({"strategy": {"type": "Recreate"}}), 3), Strategy::Recreate);
    }
}
