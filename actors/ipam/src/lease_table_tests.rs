//! The table against examples, and against a model with random histories.

use super::*;
use proptest::prelude::*;

fn table() -> LeaseTable {
    let networks = [network("gt", "10.90.0.0/24", 2, 5), network("g10", "10.91.0.0/24", 200, 250)];
    LeaseTable::new(networks.map(Arc::new).into())
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
    let holders = "pod default/web".into();
    assert_eq!(table.lease(wish("d")), Err(IpamFault::Exhausted { network: "gt".into(), used: 4, size: 4, holders }));
}

#[test]
fn a_pod_whose_interface_was_not_made_yet_gets_again_what_the_store_says_it_has() {
    let mut table = table();
    table.claim(nobody(), ip("10.90.0.4"));
    let other = ObjectKey::new("default", "other");
    assert_eq!(table.lease(Wish { pod: &other, ..wish("o") }).expect("free").address.addr(), ip("10.90.0.2"));
    assert_eq!(table.lease(wish("a")).expect("its own").address.addr(), ip("10.90.0.4"));
    assert_eq!(table.lease(wish("b")).expect("free").address.addr(), ip("10.90.0.5"));
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
    let fault = table().lease(Wish { veth: "a", pod: nobody(), network: Some("nope"), wanted: None, previous: None });
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

#[test]
fn an_interface_that_comes_back_gets_the_address_it_had() {
    let mut table = table();
    for veth in ["a", "b"] {
        table.lease(wish(veth)).expect("free");
    }
    table.release("a");
    assert_eq!(table.lease(wish("c")).expect("free").address.addr(), ip("10.90.0.5"));
    assert_eq!(table.lease(wish("a")).expect("its own").address.addr(), ip("10.90.0.2"));
    table.release("a");
    assert_eq!(table.lease(wish("d")).expect("the only one").address.addr(), ip("10.90.0.2"));
    assert!(matches!(table.lease(wish("a")), Err(IpamFault::Exhausted { .. })), "somebody else has it now");
}

#[test]
fn a_move_that_is_taken_back_before_the_interface_moved_leaves_it_where_it_is() {
    let mut table = table();
    table.lease(wish("a")).expect("free");
    let on_device: Vec<IpNet> = vec!["10.90.0.2/24".parse().expect("a literal")];
    table.see_device([("a", on_device.as_slice())].into_iter());
    assert!(table.lease(Wish { wanted: Some(ip("10.90.0.77")), ..wish("a") }).is_ok());
    let previous = Some(ip("10.90.0.77"));
    assert_eq!(table.lease(Wish { previous, ..wish("a") }).expect("its own").address.addr(), ip("10.90.0.2"));
    // What somebody else wrote on the interface is no move of ours.
    let changed: Vec<IpNet> = vec!["10.90.0.5/24".parse().expect("a literal")];
    table.see_device([("a", changed.as_slice())].into_iter());
    assert_eq!(table.lease(wish("a")).expect("its own").address.addr(), ip("10.90.0.2"));
}

#[test]
fn what_dhcp_gives_out_is_for_machines_and_for_pods_that_ask_for_it() {
    let dhcp = mkube_model::settings::DhcpSettings {
        enabled: true,
        range_start: Some(ip("10.90.0.2")),
        range_end: Some(ip("10.90.0.4")),
        ..Default::default()
    };
    let mut table = LeaseTable::new(vec![Arc::new(Network { dhcp, ..network("gt", "10.90.0.0/24", 2, 5) })]);
    assert_eq!(table.lease(wish("a")).expect("free").address.addr(), ip("10.90.0.5"));
    assert!(matches!(table.lease(wish("b")), Err(IpamFault::Exhausted { .. })));
    assert!(table.lease(Wish { wanted: Some(ip("10.90.0.4")), ..wish("b") }).is_ok());
}

#[test]
fn who_is_heard_keeps_an_address_unless_it_was_only_ours() {
    let mut table = table();
    let on = |bridge: &str| [(ip("10.90.0.2"), bridge.to_owned()), (ip("10.90.0.4"), bridge.to_owned())];
    table.hear(on("elsewhere").into_iter());
    assert_eq!(table.lease(wish("a")).expect("free").address.addr(), ip("10.90.0.2"));
    table.hear(on("bridge-gt").into_iter());
    assert_eq!(table.lease(wish("b")).expect("free").address.addr(), ip("10.90.0.5"));
    let full = table.lease(wish("c"));
    assert!(matches!(&full, Err(IpamFault::Exhausted { holders, .. }) if holders.contains("seen in use on bridge-gt")));
    // Ours a moment ago: it is still in the device's memory.
    table.release("a");
    assert_eq!(table.lease(wish("c")).expect("free").address.addr(), ip("10.90.0.2"));
    table.hear(std::iter::empty());
    assert_eq!(table.lease(wish("d")).expect("nobody is heard any more").address.addr(), ip("10.90.0.4"));
}

#[test]
fn networks_come_and_go_and_what_is_leased_stays_leased() {
    let mut table = table();
    table.lease(wish("a")).expect("free");
    let changed = network("gt", "10.90.0.0/24", 2, 4);
    table.set_networks(vec![Arc::new(changed), Arc::new(network("g8", "10.8.0.0/24", 2, 9))]);
    assert_eq!(table.lease(wish("b")).expect("free").address.addr(), ip("10.90.0.4"));
    assert!(table.lease(Wish { network: Some("g8"), ..wish("c") }).is_ok());
    assert!(matches!(table.lease(Wish { network: Some("g10"), ..wish("d") }), Err(IpamFault::UnknownNetwork { .. })));
    table.set_networks(vec![]);
    assert_eq!(table.told().len(), 3);
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
    /// Somebody is heard under these.
    Heard(Vec<u8>),
    /// The process dies: what is on the device comes back, and the store's claims.
    Crash,
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
        1 => prop::collection::vec(host(), 0..3).prop_map(Happening::Heard),
        1 => Just(Happening::Crash),
    ]
}

