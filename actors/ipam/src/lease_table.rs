//! Which address is free: plain data, no clock, no I/O.
//!
//! An address is in use when a lease, a claim (a pod's last known address) or an interface of the device has it. A claim is
//! the pod's, whatever its interface is called: names of interfaces can collide and then get a suffix, pods cannot. Dynamic
//! addresses are handed out round robin, so that an address just given back rests as long as possible.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use imbl::OrdMap;
use mkube_messages::ipam::{AddressLease, HeldAddress, IpamFault};
use mkube_messages::objects::ObjectKey;
use mkube_model::IpNet;
use mkube_model::network::Network;

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
    networks: Vec<Network>,
    /// Address of each interface that has one.
    by_veth: BTreeMap<String, Ipv4Addr>,
    /// The same, the other way.
    by_address: BTreeMap<Ipv4Addr, String>,
    /// The pod of each interface that asked for its lease.
    pods: BTreeMap<String, ObjectKey>,
    /// Last known addresses of pods that did not ask yet.
    claims: BTreeMap<Ipv4Addr, ObjectKey>,
    /// Interfaces as last seen on the device, ours or not; nobody keeps people from giving an address twice.
    device: BTreeMap<Ipv4Addr, Vec<String>>,
    /// What is told of the leases; a copy costs nothing.
    told: OrdMap<String, HeldAddress>,
    /// Where the search goes on, per network.
    cursor: BTreeMap<String, Ipv4Addr>,
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
                    self.device.entry(address).or_default().push(veth.to_owned());
                    if !self.by_veth.contains_key(veth) && !self.by_address.contains_key(&address) {
                        self.insert(veth, address);
                    }
                }
            }
        }
    }

    /// A pod had this address according to the store: nobody else gets it while the pod exists.
    pub fn claim(&mut self, pod: &ObjectKey, address: Ipv4Addr) {
        if !self.by_address.contains_key(&address) && self.on_device(address).next().is_none() {
            self.claims.entry(address).or_insert_with(|| pod.clone());
        }
    }

    /// Leases an address. The same interface gets the same answer again; a different wish moves it.
    pub fn lease(&mut self, wish: Wish<'_>) -> Result<AddressLease, IpamFault> {
        let network = self.network(wish.network)?.clone();
        if let Some(held) = self.by_veth.get(wish.veth).copied() {
            // Somebody may have put the address on another interface meanwhile.
            let rival = self.on_device(held).any(|veth| veth != wish.veth);
            let fits = network.cidr.contains(&held) && held != network.gateway && !rival;
            if fits && wish.wanted.is_none_or(|wanted| wanted == held) {
                self.belongs_to(wish.veth, wish.pod);
                return Ok(lease_of(&network, held));
            }
        }
        let address = match wish.wanted {
            Some(wanted) => self.check_static(&network, wish, wanted)?,
            None => match wish.previous.filter(|address| self.is_free(&network, wish, *address)) {
                Some(previous) => previous,
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
        }
    }

    /// Forgets leases and claims of pods that do not exist any more. Interfaces that are on the device keep theirs. Answers
    /// the interfaces whose lease was forgotten.
    pub fn forget_pods(
        &mut self,
        exists: impl Fn(&ObjectKey) -> bool,
        on_device: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        self.claims.retain(|_, pod| exists(pod));
        let kept = |veth: &str| on_device(veth) || self.pods.get(veth).is_some_and(&exists);
        let gone: Vec<String> = self.by_veth.keys().filter(|veth| !kept(veth)).cloned().collect();
        gone.iter().for_each(|veth| self.release(veth));
        gone
    }

    /// Every lease, as it is told.
    pub fn told(&self) -> OrdMap<String, HeldAddress> {
        self.told.clone()
    }

    fn belongs_to(&mut self, veth: &str, pod: &ObjectKey) {
        self.pods.insert(veth.to_owned(), pod.clone());
        if let Some(held) = self.told.get_mut(veth) {
            held.pod = Some(pod.clone());
        }
    }

    fn insert(&mut self, veth: &str, address: Ipv4Addr) {
        self.told.insert(veth.to_owned(), HeldAddress { address, pod: self.pods.get(veth).cloned() });
        self.by_veth.insert(veth.to_owned(), address);
        self.by_address.insert(address, veth.to_owned());
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
            && address != network.gateway
            && !network.reserved.iter().any(|(reserved, _)| *reserved == address)
            && self.other_holder(wish, address).is_none()
    }

    fn next_free(&mut self, network: &Network, wish: Wish<'_>) -> Result<Ipv4Addr, IpamFault> {
        let (first, last) = (u32::from(network.first), u32::from(network.last));
        let start = self.cursor.get(&network.name).map_or(first, |cursor| u32::from(*cursor)).clamp(first, last);
        let found = (start..=last)
            .chain(first..start)
            .map(Ipv4Addr::from)
            .find(|address| self.is_free(network, wish, *address));
        let Some(address) = found else {
            let used = (first..=last).filter(|address| !self.is_free(network, wish, Ipv4Addr::from(*address))).count();
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
            managed: true,
            first: Ipv4Addr::new(a, b, c, first),
            last: Ipv4Addr::new(a, b, c, last),
            reserved: vec![(Ipv4Addr::new(a, b, c, 3), "static record nas".into())],
            ..Network::plain(name, cidr, format!("bridge-{name}"))
        }
    }

    fn nobody() -> &'static ObjectKey {
        static POD: std::sync::LazyLock<ObjectKey> = std::sync::LazyLock::new(|| ObjectKey::new("default", "web"));
        &POD
    }

    fn wish(veth: &str) -> Wish<'_> {
        Wish { veth, pod: nobody(), network: None, wanted: None, previous: None }
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
        assert_eq!(table.lease(wish("d")), Err(IpamFault::Exhausted { network: "gt".into(), used: 4, size: 4 }));
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
            table.lease(Wish { veth, pod: nobody(), network: Some("gt"), wanted: Some(ip(wanted)), previous: None })
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
        let asked = |veth| Wish { veth, pod: nobody(), network: None, wanted: None, previous };
        assert_eq!(table.lease(asked("a")).expect("free").address.addr(), ip("10.90.0.5"));
        assert_eq!(table.lease(asked("b")).expect("another").address.addr(), ip("10.90.0.2"));
    }

    #[test]
    fn an_unknown_network_is_refused_with_the_known_ones() {
        let fault =
            table().lease(Wish { veth: "a", pod: nobody(), network: Some("nope"), wanted: None, previous: None });
        assert_eq!(fault, Err(IpamFault::UnknownNetwork { network: "nope".into(), known: "gt, g10".into() }));
    }

    #[test]
    fn what_is_claimed_for_a_pod_goes_to_that_pod_whatever_its_interface_is_called() {
        let mut table = table();
        let (one, other) = (ObjectKey::new("default", "one"), ObjectKey::new("default", "other"));
        table.claim(&one, ip("10.90.0.2"));
        let dynamic = table.lease(Wish { pod: &other, ..wish("plain-name") }).expect("another is free");
        assert_eq!(dynamic.address.addr(), ip("10.90.0.4"));
        let wanted = Wish { pod: &other, wanted: Some(ip("10.90.0.2")), ..wish("third") };
        assert_eq!(
            table.lease(wanted),
            Err(IpamFault::Taken { address: ip("10.90.0.2"), holder: "pod default/one".into() })
        );
        let previous = Wish { pod: &one, previous: Some(ip("10.90.0.2")), ..wish("plain-name-0123abcd") };
        assert_eq!(table.lease(previous).expect("its own").address.addr(), ip("10.90.0.2"));
    }

    #[test]
    fn leases_and_claims_end_with_their_pod_unless_the_interface_is_there() {
        let mut table = table();
        let (gone, here) = (ObjectKey::new("default", "gone"), ObjectKey::new("default", "here"));
        table.claim(&gone, ip("10.90.0.5"));
        for (veth, pod) in [("a", &gone), ("b", &here), ("c", &gone)] {
            let wanted = Some(Ipv4Addr::new(10, 90, 0, 70 + veth.as_bytes()[0]));
            table.lease(Wish { pod, wanted, ..wish(veth) }).expect("free");
        }
        assert_eq!(table.forget_pods(|pod| *pod == here, |veth| veth == "c"), ["a"]);
        let wanted = Wish { wanted: Some(ip("10.90.0.5")), ..wish("d") };
        assert!(table.lease(wanted).is_ok(), "the claim is gone too");
    }

    #[test]
    fn a_lease_moves_when_somebody_put_its_address_on_another_interface() {
        let mut table = table();
        assert_eq!(table.lease(wish("a")).expect("free").address.addr(), ip("10.90.0.2"));
        let on_device: Vec<IpNet> = vec!["10.90.0.2/24".parse().expect("a literal")];
        table.see_device([("theirs", on_device.as_slice())].into_iter());
        assert_eq!(table.lease(wish("a")).expect("another").address.addr(), ip("10.90.0.4"));
    }

    /// One thing that happens to the table.
    #[derive(Debug, Clone)]
    enum Happening {
        Lease {
            who: u8,
            network: bool,
            wanted: Option<u8>,
            previous: Option<u8>,
        },
        Release(u8),
        Claim {
            who: u8,
            host: u8,
        },
        /// The device shows these interfaces, each with its host part.
        Device(Vec<(u8, u8)>),
        /// Only pods below this number exist.
        Forget(u8),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        let who = 0u8..12;
        let host = || 0u8..9;
        prop_oneof![
            4 => (who.clone(), any::<bool>(), prop::option::of(host()), prop::option::of(host())).prop_map(
                |(who, network, wanted, previous)| Happening::Lease { who, network, wanted, previous }
            ),
            2 => who.clone().prop_map(Happening::Release),
            1 => (who.clone(), host()).prop_map(|(who, host)| Happening::Claim { who, host }),
            1 => prop::collection::vec((who.clone(), host()), 0..4).prop_map(Happening::Device),
            1 => who.prop_map(Happening::Forget),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_no_two_interfaces_share_an_address(steps in prop::collection::vec(happening(), 0..80)) {
            let mut table = table();
            let pods: Vec<ObjectKey> = (0..12).map(|who| ObjectKey::new("default", format!("p{who}"))).collect();
            let mut model: BTreeMap<String, IpAddr> = BTreeMap::new();
            let mut device: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
            let at = |host: u8| Ipv4Addr::new(10, 90, 0, host);
            for step in steps {
                match step {
                    Happening::Lease { who, network, wanted, previous } => {
                        let veth = format!("v{who}");
                        let wish = Wish {
                            veth: &veth,
                            pod: &pods[usize::from(who)],
                            network: network.then_some("g10"),
                            wanted: wanted.map(at),
                            previous: previous.map(at),
                        };
                        if let Ok(lease) = table.lease(wish) {
                            let address = lease.address.addr();
                            let elsewhere = device.iter().any(|(other, addresses)| {
                                *other != veth && addresses.iter().any(|one| one.addr() == address)
                            });
                            prop_assert!(!elsewhere, "{address} is on another interface");
                            prop_assert!(address != IpAddr::V4(lease.gateway));
                            model.insert(veth, address);
                        }
                    }
                    Happening::Release(who) => {
                        table.release(&format!("v{who}"));
                        model.remove(&format!("v{who}"));
                    }
                    Happening::Claim { who, host } => table.claim(&pods[usize::from(who)], at(host)),
                    Happening::Device(rows) => {
                        let net = |host: u8| IpNet::new(IpAddr::V4(at(host)), 24).expect("a prefix");
                        device = rows.iter().map(|(who, host)| (format!("v{who}"), vec![net(*host)])).collect();
                        table.see_device(device.iter().map(|(veth, addresses)| (veth.as_str(), addresses.as_slice())));
                    }
                    Happening::Forget(below) => {
                        let exists = |pod: &ObjectKey| pods[..usize::from(below)].contains(pod);
                        for veth in table.forget_pods(exists, |veth| device.contains_key(veth)) {
                            model.remove(&veth);
                        }
                    }
                }
                let mut addresses: Vec<_> = model.values().collect();
                addresses.sort();
                addresses.dedup();
                prop_assert_eq!(addresses.len(), model.len());
            }
        }
    }
}
