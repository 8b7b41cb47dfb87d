//! Everything that is wanted, kept while objects come, change and go. What a change costs grows with what it concerns: the names of
//! the pod, and whoever shares them. What comes about is what would come about from nothing (`wishes_tests`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;

use crate::desired::{Desired, Remark, ZoneKey};
use crate::frame::{Frame, header};
use crate::pieces::{Folded, Piece, Source, fold, part_of};
use crate::sights::{Mode, NamespaceSight, PodSight, ServiceSight};

/// What is to be seen again.
#[derive(Debug, Default)]
pub struct Changes {
    /// Pods.
    pub pods: BTreeSet<ObjectKey>,
    /// Services.
    pub services: BTreeSet<ObjectKey>,
    /// Networks or namespaces: everything is worked out anew.
    pub frame: bool,
}

impl Changes {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        !self.frame && self.pods.is_empty() && self.services.is_empty()
    }
}

/// What there is.
#[derive(Clone, Copy)]
pub struct Sights<'a> {
    /// Pods.
    pub pods: &'a BTreeMap<ObjectKey, PodSight>,
    /// Services.
    pub services: &'a BTreeMap<ObjectKey, ServiceSight>,
    /// Whether a pod of this uid is about to be stopped.
    pub withdrawn: &'a dyn Fn(&str) -> bool,
}

/// A name in a zone.
type NameKey = (Arc<ZoneKey>, Arc<str>);

/// What a pod added when it was seen last.
#[derive(Debug, Default)]
struct PodEntry {
    names: Vec<(NameKey, Source)>,
    reverse: Vec<Arc<ZoneKey>>,
    remarks: BTreeSet<Remark>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Wishes {
    frame: Frame,
    /// What was added to each name, and by whom.
    names: BTreeMap<NameKey, BTreeMap<Source, Vec<Piece>>>,
    pods: BTreeMap<ObjectKey, PodEntry>,
    /// Zones of names of addresses that pods are the cause of, and the network each of them is on.
    made: BTreeMap<Arc<ZoneKey>, BTreeMap<ObjectKey, String>>,
    services: BTreeMap<ObjectKey, ServiceSight>,
    /// Services by their namespace and one label they select by.
    by_label: BTreeMap<(String, String, String), BTreeSet<ObjectKey>>,
    /// Names that have to be looked at, and what became of them the last time.
    pub(crate) dirty: BTreeMap<NameKey, Folded>,
    /// Zones that may have come or gone.
    doubted: BTreeSet<Arc<ZoneKey>>,
    /// Remarks, zones or who asks whom changed.
    changed: bool,
    desired: Desired,
}

impl Wishes {
    /// With nothing in it but what networks and namespaces give.
    pub fn new(networks: Arc<NetworksView>, namespaces: &BTreeMap<&str, &NamespaceSight>, usual: Option<Mode>) -> Self {
        let frame = Frame::of(networks, namespaces, usual);
        let zones = frame.zones.iter().map(|(key, wish)| ((**key).clone(), wish.clone())).collect();
        let mut desired = Desired { zones, remarks: frame.remarks.clone(), ..Desired::default() };
        desired.forwarders = frame.forwarders(&desired.zones);
        let mut wishes = Self { desired, changed: true, ..Self::default() };
        for (zone, name, piece) in &frame.standing {
            wishes.add((zone.clone(), name.as_str().into()), Source::Standing, piece.clone());
        }
        Self { frame, ..wishes }
    }

    /// Everything that is wanted, as of the last [`Self::settle`].
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Sees everything there is.
    pub fn see_all(&mut self, sights: Sights<'_>) {
        for (key, service) in sights.services {
            self.see_service(key, Some(service));
        }
        for (key, pod) in sights.pods {
            self.see_pod(key, Some(pod), (sights.withdrawn)(&pod.uid));
        }
    }

    /// Sees what changed.
    pub fn see(&mut self, changes: &Changes, sights: Sights<'_>) {
        let mut pods = changes.pods.clone();
        for key in &changes.services {
            let now = sights.services.get(key);
            let before = self.see_service(key, now);
            let selects = |pod: &PodSight| before.iter().chain(now).any(|service| service.selects(pod));
            let of_namespace = sights.pods.range(ObjectKey::new(key.namespace.as_str(), "")..);
            let of_namespace = of_namespace.take_while(|(pod, _)| pod.namespace == key.namespace);
            pods.extend(of_namespace.filter(|(_, pod)| selects(pod)).map(|(pod, _)| pod.clone()));
        }
        for key in &pods {
            let pod = sights.pods.get(key);
            self.see_pod(key, pod, pod.is_some_and(|pod| (sights.withdrawn)(&pod.uid)));
        }
    }

    /// A Service is there like that, or is not any more; answers what it was before. Its pods are to be seen again.
    fn see_service(&mut self, key: &ObjectKey, service: Option<&ServiceSight>) -> Option<ServiceSight> {
        let label = |service: &ServiceSight| {
            let (label, value) = service.selector.first_key_value()?;
            Some((service.key.namespace.clone(), label.clone(), value.clone()))
        };
        let before = self.services.remove(key);
        if let Some(label) = before.as_ref().and_then(label)
            && let Some(others) = self.by_label.get_mut(&label)
        {
            others.remove(key);
            if others.is_empty() {
                self.by_label.remove(&label);
            }
        }
        if let Some(service) = service {
            if let Some(label) = label(service) {
                self.by_label.entry(label).or_default().insert(key.clone());
            }
            self.services.insert(key.clone(), service.clone());
        }
        before
    }

