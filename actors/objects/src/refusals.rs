//! Why a write is not accepted, when the reason lies with us and not with the write.

use mkube_messages::door::{CallError, NotAnswered};
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::Kind;
use mkube_model::neighbours::desired_store::{Conflict, StoreFault};
use mkube_model::status::Status;

/// What the writers of a batch hear when its commit failed.
pub fn not_stored(error: &CallError<StoreFault>) -> Status {
    match error {
        CallError::Fault(StoreFault::Unwritable(why)) => {
            Status::unavailable(format!("the store cannot be written: {why}"), 5)
        }
        CallError::Fault(StoreFault::Absent(why)) => not_there(why),
        CallError::Fault(StoreFault::Unreadable(why)) => {
            Status::unavailable(format!("the store cannot be read: {why}"), 5)
        }
        CallError::NotAnswered(NotAnswered::Busy | NotAnswered::Away) => {
            Status::unavailable("the store is not available", 1)
        }
        CallError::Fault(StoreFault::Away(_)) | CallError::NotAnswered(NotAnswered::Gone | NotAnswered::Late) => {
            Status::timeout("the store did not answer; the outcome of the write is unknown")
        }
    }
}

/// The store is known to be away.
pub fn not_there(why: &str) -> Status {
    Status::unavailable(format!("the store is not there ({why}); nothing was changed"), 5)
}

/// What lies under the name is no object: it is not written over, since nobody knows what it is.
pub fn unreadable(bucket: &str, key: &ObjectKey, why: &str) -> Status {
    let text =
        format!("somebody stored what is no object under the name {key} ({bucket}): {why}; remove it from the store");
    Status::new(409, "Conflict", text)
}

/// Somebody else wrote the object between the look at it and the write.
pub fn changed_behind(conflict: &Conflict) -> Status {
    let at = &conflict.at;
    let text = format!("{}/{} was changed in the store by somebody else; please try again", at.bucket, at.key);
    Status::new(409, "Conflict", text)
}

/// The object went meanwhile.
pub fn gone() -> Status {
    Status::new(404, "NotFound", "the object is gone")
}

/// Something is to depend on an owner that was just deleted. Nobody would delete it any more.
pub fn owner_gone(kind: &Kind, name: &str, uid: &str) -> Status {
    Status::conflict(kind, name, format!("metadata.ownerReferences: the owner of uid {uid:?} has been deleted"))
}

/// An object that others depend on cannot make room for another.
pub fn has_dependents(kind: &Kind, name: &str) -> Status {
    Status::conflict(kind, name, "other objects depend on it: they go before it does")
}

/// The store was not read yet.
pub fn not_loaded(why: &str) -> Status {
    Status::unavailable(format!("objects are not loaded: {why}"), 1)
}

/// Writes that were refused since the store went away: a line in the log when it begins, and one when it is over.
#[derive(Debug, Default)]
pub(crate) struct RefusedMeanwhile(usize);

impl RefusedMeanwhile {
    pub(crate) fn more(&mut self, writes: usize, why: &CallError<StoreFault>) {
        if self.0 == 0 {
            tracing::info!(%why, "writes are refused until the store is back");
        }
        self.0 += writes;
    }

    pub(crate) fn over(&mut self) {
        match std::mem::take(&mut self.0) {
            0 => {}
            writes => tracing::info!(writes, "the store is back; writes were refused meanwhile"),
        }
    }
}
