//! What answers are made from: an immutable picture of all zones and forwarders, records encoded as they go into messages.
//!
//! A picture is never changed: a write makes the next one, which shares with the one before whatever the write did not touch.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use imbl::HashMap;
use ipnet::IpNet;

use crate::names::{WireName, and_above};
use crate::rdata::kinds;

/// A pointer to the name in the question, as the owner of a record.
pub const OWNER: [u8; 2] = [0xc0, 12];

/// Everything.
#[derive(Clone, Default)]
pub struct Index {
    /// Zones by name.
    pub zones: HashMap<WireName, Arc<ZoneIndex>>,
    /// Who is asked about what is not ours, by zone.
    pub forwarders: HashMap<WireName, Arc<[SocketAddr]>>,
    /// Who may copy zones.
    pub transfer: Arc<Vec<IpNet>>,
}

impl Index {
    /// Who knows about a name: whoever has the longest zone that fits, we before others.
    pub fn owner_of(&self, name: &[u8]) -> Owner<'_> {
        for above in and_above(name) {
            if let Some(zone) = self.zones.get(above) {
                return Owner::Zone(zone);
            }
            if !self.forwarders.is_empty()
                && let Some(servers) = self.forwarders.get(above)
            {
                return Owner::Others(servers);
            }
        }
        Owner::Nobody
    }

    /// Whether somebody may copy zones.
    pub fn may_copy(&self, who: IpAddr) -> bool {
        let who = who.to_canonical();
        self.transfer.iter().any(|range| range.contains(&who))
    }
}

