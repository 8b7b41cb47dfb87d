//! The embedded store: one redb file.
//!
//! A commit returns after the file was synced. The file is opened exclusively and read through; one that cannot be read is
//! refused, since starting empty would mean to forget every pod.

mod layout;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mkube_model::neighbours::desired_store::{DesiredStore, Outcome, StoreChange, StoreContents, StoreFault};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, StorageBackend};

use layout::Failed;

/// Memory redb may use to keep pages; everything is read once at start, so more would only lie idle.
const CACHE_BYTES: usize = 1 << 20;

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // Else it believes a file that was closed in good order, whatever became of its bytes since.
    builder.set_check_integrity_on_open(true);
    builder
}

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// A store in one file.
#[derive(Clone)]
pub struct EmbeddedStore {
    /// None after it failed to read or write: redb takes nothing more then, and what is on the disk has to be found out anew.
    database: Arc<Mutex<Option<Database>>>,
    opener: Arc<Opener>,
    /// Commits and loads follow one another. The turn goes with the work: a caller that leaves does not end it, and a load asked
    /// for after it must not miss what it does.
    turn: Arc<tokio::sync::Mutex<()>>,
    name: String,
}

impl EmbeddedStore {
    /// Opens the file, making it (and its directory) when there is none.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreFault> {
        let path = path.into();
        let name = path.display().to_string();
        reading(name.clone(), move || {
            let existed = path.try_exists().map_err(|error| StoreFault::Unreadable(error.to_string()))?;
            if !existed {
                make(&path)?;
            }
            make_private(&path);
            // `open` never makes or truncates: an empty or foreign file is an error here.
            Self::opened(name, Arc::new(move || builder().open(&path)))
        })
        .await
    }

    /// Opens a store that lies elsewhere than in a file, such as on a disk that loses power in a test. What is empty is made a
    /// store. `storage` is called again after a failure.
    pub async fn over<B: StorageBackend>(
        name: &str,
        storage: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreFault> {
        let name = name.to_owned();
        reading(name.clone(), move || {
            let first = storage();
            if matches!(first.len(), Ok(0)) {
                let database = builder().create_with_backend(first).map_err(unwritable)?;
                layout::found(&database)?;
                drop(database);
            }
            Self::opened(name, Arc::new(move || builder().create_with_backend(storage())))
        })
        .await
    }

    fn opened(name: String, opener: Arc<Opener>) -> Result<Self, StoreFault> {
        let store = Self { database: Arc::default(), opener, turn: Arc::default(), name };
        store.with(|_| Ok(()))?;
        Ok(store)
    }

    /// Looks at the database, which is opened again if it failed before. One that fails now is closed.
    fn with<R>(&self, look: impl FnOnce(&mut Database) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after a panic in it, it is not looked at again either.
        let mut database = match place.take() {
            Some(database) => database,
            None => {
                let database = (self.opener)().map_err(|error| StoreFault::Unreadable(error.to_string()))?;
                layout::check_format(&database)?;
                database
            }
        };
        let found = look(&mut database)?;
        *place = Some(database);
        Ok(found)
    }

    fn commit_now(&self, changes: &[StoreChange]) -> Result<Vec<Outcome>, StoreFault> {
        let mut in_doubt = None;
        let committed = self.with(|database| {
            layout::commit(database, changes).map_err(|failed| match failed {
                Failed::Before(fault) => fault,
                Failed::Within(why, revision) => {
                    in_doubt = Some(revision);
                    StoreFault::Unwritable(why)
                }
            })
        });
        match (committed, in_doubt) {
            // Written or not? The file tells, as after a loss of power.
            (Err(StoreFault::Unwritable(why)), Some(revision)) => {
                match self.with(|database| layout::revision(database)) {
                    Ok(reached) if reached < revision => Err(StoreFault::Unwritable(why)),
                    Ok(_) => Err(StoreFault::Away(format!("{why}; it may have been written all the same"))),
                    Err(fault) => Err(StoreFault::Away(format!("{why}; then: {fault}"))),
                }
            }
            (committed, _) => committed,
        }
    }
}

fn unwritable(cause: impl std::fmt::Display) -> StoreFault {
    StoreFault::Unwritable(cause.to_string())
}

/// Makes a store under another name and renames it when it is whole: a file that is half made when the process dies would be
/// refused ever after.
fn make(path: &Path) -> Result<(), StoreFault> {
    use std::os::unix::fs::OpenOptionsExt;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(unwritable)?;
    let half_made = half_made(path);
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&half_made);
    let file = file.map_err(unwritable)?;
    // redb takes the same lock, and has it until the file has its name.
    file.try_lock().map_err(|error| unwritable(format!("somebody else is making it: {error}")))?;
    if path.exists() {
        // Made by somebody else between two looks.
        return std::fs::remove_file(&half_made).map_err(unwritable);
    }
    // Whoever left something here did not live to tell anybody.
    file.set_len(0).map_err(unwritable)?;
    let backend = FileBackend::new(file).map_err(unwritable)?;
    let database = builder().create_with_backend(backend).map_err(unwritable)?;
    layout::found(&database)?;
    std::fs::rename(&half_made, path).map_err(unwritable)?;
    // A new file's name survives power loss only when its directory was synced.
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(unwritable)
}

fn half_made(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// There are Secrets in it. A file system that knows no permissions is no reason not to start.
fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

/// Does work off the actors' threads, and puts the store's name before what went wrong. `died` is what a panic of it means.
async fn blocking<T: Send + 'static>(
    name: String,
    died: fn(String) -> StoreFault,
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(died(format!("the store's worker died: {error}"))));
    done.map_err(|fault| match fault {
        StoreFault::Unreadable(why) => StoreFault::Unreadable(format!("{name}: {why}")),
        StoreFault::Unwritable(why) => StoreFault::Unwritable(format!("{name}: {why}")),
        StoreFault::Absent(why) => StoreFault::Absent(format!("{name}: {why}")),
        StoreFault::Away(why) => StoreFault::Away(format!("{name}: {why}")),
    })
}

async fn reading<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    blocking(name, StoreFault::Unreadable, work).await
}

#[async_trait]
impl DesiredStore for EmbeddedStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        reading(self.name.clone(), move || {
            let loaded = store.with(|database| layout::load(database));
            drop(turn);
            loaded
        })
        .await
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        blocking(self.name.clone(), StoreFault::Away, move || {
            let committed = store.commit_now(&changes);
            drop(turn);
            committed
        })
        .await
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        blocking(self.name.clone(), StoreFault::Away, move || {
            let compacted = store.with(|database| database.compact().map(drop).map_err(unwritable));
            drop(turn);
            compacted
        })
        .await
    }
}
