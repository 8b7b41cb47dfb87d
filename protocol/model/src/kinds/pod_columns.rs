//! What a table says of a pod.

use jiff::Timestamp;
use serde_json::Value;

use super::{at, human_duration};
use crate::metadata;

pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn statuses(object: &Value) -> &[Value] {
    object.pointer("/status/containerStatuses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn ready_cell(object: &Value, _now: Timestamp) -> Value {
    let total = object.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
    let ready = statuses(object).iter().filter(|status| status["ready"] == true).count();
    format!("{ready}/{total}").into()
}

pub(super) fn restarts_cell(object: &Value, now: Timestamp) -> Value {
    let restarts: u64 = statuses(object).iter().filter_map(|status| status["restartCount"].as_u64()).sum();
    let last = statuses(object)
        .iter()
        .filter_map(|status| status.pointer("/lastState/terminated/finishedAt")?.as_str()?.parse::<Timestamp>().ok())
        .max();
    match last {
        Some(last) if restarts > 0 => {
            format!("{restarts} ({} ago)", human_duration(now.as_second() - last.as_second())).into()
        }
        _ => restarts.to_string().into(),
    }
}

/// The word in the STATUS column, by the rules of Kubernetes' printer.
pub(super) fn status_word(object: &Value) -> String {
    let mut word = match at(object, "/status/reason") {
        "" => at(object, "/status/phase").to_owned(),
        reason => reason.to_owned(),
    };
    let mut any_running = false;
    for status in statuses(object).iter().rev() {
        let waiting = at(status, "/state/waiting/reason");
        let terminated = status.pointer("/state/terminated");
        if !waiting.is_empty() {
            word = waiting.to_owned();
        } else if let Some(terminated) = terminated {
            word = match (at(terminated, "/reason"), terminated["signal"].as_i64().unwrap_or(0)) {
                ("", 0) => format!("ExitCode:{}", terminated["exitCode"]),
                ("", signal) => format!("Signal:{signal}"),
                (reason, _) => reason.to_owned(),
            };
        } else if status["ready"] == true && status.pointer("/state/running").is_some() {
            any_running = true;
        }
    }
    if word == "Completed" && any_running {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let is_true = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
        let is_ready = conditions.is_some_and(|all| all.iter().any(is_true));
        word = if is_ready { "Running" } else { "NotReady" }.to_owned();
    }
    // What has ended does not end once more.
    let has_ended = matches!(at(object, "/status/phase"), "Succeeded" | "Failed");
    if metadata::is_deleting(object) && !has_ended { "Terminating".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_column_follows_the_printer_of_kubernetes() {
        let with = |phase: &str, states: Value| json!({"metadata": {}, "status": {"phase": phase, "containerStatuses": states}});
        assert_eq!(
            status_word(&with("Pending", json!([{"state": {"waiting": {"reason": "ErrImagePull"}}}]))),
            "ErrImagePull"
        );
        assert_eq!(status_word(&with("Failed", json!([{"state": {"terminated": {"exitCode": 3}}}]))), "ExitCode:3");
        assert_eq!(
            status_word(&with("Succeeded", json!([{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]))),
            "Completed"
        );
        let mut running = with("Running", json!([{"ready": true, "state": {"running": {}}}]));
        assert_eq!(status_word(&running), "Running");
        running["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(status_word(&running), "Terminating");
        let mut one_ended = with(
            "Running",
            json!([{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}, {"ready": true, "state": {"running": {}}}]),
        );
        assert_eq!(status_word(&one_ended), "NotReady");
        one_ended["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(status_word(&one_ended), "Running");
        let mut ended = with("Failed", json!([{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]));
        ended["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(status_word(&ended), "Error", "what has ended does not end once more");
    }
}
