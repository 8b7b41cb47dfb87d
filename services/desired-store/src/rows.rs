//! What a file holds, row by row: its tables, and changes of them as they stand in the journal.

use std::collections::BTreeMap;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

/// Numbers of a file: `format`, and what the store itself keeps.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Bucket to two numbers.
const MARKS: TableDefinition<&str, (i64, u64)> = TableDefinition::new("buckets");

/// A table of a file. The number is the one in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    /// Names to numbers.
    Numbers = 1,
    /// Buckets to two numbers.
    Marks = 2,
    /// Keys to what an embedded store holds.
    Values = 3,
    /// Keys to what is known of a store in NATS.
    Known = 4,
    /// Keys to what waits for it.
    Waiting = 5,
    /// Keys to what it was asked for.
    Asked = 6,
}

impl Table {
    fn of(number: u8) -> Option<Self> {
        [Self::Numbers, Self::Marks, Self::Values, Self::Known, Self::Waiting, Self::Asked]
            .into_iter()
            .find(|table| *table as u8 == number)
    }

    /// Tables whose keys are those of a store.
    fn keyed(self) -> TableDefinition<'static, (&'static str, &'static str), &'static [u8]> {
        TableDefinition::new(match self {
            Self::Values => "values",
            Self::Known => "known",
            Self::Asked => "asked",
            Self::Waiting | Self::Numbers | Self::Marks => "waiting",
        })
    }
}

/// A row as it is to be; none: it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) table: Table,
    pub(crate) at: StoreKey,
    pub(crate) value: Option<Bytes>,
}

/// Where a number stands.
pub(crate) fn named(name: &str) -> StoreKey {
    StoreKey { bucket: String::new(), key: name.to_owned() }
}

impl Row {
    pub(crate) fn number(name: &str, number: u64) -> Self {
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        Self { table: Table::Numbers, at: named(name), value: Some(value) }
    }

    pub(crate) fn mark(bucket: &str, (first, second): (i64, u64)) -> Self {
        let at = StoreKey { bucket: bucket.to_owned(), key: String::new() };
        Self { table: Table::Marks, at, value: Some(marked(first, second)) }
    }
}

fn marked(first: i64, second: u64) -> Bytes {
    [first.to_be_bytes(), second.to_be_bytes()].concat().into()
}

/// The number in a row.
pub(crate) fn as_number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The two numbers in a row.
pub(crate) fn as_mark(value: &[u8]) -> Option<(i64, u64)> {
    let (first, rest) = value.split_first_chunk()?;
    Some((i64::from_be_bytes(*first), as_number(rest)?))
}

/// What is to be beside what the tables hold.
#[derive(Debug, Default)]
pub(crate) struct Overlay(BTreeMap<Table, BTreeMap<StoreKey, Option<Bytes>>>);

impl Overlay {
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.0.entry(row.table).or_default().insert(row.at, row.value);
        }
    }

    /// What is said of a row, if anything is.
    pub(crate) fn said(&self, table: Table, at: &StoreKey) -> Option<&Option<Bytes>> {
        self.0.get(&table)?.get(at)
    }

    /// Makes what tables hold what is to be.
    pub(crate) fn lay_over(&self, table: Table, rows: &mut BTreeMap<StoreKey, Bytes>) {
        for (at, value) in self.0.get(&table).into_iter().flatten() {
            match value {
                Some(value) => drop(rows.insert(at.clone(), value.clone())),
                None => drop(rows.remove(at)),
            }
        }
    }

    /// Brings everything into the tables, and then `more`.
    pub(crate) fn bring_into(&self, write: &WriteTransaction, more: &[Row]) -> Result<(), redb::Error> {
        let overlaid = self.0.iter().flat_map(|(table, rows)| rows.iter().map(move |(at, value)| (*table, at, value)));
        for (table, at, value) in overlaid.chain(more.iter().map(|row| (row.table, &row.at, &row.value))) {
            let wrong = || redb::Error::Corrupted(format!("a row of {table:?} is of another kind"));
            match (table, value) {
                (Table::Numbers, Some(value)) => {
                    let number = as_number(value).ok_or_else(wrong)?;
                    write.open_table(NUMBERS)?.insert(at.key.as_str(), number)?;
                }
                (Table::Numbers, None) => drop(write.open_table(NUMBERS)?.remove(at.key.as_str())?),
                (Table::Marks, Some(value)) => {
                    let mark = as_mark(value).ok_or_else(wrong)?;
                    write.open_table(MARKS)?.insert(at.bucket.as_str(), mark)?;
                }
                (Table::Marks, None) => drop(write.open_table(MARKS)?.remove(at.bucket.as_str())?),
                (keyed, Some(value)) => {
                    write.open_table(keyed.keyed())?.insert(pair(at), value.as_ref())?;
                }
                (keyed, None) => drop(write.open_table(keyed.keyed())?.remove(pair(at))?),
            }
        }
        Ok(())
    }
}

fn pair(at: &StoreKey) -> (&str, &str) {
    (at.bucket.as_str(), at.key.as_str())
}

