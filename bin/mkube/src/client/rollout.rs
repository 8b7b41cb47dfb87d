//! `mkube rollout`: Deployments that replace their pods.

use jiff::Timestamp;
use mkube_model::metadata;
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use mkube_model::workloads::REVISION;
use serde_json::{Value, json};

use super::api::{Api, block_on, encoded};
use super::apply::until_ready;
use super::columns::Columns;
use super::get::JSON;
use super::look::Look;
use super::targets;
use crate::cli::{RolloutArgs, RolloutCommand, RolloutOf};
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

/// The annotation that `kubectl rollout restart` writes.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Why a revision came about, as people note it.
const CAUSE: &str = "kubernetes.io/change-cause";
/// What tells the ReplicaSets of a Deployment apart; no template has it.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// `mkube rollout`.
pub fn rollout(args: &RolloutArgs, look: Look) -> Result<(), Failure> {
    match &args.command {
        RolloutCommand::Status(of) => status(of, look),
        RolloutCommand::Restart(of) => restart(of, look),
        RolloutCommand::History(of) => history(of, look),
        RolloutCommand::Undo { of, to_revision } => undo(of, *to_revision, look),
    }
}

/// Names and paths of the Deployments that are meant.
async fn meant(api: &Api, of: &RolloutOf) -> Result<Vec<(String, String)>, Failure> {
    let words: Vec<String> = match of.name.contains('/') {
        true => vec![of.name.clone()],
        false => vec![format!("deployment/{}", of.name)],
    };
    let namespace = api.namespace(of.reach.namespace.as_deref());
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
    let api = Api::new(&of.reach.server)?;
    block_on(async {
        let found = meant(&api, of).await?;
        until_ready(&api, found.clone(), of.waiting.timeout, look).await?;
        found.iter().try_for_each(|(name, _)| print(format_args!("{name} successfully rolled out\n")))
    })
}

fn restart(of: &RolloutOf, look: Look) -> Result<(), Failure> {
    let api = Api::new(&of.reach.server)?;
    block_on(async {
        let found = meant(&api, of).await?;
        for (name, path) in &found {
            let now: Timestamp = SystemClock.now();
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED: now.to_string()}}}}});
            api.merge_patch(path, &patch).await?;
            print(format_args!("{name} restarted\n"))?;
        }
        if of.waiting.wait { until_ready(&api, found, of.waiting.timeout, look).await } else { Ok(()) }
    })
}

/// Its ReplicaSets by revision, the newest last.
async fn revisions(api: &Api, deployment: &Value) -> Result<Vec<(u64, Value)>, Failure> {
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets", encoded(metadata::namespace(deployment)));
    let mut list = api.get_json(&path, JSON).await?;
    let all = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let own = |set: &Value| {
        let owners = set.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| owner["uid"] == deployment["metadata"]["uid"])
    };
    let number = |set: &Value| metadata::annotation(set, REVISION)?.parse().ok();
    let mut found: Vec<(u64, Value)> =
        all.into_iter().filter(own).filter_map(|set| Some((number(&set)?, set))).collect();
    found.sort_by_key(|(revision, _)| *revision);
    Ok(found)
}

fn history(of: &RolloutOf, look: Look) -> Result<(), Failure> {
    let api = Api::new(&of.reach.server)?;
    block_on(async {
        for (name, path) in meant(&api, of).await? {
            let all = revisions(&api, &api.get_json(&path, JSON).await?).await?;
            let rows: Vec<Vec<String>> = all.iter().map(|(revision, set)| row(*revision, set)).collect();
            let columns = Columns::new(["REVISION", "IMAGES", "CHANGE-CAUSE"], look.out);
            print(format_args!("{name}\n{}\n", columns.whole(&rows)))?;
        }
        Ok(())
    })
}

fn row(revision: u64, set: &Value) -> Vec<String> {
    let containers = set.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let images: Vec<&str> = containers.into_iter().flatten().filter_map(|one| one["image"].as_str()).collect();
    let cause = metadata::annotation(set, CAUSE).unwrap_or("<none>");
    vec![revision.to_string(), images.join(","), cause.to_owned()]
}

fn undo(of: &RolloutOf, to: Option<u64>, look: Look) -> Result<(), Failure> {
    let api = Api::new(&of.reach.server)?;
    block_on(async {
        let found = meant(&api, of).await?;
        for (name, path) in &found {
            let deployment = api.get_json(path, JSON).await?;
            let all = revisions(&api, &deployment).await?;
            let (revision, template) =
                target(&all, to).map_err(|why| Failure::text(FAILED, format!("{name} {why}")))?;
            if template == deployment["spec"]["template"] {
                let words = format!("{name} not rolled back: its template is that of revision {revision} already\n");
                print(words)?;
                continue;
            }
            // Only as it was looked at: whoever is faster is not undone.
            let patch = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": deployment["metadata"]["resourceVersion"]},
                {"op": "replace", "path": "/spec/template", "value": template},
            ]);
            api.json_patch(path, &patch).await?;
            print(format_args!("{name} rolled back to revision {revision}\n"))?;
        }
        if of.waiting.wait { until_ready(&api, found, of.waiting.timeout, look).await } else { Ok(()) }
    })
}

/// The revision asked for, or the one before the newest, and its template.
fn target(all: &[(u64, Value)], to: Option<u64>) -> Result<(u64, Value), String> {
    let chosen = match to.filter(|to| *to > 0) {
        Some(to) => all.iter().find(|(revision, _)| *revision == to).ok_or(format!("has no revision {to}"))?,
        None => all.iter().rev().nth(1).ok_or("has no earlier revision")?,
    };
    let mut template = chosen.1["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    Ok((chosen.0, template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_back_to_is_the_revision_before_or_the_one_asked_for() {
        let set = |image: &str| {
            json!({"spec": {"template": {"metadata": {"labels": {"app": "a", TEMPLATE_HASH: "x"}},
                "spec": {"containers": [{"image": image}]}}}})
        };
        let all = [(2, set("b")), (5, set("c")), (6, set("d"))];
        let image =
            |to| target(&all, to).map(|(revision, one)| (revision, one["spec"]["containers"][0]["image"].clone()));
        assert_eq!(image(None), Ok((5, json!("c"))));
        assert_eq!(image(Some(0)), Ok((5, json!("c"))));
        assert_eq!(image(Some(2)), Ok((2, json!("b"))));
        assert!(image(Some(3)).expect_err("none").contains("no revision 3"));
        assert!(target(&all[..1], None).expect_err("none").contains("no earlier revision"));
        let template = target(&all, None).expect("there is one").1;
        assert_eq!(template["metadata"]["labels"], json!({"app": "a"}), "the mark of the ReplicaSet is none of it");
    }
}