    /// Services that select a pod.
    fn services_of(&self, pod: &PodSight) -> Vec<&ServiceSight> {
        let labels = pod.labels.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten();
        let named = labels.filter_map(|(label, value)| {
            let value = value.as_str()?;
            self.by_label.get(&(pod.key.namespace.clone(), label.clone(), value.to_owned()))
        });
        named.flatten().filter_map(|key| self.services.get(key)).filter(|service| service.selects(pod)).collect()
    }

    /// A pod is there like that, or is not any more.
    fn see_pod(&mut self, key: &ObjectKey, pod: Option<&PodSight>, withdrawn: bool) {
        let before = self.pods.remove(key).unwrap_or_default();
        for (name, source) in before.names {
            self.take_away(&name, &source);
        }
        for zone in before.reverse {
            if let Some(makers) = self.made.get_mut(&zone) {
                makers.remove(key);
            }
            self.doubted.insert(zone);
        }
        let mut entry = PodEntry::default();
        if let Some(pod) = pod {
            let part = part_of(&self.frame, pod, &self.services_of(pod), withdrawn);
            for (zone, network) in part.reverse {
                self.made.entry(zone.clone()).or_default().insert(key.clone(), network);
                self.doubted.insert(zone.clone());
                entry.reverse.push(zone);
            }
            for (zone, name, source, piece) in part.pieces {
                let name = (zone, Arc::from(name));
                self.add(name.clone(), source.clone(), piece);
                entry.names.push((name, source));
            }
            entry.remarks = part.remarks;
        }
        if before.remarks != entry.remarks {
            self.changed = true;
            self.desired.remarks.retain(|remark| !before.remarks.contains(remark));
            self.desired.remarks.extend(entry.remarks.iter().cloned());
        }
        if pod.is_some() {
            self.pods.insert(key.clone(), entry);
        }
    }

    fn note(&mut self, name: &NameKey) {
        if !self.dirty.contains_key(name) {
            let before = self.names.get(name).map(fold).unwrap_or_default();
            self.dirty.insert(name.clone(), before);
        }
    }

    fn add(&mut self, name: NameKey, source: Source, piece: Piece) {
        self.note(&name);
        self.names.entry(name).or_default().entry(source).or_default().push(piece);
    }

    fn take_away(&mut self, name: &NameKey, source: &Source) {
        self.note(name);
        if let Some(pieces) = self.names.get_mut(name) {
            pieces.remove(source);
            if pieces.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// Brings what is wanted up to date with everything that was seen; whether it changed.
    pub fn settle(&mut self) -> bool {
        self.settle_zones();
        for (name, before) in std::mem::take(&mut self.dirty) {
            let now = self.names.get(&name).map(fold).unwrap_or_default();
            if before != now {
                self.changed |= self.put(&name, &before, now);
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// Zones of names of addresses come with the first pod that has one there, and go with the last.
    fn settle_zones(&mut self) {
        let mut others = false;
        for zone in std::mem::take(&mut self.doubted) {
            let first = self.made.get(&zone).and_then(|makers| makers.first_key_value()).map(|(_, network)| network);
            let mut wish = self.desired.zones.remove(&*zone);
            let had = wish.as_ref().map(|wish| (wish.network.clone(), wish.server, wish.external, wish.reverse));
            match (self.frame.zones.get(&zone), first) {
                (Some(standing), first) => {
                    let wish = wish.get_or_insert_with(|| standing.clone());
                    wish.reverse = standing.reverse || first.is_some();
                }
                (None, Some(network)) => {
                    let wish = wish.get_or_insert_with(Default::default);
                    if let Some(network) = self.frame.network(network) {
                        let of = header(network);
                        (wish.network, wish.server, wish.external) = (of.network, of.server, of.external);
                    }
                    wish.reverse = true;
                }
                // What was in it went with those who put it there.
                (None, None) => wish = None,
            }
            let has = wish.as_ref().map(|wish| (wish.network.clone(), wish.server, wish.external, wish.reverse));
            others |= had != has;
            if let Some(wish) = wish {
                self.desired.zones.insert((*zone).clone(), wish);
            } else {
                self.made.remove(&zone);
            }
        }
        if others {
            self.changed = true;
            self.desired.forwarders = self.frame.forwarders(&self.desired.zones);
        }
    }

    /// What became of a name, in its zone; whether there is such a zone.
    fn put(&mut self, (zone, name): &NameKey, before: &Folded, now: Folded) -> bool {
        let Some(wish) = self.desired.zones.get_mut(&**zone) else { return false };
        let name = name.to_string();
        for kind in before.sets.keys().filter(|kind| !now.sets.contains_key(kind)) {
            wish.sets.remove(&(name.clone(), *kind));
        }
        for (kind, set) in now.sets {
            if before.sets.get(&kind) != Some(&set) {
                wish.sets.insert((name.clone(), kind), set);
            }
        }
        for data in before.awaited.difference(&now.awaited) {
            wish.awaited.remove(&(data.clone(), name.clone()));
        }
        for data in now.awaited.difference(&before.awaited) {
            wish.awaited.insert((data.clone(), name.clone()));
        }
        match (before.calling, now.calling) {
            (false, true) => drop(wish.callings.insert(name.clone())),
            (true, false) => drop(wish.callings.remove(&name)),
            _ => {}
        }
        match (before.claimed, now.claimed) {
            (false, true) => drop(wish.claimed.insert(name)),
            (true, false) => drop(wish.claimed.remove(&name)),
            _ => {}
        }
        true
    }
}
