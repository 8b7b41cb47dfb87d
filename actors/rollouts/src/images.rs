//! What is remembered of each image between looks. All of it can be found again: by asking the registry, or the pods.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mkube_model::neighbours::tarballs::TarballFault;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::checks::Check;

/// Whoever waits for what the registry has now.
pub type Waiter = oneshot::Sender<Result<String, TarballFault>>;

/// Whether the archive of the wanted digest is at hand. It is fetched before the first pod is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// Not asked for.
    No,
    /// Being fetched.
    Busy(String),
    /// There.
    Done(String),
    /// It could not be had; to be tried again then.
    Failed(String, Instant),
}

/// One image that pods follow.
#[derive(Debug)]
pub struct ImageMemory {
    /// When the registry is asked.
    pub check: Check,
    /// What it had when it was last asked.
    pub desired: Option<String>,
    /// Whether the question in flight, or the next one, follows a push.
    pub pushed: bool,
    /// The archive of `desired`.
    pub fetch: Fetch,
    /// Tries to fetch it that failed.
    pub fetch_failures: u32,
    /// Digests that failed, also when the pod that says so is gone.
    pub refused: BTreeSet<String>,
    /// Who waits for the next answer.
    pub waiters: Vec<Waiter>,
    /// When the registry last answered.
    pub last_checked: Option<Timestamp>,
    /// Why it does not, or why its image cannot be had.
    pub error: Option<String>,
}

impl ImageMemory {
    /// Nothing is known yet.
    pub fn new(check: Check) -> Self {
        Self {
            check,
            desired: None,
            pushed: false,
            fetch: Fetch::No,
            fetch_failures: 0,
            refused: BTreeSet::new(),
            waiters: Vec::new(),
            last_checked: None,
            error: None,
        }
    }

    /// The registry has this now.
    pub fn wants(&mut self, digest: &str) {
        if self.desired.as_deref() != Some(digest) {
            self.desired = Some(digest.to_owned());
            self.fetch = Fetch::No;
            self.fetch_failures = 0;
        }
    }

    /// Somebody asks for it: what was held against it is forgotten.
    pub fn forgive(&mut self, digest: &str) {
        self.refused.remove(digest);
        if matches!(self.fetch, Fetch::Failed(..)) {
            self.fetch = Fetch::No;
        }
        self.fetch_failures = 0;
    }
}

/// Whether a fault says that the image itself is no good: trying again would end the same.
pub fn is_final(fault: &TarballFault) -> bool {
    matches!(
        fault,
        TarballFault::Unusable { .. } | TarballFault::WrongPlatform { .. } | TarballFault::BadReference { .. }
    )
}
