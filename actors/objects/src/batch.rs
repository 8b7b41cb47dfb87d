//! What goes to the store together.

use std::collections::BTreeSet;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::StoreChange;
use serde_json::Value;

use crate::admission;
use crate::queue::{Answer, Task};

/// An admitted write on its way to the store.
pub struct Ready {
    pub change: StoreChange,
    pub kind: KindId,
    pub key: ObjectKey,
    pub value: Option<Value>,
    pub warnings: Vec<String>,
    pub answer: Answer,
    /// What is looked at anew when somebody else was faster.
    pub again: Option<Task>,
}

/// What is asked for once more when somebody else changed the object: whoever named no version cares about none. What he named is
/// compared again. Where nobody else writes nothing has to be kept for that.
pub fn again(task: &Task, shared: bool) -> Option<Task> {
    match task {
        Task::Write(write) if shared => Some(Task::Write(write.clone())),
        _ => None,
    }
}

/// What the writes of one batch say about owners: none goes in the same batch as something that begins to depend on it.
#[derive(Default)]
pub struct Owners {
    /// Uids that are named as owners for the first time.
    pub named: BTreeSet<String>,
    /// Uids of objects that go.
    pub gone: BTreeSet<String>,
}

impl Owners {
    /// A write of the batch; refused with the uid of an owner that goes with it.
    pub fn note(&mut self, before: Option<&StoredObject>, after: Option<&Value>) -> Result<(), String> {
        let new: Vec<&str> = after.map(|after| admission::new_owners(before, after).collect()).unwrap_or_default();
        if let Some(gone) = new.iter().find(|uid| self.gone.contains(**uid)) {
            return Err((*gone).to_owned());
        }
        self.named.extend(new.into_iter().map(str::to_owned));
        let uid = after.map(metadata::uid).unwrap_or_default();
        self.gone.extend(before.map(StoredObject::uid).filter(|before| *before != uid).map(str::to_owned));
        Ok(())
    }
}
