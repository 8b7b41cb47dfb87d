//! `mkube get images`: what is cached, what is being pulled, and what is being rolled out.

use jiff::Timestamp;
use mkube_model::kinds::human_duration;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use serde_json::Value;

use crate::client::{Api, Output, plain_table};
use crate::failure::{FAILED, Failure};
use crate::say;

/// Letters of a digest that tell one from another.
const SHORT: usize = 12;

/// Whether a resource means images, which are no objects.
pub fn is_meant(resource: &str) -> bool {
    ["images", "image"].contains(&resource.to_ascii_lowercase().as_str())
}

/// Prints them, or the one asked for.
pub async fn get(api: &Api, name: Option<&str>, output: &Output) -> Result<(), Failure> {
    let answer = api.get_json("/api/v1/images", "application/json").await?;
    let rows = answer.as_array().cloned().unwrap_or_default();
    let rows: Vec<Value> = match name {
        None => rows,
        Some(name) => rows.into_iter().filter(|row| row["ref"] == name).collect(),
    };
    if let (Some(name), true) = (name, rows.is_empty()) {
        return Err(Failure::text(FAILED, format!("image {name:?} not found")));
    }
    match output {
        Output::Table | Output::Wide if rows.is_empty() => {
            eprintln!("No resources found");
            Ok(())
        }
        Output::Table | Output::Wide => say::print(table(&rows, *output == Output::Wide, SystemClock.now()) + "\n"),
        Output::Name => {
            let names = rows.iter().filter_map(|row| row["ref"].as_str());
            say::print(names.map(|name| format!("image/{name}\n")).collect::<String>())
        }
        output => say::print(output.text(&Value::Array(rows)).unwrap_or_default()),
    }
}

fn table(rows: &[Value], wide: bool, now: Timestamp) -> String {
    let mut table = plain_table();
    let mut header = vec!["REF", "DIGEST", "SIZE", "AGE", "IN-USE", "STATE"];
    if wide {
        header.extend(["PODS", "CHECKED", "ARCHIVE", "ERROR"]);
    }
    table.set_header(header);
    for row in rows {
        let text = |pointer: &str| row.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let digest = text("/digest");
        let shown = digest.strip_prefix("sha256:").filter(|_| !wide).map(|hex| hex.chars().take(SHORT).collect());
        let age = |pointer: &str| age(&text(pointer), now);
        let mut cells = vec![
            or_none(text("/ref")),
            or_none(shown.unwrap_or(digest)),
            size(row["size"].as_u64().unwrap_or(0)),
            age("/pulledAt"),
            row["inUse"].as_u64().unwrap_or(0).to_string(),
            state(row),
        ];
        if wide {
            let pods = row.get("rollout").map(|told| format!("{}/{}", told["current"], told["pods"]));
            cells.extend([
                or_none(pods.unwrap_or_default()),
                age("/rollout/lastChecked"),
                or_none(text("/tarballPath")),
                text("/rollout/error"),
            ]);
        }
        table.add_row(cells);
    }
    table.to_string()
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn age(stamp: &str, now: Timestamp) -> String {
    let since = stamp.parse::<Timestamp>().map(|then| now.duration_since(then).as_secs());
    since.map_or_else(|_| "<unknown>".to_owned(), human_duration)
}

/// Bytes with a unit of 1024 and one digit behind the point.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1}{}", units[unit])
}

/// What is being done, the most urgent first: a pull, a rollout, nothing.
fn state(row: &Value) -> String {
    if let Some(pull) = row.get("progress") {
        let phase = pull["phase"].as_str().unwrap_or_default();
        let share = pull["totalBytes"].as_u64().filter(|total| *total > 0).map(|total| {
            let done = pull["doneBytes"].as_u64().unwrap_or(0).min(total);
            format!(" {}% of {}", u128::from(done) * 100 / u128::from(total), size(total))
        });
        return format!("{phase}{}", share.unwrap_or_default());
    }
    let Some(rollout) = row.get("rollout") else { return "Cached".to_owned() };
    match (rollout["state"].as_str().unwrap_or_default(), rollout["pod"].as_str()) {
        ("Rolling", Some(pod)) => format!("Rolling ({pod})"),
        (state, _) => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_shows_what_a_pull_or_a_rollout_is_doing() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let rows = [
            json!({
                "ref": "web:1", "digest": digest, "size": 10_485_760, "pulledAt": "2026-01-01T00:00:00Z", "inUse": 2,
                "tarballPath": "/cache/web-1.tar",
                "rollout": {"state": "Rolling", "pod": "default/a", "pods": 3, "current": 1, "error": "away"},
            }),
            json!({
                "ref": "side:1", "digest": "", "size": 0, "pulledAt": null, "inUse": 1, "tarballPath": "",
                "progress": {"phase": "Downloading", "doneBytes": 512, "totalBytes": 2048},
            }),
            json!({"ref": "", "digest": digest, "size": 1023, "pulledAt": null, "inUse": 0, "tarballPath": "/x.tar"}),
        ];
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let narrow = table(&rows, false, now);
        let lines: Vec<Vec<String>> = narrow.lines().map(words).collect();
        assert_eq!(lines[0], ["REF", "DIGEST", "SIZE", "AGE", "IN-USE", "STATE"]);
        assert_eq!(lines[1], ["web:1", "0123456789ab", "10.0MiB", "60m", "2", "Rolling", "(default/a)"]);
        assert_eq!(lines[2], ["side:1", "<none>", "0B", "<unknown>", "1", "Downloading", "25%", "of", "2.0KiB"]);
        assert_eq!(lines[3], ["<none>", "0123456789ab", "1023B", "<unknown>", "0", "Cached"]);
        let wide = table(&rows, true, now);
        assert!(wide.contains(&digest) && wide.contains("1/3") && wide.contains("away"), "{wide}");
    }
}
