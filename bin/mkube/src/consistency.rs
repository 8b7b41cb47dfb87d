//! `mkube consistency`: what differs between what is wanted and what is there, and the repair of what nobody owns.

use serde_json::Value;

use crate::cli::{ConsistencyArgs, OutputFormat};
use crate::client::{Api, block_on, plain_table};
use crate::failure::{FAILED, Failure};
use crate::say;

const PATH: &str = "/api/v1/consistency";

/// Prints the report, or what the repair did. Ends with 1 when a check fails, so that scripts can ask.
pub fn main(args: &ConsistencyArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        if args.repair {
            let path = if args.dry_run { format!("{PATH}/repair?dryRun=All") } else { format!("{PATH}/repair") };
            let repaired = api.post_json(&path, mkube_messages::patience::REPAIR).await?;
            return say::print(say::formatted(&repaired, args.output, || actions(&repaired["actions"])));
        }
        let report = api.get_json(&format!("{PATH}?refresh=true"), "application/json").await?;
        let wide = args.all || args.output == OutputFormat::Wide;
        let shown = say::print(say::formatted(&report, args.output, || table(&report, wide)));
        match report.pointer("/summary/fail").and_then(Value::as_u64) {
            Some(0) => shown,
            fails => Err(Failure::text(FAILED, format!("{} checks fail", fails.unwrap_or_default()))),
        }
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What is not as it should be; with `all`, everything.
fn table(report: &Value, all: bool) -> String {
    let mut table = plain_table();
    table.set_header(["CHECK", "OBJECT", "STATUS", "SEVERITY", "SINCE", "MESSAGE", "DETAILS"]);
    let sections = report["checks"].as_object().into_iter().flatten();
    for check in sections.flat_map(|(_, checks)| checks.as_array().into_iter().flatten()) {
        if all || check["status"] != "pass" {
            let fields = ["name", "object", "status", "severity", "since", "message", "details"];
            table.add_row(fields.map(|field| text(check, field).to_owned()));
        }
    }
    let count = |field: &str| report["summary"][field].as_u64().unwrap_or_default();
    let (pass, warn, fail) = (count("pass"), count("warn"), count("fail"));
    let mut lines = format!("{table}\n\n{pass} pass, {warn} warn, {fail} fail, at {}", text(report, "timestamp"));
    let planned = &report["repair"]["actions"];
    if planned.as_array().is_some_and(|actions| !actions.is_empty()) {
        lines += &format!("\n\n{}", actions(planned));
    }
    lines
}

fn actions(list: &Value) -> String {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return "there is nothing that nobody owns".to_owned();
    }
    let mut table = plain_table();
    table.set_header(["ACTION", "OBJECT", "OUTCOME", "WHY"]);
    for action in list {
        table.add_row(["action", "object", "outcome", "why"].map(|field| text(action, field).to_owned()));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_what_is_wrong_and_with_all_everything() {
        let check = |name: &str, status: &str| json!({"name": name, "status": status, "message": "so it is"});
        let report = json!({
            "timestamp": "now", "summary": {"pass": 1, "warn": 0, "fail": 1},
            "checks": {"containers": [check("container/a/a", "pass"), check("container/b/b", "fail")]},
            "repair": {"actions": [{"action": "remove-container", "object": "x_y_z", "outcome": "planned", "why": "soon"}]},
        });
        let shown = table(&report, false);
        assert!(shown.contains("container/b/b") && !shown.contains("container/a/a"), "{shown}");
        assert!(shown.contains("1 pass, 0 warn, 1 fail") && shown.contains("x_y_z"), "{shown}");
        assert!(table(&report, true).contains("container/a/a"));
    }
}
