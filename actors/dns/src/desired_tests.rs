//! What is wanted, in tables, and against a model that knows each pod's names by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_messages::dns::{Purpose, RecordType};
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_model::network::Network;
use mkube_model::settings::{DnsSettings, Reservation, StaticRecord};
use proptest::prelude::*;
use serde_json::json;

use crate::desired::{Desired, WantedSet};
use crate::sights::{Alias, Mode, NamespaceSight, PodSight, ServiceSight};
use crate::wishes::{Sights, Wishes};

const GT: &str = "http://10.0.1.252:8080";
const G10: &str = "http://10.0.2.252:8080";

fn network(name: &str, third: u8, endpoint: &str) -> Network {
    let names = DnsSettings {
        zone: format!("{name}.lo"),
        server: Some(format!("10.0.{third}.252").parse().expect("an address")),
        endpoint: endpoint.to_owned(),
        ..DnsSettings::default()
    };
    Network { names, ..Network::plain(name, format!("10.0.{third}.0/24").parse().expect("a network"), "bridge") }
}

fn networks(list: Vec<Network>) -> NetworksView {
    NetworksView {
        loaded: true,
        default: list[0].name.clone(),
        by_name: list.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
    }
}

fn both() -> NetworksView {
    networks(vec![network("gt", 1, GT), network("g10", 2, G10)])
}

fn pod(name: &str, address: &str) -> PodSight {
    PodSight {
        key: ObjectKey::new("default", name),
        uid: format!("uid-{name}"),
        network: None,
        namespace: None,
        aliases: Vec::new(),
        labels: Some(json!({"app": "web"})),
        containers: vec!["app".into()],
        addresses: [("app".to_owned(), address.parse().expect("an address"))].into(),
        ready: true,
        observed: true,
        deleting: false,
    }
}

fn alias(name: &str, container: Option<&str>) -> Alias {
    Alias { name: name.into(), container: container.map(str::to_owned) }
}

fn service(name: &str) -> ServiceSight {
    ServiceSight {
        key: ObjectKey::new("default", name),
        selector: [("app".to_owned(), "web".to_owned())].into(),
        unready_too: false,
    }
}

fn namespace(name: &str, mode: Option<&str>) -> NamespaceSight {
    NamespaceSight {
        name: name.into(),
        uid: format!("uid-{name}"),
        mode: mode.map(str::to_owned),
        domain: None,
        network: None,
    }
}

/// What is wanted, from all there is.
#[derive(Default)]
struct Given {
    pods: Vec<PodSight>,
    services: Vec<ServiceSight>,
    namespaces: Vec<NamespaceSight>,
    mode: Option<Mode>,
    withdrawn: BTreeSet<String>,
}

impl Given {
    fn pods(pods: &[PodSight]) -> Self {
        Self { pods: pods.to_vec(), ..Self::default() }
    }

    fn desired(&self, networks: &NetworksView) -> Desired {
        let pods = self.pods.iter().map(|one| (one.key.clone(), one.clone())).collect();
        let services = self.services.iter().map(|one| (one.key.clone(), one.clone())).collect();
        let namespaces = self.namespaces.iter().map(|one| (one.name.as_str(), one)).collect();
        let withdrawn = |uid: &str| self.withdrawn.contains(uid);
        let mut wishes = Wishes::new(Arc::new(networks.clone()), &namespaces, self.mode);
        wishes.see_all(Sights { pods: &pods, services: &services, withdrawn: &withdrawn });
        wishes.settle();
        wishes.desired().clone()
    }
}

fn set<'a>(desired: &'a Desired, endpoint: &str, zone: &str, name: &str) -> Option<&'a WantedSet> {
    let wish = desired.zones.get(&(endpoint.to_owned(), zone.to_owned()))?;
    wish.sets.iter().find(|((known, _), _)| known == name).map(|(_, set)| set)
}

fn data(desired: &Desired, endpoint: &str, zone: &str, name: &str) -> Vec<String> {
    set(desired, endpoint, zone, name).map(|set| set.data.iter().cloned().collect()).unwrap_or_default()
}

fn gt(desired: &Desired, name: &str) -> Vec<String> {
    data(desired, GT, "gt.lo", name)
}

