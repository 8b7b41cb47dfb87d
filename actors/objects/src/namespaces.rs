//! Which namespaces there are without anybody's asking, and what may be made in which.

use mkube_messages::objects::{FieldValidation, ObjectKey, ObjectsView, PatchType, Verb, WriteObject, Writer};
use mkube_model::kinds::{Kind, KindTable, NETWORKS};
use mkube_model::status::Status;
use serde_json::json;

use crate::admission;
use crate::objects_actor::ObjectsActor;
use crate::outcome::Outcome;
use crate::queue::Task;
use crate::refusals::not_there;

/// Namespaces that always exist.
pub const PERMANENT: [&str; 5] = ["default", "infra", "kube-system", "kube-public", "kube-node-lease"];

/// Whether an object is a namespace that stays.
pub fn is_permanent(kind: &Kind, name: &str) -> bool {
    kind.kind == "Namespace" && PERMANENT.contains(&name)
}

/// Whether a network has this name: its namespace comes about by itself when something is to live in it, as it was with the Go
/// controller.
fn is_networks(view: &ObjectsView, namespace: &str) -> bool {
    view.get(&NETWORKS, &ObjectKey::new("", namespace)).is_some_and(|network| !network.is_deleting())
}

/// Refuses a new object in a namespace that is not there, or is on its way out.
pub fn check(view: &ObjectsView, kinds: &KindTable, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
    let Some(namespaces) = kinds.named("Namespace") else { return Ok(()) };
    match view.get(&namespaces.id(), &ObjectKey::new("", namespace)) {
        None if is_networks(view, namespace) => Ok(()),
        None => match &view.stale {
            // What was last known proves no absence.
            Some(why) => Err(not_there(why)),
            None => Err(Status::not_found(namespaces, namespace)),
        },
        Some(found) if found.is_deleting() => {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let mut status = Status::forbidden(kind, name, why);
            status.details["causes"] = json!([{
                "reason": "NamespaceTerminating", "field": "metadata.namespace",
                "message": format!("namespace {namespace} is being terminated"),
            }]);
            Err(status)
        }
        Some(_) => Ok(()),
    }
}

impl ObjectsActor {
    /// Queues a namespace before everything else.
    pub(crate) fn make_namespace(&mut self, name: &str) {
        let Some(kind) = self.parts.kinds.named("Namespace").copied() else { return };
        let given = self.circumstances(FieldValidation::Ignore, Writer::own());
        let body = json!({"metadata": {"name": name}});
        match admission::create(&kind, "", body, &given) {
            Ok(admitted) => {
                let task = Task::Put { kind: kind.id(), key: ObjectKey::new("", name), value: admitted.value };
                self.queue.push_front((task, None));
            }
            Err(status) => tracing::error!(%status, name, "a namespace could not be made"),
        }
    }

    /// The namespace that has to be made before this can be: a network's. Nothing, when the write would be refused anyway.
    pub(crate) fn home_to_make(&mut self, view: &ObjectsView, task: &Task) -> Option<String> {
        let Task::Write(write) = task else { return None };
        if !matches!(write.verb, Verb::Create { .. } | Verb::Patch { patch: PatchType::Apply, .. }) {
            return None;
        }
        let kind = self.parts.kinds.get(&write.kind).filter(|kind| kind.namespaced)?;
        let namespaces = self.parts.kinds.named("Namespace").filter(|one| one.id() != kind.id())?.id();
        let home = ObjectKey::new("", write.key.namespace.as_str());
        let wanted = !write.dry_run && view.stale.is_none() && view.get(&namespaces, &home).is_none();
        if !wanted || view.is_unreadable(&namespaces, &home) || !is_networks(view, &home.name) {
            return None;
        }
        let trial = WriteObject { dry_run: true, behind: false, ..(**write).clone() };
        match self.admit(view, Task::Write(Box::new(trial))) {
            Outcome::Refused(_) => None,
            Outcome::Write { .. } | Outcome::Done(_) => Some(home.name),
        }
    }
}
