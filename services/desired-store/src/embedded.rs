//! The embedded store: one redb file and its journal.
//!
//! A commit returns after the journal was synced. The file is opened exclusively; one that cannot be read is refused, since
//! starting empty would mean to forget every pod.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use mkube_model::neighbours::desired_store::{
    Conflict, DesiredStore, Expected, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use redb::StorageBackend;

use crate::file::{Format, StoreFile, View, blocking, reading};
use crate::rows::{Row, Table, decode, encode};

/// In the numbers: that of the last change.
const REVISION: &str = "revision";

/// That of a store in which nothing was ever written: whoever lists what is empty continues from it, and none would mean any.
const FIRST: Revision = 1;

/// What a new store has.
const TABLES: [Table; 2] = [Table::Numbers, Table::Values];

fn first() -> [Row; 1] {
    [Row::number(REVISION, FIRST)]
}

fn revision_in(held: &View<'_>) -> Result<Revision, StoreFault> {
    Ok(held.number(REVISION)?.ok_or_else(|| held.missing(REVISION))?.max(FIRST))
}

/// Everything a file holds.
pub(crate) fn contents(held: &View<'_>) -> Result<StoreContents, StoreFault> {
    let mut values = Vec::new();
    for (at, stored) in held.rows(Table::Values)? {
        let (revision, value) = decode(&stored).ok_or_else(|| held.damaged(&at))?;
        let value = stored.slice_ref(value);
        values.push(StoredValue { at, revision, value });
    }
    Ok(StoreContents { values, revision: revision_in(held)?, ..StoreContents::default() })
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
        let file = reading(move || StoreFile::open(path, Format::Embedded, &TABLES, &first()));
        Ok(Self { file: Arc::new(file.await?), turn: Arc::default() })
    }

    /// Opens a store that lies elsewhere than in a file, such as on a disk that loses power in a test, and its journal, which
    /// is so long. What is empty is made a store. Both are called again after a failure.
    pub async fn over<B: StorageBackend>(
        name: &str,
        storage: impl Fn() -> B + Send + Sync + 'static,
        journal: (impl Fn() -> B + Send + Sync + 'static, usize),
    ) -> Result<Self, StoreFault> {
        let name = name.to_owned();
        let file = reading(move || StoreFile::over(&name, storage, journal, Format::Embedded, (&TABLES, &first())));
        Ok(Self { file: Arc::new(file.await?), turn: Arc::default() })
    }

    fn load_now(&self) -> Result<StoreContents, StoreFault> {
        self.file.look(contents)
    }

    fn commit_now(&self, changes: &[StoreChange]) -> Result<Vec<Outcome>, StoreFault> {
        let (outcomes, rows, revision) = self.file.look(|held| {
            let mut revision = revision_in(held)?;
            let mut now: BTreeMap<&StoreKey, Option<Revision>> = BTreeMap::new();
            let (mut outcomes, mut rows) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len() + 1));
            for change in changes {
                let found = match now.get(&change.at) {
                    Some(found) => *found,
                    None => match held.row(Table::Values, &change.at)? {
                        Some(stored) => Some(decode(&stored).ok_or_else(|| held.damaged(&change.at))?.0),
                        None => None,
                    },
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
                now.insert(&change.at, change.value.as_ref().map(|_| revision));
                let value = change.value.as_ref().map(|value| encode(revision, value).into());
                rows.push(Row { table: Table::Values, at: change.at.clone(), value });
                outcomes.push(Ok(revision));
            }
            rows.push(Row::number(REVISION, revision));
            Ok((outcomes, rows, revision))
        })?;
        if outcomes.iter().all(Result::is_err) {
            return Ok(outcomes);
        }
        match self.file.commit(rows) {
            Ok(()) => Ok(outcomes),
            Err(StoreFault::Unwritable(why)) => Err(self.whether_written(why, revision)),
            Err(other) => Err(other),
        }
    }

    /// A commit that would have led to this revision failed while it was written. Is it there? The file tells, as after a loss of
    /// power.
    fn whether_written(&self, why: String, revision: Revision) -> StoreFault {
        match self.file.look(revision_in) {
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
