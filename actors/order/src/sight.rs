//! What is seen of pods: read from the stored object and from their rows on the device, nothing remembered.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_messages::router::DeviceSnapshot;
use mkube_model::boot_order::Member;
use mkube_model::names;
use mkube_model::neighbours::router::ContainerState;
use mkube_model::workloads::{BOOT_PRIORITY, DEPENDS_ON, PAUSED, ready_since, says_true};
use serde_json::Value;

use crate::start::Seen;

/// One pod, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// Its uid.
    pub uid: String,
    /// Names, priority, dependencies.
    pub member: Member,
    ready: bool,
    ready_containers: BTreeSet<String>,
    phase: String,
    deleting: bool,
    /// Nobody stops it before it goes.
    pub stays: bool,
}

/// Whether a pod may have a place in the order by what it says: a look at its text, since most pods have none.
pub fn may_be_ordered(object: &StoredObject) -> bool {
    let text = object.text();
    text.contains(BOOT_PRIORITY) || text.contains(DEPENDS_ON)
}

impl PodSight {
    /// Reads a pod.
    pub fn of(object: &StoredObject) -> Self {
        let pod = object.value();
        let (namespace, name) = (&object.key.namespace, &object.key.name);
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
        let ready_containers = statuses
            .filter(|status| status["ready"] == true)
            .filter_map(|status| status["name"].as_str())
            .map(|container| names::container_name(namespace, name, container))
            .collect();
        Self {
            uid: object.uid().to_owned(),
            member: Member::of(&pod),
            ready: ready_since(&pod).is_some(),
            ready_containers,
            phase: pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default().to_owned(),
            deleting: object.is_deleting(),
            stays: says_true(&pod, PAUSED) && !object.is_deleting(),
        }
    }

    /// Together with what the device shows. A status is only believed as far as its processes run: after a boot it is old.
    pub fn seen(&self, rows: Rows) -> Seen {
        let all_run = rows.running > 0 && rows.starting + rows.stopping + rows.still == 0;
        Seen {
            uid: self.uid.clone(),
            ready: self.ready && all_run,
            ready_containers: if rows.running > 0 { self.ready_containers.clone() } else { BTreeSet::new() },
            runs: rows.running + rows.starting > 0,
            succeeded: self.phase == "Succeeded",
            leaves: self.deleting || self.phase == "Failed",
        }
    }
}

/// The rows of a pod on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    /// Those whose process runs.
    pub running: usize,
    /// Those whose process is being started.
    pub starting: usize,
    /// Those whose process is being stopped.
    pub stopping: usize,
    /// The others.
    pub still: usize,
}

impl Rows {
    /// Whether there is a process, also one on its way in or out.
    pub fn has_process(self) -> bool {
        self.running + self.starting + self.stopping > 0
    }
}

/// The rows of each pod that has some: by our mark, or, without one, by the names its containers have.
pub fn rows_of(device: &DeviceSnapshot, pods: &BTreeMap<ObjectKey, PodSight>) -> BTreeMap<ObjectKey, Rows> {
    let by_name: BTreeMap<&str, &ObjectKey> = pods
        .iter()
        .flat_map(|(key, pod)| pod.member.containers.iter().map(move |container| (container.as_str(), key)))
        .collect();
    let mut found: BTreeMap<ObjectKey, Rows> = BTreeMap::new();
    for row in device.containers.values() {
        let by_mark = row.comment.strip_prefix("mkube ").and_then(|rest| rest.split(' ').next()?.split_once('/'));
        let key = match by_mark {
            Some((namespace, name)) => ObjectKey::new(namespace, name),
            None => match by_name.get(row.name.as_str()) {
                Some(key) => (*key).clone(),
                None => continue,
            },
        };
        let rows = found.entry(key).or_default();
        match row.state {
            ContainerState::Running => rows.running += 1,
            ContainerState::Starting => rows.starting += 1,
            ContainerState::Stopping => rows.stopping += 1,
            _ => rows.still += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::kinds::KindId;
    use mkube_model::neighbours::router::ContainerRow;
    use serde_json::json;
    use std::sync::Arc;

    fn sight(status: Value) -> (ObjectKey, PodSight) {
        let key = ObjectKey::new("default", "web");
        let pod = json!({"metadata": {"namespace": "default", "name": "web", "uid": "u"},
            "spec": {"containers": [{"name": "c"}]}, "status": status});
        let kind = KindId { group: "", plural: "pods" };
        (key.clone(), PodSight::of(&StoredObject::new(kind, key, &pod, 1)))
    }

    fn ready() -> Value {
        json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    }

    fn device(state: ContainerState, comment: &str) -> DeviceSnapshot {
        let row =
            ContainerRow { name: "default_web_c".into(), state, comment: comment.into(), ..ContainerRow::default() };
        let mut device = DeviceSnapshot::default();
        device.containers.insert(row.name.clone(), Arc::new(row));
        device
    }

    #[test]
    fn a_status_that_says_ready_is_not_believed_when_nothing_runs() {
        let (key, pod) = sight(ready());
        let pods = BTreeMap::from([(key.clone(), pod.clone())]);
        for (state, is_ready) in [(ContainerState::Running, true), (ContainerState::Stopped, false)] {
            let rows = rows_of(&device(state, "mkube default/web 0123456789abcdef"), &pods);
            assert_eq!(pod.seen(rows[&key]).ready, is_ready, "{state:?}");
        }
    }

    #[test]
    fn a_row_without_a_mark_is_known_by_its_name_and_one_of_another_pod_by_its_mark() {
        let (key, pod) = sight(ready());
        let pods = BTreeMap::from([(key.clone(), pod)]);
        assert_eq!(rows_of(&device(ContainerState::Running, ""), &pods)[&key].running, 1);
        assert!(
            !rows_of(&device(ContainerState::Running, "mkube default/other 0123456789abcdef"), &pods)
                .contains_key(&key)
        );
    }
}
