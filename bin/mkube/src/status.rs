//! `mkube status`: the supervisor tree and the pods on one screen.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{OutputFormat, StatusArgs};
use crate::client::{Api, Columns, Look, Tone, block_on};
use crate::failure::Failure;
use crate::say::print;

/// Pause between two screens.
const PAUSE: Duration = Duration::from_secs(2);

/// Prints the screen, once or again and again.
pub fn main(args: &StatusArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        if !args.watch {
            return print(format!("{}\n", screen(&api, args.output, look).await?));
        }
        let terminal = std::io::stdout().is_terminal();
        // What was never there is not waited for.
        let mut shown = screen(&api, args.output, look).await?;
        loop {
            // Written over, not cleared: so it does not flicker.
            let over = |shown: &str| format!("\x1b[H{}\x1b[K\x1b[J\n", shown.replace('\n', "\x1b[K\n"));
            print(&if terminal { over(&shown) } else { format!("{shown}\n") })?;
            tokio::time::sleep(PAUSE).await;
            match screen(&api, args.output, look).await {
                Ok(screen) => shown = screen,
                Err(failure) => shown = look.paint(Some(Tone::Bad), &failure.to_string()),
            }
        }
    })
}

async fn screen(api: &Api, output: OutputFormat, look: Look) -> Result<String, Failure> {
    let json_only = "application/json";
    let tree = api.get_json("/api/v1/supervisor", json_only).await?;
    let pods = api.get_json("/api/v1/pods", json_only).await?;
    let nodes = api.get_json("/api/v1/nodes", json_only).await?;
    let checks = api.get_text("/readyz?verbose").await?;
    let everything = json!({
        "ready": is_ready(&checks), "store": said_of(&checks, "store"), "device": said_of(&checks, "device"), "supervisor": tree,
        "pods": pods["items"], "nodes": nodes["items"],
    });
    Ok(match output {
        OutputFormat::Json => format!("{everything:#}"),
        OutputFormat::Yaml => mkube_manifests::to_yaml(&everything),
        OutputFormat::Table | OutputFormat::Wide => text(&everything, output == OutputFormat::Wide, look),
    })
}

/// What the checks of readiness say of one thing.
fn said_of(checks: &str, what: &str) -> String {
    let of = |line: &str| Some(line.get(3..)?.strip_prefix(what)?.strip_prefix(' ')?.to_owned());
    checks.lines().find_map(of).unwrap_or_else(|| "unknown".to_owned())
}

/// Whether the checks were passed.
fn is_ready(checks: &str) -> bool {
    checks.trim_end().ends_with("check passed")
}

fn text(all: &Value, wide: bool, look: Look) -> String {
    let at =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut nodes = Vec::new();
    for node in all["nodes"].as_array().into_iter().flatten() {
        let field = |pointer: &str| at(node, pointer);
        nodes.push(vec![
            field("/metadata/name"),
            field("/status/conditions/0/status"),
            field("/status/nodeInfo/osImage"),
            field("/status/conditions/0/message"),
        ]);
    }
    let mut pods = Vec::new();
    for pod in all["pods"].as_array().into_iter().flatten() {
        let containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        let restarts: u64 = containers.iter().filter_map(|one| one["restartCount"].as_u64()).sum();
        let waits = containers.iter().find_map(|one| one.pointer("/state/waiting/message")?.as_str());
        pods.push(vec![
            format!("{}/{}", at(pod, "/metadata/namespace"), at(pod, "/metadata/name")),
            at(pod, "/status/phase"),
            at(pod, "/status/podIP"),
            restarts.to_string(),
            waits.unwrap_or_default().to_owned(),
        ]);
    }
    let mut actors = Vec::new();
    branch(&all["supervisor"], 0, wide, &mut actors);
    let of = |headings: &[&str], rows: &[Vec<String>]| Columns::new(headings.iter().copied(), look.out).whole(rows);
    let nodes = of(&["NODE", "READY", "SYSTEM", "WHY"], &nodes);
    let pods = of(&["POD", "PHASE", "IP", "RESTARTS", "WAITS FOR"], &pods);
    let actors = of(&["ACTOR", "STATE", "RESTARTS", "HANDLED", "P99 µs", "LAST EXIT"], &actors);
    let (ready, tone) = if all["ready"] == true { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
    let ready = look.paint(Some(tone), ready);
    let said = |what: &str| {
        let words = all[what].as_str().unwrap_or_default();
        let tone = if words.starts_with("ok") { None } else { Some(Tone::Bad) };
        look.paint(tone, words)
    };
    // Only where several controllers may share a device.
    let lease = all.pointer("/supervisor/lease/message").and_then(Value::as_str);
    let lease = lease.map(|message| format!("this controller: {message}\n")).unwrap_or_default();
    format!("READY {ready}\nSTORE {}\nDEVICE {}\n{lease}\n{nodes}\n\n{pods}\n\n{actors}", said("store"), said("device"))
}

/// Pods' actors are shown when something is the matter with them, or all of them (`wide`).
fn branch(node: &Value, depth: usize, wide: bool, rows: &mut Vec<Vec<String>>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&node["name"]);
    let quiet = name.starts_with("pod/") && node["state"] == "running" && node["restarts"] == 0;
    if wide || !quiet {
        let number = |pointer: &str| node.pointer(pointer).and_then(Value::as_u64).map(|n| n.to_string());
        let last = match node.get("lastExit") {
            Some(exit) => format!("{} {}", text(&exit["reason"]), text(&exit["message"])),
            None => String::new(),
        };
        rows.push(vec![
            format!("{}{name}", "  ".repeat(depth)),
            text(&node["state"]),
            number("/restarts").unwrap_or_default(),
            number("/mailbox/handled").unwrap_or_default(),
            number("/latencyMicros/p99").unwrap_or_default(),
            last,
        ]);
    }
    for child in node["children"].as_array().into_iter().flatten() {
        branch(child, depth + 1, wide, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::{is_ready, said_of};

    #[test]
    fn store_and_device_are_shown_as_readiness_sees_them() {
        let away = "[!]store degraded: not connected (nobody answers); loaded\n[+]device ok\nreadyz check passed\n";
        assert_eq!(said_of(away, "store"), "degraded: not connected (nobody answers); loaded");
        assert_eq!((said_of(away, "device").as_str(), is_ready(away)), ("ok", true));
        assert_eq!(said_of("[+]store ok: connected, loaded, complete\n", "store"), "ok: connected, loaded, complete");
        assert_eq!(said_of("no such page", "store"), "unknown");
        assert!(!is_ready("[-]device is away\nreadyz check failed\n"));
    }
}
