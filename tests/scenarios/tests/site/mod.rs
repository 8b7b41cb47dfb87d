//! What the tests of a whole site begin with: the node, the Deployment `web`, and how both are asked.

use mkube_fakes::FakeTarballs;
use serde_json::{Value, json};

use crate::world::World;

pub const NODE: &str = "rose1";

/// What is not done by then takes too long, and is put back.
pub fn deployment(replicas: u64) -> Value {
    json!({
        "metadata": {"name": "web", "annotations": {"vkube.io/auto-rollback": "true"}},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 60,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": "web:1"}]}},
        },
    })
}

pub fn new_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

pub fn is_through(world: &World) -> bool {
    let Some(object) = world.get("Deployment", "web") else { return false };
    let (spec, status) = (&object["spec"], &object["status"]);
    status["observedGeneration"] == object["metadata"]["generation"]
        && condition(world, "Progressing").1 == "NewReplicaSetAvailable"
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == spec["replicas"])
}

pub fn condition(world: &World, kind: &str) -> (String, String) {
    let object = world.get("Deployment", "web").unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one| one["type"] == kind).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

pub fn device_runs(world: &World, pod: &str, image: &str) -> bool {
    let row = world.device.row("container", &format!("default_{pod}_c"));
    row.is_some_and(|row| row["file"] == FakeTarballs::path(image).as_str() && row["running"] == "true")
}

pub fn restarts(world: &World, pod: &str) -> u64 {
    world.status(pod)["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

pub async fn set_node(world: &World, drained: bool, cordoned: bool) {
    let drain = if drained { json!("true") } else { Value::Null };
    let closed = if cordoned { json!(true) } else { Value::Null };
    let body = json!({"metadata": {"annotations": {"vkube.io/drain": drain}}, "spec": {"unschedulable": closed}});
    world.patch("Node", NODE, body).await;
}

/// Nothing was taken for a failure.
#[track_caller]
pub fn nothing_failed(world: &World) {
    for reason in ["RolloutFailed", "RolledBack", "BackOff", "Held", "OrphanRemoved"] {
        assert_eq!(world.events(reason), Vec::<String>::new());
    }
    assert_ne!(condition(world, "Progressing").0, "False");
}
