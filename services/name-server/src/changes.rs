//! What a write does to the file: checked first, then written, in one transaction with everything that follows from it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;

use crate::events::{Action, Event};
use crate::names::{self, NameFault};
use crate::rdata::{self, DataFault};
use crate::records::{
    Data, Forwarder, HealthCheck, NewForwarder, NewRecord, NewSoa, NewZone, Record, RecordPatch, RecordSource, Soa,
    TransferConfig, Zone, first_serial, next_serial, stamp,
};
use crate::reverse;
use crate::store::{Placed, StoreFault, Tables, id_of, key_of};

/// TTL and name of a zone's default settings, where the server makes one itself.
const OWN_ZONE_TTL: u32 = 300;

/// Why a write is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It speaks of something that is not there.
    #[error("{0}")]
    NotFound(String),
    /// It would make something twice.
    #[error("{0}")]
    Conflict(String),
    /// It says something that cannot be.
    #[error("{0}")]
    Bad(String),
    /// The file.
    #[error(transparent)]
    Broken(#[from] StoreFault),
}

impl From<NameFault> for Refusal {
    fn from(fault: NameFault) -> Self {
        Self::Bad(format!("name: {fault}"))
    }
}

impl From<DataFault> for Refusal {
    fn from(fault: DataFault) -> Self {
        match fault {
            DataFault::Name(fault) => Self::Bad(format!("data: {fault}")),
            other => Self::Bad(other.to_string()),
        }
    }
}

/// What a write touched.
#[derive(Debug, Default)]
pub struct Touched {
    /// Zones that are new, gone, or have another SOA.
    pub zones: BTreeSet<u128>,
    /// Zones of which everything may be different.
    pub whole: BTreeSet<u128>,
    /// Names with other records.
    pub names: BTreeSet<(u128, String)>,
    /// Forwarders.
    pub forwarders: bool,
    /// Who may copy zones.
    pub transfer: bool,
    /// What watchers are told.
    pub events: Vec<Event>,
}

/// A write that is being done.
pub struct Change<'a, 't> {
    tables: &'a mut Tables<'t>,
    now: Timestamp,
    /// What it touched so far.
    pub touched: Touched,
}

fn new_id() -> (String, u128) {
    let id = uuid::Uuid::new_v4();
    (id.to_string(), id.as_u128())
}

fn no_zone() -> Refusal {
    Refusal::NotFound("zone not found".to_owned())
}

fn no_record() -> Refusal {
    Refusal::NotFound("record not found".to_owned())
}

impl<'a, 't> Change<'a, 't> {
    /// Begins.
    pub fn new(tables: &'a mut Tables<'t>, now: Timestamp) -> Self {
        Self { tables, now, touched: Touched::default() }
    }

