//! A durable store that is neither on disk nor durable, and fails on cue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    DesiredStore, Expected, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use tokio::time::Instant;

use crate::relay::Crossings;

/// What becomes of a commit.
#[derive(Debug, Clone)]
pub enum StoreCue {
    /// Refused with this fault, nothing applied.
    Fail(StoreFault),
    /// Applied, but the writer hears that the store is away.
    LoseReply,
    /// Applied so much later.
    Late(Duration),
}

#[derive(Default)]
struct Inner {
    values: BTreeMap<StoreKey, (Revision, Bytes)>,
    revision: Revision,
    commits: VecDeque<StoreCue>,
    load_fault: Option<StoreFault>,
    commit_fault: Option<StoreFault>,
    /// When each batch was committed, and what was in it.
    batches: Vec<(Instant, Vec<StoreChange>)>,
    loads: usize,
    crossings: Option<Crossings>,
}

/// Keeps values in memory. A commit takes 1 ms.
#[derive(Default)]
pub struct MemoryStore(Mutex<Inner>);

impl MemoryStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call passes these crossings too.
    pub fn set_crossings(&self, crossings: Crossings) {
        self.inner().crossings = Some(crossings);
    }

    /// The next commits without a cue get these, one each.
    pub fn cue(&self, cue: StoreCue) {
        self.inner().commits.push_back(cue);
    }

    /// Readings fail with this until `None` is set.
    pub fn set_load_fault(&self, fault: Option<StoreFault>) {
        self.inner().load_fault = fault;
    }

    /// Commits fail with this until `None` is set.
    pub fn set_commit_fault(&self, fault: Option<StoreFault>) {
        self.inner().commit_fault = fault;
    }

    /// Every value for which `lost` holds is gone, and the store's revision is this one.
    pub fn forget(&self, lost: impl Fn(&StoreKey) -> bool, revision: Revision) {
        let mut inner = self.inner();
        inner.values.retain(|at, _| !lost(at));
        inner.revision = revision;
    }

    /// Somebody else writes, or with `None` deletes, a value.
    pub fn put_behind(&self, bucket: &str, key: &str, value: Option<&str>) {
        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let change = StoreChange {
            at,
            value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            expected: Expected::Any,
        };
        self.inner().apply(&[change]);
    }

    /// A stored value as text.
    pub fn text(&self, bucket: &str, key: &str) -> Option<String> {
        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let inner = self.inner();
        let (_, value) = inner.values.get(&at)?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Every batch so far, with the moment it was committed.
    pub fn batches(&self) -> Vec<(Instant, Vec<StoreChange>)> {
        self.inner().batches.clone()
    }

    /// How often everything was read.
    pub fn loads(&self) -> usize {
        self.inner().loads
    }

    async fn pass(&self, what: &str) {
        let crossings = self.inner().crossings.clone();
        if let Some(crossings) = crossings {
            crossings.pass(what).await;
        }
    }
}

impl Inner {
    fn check(&self, changes: &[StoreChange]) -> Result<(), StoreFault> {
        for change in changes {
            let found = self.values.get(&change.at).map(|(revision, _)| *revision);
            let holds = match change.expected {
                Expected::Any => true,
                Expected::Absent => found.is_none(),
                Expected::At(revision) => found == Some(revision),
            };
            if !holds {
                return Err(StoreFault::Conflict { at: change.at.clone(), expected: change.expected, found });
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[StoreChange]) -> Vec<Revision> {
        self.batches.push((Instant::now(), changes.to_vec()));
        let mut revisions = Vec::with_capacity(changes.len());
        for change in changes {
            self.revision += 1;
            revisions.push(self.revision);
            match &change.value {
                Some(value) => drop(self.values.insert(change.at.clone(), (self.revision, value.clone()))),
                None => drop(self.values.remove(&change.at)),
            }
        }
        revisions
    }
}

#[async_trait]
impl DesiredStore for MemoryStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        self.pass("before load").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let contents = {
            let mut inner = self.inner();
            inner.loads += 1;
            if let Some(fault) = inner.load_fault.clone() {
                return Err(fault);
            }
            let values = inner.values.iter().map(|(at, (revision, value))| StoredValue {
                at: at.clone(),
                revision: *revision,
                value: value.clone(),
            });
            StoreContents { values: values.collect(), revision: inner.revision }
        };
        self.pass("after load").await;
        Ok(contents)
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Revision>, StoreFault> {
        self.pass("before commit").await;
        let cue = self.inner().commits.pop_front();
        let delay = if let Some(StoreCue::Late(delay)) = &cue { *delay } else { Duration::from_millis(1) };
        tokio::time::sleep(delay).await;
        if let Some(StoreCue::Fail(fault)) = cue {
            return Err(fault);
        }
        if let Some(fault) = self.inner().commit_fault.clone() {
            return Err(fault);
        }
        let revisions = {
            let mut inner = self.inner();
            inner.check(&changes)?;
            inner.apply(&changes)
        };
        self.pass("after commit").await;
        if let Some(StoreCue::LoseReply) = cue {
            return Err(StoreFault::Away("the reply was lost".to_owned()));
        }
        Ok(revisions)
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        Ok(())
    }
}
