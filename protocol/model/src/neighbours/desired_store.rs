//! The durable key-value store behind the object layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::older_store::{AcceptFault, Accepted, OlderStore};

/// Position of a change in the history of its bucket. Grows with every change, never repeats, survives restarts; a bucket in which nothing
/// was ever written is at 1. A store may count all its buckets together.
pub type Revision = u64;

/// Revisions from here on are not the store's: they were handed out while it was away, for changes that wait to be told to it.
/// Below 2^53, so that every client can read them.
pub const PROVISIONAL: Revision = 1 << 48;

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
    /// While the store is away the change may be kept safe elsewhere, and told to the store when it is back.
    pub behind: bool,
}

/// Everything the store holds, at one moment.
#[derive(Debug, Clone, Default)]
pub struct StoreContents {
    /// All values, in key order.
    pub values: Vec<StoredValue>,
    /// The highest revision handed out so far, deletions included, in buckets that are not in `buckets`.
    pub revision: Revision,
    /// The same for buckets that count by themselves.
    pub buckets: BTreeMap<String, Revision>,
    /// Why this is what was last known, and perhaps not what the store holds now; none: it is what the store holds. What is missing
    /// in stale contents proves nothing.
    pub stale: Option<String>,
    /// Others write the store too: a value that is no object may be theirs, and costs nobody else. In a store that is ours alone it
    /// would be damage.
    pub shared: bool,
}

impl StoreContents {
    /// The highest revision handed out so far in a bucket.
    pub fn revision_of(&self, bucket: &str) -> Revision {
        self.buckets.get(bucket).copied().unwrap_or(self.revision)
    }
}

/// The condition of a change did not hold; it was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}/{} changed: expected {expected:?}, found revision {found:?}", at.bucket, at.key)]
pub struct Conflict {
    /// The key concerned.
    pub at: StoreKey,
    /// What the writer believed.
    pub expected: Expected,
    /// What is there.
    pub found: Option<Revision>,
}

/// What became of one change: the revision it got, or why it was not applied.
pub type Outcome = Result<Revision, Conflict>;

/// Somebody else changed a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChange {
    /// Which key.
    pub at: StoreKey,
    /// The value now, or `None`: it was deleted.
    pub value: Option<Bytes>,
    /// When.
    pub revision: Revision,
}

/// What happened to the store without us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreNews {
    /// Changes by others, in the order of their revisions within each bucket. Some may be known already.
    pub changes: Vec<ForeignChange>,
    /// More happened than can be told: everything is to be loaded anew.
    pub reload: bool,
    /// As in [`StoreContents`].
    pub stale: Option<String>,
    /// What was kept while the store was away and then dropped, because somebody else had changed the key meanwhile.
    pub lost: Vec<StoreKey>,
}

/// Why the store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreFault {
    /// The store exists and cannot be read. It is never replaced by an empty one.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// Out of space, or another I/O error. No change was applied.
    #[error("the store cannot be written: {0}")]
    Unwritable(String),
    /// It is known not to be there now. No change was applied.
    #[error("the store is not there: {0}")]
    Absent(String),
    /// It did not answer; the outcome of a write is unknown.
    #[error("the store is away: {0}")]
    Away(String),
}

/// A durable, versioned key-value store.
#[async_trait]
pub trait DesiredStore: Send + Sync {
    /// Everything, at start and whenever what is known may have gaps.
    async fn load(&self) -> Result<StoreContents, StoreFault>;

    /// Applies each change whose condition holds, in order, and returns only when they survive power loss. Answers one outcome per
    /// change; each change stands for itself. By then every change by others that is older, in the same bucket, is among the news.
    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault>;

    /// Gives unused space back. Cheap when there is nothing to do.
    async fn compact(&self) -> Result<(), StoreFault>;

    /// Ends as soon as there is news to take. Of a store that nobody else writes there is never any.
    async fn changed(&self) {
        std::future::pending().await
    }

    /// What happened without us since it was taken last.
    fn take_news(&self) -> StoreNews {
        StoreNews::default()
    }

    /// What it lacks of what it acknowledged, as long as it is not obeyed for that. There is news when this changes.
    fn older(&self) -> Option<Arc<OlderStore>> {
        None
    }

    /// Takes what it holds as what it is to hold, if it still lacks exactly what this digest stands for. What was known before is
    /// copied first.
    async fn accept(&self, _token: &str) -> Result<Accepted, AcceptFault> {
        Err(AcceptFault::Nothing("this store is never older than what it acknowledged".to_owned()))
    }
}
