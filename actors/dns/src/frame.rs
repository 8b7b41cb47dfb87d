//! What networks and namespaces give, whatever pods there are: zones, the names that stand in the configuration, and who asks
//! whom. Pure.
//!
//! Names of pods stand in their network's zone, whatever their namespace: two pods of one name share it. A namespace can have a
//! zone beside that, see [`zone_of_namespace`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mkube_messages::dns::Purpose;
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_model::network::Network;

use crate::desired::{Remark, ZoneKey, ZoneWish};
use crate::names::{folded, inside, is_zone, reverse_zones, with_port};
use crate::pieces::Piece;
use crate::sights::{Mode, NamespaceSight, PodSight};

/// Seconds for which names that stand in the configuration may be remembered.
const LONG: u32 = 300;

/// See the module.
#[derive(Debug, Default)]
pub struct Frame {
    networks: Arc<NetworksView>,
    /// The zones there are without any pod, without what is in them.
    pub zones: BTreeMap<Arc<ZoneKey>, ZoneWish>,
    /// Names in them that stand in the configuration.
    pub standing: Vec<(Arc<ZoneKey>, String, Piece)>,
    /// Namespaces there are, and the zone of each that has one.
    namespaces: BTreeMap<String, Option<Arc<ZoneKey>>>,
    /// What cannot be done as it is written.
    pub remarks: BTreeSet<Remark>,
}

impl Frame {
    /// Of these networks and namespaces. `usual`: the mode of namespaces that say none; none: they have no zone.
    pub fn of(networks: Arc<NetworksView>, namespaces: &BTreeMap<&str, &NamespaceSight>, usual: Option<Mode>) -> Self {
        let mut frame = Self { networks: networks.clone(), ..Self::default() };
        for network in networks.by_name.values() {
            frame.add_network(network);
        }
        for namespace in namespaces.values() {
            let zone = frame.add_namespace(namespace, usual);
            frame.namespaces.insert(namespace.name.clone(), zone);
        }
        frame
    }

    fn zone(&mut self, network: &Network, zone: &str) -> Arc<ZoneKey> {
        let key = Arc::new((network.names.endpoint.clone(), zone.to_owned()));
        self.zones.entry(key.clone()).or_insert_with(|| header(network));
        key
    }

    fn add_network(&mut self, network: &Network) {
        let zone = folded(&network.names.zone);
        if zone.is_empty() || !is_zone(&zone) {
            return;
        }
        let key = self.zone(network, &zone);
        let mut stand = |name: String, address: IpAddr, purpose: Purpose| {
            self.standing.push((key.clone(), name, Piece::standing(address, LONG, purpose)));
        };
        for record in &network.names.static_records {
            if let Some(name) = inside(&record.name, &zone) {
                stand(name, record.ip, Purpose::Static);
            }
        }
        for reservation in &network.dhcp.reservations {
            if let Some(name) = inside(&reservation.hostname, &zone) {
                stand(name, reservation.ip.into(), Purpose::Reservation);
            }
        }
        // The name every network had from the first: the router of whoever wrote it.
        stand("rose1".into(), network.gateway.into(), Purpose::Infra);
        if let Some(server) = network.names.server {
            stand("dns".into(), server, Purpose::Infra);
        }
        // Those of small networks stay while there are no pods; others come with the first one.
        if !network.external_dns && network.cidr.prefix_len() >= 20 {
            for reverse in reverse_zones(network.cidr) {
                let key = self.zone(network, &reverse);
                if let Some(wish) = self.zones.get_mut(&key) {
                    wish.reverse = true;
                }
            }
        }
    }

    fn add_namespace(&mut self, namespace: &NamespaceSight, usual: Option<Mode>) -> Option<Arc<ZoneKey>> {
        let networks = self.networks.clone();
        match zone_of_namespace(namespace, &networks, usual) {
            Ok(None) => None,
            Ok(Some((network, zone))) => {
                let key = self.zone(network, &zone);
                let is_networks = folded(&network.names.zone) == zone;
                if let Some(wish) = self.zones.get_mut(&key).filter(|_| !is_networks) {
                    wish.namespace.get_or_insert_with(|| namespace.name.clone());
                    wish.parent = zone.split_once('.').map(|(_, above)| above.to_owned()).unwrap_or_default();
                }
                Some(key)
            }
            Err(message) => {
                self.remarks.insert(Remark {
                    kind: "Namespace",
                    key: ObjectKey::new("", namespace.name.clone()),
                    uid: namespace.uid.clone(),
                    reason: "InvalidZone",
                    message,
                });
                None
            }
        }
    }

