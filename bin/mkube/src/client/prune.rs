//! `mkube apply --prune`: what the server's guard stops is listed, and goes when somebody agrees.

use std::io::{IsTerminal, Write};

use reqwest::StatusCode;
use serde_json::Value;

use super::api::Api;
use super::apply::LONG;
use super::look::{Look, Tone};
use crate::cli::ApplyArgs;
use crate::failure::{FAILED, Failure};

type Answer = (StatusCode, Value);

/// Sends the documents; when too much would go, asks, or does what was agreed to before.
pub async fn send(api: &Api, query: &[String], text: String, args: &ApplyArgs, look: Look) -> Result<Answer, Failure> {
    let post = async |more: Option<String>| {
        let query: Vec<String> = query.iter().cloned().chain(more).collect();
        api.post_text(&format!("/api/v1/apply?{}", query.join("&")), text.clone().into_bytes(), LONG).await
    };
    let first = post(args.confirm.map(|number| format!("confirm={number}"))).await?;
    let stopped = first.0 == StatusCode::CONFLICT && args.confirm.is_none();
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !reads_stdin(args);
    if !stopped || !(args.yes || can_ask) {
        return Ok(first);
    }
    let (code, listed) = post(Some("dryRun=All".to_owned())).await?;
    let going = going(&listed);
    if !code.is_success() || going.is_empty() {
        return Ok(first);
    }
    if !args.yes {
        ask(&listed, &going, look)?;
    }
    post(Some(format!("confirm={}", going.len()))).await
}

fn reads_stdin(args: &ApplyArgs) -> bool {
    args.filename.iter().any(|path| path.as_os_str() == "-")
}

/// What would be deleted.
fn going(listed: &Value) -> Vec<String> {
    let rows = listed["results"].as_array().into_iter().flatten().filter(|one| one["action"] == "pruned");
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    rows.map(|one| match one["namespace"].as_str() {
        Some(namespace) => format!("{} {namespace}/{}", text(one, "kind"), text(one, "name")),
        None => format!("{} {}", text(one, "kind"), text(one, "name")),
    })
    .collect()
}

fn ask(listed: &Value, going: &[String], look: Look) -> Result<(), Failure> {
    for one in going {
        eprintln!("  {}", look.paint_err(Tone::Bad, one));
    }
    let all = listed["prune"]["applied"].as_u64().unwrap_or(0);
    eprint!("Delete these {} of {all} objects? [y/N] ", going.len());
    // Whoever does not see the question does not answer it.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::new(FAILED, error))?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::text(FAILED, "not agreed; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_go_is_named_with_its_place() {
        let listed = json!({"results": [
            {"kind": "Pod", "namespace": "shop", "name": "web", "action": "pruned"},
            {"kind": "Pod", "namespace": "shop", "name": "stays", "action": "unchanged"},
            {"kind": "Network", "name": "lab", "action": "pruned"}]});
        assert_eq!(going(&listed), ["Pod shop/web", "Network lab"]);
    }
}
