//! What is wrong with an object among the others: pods that would wait for themselves.

use mkube_messages::objects::ObjectsView;
use mkube_model::boot_order::{self, Member};
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use mkube_model::status::Status;
use mkube_model::workloads::DEPENDS_ON;

use crate::outcome::Outcome;

/// Refuses a pod whose new dependencies lead back to itself. Who leaves them as they are is let through: what stands in the store
/// is dealt with where pods are started.
pub fn check(view: &ObjectsView, kind: &Kind, outcome: &Outcome) -> Result<(), Status> {
    let Outcome::Write { key, value: Some(value), .. } = outcome else { return Ok(()) };
    if kind.kind != "Pod" || !kind.group.is_empty() {
        return Ok(());
    }
    let Some(wanted) = metadata::annotation(value, DEPENDS_ON) else { return Ok(()) };
    let before = view.get(&kind.id(), key).map(|pod| pod.value());
    if before.as_ref().and_then(|before| metadata::annotation(before, DEPENDS_ON)) == Some(wanted) {
        return Ok(());
    }
    // Only who depends on somebody can be part of a circle.
    let others = view.kind(&kind.id());
    let others = others.objects.values().filter(|pod| pod.text().contains(DEPENDS_ON));
    let others = others.map(|pod| Member::of(&pod.value()));
    let circle = boot_order::circle_with(value, others);
    circle.map_or(Ok(()), |problem| Err(Status::invalid(kind, metadata::name(value), &[problem])))
}
