//! A disk in memory with two files that keeps a diary, and a store's history on it.

#![allow(dead_code, reason = "each story uses a part of it")]

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mkube_desired_store::EmbeddedStore;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreFault, StoreKey};
use redb::StorageBackend;

/// What a file system allots.
const BLOCK: usize = 4096;
/// Short, so that it is full every few transactions, and some are longer.
pub const JOURNAL: usize = 16 << 10;

/// Which of the two: the store, or its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Store = 0,
    Journal = 1,
}

/// What was asked of a disk.
#[derive(Debug, Clone)]
pub enum Order {
    Write(Name, usize, Vec<u8>),
    Length(Name, usize),
    /// What was written to this file before survives loss of power.
    Sync(Name),
    /// Written by the story: so many transactions are acknowledged.
    Acknowledged(usize),
}

impl Order {
    /// The file it is about.
    pub fn name(&self) -> Option<Name> {
        match self {
            Self::Write(name, ..) | Self::Length(name, _) | Self::Sync(name) => Some(*name),
            Self::Acknowledged(_) => None,
        }
    }
}

/// The bytes of both files.
pub type Image = [Vec<u8>; 2];

#[derive(Debug, Default)]
struct Contents {
    bytes: Image,
    diary: Vec<Order>,
    /// Blocks that were written to, and how many there may be.
    blocks: BTreeSet<(Name, usize)>,
    room: Option<usize>,
    /// What happens to the orders to come: so many are done, then one fails, for ever or once.
    faults: Option<(usize, bool)>,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Contents>>);

impl Disk {
    pub fn with(bytes: Image) -> Self {
        Self(Arc::new(Mutex::new(Contents { bytes, ..Contents::default() })))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn bytes(&self) -> Image {
        self.contents().bytes.clone()
    }

    pub fn diary(&self) -> Vec<Order> {
        self.contents().diary.clone()
    }

    pub fn note(&self, order: Order) {
        self.contents().diary.push(order);
    }

    /// From now on there is room for so many blocks; none: for all.
    pub fn room(&self, room: Option<usize>) {
        self.contents().room = room;
    }

    /// Blocks in use.
    pub fn blocks(&self) -> usize {
        self.contents().blocks.len()
    }

    /// After so many more orders one fails, once or from then on.
    pub fn fail_after(&self, orders: usize, once: bool) {
        self.contents().faults = Some((orders, once));
    }

    /// It works again. Whether it had failed.
    pub fn mend(&self) -> bool {
        !matches!(self.contents().faults.take(), Some((1.., _)))
    }

    fn file(&self, name: Name) -> OnDisk {
        OnDisk { disk: self.clone(), name }
    }

    /// Opens the store on it.
    pub async fn store(&self) -> Result<EmbeddedStore, StoreFault> {
        let (store, journal) = (self.clone(), self.clone());
        let journal = (move || journal.file(Name::Journal), JOURNAL);
        EmbeddedStore::over("disk", move || store.file(Name::Store), journal).await
    }
}

/// Does an order to an image.
pub fn apply(image: &mut Image, order: &Order) {
    match order {
        Order::Write(name, offset, data) => {
            let (bytes, end) = (&mut image[*name as usize], offset + data.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(data);
        }
        Order::Length(name, length) => image[*name as usize].resize(*length, 0),
        Order::Sync(_) | Order::Acknowledged(_) => {}
    }
}

fn number(offset: u64) -> Result<usize, Error> {
    usize::try_from(offset).map_err(|error| Error::new(ErrorKind::InvalidInput, error))
}

/// One file of a disk.
#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    name: Name,
}

impl StorageBackend for OnDisk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.disk.contents().bytes[self.name as usize].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let contents = self.disk.contents();
        let from = number(offset)?;
        let bytes = &contents.bytes[self.name as usize];
        let found = from.checked_add(out.len()).and_then(|end| bytes.get(from..end));
        out.copy_from_slice(found.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.disk.order(Order::Length(self.name, number(length)?))
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.disk.order(Order::Sync(self.name))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.disk.order(Order::Write(self.name, number(offset)?, data.to_vec()))
    }
}

impl Disk {
    fn order(&self, order: Order) -> Result<(), Error> {
        let mut contents = self.contents();
        match contents.faults {
            Some((0, once)) => {
                if once {
                    contents.faults = None;
                }
                return Err(Error::other("the disk does not answer"));
            }
            Some((left, once)) => contents.faults = Some((left - 1, once)),
            None => {}
        }
        match &order {
            Order::Write(name, offset, data) => {
                let mut blocks = contents.blocks.clone();
                let touched = offset / BLOCK..=(offset + data.len().max(1) - 1) / BLOCK;
                blocks.extend(touched.map(|block| (*name, block)));
                if blocks.len() > contents.blocks.len() && contents.room.is_some_and(|room| blocks.len() > room) {
                    return Err(ErrorKind::StorageFull.into());
                }
                contents.blocks = blocks;
            }
            Order::Length(name, length) => {
                contents.blocks.retain(|(of, block)| of != name || *block < length.div_ceil(BLOCK));
            }
            Order::Sync(_) | Order::Acknowledged(_) => {}
        }
        apply(&mut contents.bytes, &order);
        contents.diary.push(order);
        Ok(())
    }
}
/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below a usize")
    }
}

/// Everything a store holds, to compare.
pub type State = (u64, Vec<(String, u64, Bytes)>);

pub async fn state(store: &EmbeddedStore) -> Result<State, StoreFault> {
    let contents = store.load().await?;
    let values = contents.values.into_iter().map(|one| (one.at.key, one.revision, one.value)).collect();
    Ok((contents.revision, values))
}

/// One transaction of the history: some keys written, some deleted, of all sizes.
pub fn transaction(dice: &mut Dice) -> Vec<StoreChange> {
    (0..=dice.roll(5))
        .map(|_| {
            let at = StoreKey { bucket: "PODS".into(), key: format!("default.pod-{}", dice.roll(40)) };
            let length = [3, 60, 900, 900, 900, 1800, 9_000][dice.roll(7)];
            let fill = u8::try_from(dice.roll(256)).expect("a byte");
            let value = (dice.roll(4) > 0).then(|| Bytes::from(vec![fill; length]));
            StoreChange { at, value, expected: Expected::Any, behind: false }
        })
        .collect()
}

/// `MKUBE_CRASH_ROUNDS` is set: everything is tried, not a sample.
pub fn thorough() -> bool {
    std::env::var_os("MKUBE_CRASH_ROUNDS").is_some()
}
