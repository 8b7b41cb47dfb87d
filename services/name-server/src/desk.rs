//! The one place where the file changes: a write is on the disk, then in the picture that answers are made from, then answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::sync::{Mutex, broadcast};

use crate::changes::{Change, Refusal, Touched, server_address, transfer_range};
use crate::events::Event;
use crate::index::{Index, Row, ZoneIndex};
use crate::names::{WireName, record_wire, zone_wire};
use crate::rdata;
use crate::records::{Forwarder, Record, TransferConfig, Zone};
use crate::store::{Reading, Store, StoreFault, Tables};

/// Events that may wait for a watcher; one that is slower misses some.
const EVENTS: usize = 256;

/// The file until it is closed. Whoever works with it keeps it open so long.
type Shelf = RwLock<Option<Store>>;

/// The file and the picture of it.
pub struct Desk {
    shelf: Arc<Shelf>,
    index: Arc<ArcSwap<Index>>,
    /// Names of the zones in the picture, and whose turn it is to write.
    turn: Arc<Mutex<BTreeMap<u128, Zone>>>,
    events: broadcast::Sender<Event>,
    clock: Arc<dyn WallClock>,
}

/// What a write makes different in the picture.
struct Difference {
    zones: Vec<(u128, Option<Zone>)>,
    whole: Vec<u128>,
    names: Vec<(u128, String, Vec<Record>)>,
    forwarders: Option<Vec<Forwarder>>,
    events: Vec<Event>,
}

impl Desk {
    /// Opens the file and reads all of it.
    pub async fn open(path: &Path, clock: Arc<dyn WallClock>) -> Result<Self, StoreFault> {
        let path = path.to_owned();
        let (store, index, zones) = blocking(move || {
            let store = Store::open(&path)?;
            let (index, zones) = read_all(&store)?;
            Ok::<_, StoreFault>((store, index, zones))
        })
        .await?;
        Ok(Self {
            shelf: Arc::new(RwLock::new(Some(store))),
            index: Arc::new(ArcSwap::from_pointee(index)),
            turn: Arc::new(Mutex::new(zones)),
            events: broadcast::channel(EVENTS).0,
            clock,
        })
    }

    /// The picture.
    pub fn index(&self) -> Arc<ArcSwap<Index>> {
        self.index.clone()
    }

    /// What will happen.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Looks into the file, beside the threads that serve.
    pub async fn read<T, E>(&self, look: impl FnOnce(&Reading) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreFault> + Send + 'static,
    {
        let shelf = self.shelf.clone();
        blocking(move || with(&shelf, |store| look(&store.read()?))).await
    }

    /// Does a write. The turn goes with the work: a caller that leaves does not end it half way.
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Change<'_, '_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let mut zones = self.turn.clone().lock_owned().await;
        let (shelf, index, events, now) =
            (self.shelf.clone(), self.index.clone(), self.events.clone(), self.clock.now());
        let write = move |store: &Store| {
            let (done, difference, transfer) = store.write(|tables| {
                let mut change = Change::new(tables, now);
                let done = work(&mut change)?;
                let touched = std::mem::take(&mut change.touched);
                let transfer = touched.transfer;
                let difference = difference(change.tables(), touched)?;
                Ok::<_, Refusal>((done, difference, transfer))
            })?;
            let told = difference.events.clone();
            let mut next = Index::clone(&index.load());
            apply(&mut next, &mut zones, difference);
            if transfer {
                next.transfer = ranges(store.read()?.transfer()?);
            }
            index.store(Arc::new(next));
            for event in told {
                // Nobody watches.
                let _ = events.send(event);
            }
            Ok(done)
        };
        blocking(move || with(&shelf, write)).await
    }

