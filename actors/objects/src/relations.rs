//! What is wrong with an object among the others of its kind.

use mkube_messages::objects::ObjectsView;
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use mkube_model::status::Status;

use crate::outcome::Outcome;

/// Refuses what the kind does not want beside the objects there are.
pub fn check(view: &ObjectsView, kind: &Kind, outcome: &Outcome) -> Result<(), Status> {
    let Outcome::Write { key, value: Some(value), .. } = outcome else { return Ok(()) };
    let before = view.get(&kind.id(), key).map(|object| object.value());
    let all = view.kind(&kind.id());
    let problems = (kind.among)(value, before.as_ref(), &mut all.objects.values().map(|object| object.text()));
    if problems.is_empty() { Ok(()) } else { Err(Status::invalid(kind, metadata::name(value), &problems)) }
}
