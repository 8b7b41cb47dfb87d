//! Which address is free: plain data, no clock, no I/O.
//!
//! An address is in use when a lease, a claim (a pod's last known address) or an interface of the device has it, or when somebody
//! is heard under it. A claim is the pod's, whatever its interface is called: names of interfaces can collide and then get a
//! suffix, pods cannot. Dynamic addresses are handed out round robin, so that an address just given back rests as long as
//! possible; an interface that comes back under its name gets the one it had.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use imbl::OrdMap;
use mkube_messages::ipam::{AddressLease, HeldAddress, IpamFault};
use mkube_messages::objects::ObjectKey;
use mkube_model::IpNet;
use mkube_model::network::Network;

use crate::taken::Taken;

/// Interfaces that are gone and whose last address is remembered.
const REMEMBERED: usize = 4096;
/// Holders that are named when a network is exhausted.
const NAMED: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The interface; the lease's key.
    pub veth: &'a str,
    /// The pod it belongs to: it may take what was claimed for it.
    pub pod: &'a ObjectKey,
    /// Network name, or the first one.
    pub network: Option<&'a str>,
    /// This address and no other.
    pub wanted: Option<Ipv4Addr>,
    /// This address if it is free.
    pub previous: Option<Ipv4Addr>,
}

/// Leases of all networks.
#[derive(Debug, Default)]
pub struct LeaseTable {
    networks: Vec<Arc<Network>>,
    /// Address of each interface that has one.
    by_veth: BTreeMap<String, Ipv4Addr>,
    /// The same, the other way.
    by_address: BTreeMap<Ipv4Addr, String>,
    /// The pod of each interface that asked for its lease.
    pods: BTreeMap<String, ObjectKey>,
    /// Last known addresses of pods that did not ask yet.
    claims: BTreeMap<Ipv4Addr, ObjectKey>,
    /// Interfaces as last seen on the device, ours or not; nobody keeps people from giving an address twice.
    device: BTreeMap<Ipv4Addr, BTreeSet<String>>,
    /// The same, the other way.
    on_veth: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Interfaces of the device that may have no lease of what they hold.
    unleased: BTreeSet<String>,
    /// Addresses somebody was heard under, and behind which bridge.
    heard: BTreeMap<Ipv4Addr, String>,
    /// Addresses that were given out in this life: who is heard under one was perhaps only ours.
    given: BTreeSet<Ipv4Addr>,
    /// What interfaces had that are gone, and the order in which they went.
    last: (BTreeMap<String, Ipv4Addr>, VecDeque<String>),
    /// What is told of the leases; a copy costs nothing.
    told: OrdMap<String, HeldAddress>,
    /// Where the search goes on, per network.
    cursor: BTreeMap<String, Ipv4Addr>,
    /// What the search need not look at again, per network.
    taken: BTreeMap<String, Taken>,
}

impl LeaseTable {
    /// An empty table.
    pub fn new(networks: Vec<Arc<Network>>) -> Self {
        let mut table = Self::default();
        table.set_networks(networks);
        table
    }

    /// These networks there are from now on. What is leased stays leased.
    pub fn set_networks(&mut self, networks: Vec<Arc<Network>>) {
        self.taken = networks.iter().map(|one| (one.name.clone(), Taken::new(one.first, one.last))).collect();
        self.networks = networks;
    }

