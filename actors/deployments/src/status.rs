//! What a Deployment's and its ReplicaSets' status say. Pure: nothing in it moves unless something happened.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::case::Case;
use crate::deployment_sight::{RolloutState, SetSight};

/// RFC 3339 with whole seconds, as Kubernetes writes times.
fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A condition as it is to be.
struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn condition(kind: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Condition {
    Condition { kind, status, reason, message: message.into() }
}

/// The status of the Deployment. `why`: what failed last, for a rollout that stopped. `refused`: a pod could not be made.
pub fn of_deployment(case: &Case<'_>, why: Option<&str>, refused: Option<&str>, now: Timestamp) -> Value {
    let deployment = case.deployment;
    let count = |test: &dyn Fn(&crate::case::Member<'_>) -> bool| case.staying().filter(|one| test(one)).count();
    let replicas = count(&|_| true);
    let updated = count(&|one| one.current && one.pod.observed);
    let ready = count(&|one| one.pod.ready_since.is_some());
    let available = case.available();
    let mut status = json!({
        "observedGeneration": deployment.generation,
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": available,
        "unavailableReplicas": deployment.replicas.saturating_sub(available),
    });
    let before = &deployment.status;
    let moved = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
        .iter()
        .any(|field| before[field] != status[field]);
    let conditions = [Some(availability(case)), Some(progress(case, why)), replica_failure(case, refused)];
    let conditions: Vec<Value> =
        conditions.into_iter().flatten().map(|one| stamped(one, &before["conditions"], moved, now)).collect();
    status["conditions"] = json!(conditions);
    status["updatedAt"] = before["updatedAt"].clone();
    if *before != status || before["updatedAt"].is_null() {
        status["updatedAt"] = json!(stamp(now));
    }
    status
}

fn availability(case: &Case<'_>) -> Condition {
    if case.available() >= case.deployment.least() {
        let message = "Deployment has minimum availability.";
        return condition("Available", "True", "MinimumReplicasAvailable", message);
    }
    let message = "Deployment does not have minimum availability.";
    condition("Available", "False", "MinimumReplicasUnavailable", message)
}

fn progress(case: &Case<'_>, why: Option<&str>) -> Condition {
    let deployment = case.deployment;
    let name = deployment.set_name(&deployment.hash);
    if deployment.paused {
        return condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused");
    }
    if case.state() == RolloutState::Failed {
        let why = why.map(str::to_owned).or_else(|| said_before(case)).unwrap_or_default();
        let message = format!("ReplicaSet {name:?} has failed to progress: {why}");
        return condition("Progressing", "False", "ProgressDeadlineExceeded", message);
    }
    if case.cordoned && case.in_rollout() {
        let message = format!("ReplicaSet {name:?} waits: the node takes no new pods");
        return condition("Progressing", "True", "ReplicaSetUpdated", message);
    }
    if !case.in_rollout() {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        return condition("Progressing", "True", "NewReplicaSetAvailable", message);
    }
    if case.staying().any(|member| member.current) {
        return condition("Progressing", "True", "ReplicaSetUpdated", format!("ReplicaSet {name:?} is progressing."));
    }
    condition("Progressing", "True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"))
}

/// Why the rollout stopped, as it was told when it did.
fn said_before(case: &Case<'_>) -> Option<String> {
    let conditions = case.deployment.status["conditions"].as_array()?;
    let before = conditions.iter().find(|one| one["reason"] == "ProgressDeadlineExceeded")?;
    let (_, why) = before["message"].as_str()?.split_once("has failed to progress: ")?;
    Some(why.to_owned())
}

fn replica_failure(case: &Case<'_>, refused: Option<&str>) -> Option<Condition> {
    if let Some(why) = refused {
        return Some(condition("ReplicaFailure", "True", "FailedCreate", why));
    }
    let wanted = case.taken.iter().find(|(index, pod)| **index < case.deployment.replicas && !pod.deleting);
    let (_, pod) = wanted?;
    Some(condition("ReplicaFailure", "True", "FailedCreate", taken(&pod.key.name)))
}

/// What is said of a pod's name that somebody else has.
pub fn taken(name: &str) -> String {
    format!("there is a pod {name:?} that does not belong to this Deployment, it is left alone")
}

fn stamped(condition: Condition, before: &Value, moved: bool, now: Timestamp) -> Value {
    let Condition { kind, status, reason, message } = condition;
    let before = before.as_array().into_iter().flatten().find(|one| one["type"] == kind);
    let kept = |field: &str, same: bool| {
        before.filter(|_| same).map(|one| one[field].clone()).filter(|at| !at.is_null()).unwrap_or(json!(stamp(now)))
    };
    let same_status = before.is_some_and(|one| one["status"] == status);
    let same = same_status && before.is_some_and(|one| one["reason"] == reason && one["message"] == message.as_str());
    let moved = moved && kind == "Progressing" && reason == "ReplicaSetUpdated";
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": kept("lastUpdateTime", same && !moved),
        "lastTransitionTime": kept("lastTransitionTime", same_status),
    })
}

/// The status of a ReplicaSet.
pub fn of_set(case: &Case<'_>, set: &SetSight) -> Value {
    let is_current = set.hash == case.deployment.hash;
    let pods: Vec<_> = case
        .staying()
        .filter(|one| if is_current { one.current } else { one.pod.hash.as_deref() == Some(set.hash.as_str()) })
        .collect();
    let count = |test: &dyn Fn(&crate::case::Member<'_>) -> bool| pods.iter().filter(|one| test(one)).count();
    let mut status = Map::new();
    status.insert("observedGeneration".to_owned(), json!(set.generation));
    status.insert("replicas".to_owned(), json!(pods.len()));
    status.insert("fullyLabeledReplicas".to_owned(), json!(count(&|one| one.pod.hash.is_some())));
    status.insert("readyReplicas".to_owned(), json!(count(&|one| one.pod.ready_since.is_some())));
    status.insert("availableReplicas".to_owned(), json!(count(&|one| one.live.available)));
    Value::Object(status)
}
