//! What is wrong with an object among the others of its kind.

use mkube_messages::objects::{CONFIGURATION, ObjectsView, Verb};
use mkube_model::kinds::{CONFIGURED_IN, Kind, KindTable, NETWORKS, configured_in, network_holders, network_of};
use mkube_model::metadata;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use mkube_model::workloads::DEPENDS_ON;
use serde_json::Value;

use crate::outcome::Outcome;
use crate::queue::Task;

/// Holders that are named when a network is in use.
const NAMED: usize = 10;

/// Whether what a write says has to fit to what others of its kind say.
pub fn is_judged_by_others(task: &Task) -> bool {
    let Task::Write(write) = task else { return false };
    let body = match &write.verb {
        Verb::Create { body } | Verb::Update { body } | Verb::Replace { body } | Verb::Patch { body, .. } => body,
        Verb::Delete { .. } => return false,
    };
    let depends = body.pointer("/metadata/annotations").is_some_and(|notes| notes.get(DEPENDS_ON).is_some());
    // A JSON patch may say it anywhere.
    write.kind == NETWORKS || depends || body.is_array()
}

/// Refuses what the kind does not want beside the objects there are. `subresource`: as the write names it.
pub fn check(
    view: &ObjectsView,
    kinds: &KindTable,
    kind: &Kind,
    subresource: &str,
    outcome: &Outcome,
) -> Result<(), Status> {
    // What the configuration file says was checked with the file.
    if subresource == CONFIGURATION {
        return Ok(());
    }
    if kind.id() == NETWORKS {
        check_network(view, kinds, kind, outcome)?;
    }
    let Outcome::Write { key, value: Some(value), .. } = outcome else { return Ok(()) };
    let before = view.get(&kind.id(), key).map(|object| object.value());
    let all = view.kind(&kind.id());
    let problems = (kind.among)(value, before.as_ref(), &mut all.objects.values().map(|object| object.text()));
    if problems.is_empty() { Ok(()) } else { Err(Status::invalid(kind, metadata::name(value), &problems)) }
}

/// Bridge and gateway address that mkube made belong to what the network was.
fn of_what_was_made(before: &Value, after: &Value) -> Vec<Problem> {
    let (Ok(old), Ok(new)) = (network_of(before), network_of(after)) else { return Vec::new() };
    if !(old.managed && new.managed) {
        return Vec::new();
    }
    let changed =
        [("cidr", old.cidr != new.cidr), ("gateway", old.gateway != new.gateway), ("bridge", old.bridge != new.bridge)];
    let why = "of a managed network does not change: delete the network and make it anew";
    let changed = changed.iter().filter(|(_, changed)| *changed);
    changed.map(|(field, _)| Problem::forbidden(format!("spec.{field}"), why)).collect()
}

/// A network of the configuration file is changed there and nowhere else; one that pods are in is not taken from under them.
fn check_network(view: &ObjectsView, kinds: &KindTable, kind: &Kind, outcome: &Outcome) -> Result<(), Status> {
    let Outcome::Write { key, value, .. } = outcome else { return Ok(()) };
    let before = view.get(&NETWORKS, key).map(|object| object.value());
    let name = key.name.as_str();
    if let Some(file) = before.as_ref().and_then(configured_in) {
        return Err(Status::forbidden(kind, name, format!("it stands in {file}: change it there")));
    }
    if value.as_ref().and_then(configured_in).is_some() {
        let field = format!("metadata.annotations[{CONFIGURED_IN}]");
        return Err(Status::invalid(
            kind,
            name,
            &[Problem::forbidden(field, "only mkube says what stands in its file")],
        ));
    }
    let Some(before) = before else { return Ok(()) };
    let problems = value.as_ref().map(|value| of_what_was_made(&before, value)).unwrap_or_default();
    if !problems.is_empty() {
        return Err(Status::invalid(kind, name, &problems));
    }
    let deletes = value.as_ref().is_none_or(metadata::is_deleting) && !metadata::is_deleting(&before);
    let moves = |value: &Value| value.pointer("/spec/cidr") != before.pointer("/spec/cidr");
    let moves = value.as_ref().is_some_and(moves);
    if !deletes && !moves {
        return Ok(());
    }
    let pods = kinds.named("Pod").map(|pods| view.kind(&pods.id())).unwrap_or_default();
    let networks = view.kind(&NETWORKS);
    let texts =
        (pods.objects.values().map(|object| object.text()), networks.objects.values().map(|object| object.text()));
    let holders = network_holders(name, texts.0, texts.1);
    if holders.is_empty() {
        return Ok(());
    }
    let more = holders.len().saturating_sub(NAMED);
    let mut told = holders.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        told += &format!(" and {more} more");
    }
    if deletes {
        return Err(Status::conflict(kind, name, format!("the network is in use by {told}")));
    }
    let problem = Problem::forbidden("spec.cidr", format!("may not change while the network is in use by {told}"));
    Err(Status::invalid(kind, name, &[problem]))
}
