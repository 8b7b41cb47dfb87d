//! The book in which controllers write who drives a device, and the note each keeps for itself.

use async_trait::async_trait;

use crate::lease_record::{LeaseNote, LeaseRecord};

/// What the book holds for one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseEntry {
    /// The record; none: it was never written, was deleted or got lost.
    pub record: Option<LeaseRecord>,
    /// When it was last written or deleted; 0: never.
    pub revision: u64,
}

/// Why the book did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseFault {
    /// The record is another one than was expected. Nothing was written.
    #[error("the lease was written by somebody else")]
    Conflict,
    /// The book cannot be reached. Nothing was written, and will not be.
    #[error("the book of leases cannot be reached: {0}")]
    Away(String),
    /// The reply was lost: it may have been written, or may yet be.
    #[error("the book of leases did not answer: {0}")]
    Unknown(String),
    /// There is a record, and it is none of ours.
    #[error("the lease cannot be read: {0}")]
    Unreadable(String),
}

/// The book of one device's lease.
#[async_trait]
pub trait LeaseBook: Send + Sync {
    /// What it holds; never older than what was read or written before, unless the book lost its memory.
    async fn read(&self) -> Result<LeaseEntry, LeaseFault>;

    /// Writes the record if the entry's revision is still `expected`; the new revision.
    async fn write(&self, record: &LeaseRecord, expected: u64) -> Result<u64, LeaseFault>;

    /// Ends when the entry may be another one. A hint: it may come too often, late, or not at all.
    async fn changed(&self) {
        std::future::pending().await
    }
}

/// Where a controller keeps its own note.
#[async_trait]
pub trait LeaseNotes: Send + Sync {
    /// Keeps it; returns when it survives power loss.
    async fn keep(&self, note: &LeaseNote) -> Result<(), String>;
}
