//! Words that workloads are told with: annotations and labels of pods, and what they mean together.

use serde_json::Value;

use crate::{metadata, names};

/// Annotation of a pod: the Deployment it belongs to, by name. What the Go controller knew ownership by.
pub const OWNER_DEPLOYMENT: &str = "vkube.io/owner-deployment";
/// Label of a pod and of a ReplicaSet: which template it was made from.
pub const TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation of a Deployment and of its ReplicaSets: the revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation of a Deployment: put the last version that worked back when a new one fails.
pub const AUTO_ROLLBACK: &str = "vkube.io/auto-rollback";
/// Annotation of a pod: its place in the boot order, lower first.
pub const BOOT_PRIORITY: &str = "vkube.io/boot-priority";
/// Annotation of a pod: pods, containers or Deployments that must be ready before it starts, separated by commas.
pub const DEPENDS_ON: &str = "vkube.io/depends-on";
/// Annotation of a pod: hands off. It is neither started nor restarted nor stopped while this is `"true"`.
pub const PAUSED: &str = "vkube.io/paused";
/// Annotation of a node: its containers are being stopped, in reverse boot order, and stay stopped.
pub const DRAIN: &str = "vkube.io/drain";

/// Whether an annotation says `true`.
pub fn says_true(object: &Value, name: &str) -> bool {
    metadata::annotation(object, name) == Some("true")
}

/// Whether a node takes no new pods, or is emptied.
pub fn is_closed_node(node: &Value) -> bool {
    node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) || says_true(node, DRAIN)
}

/// A word for a pod template, equal for equal templates: ten hexadecimal digits. The template's own `pod-template-hash` label
/// does not count.
pub fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    let text = template.to_string();
    format!("{:08x}{:02x}", names::fnv1a(&text), names::fnv1a(&format!("{text}~")) & 0xff)
}

/// The template a pod was made from, by its label.
pub fn template_of(pod: &Value) -> Option<&str> {
    metadata::labels(pod)?.get(TEMPLATE_HASH)?.as_str().filter(|hash| !hash.is_empty())
}

/// The controller among an object's owners, as kind, name and uid.
pub fn controller_of(object: &Value) -> Option<(&str, &str, &str)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((owner["kind"].as_str()?, owner["name"].as_str()?, owner["uid"].as_str()?))
}

/// Whether a pod's condition `Ready` holds, and since when.
pub fn ready_since(pod: &Value) -> Option<&str> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    ready["lastTransitionTime"].as_str()
}

/// Whether a pod's status speaks of the spec the pod has now: until then it may be about containers of the spec before.
pub fn is_observed(pod: &Value) -> bool {
    let generation = metadata::generation(pod);
    pod.pointer("/status/observedGeneration").and_then(Value::as_u64) == Some(generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_speaks_of_the_present_spec_only_when_it_says_so() {
        let mut pod = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1}});
        assert!(!is_observed(&pod));
        pod["status"]["observedGeneration"] = json!(2);
        assert!(is_observed(&pod));
        pod["status"] = json!({});
        assert!(!is_observed(&pod));
    }

    #[test]
    fn the_controller_is_the_owner_that_says_so() {
        let pod = json!({"metadata": {"ownerReferences": [
            {"kind": "ConfigMap", "name": "m", "uid": "1"},
            {"kind": "Deployment", "name": "web", "uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&pod), Some(("Deployment", "web", "2")));
        assert_eq!(controller_of(&json!({})), None);
    }
}
