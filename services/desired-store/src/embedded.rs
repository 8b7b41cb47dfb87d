//! The embedded store: one redb file.
//!
//! A commit returns after the file was synced. The file is opened exclusively; one that cannot be read is refused and left as
//! it is, since starting empty would mean to forget every pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    Conflict, DesiredStore, Expected, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// Bucket and key to revision (8 bytes, big endian) and value.
const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("values");
/// `format` and `revision`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Version of the layout above.
const FORMAT: u64 = 1;

/// Memory redb may use to keep pages; everything is read once at start, so more would only lie idle.
const CACHE_BYTES: usize = 1 << 20;

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// There are Secrets in it. A file system that knows no permissions is no reason not to start.
fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

/// A store in one file.
#[derive(Clone)]
pub struct EmbeddedStore {
    database: Arc<std::sync::RwLock<Database>>,
    /// Commits and loads follow one another. The turn goes with the work: a caller that leaves does not end it, and a load asked
    /// for after it must not miss what it does.
    turn: Arc<tokio::sync::Mutex<()>>,
    path: PathBuf,
}

impl EmbeddedStore {
    /// Opens the file, making it (and its directory) when there is none.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreFault> {
        let path = path.into();
        blocking(move || Self::open_now(path)).await
    }

    fn open_now(path: PathBuf) -> Result<Self, StoreFault> {
        let unreadable = |cause: &dyn std::fmt::Display| StoreFault::Unreadable(format!("{}: {cause}", path.display()));
        let existed = path.try_exists().map_err(|error| unreadable(&error))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)
                .map_err(|error| StoreFault::Unwritable(format!("{}: {error}", parent.display())))?;
        }
        let database = if existed {
            // `open` never makes or truncates: an empty or foreign file is an error here.
            builder().open(&path).map_err(|error| unreadable(&error))?
        } else {
            let database = builder()
                .create(&path)
                .map_err(|error| StoreFault::Unwritable(format!("{}: {error}", path.display())))?;
            sync_directory(&path)?;
            database
        };
        let database = Arc::new(std::sync::RwLock::new(database));
        let store = Self { database, turn: Arc::default(), path: path.clone() };
        if existed {
            store.check_format()?;
        } else {
            store.write_format()?;
        }
        make_private(&path);
        Ok(store)
    }

    fn unreadable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unreadable(format!("{}: {cause}", self.path.display()))
    }

    fn unwritable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unwritable(format!("{}: {cause}", self.path.display()))
    }

    fn with<R>(&self, look: impl FnOnce(&Database) -> R) -> R {
        look(&self.database.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn check_format(&self) -> Result<(), StoreFault> {
        let format = self.with(|database| {
            let read = database.begin_read().map_err(|error| self.unreadable(error))?;
            let meta = read.open_table(META).map_err(|error| self.unreadable(error))?;
            let format = meta.get("format").map_err(|error| self.unreadable(error))?;
            Ok::<_, StoreFault>(format.map(|format| format.value()))
        })?;
        match format {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(self.unreadable(format!("it has format {other}, this program knows {FORMAT}"))),
            None => Err(self.unreadable("it is not a store of mkube")),
        }
    }

    fn write_format(&self) -> Result<(), StoreFault> {
        self.with(|database| {
            let write = database.begin_write().map_err(|error| self.unwritable(error))?;
            {
                let mut meta = write.open_table(META).map_err(|error| self.unwritable(error))?;
                meta.insert("format", FORMAT).map_err(|error| self.unwritable(error))?;
                meta.insert("revision", 0).map_err(|error| self.unwritable(error))?;
                write.open_table(VALUES).map_err(|error| self.unwritable(error))?;
            }
            write.commit().map_err(|error| self.unwritable(error))
        })
    }

    fn load_now(&self) -> Result<StoreContents, StoreFault> {
        self.with(|database| {
            let read = database.begin_read().map_err(|error| self.unreadable(error))?;
            let meta = read.open_table(META).map_err(|error| self.unreadable(error))?;
            let revision = meta
                .get("revision")
                .map_err(|error| self.unreadable(error))?
                .ok_or_else(|| self.unreadable("the revision is missing"))?
                .value();
            let table = read.open_table(VALUES).map_err(|error| self.unreadable(error))?;
            let mut values = Vec::new();
            for entry in table.iter().map_err(|error| self.unreadable(error))? {
                let (key, value) = entry.map_err(|error| self.unreadable(error))?;
                let (bucket, key) = key.value();
                let (revision, value) =
                    decode(value.value()).ok_or_else(|| self.unreadable(format!("{bucket}/{key} is damaged")))?;
                values.push(StoredValue {
                    at: StoreKey { bucket: bucket.to_owned(), key: key.to_owned() },
                    revision,
                    value: Bytes::copy_from_slice(value),
                });
            }
            Ok(StoreContents { values, revision, ..StoreContents::default() })
        })
    }

    fn commit_now(&self, changes: &[StoreChange]) -> Result<Vec<Outcome>, StoreFault> {
        self.with(|database| {
            let mut write = database.begin_write().map_err(|error| self.unwritable(error))?;
            write.set_durability(Durability::Immediate).map_err(|error| self.unwritable(error))?;
            let mut outcomes = Vec::with_capacity(changes.len());
            {
                let mut meta = write.open_table(META).map_err(|error| self.unwritable(error))?;
                let mut table = write.open_table(VALUES).map_err(|error| self.unwritable(error))?;
                let mut revision = meta
                    .get("revision")
                    .map_err(|error| self.unreadable(error))?
                    .ok_or_else(|| self.unreadable("the revision is missing"))?
                    .value();
                for change in changes {
                    let at = (change.at.bucket.as_str(), change.at.key.as_str());
                    let found = table
                        .get(at)
                        .map_err(|error| self.unreadable(error))?
                        .and_then(|value| decode(value.value()).map(|(revision, _)| revision));
                    let fits = match change.expected {
                        Expected::Any => true,
                        Expected::Absent => found.is_none(),
                        Expected::At(expected) => found == Some(expected),
                    };
                    if !fits {
                        outcomes.push(Err(Conflict { at: change.at.clone(), expected: change.expected, found }));
                        continue;
                    }
                    revision += 1;
                    match &change.value {
                        Some(value) => {
                            let stored = encode(revision, value);
                            table.insert(at, stored.as_slice()).map_err(|error| self.unwritable(error))?;
                        }
                        None => {
                            table.remove(at).map_err(|error| self.unwritable(error))?;
                        }
                    }
                    outcomes.push(Ok(revision));
                }
                meta.insert("revision", revision).map_err(|error| self.unwritable(error))?;
            }
            write.commit().map_err(|error| self.unwritable(error))?;
            Ok(outcomes)
        })
    }
}

fn encode(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(8 + value.len());
    stored.extend_from_slice(&revision.to_be_bytes());
    stored.extend_from_slice(value);
    stored
}

fn decode(stored: &[u8]) -> Option<(Revision, &[u8])> {
    let (revision, value) = stored.split_first_chunk::<8>()?;
    Some((Revision::from_be_bytes(*revision), value))
}

/// A new file's name survives power loss only when its directory was synced.
fn sync_directory(path: &Path) -> Result<(), StoreFault> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreFault::Unwritable(format!("{}: {error}", parent.display())))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreFault::Away(format!("the store's worker died: {error}"))))
}

#[async_trait]
impl DesiredStore for EmbeddedStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        blocking(move || {
            let loaded = store.load_now();
            drop(turn);
            loaded
        })
        .await
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        blocking(move || {
            let committed = store.commit_now(&changes);
            drop(turn);
            committed
        })
        .await
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        let store = self.clone();
        blocking(move || {
            let mut database = store.database.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            database.compact().map(drop).map_err(|error| store.unwritable(error))
        })
        .await
    }
}
