//! Reads what a store holds without changing anything of it: not a byte of a file, no bucket of NATS.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mkube_model::neighbours::desired_store::{StoreContents, StoreFault};
use redb::{DatabaseError, ReadOnlyDatabase};

use crate::file::{Format, StoreFile, blocking};
use crate::journal::journal_of;
use crate::{embedded, jetstream};

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
    let file = StoreFile::existing(path.display().to_string(), copy.0.clone(), None)?;
    let found = file.look(|held| match held.format {
        Format::Embedded => Ok(FileContents { kind: FileKind::Embedded, contents: embedded::contents(held)? }),
        Format::Snapshot => Ok(snapshot(jetstream::values(held)?)),
    });
    file.leave();
    found
}

/// Copies this process has made, so that no two have the same name.
static COPIES: AtomicU64 = AtomicU64::new(0);

/// A copy of a file and its journal, removed when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(path: &Path) -> io::Result<Self> {
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("mkube-reading-{}-{number}.redb", std::process::id());
        let copy = Self(std::env::temp_dir().join(name));
        copy.remove();
        let before = (looks(path)?, looks(&journal_of(path))?);
        copied(path, &copy.0)?;
        if before.1.is_some() {
            copied(&journal_of(path), &journal_of(&copy.0))?;
        }
        if before != (looks(path)?, looks(&journal_of(path))?) {
            return Err(io::Error::other("it changed while it was read; stop the program that uses it"));
        }
        Ok(copy)
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(journal_of(&self.0));
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

/// By which one sees that a file was changed; none: there is none.
fn looks(path: &Path) -> io::Result<Option<(u64, SystemTime)>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.len(), metadata.modified()?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn copied(from: &Path, to: &Path) -> io::Result<()> {
    // There are Secrets in it.
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut target).map(drop)
}

fn snapshot(values: jetstream::Values) -> FileContents {
    let values = jetstream::with_values(StoreContents::default(), values).values;
    let revision = values.iter().map(|one| one.revision).max().unwrap_or(0);
    let contents = StoreContents { values, revision, ..StoreContents::default() };
    FileContents { kind: FileKind::Snapshot, contents }
}