/// Makes tables without rows.
pub(crate) fn make(write: &WriteTransaction, tables: &[Table]) -> Result<(), redb::Error> {
    for table in tables {
        match table {
            Table::Numbers => drop(write.open_table(NUMBERS)?),
            Table::Marks => drop(write.open_table(MARKS)?),
            keyed => drop(write.open_table(keyed.keyed())?),
        }
    }
    Ok(())
}

/// A row of a table.
pub(crate) fn stored(read: &ReadTransaction, table: Table, at: &StoreKey) -> Result<Option<Bytes>, redb::Error> {
    Ok(match table {
        Table::Numbers => {
            read.open_table(NUMBERS)?.get(at.key.as_str())?.map(|number| number.value().to_be_bytes().to_vec().into())
        }
        Table::Marks => read.open_table(MARKS)?.get(at.bucket.as_str())?.map(|mark| {
            let (first, second) = mark.value();
            marked(first, second)
        }),
        keyed => read.open_table(keyed.keyed())?.get(pair(at))?.map(|value| Bytes::copy_from_slice(value.value())),
    })
}

/// All rows of a table.
pub(crate) fn all(read: &ReadTransaction, table: Table) -> Result<BTreeMap<StoreKey, Bytes>, redb::Error> {
    let mut rows = BTreeMap::new();
    match table {
        Table::Numbers => {
            for entry in read.open_table(NUMBERS)?.iter()? {
                let (name, number) = entry?;
                rows.insert(named(name.value()), number.value().to_be_bytes().to_vec().into());
            }
        }
        Table::Marks => {
            for entry in read.open_table(MARKS)?.iter()? {
                let (bucket, mark) = entry?;
                let (first, second) = mark.value();
                let at = StoreKey { bucket: bucket.value().to_owned(), key: String::new() };
                rows.insert(at, marked(first, second));
            }
        }
        keyed => {
            let opened = match read.open_table(keyed.keyed()) {
                // A file from before there were any.
                Err(TableError::TableDoesNotExist(_)) if keyed == Table::Asked => return Ok(rows),
                opened => opened?,
            };
            for entry in opened.iter()? {
                let (at, value) = entry?;
                let (bucket, key) = at.value();
                let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
                rows.insert(at, Bytes::copy_from_slice(value.value()));
            }
        }
    }
    Ok(rows)
}

/// A length that means that a row goes.
const GOES: u32 = u32::MAX;

/// Rows as they stand in the journal: of each its table, the lengths of bucket, key and value, and these. None: too long for it.
pub(crate) fn written(rows: &[Row]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for row in rows {
        let value = match &row.value {
            Some(value) => u32::try_from(value.len()).ok().filter(|length| *length != GOES)?,
            None => GOES,
        };
        text.push(row.table as u8);
        for length in [u32::try_from(row.at.bucket.len()).ok()?, u32::try_from(row.at.key.len()).ok()?, value] {
            text.extend_from_slice(&length.to_be_bytes());
        }
        text.extend_from_slice(row.at.bucket.as_bytes());
        text.extend_from_slice(row.at.key.as_bytes());
        text.extend_from_slice(row.value.as_deref().unwrap_or_default());
    }
    Some(text)
}

/// The same read again.
pub(crate) fn understood(mut text: &[u8]) -> Option<Vec<Row>> {
    fn taken<'t>(text: &mut &'t [u8], length: u32) -> Option<&'t [u8]> {
        let (taken, rest) = text.split_at_checked(usize::try_from(length).ok()?)?;
        *text = rest;
        Some(taken)
    }
    fn length(text: &mut &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(taken(text, 4)?.try_into().ok()?))
    }
    let mut rows = Vec::new();
    while let Some((table, rest)) = text.split_first() {
        text = rest;
        let table = Table::of(*table)?;
        let (bucket, key, value) = (length(&mut text)?, length(&mut text)?, length(&mut text)?);
        let mut word = |length| Some(std::str::from_utf8(taken(&mut text, length)?).ok()?.to_owned());
        let at = StoreKey { bucket: word(bucket)?, key: word(key)? };
        let value = match value {
            GOES => None,
            length => Some(Bytes::copy_from_slice(taken(&mut text, length)?)),
        };
        rows.push(Row { table, at, value });
    }
    Some(rows)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_their_text_and_half_of_it_is_none() {
        let at = StoreKey { bucket: "PODS".into(), key: "default.ä".into() };
        let rows = vec![
            Row::number("revision", 7),
            Row::mark("PODS", (-1, 9)),
            Row { table: Table::Known, at: at.clone(), value: Some(Bytes::from_static(b"")) },
            Row { table: Table::Values, at, value: None },
        ];
        let text = written(&rows).expect("short");
        assert_eq!(understood(&text).as_ref(), Some(&rows));
        assert_eq!(as_number(rows[0].value.as_ref().expect("a number")), Some(7));
        assert_eq!(as_mark(rows[1].value.as_ref().expect("a mark")), Some((-1, 9)));
        let ends: Vec<usize> = (0..text.len()).filter(|end| understood(&text[..*end]).is_some()).collect();
        let whole: Vec<usize> = (0..rows.len()).map(|count| written(&rows[..count]).expect("short").len()).collect();
        assert_eq!(ends, whole, "only between two rows");
    }
}
