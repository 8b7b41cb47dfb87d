//! What is kept while objects change is what comes about from nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_model::network::Network;
use mkube_model::settings::DnsSettings;
use proptest::prelude::*;
use serde_json::json;

use crate::desired::Desired;
use crate::sights::{Alias, Mode, NamespaceSight, PodSight, ServiceSight};
use crate::wishes::{Changes, Sights, Wishes};

/// Two networks at one server, one of them so large that zones of names of addresses come with pods, one elsewhere, one with nobody's.
fn networks() -> Arc<NetworksView> {
    let network = |name: &str, cidr: &str, endpoint: &str| {
        let names = DnsSettings {
            zone: format!("{name}.lo"),
            server: Some("10.0.0.2".parse().expect("an address")),
            endpoint: endpoint.to_owned(),
            ..DnsSettings::default()
        };
        Arc::new(Network { names, ..Network::plain(name, cidr.parse().expect("a network"), "bridge") })
    };
    let all = [
        network("big", "10.1.0.0/16", "http://10.0.0.2"),
        network("one", "10.2.0.0/24", "http://10.0.0.2"),
        network("two", "10.3.0.0/24", "http://10.0.0.3"),
        network("bare", "10.4.0.0/24", ""),
    ];
    let by_name = all.into_iter().map(|one| (one.name.clone(), one)).collect();
    Arc::new(NetworksView { loaded: true, default: "big".into(), by_name })
}

/// One change, in small numbers, so that everything meets everything.
#[derive(Debug, Clone)]
enum Change {
    Pod { name: u8, space: u8, network: u8, address: u8, labels: u8, aliases: u8, state: u8 },
    NoPod { name: u8, space: u8 },
    Withdrawn { name: u8, space: u8, on: bool },
    Service { name: u8, space: u8, selector: u8, unready_too: bool },
    NoService { name: u8, space: u8 },
    Namespace { space: u8, mode: u8 },
}

fn change() -> impl Strategy<Value = Change> {
    let (name, space) = (0u8..4, 0u8..2);
    prop_oneof![
        6 => (name.clone(), space.clone(), 0u8..6, 0u8..4, 0u8..4, 0u8..6, 0u8..8).prop_map(
            |(name, space, network, address, labels, aliases, state)| Change::Pod { name, space, network, address, labels, aliases, state }
        ),
        2 => (name.clone(), space.clone()).prop_map(|(name, space)| Change::NoPod { name, space }),
        2 => (name.clone(), space.clone(), any::<bool>()).prop_map(|(name, space, on)| Change::Withdrawn { name, space, on }),
        2 => (name.clone(), space.clone(), 0u8..4, any::<bool>())
            .prop_map(|(name, space, selector, unready_too)| Change::Service { name, space, selector, unready_too }),
        1 => (name, space.clone()).prop_map(|(name, space)| Change::NoService { name, space }),
        1 => (space, 0u8..5).prop_map(|(space, mode)| Change::Namespace { space, mode }),
    ]
}

#[derive(Default)]
struct World {
    pods: BTreeMap<ObjectKey, PodSight>,
    services: BTreeMap<ObjectKey, ServiceSight>,
    namespaces: BTreeMap<String, NamespaceSight>,
    withdrawn: BTreeSet<String>,
}

fn key(space: u8, name: u8) -> ObjectKey {
    ObjectKey::new(format!("n{space}"), format!("p{name}"))
}