#[test]
fn a_pod_has_its_name_and_one_for_each_container() {
    let mut web = pod("web", "10.0.1.5");
    web.containers.push("db".into());
    web.addresses.insert("db".into(), "10.0.1.6".parse().expect("an address"));
    let desired = Given::pods(&[web]).desired(&both());
    assert_eq!(gt(&desired, "web"), ["10.0.1.5"]);
    assert_eq!(gt(&desired, "app.web"), ["10.0.1.5"]);
    assert_eq!(gt(&desired, "db.web"), ["10.0.1.6"]);
    assert_eq!(set(&desired, GT, "gt.lo", "web").expect("a set").ttl, 60);
    assert!(data(&desired, G10, "g10.lo", "web").is_empty());
    assert_eq!(data(&desired, GT, "1.0.10.in-addr.arpa", "5"), ["web.gt.lo"]);
}

#[test]
fn a_pod_that_is_not_ready_or_goes_or_is_withdrawn_has_a_right_to_its_names_and_no_address() {
    let unready = PodSight { ready: false, ..pod("web", "10.0.1.5") };
    let going = PodSight { deleting: true, ..pod("web", "10.0.1.5") };
    let withdrawn = Given { withdrawn: ["uid-web".to_owned()].into(), ..Given::pods(&[pod("web", "10.0.1.5")]) };
    for given in [Given::pods(&[unready]), Given::pods(&[going]), withdrawn] {
        let desired = given.desired(&both());
        assert!(gt(&desired, "web").is_empty());
        assert!(desired.zones[&(GT.to_owned(), "gt.lo".to_owned())].claimed.contains("app.web"));
        assert!(data(&desired, GT, "1.0.10.in-addr.arpa", "5").is_empty());
    }
}

#[test]
fn replicas_share_an_alias_and_pods_of_one_name_share_the_name() {
    let with = |name: &str, address: &str| PodSight { aliases: vec![alias("WWW", None)], ..pod(name, address) };
    let other = PodSight { key: ObjectKey::new("team", "web-0"), ..pod("web-0", "10.0.1.7") };
    let desired = Given::pods(&[with("web-0", "10.0.1.5"), with("web-1", "10.0.1.6"), other]).desired(&both());
    assert_eq!(gt(&desired, "www"), ["10.0.1.5", "10.0.1.6"]);
    assert_eq!(gt(&desired, "web-0"), ["10.0.1.5", "10.0.1.7"]);
    let keys = [ObjectKey::new("default", "web-0"), ObjectKey::new("default", "web-1")];
    assert_eq!(set(&desired, GT, "gt.lo", "www").expect("a set").purpose, Purpose::Pods(keys.into()));
}

#[test]
fn an_alias_names_a_container_and_one_that_is_no_name_is_told_while_the_others_go_on() {
    let mut web = pod("web", "10.0.1.5");
    web.containers.push("db".into());
    web.addresses.insert("db".into(), "10.0.1.6".parse().expect("an address"));
    web.aliases =
        vec![alias("pg", Some("db")), alias("bad_alias!", None), alias("x", Some("none")), alias("api.web", None)];
    let desired = Given::pods(&[web]).desired(&both());
    assert_eq!(gt(&desired, "pg"), ["10.0.1.6"]);
    assert_eq!(gt(&desired, "api.web"), ["10.0.1.5"]);
    let told: Vec<(&str, bool)> =
        desired.remarks.iter().map(|one| (one.reason, one.message.contains("bad_alias!"))).collect();
    assert_eq!(told, [("InvalidAlias", true), ("InvalidAlias", false)]);
}

#[test]
fn a_network_has_its_static_names_its_machines_its_gateway_and_its_server() {
    let mut gt_network = network("gt", 1, GT);
    let record = |name: &str, ip: &str| StaticRecord { name: name.into(), ip: ip.parse().expect("an address") };
    gt_network.names.static_records =
        vec![record("NAS.gt.lo.", "10.0.1.9"), record("six", "2001:db8::5"), record("a b", "10.0.1.9")];
    let machine = |hostname: &str, ip: &str| Reservation {
        mac: "aa:bb:cc:dd:ee:ff".into(),
        ip: ip.parse().expect("an address"),
        hostname: hostname.into(),
    };
    gt_network.dhcp.reservations = vec![machine("bmc-1", "10.0.1.20"), machine("", "10.0.1.21")];
    let desired = Given::default().desired(&networks(vec![gt_network]));
    assert_eq!(gt(&desired, "nas"), ["10.0.1.9"]);
    assert_eq!(gt(&desired, "six"), ["2001:db8::5"]);
    assert_eq!(gt(&desired, "bmc-1"), ["10.0.1.20"]);
    assert_eq!(gt(&desired, "rose1"), ["10.0.1.1"]);
    assert_eq!(gt(&desired, "dns"), ["10.0.1.252"]);
    let zone = &desired.zones[&(GT.to_owned(), "gt.lo".to_owned())];
    assert_eq!(zone.sets.len(), 5);
    assert!(zone.sets.contains_key(&("six".to_owned(), RecordType::Aaaa)));
    assert!(zone.sets.values().all(|set| set.ttl == 300));
}

