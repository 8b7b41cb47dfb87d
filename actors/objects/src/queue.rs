//! What waits to be written, and how it becomes one batch.

use mkube_messages::objects::{ObjectKey, Verb, WriteObject, Written};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::Value;
use tokio::sync::oneshot;

/// Where an answer goes; nobody listens for work of our own.
pub type Answer = Option<Asked>;

/// Somebody waits for an answer.
pub struct Asked {
    /// There.
    pub answer: oneshot::Sender<Result<Written, Status>>,
    /// How often the write was looked at, this time included.
    pub tries: u8,
}

impl Asked {
    /// The same, for the next look.
    pub fn once_more(self) -> Self {
        Self { tries: self.tries + 1, ..self }
    }
}

/// Answers whoever asked.
pub fn reply(answer: Answer, result: Result<Written, Status>) {
    if let Some(asked) = answer {
        // A caller that left does not matter: the write stands.
        let _ = asked.answer.send(result);
    }
}

/// Something to be written.
pub enum Task {
    /// Asked for through the door.
    Write(Box<WriteObject>),
    /// A controller's report about an object of this uid.
    Status {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
        /// Of the object reported on.
        uid: String,
        /// The new status.
        status: Value,
    },
    /// The device is clean: the object of this uid goes.
    Finish {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
        /// Of the object torn down.
        uid: String,
    },
    /// Our own: written as it is, made when missing.
    Put {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
        /// Complete object.
        value: Value,
    },
    /// Our own: an owner is being deleted, and this depends on it.
    Collect {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
        /// The owner's uid.
        owner: String,
    },
    /// Our own: an owner of this uid is being deleted, and its dependents are dealt with.
    Settle {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
        /// Of the owner.
        uid: String,
    },
    /// Our own: nobody's yet, and gets this node.
    Claim {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
    },
    /// Our own: gone without ceremony.
    Remove {
        /// Kind.
        kind: KindId,
        /// Key.
        key: ObjectKey,
    },
}

impl Task {
    /// Whether it may be kept safe elsewhere while the store is away: what we say about objects, and what is needed for the store to
    /// come back. What users ask for is refused then, unless they chose otherwise.
    pub fn may_wait_for_the_store(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Put { .. } => true,
            // Events are forgotten; a namespace goes only when it is known to be empty.
            Self::Remove { kind, .. } => kind.plural == "events",
            Self::Write(write) => write.behind,
            Self::Finish { .. } | Self::Collect { .. } | Self::Settle { .. } | Self::Claim { .. } => false,
        }
    }

    /// What it writes to; `None` for a name that is not known before admission.
    pub fn target(&self) -> Option<(KindId, ObjectKey)> {
        match self {
            Self::Write(write) => {
                let name = match &write.verb {
                    // A new object is named by its body.
                    Verb::Create { body } if write.key.name.is_empty() => metadata::name(body),
                    _ => &write.key.name,
                };
                (!name.is_empty()).then(|| (write.kind, ObjectKey::new(write.key.namespace.clone(), name)))
            }
            Self::Status { kind, key, .. }
            | Self::Finish { kind, key, .. }
            | Self::Put { kind, key, .. }
            | Self::Collect { kind, key, .. }
            | Self::Settle { kind, key, .. }
            | Self::Claim { kind, key }
            | Self::Remove { kind, key } => Some((*kind, key.clone())),
        }
    }
}
