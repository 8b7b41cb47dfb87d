//! `mkube boot-plan`: the order pods start in, who waits for whom, and who is up.

use serde_json::Value;

use crate::cli::BootPlanArgs;
use crate::client::{Api, block_on, plain_table};
use crate::failure::Failure;
use crate::say;

/// Prints the order.
pub fn main(args: &BootPlanArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        let plan = api.get_json("/api/v1/boot-plan", "application/json").await?;
        say::print(say::formatted(&plan, args.output, || text(&plan)))
    })
}

fn text(plan: &Value) -> String {
    let mut table = plain_table();
    table.set_header(["LEVEL", "POD", "PRIORITY", "STATE", "DEPENDS ON", "WAITS FOR"]);
    for level in plan["levels"].as_array().into_iter().flatten() {
        for pod in level["pods"].as_array().into_iter().flatten() {
            table.add_row([
                level["level"].to_string(),
                name(pod),
                priority(pod),
                word(pod, "state"),
                words(pod, "dependsOn"),
                waits(pod),
            ]);
        }
    }
    for pod in plan["others"].as_array().into_iter().flatten() {
        let nothing = "-".to_owned();
        table.add_row([nothing.clone(), name(pod), nothing.clone(), word(pod, "state"), nothing.clone(), nothing]);
    }
    let drain = match (plan.pointer("/drain/running").and_then(Value::as_u64), plan.pointer("/drain/pods")) {
        (Some(0), _) => "\n\nThe node is drained.".to_owned(),
        (Some(running), Some(pods)) => format!("\n\nThe node is being drained: {running} of {pods} pods run."),
        _ => String::new(),
    };
    format!("{table}{drain}")
}

fn word(pod: &Value, field: &str) -> String {
    pod[field].as_str().unwrap_or_default().to_owned()
}

fn name(pod: &Value) -> String {
    format!("{}/{}", word(pod, "namespace"), word(pod, "name"))
}

/// Its own, and the one that counts where a more urgent pod depends on it.
fn priority(pod: &Value) -> String {
    match (pod["priority"].as_i64(), pod["raisedTo"].as_i64()) {
        (Some(own), Some(raised)) => format!("{own} (as {raised})"),
        (Some(own), None) => own.to_string(),
        (None, _) => "-".to_owned(),
    }
}

fn words(pod: &Value, field: &str) -> String {
    let words: Vec<&str> = pod[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

fn waits(pod: &Value) -> String {
    match (words(pod, "waitsFor").as_str(), word(pod, "message")) {
        ("-", message) if !message.is_empty() => message,
        (words, _) => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_levels_who_waits_and_who_has_no_place() {
        let plan = json!({"drain": {"running": 1, "pods": 3}, "levels": [
            {"level": 1, "pods": [{"namespace": "infra", "name": "dns", "priority": 11, "raisedTo": 5, "dependsOn": [],
                "waitsFor": [], "state": "Starting", "message": ""}]},
            {"level": 2, "pods": [{"namespace": "infra", "name": "nats", "priority": 5, "raisedTo": null, "dependsOn": ["dns"],
                "waitsFor": ["infra/dns"], "state": "Waiting", "message": "waits until these are ready: infra/dns"}]}],
            "others": [{"namespace": "default", "name": "web", "state": "Ready"}]});
        let text = text(&plan);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["1", "infra/dns", "11", "(as", "5)", "Starting", "-", "-"]);
        assert_eq!(lines[2], ["2", "infra/nats", "5", "Waiting", "dns", "infra/dns"]);
        assert_eq!(lines[3], ["-", "default/web", "-", "Ready", "-", "-"]);
        assert!(text.ends_with("The node is being drained: 1 of 3 pods run."), "{text}");
    }
}
