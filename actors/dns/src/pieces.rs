//! What one object adds to one name, and what becomes of a name with all that was added to it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mkube_messages::dns::{Purpose, RecordType};
use mkube_messages::objects::ObjectKey;
use mkube_model::metadata::subdomain_problem;

use crate::desired::{Remark, WantedSet, ZoneKey};
use crate::frame::Frame;
use crate::names::{folded, is_name, reverse_of, type_of};
use crate::sights::{PodSight, ServiceSight};

/// Seconds for which names of pods and services may be remembered: they move.
const SHORT: u32 = 60;

/// Who adds something to a name, in the order in which it counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The configuration.
    Standing,
    /// A pod.
    Pod(ObjectKey),
    /// A Service, for the sake of one of its pods.
    Service(ObjectKey, ObjectKey),
}

/// What it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Type and data, where there are any.
    leads_to: Option<(RecordType, String)>,
    /// It is to be answered now; else there is a right to the name, and no more.
    up: bool,
    ttl: u32,
    purpose: Purpose,
    /// A pod has the name of its own: no Service takes it.
    own: bool,
    /// A pod is called so.
    calling: bool,
}

impl Piece {
    /// A name that stands in the configuration.
    pub fn standing(address: IpAddr, ttl: u32, purpose: Purpose) -> Self {
        let leads_to = Some((type_of(address), address.to_string()));
        Self { leads_to, up: true, ttl, purpose, own: false, calling: false }
    }

    fn of(address: Option<IpAddr>, up: bool, purpose: Purpose) -> Self {
        let leads_to = address.map(|address| (type_of(address), address.to_string()));
        Self { leads_to, up, ttl: SHORT, purpose, own: false, calling: false }
    }
}

/// Everything a pod adds.
#[derive(Debug, Default)]
pub struct PodPart {
    /// Zone, name, for whose sake, what.
    pub pieces: Vec<(Arc<ZoneKey>, String, Source, Piece)>,
    /// Zones of names of addresses that are there because of it, each with the network the pod is on.
    pub reverse: BTreeMap<Arc<ZoneKey>, String>,
    /// What cannot be done as it is written.
    pub remarks: BTreeSet<Remark>,
}

/// What a pod adds, and what the Services add that select it. `withdrawn`: it is about to be stopped.
pub fn part_of(frame: &Frame, pod: &PodSight, services: &[&ServiceSight], withdrawn: bool) -> PodPart {
    let mut part = PodPart::default();
    let stays = !pod.deleting && !withdrawn;
    part.add_pod(frame, pod, pod.ready && stays);
    for service in services {
        part.add_service(frame, service, pod, (pod.ready || service.unready_too) && stays);
    }
    part
}

impl PodPart {
    fn remark(&mut self, pod: &PodSight, reason: &'static str, message: String) {
        let (key, uid) = (pod.key.clone(), pod.uid.clone());
        self.remarks.insert(Remark { kind: "Pod", key, uid, reason, message });
    }

    /// The zones a pod has its names in: that of its network, and that of its namespace.
    fn zones_of(&mut self, frame: &Frame, pod: &PodSight) -> Vec<Arc<ZoneKey>> {
        let network = frame.network_of(pod).and_then(|network| frame.zone_of_network(network));
        let mut zones: Vec<Arc<ZoneKey>> = network.cloned().into_iter().collect();
        let said = pod.namespace.as_deref();
        let name = said.unwrap_or(&pod.key.namespace);
        match frame.zone_of(name) {
            Ok(zone) => {
                zones.extend(zone.filter(|zone| !zones.contains(*zone)).cloned().into_iter().collect::<Vec<_>>())
            }
            Err(()) if said.is_some() => {
                self.remark(pod, "UnknownNamespace", format!("vkube.io/namespace: there is no namespace {name:?}"));
            }
            Err(()) => {}
        }
        zones
    }

    fn add_pod(&mut self, frame: &Frame, pod: &PodSight, up: bool) {
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
        for zone in self.zones_of(frame, pod) {
            for (at, (name, address)) in names.iter().enumerate().filter(|(_, (name, _))| is_name(name, &zone.1)) {
                let purpose = Purpose::Pods([pod.key.clone()].into());
                let piece = Piece { own: at < own_names, calling: at == 0, ..Piece::of(*address, up, purpose) };
                self.pieces.push((zone.clone(), name.clone(), Source::Pod(pod.key.clone()), piece));
            }
        }
        self.add_reverse(frame, pod, up);
    }

