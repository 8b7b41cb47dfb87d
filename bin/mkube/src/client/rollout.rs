//! `mkube rollout status` and `restart`: Deployments that replace their pods.

use jiff::Timestamp;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use serde_json::json;

use super::api::{Api, block_on};
use super::apply::until_ready;
use super::get::print;
use super::look::Look;
use super::targets;
use crate::cli::{RolloutArgs, RolloutCommand, RolloutOf};
use crate::failure::{Failure, USAGE};

/// The annotation that `kubectl rollout restart` writes.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// `mkube rollout`.
pub fn rollout(args: &RolloutArgs, look: Look) -> Result<(), Failure> {
    match &args.command {
        RolloutCommand::Status(of) => status(of, look),
        RolloutCommand::Restart(of) => restart(of, look),
    }
}

/// Names and paths of the Deployments that are meant.
async fn meant(api: &Api, of: &RolloutOf) -> Result<Vec<(String, String)>, Failure> {
    let words: Vec<String> = match of.name.contains('/') {
        true => vec![of.name.clone()],
        false => vec![format!("deployment/{}", of.name)],
    };
    let namespace = api.namespace(of.namespace.as_deref());
    let mut found = Vec::new();
    for target in targets::of(api, &words, &[]).await? {
        if target.resource.kind != "Deployment" {
            return Err(Failure::text(USAGE, format!("{} have no rollouts, deployments do", target.resource.plural)));
        }
        for name in &target.names {
            found.push((format!("deployment/{name}"), target.resource.path(Some(namespace), Some(name))));
        }
    }
    Ok(found)
}

fn status(of: &RolloutOf, look: Look) -> Result<(), Failure> {
    let api = Api::new(&of.server)?;
    block_on(async {
        let found = meant(&api, of).await?;
        until_ready(&api, found.clone(), of.timeout, look).await?;
        found.iter().try_for_each(|(name, _)| print(&format!("{name} successfully rolled out\n")))
    })
}

fn restart(of: &RolloutOf, look: Look) -> Result<(), Failure> {
    let api = Api::new(&of.server)?;
    block_on(async {
        let found = meant(&api, of).await?;
        for (name, path) in &found {
            let now: Timestamp = SystemClock.now();
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED: now.to_string()}}}}});
            api.merge_patch(path, &patch).await?;
            print(&format!("{name} restarted\n"))?;
        }
        if of.wait { until_ready(&api, found, of.timeout, look).await } else { Ok(()) }
    })
}
