//! One redb file, and which kind of store it belongs to.
//!
//! It is read through when it is opened, gets its name when it is whole, and is opened anew after it failed.

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mkube_model::neighbours::desired_store::{Revision, StoreFault};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction};

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
    // Else it believes a file that was closed in good order, whatever became of its bytes since.
    builder.set_check_integrity_on_open(true);
    builder
}

/// There are Secrets in it. A file system that knows no permissions is no reason not to start.
fn make_private(path: &Path) {
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// An open file; nobody else has it open.
pub(crate) struct StoreFile {
    /// None after it failed to read or write: redb takes nothing more then, and what is on the disk has to be found out anew.
    database: Mutex<Option<Database>>,
    opener: Box<Opener>,
    format: Format,
    name: String,
}

impl StoreFile {
    /// Opens the file, making it (and its directory) when there is none. `fill` fills a new one.
    pub(crate) fn open(
        path: PathBuf,
        format: Format,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, StoreFault> {
        let name = path.display().to_string();
        let existed = path.try_exists().map_err(|error| StoreFault::Unreadable(format!("{name}: {error}")))?;
        if !existed {
            make(&path, format, fill).map_err(|why| StoreFault::Unwritable(format!("{name}: {why}")))?;
        }
        make_private(&path);
        // `open` never makes or truncates: an empty or foreign file is an error here.
        Self::opened(name, format, Box::new(move || builder().open(&path)))
    }

    /// Opens what lies elsewhere than in a file. What is empty is made a store.
    pub(crate) fn over<B: StorageBackend>(
        name: &str,
        storage: impl Fn() -> B + Send + Sync + 'static,
        format: Format,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, StoreFault> {
        let first = storage();
        if matches!(first.len(), Ok(0)) {
            let made = builder().create_with_backend(first).map_err(redb::Error::from);
            let filled = made.and_then(|database| found(&database, format, fill));
            filled.map_err(|error| StoreFault::Unwritable(format!("{name}: {error}")))?;
        }
        Self::opened(name.to_owned(), format, Box::new(move || builder().create_with_backend(storage())))
    }

    fn opened(name: String, format: Format, opener: Box<Opener>) -> Result<Self, StoreFault> {
        let file = Self { database: Mutex::default(), opener, format, name };
        file.with(|_| Ok(()))?;
        Ok(file)
    }

    pub(crate) fn unreadable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unreadable(format!("{}: {cause}", self.name))
    }

    pub(crate) fn unwritable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unwritable(format!("{}: {cause}", self.name))
    }

    /// Looks at the database, which is opened again if it failed before. One that fails now is closed.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Database) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        self.with_mut(|database| look(database))
    }

    fn with_mut<R>(&self, look: impl FnOnce(&mut Database) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after a panic in it, it is not looked at again either.
        let mut database = match place.take() {
            Some(database) => database,
            None => {
                let database = (self.opener)().map_err(|error| self.unreadable(error))?;
                self.check(&database)?;
                database
            }
        };
        let found = look(&mut database)?;
        *place = Some(database);
        Ok(found)
    }

    /// Gives unused space back.
    pub(crate) fn compact(&self) -> Result<(), StoreFault> {
        self.with_mut(|database| database.compact().map(drop).map_err(|error| self.unwritable(error)))
    }

    fn check(&self, database: &Database) -> Result<(), StoreFault> {
        let read = database.begin_read().map_err(|error| self.unreadable(error))?;
        let meta = read.open_table(META).map_err(|error| self.unreadable(error))?;
        match meta.get("format").map_err(|error| self.unreadable(error))?.map(|found| found.value()) {
            Some(found) if found == self.format as u64 => Ok(()),
            Some(other) => Err(self.unreadable(self.format.mismatch(other))),
            None => Err(self.unreadable("it is not a store of mkube")),
        }
    }
}

fn found(
    database: &Database,
    format: Format,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(META)?.insert("format", format as u64)?;
    fill(&write)?;
    write.commit()?;
    Ok(())
}

/// Makes a store under another name and renames it when it is whole: a file that is half made when the process dies would be
/// refused ever after.
fn make(
    path: &Path,
    format: Format,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let mut half_made = path.as_os_str().to_owned();
    half_made.push(".new");
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&half_made);
    let file = file.map_err(|error| said(&error))?;
    // redb takes the same lock, and has it until the file has its name.
    file.try_lock().map_err(|error| format!("somebody else is making it: {error}"))?;
    if path.exists() {
        // Made by somebody else between two looks.
        return std::fs::remove_file(&half_made).map_err(|error| said(&error));
    }
    // Whoever left something here did not live to tell anybody.
    file.set_len(0).map_err(|error| said(&error))?;
    let backend = FileBackend::new(file).map_err(|error| said(&error))?;
    let database = builder().create_with_backend(backend).map_err(|error| said(&error))?;
    found(&database, format, fill).map_err(|error| said(&error))?;
    std::fs::rename(&half_made, path).map_err(|error| said(&error))?;
    // A new file's name survives power loss only when its directory was synced.
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|error| said(&error))
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

/// Does work that waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreFault::Away(format!("the store's worker died: {error}"))))
}

/// The same for work that only reads: what it dies of is in the file.
pub(crate) async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreFault::Unreadable(format!("the store's worker died: {error}"))))
}
