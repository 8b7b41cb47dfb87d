//! `mkube status`: the supervisor tree and the pods on one screen.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{OutputFormat, StatusArgs};
use crate::client::{Api, block_on, plain_table};
use crate::failure::Failure;

/// Pause between two screens.
const PAUSE: Duration = Duration::from_secs(2);

/// Prints the screen, once or again and again.
pub fn main(args: &StatusArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        loop {
            let screen = screen(&api, args.output).await?;
            if args.watch && std::io::stdout().is_terminal() {
                print!("\x1b[2J\x1b[H");
            }
            println!("{screen}");
            if !args.watch {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

async fn screen(api: &Api, output: OutputFormat) -> Result<String, Failure> {
    let json_only = "application/json";
    let tree = api.get_json("/api/v1/supervisor", json_only).await?;
    let pods = api.get_json("/api/v1/pods", json_only).await?;
    let nodes = api.get_json("/api/v1/nodes", json_only).await?;
    let store = store_of(&api.get_text("/readyz?verbose").await?);
    let everything = json!({"store": store, "supervisor": tree, "pods": pods["items"], "nodes": nodes["items"]});
    Ok(match output {
        OutputFormat::Json => format!("{everything:#}"),
        OutputFormat::Yaml => mkube_manifests::to_yaml(&everything),
        OutputFormat::Table | OutputFormat::Wide => text(&everything, output == OutputFormat::Wide),
    })
}

/// What the checks of readiness say of the store.
fn store_of(checks: &str) -> String {
    let mut lines = checks.lines().filter_map(|line| line.get(3..)?.strip_prefix("store "));
    lines.next().unwrap_or("unknown").to_owned()
}

fn text(all: &Value, wide: bool) -> String {
    let at =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut nodes = plain_table();
    nodes.set_header(["NODE", "READY", "SYSTEM", "WHY"]);
    for node in all["nodes"].as_array().into_iter().flatten() {
        let field = |pointer: &str| at(node, pointer);
        nodes.add_row([
            field("/metadata/name"),
            field("/status/conditions/0/status"),
            field("/status/nodeInfo/osImage"),
            field("/status/conditions/0/message"),
        ]);
    }
    let mut pods = plain_table();
    pods.set_header(["POD", "PHASE", "IP", "RESTARTS", "WAITS FOR"]);
    for pod in all["pods"].as_array().into_iter().flatten() {
        let containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        let restarts: u64 = containers.iter().filter_map(|one| one["restartCount"].as_u64()).sum();
        let waits = containers.iter().find_map(|one| one.pointer("/state/waiting/message")?.as_str());
        pods.add_row([
            format!("{}/{}", at(pod, "/metadata/namespace"), at(pod, "/metadata/name")),
            at(pod, "/status/phase"),
            at(pod, "/status/podIP"),
            restarts.to_string(),
            waits.unwrap_or_default().to_owned(),
        ]);
    }
    let mut actors = plain_table();
    actors.set_header(["ACTOR", "STATE", "RESTARTS", "HANDLED", "P99 µs", "LAST EXIT"]);
    branch(&all["supervisor"], 0, wide, &mut actors);
    let store = all["store"].as_str().unwrap_or_default();
    // Only where several controllers may share a device.
    let lease = all.pointer("/supervisor/lease/message").and_then(Value::as_str);
    let lease = lease.map(|message| format!("this controller: {message}\n")).unwrap_or_default();
    format!("STORE {store}\n{lease}\n{nodes}\n\n{pods}\n\n{actors}")
}

/// Pods' actors are shown when something is the matter with them, or all of them (`wide`).
fn branch(node: &Value, depth: usize, wide: bool, table: &mut comfy_table::Table) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&node["name"]);
    let quiet = name.starts_with("pod/") && node["state"] == "running" && node["restarts"] == 0;
    if wide || !quiet {
        let number = |pointer: &str| node.pointer(pointer).and_then(Value::as_u64).map(|n| n.to_string());
        let last = match node.get("lastExit") {
            Some(exit) => format!("{} {}", text(&exit["reason"]), text(&exit["message"])),
            None => String::new(),
        };
        table.add_row([
            format!("{}{name}", "  ".repeat(depth)),
            text(&node["state"]),
            number("/restarts").unwrap_or_default(),
            number("/mailbox/handled").unwrap_or_default(),
            number("/latencyMicros/p99").unwrap_or_default(),
            last,
        ]);
    }
    for child in node["children"].as_array().into_iter().flatten() {
        branch(child, depth + 1, wide, table);
    }
}

#[cfg(test)]
mod tests {
    use super::store_of;

    #[test]
    fn the_store_is_shown_as_readiness_sees_it() {
        let away = "[!]store degraded: not connected (nobody answers); loaded\n[+]device ok\nreadyz check passed\n";
        assert_eq!(store_of(away), "degraded: not connected (nobody answers); loaded");
        assert_eq!(store_of("[+]store ok: connected, loaded, complete\n"), "ok: connected, loaded, complete");
        assert_eq!(store_of("no such page"), "unknown");
    }
}
