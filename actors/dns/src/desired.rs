//! What is to be in every zone, all of it: pure. Networks, pods, services and namespaces in; complete sets of records, forwarders
//! and remarks out.
//!
//! Names of pods stand in their network's zone, whatever their namespace: two pods of one name share it. A namespace can have a
//! zone beside that, see [`zone_of_namespace`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mkube_messages::dns::{Purpose, RecordType};
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_model::metadata::subdomain_problem;
use mkube_model::network::Network;

use crate::names::{folded, inside, is_name, is_zone, reverse_of, reverse_zones, type_of, with_port};
use crate::sights::{Mode, NamespaceSight, PodSight, ServiceSight};

/// Seconds for which names of pods and services may be remembered: they move.
const SHORT: u32 = 60;
/// Seconds for which names that stand in the configuration may be remembered.
const LONG: u32 = 300;

/// Name inside a zone and type: what the answers to one question are.
pub type SetKey = (String, RecordType);

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSet {
    /// Seconds.
    pub ttl: u32,
    /// Data, as it compares.
    pub data: BTreeSet<String>,
    /// What it is for, the weightiest.
    pub purpose: Purpose,
}

/// A zone at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneWish {
    /// The network it belongs to, the first by name.
    pub network: String,
    /// Address of the server.
    pub server: Option<IpAddr>,
    /// The server belongs to somebody else.
    pub external: bool,
    /// The zone it lies in, for those of namespaces.
    pub parent: String,
    /// The namespace it is the zone of.
    pub namespace: Option<String>,
    /// Names of addresses: only kept where the server does not do so itself.
    pub reverse: bool,
    /// Names pods are called by. Servers that keep names of addresses by themselves take the one written last: these are.
    pub callings: BTreeSet<String>,
    /// What is to be there.
    pub sets: BTreeMap<SetKey, WantedSet>,
    /// Names that some object there is has a right to, whether or not it has an address for them now.
    pub claimed: BTreeSet<String>,
    /// Names and data that will be wanted when somebody is ready.
    pub awaited: BTreeSet<(String, String)>,
}

/// Endpoint and zone. An empty endpoint: nobody's server is spoken to.
pub type ZoneKey = (String, String);

/// Something a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// `Pod`, `Namespace`.
    pub kind: &'static str,
    /// Of what.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Everything that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Zones.
    pub zones: BTreeMap<ZoneKey, ZoneWish>,
    /// By endpoint: zone and whom to ask.
    pub forwarders: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// What cannot be done as it is written.
    pub remarks: BTreeSet<Remark>,
}

/// What it is made from.
pub struct Facts<'a> {
    /// Networks.
    pub networks: &'a NetworksView,
    /// Pods, in order of their keys.
    pub pods: &'a [&'a PodSight],
    /// Services.
    pub services: &'a [&'a ServiceSight],
    /// Namespaces.
    pub namespaces: &'a BTreeMap<&'a str, &'a NamespaceSight>,
    /// The mode of namespaces that say none; none: they have no zone.
    pub mode: Option<Mode>,
    /// Uids of pods that are about to be stopped.
    pub withdrawn: &'a BTreeSet<String>,
}

/// What is wanted.
pub fn desired(facts: &Facts<'_>) -> Desired {
    let mut work = Work { facts, out: Desired::default(), pod_names: BTreeSet::new() };
    for network in facts.networks.by_name.values() {
        work.add_network(network);
    }
    for namespace in facts.namespaces.values() {
        work.add_namespace(namespace);
    }
    for pod in facts.pods {
        work.add_pod(pod);
    }
    for service in facts.services {
        work.add_service(service);
    }
    work.add_forwarders();
    work.out
}

/// The network and the zone of a namespace. One that says nothing has none, unless all have. `open` is the network's own zone,
/// `nested` one below it; `vkube.io/domain` names another. A namespace called like a network has that network's zone.
pub fn zone_of_namespace<'a>(
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

struct Work<'a> {
    facts: &'a Facts<'a>,
    out: Desired,
    /// Names that pods have of their own, by zone: a service does not take them.
    pod_names: BTreeSet<(ZoneKey, String)>,
}

