//! What becomes of a task once it was looked at: a change to commit, nothing to do, or a refusal.

use std::sync::Arc;

use mkube_messages::objects::{ObjectKey, ObjectsView, StoredObject, Written};
use mkube_model::kinds::{Kind, KindId};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Expected;
use mkube_model::status::Status;
use serde_json::Value;

use crate::admission;
use crate::refusals::not_there;

/// What admission made of a task.
pub enum Outcome {
    /// To be committed.
    Write { kind: KindId, key: ObjectKey, value: Option<Value>, expected: Expected, warnings: Vec<String> },
    /// Nothing to write.
    Done(Box<Written>),
    /// Refused.
    Refused(Status),
}

impl Outcome {
    /// What is left of it where objects are only what was last known of a store that is away: that something is missing, in the way
    /// or as wanted already is not known. A write whose outcome nobody heard may have made it otherwise.
    pub fn doubted(self, why: &str) -> Self {
        match self {
            Self::Done(_) => Self::Refused(not_there(why)),
            Self::Refused(status) if matches!(status.code, 404 | 409) => Self::Refused(not_there(why)),
            other => other,
        }
    }
}

pub fn existing(view: &ObjectsView, kind: &Kind, key: &ObjectKey) -> Result<Arc<StoredObject>, Status> {
    view.get(&kind.id(), key).ok_or_else(|| Status::not_found(kind, &key.name))
}

/// `needed`: others depend on the object, which has to wait for them.
pub fn replace(
    kind: &Kind,
    key: ObjectKey,
    current: &Arc<StoredObject>,
    admitted: admission::Admitted,
    needed: bool,
) -> Outcome {
    let tree = current.value();
    // The last finalizer is gone: so is the object.
    let released = metadata::is_deleting(&admitted.value)
        && !needed
        && !kind.graceful
        && kind.kind != "Namespace"
        && metadata::has_finalizers(&tree)
        && !metadata::has_finalizers(&admitted.value);
    if !released && admitted.value == admission::without_version(&tree) {
        return unchanged(current.clone(), admitted.warnings);
    }
    let value = (!released).then_some(admitted.value);
    let expected = Expected::At(current.revision);
    Outcome::Write { kind: kind.id(), key, value, expected, warnings: admitted.warnings }
}

pub fn unchanged(object: Arc<StoredObject>, warnings: Vec<String>) -> Outcome {
    Outcome::Done(Box::new(Written { object, changed: false, created: false, gone: false, warnings }))
}
