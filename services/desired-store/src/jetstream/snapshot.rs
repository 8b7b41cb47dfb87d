//! The local file: what was last known of the store, and what waits to be told to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreFault, StoreKey};
use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::file::{Format, META, StoreFile, decode, encode};

/// Bucket and key to revision and value.
pub(crate) const KNOWN: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("known");
/// Bucket to when its stream was made (nanoseconds) and the last sequence heard of.
const BUCKETS: TableDefinition<&str, (i64, u64)> = TableDefinition::new("buckets");
/// Bucket and key to the provisional revision, the revision it was based on, and the value.
pub(crate) const WAITING: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("waiting");
/// In META: the last provisional revision.
const PROVISIONAL_USED: &str = "provisional";

/// Which stream a bucket is, and how far it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When the stream was made, in nanoseconds since 1970.
    pub(crate) created: i64,
    /// Everything up to this sequence was heard.
    pub(crate) last: Revision,
}

/// What is known of a key without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its last change.
    pub(crate) revision: Revision,
    /// There is a value; else the last change deleted it.
    pub(crate) live: bool,
}

/// What waits for the store, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The revision that was handed out for it.
    pub(crate) provisional: Revision,
    /// The last change of the key that was known before; 0: none.
    pub(crate) based: Revision,
    /// It is a value; else a deletion.
    pub(crate) live: bool,
    /// The store had it and holds what was before it again: that goes out of the way before it is told.
    pub(crate) went_back: bool,
}

/// A change as it goes into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<M> {
    pub(crate) at: StoreKey,
    pub(crate) is: M,
    /// Empty where there is none.
    pub(crate) value: Bytes,
}

/// Everything but the values.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) marks: BTreeMap<String, Mark>,
    pub(crate) known: BTreeMap<StoreKey, Known>,
    pub(crate) waiting: BTreeMap<StoreKey, Waiting>,
    pub(crate) provisional: Revision,
}

/// Changes of the file that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) marks: Vec<(String, Mark)>,
    pub(crate) known: Vec<Entry<Known>>,
    /// Keys of which nothing is known any more.
    pub(crate) forgotten: Vec<StoreKey>,
    pub(crate) waiting: Vec<Entry<Waiting>>,
    /// What waits no longer.
    pub(crate) told: Vec<StoreKey>,
    /// The last provisional revision, where one was used.
    pub(crate) provisional: Option<Revision>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
            && self.marks.is_empty()
            && self.forgotten.is_empty()
            && self.waiting.is_empty()
            && self.told.is_empty()
            && self.provisional.is_none()
    }
}

/// All values there are: those known, and those that wait.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) known: BTreeMap<StoreKey, (Known, Bytes)>,
    pub(crate) waiting: BTreeMap<StoreKey, (Waiting, Bytes)>,
}

/// The file.
pub(crate) struct Snapshot {
    file: StoreFile,
}

impl Snapshot {
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreFault> {
        let file = StoreFile::open(path, Format::Snapshot, |write| {
            write.open_table(META)?.insert(PROVISIONAL_USED, 0)?;
            write.open_table(KNOWN)?;
            write.open_table(BUCKETS)?;
            write.open_table(WAITING)?;
            Ok(())
        })?;
        Ok(Self { file })
    }

    pub(crate) fn compact(&self) -> Result<(), StoreFault> {
        self.file.compact()
    }

    /// Everything but the values.
    pub(crate) fn index(&self) -> Result<Index, StoreFault> {
        let values = self.values()?;
        let (marks, provisional) = self.file.with(|database| {
            let read = || -> Result<(BTreeMap<String, Mark>, Revision), redb::Error> {
                let read = database.begin_read()?;
                let mut marks = BTreeMap::new();
                for entry in read.open_table(BUCKETS)?.iter()? {
                    let (bucket, mark) = entry?;
                    let (created, last) = mark.value();
                    marks.insert(bucket.value().to_owned(), Mark { created, last });
                }
                let provisional = read.open_table(META)?.get(PROVISIONAL_USED)?.map_or(0, |used| used.value());
                Ok((marks, provisional))
            };
            read().map_err(|error| self.file.unreadable(error))
        })?;
        let known = values.known.into_iter().map(|(at, (known, _))| (at, known)).collect();
        let waiting = values.waiting.into_iter().map(|(at, (waiting, _))| (at, waiting)).collect();
        Ok(Index { marks, known, waiting, provisional })
    }

