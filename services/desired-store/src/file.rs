//! One redb file with its journal, and which kind of store it belongs to.
//!
//! What is committed goes into the journal, is synced there and kept in memory; when the journal is full, all of it goes into the file
//! at once. The file is read through when it is opened, gets its name when it is whole, and is opened anew after it failed.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{StoreFault, StoreKey};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageBackend};

use crate::journal::{self, Beside, InFile, Journal, Lent, journal_of};
use crate::rows::{self, Overlay, Row, Table, named};

/// Memory redb may use to keep pages; everything is read once at start, so more would only lie idle.
const CACHE_BYTES: usize = 1 << 20;

/// In the numbers: what the file is. Beside a file in use stands `IN_USE` more: programs that know no journal refuse it.
const FORMAT: &str = "format";
const IN_USE: u64 = 2;
/// In the numbers: the last frame of the journal that is in the file, and whose journal it is.
const JOURNALLED: &str = "journalled";
const JOURNAL: &str = "journal";

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
    /// What a number says, and whether the journal belongs to it.
    fn of(number: u64) -> Result<(Self, bool), String> {
        let known = |number| [Self::Embedded, Self::Snapshot].into_iter().find(|format| *format as u64 == number);
        match (known(number), number.checked_sub(IN_USE).and_then(known)) {
            (Some(format), _) => Ok((format, false)),
            (None, Some(format)) => Ok((format, true)),
            (None, None) => Err(format!("it has format {number}, which this program does not know")),
        }
    }

    /// What to say of a file of the other format.
    fn mismatch(self) -> String {
        match self {
            Self::Snapshot => {
                "it is an embedded store, the objects in it would be lost; store.kind: embedded opens it".to_owned()
            }
            Self::Embedded => {
                "it holds what was last known of a store in NATS and is no store by itself; store.kind: nats opens it"
                    .to_owned()
            }
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

/// What a file that is open holds.
struct Open {
    database: Database,
    format: Format,
    /// What the journal has and the file has not.
    overlay: Overlay,
    /// The last frame.
    number: u64,
    /// Whose journal it is; 0: the file never had one.
    id: u64,
    /// The file says that a journal belongs to it.
    in_use: bool,
    /// What may be written to: since it was opened everything in it was brought into the file once.
    journal: Option<Journal>,
}

/// An open file; nobody else has it open.
pub(crate) struct StoreFile {
    /// None after it failed to read or write: redb takes nothing more then, and what is on the disk has to be found out anew.
    place: Mutex<Option<Open>>,
    opener: Box<Opener>,
    beside: Box<dyn Beside>,
    /// None: whichever it is.
    wanted: Option<Format>,
    name: String,
}

impl StoreFile {
    /// Opens the file, making it (and its directory) when there is none, with these tables.
    pub(crate) fn open(path: PathBuf, format: Format, tables: &[Table], first: &[Row]) -> Result<Self, StoreFault> {
        let name = path.display().to_string();
        let existed = path.try_exists().map_err(|error| StoreFault::Unreadable(format!("{name}: {error}")))?;
        if !existed {
            let journal = journal_of(&path);
            if journal.exists() {
                return Err(StoreFault::Unreadable(format!(
                    "{name} is not there, and its journal is: put it back, or remove {} as well to begin with nothing",
                    journal.display()
                )));
            }
            make(&path, format, tables, first).map_err(|why| StoreFault::Unwritable(format!("{name}: {why}")))?;
        }
        make_private(&path);
        Self::existing(name, path, Some(format))
    }

    /// Opens a file that is there, which is spoken of by this name. `wanted`: what it has to be.
    pub(crate) fn existing(name: String, path: PathBuf, wanted: Option<Format>) -> Result<Self, StoreFault> {
        let beside = Box::new(InFile(journal_of(&path)));
        // `open` never makes or truncates: an empty or foreign file is an error here.
        Self::opened(name, wanted, Box::new(move || builder().open(&path)), beside)
    }

    /// Opens what lies elsewhere than in a file. What is empty is made a store.
    pub(crate) fn over<B: StorageBackend>(
        name: &str,
        storage: impl Fn() -> B + Send + Sync + 'static,
        (journal, length): (impl Fn() -> B + Send + Sync + 'static, usize),
        format: Format,
        (tables, first): (&[Table], &[Row]),
    ) -> Result<Self, StoreFault> {
        let made = storage();
        if matches!(made.len(), Ok(0)) {
            let made = builder().create_with_backend(made).map_err(redb::Error::from);
            let filled = made.and_then(|database| found(&database, format, tables, first));
            filled.map_err(|error| StoreFault::Unwritable(format!("{name}: {error}")))?;
        }
        let opener = Box::new(move || builder().create_with_backend(storage()));
        Self::opened(name.to_owned(), Some(format), opener, Box::new(Lent(journal, length)))
    }

    fn opened(
        name: String,
        wanted: Option<Format>,
        opener: Box<Opener>,
        beside: Box<dyn Beside>,
    ) -> Result<Self, StoreFault> {
        let file = Self { place: Mutex::default(), opener, beside, wanted, name };
        file.with(|_| Ok(()))?;
        Ok(file)
    }

    pub(crate) fn unreadable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unreadable(format!("{}: {cause}", self.name))
    }

    fn unwritable(&self, cause: impl std::fmt::Display) -> StoreFault {
        StoreFault::Unwritable(format!("{}: {cause}", self.name))
    }

    /// Works with the file, which is opened again if it failed before. One that fails now is closed.
    fn with<R>(&self, work: impl FnOnce(&mut Open) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: after a panic in it, it is not looked at again either.
        let mut open = match place.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let done = work(&mut open)?;
        *place = Some(open);
        Ok(done)
    }

    /// Opens file and journal.
    fn begin(&self) -> Result<Open, StoreFault> {
        let database = (self.opener)().map_err(|error| self.unreadable(error))?;
        let no_store = "it is not a store of mkube";
        let read = database.begin_read().map_err(|error| self.unreadable(error))?;
        let numbers = rows::all(&read, Table::Numbers).map_err(|error| match error {
            redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => self.unreadable(no_store),
            other => self.unreadable(other),
        })?;
        drop(read);
        let number = |name: &str| numbers.get(&named(name)).and_then(|number| rows::as_number(number));
        let format = number(FORMAT).ok_or_else(|| self.unreadable(no_store))?;
        let (format, in_use) = Format::of(format).map_err(|why| self.unreadable(why))?;
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != format) {
            return Err(self.unreadable(wanted.mismatch()));
        }
        let (id, mut last) = (number(JOURNAL).unwrap_or(0), number(JOURNALLED).unwrap_or(0));
        let beside = |why: &dyn std::fmt::Display| StoreFault::Unreadable(format!("{}.journal: {why}", self.name));
        let contents = self.beside.contents().map_err(|error| beside(&error))?;
        let least = in_use.then(|| self.beside.length());
        let texts = journal::read(&contents, least, id, last).map_err(|why| beside(&why))?;
        let mut overlay = Overlay::default();
        for text in texts {
            overlay.add(rows::understood(text).ok_or_else(|| beside(&"it holds what this program does not know"))?);
            last += 1;
        }
        Ok(Open { database, format, overlay, number: last, id, in_use, journal: None })
    }

    /// Looks at what is held.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&View<'_>) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        self.with(|open| {
            let read = open.database.begin_read().map_err(|error| self.unreadable(error))?;
            look(&View { file: self, format: open.format, overlay: &open.overlay, read })
        })
    }

    /// Changes what is held; that survives power loss when it returns.
    pub(crate) fn commit(&self, changes: Vec<Row>) -> Result<(), StoreFault> {
        self.with(|open| {
            let frame = rows::written(&changes).and_then(|text| journal::frame(open.id, open.number + 1, &text));
            match (&mut open.journal, frame) {
                (Some(journal), Some(frame)) if journal.has_room(&frame) => {
                    journal.append(&frame).map_err(|error| self.unwritable(error))?;
                    open.number += 1;
                    open.overlay.add(changes);
                    Ok(())
                }
                _ => self.bring_in(open, changes),
            }
        })
    }

    /// Brings everything into the file, and then `changes`. The journal begins anew.
    fn bring_in(&self, open: &mut Open, changes: Vec<Row>) -> Result<(), StoreFault> {
        if open.journal.is_none() {
            let begun = Journal::begin(self.beside.as_ref());
            open.journal = Some(begun.map_err(|error| self.unwritable(format!("its journal: {error}")))?);
        }
        self.write_in(open, changes, true)?;
        if let Some(journal) = &mut open.journal {
            journal.start_over();
        }
        Ok(())
    }

    fn write_in(&self, open: &mut Open, mut changes: Vec<Row>, in_use: bool) -> Result<(), StoreFault> {
        if open.id == 0 {
            open.id = uuid::Uuid::new_v4().as_u64_pair().0;
        }
        // It counts as a frame: should the file go back behind it, what the journal has next does not follow.
        let number = open.number + 1;
        let format = open.format as u64 + if in_use { IN_USE } else { 0 };
        changes.extend([Row::number(FORMAT, format), Row::number(JOURNAL, open.id), Row::number(JOURNALLED, number)]);
        let write = || -> Result<(), redb::Error> {
            let mut write = open.database.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            open.overlay.bring_into(&write, &changes)?;
            write.commit()?;
            Ok(())
        };
        write().map_err(|error| self.unwritable(error))?;
        open.overlay = Overlay::default();
        (open.number, open.in_use) = (number, in_use);
        Ok(())
    }

    /// Brings everything into the file, which has no journal any more.
    fn settle(&self, open: &mut Open) -> Result<(), StoreFault> {
        if !open.in_use {
            return Ok(());
        }
        self.write_in(open, Vec::new(), false)?;
        open.journal = None;
        self.beside.remove().map_err(|error| self.unwritable(format!("its journal: {error}")))
    }

    /// Brings everything into the file, and gives unused space back.
    pub(crate) fn compact(&self) -> Result<(), StoreFault> {
        self.with(|open| {
            self.settle(open)?;
            open.database.compact().map(drop).map_err(|error| self.unwritable(error))
        })
    }

    /// Leaves everything as it is.
    pub(crate) fn leave(self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        let open = self.place.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut open) = open
            && let Err(fault) = self.settle(&mut open)
        {
            tracing::warn!(%fault, "the journal stays for the next start");
        }
    }
}

