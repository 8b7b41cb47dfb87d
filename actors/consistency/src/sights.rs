//! What the stored objects say, read once for each version of an object: a run over a thousand pods reads only those that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::{metadata, workloads};
use serde_json::Value;

use crate::pod_sight::{Owner, PodSight, created, owners_of};

/// A Deployment, as far as it matters here.
#[derive(Debug, Clone)]
pub struct DeploymentSight {
    pub key: ObjectKey,
    pub uid: String,
    pub revision: Revision,
    pub generation: u64,
    pub created: Option<Timestamp>,
    pub observed: bool,
    pub replicas: u64,
}

impl DeploymentSight {
    fn of(object: &StoredObject) -> Self {
        let value = object.value();
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            generation: metadata::generation(&value),
            created: created(&value),
            observed: workloads::is_observed(&value),
            replicas: value.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
        }
    }
}

/// An object that names owners.
#[derive(Debug, Clone)]
pub struct Owned {
    pub revision: Revision,
    pub owners: Arc<Vec<Owner>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Sights {
    pub pods: BTreeMap<ObjectKey, Arc<PodSight>>,
    pub deployments: BTreeMap<ObjectKey, Arc<DeploymentSight>>,
    /// Objects of every kind that name owners, by kind and key.
    pub owned: BTreeMap<(KindId, ObjectKey), Owned>,
    /// What was read last, to skip kinds in which nothing changed.
    read: BTreeMap<KindId, Arc<KindView>>,
}

impl Sights {
    /// Reads what changed.
    pub fn read(&mut self, kinds: &KindTable, view: &ObjectsView) {
        let (pods, deployments) = (id(kinds, "Pod"), id(kinds, "Deployment"));
        for kind in kinds.iter().map(mkube_model::kinds::Kind::id) {
            let now = view.kind(&kind);
            if self.read.get(&kind).is_some_and(|before| Arc::ptr_eq(before, &now)) {
                continue;
            }
            if Some(kind) == pods {
                refresh(&mut self.pods, &now, |pod| pod.revision, PodSight::of);
            }
            if Some(kind) == deployments {
                refresh(&mut self.deployments, &now, |one| one.revision, DeploymentSight::of);
            }
            self.read_owners(kind, &now);
            self.read.insert(kind, now);
        }
    }

    fn read_owners(&mut self, kind: KindId, now: &KindView) {
        self.owned.retain(|(of, key), _| *of != kind || now.objects.contains_key(key));
        for (key, object) in &now.objects {
            let place = (kind, key.clone());
            if self.owned.get(&place).is_some_and(|known| known.revision == object.revision) {
                continue;
            }
            // Looked for in the text first: few kinds have owners.
            let owners =
                if object.text().contains("\"ownerReferences\"") { owners_of(&object.value()) } else { vec![] };
            if owners.is_empty() {
                self.owned.remove(&place);
            } else {
                self.owned.insert(place, Owned { revision: object.revision, owners: Arc::new(owners) });
            }
        }
    }
}

/// A builtin kind.
pub fn id(kinds: &KindTable, name: &str) -> Option<KindId> {
    kinds.named(name).map(mkube_model::kinds::Kind::id)
}

fn refresh<Sight>(
    known: &mut BTreeMap<ObjectKey, Arc<Sight>>,
    now: &KindView,
    revision: impl Fn(&Sight) -> Revision,
    read: impl Fn(&StoredObject) -> Sight,
) {
    known.retain(|key, _| now.objects.contains_key(key));
    for (key, object) in &now.objects {
        if known.get(key).is_none_or(|sight| revision(sight) != object.revision) {
            known.insert(key.clone(), Arc::new(read(object)));
        }
    }
}
