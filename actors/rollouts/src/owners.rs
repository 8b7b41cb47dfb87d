//! Which Deployments are busy with their template: images of their pods wait for that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use serde_json::Value;

use crate::pod_sight::PodSight;

/// What Deployments said of themselves, by revision: each is read once.
#[derive(Debug, Default)]
pub struct Owners(BTreeMap<ObjectKey, (Revision, bool)>);

impl Owners {
    /// Uids of the Deployments of these pods whose template is coming in, stopped doing so, or was not looked at yet.
    pub fn unsettled<'a>(
        &mut self,
        view: &ObjectsView,
        kind: &KindId,
        pods: impl IntoIterator<Item = &'a PodSight>,
    ) -> BTreeSet<String> {
        let mut before = std::mem::take(&mut self.0);
        let mut unsettled = BTreeSet::new();
        for pod in pods {
            let Some((name, uid)) = &pod.deployment else { continue };
            let key = ObjectKey::new(pod.key.namespace.clone(), name.clone());
            let Some(object) = view.get(kind, &key).filter(|object| object.uid() == uid) else { continue };
            let known = before.remove(&key).filter(|(revision, _)| *revision == object.revision);
            let read = || known.unwrap_or_else(|| (object.revision, is_settled(&object.value())));
            let (_, settled) = *self.0.entry(key).or_insert_with(read);
            if !settled {
                unsettled.insert(uid.clone());
            }
        }
        unsettled
    }
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
