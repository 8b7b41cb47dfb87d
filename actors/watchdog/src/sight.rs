//! What the watchdog sees of a pod: its probes, and which run of each container its status speaks of.

use mkube_messages::health::Run;
use mkube_messages::objects::StoredObject;
use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::router::ContainerRow;
use mkube_model::probes::Probes;
use mkube_model::{names, workloads};
use serde_json::Value;

use crate::course::Before;

/// A pod with probes, or one that is a name server.
#[derive(Debug, Clone)]
pub struct PodSight {
    /// `metadata.uid`.
    pub uid: String,
    /// It is deleted, or paused: nobody judges it.
    pub left_alone: bool,
    /// What ends is started again.
    pub restarts: bool,
    /// Containers with probes; of a name server all.
    pub containers: Vec<ContainerSight>,
    /// Probes that cannot be asked, such as `containers[0].livenessProbe`.
    pub unsupported: Vec<String>,
}

/// A container that is looked after.
#[derive(Debug, Clone)]
pub struct ContainerSight {
    /// Name.
    pub name: String,
    /// Its probes.
    pub probes: Probes,
    /// The run its status speaks of, while it runs, and how that is told to be.
    pub run: Option<(Run, Before)>,
}

impl PodSight {
    /// Reads a pod; nothing when it has no probes and is no name server.
    pub fn of(object: &StoredObject, names: bool) -> Option<Self> {
        // Most have none, and reading them all would cost more than everything else here.
        if !names && !object.text().contains("Probe\":") {
            return None;
        }
        let pod = object.value();
        let spec = pod.pointer("/spec/containers").and_then(Value::as_array)?;
        let mut containers = Vec::new();
        let mut unsupported = Vec::new();
        for (index, container) in spec.iter().enumerate() {
            let probes = Probes::of(container);
            unsupported.extend(probes.unsupported.iter().map(|field| format!("spec.containers[{index}].{field}")));
            if probes.is_empty() && !names {
                continue;
            }
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let run = run_of(&pod, &name);
            containers.push(ContainerSight { name, probes, run });
        }
        if containers.is_empty() && unsupported.is_empty() {
            return None;
        }
        Some(Self {
            uid: object.uid().to_owned(),
            restarts: pod.pointer("/spec/restartPolicy").is_none_or(|policy| policy != "Never"),
            left_alone: object.is_deleting() || workloads::says_true(&pod, workloads::PAUSED),
            containers,
            unsupported,
        })
    }
}

fn run_of(pod: &Value, name: &str) -> Option<(Run, Before)> {
    let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
    let status = statuses.iter().find(|status| status["name"] == name)?;
    let run = Run {
        container_id: status["containerID"].as_str()?.to_owned(),
        restarts: status["restartCount"].as_u64()?,
        since: status.pointer("/state/running/startedAt")?.as_str()?.to_owned(),
    };
    Some((run, Before { up: status["started"] == true, ready: status["ready"] == true }))
}

/// The row of a container, by the id its status tells. Nearly always it has the plain name.
pub fn row_of<'a>(
    device: &'a DeviceSnapshot,
    namespace: &str,
    pod: &str,
    container: &str,
    run: &Run,
) -> Option<&'a ContainerRow> {
    let is_it = |row: &&ContainerRow| is_row(row, run);
    let plain = device.containers.get(&names::container_name(namespace, pod, container)).map(AsRef::as_ref);
    plain.filter(is_it).or_else(|| device.containers.values().map(AsRef::as_ref).find(is_it))
}

/// Whether a run is of this row.
pub fn is_row(row: &ContainerRow, run: &Run) -> bool {
    run.container_id.strip_prefix("routeros://").is_some_and(|id| row.id.0.trim_start_matches('*') == id)
}

/// The address of a row's first interface.
pub fn address_of(device: &DeviceSnapshot, row: &ContainerRow) -> Option<String> {
    let veth = device.veths.get(row.interfaces.first()?)?;
    veth.addresses.first().map(|address| address.addr().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::ObjectKey;
    use mkube_model::kinds::KindId;
    use serde_json::json;

    fn sight(pod: &Value) -> Option<PodSight> {
        sight_of(pod, false)
    }

    fn sight_of(pod: &Value, names: bool) -> Option<PodSight> {
        let kind = KindId { group: "", plural: "pods" };
        PodSight::of(&StoredObject::new(kind, ObjectKey::new("default", "web"), pod, 1), names)
    }

    #[test]
    fn of_a_pod_the_containers_with_probes_are_seen_and_the_runs_its_status_speaks_of() {
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": [
            {"name": "plain"}, {"name": "web", "livenessProbe": {"tcpSocket": {"port": 80}}},
            {"name": "odd", "livenessProbe": {"exec": {"command": []}}},
        ]}, "status": {"containerStatuses": [
            {"name": "web", "containerID": "routeros://1F", "restartCount": 2, "started": true, "ready": false,
             "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}});
        let seen = sight(&pod).expect("it has probes");
        assert_eq!(seen.containers.len(), 1);
        let (run, before) = seen.containers[0].run.clone().expect("it runs");
        let since = "2026-01-01T00:00:00Z".to_owned();
        assert_eq!(run, Run { container_id: "routeros://1F".into(), restarts: 2, since });
        assert_eq!(before, Before { up: true, ready: false });
        assert_eq!(seen.unsupported, ["spec.containers[2].livenessProbe"]);
        assert!(!seen.left_alone);
    }

    #[test]
    fn paused_and_deleted_pods_are_left_alone_and_those_without_probes_not_looked_at() {
        let mut pod = json!({"metadata": {"uid": "u", "annotations": {"vkube.io/paused": "true"}},
            "spec": {"containers": [{"name": "web", "readinessProbe": {"tcpSocket": {"port": 80}}}]}});
        assert!(sight(&pod).expect("seen").left_alone);
        pod["metadata"] = json!({"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(sight(&pod).expect("seen").left_alone);
        assert!(sight(&json!({"spec": {"containers": [{"name": "web"}]}})).is_none());
    }

    #[test]
    fn of_a_name_server_all_containers_are_seen_and_whether_they_come_back() {
        let mut pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"name": "dns"}, {"name": "side"}]}});
        let seen = sight_of(&pod, true).expect("seen");
        assert_eq!((seen.containers.len(), seen.restarts), (2, true));
        pod["spec"]["restartPolicy"] = json!("Never");
        assert!(!sight_of(&pod, true).expect("seen").restarts);
    }
}