#[test]
fn a_service_answers_with_its_ready_pods_and_a_pods_own_name_wins() {
    let unready = PodSight { ready: false, ..pod("b", "10.0.1.6") };
    let elsewhere = PodSight { network: Some("g10".into()), ..pod("c", "10.0.2.7") };
    let foreign = PodSight { labels: None, ..pod("d", "10.0.1.8") };
    let mut given = Given::pods(&[pod("a", "10.0.1.5"), unready, elsewhere, foreign]);
    given.services = vec![service("web"), service("a")];
    let desired = given.desired(&both());
    assert_eq!(gt(&desired, "web"), ["10.0.1.5"]);
    assert_eq!(gt(&desired, "web.default"), ["10.0.1.5"]);
    assert_eq!(data(&desired, G10, "g10.lo", "web.default"), ["10.0.2.7"]);
    // Pod a is called so whatever service there is.
    assert!(matches!(set(&desired, GT, "gt.lo", "a").expect("a set").purpose, Purpose::Pods(_)));
    assert_eq!(gt(&desired, "a.default"), ["10.0.1.5"]);
    given.services[0].unready_too = true;
    assert_eq!(gt(&given.desired(&both()), "web"), ["10.0.1.5", "10.0.1.6"]);
    given.services[0].selector.clear();
    assert!(gt(&given.desired(&both()), "web").is_empty(), "nobody is selected by nothing");
}

#[test]
fn a_nested_namespace_has_a_zone_of_its_own_and_an_open_one_that_of_its_network() {
    let team = PodSight { key: ObjectKey::new("team", "web"), ..pod("web", "10.0.1.5") };
    let mut given = Given::pods(&[team]);
    given.namespaces = vec![namespace("team", Some("nested"))];
    given.services = vec![ServiceSight { key: ObjectKey::new("team", "api"), ..service("api") }];
    let desired = given.desired(&both());
    assert_eq!(data(&desired, GT, "team.gt.lo", "app.web"), ["10.0.1.5"]);
    assert_eq!(data(&desired, GT, "team.gt.lo", "api"), ["10.0.1.5"]);
    assert_eq!(gt(&desired, "web"), ["10.0.1.5"], "where it always was");
    let zone = &desired.zones[&(GT.to_owned(), "team.gt.lo".to_owned())];
    assert_eq!((zone.namespace.as_deref(), zone.parent.as_str()), (Some("team"), "gt.lo"));
    given.namespaces = vec![namespace("team", Some("open"))];
    assert!(!given.desired(&both()).zones.contains_key(&(GT.to_owned(), "team.gt.lo".to_owned())));
    // On another network, its names stand openly there too.
    given.namespaces[0].network = Some("g10".into());
    assert_eq!(data(&given.desired(&both()), G10, "g10.lo", "web"), ["10.0.1.5"]);
}

#[test]
fn a_pod_says_whose_zone_it_is_named_in() {
    let guest = PodSight { namespace: Some("team".into()), ..pod("web", "10.0.1.5") };
    let lost = PodSight { namespace: Some("nowhere".into()), ..pod("lost", "10.0.1.6") };
    let mut given = Given::pods(&[guest, lost]);
    given.namespaces = vec![NamespaceSight { domain: Some("Team.Example.".into()), ..namespace("team", None) }];
    let desired = given.desired(&both());
    assert_eq!(data(&desired, GT, "team.example", "web"), ["10.0.1.5"]);
    let told: Vec<&str> = desired.remarks.iter().map(|one| one.reason).collect();
    assert_eq!(told, ["UnknownNamespace"]);
    // A zone that other servers do not have is asked for where it is.
    assert_eq!(desired.forwarders[G10]["team.example"], ["10.0.1.252:53"]);
}

