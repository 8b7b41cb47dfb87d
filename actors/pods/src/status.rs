//! What a pod's status says: pure, from what is seen and remembered. Nothing in it moves unless something happened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mkube_messages::gates::DRAINED;
use mkube_messages::health::Run;
use mkube_model::neighbours::router::{ContainerState, RowId};
use serde_json::{Value, json};

use crate::memory::{Exit, Started};
use crate::plan::RestartPolicy;

/// Reason of a container that is being made or started and is in no trouble.
const CREATING: &str = "ContainerCreating";
/// Condition that is there while something keeps the present spec from becoming true and containers of the one before go on.
const SPEC_APPLIED: &str = "vkube.io/SpecApplied";

/// Why a container is not running, when that is so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trouble {
    /// CamelCase reason such as `ErrImagePull`.
    pub reason: String,
    /// For people: what is wrong, what is tried next and when.
    pub message: String,
}

/// What is known of one container.
#[derive(Debug, Clone)]
pub struct ContainerFacts {
    /// Name in the pod.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// `<repository>@<digest>` of what runs, if known.
    pub image_id: String,
    /// The row's `.id`.
    pub row_id: Option<String>,
    /// State of the row, if there is one.
    pub state: Option<ContainerState>,
    /// Whether the present row's process was started.
    pub started: Started,
    /// How the last run ended.
    pub exit: Option<Exit>,
    /// What keeps it from running.
    pub trouble: Option<Trouble>,
    /// It ended and will be started again.
    pub will_restart: bool,
    /// Restarts so far.
    pub restarts: u64,
    /// Its address.
    pub address: Option<String>,
    /// The row is one of the present spec, or there is none yet: what is said here is not about the spec before.
    pub current: bool,
    /// Its startup probe succeeded, or it has none.
    pub up: bool,
    /// Its readiness probe says yes, or it has none.
    pub ready: bool,
    /// Its last run was ended by a reboot of the device.
    pub by_reboot: bool,
}

/// A condition beside those of Kubernetes, such as [`crate::ladder::HELD`].
pub struct MoreCondition {
    /// Type.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Everything the status is made of.
pub struct Facts<'a> {
    /// In spec order.
    pub containers: &'a [ContainerFacts],
    /// When containers are restarted.
    pub restart: RestartPolicy,
    /// The pod is being deleted.
    pub deleting: bool,
    /// `metadata.generation` of the pod.
    pub generation: u64,
    /// Why it gets no place on the node, if that is so.
    pub unschedulable: Option<String>,
    /// The device's address.
    pub host_ip: &'a str,
    /// The status as it was.
    pub previous: &'a Value,
    /// Now.
    pub now: Timestamp,
    /// When the device was started, if known: a run that began before ended then.
    pub booted: Option<Timestamp>,
    /// Conditions beside those of Kubernetes.
    pub more: Vec<MoreCondition>,
}

