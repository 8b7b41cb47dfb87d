//! The local file: what was last known of the store, and what waits to be told to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreFault, StoreKey};

use crate::file::{Format, StoreFile, View};
use crate::rows::{Row, Table, as_mark, decode, encode};

/// Known: revision and value. Marks: when a bucket's stream was made (nanoseconds), and the last sequence heard of. Waiting: the
/// provisional revision, the revision it was based on, and the value. Asked: the same.
const TABLES: [Table; 5] = [Table::Numbers, Table::Known, Table::Marks, Table::Waiting, Table::Asked];
/// In the numbers: the last provisional revision.
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
    pub(crate) asked: BTreeMap<StoreKey, Waiting>,
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
    /// What the store is asked for at the same time.
    pub(crate) asked: Vec<Entry<Waiting>>,
    /// What the store has said its word on.
    pub(crate) answered: Vec<StoreKey>,
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
            && self.asked.is_empty()
            && self.answered.is_empty()
            && self.provisional.is_none()
    }

    fn rows(&self) -> Vec<Row> {
        let row =
            |table, at: &StoreKey, value: Option<Vec<u8>>| Row { table, at: at.clone(), value: value.map(Bytes::from) };
        let known = |entry: &Entry<Known>| encode(entry.is.revision, &flagged(u8::from(entry.is.live), &entry.value));
        let waiting = |entry: &Entry<Waiting>| {
            let flags = u8::from(entry.is.live) | (u8::from(entry.is.went_back) << 1);
            encode(entry.is.provisional, &encode(entry.is.based, &flagged(flags, &entry.value)))
        };
        let marks = self.marks.iter().map(|(bucket, mark)| Row::mark(bucket, (mark.created, mark.last)));
        marks
            .chain(self.known.iter().map(|entry| row(Table::Known, &entry.at, Some(known(entry)))))
            .chain(self.forgotten.iter().map(|at| row(Table::Known, at, None)))
            .chain(self.told.iter().map(|at| row(Table::Waiting, at, None)))
            .chain(self.waiting.iter().map(|entry| row(Table::Waiting, &entry.at, Some(waiting(entry)))))
            .chain(self.answered.iter().map(|at| row(Table::Asked, at, None)))
            .chain(self.asked.iter().map(|entry| row(Table::Asked, &entry.at, Some(waiting(entry)))))
            .chain(self.provisional.map(|used| Row::number(PROVISIONAL_USED, used)))
            .collect()
    }
}

/// All values there are: those known, those that wait, and those that were asked for without a word on them.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) known: BTreeMap<StoreKey, (Known, Bytes)>,
    pub(crate) waiting: BTreeMap<StoreKey, (Waiting, Bytes)>,
    pub(crate) asked: BTreeMap<StoreKey, (Waiting, Bytes)>,
}

/// The file.
pub(crate) struct Snapshot {
    file: StoreFile,
}

impl Snapshot {
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreFault> {
        let file = StoreFile::open(path, Format::Snapshot, &TABLES, &[Row::number(PROVISIONAL_USED, 0)])?;
        Ok(Self { file })
    }

    pub(crate) fn compact(&self) -> Result<(), StoreFault> {
        self.file.compact()
    }

    /// Everything but the values.
    pub(crate) fn index(&self) -> Result<Index, StoreFault> {
        let (values, marks, provisional) = self.file.look(|held| {
            let mut marks = BTreeMap::new();
            for (at, mark) in held.rows(Table::Marks)? {
                let (created, last) = as_mark(&mark).ok_or_else(|| held.damaged(&at))?;
                marks.insert(at.bucket, Mark { created, last });
            }
            Ok((values(held)?, marks, held.number(PROVISIONAL_USED)?.unwrap_or(0)))
        })?;
        let known = values.known.into_iter().map(|(at, (known, _))| (at, known)).collect();
        let waiting = values.waiting.into_iter().map(|(at, (waiting, _))| (at, waiting)).collect();
        let asked = values.asked.into_iter().map(|(at, (asked, _))| (at, asked)).collect();
        Ok(Index { marks, known, waiting, asked, provisional })
    }

    /// All values.
    pub(crate) fn values(&self) -> Result<Values, StoreFault> {
        self.file.look(values)
    }

    /// Applies changes; they survive power loss when it returns.
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), StoreFault> {
        if batch.is_empty() { Ok(()) } else { self.file.commit(batch.rows()) }
    }
}

/// All values of a file.
pub(crate) fn values(held: &View<'_>) -> Result<Values, StoreFault> {
    let mut values = Values::default();
    for (at, stored) in held.rows(Table::Known)? {
        let found = read_known(&stored).ok_or_else(|| held.damaged(&at))?;
        values.known.insert(at, found);
    }
    for (table, found) in [(Table::Waiting, &mut values.waiting), (Table::Asked, &mut values.asked)] {
        for (at, stored) in held.rows(table)? {
            let entry = read_waiting(&stored).ok_or_else(|| held.damaged(&at))?;
            found.insert(at, entry);
        }
    }
    Ok(values)
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

fn read_known(stored: &Bytes) -> Option<(Known, Bytes)> {
    let (revision, rest) = decode(stored)?;
    let (flags, value) = unflagged(stored, rest)?;
    Some((Known { revision, live: flags & 1 == 1 }, value))
}

fn read_waiting(stored: &Bytes) -> Option<(Waiting, Bytes)> {
    let (provisional, rest) = decode(stored)?;
    let (based, rest) = decode(rest)?;
    let (flags, value) = unflagged(stored, rest)?;
    Some((Waiting { provisional, based, live: flags & 1 == 1, went_back: flags & 2 == 2 }, value))
}
