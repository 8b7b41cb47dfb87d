//! One redb file, and which kind of store it belongs to.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use mkube_model::neighbours::desired_store::{Revision, StoreFault};
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};

/// `format`, and numbers of the store itself.
pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Memory redb may use to keep pages; everything is read once at start, so more would only lie idle.
const CACHE_BYTES: usize = 1 << 20;

/// What a file is, and the version of its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Format {
    /// All there is: a store in this file.
    Embedded = 1,
    /// What is known of a store in NATS.
    Snapshot = 2,
}

impl Format {
    /// What to say of a file that has another format than the one wanted.
    fn mismatch(self, found: u64) -> String {
        match (self, found) {
            (Self::Snapshot, 1) => {
                "it is an embedded store, the objects in it would be lost; store.kind: embedded opens it".to_owned()
            }
            (Self::Embedded, 2) => {
                "it holds what was last known of a store in NATS and is no store by itself; store.kind: nats opens it"
                    .to_owned()
            }
            (wanted, other) => format!("it has format {other}, this program knows {}", wanted as u64),
        }
    }
}

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

/// An open file; nobody else has it open.
pub(crate) struct StoreFile {
    database: RwLock<Database>,
    path: PathBuf,
}

impl StoreFile {
    /// Opens the file, making it (and its directory) when there is none. `make` fills a new one.
    pub(crate) fn open(
        path: PathBuf,
        format: Format,
        make: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, StoreFault> {
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
        let file = Self { database: RwLock::new(database), path: path.clone() };
        if existed {
            file.check(format)?;
        } else {
            file.fill(format, make).map_err(|error| file.unwritable(error))?;
        }
        make_private(&path);
        Ok(file)
    }

    pub(crate) fn unreadable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unreadable(format!("{}: {cause}", self.path.display()))
    }

    pub(crate) fn unwritable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unwritable(format!("{}: {cause}", self.path.display()))
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&Database) -> R) -> R {
        look(&self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives unused space back.
    pub(crate) fn compact(&self) -> Result<(), StoreFault> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        database.compact().map(drop).map_err(|error| self.unwritable(error))
    }

    fn check(&self, format: Format) -> Result<(), StoreFault> {
        let found = self.with(|database| {
            let read = database.begin_read().map_err(|error| self.unreadable(error))?;
            let meta = read.open_table(META).map_err(|error| self.unreadable(error))?;
            let found = meta.get("format").map_err(|error| self.unreadable(error))?;
            Ok::<_, StoreFault>(found.map(|found| found.value()))
        })?;
        match found {
            Some(found) if found == format as u64 => Ok(()),
            Some(other) => Err(self.unreadable(format.mismatch(other))),
            None => Err(self.unreadable("it is not a store of mkube")),
        }
    }

    fn fill(
        &self,
        format: Format,
        make: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        self.with(|database| {
            let write = database.begin_write()?;
            write.open_table(META)?.insert("format", format as u64)?;
            make(&write)?;
            write.commit()?;
            Ok(())
        })
    }
}

/// A revision in front of a value.
pub(crate) fn encode(revision: Revision, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(8 + value.len());
    stored.extend_from_slice(&revision.to_be_bytes());
    stored.extend_from_slice(value);
    stored
}

/// A revision and what follows it.
pub(crate) fn decode(stored: &[u8]) -> Option<(Revision, &[u8])> {
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

/// Does work that waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreFault::Away(format!("the store's worker died: {error}"))))
}