/// The new status. Times of things that did not change are taken over from the previous one.
pub fn status(facts: &Facts<'_>) -> Value {
    let now = stamp(facts.now);
    if let Some(why) = &facts.unschedulable {
        return json!({
            "phase": "Pending",
            "conditions": [condition(facts.previous, "PodScheduled", false, Some(("Unschedulable", why.clone())), &now)],
            "qosClass": facts.previous.get("qosClass").cloned().unwrap_or(json!("BestEffort")),
        });
    }
    let mut statuses: Vec<Value> = Vec::new();
    for container in facts.containers {
        let before = previous_container(facts.previous, &container.name);
        statuses.push(container_status(container, before, &now, facts));
    }
    let ready = |status: &Value| status["ready"] == true;
    let all_ready = !statuses.is_empty() && statuses.iter().all(ready);
    let phase = phase(facts, &statuses);
    let finished = phase == "Succeeded" || phase == "Failed";
    let not_ready: Vec<&str> =
        statuses.iter().filter(|status| !ready(status)).filter_map(|status| status.get("name")?.as_str()).collect();
    let reason_not_ready = if finished && phase == "Succeeded" {
        Some(("PodCompleted", String::new()))
    } else if !all_ready {
        Some(("ContainersNotReady", format!("containers with unready status: [{}]", not_ready.join(" "))))
    } else {
        None
    };
    let not_applied = facts.containers.iter().filter(|container| !container.current).find_map(|container| {
        let trouble = container.trouble.as_ref()?;
        let why = format!("container {}: {}", container.name, trouble.message);
        Some((SPEC_APPLIED, false, Some((trouble.reason.as_str(), why))))
    });
    let mut conditions: Vec<Value> = [
        ("PodScheduled", true, None),
        ("Initialized", true, None),
        ("ContainersReady", all_ready, reason_not_ready.clone()),
        ("Ready", all_ready, reason_not_ready),
    ]
    .into_iter()
    .chain(not_applied)
    .map(|(kind, holds, why)| condition(facts.previous, kind, holds, why, &now))
    .collect();
    conditions.extend(
        facts.more.iter().map(|more| {
            condition(facts.previous, more.kind, more.holds, Some((more.reason, more.message.clone())), &now)
        }),
    );
    let addresses: Vec<&str> = facts.containers.iter().filter_map(|c| c.address.as_deref()).collect();
    let start_time = facts.previous.get("startTime").and_then(Value::as_str).unwrap_or(&now).to_owned();
    let mut status = json!({
        "phase": phase,
        "conditions": conditions,
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": start_time,
        "containerStatuses": statuses,
        "qosClass": facts.previous.get("qosClass").cloned().unwrap_or(json!("BestEffort")),
    });
    let observed = if facts.containers.iter().all(|container| container.current) {
        Some(json!(facts.generation))
    } else {
        facts.previous.get("observedGeneration").cloned()
    };
    if let Some(generation) = observed {
        status["observedGeneration"] = generation;
    }
    if let Some(first) = addresses.first() {
        status["podIP"] = json!(first);
        status["podIPs"] = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    }
    status
}

/// RFC 3339 with whole seconds, as Kubernetes writes times.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn previous_container<'a>(previous: &'a Value, name: &str) -> Option<&'a Value> {
    let all = previous.get("containerStatuses")?.as_array()?;
    all.iter().find(|status| status.get("name").and_then(Value::as_str) == Some(name))
}

/// Whether a status says no more of a pod than that it is being made, and nothing was said of it before.
pub fn only_begun(stored: &Value, new: &Value) -> bool {
    let waits = |status: &Value| {
        status.pointer("/state/waiting/reason").is_some_and(|reason| reason == CREATING)
            && status.pointer("/lastState/terminated").is_none()
    };
    stored.get("containerStatuses").is_none()
        && new.get("containerStatuses").and_then(Value::as_array).is_some_and(|all| all.iter().all(waits))
}

/// Restarts recorded for a container in a stored status.
pub fn recorded_restarts(previous: &Value, name: &str) -> u64 {
    previous_container(previous, name).and_then(|status| status.get("restartCount")?.as_u64()).unwrap_or(0)
}

/// Whether a stored status says that a container was stopped to empty the node.
pub fn recorded_drained(previous: &Value, name: &str) -> bool {
    let status = previous_container(previous, name);
    status.and_then(|status| status.pointer("/state/waiting/reason")).is_some_and(|reason| reason == DRAINED)
}

/// What a stored status says of a run of the row it was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The row's process was started at some time.
    pub started: bool,
    /// How its last run ended, if nothing ran since.
    pub exit: Option<Exit>,
}

/// What a stored status says of this row; nothing, when it speaks of an earlier one.
pub fn recorded_run(previous: &Value, name: &str, row_id: Option<&RowId>) -> Recorded {
    let same_row = |status: &&Value| {
        let id = status.get("containerID").and_then(Value::as_str);
        row_id.is_some_and(|row| id == Some(container_id(&row.0).as_str()))
    };
    let Some(status) = previous_container(previous, name).filter(same_row) else { return Recorded::default() };
    // Of a run that waits for its restart, or is held, the end is the last state already.
    let waits = status.pointer("/state/waiting/reason").is_some_and(|reason| reason == "CrashLoopBackOff");
    let last = status.pointer("/lastState/terminated").filter(|_| waits);
    let ended = status.pointer("/state/terminated").or(last);
    let exit = ended.map(|ended| Exit {
        code: ended.get("exitCode").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok()),
        message: ended.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
    });
    Recorded { started: ended.is_some() || status.pointer("/state/running").is_some(), exit }
}