    /// The network of that name, or the first.
    pub fn network(&self, name: Option<&str>) -> Result<&Arc<Network>, IpamFault> {
        let found = match name {
            None => self.networks.first(),
            Some(name) => self.networks.iter().find(|network| network.name == name),
        };
        found.ok_or_else(|| IpamFault::UnknownNetwork {
            network: name.unwrap_or_default().to_owned(),
            known: self.networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Interfaces of the device came, changed or went (then they have no addresses), in order of their names. What they hold is
    /// leased to them. Costs as much as there are changes.
    pub fn see_device<'a>(&mut self, changes: impl Iterator<Item = (&'a str, &'a [IpNet])>) {
        for (veth, addresses) in changes {
            for address in self.on_veth.remove(veth).unwrap_or_default() {
                if let Some(veths) = self.device.get_mut(&address) {
                    veths.remove(veth);
                    if veths.is_empty() {
                        self.device.remove(&address);
                    }
                }
                self.look_again(address);
            }
            let addresses = addresses.iter().filter_map(|address| match address.addr() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            let addresses: Vec<Ipv4Addr> = addresses.collect();
            for address in &addresses {
                self.device.entry(*address).or_default().insert(veth.to_owned());
            }
            if !addresses.is_empty() {
                self.on_veth.insert(veth.to_owned(), addresses);
                self.unleased.insert(veth.to_owned());
            }
        }
        for veth in std::mem::take(&mut self.unleased) {
            let Some(addresses) = self.on_veth.get(&veth).filter(|_| !self.by_veth.contains_key(&veth)) else {
                continue;
            };
            match addresses.iter().find(|address| !self.by_address.contains_key(*address)) {
                Some(address) => self.insert(&veth, *address),
                // It gets one when whoever has it gives it back.
                None => drop(self.unleased.insert(veth)),
            }
        }
    }

    /// Replaces what is known of who is heard, and behind which bridge.
    pub fn hear(&mut self, heard: impl Iterator<Item = (Ipv4Addr, String)>) {
        let before = std::mem::replace(&mut self.heard, heard.collect());
        before.keys().for_each(|address| self.look_again(*address));
    }

    /// A pod had this address according to the store: nobody else gets it while the pod exists.
    pub fn claim(&mut self, pod: &ObjectKey, address: Ipv4Addr) {
        if !self.by_address.contains_key(&address) && self.on_device(address).next().is_none() {
            self.claims.entry(address).or_insert_with(|| pod.clone());
        }
    }

    /// Whether a lease for this wish has to be searched for: then it is worth knowing who is heard.
    pub fn searches(&self, wish: Wish<'_>) -> bool {
        let Ok(network) = self.network(wish.network) else { return false };
        wish.wanted.is_none() && self.held(network, wish).is_none() && self.kept(network, wish).is_none()
    }

    /// Leases an address. The same interface gets the same answer again; a different wish moves it.
    pub fn lease(&mut self, wish: Wish<'_>) -> Result<AddressLease, IpamFault> {
        let network = self.network(wish.network)?.clone();
        if let Some(held) = self.held(&network, wish) {
            self.belongs_to(wish.veth, wish.pod);
            return Ok(lease_of(&network, held));
        }
        let address = match wish.wanted {
            Some(wanted) => self.check_static(&network, wish, wanted)?,
            None => match self.turned_back(&network, wish).or_else(|| self.kept(&network, wish)) {
                Some(kept) => kept,
                None => self.next_free(&network, wish)?,
            },
        };
        self.release(wish.veth);
        self.insert(wish.veth, address);
        self.belongs_to(wish.veth, wish.pod);
        self.claims.remove(&address);
        Ok(lease_of(&network, address))
    }

    /// Gives an address back.
    pub fn release(&mut self, veth: &str) {
        self.pods.remove(veth);
        self.told.remove(veth);
        if let Some(address) = self.by_veth.remove(veth) {
            self.by_address.remove(&address);
            self.unleased.insert(veth.to_owned());
            self.unleased.extend(self.device.get(&address).into_iter().flatten().cloned());
            self.look_again(address);
            self.remember(veth, address);
        }
    }

    /// Forgets leases and claims of pods that do not exist any more. Interfaces that are on the device keep theirs. Answers
    /// the interfaces whose lease was forgotten.
    pub fn forget_pods(
        &mut self,
        exists: impl Fn(&ObjectKey) -> bool,
        on_device: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let (kept, gone) = std::mem::take(&mut self.claims).into_iter().partition(|(_, pod)| exists(pod));
        self.claims = kept;
        let gone: BTreeMap<Ipv4Addr, ObjectKey> = gone;
        gone.keys().for_each(|address| self.look_again(*address));
        let kept = |veth: &str| on_device(veth) || self.pods.get(veth).is_some_and(&exists);
        let gone: Vec<String> = self.by_veth.keys().filter(|veth| !kept(veth)).cloned().collect();
        gone.iter().for_each(|veth| self.release(veth));
        gone
    }

    /// Every lease, as it is told.
    pub fn told(&self) -> OrdMap<String, HeldAddress> {
        self.told.clone()
    }

    /// What the interface has already, if that is as wished.
    fn held(&self, network: &Network, wish: Wish<'_>) -> Option<Ipv4Addr> {
        let held = self.by_veth.get(wish.veth).copied()?;
        // Somebody may have put the address on another interface meanwhile.
        let rival = self.on_device(held).any(|veth| veth != wish.veth);
        let turned_back = self.turned_back(network, wish).is_some();
        let fits = network.cidr.contains(&held) && held != network.gateway && !rival && !turned_back;
        (fits && wish.wanted.is_none_or(|wanted| wanted == held)).then_some(held)
    }

    /// A move to another address that was taken back before the interface moved: it stays where it is.
    fn turned_back(&self, network: &Network, wish: Wish<'_>) -> Option<Ipv4Addr> {
        let held = *self.by_veth.get(wish.veth)?;
        let last = *self.last.0.get(wish.veth)?;
        let has = |address| self.on_device(address).any(|veth| veth == wish.veth);
        let stays = wish.wanted.is_none() && last != held && has(last) && !has(held);
        (stays && self.is_free(network, wish, last)).then_some(last)
    }

    /// What the pod or the interface had before, if it can have that again. Who is heard under it may be the one who had it.
    fn kept(&self, network: &Network, wish: Wish<'_>) -> Option<Ipv4Addr> {
        let last = self.last.0.get(wish.veth).copied();
        // A life that ended before the interface was made may have told the address already.
        let claimed = self.claims.iter().filter(|(_, pod)| *pod == wish.pod).map(|(address, _)| *address);
        wish.previous.into_iter().chain(last).chain(claimed).find(|address| self.is_free(network, wish, *address))
    }

    fn remember(&mut self, veth: &str, address: Ipv4Addr) {
        let (addresses, order) = &mut self.last;
        if addresses.insert(veth.to_owned(), address).is_none() {
            order.push_back(veth.to_owned());
        }
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            addresses.remove(&oldest);
        }
    }

    /// Whatever kept the address from being given out may be gone.
    fn look_again(&mut self, address: Ipv4Addr) {
        self.taken.values_mut().for_each(|taken| taken.clear(address));
    }

    fn belongs_to(&mut self, veth: &str, pod: &ObjectKey) {
        if self.pods.get(veth) == Some(pod) {
            return;
        }
        self.pods.insert(veth.to_owned(), pod.clone());
        if let Some(held) = self.told.get_mut(veth) {
            held.pod = Some(pod.clone());
        }
    }

    fn insert(&mut self, veth: &str, address: Ipv4Addr) {
        self.told.insert(veth.to_owned(), HeldAddress { address, pod: self.pods.get(veth).cloned() });
        self.by_veth.insert(veth.to_owned(), address);
        self.by_address.insert(address, veth.to_owned());
        self.given.insert(address);
    }

    fn on_device(&self, address: Ipv4Addr) -> impl Iterator<Item = &str> {
        self.device.get(&address).into_iter().flatten().map(String::as_str)
    }

    /// Who has an address that is not the wish's own to take.
    fn other_holder(&self, wish: Wish<'_>, address: Ipv4Addr) -> Option<String> {
        let leased = self.by_address.get(&address).map(String::as_str);
        if let Some(holder) = leased.into_iter().chain(self.on_device(address)).find(|holder| *holder != wish.veth) {
            return Some(holder.to_owned());
        }
        self.claims.get(&address).filter(|pod| *pod != wish.pod).map(|pod| format!("pod {pod}"))
    }

    fn check_static(&self, network: &Network, wish: Wish<'_>, wanted: Ipv4Addr) -> Result<Ipv4Addr, IpamFault> {
        let inside = network.cidr.contains(&wanted)
            && (network.cidr.prefix_len() > 30
                || (wanted != network.cidr.network() && wanted != network.cidr.broadcast()));
        if !inside {
            return Err(IpamFault::OutOfRange {
                address: wanted,
                network: network.name.clone(),
                cidr: network.cidr.to_string(),
            });
        }
        if wanted == network.gateway {
            return Err(IpamFault::Reserved {
                address: wanted,
                network: network.name.clone(),
                why: "the gateway".into(),
            });
        }
        match self.other_holder(wish, wanted) {
            Some(holder) => Err(IpamFault::Taken { address: wanted, holder }),
            None => Ok(wanted),
        }
    }

    fn is_free(&self, network: &Network, wish: Wish<'_>, address: Ipv4Addr) -> bool {
        network.cidr.contains(&address)
            && !network.keeps_for_itself(address)
            && self.other_holder(wish, address).is_none()
    }

    /// Somebody is heard under it on the network's bridge.
    fn is_heard(&self, network: &Network, address: Ipv4Addr) -> bool {
        self.heard.get(&address).is_some_and(|bridge| *bridge == network.bridge)
    }

    fn next_free(&mut self, network: &Network, wish: Wish<'_>) -> Result<Ipv4Addr, IpamFault> {
        let quiet = |table: &Self, address| !table.is_heard(network, address);
        // Who is heard under an address that was ours may be heard no more soon: better than none.
        let ours = |table: &Self, address| !table.is_heard(network, address) || table.given.contains(&address);
        let found = self.search(network, wish, quiet).or_else(|| {
            self.taken.entry(network.name.clone()).or_insert_with(|| Taken::new(network.first, network.last)).reset();
            self.search(network, wish, ours)
        });
        let Some(address) = found else {
            return Err(self.exhausted(network, wish));
        };
        let next = u32::from(address).saturating_add(1);
        let next = if next > u32::from(network.last) { network.first } else { Ipv4Addr::from(next) };
        self.cursor.insert(network.name.clone(), next);
        Ok(address)
    }

    /// The next free address from the cursor on. What is found in use is not looked at again before that may have changed.
    fn search(
        &mut self,
        network: &Network,
        wish: Wish<'_>,
        fits: impl Fn(&Self, Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let mut from = self.cursor.get(&network.name).copied().unwrap_or(network.first);
        loop {
            let address = self.taken.get(&network.name)?.next_clear(from)?;
            if self.is_free(network, wish, address) && fits(self, address) {
                return Some(address);
            }
            self.taken.get_mut(&network.name)?.mark(address);
            from = address;
        }
    }

    fn exhausted(&self, network: &Network, wish: Wish<'_>) -> IpamFault {
        let range = network.first..=network.last;
        let used = range.clone().filter(|address| !self.is_free(network, wish, *address)).count();
        let heard = range.clone().filter(|address| self.is_heard(network, *address)).count();
        let holder = |veth: &String| match self.pods.get(veth) {
            Some(pod) => format!("pod {pod}"),
            None => format!("interface {veth}"),
        };
        let leased = self.by_address.range(range.clone()).map(|(_, veth)| holder(veth));
        let claimed = self.claims.range(range).map(|(_, pod)| format!("pod {pod}"));
        let mut holders: Vec<String> = leased.chain(claimed).collect();
        holders.dedup();
        let more = holders.len().saturating_sub(NAMED);
        holders.truncate(NAMED);
        if more > 0 {
            holders.push(format!("{more} more"));
        }
        if heard > 0 {
            holders.push(format!("{heard} addresses seen in use on {}", network.bridge));
        }
        let size = network.size();
        IpamFault::Exhausted { network: network.name.clone(), used, size, holders: holders.join(", ") }
    }
}

fn lease_of(network: &Network, address: Ipv4Addr) -> AddressLease {
    AddressLease {
        network: network.name.clone(),
        address: IpNet::new(IpAddr::V4(address), network.cidr.prefix_len())
            .unwrap_or_else(|_| IpAddr::V4(address).into()),
        gateway: network.gateway,
        bridge: network.bridge.clone(),
        dns: network.dns.clone(),
    }
}

#[cfg(test)]
#[path = "lease_table_tests.rs"]
mod tests;
