//! Which address is free: plain data, no clock, no I/O.
//!
//! An address is in use when a lease, a claim (a pod's last known address) or an interface of the device has it. Dynamic
//! addresses are handed out round robin, so that an address just given back rests as long as possible.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use mkube_messages::ipam::{AddressLease, IpamFault};
use mkube_model::IpNet;
use mkube_model::network::Network;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The interface; the lease's key.
    pub veth: &'a str,
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
    networks: Vec<Network>,
    /// Address of each interface that has one.
    by_veth: HashMap<String, Ipv4Addr>,
    /// The same, the other way.
    by_address: BTreeMap<Ipv4Addr, String>,
    /// Interfaces as last seen on the device, ours or not.
    device: HashMap<Ipv4Addr, String>,
    /// Where the search goes on, per network.
    cursor: HashMap<String, Ipv4Addr>,
}

impl LeaseTable {
    /// An empty table.
    pub fn new(networks: Vec<Network>) -> Self {
        Self { networks, ..Self::default() }
    }

    /// The network of that name, or the first.
    pub fn network(&self, name: Option<&str>) -> Result<&Network, IpamFault> {
        let found = match name {
            None => self.networks.first(),
            Some(name) => self.networks.iter().find(|network| network.name == name),
        };
        found.ok_or_else(|| IpamFault::UnknownNetwork {
            network: name.unwrap_or_default().to_owned(),
            known: self.networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Replaces what is known of the device's interfaces, and leases what they hold to them.
    pub fn see_device<'a>(&mut self, veths: impl Iterator<Item = (&'a str, &'a [IpNet])>) {
        self.device.clear();
        for (veth, addresses) in veths {
            for address in addresses {
                if let IpAddr::V4(address) = address.addr() {
                    self.device.insert(address, veth.to_owned());
                    if !self.by_veth.contains_key(veth) && !self.by_address.contains_key(&address) {
                        self.insert(veth, address);
                    }
                }
            }
        }
    }

    /// A pod had this address according to the store: nobody else gets it while the pod exists.
    pub fn claim(&mut self, veth: &str, address: Ipv4Addr) {
        if !self.by_veth.contains_key(veth) && self.holder(address).is_none() {
            self.insert(veth, address);
        }
    }

    /// Leases an address. The same interface gets the same answer again; a different wish moves it.
    pub fn lease(&mut self, wish: Wish<'_>) -> Result<AddressLease, IpamFault> {
        let network = self.network(wish.network)?.clone();
        if let Some(held) = self.by_veth.get(wish.veth).copied()
            && network.cidr.contains(&held)
            && wish.wanted.is_none_or(|wanted| wanted == held)
        {
            return Ok(lease_of(&network, held));
        }
        let address = match wish.wanted {
            Some(wanted) => self.check_static(&network, wish.veth, wanted)?,
            None => match wish.previous.filter(|address| self.is_free(&network, wish.veth, *address)) {
                Some(previous) => previous,
                None => self.next_free(&network, wish.veth)?,
            },
        };
        self.release(wish.veth);
        self.insert(wish.veth, address);
        Ok(lease_of(&network, address))
    }

    /// Gives an address back.
    pub fn release(&mut self, veth: &str) {
        if let Some(address) = self.by_veth.remove(veth) {
            self.by_address.remove(&address);
        }
    }

    /// Interfaces that hold a lease.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        self.by_veth.keys().map(String::as_str)
    }

    fn insert(&mut self, veth: &str, address: Ipv4Addr) {
        self.by_veth.insert(veth.to_owned(), address);
        self.by_address.insert(address, veth.to_owned());
    }

    fn holder(&self, address: Ipv4Addr) -> Option<&str> {
        self.by_address.get(&address).or_else(|| self.device.get(&address)).map(String::as_str)
    }

    fn check_static(&self, network: &Network, veth: &str, wanted: Ipv4Addr) -> Result<Ipv4Addr, IpamFault> {
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
        match self.holder(wanted) {
            Some(holder) if holder != veth => Err(IpamFault::Taken { address: wanted, holder: holder.to_owned() }),
            _ => Ok(wanted),
        }
    }

    fn is_free(&self, network: &Network, veth: &str, address: Ipv4Addr) -> bool {
        network.cidr.contains(&address)
            && address != network.gateway
            && !network.reserved.iter().any(|(reserved, _)| *reserved == address)
            && self.holder(address).is_none_or(|holder| holder == veth)
    }

    fn next_free(&mut self, network: &Network, veth: &str) -> Result<Ipv4Addr, IpamFault> {
        let (first, last) = (u32::from(network.first), u32::from(network.last));
        let start = self.cursor.get(&network.name).map_or(first, |cursor| u32::from(*cursor)).clamp(first, last);
        let found = (start..=last)
            .chain(first..start)
            .map(Ipv4Addr::from)
            .find(|address| self.is_free(network, veth, *address));
        let Some(address) = found else {
            let used = self.by_address.range(network.first..=network.last).count();
            return Err(IpamFault::Exhausted { network: network.name.clone(), used, size: network.size() });
        };
        let next = u32::from(address).saturating_add(1);
        self.cursor.insert(network.name.clone(), Ipv4Addr::from(if next > last { first } else { next }));
        Ok(address)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> LeaseTable {
        LeaseTable::new(vec![network("gt", "10.90.0.0/24", 2, 5), network("g10", "10.91.0.0/24", 200, 250)])
    }

    fn network(name: &str, cidr: &str, first: u8, last: u8) -> Network {
        let cidr: ipnet::Ipv4Net = cidr.parse().expect("a literal");
        let [a, b, c, _] = cidr.network().octets();
        Network {
            name: name.into(),
            cidr,
            gateway: Ipv4Addr::new(a, b, c, 1),
            bridge: format!("bridge-{name}"),
            managed: true,
            first: Ipv4Addr::new(a, b, c, first),
            last: Ipv4Addr::new(a, b, c, last),
            dns: vec![],
            reserved: vec![(Ipv4Addr::new(a, b, c, 3), "static record nas".into())],
        }
    }

    fn wish(veth: &str) -> Wish<'_> {
        Wish { veth, network: None, wanted: None, previous: None }
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("a literal")
    }

    #[test]
    fn the_same_interface_gets_the_same_address_again() {
        let mut table = table();
        let first = table.lease(wish("a")).expect("free");
        assert_eq!(first.address.to_string(), "10.90.0.2/24");
        assert_eq!(table.lease(wish("a")), Ok(first));
    }

    #[test]
    fn reserved_addresses_are_skipped_and_exhaustion_names_the_network() {
        let mut table = table();
        let given: Vec<_> = ["a", "b", "c"].map(|veth| table.lease(wish(veth)).expect("free").address.addr()).into();
        assert_eq!(given, [ip("10.90.0.2"), ip("10.90.0.4"), ip("10.90.0.5")]);
        assert_eq!(table.lease(wish("d")), Err(IpamFault::Exhausted { network: "gt".into(), used: 3, size: 4 }));
    }

    #[test]
    fn an_address_given_back_rests_until_the_others_were_used() {
        let mut table = table();
        table.lease(wish("a")).expect("free");
        table.release("a");
        assert_eq!(table.lease(wish("b")).expect("free").address.addr(), ip("10.90.0.4"));
    }

    #[test]
    fn a_static_address_must_be_inside_free_and_not_the_gateway() {
        let mut table = table();
        let ask = |table: &mut LeaseTable, veth: &str, wanted: &str| {
            table.lease(Wish { veth, network: Some("gt"), wanted: Some(ip(wanted)), previous: None })
        };
        assert!(matches!(ask(&mut table, "a", "10.99.0.1"), Err(IpamFault::OutOfRange { .. })));
        assert!(matches!(ask(&mut table, "a", "10.90.0.255"), Err(IpamFault::OutOfRange { .. })));
        assert!(matches!(ask(&mut table, "a", "10.90.0.1"), Err(IpamFault::Reserved { .. })));
        ask(&mut table, "a", "10.90.0.77").expect("outside the dynamic range is fine");
        assert_eq!(
            ask(&mut table, "b", "10.90.0.77"),
            Err(IpamFault::Taken { address: ip("10.90.0.77"), holder: "a".into() })
        );
    }

    #[test]
    fn interfaces_seen_on_the_device_keep_their_addresses() {
        let mut table = table();
        let on_device: Vec<IpNet> = vec!["10.90.0.2/24".parse().expect("a literal")];
        table.see_device([("veth-mkube", on_device.as_slice())].into_iter());
        assert_eq!(table.lease(wish("a")).expect("free").address.addr(), ip("10.90.0.4"));
        assert_eq!(table.lease(wish("veth-mkube")).expect("its own").address.addr(), ip("10.90.0.2"));
    }

    #[test]
    fn a_pod_gets_its_previous_address_back_unless_somebody_has_it() {
        let mut table = table();
        let previous = Some(ip("10.90.0.5"));
        let asked = |veth| Wish { veth, network: None, wanted: None, previous };
        assert_eq!(table.lease(asked("a")).expect("free").address.addr(), ip("10.90.0.5"));
        assert_eq!(table.lease(asked("b")).expect("another").address.addr(), ip("10.90.0.2"));
    }

    #[test]
    fn an_unknown_network_is_refused_with_the_known_ones() {
        let fault = table().lease(Wish { veth: "a", network: Some("nope"), wanted: None, previous: None });
        assert_eq!(fault, Err(IpamFault::UnknownNetwork { network: "nope".into(), known: "gt, g10".into() }));
    }

    proptest! {
        #[test]
        fn no_two_interfaces_ever_share_an_address(steps in prop::collection::vec((0u8..12, any::<bool>(), 0u8..8), 0..120)) {
            let mut table = table();
            let mut model: HashMap<String, IpAddr> = HashMap::new();
            for (who, give, host) in steps {
                let veth = format!("v{who}");
                if give {
                    let wanted = (host > 1).then(|| Ipv4Addr::new(10, 90, 0, host));
                    if let Ok(lease) = table.lease(Wish { veth: &veth, network: None, wanted, previous: None }) {
                        model.insert(veth, lease.address.addr());
                    }
                } else {
                    table.release(&veth);
                    model.remove(&veth);
                }
                let mut addresses: Vec<_> = model.values().collect();
                addresses.sort();
                addresses.dedup();
                prop_assert_eq!(addresses.len(), model.len());
            }
        }
    }
}