impl<'a> Work<'a> {
    fn zone(&mut self, network: &Network, zone: &str) -> ZoneKey {
        let key = (network.names.endpoint.clone(), zone.to_owned());
        self.out.zones.entry(key.clone()).or_insert_with(|| ZoneWish {
            network: network.name.clone(),
            server: network.names.server,
            external: network.external_dns,
            parent: String::new(),
            namespace: None,
            reverse: false,
            callings: BTreeSet::new(),
            sets: BTreeMap::new(),
            claimed: BTreeSet::new(),
            awaited: BTreeSet::new(),
        });
        key
    }

    fn reverse_zone(&mut self, network: &Network, zone: &str) -> ZoneKey {
        let key = self.zone(network, zone);
        if let Some(wish) = self.out.zones.get_mut(&key) {
            wish.reverse = true;
        }
        key
    }

    fn add(&mut self, key: &ZoneKey, name: &str, address: IpAddr, ttl: u32, purpose: Purpose) {
        self.add_data(key, (name.to_owned(), type_of(address)), address.to_string(), ttl, purpose);
    }

    fn add_data(&mut self, key: &ZoneKey, set: SetKey, data: String, ttl: u32, purpose: Purpose) {
        let Some(zone) = self.out.zones.get_mut(key) else { return };
        zone.claimed.insert(set.0.clone());
        let fresh = || WantedSet { ttl, data: BTreeSet::new(), purpose: purpose.clone() };
        let wanted = zone.sets.entry(set).or_insert_with(fresh);
        wanted.ttl = wanted.ttl.min(ttl);
        wanted.data.insert(data);
        wanted.purpose = weightier(&wanted.purpose, &purpose);
    }

    fn claim(&mut self, key: &ZoneKey, name: &str, address: Option<IpAddr>) {
        if let Some(zone) = self.out.zones.get_mut(key) {
            zone.claimed.insert(name.to_owned());
            zone.awaited.extend(address.map(|address| (name.to_owned(), address.to_string())));
        }
    }

    fn add_network(&mut self, network: &Network) {
        let zone = folded(&network.names.zone);
        if zone.is_empty() || !is_zone(&zone) {
            return;
        }
        let key = self.zone(network, &zone);
        for record in &network.names.static_records {
            if let Some(name) = inside(&record.name, &zone) {
                self.add(&key, &name, record.ip, LONG, Purpose::Static);
            }
        }
        for reservation in &network.dhcp.reservations {
            if let Some(name) = inside(&reservation.hostname, &zone) {
                self.add(&key, &name, reservation.ip.into(), LONG, Purpose::Reservation);
            }
        }
        // The name every network had from the first: the router of whoever wrote it.
        self.add(&key, "rose1", network.gateway.into(), LONG, Purpose::Infra);
        if let Some(server) = network.names.server {
            self.add(&key, "dns", server, LONG, Purpose::Infra);
        }
        // Those of small networks stay while there are no pods; others come with the first one.
        if !network.external_dns && network.cidr.prefix_len() >= 20 {
            for reverse in reverse_zones(network.cidr) {
                self.reverse_zone(network, &reverse);
            }
        }
    }

    fn add_namespace(&mut self, namespace: &NamespaceSight) {
        match zone_of_namespace(namespace, self.facts.networks, self.facts.mode) {
            Ok(None) => {}
            Ok(Some((network, zone))) => {
                let key = self.zone(network, &zone);
                let is_networks = folded(&network.names.zone) == zone;
                if let Some(wish) = self.out.zones.get_mut(&key).filter(|_| !is_networks) {
                    wish.namespace.get_or_insert_with(|| namespace.name.clone());
                    wish.parent = zone.split_once('.').map(|(_, above)| above.to_owned()).unwrap_or_default();
                }
            }
            Err(message) => {
                self.out.remarks.insert(Remark {
                    kind: "Namespace",
                    key: ObjectKey::new("", namespace.name.clone()),
                    uid: namespace.uid.clone(),
                    reason: "InvalidZone",
                    message,
                });
            }
        }
    }