    /// The tables, as they are in the middle of it.
    pub fn tables(&self) -> &Tables<'t> {
        self.tables
    }

    /// A new zone.
    pub fn create_zone(&mut self, new: NewZone) -> Result<Zone, Refusal> {
        let name = names::zone_name(&new.name)?;
        if self.tables.zone_named(&name)?.is_some() {
            return Err(Refusal::Conflict(format!("duplicate zone: {name}")));
        }
        let soa = new.soa.unwrap_or_default().complete(&name, first_serial(self.now));
        rdata::soa_wire(&soa).map_err(|fault| Refusal::Bad(format!("soa: {fault}")))?;
        let (_, zone) = self.add_zone(name, soa, new.default_ttl)?;
        self.touched.events.push(Event::ZoneChanged {
            action: Action::Added,
            zone_id: zone.id.clone(),
            zone_name: zone.name.clone(),
        });
        Ok(zone)
    }

    fn add_zone(&mut self, name: String, soa: Soa, default_ttl: u32) -> Result<(u128, Zone), Refusal> {
        let (id, key) = new_id();
        let at = stamp(self.now);
        let zone = Zone { id, name, soa, default_ttl, record_count: 0, created_at: at.clone(), updated_at: at };
        self.tables.put_zone(key, &zone)?;
        self.touched.zones.insert(key);
        Ok((key, zone))
    }

    /// A zone goes, with its records and the names of their addresses.
    pub fn delete_zone(&mut self, key: u128) -> Result<(), Refusal> {
        let zone = self.tables.zone(key)?.ok_or_else(no_zone)?;
        let addresses = self.empty_zone(key)?;
        self.tables.remove_zone(key, &zone.name)?;
        self.touched.zones.insert(key);
        self.touched.events.push(Event::ZoneChanged {
            action: Action::Deleted,
            zone_id: zone.id,
            zone_name: zone.name,
        });
        addresses.into_iter().try_for_each(|address| self.settle_reverse(address))
    }

    /// Removes the records of a zone; the addresses they said.
    fn empty_zone(&mut self, key: u128) -> Result<BTreeSet<IpAddr>, Refusal> {
        let mut addresses = BTreeSet::new();
        for placed in self.tables.records_of_zone(key)? {
            addresses.extend(placed.record.data.address());
            self.tables.remove_record(key, key_of(&placed.record.id).unwrap_or_default(), &placed)?;
        }
        self.touched.whole.insert(key);
        Ok(addresses)
    }

    /// A new record, unless one says the same already; whether it is new.
    pub fn create_record(&mut self, key: u128, new: NewRecord) -> Result<(Record, bool), Refusal> {
        let zone = self.tables.zone(key)?.ok_or_else(no_zone)?;
        let name = names::record_name(&new.name, &zone.name)?;
        rdata::wire(&new.data)?;
        let twin = self.tables.records_of_name(key, &name)?;
        if let Some(twin) = twin.into_iter().find(|twin| twin.enabled && twin.data.same(&new.data)) {
            return Ok((twin, false));
        }
        let (id, record_key) = new_id();
        let at = stamp(self.now);
        let record = Record {
            id,
            zone_id: zone.id.clone(),
            name,
            ttl: new.ttl,
            data: new.data,
            enabled: new.enabled,
            health_check: new.health_check,
            source: new.source,
            origin: new.origin,
            created_at: at.clone(),
            updated_at: at,
            reverse: false,
        };
        self.tables.insert_record(key, record_key, &record)?;
        self.bump(key, zone, 1)?;
        self.tell(key, &record, Action::Added);
        self.settle(record.data.address())?;
        Ok((record, true))
    }

    /// Changes what is said of a record.
    pub fn update_record(&mut self, key: u128, id: u128, patch: RecordPatch) -> Result<Record, Refusal> {
        let zone = self.tables.zone(key)?.ok_or_else(no_zone)?;
        let old = self.record_of(&zone, id)?;
        let mut new = old.record.clone();
        if let Some(name) = patch.name {
            new.name = names::record_name(&name, &zone.name)?;
        }
        if let Some(data) = patch.data {
            rdata::wire(&data)?;
            new.data = data;
        }
        new.ttl = patch.ttl.unwrap_or(new.ttl);
        new.enabled = patch.enabled.unwrap_or(new.enabled);
        new.health_check = patch.health_check.unwrap_or(new.health_check);
        if new == old.record {
            return Ok(new);
        }
        let twin = |other: &Record| other.id != new.id && other.enabled && new.enabled && other.data.same(&new.data);
        if self.tables.records_of_name(key, &new.name)?.iter().any(twin) {
            return Err(Refusal::Conflict(format!("duplicate record: {} {}", new.name, new.data.kind())));
        }
        new.updated_at = stamp(self.now);
        self.tables.replace_record(key, id, &old, &new)?;
        self.bump(key, zone, 0)?;
        self.touched.names.insert((key, old.record.name.clone()));
        self.tell(key, &new, Action::Modified);
        self.settle(old.record.data.address())?;
        self.settle(new.data.address())?;
        Ok(new)
    }

    /// A record goes.
    pub fn delete_record(&mut self, key: u128, id: u128) -> Result<(), Refusal> {
        let zone = self.tables.zone(key)?.ok_or_else(no_zone)?;
        let placed = self.record_of(&zone, id)?;
        self.tables.remove_record(key, id, &placed)?;
        self.bump(key, zone, -1)?;
        self.tell(key, &placed.record, Action::Deleted);
        self.settle(placed.record.data.address())
    }

    fn record_of(&self, zone: &Zone, id: u128) -> Result<Placed, Refusal> {
        let placed = self.tables.record(id)?.filter(|placed| placed.record.zone_id == zone.id);
        placed.ok_or_else(no_record)
    }

    /// Sets or takes away the health check of all records of a name and type; how many there are, and how many changed.
    pub fn set_health(
        &mut self,
        key: u128,
        name: &str,
        kind: &str,
        check: Option<&HealthCheck>,
    ) -> Result<(usize, usize), Refusal> {
        let Some(zone) = self.tables.zone(key)? else { return Ok((0, 0)) };
        let name = names::record_name(name, &zone.name)?;
        let own = self.tables.records_of_name(key, &name)?;
        let own: Vec<Record> = own.into_iter().filter(|record| record.data.kind().eq_ignore_ascii_case(kind)).collect();
        let mut updated = 0;
        for record in own.iter().filter(|record| record.health_check.as_ref() != check) {
            let id = key_of(&record.id).unwrap_or_default();
            let old = self.record_of(&zone, id)?;
            let new = Record { health_check: check.cloned(), updated_at: stamp(self.now), ..record.clone() };
            self.tables.replace_record(key, id, &old, &new)?;
            updated += 1;
        }
        Ok((own.len(), updated))
    }

    /// Another serial, another number of records.
    fn bump(&mut self, key: u128, mut zone: Zone, more: i64) -> Result<(), Refusal> {
        zone.soa.serial = next_serial(zone.soa.serial, first_serial(self.now));
        zone.record_count = zone.record_count.saturating_add_signed(more);
        zone.updated_at = stamp(self.now);
        self.tables.put_zone(key, &zone)?;
        self.touched.zones.insert(key);
        Ok(())
    }

    fn tell(&mut self, key: u128, record: &Record, action: Action) {
        self.touched.names.insert((key, record.name.clone()));
        self.touched.events.push(Event::RecordChanged {
            action,
            zone_id: record.zone_id.clone(),
            record_name: record.name.clone(),
        });
    }

    fn settle(&mut self, address: Option<IpAddr>) -> Result<(), Refusal> {
        address.map_or(Ok(()), |address| self.settle_reverse(address))
    }

    /// Makes the one name of an address right: that of the record written last. What somebody wrote by hand is left alone.
    fn settle_reverse(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let mut wanted: Option<(Record, String)> = None;
        for Placed { record, .. } in self.tables.records_with(address)? {
            let key = key_of(&record.zone_id).unwrap_or_default();
            let Some(zone) = self.tables.zone(key)? else { continue };
            let counts = record.enabled && !record.name.split('.').any(|label| label == "*");
            let later = wanted.as_ref().is_none_or(|(best, _)| best.updated_at <= record.updated_at);
            if counts && later && !reverse::is_reverse(&zone.name) {
                let target = if record.name == "@" {
                    format!("{}.", zone.name)
                } else {
                    format!("{}.{}.", record.name, zone.name)
                };
                wanted = Some((record, target));
            }
        }
        let (zone_name, name) = reverse::place(address);
        let zone = self.tables.zone_named(&zone_name)?;
        let held = zone.map_or(Ok(Vec::new()), |key| self.tables.records_of_name(key, &name))?;
        let (mine, by_hand): (Vec<Record>, Vec<Record>) =
            held.into_iter().filter(|record| record.data.kind() == "PTR").partition(|record| record.reverse);
        let wanted = wanted.filter(|_| by_hand.is_empty());
        let as_wanted = |record: &Record| {
            wanted.as_ref().is_some_and(|(forward, target)| {
                record.data == Data::PTR(target.clone()) && record.ttl == forward.ttl && record.source == forward.source
            })
        };
        if mine.len() == usize::from(wanted.is_some()) && mine.iter().all(as_wanted) {
            return Ok(());
        }
        for record in &mine {
            let (Some(key), Some(id)) = (zone, key_of(&record.id)) else { continue };
            let Some(zone) = self.tables.zone(key)? else { continue };
            let placed = self.record_of(&zone, id)?;
            self.tables.remove_record(key, id, &placed)?;
            self.bump(key, zone, -1)?;
            self.touched.names.insert((key, name.clone()));
        }
        let Some((forward, target)) = wanted else { return Ok(()) };
        self.add_reverse(zone, zone_name, name, &forward, target)
    }

    fn add_reverse(
        &mut self,
        zone: Option<u128>,
        zone_name: String,
        name: String,
        forward: &Record,
        target: String,
    ) -> Result<(), Refusal> {
        let key = match zone {
            Some(key) => key,
            None => {
                let soa = NewSoa::default().complete(&zone_name, first_serial(self.now));
                self.add_zone(zone_name, soa, OWN_ZONE_TTL)?.0
            }
        };
        let Some(zone) = self.tables.zone(key)? else { return Ok(()) };
        let (id, record_key) = new_id();
        let at = stamp(self.now);
        let record = Record {
            id,
            zone_id: id_of(key),
            name: name.clone(),
            ttl: forward.ttl,
            data: Data::PTR(target),
            enabled: true,
            health_check: None,
            source: forward.source,
            origin: None,
            created_at: at.clone(),
            updated_at: at,
            reverse: true,
        };
        self.tables.insert_record(key, record_key, &record)?;
        self.touched.names.insert((key, name));
        self.bump(key, zone, 1)
    }

    /// Makes or replaces a forwarder.
    pub fn put_forwarder(&mut self, new: &NewForwarder) -> Result<Forwarder, Refusal> {
        let zone = forwarder_zone(&new.zone)?;
        if new.servers.is_empty() {
            return Err(Refusal::Bad("servers list cannot be empty".to_owned()));
        }
        if let Some(bad) = new.servers.iter().find(|server| server_address(server).is_none()) {
            return Err(Refusal::Bad(format!("servers: {bad:?} is neither an address nor address:port")));
        }
        let at = self.now.to_string();
        let forwarder =
            Forwarder { zone: zone.clone(), servers: new.servers.clone(), created_at: at.clone(), updated_at: at };
        self.tables.put_forwarder(&forwarder)?;
        self.touched.forwarders = true;
        self.touched.events.push(Event::DnsForwarderChanged { action: Action::Added, zone });
        Ok(forwarder)
    }

    /// Removes a forwarder.
    pub fn delete_forwarder(&mut self, zone: &str) -> Result<(), Refusal> {
        let gone = || Refusal::NotFound(format!("forwarder not found: {zone}"));
        let zone = forwarder_zone(zone).map_err(|_| gone())?;
        if !self.tables.remove_forwarder(&zone)? {
            return Err(gone());
        }
        self.touched.forwarders = true;
        self.touched.events.push(Event::DnsForwarderChanged { action: Action::Deleted, zone });
        Ok(())
    }

    /// Says who may copy zones, and so on.
    pub fn put_transfer(&mut self, config: TransferConfig) -> Result<TransferConfig, Refusal> {
        let bad = |field: &str, value: &str, what: &str| Refusal::Bad(format!("{field}: {value:?} is not {what}"));
        if let Some(range) = config.allow_transfer.iter().find(|range| transfer_range(range).is_none()) {
            return Err(bad("allow_transfer", range, "a CIDR"));
        }
        if let Some(target) = config.notify.iter().find(|target| server_address(target).is_none()) {
            return Err(bad("notify", target, "ip or ip:port"));
        }
        for secondary in &config.secondary {
            names::zone_name(&secondary.zone).map_err(|fault| Refusal::Bad(format!("secondary.zone: {fault}")))?;
            if server_address(&secondary.primary).is_none() {
                return Err(bad("secondary.primary", &secondary.primary, "ip or ip:port"));
            }
        }
        self.tables.put_transfer(&config)?;
        self.touched.transfer = true;
        Ok(config)
    }

    /// Brings in what the configuration says, the first time only.
    pub fn seed(&mut self, forwarders: &[NewForwarder], transfer: TransferConfig) -> Result<(), Refusal> {
        for forwarder in forwarders {
            self.put_forwarder(forwarder)?;
        }
        if !self.tables.has_transfer()? {
            self.put_transfer(transfer)?;
        }
        self.tables.set_seeded()?;
        Ok(())
    }

    /// Puts what another server has of a zone in the place of what is here.
    pub fn import_zone(&mut self, name: &str, soa: Soa, rows: Vec<(String, u32, Data)>) -> Result<usize, Refusal> {
        let (key, mut zone) = match self.tables.zone_named(name)? {
            Some(key) => (key, self.tables.zone(key)?.ok_or_else(no_zone)?),
            None => self.add_zone(name.to_owned(), soa.clone(), OWN_ZONE_TTL)?,
        };
        let addresses = self.empty_zone(key)?;
        let count = rows.len();
        let at = stamp(self.now);
        for (name, ttl, data) in rows {
            let (id, record_key) = new_id();
            let record = Record {
                id,
                zone_id: zone.id.clone(),
                name,
                ttl,
                data,
                enabled: true,
                health_check: None,
                source: RecordSource::Manual,
                origin: None,
                created_at: at.clone(),
                updated_at: at.clone(),
                reverse: false,
            };
            self.tables.insert_record(key, record_key, &record)?;
        }
        zone.record_count = count as u64;
        zone.soa = soa;
        zone.updated_at = at;
        self.tables.put_zone(key, &zone)?;
        self.touched.zones.insert(key);
        for address in addresses {
            self.settle_reverse(address)?;
        }
        Ok(count)
    }
}

/// A forwarder's zone, folded; `.` is everything, and so is `@`, which a path can carry.
pub fn forwarder_zone(text: &str) -> Result<String, Refusal> {
    if text == "." || text == "@" {
        return Ok(".".to_owned());
    }
    names::zone_name(text).map_err(|fault| Refusal::Bad(format!("zone: {fault}")))
}

/// `ip`, for port 53, or `ip:port`.
pub fn server_address(text: &str) -> Option<SocketAddr> {
    let bare = text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    bare.or_else(|| text.parse().ok()).filter(|address| address.port() != 0)
}

/// A range, or one address.
pub fn transfer_range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