type Rows = BTreeMap<String, Vec<IpNet>>;

/// Rows that came, changed or went.
fn changes<'a>(before: &'a Rows, now: &'a Rows) -> impl Iterator<Item = (&'a str, &'a [IpNet])> {
    let there = now.iter().filter(|(veth, addresses)| before.get(*veth) != Some(addresses));
    there.map(|(veth, addresses)| (veth.as_str(), addresses.as_slice())).chain(gone(before, now))
}

fn gone<'a>(before: &'a Rows, now: &'a Rows) -> impl Iterator<Item = (&'a str, &'a [IpNet])> {
    before.keys().filter(|veth| !now.contains_key(*veth)).map(|veth| (veth.as_str(), [].as_slice()))
}

proptest! {
    #[test]
    fn whatever_happens_no_two_interfaces_share_an_address(steps in prop::collection::vec(happening(), 0..80)) {
        let (mut table, mut all_again) = (table(), table());
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
                    let leased = table.lease(wish);
                    prop_assert_eq!(&leased, &all_again.lease(wish));
                    if let Ok(lease) = leased {
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
                    all_again.release(&format!("v{who}"));
                    model.remove(&format!("v{who}"));
                }
                Happening::Claim { who, host } => {
                    table.claim(&pods[usize::from(who)], at(host));
                    all_again.claim(&pods[usize::from(who)], at(host));
                }
                Happening::Device(rows) => {
                    let net = |host: u8| IpNet::new(IpAddr::V4(at(host)), 24).expect("a prefix");
                    let now = rows.iter().map(|(who, host)| (format!("v{who}"), vec![net(*host)])).collect();
                    let before = std::mem::replace(&mut device, now);
                    table.see_device(changes(&before, &device));
                    all_again.see_device(changes(&BTreeMap::new(), &device).chain(gone(&before, &device)));
                }
                Happening::Heard(hosts) => {
                    for one in [&mut table, &mut all_again] {
                        one.hear(hosts.iter().map(|host| (at(*host), "bridge-gt".to_owned())));
                    }
                }
                Happening::Crash => {
                    (table, all_again) = (self::table(), self::table());
                    table.see_device(changes(&BTreeMap::new(), &device));
                    all_again.see_device(changes(&BTreeMap::new(), &device));
                    model.clear();
                }
                Happening::Forget(below) => {
                    let exists = |pod: &ObjectKey| pods[..usize::from(below)].contains(pod);
                    all_again.forget_pods(exists, |veth| device.contains_key(veth));
                    for veth in table.forget_pods(exists, |veth| device.contains_key(veth)) {
                        model.remove(&veth);
                    }
                }
            }
            let mut addresses: Vec<_> = model.values().collect();
            addresses.sort();
            addresses.dedup();
            prop_assert_eq!(addresses.len(), model.len());
            prop_assert_eq!(table.told(), all_again.told(), "what changed says as much as everything");
        }
    }
}