/// The `imageID` a stored status tells of this row; nothing, when it speaks of another one or of none.
pub fn recorded_image<'a>(previous: &'a Value, name: &str, row_id: &RowId) -> Option<&'a str> {
    let status = previous_container(previous, name)?;
    let of_this_row = status.get("containerID").and_then(Value::as_str) == Some(container_id(&row_id.0).as_str());
    status.get("imageID")?.as_str().filter(|_| of_this_row)
}

/// What a stored status says of how a run was by its probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedHealth {
    /// The run it speaks of.
    pub run: Run,
    /// It was started.
    pub up: bool,
    /// It was ready.
    pub ready: bool,
}

/// What a stored status says of the run of this row that is the present one by its number of restarts; nothing, when it speaks
/// of another, or of one that ended with the device before it was `booted`.
pub fn recorded_health(
    previous: &Value,
    name: &str,
    row_id: &RowId,
    restarts: u64,
    booted: Option<Timestamp>,
) -> Option<RecordedHealth> {
    let status = previous_container(previous, name)?;
    let since = status.pointer("/state/running/startedAt")?.as_str()?;
    let same = status.get("containerID")?.as_str()? == container_id(&row_id.0)
        && status.get("restartCount")?.as_u64()? == restarts
        && booted.is_none_or(|booted| *since >= *stamp(booted));
    let run = Run { container_id: container_id(&row_id.0), restarts, since: since.to_owned() };
    same.then(|| RecordedHealth { run, up: status["started"] == true, ready: status["ready"] == true })
}

/// Whether by a stored status this row ran at a time before the device was `booted`.
pub fn ran_before_boot(previous: &Value, name: &str, row_id: &RowId, booted: Option<Timestamp>) -> bool {
    let ran = || {
        let status = previous_container(previous, name)?;
        let since = status.pointer("/state/running/startedAt")?.as_str()?;
        let same_row = status.get("containerID")?.as_str()? == container_id(&row_id.0);
        Some(same_row && *since < *stamp(booted?))
    };
    ran().unwrap_or(false)
}

/// The message of a condition, and since when it is as it is.
pub fn recorded_condition<'a>(previous: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = previous.get("conditions")?.as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((condition["message"].as_str()?, condition["lastTransitionTime"].as_str()?))
}

fn container_id(row_id: &str) -> String {
    format!("routeros://{}", row_id.trim_start_matches('*'))
}

fn container_status(container: &ContainerFacts, before: Option<&Value>, now: &str, facts: &Facts<'_>) -> Value {
    let was = |pointer: &str| before.and_then(|status| status.pointer(pointer)).cloned();
    let running = container.state == Some(ContainerState::Running)
        || (container.state == Some(ContainerState::Stopping) && facts.deleting);
    let booted = facts.booted.map(stamp).unwrap_or_default();
    // A run that ended before it was ever seen running leaves the record of the run before it.
    let same_run = was("/restartCount").is_none_or(|count| count == json!(container.restarts));
    let mut last = was("/lastState").unwrap_or(json!({}));
    let state = if running {
        let began = was("/state/running/startedAt").filter(|_| same_run);
        // What runs now was started with the device, and what was told of ended with it.
        let before_boot = began.clone().filter(|began| began.as_str().is_some_and(|began| *began < *booted));
        if let Some(began) = &before_boot {
            last = json!({"terminated": terminated_by_reboot(began.clone(), &booted)});
        }
        // A clock that stepped backwards must not begin a run before the device was started.
        let started = began.filter(|_| before_boot.is_none()).unwrap_or(json!(now.max(&booted)));
        if was("/state/running").is_none()
            && let Some(ended) = was("/state/terminated")
        {
            last = json!({"terminated": ended});
        }
        json!({"running": {"startedAt": started}})
    } else if let (Some(exit), true) = (&container.exit, container.started == Started::Yes) {
        let recorded = was("/state/terminated").or_else(|| {
            // While waiting for a restart the run that ended is the last state already.
            let waits_for_restart = was("/state/waiting/reason").is_some_and(|reason| reason != CREATING);
            if waits_for_restart { was("/lastState/terminated") } else { None }
        });
        let terminated = match recorded {
            Some(recorded) if same_run => recorded,
            Some(before) => {
                last = json!({"terminated": before});
                terminated(exit, None, now)
            }
            None if container.by_reboot => {
                terminated_by_reboot(was("/state/running/startedAt").unwrap_or(json!(now)), &booted)
            }
            None => terminated(exit, was("/state/running/startedAt"), now),
        };
        if container.will_restart {
            last = json!({"terminated": terminated});
            waiting(container.trouble.as_ref())
        } else {
            json!({"terminated": terminated})
        }
    } else if let Some(ended) = was("/state/terminated").filter(|_| same_run && ended_unread(container, &was)) {
        // Whoever has just come and has not read yet how it ended takes back nothing: a pod that succeeded stays so.
        json!({"terminated": ended})
    } else {
        waiting(container.trouble.as_ref())
    };
    let is_running = state.get("running").is_some();
    let mut status = json!({
        "name": container.name,
        "image": container.image,
        "imageID": container.image_id,
        "ready": is_running && container.up && container.ready,
        "started": is_running && container.up,
        "restartCount": container.restarts,
        "state": state,
        "lastState": last,
    });
    if let Some(id) = &container.row_id {
        status["containerID"] = json!(container_id(id));
    }
    status
}

