//! The embedded store: one redb file.
//!
//! A commit returns after the file was synced. The file is opened exclusively; one that cannot be read is refused, since
//! starting empty would mean to forget every pod.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    Conflict, DesiredStore, Expected, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use redb::{Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction};

use crate::file::{Format, META, StoreFile, blocking, decode, encode, reading};

/// Bucket and key to revision (8 bytes, big endian) and value.
pub(crate) const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("values");

/// That of a store in which nothing was ever written: whoever lists what is empty continues from it, and none would mean any.
const FIRST: Revision = 1;

/// What a new store holds.
fn empty(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(META)?.insert("revision", FIRST)?;
    write.open_table(VALUES)?;
    Ok(())
}

/// A store in one file.
#[derive(Clone)]
pub struct EmbeddedStore {
    file: Arc<StoreFile>,
    /// Commits and loads follow one another. The turn goes with the work: a caller that leaves does not end it, and a load asked
    /// for after it must not miss what it does.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl EmbeddedStore {
    /// Opens the file, making it (and its directory) when there is none.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreFault> {
        let path = path.into();
        let file = reading(move || StoreFile::open(path, Format::Embedded, empty));
        Ok(Self { file: Arc::new(file.await?), turn: Arc::default() })
    }

    /// Opens a store that lies elsewhere than in a file, such as on a disk that loses power in a test. What is empty is made a
    /// store. `storage` is called again after a failure.
    pub async fn over<B: StorageBackend>(
        name: &str,
        storage: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, StoreFault> {
        let name = name.to_owned();
        let file = reading(move || StoreFile::over(&name, storage, Format::Embedded, empty));
        Ok(Self { file: Arc::new(file.await?), turn: Arc::default() })
    }

    fn load_now(&self) -> Result<StoreContents, StoreFault> {
        self.file.with(|database| {
            let read = database.begin_read().map_err(|error| self.file.unreadable(error))?;
            let meta = read.open_table(META).map_err(|error| self.file.unreadable(error))?;
            let revision = self.revision_in(&meta)?;
            let table = read.open_table(VALUES).map_err(|error| self.file.unreadable(error))?;
            let mut values = Vec::new();
            for entry in table.iter().map_err(|error| self.file.unreadable(error))? {
                let (key, value) = entry.map_err(|error| self.file.unreadable(error))?;
                let (bucket, key) = key.value();
                let (revision, value) =
                    decode(value.value()).ok_or_else(|| self.file.unreadable(format!("{bucket}/{key} is damaged")))?;
                values.push(StoredValue {
                    at: StoreKey { bucket: bucket.to_owned(), key: key.to_owned() },
                    revision,
                    value: Bytes::copy_from_slice(value),
                });
            }
            Ok(StoreContents { values, revision, ..StoreContents::default() })
        })
    }

    fn revision_in(&self, meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, StoreFault> {
        let revision = meta.get("revision").map_err(|error| self.file.unreadable(error))?;
        let revision = revision.ok_or_else(|| self.file.unreadable("the revision is missing"))?.value();
        Ok(revision.max(FIRST))
    }

    fn commit_now(&self, changes: &[StoreChange]) -> Result<Vec<Outcome>, StoreFault> {
        let mut under_way = None;
        let committed = self.file.with(|database| {
            let mut write = database.begin_write().map_err(|error| self.file.unwritable(error))?;
            write.set_durability(Durability::Immediate).map_err(|error| self.file.unwritable(error))?;
            let mut outcomes = Vec::with_capacity(changes.len());
            {
                let mut meta = write.open_table(META).map_err(|error| self.file.unwritable(error))?;
                let mut table = write.open_table(VALUES).map_err(|error| self.file.unwritable(error))?;
                let mut revision = self.revision_in(&meta)?;
                for change in changes {
                    let at = (change.at.bucket.as_str(), change.at.key.as_str());
                    let held = table.get(at).map_err(|error| self.file.unreadable(error))?;
                    let found = match held.map(|stored| decode(stored.value()).map(|(revision, _)| revision)) {
                        Some(None) => return Err(self.file.unreadable(format!("{}/{} is damaged", at.0, at.1))),
                        Some(found) => found,
                        None => None,
                    };
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
                            table.insert(at, stored.as_slice()).map_err(|error| self.file.unwritable(error))?;
                        }
                        None => {
                            table.remove(at).map_err(|error| self.file.unwritable(error))?;
                        }
                    }
                    outcomes.push(Ok(revision));
                }
                meta.insert("revision", revision).map_err(|error| self.file.unwritable(error))?;
                under_way = Some(revision);
            }
            write.commit().map_err(|error| self.file.unwritable(error))?;
            Ok(outcomes)
        });
        match (committed, under_way) {
            (Err(StoreFault::Unwritable(why)), Some(revision)) => Err(self.whether_written(why, revision)),
            (committed, _) => committed,
        }
    }

    /// A commit that would have led to this revision failed while it was written. Is it there? The file tells, as after a loss of
    /// power.
    fn whether_written(&self, why: String, revision: Revision) -> StoreFault {
        let reached = self.file.with(|database| {
            let read = database.begin_read().map_err(|error| self.file.unreadable(error))?;
            self.revision_in(&read.open_table(META).map_err(|error| self.file.unreadable(error))?)
        });
        match reached {
            Ok(reached) if reached < revision => StoreFault::Unwritable(why),
            Ok(_) => StoreFault::Away(format!("{why}; it may have been written all the same")),
            Err(fault) => StoreFault::Away(format!("{why}; then: {fault}")),
        }
    }
}

#[async_trait]
impl DesiredStore for EmbeddedStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        let (store, turn) = (self.clone(), self.turn.clone().lock_owned().await);
        reading(move || {
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
        let (file, turn) = (self.file.clone(), self.turn.clone().lock_owned().await);
        blocking(move || {
            let compacted = file.compact();
            drop(turn);
            compacted
        })
        .await
    }
}