    /// The names of a pod's addresses: each has one, that of the first pod that has the address.
    fn add_reverse(&mut self, frame: &Frame, pod: &PodSight, up: bool) {
        let Some(network) = frame.network_of(pod).filter(|network| !network.external_dns) else { return };
        if frame.zone_of_network(network).is_none() {
            return;
        }
        let target = format!("{}.{}", pod.key.name.to_ascii_lowercase(), folded(&network.names.zone));
        for address in pod.addresses.values() {
            let IpAddr::V4(address) = address else { continue };
            let (reverse, name) = reverse_of(*address);
            let zone = Arc::new((network.names.endpoint.clone(), reverse));
            let leads_to = Some((RecordType::Ptr, target.clone()));
            let piece = Piece { leads_to, ..Piece::of(None, up, Purpose::Reverse) };
            self.reverse.insert(zone.clone(), network.name.clone());
            self.pieces.push((zone, name, Source::Pod(pod.key.clone()), piece));
        }
    }

    /// A service's names stand in the zones of its pods' networks, with the addresses those pods have there, and in the zone of
    /// its namespace with all of them.
    fn add_service(&mut self, frame: &Frame, service: &ServiceSight, pod: &PodSight, up: bool) {
        let (name, namespace) = (&service.key.name, &service.key.namespace);
        let own_zone = frame.zone_of(namespace).ok().flatten();
        let network = frame.network_of(pod).and_then(|network| frame.zone_of_network(network));
        let zones: BTreeSet<&Arc<ZoneKey>> = network.into_iter().chain(own_zone).collect();
        for zone in zones {
            for name in [name.clone(), format!("{name}.{namespace}")].into_iter().filter(|name| is_name(name, &zone.1))
            {
                let piece = Piece::of(pod.address(None), up, Purpose::Service(service.key.clone()));
                self.pieces.push((zone.clone(), name, Source::Service(service.key.clone(), pod.key.clone()), piece));
            }
        }
    }
}

/// What becomes of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// What is to be there, by type.
    pub sets: BTreeMap<RecordType, WantedSet>,
    /// Somebody has a right to it.
    pub claimed: bool,
    /// A pod is called so.
    pub calling: bool,
    /// Data that will be wanted when somebody is ready.
    pub awaited: BTreeSet<String>,
}

/// What becomes of a name to which all this was added.
pub fn fold(pieces: &BTreeMap<Source, Vec<Piece>>) -> Folded {
    let mut folded = Folded::default();
    let is_a_pods = pieces.values().flatten().any(|piece| piece.own);
    for (source, pieces) in pieces {
        if is_a_pods && matches!(source, Source::Service(..)) {
            continue;
        }
        for piece in pieces {
            folded.add(piece);
        }
    }
    folded
}

impl Folded {
    fn add(&mut self, piece: &Piece) {
        self.claimed = true;
        self.calling |= piece.calling;
        let Some((kind, data)) = &piece.leads_to else { return };
        let is_reverse = *kind == RecordType::Ptr;
        if is_reverse || !piece.up {
            self.awaited.insert(data.clone());
        }
        // An address has one name, that of the first.
        if !piece.up || is_reverse && self.sets.contains_key(kind) {
            return;
        }
        let fresh = || WantedSet { ttl: piece.ttl, data: BTreeSet::new(), purpose: piece.purpose.clone() };
        let wanted = self.sets.entry(*kind).or_insert_with(fresh);
        wanted.ttl = wanted.ttl.min(piece.ttl);
        wanted.data.insert(data.clone());
        weigh(&mut wanted.purpose, &piece.purpose);
    }
}

/// What a set is for, when it is for more than one thing: pods come first.
fn weigh(purpose: &mut Purpose, other: &Purpose) {
    let weight = |purpose: &Purpose| match purpose {
        Purpose::Pods(_) => 5,
        Purpose::Service(_) => 4,
        Purpose::Static => 3,
        Purpose::Reservation => 2,
        Purpose::Infra => 1,
        Purpose::Reverse | Purpose::Leftover => 0,
    };
    if let (Purpose::Pods(some), Purpose::Pods(more)) = (&mut *purpose, other) {
        some.extend(more.iter().cloned());
    } else if weight(other) > weight(purpose) {
        *purpose = other.clone();
    }
}