fn terminated(exit: &Exit, started: Option<Value>, now: &str) -> Value {
    let code = exit.code.unwrap_or(255);
    let reason = match code {
        0 => "Completed",
        _ if exit.message.contains("out of memory") => "OOMKilled",
        _ if exit.message.starts_with("execvp ") => "StartError",
        _ => "Error",
    };
    let started = started.unwrap_or(json!(now));
    // A clock that stepped backwards must not end a run before it began.
    let finished = if started.as_str().is_some_and(|started| started > now) { started.clone() } else { json!(now) };
    let mut value = json!({
        "exitCode": code,
        "reason": reason,
        "startedAt": started,
        "finishedAt": finished,
    });
    if !exit.message.is_empty() {
        value["message"] = json!(exit.message);
    }
    value
}

/// Whether what was told of the end is about this very container, which stands still, and nothing newer is known of it.
fn ended_unread(container: &ContainerFacts, was: &dyn Fn(&str) -> Option<Value>) -> bool {
    let same_row = container.row_id.as_deref().map(|id| json!(container_id(id))) == was("/containerID");
    let still = container.state == Some(ContainerState::Stopped);
    same_row && still && container.exit.is_none() && container.started == Started::Unknown
}

/// The end of a run that went with the device. Whoever reads it should not look for a fault in the container.
fn terminated_by_reboot(started: Value, booted: &str) -> Value {
    let finished =
        if started.as_str().is_some_and(|started| started > booted) { started.clone() } else { json!(booted) };
    json!({
        "exitCode": 255,
        "reason": "DeviceRebooted",
        "message": "the device was rebooted",
        "startedAt": started,
        "finishedAt": finished,
    })
}

fn waiting(trouble: Option<&Trouble>) -> Value {
    match trouble {
        Some(trouble) => json!({"waiting": {"reason": trouble.reason, "message": trouble.message}}),
        None => json!({"waiting": {"reason": CREATING}}),
    }
}