impl World {
    fn apply(&mut self, change: &Change, changes: &mut Changes) {
        match *change {
            Change::Pod { name, space, network, address, labels, aliases, state } => {
                let key = key(space, name);
                let ip =
                    |last: u8| format!("10.{}.{}.{last}", 1 + address / 2, address % 2).parse().expect("an address");
                let alias = |name: &str, container: Option<&str>| Alias {
                    name: name.into(),
                    container: container.map(str::to_owned),
                };
                let network =
                    ["big", "one", "two", "bare", "nowhere"].get(usize::from(network)).map(|one| (*one).to_owned());
                let aliases = match aliases {
                    0 => vec![alias("all", None), alias("p1", Some("db"))],
                    1 => vec![alias("bad alias", None), alias("all", Some("none"))],
                    2 => vec![alias("app.p2", None), alias("all", None), alias("all", None)],
                    _ => Vec::new(),
                };
                let pod = PodSight {
                    uid: key.to_string(),
                    network,
                    namespace: ["n0", "n1", "n9"].get(usize::from(labels + state)).map(|one| (*one).to_owned()),
                    aliases,
                    labels: (labels > 0).then(|| json!({"app": format!("p{labels}"), "tier": "x"})),
                    containers: vec!["app".into(), "db".into()],
                    addresses: [("app".to_owned(), ip(5)), ("db".to_owned(), ip(5 + name))].into(),
                    ready: state > 1,
                    observed: true,
                    deleting: state == 7,
                    key: key.clone(),
                };
                self.pods.insert(key.clone(), pod);
                changes.pods.insert(key);
            }
            Change::NoPod { name, space } => {
                self.pods.remove(&key(space, name));
                changes.pods.insert(key(space, name));
            }
            Change::Withdrawn { name, space, on } => {
                let key = key(space, name);
                if on {
                    self.withdrawn.insert(key.to_string());
                } else {
                    self.withdrawn.remove(&key.to_string());
                }
                changes.pods.insert(key);
            }
            Change::Service { name, space, selector, unready_too } => {
                let key = key(space, name);
                let selector = match selector {
                    0 => BTreeMap::new(),
                    1 => [("tier".to_owned(), "x".to_owned())].into(),
                    other => [("app".to_owned(), format!("p{other}")), ("tier".to_owned(), "x".to_owned())].into(),
                };
                self.services.insert(key.clone(), ServiceSight { key: key.clone(), selector, unready_too });
                changes.services.insert(key);
            }
            Change::NoService { name, space } => {
                self.services.remove(&key(space, name));
                changes.services.insert(key(space, name));
            }
            Change::Namespace { space, mode } => {
                let name = format!("n{space}");
                let mode = ["open", "nested", "sideways"].get(usize::from(mode)).map(|one| (*one).to_owned());
                let network = mode.is_none().then(|| "two".to_owned());
                let domain = (space == 1 && mode.is_none()).then(|| "team.example".to_owned());
                let namespace = NamespaceSight { name: name.clone(), uid: name.clone(), mode, domain, network };
                self.namespaces.insert(name, namespace);
                changes.frame = true;
            }
        }
    }

    fn new_wishes(&self) -> Wishes {
        let namespaces = self.namespaces.iter().map(|(name, one)| (name.as_str(), one)).collect();
        Wishes::new(networks(), &namespaces, Some(Mode::Open).filter(|_| self.namespaces.len() > 1))
    }

    fn all_anew(&self) -> Desired {
        let withdrawn = |uid: &str| self.withdrawn.contains(uid);
        let mut wishes = self.new_wishes();
        wishes.see_all(Sights { pods: &self.pods, services: &self.services, withdrawn: &withdrawn });
        wishes.settle();
        wishes.desired().clone()
    }
}

proptest! {
    /// Whatever happened, and however much of it between two looks.
    #[test]
    fn what_is_kept_while_things_change_is_what_would_come_about_from_nothing(
        bursts in proptest::collection::vec(proptest::collection::vec(change(), 1..4), 1..24),
    ) {
        let mut world = World::default();
        let mut wishes = world.new_wishes();
        wishes.settle();
        for burst in bursts {
            let mut changes = Changes::default();
            burst.iter().for_each(|change| world.apply(change, &mut changes));
            let before = wishes.desired().clone();
            let withdrawn = |uid: &str| world.withdrawn.contains(uid);
            let sights = Sights { pods: &world.pods, services: &world.services, withdrawn: &withdrawn };
            if changes.frame {
                wishes = world.new_wishes();
                wishes.see_all(sights);
            } else {
                wishes.see(&changes, sights);
            }
            let told = wishes.settle();
            let now = world.all_anew();
            prop_assert_eq!(wishes.desired(), &now);
            prop_assert!(told || before == now, "what changed is told");
        }
    }
}

/// A pod that changes is worked out alone: what others have is shared with what was wanted before.
#[test]
fn a_pod_that_changes_costs_nothing_for_the_others() {
    let mut world = World::default();
    let mut changes = Changes::default();
    for name in 0..100 {
        let pod = Change::Pod { name, space: 0, network: 0, address: 0, labels: 0, aliases: 9, state: 2 };
        world.apply(&pod, &mut changes);
    }
    let withdrawn = |_: &str| false;
    let mut wishes = world.new_wishes();
    wishes.see(&changes, Sights { pods: &world.pods, services: &world.services, withdrawn: &withdrawn });
    wishes.settle();
    let zone = ("http://10.0.0.2".to_owned(), "big.lo".to_owned());
    let before = wishes.desired().zones[&zone].clone();
    let mut changes = Changes::default();
    let unready = Change::Pod { name: 7, space: 0, network: 0, address: 0, labels: 0, aliases: 9, state: 0 };
    world.apply(&unready, &mut changes);
    wishes.see(&changes, Sights { pods: &world.pods, services: &world.services, withdrawn: &withdrawn });
    assert!(wishes.dirty.len() <= 6, "{} names were looked at", wishes.dirty.len());
    assert!(wishes.settle());
    let changed = before.sets.diff(&wishes.desired().zones[&zone].sets).map(|change| match change {
        DiffItem::Add((name, _), _) | DiffItem::Remove((name, _), _) => name.clone(),
        DiffItem::Update { new: ((name, _), _), .. } => name.clone(),
    });
    let changed: BTreeSet<String> = changed.collect();
    assert_eq!(changed, ["app.p7", "db.p7", "p7"].map(str::to_owned).into());
}
