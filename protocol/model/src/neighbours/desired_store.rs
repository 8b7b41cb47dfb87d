//! The durable key-value store behind the object layer.

use async_trait::async_trait;
use bytes::Bytes;

/// Position of a change in the store's history. Grows with every change, never repeats, survives restarts.
pub type Revision = u64;

/// Where a value lies: a bucket of the contract (`PODS`, `CONFIGMAPS`, …) and a key (`<namespace>.<name>`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey {
    /// Bucket name.
    pub bucket: String,
    /// Key inside the bucket.
    pub key: String,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// Where it lies.
    pub at: StoreKey,
    /// When it was last written.
    pub revision: Revision,
    /// The bytes as written.
    pub value: Bytes,
}

/// What a writer believes about a key before changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No belief: write whatever is there.
    Any,
    /// Nothing is stored under the key.
    Absent,
    /// The key was last changed at this revision.
    At(Revision),
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreChange {
    /// Which key.
    pub at: StoreKey,
    /// The new value, or `None` to delete the key.
    pub value: Option<Bytes>,
    /// Compare-and-set condition.
    pub expected: Expected,
}

/// Everything the store holds, at one moment.
#[derive(Debug, Clone, Default)]
pub struct StoreContents {
    /// All values, in key order.
    pub values: Vec<StoredValue>,
    /// The highest revision handed out so far, deletions included.
    pub revision: Revision,
}

/// Why the store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreFault {
    /// A compare-and-set condition did not hold; no change of the batch was applied.
    #[error("{}/{} changed: expected {expected:?}, found revision {found:?}", at.bucket, at.key)]
    Conflict {
        /// The key concerned.
        at: StoreKey,
        /// What the writer believed.
        expected: Expected,
        /// What is there.
        found: Option<Revision>,
    },
    /// The store exists and cannot be read. It is never replaced by an empty one.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// Out of space, or another I/O error. The batch was not applied.
    #[error("the store cannot be written: {0}")]
    Unwritable(String),
    /// Not reachable now; the outcome of a write is unknown.
    #[error("the store is away: {0}")]
    Away(String),
}

/// A durable, versioned key-value store.
#[async_trait]
pub trait DesiredStore: Send + Sync {
    /// Everything, once, at start.
    async fn load(&self) -> Result<StoreContents, StoreFault>;

    /// Applies all changes or none, and returns only when they survive power loss. Answers one revision per
    /// change, in order, deletions included.
    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Revision>, StoreFault>;

    /// Gives unused space back. Cheap when there is nothing to do.
    async fn compact(&self) -> Result<(), StoreFault>;
}
