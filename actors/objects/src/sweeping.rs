//! What is deleted because something else is: the content of a namespace, the dependents of an owner. What has to go on is seen
//! from what is stored, so it goes on after a crash.

use std::collections::BTreeSet;

use mkube_messages::objects::{ObjectKey, Verb, WriteObject};
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use serde_json::Value;

use crate::collecting::Policy;
use crate::dependents::{Due, Place};
use crate::objects_actor::ObjectsActor;
use crate::queue::Task;

/// Dependents of one owner that are queued together; the next ones when these are committed.
const TOGETHER: usize = 256;

impl ObjectsActor {
    /// Queues what is to be deleted next. Called after every change of the view.
    pub(crate) fn sweep(&mut self) {
        // What is missing in what was last known proves nothing; and nothing could be deleted now.
        if self.view().stale.is_some() {
            return;
        }
        self.sweep_dependents();
        self.sweep_namespaces();
        self.sweep_homeless();
    }

    /// Gives this node to objects that have none. Controllers of other nodes do the same; the store decides who was first.
    fn sweep_homeless(&mut self) {
        let is_claim = |task: &Task| matches!(task, Task::Claim { .. });
        let waiting: BTreeSet<Place> =
            self.queue.iter().filter(|(task, _)| is_claim(task)).filter_map(|(task, _)| task.target()).collect();
        let new: Vec<Place> = self.homes.nobodys().filter(|place| !waiting.contains(*place)).cloned().collect();
        self.queue.extend(new.into_iter().map(|(kind, key)| (Task::Claim { kind, key }, None)));
    }

    /// Deletes or releases what depends on owners that are being deleted, then lets the owners go.
    fn sweep_dependents(&mut self) {
        let due = self.dependents.take_due();
        if due == Due::default() {
            return;
        }
        let view = self.view();
        let waiting: BTreeSet<(Place, String)> = self.queue.iter().filter_map(|(task, _)| about_owner(task)).collect();
        for ((kind, key), owner) in due.left_behind {
            let task = Task::Collect { kind, key, owner: owner.into() };
            if about_owner(&task).is_none_or(|about| !waiting.contains(&about)) {
                self.queue.push_back((task, None));
            }
        }
        for (kind, key) in due.going {
            let (Some(owner), Some(row)) = (view.get(&kind, &key), self.parts.kinds.get(&kind)) else { continue };
            let Some(policy) = Policy::of(&owner.value()) else { continue };
            let uid = owner.uid().to_owned();
            let unfinished = |marked: bool| policy == Policy::Orphan || !marked;
            let left = self.dependents.of(&owner).filter(|(_, dependent)| unfinished(dependent.marked));
            let left: Vec<Place> = left.map(|(place, _)| place.clone()).take(TOGETHER).collect();
            // What has an end of its own waits for nothing else.
            let ends_itself = policy == Policy::Background && (row.graceful || row.kind == "Namespace");
            let next = match left.is_empty() {
                true if ends_itself => Vec::new(),
                true => vec![Task::Settle { kind, key, uid }],
                false => left.into_iter().map(|(kind, key)| Task::Collect { kind, key, owner: uid.clone() }).collect(),
            };
            let new = next.into_iter().filter(|task| about_owner(task).is_none_or(|about| !waiting.contains(&about)));
            self.queue.extend(new.map(|task| (task, None)));
        }
    }

    /// Deletes what is in namespaces that are going, then the namespaces.
    fn sweep_namespaces(&mut self) {
        let Some(namespaces) = self.parts.kinds.named("Namespace").map(Kind::id) else { return };
        let view = self.view();
        let going: Vec<(ObjectKey, bool)> = view
            .kind(&namespaces)
            .objects
            .iter()
            .filter(|(_, namespace)| namespace.is_deleting())
            .map(|(key, namespace)| {
                let held = metadata::has_finalizers(&namespace.value()) || self.dependents.has_unmarked(namespace);
                (key.clone(), held)
            })
            .collect();
        if going.is_empty() {
            return;
        }
        let waiting: BTreeSet<Place> = self.queue.iter().filter_map(|(task, _)| task.target()).collect();
        for (namespace, held) in going {
            let unread = view.unreadable.keys().any(|(_, key)| key.namespace == namespace.name);
            let mut empty = !held && !unread && !waiting.contains(&(namespaces, namespace.clone()));
            for kind in self.parts.kinds.clone().iter().filter(|kind| kind.namespaced) {
                let content = view.kind(&kind.id());
                let inside = content.objects.iter().filter(|(key, _)| key.namespace == namespace.name);
                for (key, object) in inside {
                    empty = false;
                    if object.is_deleting() || waiting.contains(&(kind.id(), key.clone())) {
                        continue;
                    }
                    let write = WriteObject::own(
                        "delete namespace content",
                        kind.id(),
                        key.clone(),
                        Verb::Delete { options: Value::Null },
                    );
                    self.queue.push_back((Task::Write(Box::new(write)), None));
                }
            }
            if empty {
                self.queue.push_back((Task::Remove { kind: namespaces, key: namespace }, None));
            }
        }
    }
}

/// What our own work for an owner is about: an object, and the owner's uid.
fn about_owner(task: &Task) -> Option<(Place, String)> {
    match task {
        Task::Collect { owner: uid, .. } | Task::Settle { uid, .. } => Some((task.target()?, uid.clone())),
        _ => None,
    }
}
