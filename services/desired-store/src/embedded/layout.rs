//! What stands in the file, and how it is read and changed.

use std::fmt::Display;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    Conflict, Expected, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreKey, StoredValue,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// Bucket and key to revision (8 bytes, big endian) and value.
const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("values");
/// `format` and `revision`.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Version of the layout above.
const FORMAT: u64 = 1;

/// How a commit failed.
pub enum Failed {
    /// Before anything was written.
    Before(StoreFault),
    /// While it was written, so that the store is at this revision or where it was.
    Within(String, Revision),
}

impl From<StoreFault> for Failed {
    fn from(fault: StoreFault) -> Self {
        Self::Before(fault)
    }
}

fn unreadable(cause: impl Display) -> StoreFault {
    StoreFault::Unreadable(cause.to_string())
}

fn unwritable(cause: impl Display) -> StoreFault {
    StoreFault::Unwritable(cause.to_string())
}

/// Makes a new file a store without contents.
pub fn found(database: &Database) -> Result<(), StoreFault> {
    let write = database.begin_write().map_err(unwritable)?;
    {
        let mut meta = write.open_table(META).map_err(unwritable)?;
        meta.insert("format", FORMAT).map_err(unwritable)?;
        meta.insert("revision", 0).map_err(unwritable)?;
        write.open_table(VALUES).map_err(unwritable)?;
    }
    write.commit().map_err(unwritable)
}

/// Refuses what is not a store of ours.
pub fn check_format(database: &Database) -> Result<(), StoreFault> {
    let read = database.begin_read().map_err(unreadable)?;
    let meta = read.open_table(META).map_err(unreadable)?;
    match meta.get("format").map_err(unreadable)?.map(|format| format.value()) {
        Some(FORMAT) => Ok(()),
        Some(other) => Err(unreadable(format!("it has format {other}, this program knows {FORMAT}"))),
        None => Err(unreadable("it is not a store of mkube")),
    }
}

fn revision_in(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, StoreFault> {
    let revision = meta.get("revision").map_err(unreadable)?;
    Ok(revision.ok_or_else(|| unreadable("the revision is missing"))?.value())
}

/// Everything.
pub fn load(database: &Database) -> Result<StoreContents, StoreFault> {
    let read = database.begin_read().map_err(unreadable)?;
    let meta = read.open_table(META).map_err(unreadable)?;
    let revision = revision_in(&meta)?;
    let table = read.open_table(VALUES).map_err(unreadable)?;
    let mut values = Vec::new();
    for entry in table.iter().map_err(unreadable)? {
        let (at, stored) = entry.map_err(unreadable)?;
        let ((bucket, key), stored) = (at.value(), stored.value());
        let (revision, value) = decode(stored).ok_or_else(|| unreadable(format!("{bucket}/{key} is damaged")))?;
        values.push(StoredValue {
            at: StoreKey { bucket: bucket.to_owned(), key: key.to_owned() },
            revision,
            value: Bytes::copy_from_slice(value),
        });
    }
    Ok(StoreContents { values, revision, ..StoreContents::default() })
}

/// The highest revision handed out.
pub fn revision(database: &Database) -> Result<Revision, StoreFault> {
    let read = database.begin_read().map_err(unreadable)?;
    revision_in(&read.open_table(META).map_err(unreadable)?)
}

/// Applies what fits and syncs it.
pub fn commit(database: &Database, changes: &[StoreChange]) -> Result<Vec<Outcome>, Failed> {
    let mut write = database.begin_write().map_err(unwritable)?;
    write.set_durability(Durability::Immediate).map_err(unwritable)?;
    let mut outcomes = Vec::with_capacity(changes.len());
    let reached = {
        let mut meta = write.open_table(META).map_err(unwritable)?;
        let mut table = write.open_table(VALUES).map_err(unwritable)?;
        let mut revision = revision_in(&meta)?;
        for change in changes {
            let at = (change.at.bucket.as_str(), change.at.key.as_str());
            let held =
                match table.get(at).map_err(unreadable)?.map(|stored| decode(stored.value()).map(|(held, _)| held)) {
                    Some(None) => return Err(unreadable(format!("{}/{} is damaged", at.0, at.1)).into()),
                    Some(held) => held,
                    None => None,
                };
            let fits = match change.expected {
                Expected::Any => true,
                Expected::Absent => held.is_none(),
                Expected::At(expected) => held == Some(expected),
            };
            if !fits {
                outcomes.push(Err(Conflict { at: change.at.clone(), expected: change.expected, found: held }));
                continue;
            }
            revision += 1;
            match &change.value {
                Some(value) => {
                    table.insert(at, encode(revision, value).as_slice()).map_err(unwritable)?;
                }
                None => {
                    table.remove(at).map_err(unwritable)?;
                }
            }
            outcomes.push(Ok(revision));
        }
        meta.insert("revision", revision).map_err(unwritable)?;
        revision
    };
    write.commit().map_err(|error| Failed::Within(error.to_string(), reached))?;
    Ok(outcomes)
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
