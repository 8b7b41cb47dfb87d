//! The file: one redb database, one transaction a change, on the disk before anybody is answered.

use std::path::{Path, PathBuf};

use redb::{
    Database, MultimapTable, MultimapTableDefinition, ReadTransaction, ReadableDatabase, ReadableMultimapTable,
    ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::records::{Forwarder, Record, TransferConfig, Zone};

/// Zones by id.
const ZONES: TableDefinition<u128, &[u8]> = TableDefinition::new("zones");
/// Name to id.
const ZONE_NAMES: TableDefinition<&str, u128> = TableDefinition::new("zone_names");
/// Zone, `name:TYPE`, and a number that grows, to the record.
const RECORDS: TableDefinition<(u128, &str, u64), &[u8]> = TableDefinition::new("records");
/// Id of a record to its key.
const RECORD_KEYS: TableDefinition<u128, (u128, &str, u64)> = TableDefinition::new("record_keys");
/// Address to the records that say it.
const ADDRESSES: MultimapTableDefinition<&[u8], u128> = MultimapTableDefinition::new("addresses");
/// Forwarders by zone.
const FORWARDERS: TableDefinition<&str, &[u8]> = TableDefinition::new("forwarders");
/// Single things, see below.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Version of the layout above.
const FORMAT: &str = "1";
const FORMAT_KEY: &str = "format";
/// The number that grows.
const NEXT_KEY: &str = "next";
/// Who may copy zones, and so on.
const TRANSFER_KEY: &str = "transfer";
/// That what the configuration says was brought in once.
const SEEDED_KEY: &str = "seeded";

/// Memory redb may use to keep pages: answers come from elsewhere.
const CACHE_BYTES: usize = 4 << 20;

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// Another process has it.
    #[error("{}: another process uses this file", .0.display())]
    InUse(PathBuf),
    /// It is no file of ours, or it is damaged.
    #[error("{}: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Cause in words.
        cause: String,
    },
    /// It was closed, because the name server ends.
    #[error("the name server is ending")]
    Closed,
    /// Reading or writing failed.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl<E: Into<redb::Error>> From<E> for StoreFault {
    fn from(error: E) -> Self {
        Self::Failed(error.into().to_string())
    }
}

fn damaged(what: &str, error: &serde_json::Error) -> StoreFault {
    StoreFault::Failed(format!("{what} cannot be read: {error}"))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreFault> {
    serde_json::from_slice(bytes).map_err(|error| damaged(what, &error))
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreFault> {
    serde_json::to_vec(value).map_err(|error| damaged("a value", &error))
}

/// The number of an id, which sorts as its text does.
pub fn key_of(id: &str) -> Option<u128> {
    uuid::Uuid::try_parse(id).ok().map(|id| id.as_u128())
}

/// The id of a number.
pub fn id_of(key: u128) -> String {
    uuid::Uuid::from_u128(key).to_string()
}

/// The file, open.
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens the file, making it and its directory when there is none.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(path: &Path) -> Result<Self, StoreFault> {
        let unusable = |cause: String| StoreFault::Unusable { path: path.to_owned(), cause };
        let existed = path.try_exists().map_err(|error| unusable(error.to_string()))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|error| unusable(error.to_string()))?;
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        // `open` never makes or truncates: an empty or foreign file is refused and left as it is.
        let opened = if existed { builder.open(path) } else { builder.create(path) };
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreFault::InUse(path.to_owned()),
            other => unusable(other.to_string()),
        })?;
        let store = Self { database };
        if existed {
            let format = store.read()?.meta(FORMAT_KEY)?;
            if format.as_deref() != Some(FORMAT.as_bytes()) {
                return Err(unusable("it is not a database of this name server".to_owned()));
            }
        } else {
            sync_directory(path).map_err(|error| unusable(error.to_string()))?;
            let write = store.database.begin_write()?;
            Tables::open(&write)?.meta.insert(FORMAT_KEY, FORMAT.as_bytes())?;
            write.commit()?;
        }
        Ok(store)
    }

    /// A picture of the file that stays as it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> Result<Reading, StoreFault> {
        Ok(Reading { transaction: self.database.begin_read()? })
    }

    /// Does `work` in a transaction: on the disk when this returns well, undone when `work` fails.
    ///
    /// # Errors
    /// Those of `work`, or the file cannot be written.
    pub fn write<T, E: From<StoreFault>>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut transaction = self.database.begin_write().map_err(StoreFault::from)?;
        transaction.set_durability(redb::Durability::Immediate).map_err(StoreFault::from)?;
        let done = {
            let mut tables = Tables::open(&transaction)?;
            work(&mut tables)?
        };
        transaction.commit().map_err(StoreFault::from)?;
        Ok(done)
    }
}

/// A new file is there after a power cut only if its directory was synced.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent)?.sync_all()
}

/// The file at one moment.
pub struct Reading {
    transaction: ReadTransaction,
}

