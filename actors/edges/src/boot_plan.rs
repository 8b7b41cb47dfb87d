//! `GET /api/v1/boot-plan`: the order pods start in, who waits for whom, and how far the node is emptied. From what is published.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use mkube_messages::gates::{BootPlan, Drain, PlannedPod, Standing};
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::status::Status;
use mkube_model::workloads::ready_since;
use serde_json::{Value, json};

use crate::parts::HttpParts;
use crate::respond;

pub fn show(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let plan = parts.boot_plan.borrow().clone();
    if !plan.decided {
        return Err(Status::unavailable("the boot order is not known before the store and the device were read", 1));
    }
    let pods = parts.objects.kinds().named("Pod").map(|kind| parts.objects.view().kind(&kind.id())).unwrap_or_default();
    let placed: BTreeSet<&ObjectKey> = plan.pods.iter().map(|pod| &pod.pod).collect();
    let others = pods.objects.values().filter(|pod| !placed.contains(&pod.key));
    let others: Vec<Value> = others.map(|pod| other(pod, plan.drain.is_some())).collect();
    Ok(respond::json(
        200,
        &json!({
            "kind": "BootPlan", "apiVersion": "vkube.io/v1alpha1",
            "drain": plan.drain.map(drain), "levels": levels(&plan), "others": others,
        }),
    ))
}

fn drain(drain: Drain) -> Value {
    json!({"running": drain.left, "pods": drain.pods, "drained": drain.left == 0})
}

fn levels(plan: &BootPlan) -> Vec<Value> {
    let of_level = |pods: &[PlannedPod]| {
        let level = pods.first().map_or(0, |pod| pod.level);
        json!({"level": level, "pods": pods.iter().map(planned).collect::<Vec<_>>()})
    };
    plan.pods.chunk_by(|one, next| one.level == next.level).map(of_level).collect()
}

fn planned(pod: &PlannedPod) -> Value {
    json!({
        "namespace": pod.pod.namespace, "name": pod.pod.name, "priority": pod.priority, "raisedTo": pod.raised_to,
        "dependsOn": pod.depends_on, "waitsFor": pod.waits_for, "state": pod.standing.as_str(), "message": pod.message,
    })
}

/// A pod without a place in the order: it starts at once, and is stopped first.
fn other(pod: &StoredObject, drains: bool) -> Value {
    let value = pod.value();
    let done =
        ready_since(&value).is_some() || value.pointer("/status/phase").is_some_and(|phase| phase == "Succeeded");
    let standing = match (done, drains) {
        (true, _) => Standing::Ready,
        (false, true) => Standing::Stopped,
        (false, false) => Standing::Starting,
    };
    json!({"namespace": pod.key.namespace, "name": pod.key.name, "state": standing.as_str()})
}