    /// The network a pod is on.
    pub fn network_of(&self, pod: &PodSight) -> Option<&Arc<Network>> {
        self.networks.by_name.get(pod.network.as_ref().unwrap_or(&self.networks.default))
    }

    /// A network, by its name.
    pub fn network(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.by_name.get(name)
    }

    /// The zone of a network's names, if it has one.
    pub fn zone_of_network(&self, network: &Network) -> Option<&Arc<ZoneKey>> {
        let key = (network.names.endpoint.clone(), folded(&network.names.zone));
        self.zones.get_key_value(&key).map(|(key, _)| key)
    }

    /// The zone of a namespace; `Err`: there is no such namespace.
    pub fn zone_of(&self, namespace: &str) -> Result<Option<&Arc<ZoneKey>>, ()> {
        self.namespaces.get(namespace).map(Option::as_ref).ok_or(())
    }

    /// Every server of ours asks the others for the zones it does not have. `zones`: all there are, those included that came with pods.
    pub fn forwarders(&self, zones: &BTreeMap<ZoneKey, ZoneWish>) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
        let served = self.networks.by_name.values().filter(|network| !network.names.zone.is_empty());
        let mut elsewhere: BTreeMap<String, (IpAddr, String)> = BTreeMap::new();
        for ((endpoint, zone), wish) in zones.iter().filter(|(_, wish)| !wish.reverse) {
            if let Some(server) = wish.server {
                elsewhere.entry(zone.clone()).or_insert((server, endpoint.clone()));
            }
        }
        let mut local: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for network in served {
            let reverse = reverse_zones(network.cidr);
            local.entry(&network.names.endpoint).or_default().extend(reverse.iter().cloned());
            if let Some(server) = network.names.server {
                for zone in reverse {
                    elsewhere.entry(zone).or_insert((server, network.names.endpoint.clone()));
                }
            }
        }
        let managed = zones.iter().filter(|((at, _), wish)| !at.is_empty() && !wish.external);
        let managed: BTreeSet<String> = managed.map(|((at, _), _)| at.clone()).collect();
        let of = |endpoint: String| {
            let mut forwarders = BTreeMap::new();
            for (zone, (server, at)) in &elsewhere {
                let has = zones.contains_key(&(endpoint.clone(), zone.clone()))
                    || local.get(endpoint.as_str()).is_some_and(|zones| zones.contains(zone));
                if *at != endpoint && !has {
                    forwarders.insert(zone.clone(), vec![with_port(&server.to_string())]);
                }
            }
            (endpoint, forwarders)
        };
        managed.into_iter().map(of).collect()
    }
}

/// A zone of a network, with nothing in it.
pub fn header(network: &Network) -> ZoneWish {
    ZoneWish {
        network: network.name.clone(),
        server: network.names.server,
        external: network.external_dns,
        ..ZoneWish::default()
    }
}

/// The network and the zone of a namespace. One that says nothing has none, unless all have. `open` is the network's own zone,
/// `nested` one below it; `vkube.io/domain` names another. A namespace called like a network has that network's zone.
fn zone_of_namespace<'a>(
    namespace: &NamespaceSight,
    networks: &'a NetworksView,
    usual: Option<Mode>,
) -> Result<Option<(&'a Network, String)>, String> {
    let mode = match &namespace.mode {
        None => usual,
        Some(word) => {
            let mode = Mode::named(word)
                .ok_or_else(|| format!("vkube.io/mode is {word:?}, where open or nested is wanted"))?;
            Some(mode)
        }
    };
    if mode.is_none() && namespace.domain.is_none() {
        return Ok(None);
    }
    let own = networks.by_name.get(&namespace.name).filter(|network| !network.names.zone.is_empty());
    let network = match &namespace.network {
        Some(name) => {
            networks.by_name.get(name).ok_or_else(|| format!("there is no network {name:?} (vkube.io/network)"))?
        }
        None => match own.or_else(|| networks.by_name.get(&networks.default)) {
            Some(network) => network,
            None => return Ok(None),
        },
    };
    let above = folded(&network.names.zone);
    if above.is_empty() {
        return Ok(None);
    }
    let zone = match (&namespace.domain, mode) {
        (Some(domain), _) => folded(domain),
        (None, Some(Mode::Open)) => above,
        (None, _) if own.is_some_and(|own| own.name == network.name) => above,
        (None, _) => format!("{}.{above}", namespace.name),
    };
    if !is_zone(&zone) {
        return Err(format!("{zone:?} is not the name of a zone"));
    }
    Ok(Some((network, zone)))
}