    /// Closes the file once all work on it has ended: when this returns another process may have it. Work that comes later is
    /// refused; the picture stays.
    pub async fn close(&self) {
        let shelf = self.shelf.clone();
        let closed = tokio::task::spawn_blocking(move || {
            shelf.write().unwrap_or_else(PoisonError::into_inner).take();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the file of the name server was not closed well");
        }
    }
}

fn with<T, E: From<StoreFault>>(shelf: &Shelf, work: impl FnOnce(&Store) -> Result<T, E>) -> Result<T, E> {
    let held = shelf.read().unwrap_or_else(PoisonError::into_inner);
    work(held.as_ref().ok_or(StoreFault::Closed)?)
}

/// Runs work that waits for the disk where it keeps nobody waiting.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreFault> + Send + 'static,
{
    let ended = |error: tokio::task::JoinError| StoreFault::Failed(format!("the work ended early: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

fn difference(tables: &Tables<'_>, touched: Touched) -> Result<Difference, StoreFault> {
    let zones = touched.zones.iter().map(|key| Ok((*key, tables.zone(*key)?)));
    let own = touched.names.into_iter().filter(|(key, _)| !touched.whole.contains(key));
    let names = own.map(|(key, name)| {
        let held = tables.records_of_name(key, &name)?;
        Ok((key, name, held))
    });
    let mut names: Vec<(u128, String, Vec<Record>)> = names.collect::<Result<_, StoreFault>>()?;
    for key in &touched.whole {
        let mut of_zone: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for placed in tables.records_of_zone(*key)? {
            of_zone.entry(placed.record.name.clone()).or_default().push(placed.record);
        }
        names.extend(of_zone.into_iter().map(|(name, held)| (*key, name, held)));
    }
    Ok(Difference {
        zones: zones.collect::<Result<_, StoreFault>>()?,
        whole: touched.whole.into_iter().collect(),
        names,
        forwarders: touched.forwarders.then(|| tables.forwarders()).transpose()?,
        events: touched.events,
    })
}

fn apply(index: &mut Index, known: &mut BTreeMap<u128, Zone>, difference: Difference) {
    for (key, zone) in difference.zones {
        match zone {
            Some(zone) => put_zone(index, known, key, zone),
            None => {
                if let Some(apex) = known.remove(&key).and_then(|zone| zone_wire(&zone.name).ok()) {
                    index.zones.remove(&apex);
                }
            }
        }
    }
    for key in difference.whole {
        let Some(apex) = known.get(&key).and_then(|zone| zone_wire(&zone.name).ok()) else { continue };
        if let Some(zone) = index.zones.get_mut(&apex) {
            *zone = Arc::new(zone.emptied());
        }
    }
    for (key, name, held) in difference.names {
        let Some(zone) = known.get(&key) else { continue };
        put_name(index, zone, &name, &held);
    }
    if let Some(forwarders) = difference.forwarders {
        index.forwarders = forwarders_of(&forwarders);
    }
}

fn put_zone(index: &mut Index, known: &mut BTreeMap<u128, Zone>, key: u128, zone: Zone) {
    // Both were checked before they were stored.
    let (Ok(apex), Ok(soa)) = (zone_wire(&zone.name), rdata::soa_wire(&zone.soa)) else { return };
    match index.zones.get_mut(&apex) {
        Some(held) => Arc::make_mut(held).renew_soa(&soa, zone.default_ttl, zone.soa.minimum),
        None => {
            let new = ZoneIndex::new(apex.clone(), &soa, zone.default_ttl, zone.soa.minimum);
            index.zones.insert(apex, Arc::new(new));
        }
    }
    known.insert(key, zone);
}

fn put_name(index: &mut Index, zone: &Zone, name: &str, held: &[Record]) {
    let (Ok(apex), Ok(full)) = (zone_wire(&zone.name), record_wire(name, &zone.name)) else { return };
    let Some(held_zone) = index.zones.get_mut(&apex) else { return };
    let mut rows: Vec<&Record> = held.iter().collect();
    // Those of one type follow one another in the order they were made, whatever their types are called.
    rows.sort_by_key(|record| rdata::number(&record.data));
    let rows: Vec<Row> = rows.into_iter().filter_map(row).collect();
    Arc::make_mut(held_zone).put(&full, &rows);
}

/// One bad record never spoils an answer: it is left out.
fn row(record: &Record) -> Option<Row> {
    let data = rdata::wire(&record.data).ok()?;
    Some(Row { kind: rdata::number(&record.data), ttl: record.ttl, data, enabled: record.enabled })
}

fn forwarders_of(all: &[Forwarder]) -> imbl::HashMap<WireName, Arc<[SocketAddr]>> {
    let one = |forwarder: &Forwarder| {
        let servers: Vec<SocketAddr> = forwarder.servers.iter().filter_map(|server| server_address(server)).collect();
        Some((zone_wire(&forwarder.zone).ok()?, servers.into()))
    };
    all.iter().filter_map(one).collect()
}

fn ranges(config: Option<TransferConfig>) -> Arc<Vec<ipnet::IpNet>> {
    let named = config.map(|config| config.allow_transfer).unwrap_or_default();
    Arc::new(named.iter().filter_map(|range| transfer_range(range)).collect())
}

fn read_all(store: &Store) -> Result<(Index, BTreeMap<u128, Zone>), StoreFault> {
    let reading = store.read()?;
    let (mut index, mut known) = (Index::default(), BTreeMap::new());
    for zone in reading.zones(0, usize::MAX)? {
        let key = crate::store::key_of(&zone.id).unwrap_or_default();
        put_zone(&mut index, &mut known, key, zone);
    }
    let mut at: Option<(u128, String)> = None;
    let mut held: Vec<Record> = Vec::new();
    let mut flush = |at: &Option<(u128, String)>, held: &mut Vec<Record>| {
        if let Some((key, name)) = at
            && let Some(zone) = known.get(key)
        {
            put_name(&mut index, zone, name, held);
        }
        held.clear();
    };
    reading.each_record(|key, record| {
        if at.as_ref().is_none_or(|(zone, name)| *zone != key || *name != record.name) {
            flush(&at, &mut held);
            at = Some((key, record.name.clone()));
        }
        held.push(record);
    })?;
    flush(&at, &mut held);
    index.forwarders = forwarders_of(&reading.forwarders()?);
    index.transfer = ranges(reading.transfer()?);
    Ok((index, known))
}

#[cfg(test)]
mod tests {
    use mkube_model::neighbours::wall_clock::SystemClock;

    use super::*;

    #[tokio::test]
    async fn a_closed_file_is_free_while_somebody_still_holds_the_desk() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("names.redb");
        let desk = Desk::open(&path, Arc::new(SystemClock)).await.expect("it opens");
        desk.close().await;
        let again = Desk::open(&path, Arc::new(SystemClock)).await.map(drop);
        again.expect("another may have it");
        let late = desk.read(|file| file.is_seeded()).await;
        assert!(matches!(late, Err(StoreFault::Closed)), "{late:?}");
    }
}
