//! Pods, services and namespaces as they were last read. Only what changed is read again, and most of what changes about a pod
//! is no matter to names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::KindId;

use crate::sights::{NamespaceSight, PodSight, ServiceSight};
use crate::wishes::Changes;

/// Objects of one kind.
struct Source<Sight> {
    kind: KindId,
    read_from: Arc<KindView>,
    sights: BTreeMap<ObjectKey, Sight>,
}

impl<Sight: PartialEq> Source<Sight> {
    fn new(kind: KindId) -> Self {
        Self { kind, read_from: Arc::default(), sights: BTreeMap::new() }
    }

    /// Those of which something changed that matters.
    fn read(&mut self, view: &ObjectsView, sight_of: impl Fn(&StoredObject) -> Option<Sight>) -> BTreeSet<ObjectKey> {
        let kind = view.kind(&self.kind);
        let mut changed = BTreeSet::new();
        if Arc::ptr_eq(&self.read_from, &kind) {
            return changed;
        }
        let before: OrdMap<_, _> = std::mem::replace(&mut self.read_from, kind.clone()).objects.clone();
        for change in before.diff(&kind.objects) {
            let (key, sight) = match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => (key, sight_of(object)),
                DiffItem::Remove(key, _) => (key, None),
            };
            if self.sights.get(key) == sight.as_ref() {
                continue;
            }
            changed.insert(key.clone());
            match sight {
                Some(sight) => drop(self.sights.insert(key.clone(), sight)),
                None => drop(self.sights.remove(key)),
            }
        }
        changed
    }
}

/// See the module.
pub struct Sources {
    pods: Source<PodSight>,
    services: Source<ServiceSight>,
    namespaces: Source<NamespaceSight>,
}

impl Sources {
    /// Nothing read.
    pub fn new(pods: KindId, services: KindId, namespaces: KindId) -> Self {
        Self { pods: Source::new(pods), services: Source::new(services), namespaces: Source::new(namespaces) }
    }

    /// What changed that matters.
    pub fn read(&mut self, view: &ObjectsView) -> Changes {
        let pods = self.pods.read(view, |object| Some(PodSight::of(object)));
        let services = self.services.read(view, ServiceSight::of);
        let namespaces = self.namespaces.read(view, |object| Some(NamespaceSight::of(object)));
        Changes { pods, services, frame: !namespaces.is_empty() }
    }

    /// One pod.
    pub fn pod(&self, key: &ObjectKey) -> Option<&PodSight> {
        self.pods.sights.get(key)
    }

    /// All pods.
    pub fn pods(&self) -> &BTreeMap<ObjectKey, PodSight> {
        &self.pods.sights
    }

    /// Whether there are pods at all.
    pub fn has_pods(&self) -> bool {
        !self.pods.sights.is_empty()
    }

    /// All services.
    pub fn services(&self) -> &BTreeMap<ObjectKey, ServiceSight> {
        &self.services.sights
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> BTreeMap<&str, &NamespaceSight> {
        self.namespaces.sights.values().map(|one| (one.name.as_str(), one)).collect()
    }
}