impl Reading {
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        match self.transaction.open_table(META) {
            Ok(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many zones there are.
    pub fn zone_count(&self) -> Result<u64, StoreFault> {
        Ok(self.transaction.open_table(ZONES)?.len()?)
    }

    /// Zones by id, a page of them.
    pub fn zones(&self, offset: usize, limit: usize) -> Result<Vec<Zone>, StoreFault> {
        let table = self.transaction.open_table(ZONES)?;
        table.iter()?.skip(offset).take(limit).map(|entry| from_json(entry?.1.value(), "a zone")).collect()
    }

    /// One zone.
    pub fn zone(&self, id: u128) -> Result<Option<Zone>, StoreFault> {
        let table = self.transaction.open_table(ZONES)?;
        table.get(id)?.map(|value| from_json(value.value(), "a zone")).transpose()
    }

    /// Records of a zone by name and type, a page of them.
    pub fn records(&self, zone: u128, offset: usize, limit: usize) -> Result<Vec<Record>, StoreFault> {
        let table = self.transaction.open_table(RECORDS)?;
        let own = table.range((zone, "", 0)..)?;
        let own = own.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.value().0 == zone));
        own.skip(offset).take(limit).map(|entry| from_json(entry?.1.value(), "a record")).collect()
    }

    /// Every record, those of a zone and a name one after the other.
    pub fn each_record(&self, mut take: impl FnMut(u128, Record)) -> Result<(), StoreFault> {
        for entry in self.transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = entry?;
            take(key.value().0, from_json(value.value(), "a record")?);
        }
        Ok(())
    }

    /// One record.
    pub fn record(&self, id: u128) -> Result<Option<Record>, StoreFault> {
        let keys = self.transaction.open_table(RECORD_KEYS)?;
        let Some(key) = keys.get(id)? else { return Ok(None) };
        let records = self.transaction.open_table(RECORDS)?;
        records.get(key.value())?.map(|value| from_json(value.value(), "a record")).transpose()
    }

    /// All forwarders, by zone.
    pub fn forwarders(&self) -> Result<Vec<Forwarder>, StoreFault> {
        let table = self.transaction.open_table(FORWARDERS)?;
        table.iter()?.map(|entry| from_json(entry?.1.value(), "a forwarder")).collect()
    }

    /// What is said about copies of zones; nothing before anybody said.
    pub fn transfer(&self) -> Result<Option<TransferConfig>, StoreFault> {
        self.meta(TRANSFER_KEY)?.map(|bytes| from_json(&bytes, "the settings of transfers")).transpose()
    }

    /// Whether the configuration was brought in before.
    pub fn is_seeded(&self) -> Result<bool, StoreFault> {
        Ok(self.meta(SEEDED_KEY)?.is_some())
    }
}

/// All tables, open to write.
pub struct Tables<'t> {
    zones: Table<'t, u128, &'static [u8]>,
    zone_names: Table<'t, &'static str, u128>,
    records: Table<'t, (u128, &'static str, u64), &'static [u8]>,
    record_keys: Table<'t, u128, (u128, &'static str, u64)>,
    addresses: MultimapTable<'t, &'static [u8], u128>,
    forwarders: Table<'t, &'static str, &'static [u8]>,
    meta: Table<'t, &'static str, &'static [u8]>,
}

/// A record and where it stands.
pub struct Placed {
    /// The record.
    pub record: Record,
    /// Its number within name and type.
    pub number: u64,
}

fn slot(record: &Record) -> String {
    format!("{}:{}", record.name, record.data.kind())
}

fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, StoreFault> {
        Ok(Self {
            zones: write.open_table(ZONES)?,
            zone_names: write.open_table(ZONE_NAMES)?,
            records: write.open_table(RECORDS)?,
            record_keys: write.open_table(RECORD_KEYS)?,
            addresses: write.open_multimap_table(ADDRESSES)?,
            forwarders: write.open_table(FORWARDERS)?,
            meta: write.open_table(META)?,
        })
    }

    /// One zone.
    pub fn zone(&self, id: u128) -> Result<Option<Zone>, StoreFault> {
        self.zones.get(id)?.map(|value| from_json(value.value(), "a zone")).transpose()
    }

    /// The id of a zone.
    pub fn zone_named(&self, name: &str) -> Result<Option<u128>, StoreFault> {
        Ok(self.zone_names.get(name)?.map(|id| id.value()))
    }

    /// Writes a zone.
    pub fn put_zone(&mut self, id: u128, zone: &Zone) -> Result<(), StoreFault> {
        self.zone_names.insert(zone.name.as_str(), id)?;
        self.zones.insert(id, to_json(zone)?.as_slice())?;
        Ok(())
    }

    /// Removes a zone; its records are removed before.
    pub fn remove_zone(&mut self, id: u128, name: &str) -> Result<(), StoreFault> {
        self.zone_names.remove(name)?;
        self.zones.remove(id)?;
        Ok(())
    }

    /// All records of a zone.
    pub fn records_of_zone(&self, zone: u128) -> Result<Vec<Placed>, StoreFault> {
        let own = self.records.range((zone, "", 0)..)?;
        let own = own.take_while(|entry| entry.as_ref().map_or(true, |(key, _)| key.value().0 == zone));
        own.map(|entry| {
            let (key, value) = entry?;
            Ok(Placed { record: from_json(value.value(), "a record")?, number: key.value().2 })
        })
        .collect()
    }

    /// All records of a name.
    pub fn records_of_name(&self, zone: u128, name: &str) -> Result<Vec<Record>, StoreFault> {
        // Between `name:` and what comes after it stand all types of the name.
        let (from, to) = (format!("{name}:"), format!("{name};"));
        let own = self.records.range((zone, from.as_str(), 0)..(zone, to.as_str(), 0))?;
        own.map(|entry| from_json(entry?.1.value(), "a record")).collect()
    }

    /// One record.
    pub fn record(&self, id: u128) -> Result<Option<Placed>, StoreFault> {
        let Some(key) = self.record_keys.get(id)? else { return Ok(None) };
        let key = key.value();
        let Some(value) = self.records.get(key)? else { return Ok(None) };
        Ok(Some(Placed { record: from_json(value.value(), "a record")?, number: key.2 }))
    }

    /// Writes a record that was not there.
    pub fn insert_record(&mut self, zone: u128, id: u128, record: &Record) -> Result<(), StoreFault> {
        let number = self.next_number()?;
        self.write_record(zone, id, number, record)
    }

    /// Writes a record in the place of what it was; a new name or type moves it.
    pub fn replace_record(&mut self, zone: u128, id: u128, old: &Placed, new: &Record) -> Result<(), StoreFault> {
        self.remove_record(zone, id, old)?;
        let number = if slot(&old.record) == slot(new) { old.number } else { self.next_number()? };
        self.write_record(zone, id, number, new)
    }

    /// Removes a record.
    pub fn remove_record(&mut self, zone: u128, id: u128, placed: &Placed) -> Result<(), StoreFault> {
        self.records.remove((zone, slot(&placed.record).as_str(), placed.number))?;
        self.record_keys.remove(id)?;
        if let Some(address) = placed.record.data.address() {
            self.addresses.remove(octets(address).as_slice(), id)?;
        }
        Ok(())
    }

    fn write_record(&mut self, zone: u128, id: u128, number: u64, record: &Record) -> Result<(), StoreFault> {
        let slot = slot(record);
        self.records.insert((zone, slot.as_str(), number), to_json(record)?.as_slice())?;
        self.record_keys.insert(id, (zone, slot.as_str(), number))?;
        if let Some(address) = record.data.address() {
            self.addresses.insert(octets(address).as_slice(), id)?;
        }
        Ok(())
    }

    fn next_number(&mut self) -> Result<u64, StoreFault> {
        let found = self.meta.get(NEXT_KEY)?.and_then(|value| value.value().try_into().ok().map(u64::from_be_bytes));
        let number = found.unwrap_or_default() + 1;
        self.meta.insert(NEXT_KEY, number.to_be_bytes().as_slice())?;
        Ok(number)
    }

    /// The records that say an address.
    pub fn records_with(&self, address: std::net::IpAddr) -> Result<Vec<Placed>, StoreFault> {
        let mut found = Vec::new();
        for id in self.addresses.get(octets(address).as_slice())? {
            found.extend(self.record(id?.value())?);
        }
        Ok(found)
    }

    /// Writes a forwarder.
    pub fn put_forwarder(&mut self, forwarder: &Forwarder) -> Result<(), StoreFault> {
        self.forwarders.insert(forwarder.zone.as_str(), to_json(forwarder)?.as_slice())?;
        Ok(())
    }

    /// Removes a forwarder; whether there was one.
    pub fn remove_forwarder(&mut self, zone: &str) -> Result<bool, StoreFault> {
        Ok(self.forwarders.remove(zone)?.is_some())
    }

    /// All forwarders.
    pub fn forwarders(&self) -> Result<Vec<Forwarder>, StoreFault> {
        self.forwarders.iter()?.map(|entry| from_json(entry?.1.value(), "a forwarder")).collect()
    }

    /// Writes what is said about copies of zones.
    pub fn put_transfer(&mut self, config: &TransferConfig) -> Result<(), StoreFault> {
        self.meta.insert(TRANSFER_KEY, to_json(config)?.as_slice())?;
        Ok(())
    }

    /// Whether anything is said about copies of zones.
    pub fn has_transfer(&self) -> Result<bool, StoreFault> {
        Ok(self.meta.get(TRANSFER_KEY)?.is_some())
    }

    /// Notes that the configuration was brought in.
    pub fn set_seeded(&mut self) -> Result<(), StoreFault> {
        self.meta.insert(SEEDED_KEY, b"yes".as_slice())?;
        Ok(())
    }
}
