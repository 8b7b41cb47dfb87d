//! Whether an object has become what it is to be, and what is missing. Pure.

use serde_json::Value;

/// How far an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is what it is to be.
    Done,
    /// What is missing.
    Waits(String),
    /// It will not become so by itself.
    Failed(String),
}

/// How far it is; kinds that are what they are at once are done.
pub fn of(object: &Value) -> Progress {
    match object["kind"].as_str().unwrap_or_default() {
        "Pod" => of_pod(object),
        "Deployment" => of_deployment(object),
        "Job" => of_job(object),
        _ => Progress::Done,
    }
}

fn condition<'o>(object: &'o Value, name: &str) -> Option<&'o Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|one| one["type"] == name)
}

fn holds(object: &Value, name: &str) -> bool {
    condition(object, name).is_some_and(|one| one["status"] == "True")
}

fn of_pod(pod: &Value) -> Progress {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match pod["status"]["phase"].as_str().unwrap_or_default() {
        "Succeeded" => return Progress::Done,
        "Failed" => return Progress::Failed(format!("the pod failed: {}", text(&pod["status"]["message"]))),
        _ if holds(pod, "Ready") => return Progress::Done,
        _ => {}
    }
    let all = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let containers = all.iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten();
    for container in containers.filter(|one| one["ready"] != true) {
        let name = text(&container["name"]);
        let waiting = &container["state"]["waiting"];
        if waiting.is_object() {
            let (reason, message) = (text(&waiting["reason"]), text(&waiting["message"]));
            let words = if message.is_empty() { reason } else { format!("{reason}: {message}") };
            return Progress::Waits(format!("container {name}: {words}"));
        }
        if container["state"]["running"].is_object() {
            return Progress::Waits(format!("container {name} runs and is not ready yet"));
        }
    }
    let why = condition(pod, "PodScheduled").filter(|one| one["status"] == "False").map(|one| text(&one["message"]));
    Progress::Waits(why.filter(|text| !text.is_empty()).unwrap_or_else(|| "it has not started yet".to_owned()))
}

fn of_deployment(deployment: &Value) -> Progress {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Progress::Waits("the change has not been seen yet".to_owned());
    }
    if let Some(stopped) =
        condition(deployment, "Progressing").filter(|one| one["reason"] == "ProgressDeadlineExceeded")
    {
        let why = stopped["message"].as_str().unwrap_or("it took too long");
        return Progress::Failed(why.to_owned());
    }
    let (updated, all, available) =
        (number("/status/updatedReplicas"), number("/status/replicas"), number("/status/availableReplicas"));
    if updated < wanted {
        Progress::Waits(format!("{updated} of {wanted} replicas have the new template"))
    } else if all > updated {
        Progress::Waits(format!("{} old replicas are still there", all - updated))
    } else if available < updated {
        Progress::Waits(format!("{available} of {updated} new replicas are available"))
    } else {
        Progress::Done
    }
}

fn of_job(job: &Value) -> Progress {
    if holds(job, "Complete") {
        return Progress::Done;
    }
    if let Some(failed) = condition(job, "Failed").filter(|one| one["status"] == "True") {
        return Progress::Failed(failed["message"].as_str().unwrap_or("the job failed").to_owned());
    }
    if job["spec"]["suspend"] == true {
        return Progress::Done;
    }
    let number = |pointer: &str| job.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Progress::Waits(format!("{} pods run, {} succeeded", number("/status/active"), number("/status/succeeded")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_says_which_container_it_waits_for_and_why() {
        let pod = |status: Value| json!({"kind": "Pod", "status": status});
        assert_eq!(of(&pod(json!({"phase": "Succeeded"}))), Progress::Done);
        assert_eq!(of(&pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}))), Progress::Done);
        let waits = of(&pod(json!({"phase": "Pending", "containerStatuses": [
            {"name": "a", "ready": true},
            {"name": "b", "ready": false, "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]})));
        assert_eq!(waits, Progress::Waits("container b: ErrImagePull: no such image".to_owned()));
        assert!(
            matches!(of(&pod(json!({"phase": "Failed", "message": "x"}))), Progress::Failed(why) if why.ends_with('x'))
        );
        assert!(matches!(of(&pod(json!({}))), Progress::Waits(_)));
    }

    #[test]
    fn a_deployment_is_done_when_all_of_it_is_new_and_available() {
        let of = |status: Value| {
            of(&json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}))
        };
        let waits = |words: &str| Progress::Waits(words.to_owned());
        assert_eq!(of(json!({"observedGeneration": 1})), waits("the change has not been seen yet"));
        let status = |updated: u64, all: u64, available: u64| json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
        assert_eq!(of(status(1, 2, 2)), waits("1 of 2 replicas have the new template"));
        assert_eq!(of(status(2, 3, 3)), waits("1 old replicas are still there"));
        assert_eq!(of(status(2, 2, 1)), waits("1 of 2 new replicas are available"));
        assert_eq!(of(status(2, 2, 2)), Progress::Done);
        let mut stuck = status(1, 2, 2);
        stuck["conditions"] = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "no"}]);
        assert_eq!(of(stuck), Progress::Failed("no".to_owned()));
    }

    #[test]
    fn a_job_is_done_at_its_end_and_what_has_no_course_at_once() {
        let job = |status: Value| of(&json!({"kind": "Job", "status": status}));
        assert_eq!(job(json!({"conditions": [{"type": "Complete", "status": "True"}]})), Progress::Done);
        assert_eq!(
            job(json!({"conditions": [{"type": "Failed", "status": "True", "message": "m"}]})),
            Progress::Failed("m".to_owned())
        );
        assert_eq!(job(json!({"active": 1})), Progress::Waits("1 pods run, 0 succeeded".to_owned()));
        assert_eq!(of(&json!({"kind": "ConfigMap"})), Progress::Done);
    }
}