/// Who knows about a name.
pub enum Owner<'a> {
    /// We do.
    Zone(&'a Arc<ZoneIndex>),
    /// These are to be asked.
    Others(&'a Arc<[SocketAddr]>),
    /// Nobody we know.
    Nobody,
}

/// One zone.
#[derive(Clone)]
pub struct ZoneIndex {
    /// Its name.
    pub apex: WireName,
    /// Its SOA, as an answer.
    pub soa: Arc<[u8]>,
    /// TTL of negative answers: the lesser of the SOA's own and its minimum.
    pub negative_ttl: u32,
    names: HashMap<WireName, Arc<Node>>,
}

/// What stands under one name. A name with nothing that is answered stands here too: it is there, or something below it is.
#[derive(Default, Clone)]
pub struct Node {
    sets: Box<[RecordSet]>,
    /// Records, also those that are switched off.
    rows: u32,
    /// Names directly below.
    below: u32,
}

/// All records of one name and type.
pub struct RecordSet {
    /// Number of the type.
    pub kind: u16,
    /// The records, each as it goes into an answer, its owner a pointer to the question.
    wire: Box<[u8]>,
    /// Where each but the first begins.
    starts: Box<[u32]>,
    /// Which comes first next time.
    turn: AtomicU32,
}

impl Clone for RecordSet {
    fn clone(&self) -> Self {
        let turn = AtomicU32::new(self.turn.load(Ordering::Relaxed));
        Self { kind: self.kind, wire: self.wire.clone(), starts: self.starts.clone(), turn }
    }
}

/// One record as it goes into an answer.
pub fn encode(kind: u16, ttl: u32, data: &[u8], into: &mut Vec<u8>) {
    into.extend(OWNER);
    into.extend(kind.to_be_bytes());
    into.extend(1u16.to_be_bytes());
    into.extend(ttl.to_be_bytes());
    into.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
    into.extend_from_slice(data);
}

impl RecordSet {
    fn new(kind: u16, rows: &[(u32, Vec<u8>)]) -> Self {
        let mut wire = Vec::new();
        let mut starts = Vec::new();
        for (ttl, data) in rows {
            if !wire.is_empty() {
                starts.push(u32::try_from(wire.len()).unwrap_or_default());
            }
            encode(kind, *ttl, data, &mut wire);
        }
        Self { kind, wire: wire.into(), starts: starts.into(), turn: AtomicU32::new(0) }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.starts.len() + 1
    }

    /// The records in two pieces, beginning with another one each time.
    pub fn rotated(&self) -> (&[u8], &[u8]) {
        if self.starts.is_empty() {
            return (&self.wire, &[]);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % self.len();
        let start = if turn == 0 { 0 } else { self.starts[turn - 1] as usize };
        let (last, first) = self.wire.split_at(start);
        (first, last)
    }

    /// The one record whose turn it is: a name has one alias at a time.
    pub fn one(&self) -> &[u8] {
        let (first, _) = self.rotated();
        first.get(..record_length(first)).unwrap_or(first)
    }

    /// Each record.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.wire;
        std::iter::from_fn(move || {
            let (one, after) = rest.split_at_checked(record_length(rest).max(1))?;
            rest = after;
            Some(one)
        })
    }
}

/// Length of the first record of an encoded run.
fn record_length(run: &[u8]) -> usize {
    let length = run.get(10..12).map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    12 + length
}

/// A record on its way into a node.
pub struct Row {
    /// Number of the type.
    pub kind: u16,
    /// TTL.
    pub ttl: u32,
    /// Data as in messages.
    pub data: Vec<u8>,
    /// Whether it is answered.
    pub enabled: bool,
}

/// What is found under a name.
pub enum Found<'a> {
    /// Records of the type.
    Set(&'a RecordSet),
    /// The name is an alias.
    Alias(&'a RecordSet),
    /// The zone's SOA.
    Soa,
    /// The name is there, the type is not.
    NoData,
    /// Nothing of this name.
    NoName,
}

impl Node {
    fn pick(&self, kind: u16) -> Found<'_> {
        let of = |kind| self.sets.iter().find(|set| set.kind == kind);
        if let Some(set) = of(kind) {
            return Found::Set(set);
        }
        if kind == kinds::ANY {
            // One is enough for who asks for any (RFC 8482).
            return self.sets.first().map_or(Found::NoData, Found::Set);
        }
        of(kinds::CNAME).map_or(Found::NoData, Found::Alias)
    }
}

impl ZoneIndex {
    /// A zone without records.
    pub fn new(apex: WireName, soa: &[u8], ttl: u32, minimum: u32) -> Self {
        let mut zone = Self { apex, soa: Arc::from([]), negative_ttl: 0, names: HashMap::new() };
        zone.renew_soa(soa, ttl, minimum);
        zone
    }

    /// The same zone with nothing in it.
    pub fn emptied(&self) -> Self {
        Self { names: HashMap::new(), ..self.clone() }
    }

    /// Another SOA.
    pub fn renew_soa(&mut self, soa: &[u8], ttl: u32, minimum: u32) {
        let mut wire = Vec::new();
        encode(kinds::SOA, ttl, soa, &mut wire);
        self.soa = wire.into();
        self.negative_ttl = ttl.min(minimum);
    }

    /// What the zone says about a name of its own.
    pub fn find(&self, name: &[u8], kind: u16) -> Found<'_> {
        if name == self.apex.bytes() {
            if kind == kinds::SOA {
                return Found::Soa;
            }
            return self.names.get(name).map_or(Found::NoData, |node| node.pick(kind));
        }
        if let Some(node) = self.names.get(name) {
            return node.pick(kind);
        }
        // The closest name above that is there; a wildcard counts only directly below it (RFC 4592).
        for above in and_above(name).skip(1) {
            let is_apex = above == self.apex.bytes();
            if is_apex || self.names.contains_key(above) {
                let mut wildcard = [0u8; 257];
                wildcard[..2].copy_from_slice(b"\x01*");
                let end = 2 + above.len();
                let Some(room) = wildcard.get_mut(2..end) else { return Found::NoName };
                room.copy_from_slice(above);
                return self.names.get(&wildcard[..end]).map_or(Found::NoName, |node| node.pick(kind));
            }
        }
        Found::NoName
    }

    /// Puts what a name holds now in the place of what it held.
    pub fn put(&mut self, name: &WireName, rows: &[Row]) {
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let sets = sets_of(rows);
        match self.names.get_mut(name.bytes()) {
            Some(node) => {
                let node = Arc::make_mut(node);
                (node.sets, node.rows) = (sets, count);
                if count == 0 && node.below == 0 {
                    self.take(name);
                }
            }
            None if count == 0 => {}
            None => {
                self.names.insert(name.clone(), Arc::new(Node { sets, rows: count, below: 0 }));
                self.grow_above(name);
            }
        }
    }

    /// A new name makes those above it be there.
    fn grow_above(&mut self, name: &WireName) {
        for above in self.between(name) {
            if let Some(node) = self.names.get_mut(above.bytes()) {
                Arc::make_mut(node).below += 1;
                return;
            }
            self.names.insert(above, Arc::new(Node { below: 1, ..Node::default() }));
        }
    }

    /// A name that goes takes those above it along that were there for it alone.
    fn take(&mut self, name: &WireName) {
        self.names.remove(name.bytes());
        for above in self.between(name) {
            let Some(node) = self.names.get_mut(above.bytes()) else { return };
            let node = Arc::make_mut(node);
            node.below = node.below.saturating_sub(1);
            if node.below > 0 || node.rows > 0 {
                return;
            }
            self.names.remove(above.bytes());
        }
    }

    /// The names above one, below the apex, the nearest first.
    fn between(&self, name: &WireName) -> Vec<WireName> {
        let own = and_above(name.bytes()).skip(1).take_while(|above| *above != self.apex.bytes());
        if name == &self.apex { Vec::new() } else { own.map(WireName::from).collect() }
    }

    /// Every record that is answered, with its owner, in an order that stays.
    pub fn everything(&self) -> Vec<(WireName, Arc<Node>)> {
        let mut all: Vec<_> = self.names.iter().map(|(name, node)| (name.clone(), node.clone())).collect();
        all.sort_by(|one, two| one.0.cmp(&two.0));
        all
    }

    /// How many names are known, those with nothing of their own included.
    #[cfg(test)]
    pub fn names(&self) -> usize {
        self.names.len()
    }
}

impl Node {
    /// The records.
    pub fn sets(&self) -> &[RecordSet] {
        &self.sets
    }
}

/// Sets of what is enabled, in the order of the rows; the same data twice is answered once.
fn sets_of(rows: &[Row]) -> Box<[RecordSet]> {
    let mut kinds: Vec<u16> = rows.iter().filter(|row| row.enabled).map(|row| row.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let set = |kind: u16| {
        let mut seen = std::collections::BTreeSet::new();
        let own = rows.iter().filter(|row| row.enabled && row.kind == kind);
        let own = own.filter(|row| seen.insert(row.data.as_slice())).map(|row| (row.ttl, row.data.clone()));
        RecordSet::new(kind, &own.collect::<Vec<_>>())
    };
    kinds.into_iter().map(set).collect()
}

#[cfg(test)]
mod tests;
