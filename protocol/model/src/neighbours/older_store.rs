//! A store that came back with less than it acknowledged: what it lacks, and the word of a person to take it as it is.

use std::path::PathBuf;

use super::desired_store::{Revision, StoreKey};

/// How a value differs that a store acknowledged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossKind {
    /// Nothing is there.
    Missing,
    /// Something else is there: what was before, or what somebody put in its place.
    Older,
    /// It was deleted, and is there again.
    Returned,
}

impl LossKind {
    /// As reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Returned => "returned",
        }
    }
}

/// One value that is not as it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Loss {
    /// Where it lies.
    pub at: StoreKey,
    /// How it differs.
    pub kind: LossKind,
    /// Its last change that was acknowledged.
    pub known: Revision,
    /// The last change that the store holds; none: it holds nothing of it. In a bucket that was made anew it counts from the
    /// beginning.
    pub found: Option<Revision>,
}

/// What a store lacks of what it acknowledged. It is not obeyed until it has that again, or somebody accepts exactly this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderStore {
    /// In a sentence.
    pub why: String,
    /// Stands for everything below: whoever accepts it names it, and what has moved on since has another one.
    pub digest: String,
    /// Buckets that are not as they were, in order.
    pub buckets: Vec<String>,
    /// Every value, in the order of their places. There may be none: then only the buckets' history was lost.
    pub losses: Vec<Loss>,
}

impl OlderStore {
    /// How many values differ in this way.
    pub fn count(&self, kind: LossKind) -> usize {
        self.losses.iter().filter(|loss| loss.kind == kind).count()
    }
}

/// What came of accepting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Where everything is kept that was known before.
    pub copy: PathBuf,
    /// What was accepted.
    pub older: OlderStore,
}

/// Why nothing was accepted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptFault {
    /// The store is as it was, or has nothing to be accepted.
    #[error("there is nothing to accept: {0}")]
    Nothing(String),
    /// It lacks something else than what was named.
    #[error("what the store lacks is not what you name: look at its state again")]
    MovedOn,
    /// What it holds now is not known.
    #[error("the store is away, and what it holds is not known: {0}")]
    Away(String),
    /// What was known before could not be kept.
    #[error("what is known could not be copied: {0}")]
    NotCopied(String),
}