    fn network_of(&self, pod: &PodSight) -> Option<&'a Network> {
        let networks = self.facts.networks;
        let name = pod.network.as_ref().unwrap_or(&networks.default);
        networks.by_name.get(name).map(AsRef::as_ref)
    }

    /// The zones a pod has its names in: that of its network, and that of its namespace.
    fn zones_of(&mut self, pod: &PodSight, remarks: bool) -> Vec<(ZoneKey, String)> {
        let mut zones = Vec::new();
        let mut add = |network: &Network, zone: String| {
            let key = (network.names.endpoint.clone(), zone.clone());
            if !zones.iter().any(|(known, _)| *known == key) {
                zones.push((key, zone));
            }
        };
        if let Some(network) = self.network_of(pod) {
            add(network, folded(&network.names.zone));
        }
        let said = pod.namespace.as_deref();
        let name = said.unwrap_or(&pod.key.namespace);
        match self.facts.namespaces.get(name) {
            Some(namespace) => {
                if let Ok(Some((network, zone))) = zone_of_namespace(namespace, self.facts.networks, self.facts.mode) {
                    add(network, zone);
                }
            }
            None if said.is_some() && remarks => {
                self.remark(pod, "UnknownNamespace", format!("vkube.io/namespace: there is no namespace {name:?}"));
            }
            None => {}
        }
        zones.retain(|(key, _)| self.out.zones.contains_key(key));
        zones
    }

    fn remark(&mut self, pod: &PodSight, reason: &'static str, message: String) {
        let (key, uid) = (pod.key.clone(), pod.uid.clone());
        self.out.remarks.insert(Remark { kind: "Pod", key, uid, reason, message });
    }

    fn add_pod(&mut self, pod: &PodSight) {
        let up = pod.ready && !pod.deleting && !self.facts.withdrawn.contains(&pod.uid);
        let own = pod.key.name.to_ascii_lowercase();
        let mut names: Vec<(String, Option<IpAddr>)> = vec![(own.clone(), pod.address(None))];
        for container in &pod.containers {
            names.push((format!("{}.{own}", container.to_ascii_lowercase()), pod.address(Some(container))));
        }
        let own_names = names.len();
        for alias in &pod.aliases {
            let name = alias.name.to_ascii_lowercase();
            let known = |container: &String| pod.containers.contains(container);
            if subdomain_problem(&name).is_some() || name.split('.').any(|label| label.len() > 63) {
                let why = "a name consists of lower case letters, digits and '-', each part of at most 63 characters";
                self.remark(
                    pod,
                    "InvalidAlias",
                    format!("vkube.io/aliases: {:?} is not a DNS name: {why}", alias.name),
                );
            } else if alias.container.as_ref().is_none_or(known) {
                names.push((name, pod.address(alias.container.as_deref())));
            } else {
                let container = alias.container.as_deref().unwrap_or_default();
                let message =
                    format!("vkube.io/aliases: {name:?} names container {container:?}, which the pod does not have");
                self.remark(pod, "InvalidAlias", message);
            }
        }
        for (key, zone) in self.zones_of(pod, true) {
            for (at, (name, address)) in names.iter().enumerate().filter(|(_, (name, _))| is_name(name, &zone)) {
                if at < own_names {
                    self.pod_names.insert((key.clone(), name.clone()));
                }
                if let Some(wish) = self.out.zones.get_mut(&key).filter(|_| at == 0) {
                    wish.callings.insert(name.clone());
                }
                match address.filter(|_| up) {
                    Some(address) => {
                        self.add(&key, name, address, SHORT, Purpose::Pods([pod.key.clone()].into()));
                    }
                    None => self.claim(&key, name, *address),
                }
            }
        }
        if let Some(network) = self.network_of(pod).filter(|network| !network.external_dns) {
            self.add_reverse(network, pod, up);
        }
    }

    /// The names of a pod's addresses: each has one, that of the first pod that has the address.
    fn add_reverse(&mut self, network: &Network, pod: &PodSight, up: bool) {
        let zone = folded(&network.names.zone);
        if !self.out.zones.contains_key(&(network.names.endpoint.clone(), zone.clone())) {
            return;
        }
        let target = format!("{}.{zone}", pod.key.name.to_ascii_lowercase());
        for address in pod.addresses.values() {
            let IpAddr::V4(address) = address else { continue };
            let (reverse, name) = reverse_of(*address);
            let key = self.reverse_zone(network, &reverse);
            let Some(wish) = self.out.zones.get_mut(&key) else { continue };
            let set = (name, RecordType::Ptr);
            wish.claimed.insert(set.0.clone());
            wish.awaited.insert((set.0.clone(), target.clone()));
            if up && !wish.sets.contains_key(&set) {
                self.add_data(&key, set, target.clone(), SHORT, Purpose::Reverse);
            }
        }
    }

    /// A service's names stand in the zones of its pods' networks, with the addresses those pods have there, and in the zone of
    /// its namespace with all of them.
    fn add_service(&mut self, service: &ServiceSight) {
        let own_names = [service.key.name.clone(), format!("{}.{}", service.key.name, service.key.namespace)];
        let namespace = &service.key.namespace;
        let purpose = Purpose::Service(service.key.clone());
        let own_zone = self.facts.namespaces.get(namespace.as_str()).and_then(|namespace| {
            let (network, zone) = zone_of_namespace(namespace, self.facts.networks, self.facts.mode).ok().flatten()?;
            Some((network.names.endpoint.clone(), zone))
        });
        let pods: Vec<&PodSight> = self.facts.pods.iter().copied().filter(|pod| service.selects(pod)).collect();
        for pod in pods {
            let up = (pod.ready || service.unready_too) && !pod.deleting && !self.facts.withdrawn.contains(&pod.uid);
            let address = pod.address(None);
            let network = self.network_of(pod);
            let network = network.map(|network| (network.names.endpoint.clone(), folded(&network.names.zone)));
            let mut zones: BTreeSet<ZoneKey> = network.into_iter().chain(own_zone.clone()).collect();
            zones.retain(|key| self.out.zones.contains_key(key));
            for key in &zones {
                for name in &own_names {
                    if self.pod_names.contains(&(key.clone(), name.clone())) || !is_name(name, &key.1) {
                        continue;
                    }
                    match address.filter(|_| up) {
                        Some(address) => self.add(key, name, address, SHORT, purpose.clone()),
                        None => self.claim(key, name, address),
                    }
                }
            }
        }
    }

    /// Every server of ours asks the others for the zones it does not have.
    fn add_forwarders(&mut self) {
        let networks = self.facts.networks;
        let served = networks.by_name.values().filter(|network| !network.names.zone.is_empty());
        let mut elsewhere: BTreeMap<String, (IpAddr, String)> = BTreeMap::new();
        for ((endpoint, zone), wish) in self.out.zones.iter().filter(|(_, wish)| !wish.reverse) {
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
        let managed = self.out.zones.iter().filter(|((at, _), wish)| !at.is_empty() && !wish.external);
        let managed: BTreeSet<String> = managed.map(|((at, _), _)| at.clone()).collect();
        for endpoint in managed {
            let mut forwarders = BTreeMap::new();
            for (zone, (server, at)) in &elsewhere {
                let has = self.out.zones.contains_key(&(endpoint.clone(), zone.clone()))
                    || local.get(endpoint.as_str()).is_some_and(|zones| zones.contains(zone));
                if *at != endpoint && !has {
                    forwarders.insert(zone.clone(), vec![with_port(&server.to_string())]);
                }
            }
            self.out.forwarders.insert(endpoint, forwarders);
        }
    }
}

/// What a set is for, when it is for more than one thing: pods come first.
fn weightier(one: &Purpose, other: &Purpose) -> Purpose {
    let weight = |purpose: &Purpose| match purpose {
        Purpose::Pods(_) => 5,
        Purpose::Service(_) => 4,
        Purpose::Static => 3,
        Purpose::Reservation => 2,
        Purpose::Infra => 1,
        Purpose::Reverse | Purpose::Leftover => 0,
    };
    match (one, other) {
        (Purpose::Pods(some), Purpose::Pods(more)) => Purpose::Pods(some.union(more).cloned().collect()),
        _ if weight(other) > weight(one) => other.clone(),
        _ => one.clone(),
    }
}
