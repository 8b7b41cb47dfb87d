//! Reads what a store holds without changing anything of it: not a byte of a file, no bucket of NATS.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{StoreContents, StoreFault, StoreKey, StoredValue};
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
};

use crate::embedded::VALUES;
use crate::file::{Format, META, blocking, decode};
use crate::jetstream::{KNOWN, WAITING, read_known, read_waiting};

/// What a file was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// It is the store.
    Embedded,
    /// It is what was last known of a store in NATS, and what waits to be told to it.
    Snapshot,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub struct FileContents {
    /// What it was made for.
    pub kind: FileKind,
    /// Everything in it; what waits to be told to NATS counts as if it had been told.
    pub contents: StoreContents,
}

/// Reads a file that nobody has open, be it one that was closed or one whose program was killed.
pub async fn read_file(path: impl Into<PathBuf>) -> Result<FileContents, StoreFault> {
    let path = path.into();
    blocking(move || read_now(&path)).await
}

fn read_now(path: &Path) -> Result<FileContents, StoreFault> {
    let unreadable = |cause: &dyn std::fmt::Display| StoreFault::Unreadable(format!("{}: {cause}", path.display()));
    // Held while it is copied: nobody opens it meanwhile.
    let _held = match ReadOnlyDatabase::open(path) {
        Ok(database) => Some(database),
        // Whoever had it was killed.
        Err(DatabaseError::RepairAborted) => None,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(StoreFault::Absent(format!(
                "{}: another program has it open; stop that first",
                path.display()
            )));
        }
        Err(error) => return Err(unreadable(&error)),
    };
    // What is to be mended is mended in a copy; and only there every byte can be checked, also of a file that was closed in good order.
    let copy = Copy::of(path).map_err(|error| unreadable(&error))?;
    let database = redb::Builder::new().set_check_integrity_on_open(true).open(&copy.0);
    let database = database.map_err(|error| unreadable(&error))?;
    contents_of(&database).map_err(|cause| unreadable(&cause))
}

/// Copies this process has made, so that no two have the same name.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// A copy of a file, removed when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(path: &Path) -> io::Result<Self> {
        let mut source = File::open(path)?;
        let before = source.metadata()?;
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("mkube-reading-{}-{number}.redb", std::process::id());
        let copy = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_file(&copy.0);
        // There are Secrets in it.
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy.0)?;
        io::copy(&mut source, &mut target)?;
        let after = std::fs::metadata(path)?;
        if (before.len(), before.modified()?) != (after.len(), after.modified()?) {
            return Err(io::Error::other("it changed while it was read; stop the program that uses it"));
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn contents_of(database: &Database) -> Result<FileContents, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let read = database.begin_read().map_err(|error| said(&error))?;
    let meta = read.open_table(META).map_err(|_| "it is not a store of mkube".to_owned())?;
    let number =
        |name: &str| meta.get(name).map(|found| found.map(|number| number.value())).map_err(|error| said(&error));
    match number("format")? {
        Some(format) if format == Format::Embedded as u64 => {
            let revision = number("revision")?.ok_or("the revision is missing")?;
            let mut values = Vec::new();
            for (at, stored) in rows(&read, VALUES)? {
                let (revision, value) = decode(&stored).ok_or_else(|| damaged(&at))?;
                let value = stored.slice_ref(value);
                values.push(StoredValue { at, revision, value });
            }
            let contents = StoreContents { values, revision, ..StoreContents::default() };
            Ok(FileContents { kind: FileKind::Embedded, contents })
        }
        Some(format) if format == Format::Snapshot as u64 => snapshot(&read),
        Some(format) => Err(format!("it has format {format}, which this program does not know")),
        None => Err("it is not a store of mkube".to_owned()),
    }
}

fn snapshot(read: &ReadTransaction) -> Result<FileContents, String> {
    let mut values = BTreeMap::new();
    for (at, stored) in rows(read, KNOWN)? {
        let (known, value) = read_known(&stored).ok_or_else(|| damaged(&at))?;
        if known.live {
            values.insert(at, (known.revision, value));
        }
    }
    for (at, stored) in rows(read, WAITING)? {
        let (waiting, value) = read_waiting(&stored).ok_or_else(|| damaged(&at))?;
        if waiting.live {
            values.insert(at, (waiting.provisional, value));
        } else {
            values.remove(&at);
        }
    }
    let values: Vec<StoredValue> =
        values.into_iter().map(|(at, (revision, value))| StoredValue { at, revision, value }).collect();
    let revision = values.iter().map(|one| one.revision).max().unwrap_or(0);
    let contents = StoreContents { values, revision, ..StoreContents::default() };
    Ok(FileContents { kind: FileKind::Snapshot, contents })
}

fn damaged(at: &StoreKey) -> String {
    format!("{}/{} is damaged", at.bucket, at.key)
}

fn rows(read: &ReadTransaction, table: TableDefinition<(&str, &str), &[u8]>) -> Result<Vec<(StoreKey, Bytes)>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut rows = Vec::new();
    for entry in read.open_table(table).map_err(|error| said(&error))?.iter().map_err(|error| said(&error))? {
        let (key, value) = entry.map_err(|error| said(&error))?;
        let (bucket, key) = key.value();
        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
        rows.push((at, Bytes::copy_from_slice(value.value())));
    }
    Ok(rows)
}