fn phase(facts: &Facts<'_>, statuses: &[Value]) -> &'static str {
    let states: BTreeMap<&str, usize> = statuses.iter().fold(BTreeMap::new(), |mut counts, status| {
        let state = ["running", "terminated", "waiting"]
            .into_iter()
            .find(|state| status.pointer(&format!("/state/{state}")).is_some())
            .unwrap_or("waiting");
        *counts.entry(state).or_default() += 1;
        counts
    });
    let count = |state: &str| states.get(state).copied().unwrap_or(0);
    let ended_before = |status: &&Value| status.pointer("/lastState/terminated").is_some();
    if count("terminated") == statuses.len() && !statuses.is_empty() && facts.restart != RestartPolicy::Always {
        let failed =
            statuses.iter().any(|s| s.pointer("/state/terminated/exitCode").and_then(Value::as_i64) != Some(0));
        return if failed { "Failed" } else { "Succeeded" };
    }
    // A container that waits for its restart has run: the pod is Running, as kubelet sees it.
    let waiting_for_first = statuses
        .iter()
        .filter(|status| status.pointer("/state/waiting").is_some())
        .filter(|status| !ended_before(status))
        .count();
    if waiting_for_first > 0 { "Pending" } else { "Running" }
}

fn condition(previous: &Value, kind: &str, holds: bool, why: Option<(&str, String)>, now: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    let before = previous
        .get("conditions")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|one| one.get("type").and_then(Value::as_str) == Some(kind)));
    let since = before
        .filter(|one| one.get("status").and_then(Value::as_str) == Some(status))
        .and_then(|one| one.get("lastTransitionTime")?.as_str())
        .unwrap_or(now);
    let mut value = json!({"type": kind, "status": status, "lastTransitionTime": since});
    if let Some((reason, message)) = why {
        value["reason"] = json!(reason);
        if !message.is_empty() {
            value["message"] = json!(message);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(state: Option<ContainerState>) -> ContainerFacts {
        ContainerFacts {
            name: "web".into(),
            image: "web:1".into(),
            image_id: String::new(),
            row_id: Some("*1".into()),
            state,
            started: Started::Yes,
            exit: None,
            trouble: None,
            will_restart: false,
            restarts: 0,
            address: Some("10.0.0.2".into()),
            current: true,
            up: true,
            ready: true,
            by_reboot: false,
        }
    }

    fn of(container: ContainerFacts, restart: RestartPolicy, previous: &Value, second: i64) -> Value {
        let now = Timestamp::from_second(second).expect("in range");
        status(&Facts {
            containers: &[container],
            restart,
            deleting: false,
            generation: 1,
            unschedulable: None,
            host_ip: "10.0.0.1",
            previous,
            now,
            booted: None,
            more: vec![],
        })
    }

    fn ended(code: i32) -> ContainerFacts {
        let exit = Some(Exit { code: Some(code), message: String::new() });
        ContainerFacts { exit, ..container(Some(ContainerState::Stopped)) }
    }

    #[test]
    fn a_second_look_at_the_same_facts_changes_nothing() {
        let first = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &Value::Null, 100);
        let second = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &first, 500);
        assert_eq!(first, second);
        assert_eq!(first["phase"], "Running");
        assert_eq!(first["podIP"], "10.0.0.2");
        assert_eq!(first["containerStatuses"][0]["state"]["running"]["startedAt"], "1970-01-01T00:01:40Z");
    }

    #[test]
    fn a_status_is_of_the_present_spec_once_every_row_is() {
        let old = ContainerFacts { current: false, ..container(Some(ContainerState::Running)) };
        let fresh = of(old.clone(), RestartPolicy::Always, &Value::Null, 100);
        assert_eq!((fresh.get("observedGeneration"), &fresh["phase"]), (None, &json!("Running")));
        let made = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &fresh, 200);
        assert_eq!(made["observedGeneration"], 1);
        let kept = of(old, RestartPolicy::Always, &json!({"observedGeneration": 7}), 300);
        assert_eq!(kept["observedGeneration"], 7, "what was observed before stays observed");
    }

    #[test]
    fn what_keeps_a_new_spec_from_becoming_true_is_said_while_the_old_containers_go_on() {
        let trouble = Trouble { reason: "ErrImagePull".into(), message: "no such image".into() };
        let old = ContainerFacts { current: false, trouble: Some(trouble), ..container(Some(ContainerState::Running)) };
        let status = of(old.clone(), RestartPolicy::Always, &Value::Null, 100);
        assert_eq!((&status["phase"], &status["conditions"][3]["status"]), (&json!("Running"), &json!("True")));
        let said = &status["conditions"][4];
        assert_eq!((&said["type"], &said["reason"]), (&json!("vkube.io/SpecApplied"), &json!("ErrImagePull")));
        let made = of(ContainerFacts { current: true, ..old }, RestartPolicy::Always, &status, 200);
        assert_eq!(made["conditions"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn a_job_ends_as_succeeded_or_failed_with_its_code() {
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Never, &Value::Null, 100);
        let done = of(ended(0), RestartPolicy::Never, &running, 200);
        assert_eq!(done["phase"], "Succeeded");
        let terminated = &done["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(terminated["startedAt"], "1970-01-01T00:01:40Z");
        assert_eq!(terminated["finishedAt"], "1970-01-01T00:03:20Z");
        assert_eq!(of(ended(0), RestartPolicy::Never, &done, 900), done);
        let unread = ContainerFacts { exit: None, started: Started::Unknown, ..ended(0) };
        assert_eq!(of(unread.clone(), RestartPolicy::Never, &done, 900), done, "nobody takes back that it succeeded");
        let another = ContainerFacts { row_id: Some("*99".into()), ..unread };
        assert_eq!(of(another, RestartPolicy::Never, &done, 900)["phase"], "Pending");
        let failed = of(ended(3), RestartPolicy::OnFailure, &running, 200);
        assert_eq!(
            (failed["phase"].as_str(), &failed["containerStatuses"][0]["state"]["terminated"]["exitCode"]),
            (Some("Failed"), &json!(3))
        );
    }

    #[test]
    fn what_a_status_says_of_an_earlier_row_is_not_taken_for_this_one() {
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Never, &Value::Null, 100);
        let done = of(ended(3), RestartPolicy::Never, &running, 200);
        let id = |text: &str| RowId(text.into());
        let same = recorded_run(&done, "web", Some(&id("*1")));
        assert_eq!((same.started, same.exit.and_then(|exit| exit.code)), (true, Some(3)));
        assert_eq!(recorded_run(&done, "web", Some(&id("*2"))), Recorded::default());
        assert_eq!(recorded_run(&running, "web", Some(&id("*1"))), Recorded { started: true, exit: None });
    }

    #[test]
    fn a_crash_loop_shows_the_pause_and_the_last_exit() {
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &Value::Null, 100);
        let trouble = Trouble { reason: "CrashLoopBackOff".into(), message: "back-off 10s restarting".into() };
        let facts = ContainerFacts { will_restart: true, trouble: Some(trouble), restarts: 1, ..ended(1) };
        let looping = of(facts.clone(), RestartPolicy::Always, &running, 200);
        let status = &looping["containerStatuses"][0];
        assert_eq!(status["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(status["lastState"]["terminated"]["finishedAt"], "1970-01-01T00:03:20Z");
        assert_eq!(looping["phase"], "Running");
        assert_eq!(of(facts, RestartPolicy::Always, &looping, 300), looping);
        let again = of(
            ContainerFacts { restarts: 1, ..container(Some(ContainerState::Running)) },
            RestartPolicy::Always,
            &looping,
            400,
        );
        assert_eq!(again["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
        assert_eq!(again["containerStatuses"][0]["state"]["running"]["startedAt"], "1970-01-01T00:06:40Z");
    }

    #[test]
    fn of_a_run_that_waits_for_its_restart_the_end_is_known_without_the_devices_log() {
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &Value::Null, 100);
        let trouble = Trouble { reason: "CrashLoopBackOff".into(), message: "back-off 10s restarting".into() };
        let facts = ContainerFacts { will_restart: true, trouble: Some(trouble), ..ended(3) };
        let looping = of(facts, RestartPolicy::Always, &running, 200);
        let recorded = recorded_run(&looping, "web", Some(&RowId("*1".into())));
        assert_eq!((recorded.started, recorded.exit.and_then(|exit| exit.code)), (true, Some(3)));
        assert_eq!(recorded_run(&looping, "web", Some(&RowId("*2".into()))), Recorded::default());
    }

    #[test]
    fn a_container_is_ready_when_it_runs_and_its_probes_say_so() {
        let seen = |up, ready| {
            let facts = ContainerFacts { up, ready, ..container(Some(ContainerState::Running)) };
            let status = of(facts, RestartPolicy::Always, &Value::Null, 100);
            let conditions: Vec<Value> = status["conditions"].as_array().into_iter().flatten().cloned().collect();
            let ready = conditions.iter().find(|one| one["type"] == "Ready").expect("a condition")["status"].clone();
            let one = &status["containerStatuses"][0];
            (one["started"] == true, one["ready"] == true, ready == "True", status["phase"].clone())
        };
        assert_eq!(seen(true, true), (true, true, true, json!("Running")));
        assert_eq!(seen(true, false), (true, false, false, json!("Running")));
        assert_eq!(seen(false, true), (false, false, false, json!("Running")));
    }

    #[test]
    fn what_was_told_of_a_run_before_the_device_was_rebooted_is_of_another_run() {
        let before = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &Value::Null, 100);
        let id = RowId("*1".into());
        let at = |second| Some(Timestamp::from_second(second).expect("in range"));
        assert!(recorded_health(&before, "web", &id, 0, at(50)).is_some_and(|health| health.ready));
        assert_eq!(recorded_health(&before, "web", &id, 0, at(150)), None);
        assert_eq!(recorded_health(&before, "web", &id, 1, at(50)), None, "another restart");
        assert_eq!(recorded_health(&before, "web", &RowId("*2".into()), 0, None), None, "another row");
        assert!(ran_before_boot(&before, "web", &id, at(150)) && !ran_before_boot(&before, "web", &id, at(50)));
        // It runs, and was started with the device: the same look twice says the same, also when the clock was set back.
        let facts = |previous: &Value, second| {
            status(&Facts {
                containers: &[container(Some(ContainerState::Running))],
                restart: RestartPolicy::Always,
                deleting: false,
                generation: 1,
                unschedulable: None,
                host_ip: "10.0.0.1",
                previous,
                now: at(second).expect("in range"),
                booted: at(150),
                more: vec![],
            })
        };
        for now in [200, 120] {
            let after = facts(&before, now);
            let one = &after["containerStatuses"][0];
            assert_eq!(one["lastState"]["terminated"]["reason"], "DeviceRebooted");
            assert_eq!(one["lastState"]["terminated"]["finishedAt"], "1970-01-01T00:02:30Z");
            assert!(one["state"]["running"]["startedAt"].as_str() >= Some("1970-01-01T00:02:30Z"));
            assert_eq!(facts(&after, now + 10), after);
        }
    }

    #[test]
    fn a_second_run_that_was_never_seen_running_has_its_own_end() {
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::OnFailure, &Value::Null, 100);
        let trouble = Trouble { reason: "CrashLoopBackOff".into(), message: "back-off 0s restarting".into() };
        let waits = ContainerFacts { will_restart: true, trouble: Some(trouble), ..ended(5) };
        let waiting = of(waits, RestartPolicy::OnFailure, &running, 200);
        let second = ContainerFacts { restarts: 1, ..ended(0) };
        let done = of(second.clone(), RestartPolicy::OnFailure, &waiting, 300);
        assert_eq!(done["phase"], "Succeeded");
        let status = &done["containerStatuses"][0];
        assert_eq!(status["state"]["terminated"]["exitCode"], 0);
        assert_eq!(status["state"]["terminated"]["finishedAt"], "1970-01-01T00:05:00Z");
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 5);
        assert_eq!(of(second.clone(), RestartPolicy::OnFailure, &done, 900), done);
        // The same with a look in between, while it was being started.
        let starting = ContainerFacts { restarts: 1, exit: None, ..container(Some(ContainerState::Starting)) };
        let seen = of(starting, RestartPolicy::OnFailure, &waiting, 250);
        assert_eq!(of(second, RestartPolicy::OnFailure, &seen, 300), done);
    }

    #[test]
    fn only_a_first_status_without_news_is_no_news() {
        let creating = of(container(Some(ContainerState::Extracting)), RestartPolicy::Always, &Value::Null, 100);
        assert!(only_begun(&json!({"phase": "Pending"}), &creating));
        assert!(!only_begun(&creating, &creating));
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &Value::Null, 100);
        assert!(!only_begun(&Value::Null, &running));
        let trouble = Some(Trouble { reason: "ErrImagePull".into(), message: "no archive".into() });
        let troubled = of(ContainerFacts { trouble, ..container(None) }, RestartPolicy::Always, &Value::Null, 100);
        assert!(!only_begun(&Value::Null, &troubled));
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let creating = of(container(Some(ContainerState::Extracting)), RestartPolicy::Always, &Value::Null, 100);
        assert_eq!(creating["phase"], "Pending");
        let running = of(container(Some(ContainerState::Running)), RestartPolicy::Always, &creating, 200);
        let time = |status: &Value, kind: &str| {
            status["conditions"]
                .as_array()
                .and_then(|all| all.iter().find(|c| c["type"] == kind).map(|c| c["lastTransitionTime"].clone()))
        };
        assert_eq!(time(&running, "PodScheduled"), Some(json!("1970-01-01T00:01:40Z")));
        assert_eq!(time(&running, "Ready"), Some(json!("1970-01-01T00:03:20Z")));
    }
}