    /// All values.
    pub(crate) fn values(&self) -> Result<Values, StoreFault> {
        let rows = self.file.with(|database| {
            let read = || -> Result<[Vec<(StoreKey, Bytes)>; 2], redb::Error> {
                let read = database.begin_read()?;
                let rows = |table: TableDefinition<(&str, &str), &[u8]>| {
                    let mut rows = Vec::new();
                    for entry in read.open_table(table)?.iter()? {
                        let (key, value) = entry?;
                        let (bucket, key) = key.value();
                        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
                        rows.push((at, Bytes::copy_from_slice(value.value())));
                    }
                    Ok::<_, redb::Error>(rows)
                };
                Ok([rows(KNOWN)?, rows(WAITING)?])
            };
            read().map_err(|error| self.file.unreadable(error))
        })?;
        let damaged = |at: &StoreKey| self.file.unreadable(format!("{}/{} is damaged", at.bucket, at.key));
        let mut values = Values::default();
        let [known, waiting] = rows;
        for (at, stored) in known {
            let found = read_known(&stored).ok_or_else(|| damaged(&at))?;
            values.known.insert(at, found);
        }
        for (at, stored) in waiting {
            let found = read_waiting(&stored).ok_or_else(|| damaged(&at))?;
            values.waiting.insert(at, found);
        }
        Ok(values)
    }

    /// Applies changes; they survive power loss when it returns.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), StoreFault> {
        if batch.is_empty() {
            return Ok(());
        }
        self.file.with(|database| {
            let write = || -> Result<(), redb::Error> {
                let mut write = database.begin_write()?;
                write.set_durability(Durability::Immediate)?;
                {
                    let mut marks = write.open_table(BUCKETS)?;
                    for (bucket, mark) in &batch.marks {
                        marks.insert(bucket.as_str(), (mark.created, mark.last))?;
                    }
                    let mut known = write.open_table(KNOWN)?;
                    for entry in &batch.known {
                        let stored = encode(entry.is.revision, &flagged(u8::from(entry.is.live), &entry.value));
                        known.insert(pair(&entry.at), stored.as_slice())?;
                    }
                    for at in &batch.forgotten {
                        known.remove(pair(at))?;
                    }
                    let mut waiting = write.open_table(WAITING)?;
                    for at in &batch.told {
                        waiting.remove(pair(at))?;
                    }
                    for entry in &batch.waiting {
                        let flags = u8::from(entry.is.live) | (u8::from(entry.is.went_back) << 1);
                        let inner = encode(entry.is.based, &flagged(flags, &entry.value));
                        waiting.insert(pair(&entry.at), encode(entry.is.provisional, &inner).as_slice())?;
                    }
                    if let Some(used) = batch.provisional {
                        write.open_table(META)?.insert(PROVISIONAL_USED, used)?;
                    }
                }
                write.commit()?;
                Ok(())
            };
            write().map_err(|error| self.file.unwritable(error))
        })
    }
}

fn pair(at: &StoreKey) -> (&str, &str) {
    (at.bucket.as_str(), at.key.as_str())
}

fn flagged(flags: u8, value: &[u8]) -> Vec<u8> {
    let mut flagged = Vec::with_capacity(1 + value.len());
    flagged.push(flags);
    flagged.extend_from_slice(value);
    flagged
}

fn unflagged(stored: &Bytes, rest: &[u8]) -> Option<(u8, Bytes)> {
    let (flags, value) = rest.split_first()?;
    Some((*flags, stored.slice_ref(value)))
}

pub(crate) fn read_known(stored: &Bytes) -> Option<(Known, Bytes)> {
    let (revision, rest) = decode(stored)?;
    let (flags, value) = unflagged(stored, rest)?;
    Some((Known { revision, live: flags & 1 == 1 }, value))
}

pub(crate) fn read_waiting(stored: &Bytes) -> Option<(Waiting, Bytes)> {
    let (provisional, rest) = decode(stored)?;
    let (based, rest) = decode(rest)?;
    let (flags, value) = unflagged(stored, rest)?;
    Some((Waiting { provisional, based, live: flags & 1 == 1, went_back: flags & 2 == 2 }, value))
}
