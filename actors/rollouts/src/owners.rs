//! Which Deployments are busy with their template: images of their pods wait for that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use serde_json::Value;

use crate::pod_sight::PodSight;

/// Uids of the Deployments of these pods whose template is coming in, stopped doing so, or was not looked at yet.
pub fn unsettled<'a>(
    view: &ObjectsView,
    kind: &KindId,
    pods: impl IntoIterator<Item = &'a PodSight>,
) -> BTreeSet<String> {
    let owner = |pod: &'a PodSight| {
        let (name, uid) = pod.deployment.as_ref()?;
        Some((ObjectKey::new(pod.key.namespace.clone(), name.clone()), uid))
    };
    let owners: BTreeMap<ObjectKey, &String> = pods.into_iter().filter_map(owner).collect();
    let busy = |(key, uid): (ObjectKey, &'a String)| {
        let object = view.get(kind, &key).filter(|object| object.uid() == uid)?;
        (!is_settled(&object.value())).then(|| uid.clone())
    };
    owners.into_iter().filter_map(busy).collect()
}

fn is_settled(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let reason = conditions.filter(|one| one["type"] == "Progressing").find_map(|one| one["reason"].as_str());
    status["observedGeneration"] == metadata::generation(deployment)
        && matches!(reason, Some("NewReplicaSetAvailable" | "DeploymentPaused"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployment_is_settled_when_it_says_so_of_its_present_spec() {
        let of = |observed: u64, reason: &str| {
            is_settled(&json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed,
                "conditions": [{"type": "Available", "reason": "x"}, {"type": "Progressing", "reason": reason}]}}))
        };
        assert!(of(2, "NewReplicaSetAvailable") && of(2, "DeploymentPaused"));
        assert!(!of(1, "NewReplicaSetAvailable"), "the template may have changed since");
        assert!(!of(2, "ReplicaSetUpdated") && !of(2, "ProgressDeadlineExceeded"));
        assert!(!is_settled(&json!({"metadata": {}})));
    }
}
