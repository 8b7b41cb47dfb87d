//! `mkube cordon`, `uncordon`, `drain`: closing the node to new pods, and emptying it in reverse boot order.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::{DrainArgs, NodeArgs};
use crate::client::{Api, block_on};
use crate::failure::{FAILED, Failure};
use crate::say::{self, tell};

/// Pause between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(200);
/// Pods that are named when time is up.
const NAMES: usize = 10;

/// `mkube cordon`.
pub fn cordon(args: &NodeArgs) -> Result<(), Failure> {
    mark(args, &json!({"spec": {"unschedulable": true}}), "cordoned")
}

/// `mkube uncordon`.
pub fn uncordon(args: &NodeArgs) -> Result<(), Failure> {
    let open = json!({"metadata": {"annotations": {"vkube.io/drain": null}}, "spec": {"unschedulable": null}});
    mark(args, &open, "uncordoned")
}

fn mark(args: &NodeArgs, patch: &Value, done: &str) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        let node = node(&api, args).await?;
        api.merge_patch(&format!("/api/v1/nodes/{node}"), patch).await?;
        tell(format_args!("node/{node} {done}"));
        Ok(())
    })
}

/// `mkube drain`.
pub fn drain(args: &DrainArgs) -> Result<(), Failure> {
    if args.undo {
        return uncordon(&args.node);
    }
    let api = Api::new(&args.node.server)?;
    block_on(async {
        let node = node(&api, &args.node).await?;
        if !args.yes {
            agree(&node)?;
        }
        let closed = json!({"metadata": {"annotations": {"vkube.io/drain": "true"}}, "spec": {"unschedulable": true}});
        api.merge_patch(&format!("/api/v1/nodes/{node}"), &closed).await?;
        tell(format_args!("node/{node} cordoned, its pods are stopped in reverse boot order"));
        wait(&api, &node, args.timeout).await
    })
}

/// The node asked for, or the one there is.
async fn node(api: &Api, args: &NodeArgs) -> Result<String, Failure> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let nodes = api.get_json("/api/v1/nodes", "application/json").await?;
    let name = nodes.pointer("/items/0/metadata/name").and_then(Value::as_str);
    name.map(str::to_owned).ok_or_else(|| Failure::text(FAILED, "the server has no node yet"))
}

fn agree(node: &str) -> Result<(), Failure> {
    let refused = |why: &str| Failure::text(FAILED, why.to_owned()).hint("--yes does it without asking");
    if !std::io::stdin().is_terminal() {
        return Err(refused("draining stops every container of the node, and nobody is here to say yes"));
    }
    // Whoever does not see the question does not answer it.
    let _ = say::print(format_args!("Stop every container of node {node}? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::new(FAILED, error))?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(refused("not agreed"))
    }
}

async fn wait(api: &Api, node: &str, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let mut told = None;
    loop {
        let plan = api.get_json("/api/v1/boot-plan", "application/json").await?;
        let running = plan.pointer("/drain/running").and_then(Value::as_u64);
        let pods = plan.pointer("/drain/pods").and_then(Value::as_u64).unwrap_or(0);
        if let Some(running) = running.filter(|running| told != Some(*running)) {
            told = Some(running);
            tell(format_args!("{running} of {pods} pods run"));
        }
        if running == Some(0) {
            tell(format_args!("node/{node} drained; `mkube uncordon` starts its pods again, in boot order"));
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names = running_pods(&plan).join(", ");
            let text = format!("node {node} is not drained within {}s; these run: {names}", timeout.as_secs());
            return Err(Failure::text(FAILED, text).hint("it goes on by itself; `mkube drain --undo` takes it back"));
        }
        tokio::time::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn running_pods(plan: &Value) -> Vec<String> {
    let placed = plan["levels"].as_array().into_iter().flatten().flat_map(|level| level["pods"].as_array()).flatten();
    let all = placed.chain(plan["others"].as_array().into_iter().flatten());
    let text = |pod: &Value, field: &str| pod[field].as_str().unwrap_or_default().to_owned();
    all.filter(|pod| pod["state"] == "Ready")
        .map(|pod| format!("{}/{}", text(pod, "namespace"), text(pod, "name")))
        .take(NAMES)
        .collect()
}