/// What a file holds, with what its journal has.
pub(crate) struct View<'f> {
    file: &'f StoreFile,
    pub(crate) format: Format,
    overlay: &'f Overlay,
    read: ReadTransaction,
}

impl View<'_> {
    /// One row.
    pub(crate) fn row(&self, table: Table, at: &StoreKey) -> Result<Option<Bytes>, StoreFault> {
        match self.overlay.said(table, at) {
            Some(said) => Ok(said.clone()),
            None => rows::stored(&self.read, table, at).map_err(|error| self.file.unreadable(error)),
        }
    }

    /// All rows of a table.
    pub(crate) fn rows(&self, table: Table) -> Result<BTreeMap<StoreKey, Bytes>, StoreFault> {
        let mut rows = rows::all(&self.read, table).map_err(|error| self.file.unreadable(error))?;
        self.overlay.lay_over(table, &mut rows);
        Ok(rows)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, StoreFault> {
        Ok(self.row(Table::Numbers, &named(name))?.and_then(|number| rows::as_number(&number)))
    }

    pub(crate) fn damaged(&self, at: &StoreKey) -> StoreFault {
        self.file.unreadable(format!("{}/{} is damaged", at.bucket, at.key))
    }

    pub(crate) fn missing(&self, name: &str) -> StoreFault {
        self.file.unreadable(format!("the {name} is missing"))
    }
}

fn found(database: &Database, format: Format, tables: &[Table], first: &[Row]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    rows::make(&write, tables)?;
    Overlay::default().bring_into(&write, &[first, &[Row::number(FORMAT, format as u64)]].concat())?;
    write.commit()?;
    Ok(())
}

/// Makes a store under another name and renames it when it is whole: a file that is half made when the process dies would be
/// refused ever after.
fn make(path: &Path, format: Format, tables: &[Table], first: &[Row]) -> Result<(), String> {
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
    found(&database, format, tables, first).map_err(|error| said(&error))?;
    std::fs::rename(&half_made, path).map_err(|error| said(&error))?;
    // A new file's name survives power loss only when its directory was synced.
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(|error| said(&error))
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