#[test]
fn namespaces_have_zones_by_themselves_only_where_that_is_the_rule() {
    let mut given = Given { namespaces: vec![namespace("team", None), namespace("g10", None)], ..Given::default() };
    let zones = |given: &Given| -> Vec<String> {
        let desired = given.desired(&both());
        desired.zones.iter().filter(|(_, wish)| !wish.reverse).map(|((_, zone), _)| zone.clone()).collect()
    };
    assert_eq!(zones(&given), ["gt.lo", "g10.lo"]);
    given.mode = Some(Mode::Nested);
    assert_eq!(zones(&given), ["gt.lo", "team.gt.lo", "g10.lo"], "one that is called like a network has its zone");
    given.namespaces.push(namespace("odd", Some("sideways")));
    assert_eq!(given.desired(&both()).remarks.iter().map(|one| one.reason).collect::<Vec<_>>(), ["InvalidZone"]);
}

#[test]
fn every_server_of_ours_asks_the_others_for_what_it_does_not_have() {
    let mut theirs = network("ext", 3, "http://10.0.3.252:8080");
    theirs.external_dns = true;
    let unserved = network("bare", 4, "");
    let desired =
        Given::default().desired(&networks(vec![network("gt", 1, GT), network("g10", 2, G10), theirs, unserved]));
    let wanted = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<String>> {
        pairs.iter().map(|(zone, server)| ((*zone).to_owned(), vec![(*server).to_owned()])).collect()
    };
    assert_eq!(
        desired.forwarders[GT],
        wanted(&[
            ("2.0.10.in-addr.arpa", "10.0.2.252:53"),
            ("3.0.10.in-addr.arpa", "10.0.3.252:53"),
            ("4.0.10.in-addr.arpa", "10.0.4.252:53"),
            ("bare.lo", "10.0.4.252:53"),
            ("ext.lo", "10.0.3.252:53"),
            ("g10.lo", "10.0.2.252:53"),
        ])
    );
    assert_eq!(desired.forwarders.keys().collect::<Vec<_>>(), [GT, G10], "nothing is said to servers of others");
    assert!(!desired.zones.contains_key(&("http://10.0.3.252:8080".to_owned(), "3.0.10.in-addr.arpa".to_owned())));
}

#[test]
fn an_address_has_one_name_whoever_else_claims_it() {
    let desired = Given::pods(&[pod("a", "10.0.1.5"), pod("b", "10.0.1.5")]).desired(&both());
    assert_eq!(data(&desired, GT, "1.0.10.in-addr.arpa", "5"), ["a.gt.lo"]);
}

proptest! {
    /// What stands under each name is what the pods that claim it have, no more and no less, whatever else there is.
    #[test]
    fn each_name_has_the_addresses_of_the_ready_pods_that_claim_it(
        made in proptest::collection::vec((0u8..4, 0u8..4, any::<bool>(), any::<bool>(), 0u8..3), 0..12),
    ) {
        let mut pods: BTreeMap<ObjectKey, PodSight> = BTreeMap::new();
        for (at, (name, also, ready, second, space)) in made.iter().enumerate() {
            let mut one = pod(&format!("p{name}"), &format!("10.0.1.{}", at + 10));
            one.key = ObjectKey::new(format!("n{space}"), format!("p{name}"));
            one.uid = format!("{at}");
            one.ready = *ready;
            one.network = second.then(|| "g10".to_owned());
            one.aliases = vec![alias(&format!("p{also}"), None), alias("all", Some("app"))];
            pods.insert(one.key.clone(), one);
        }
        let mut model: BTreeMap<(bool, String), BTreeSet<String>> = BTreeMap::new();
        for one in pods.values().filter(|one| one.ready) {
            let address = one.addresses["app"].to_string();
            let mut names = vec![one.key.name.clone(), format!("app.{}", one.key.name)];
            names.extend(one.aliases.iter().map(|alias| alias.name.clone()));
            for name in names {
                model.entry((one.network.is_some(), name)).or_default().insert(address.clone());
            }
        }
        let all: Vec<PodSight> = pods.into_values().collect();
        let desired = Given::pods(&all).desired(&both());
        let mut found: BTreeMap<(bool, String), BTreeSet<String>> = BTreeMap::new();
        for ((endpoint, _), wish) in desired.zones.iter().filter(|(_, wish)| !wish.reverse) {
            for ((name, _), set) in wish.sets.iter().filter(|((name, _), _)| name != "rose1" && name != "dns") {
                found.insert((endpoint == G10, name.clone()), set.data.clone());
            }
        }
        prop_assert_eq!(found, model);
        prop_assert!(desired.remarks.is_empty());
    }
}
