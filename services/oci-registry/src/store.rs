//! The directory: what it promises, how it is opened, and what everything else in it shares.
//!
//! Content gets its name only when it is whole, verified and synced; a change is in the index, and answered, only after the
//! folder was synced too. What must not be torn runs in one piece on a blocking thread together with its locks, so that a client
//! that leaves in the middle changes nothing about it.

mod blobs;
mod cache;
mod durable;
mod garbage;
mod index;
mod layout;
mod load;
pub(crate) mod locks;
mod manifests;
mod room;
mod session;
mod uploads;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::names::RepositoryName;
pub use blobs::OpenBlob;
pub use garbage::Collected;
use index::Index;
use layout::Layout;
use locks::KeyedLocks;
pub use manifests::{Checks, Page, PushedManifest, Referrer, StoredManifest};
pub use room::Usage;
pub use uploads::ContentRange;

/// How to keep a directory.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory; made when missing.
    pub root: PathBuf,
    /// Bytes that blobs, manifests and uploads may have together.
    pub quota: Option<u64>,
    /// Bytes of the disk that stay free.
    pub keep_free: u64,
    /// How long an upload lives that nobody writes to, and one that was there at start.
    pub upload_life: Duration,
    /// How long a blob lives that no manifest names, after it was last pushed, mounted or asked for, or the store was opened.
    pub grace: Duration,
    /// Uploads at once.
    pub uploads: usize,
}

impl StoreOptions {
    /// The defaults: no quota, 64 MiB of the disk stay free, uploads live an hour, blobs without a manifest a day.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            quota: None,
            keep_free: 64 << 20,
            upload_life: Duration::from_secs(3600),
            grace: Duration::from_secs(24 * 3600),
            uploads: 10_000,
        }
    }
}

/// A directory of content. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    layout: Layout,
    options: StoreOptions,
    /// Ages are counted from here: the time of day of a device without a clock of its own may jump by years.
    opened: Instant,
    index: RwLock<Index>,
    room: room::Room,
    /// Held to make or remove a blob's files.
    digests: KeyedLocks<Digest>,
    /// Held to change a repository's manifests.
    repositories: KeyedLocks<RepositoryName>,
    /// Held to write to a session.
    sessions: KeyedLocks<uuid::Uuid>,
    /// Sessions that wait for their next request. What goes by is hashed once: the hash waits with them.
    waiting: Mutex<uploads::Waiting>,
    uploads: AtomicUsize,
    /// Shared while a manifest is checked and stored, alone to decide that nobody needs a blob.
    gate: Arc<tokio::sync::RwLock<()>>,
    cache: Mutex<cache::Cache>,
    /// Whether all manifests could be read at start; without them nothing is garbage.
    complete: bool,
    _lock: File,
}

/// How long a new registry waits for the directory: a program that one killed a moment ago was just starting still has it, until it runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Takes the directory for this process.
fn lock(options: &StoreOptions) -> Result<File, Fault> {
    let layout = Layout::new(&options.root);
    load::make_folders(&layout)?;
    let path = layout.lock();
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(Fault::disk(format!("cannot open {}", path.display())))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| Fault::disk(format!("another registry uses {}", options.root.display()))(error.into()))?;
    Ok(lock)
}

impl Store {
    /// Opens a directory, adopting what a Go registry left there. Reads every manifest and lists every blob.
    pub async fn open(options: StoreOptions) -> Result<Self, Fault> {
        let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
        let lock = loop {
            let held = options.clone();
            match blocking(move || lock(&held)).await {
                Err(Fault::Disk { cause, .. })
                    if cause.kind() == std::io::ErrorKind::WouldBlock && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                taken => break taken?,
            }
        };
        blocking(move || Self::open_now(options, lock)).await
    }

    fn open_now(options: StoreOptions, lock: File) -> Result<Self, Fault> {
        let layout = Layout::new(&options.root);
        let loaded = load::load(&layout)?;
        let room = room::Room::new(&options, loaded.used);
        Ok(Self(Arc::new(Inner {
            layout,
            opened: Instant::now(),
            index: RwLock::new(loaded.index),
            room,
            digests: KeyedLocks::default(),
            repositories: KeyedLocks::default(),
            sessions: KeyedLocks::default(),
            waiting: Mutex::default(),
            uploads: AtomicUsize::new(loaded.uploads),
            gate: Arc::default(),
            cache: Mutex::default(),
            complete: loaded.complete,
            options,
            _lock: lock,
        })))
    }

    /// What is used, and what may be.
    pub fn usage(&self) -> Usage {
        self.0.room.usage()
    }

    /// Whether so many bytes more would fit, into the quota and onto the disk.
    pub fn check_room(&self, bytes: u64) -> Result<(), Fault> {
        self.0.room.check(bytes)
    }

    /// Keys that are locked at this moment; none when nobody works.
    pub fn locks(&self) -> usize {
        self.0.digests.len() + self.0.repositories.len() + self.0.sessions.len()
    }
}

impl Inner {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the store was opened.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Runs what waits for the disk where waiting does not hold up others. It runs to its end also when nobody waits any more.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::disk("the work was cut off")(std::io::Error::other(error))),
    }
}
