//! Which objects concern which Deployment. Kept up to date from the history of each kind, so that a look costs as much as
//! changed, not as much as there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::desired_store::Revision;

use crate::deployment_sight::{DeploymentSight, SetSight};
use crate::pod_sight::{PodSight, stem};

/// The kinds that matter.
#[derive(Debug, Clone, Copy)]
pub struct Kinds {
    /// Deployments.
    pub deployments: KindId,
    /// ReplicaSets.
    pub sets: KindId,
    /// Pods.
    pub pods: KindId,
    /// Nodes.
    pub nodes: KindId,
}

/// How far a kind was read.
#[derive(Default)]
struct Read {
    view: Option<Arc<KindView>>,
    revision: Revision,
}

impl Read {
    /// Objects that may have changed since the last time; `known` are the keys that were there then.
    fn changes<'a>(
        &mut self,
        view: &'a Arc<KindView>,
        known: impl Iterator<Item = &'a ObjectKey>,
    ) -> BTreeSet<ObjectKey> {
        if self.view.as_ref().is_some_and(|before| Arc::ptr_eq(before, view)) {
            return BTreeSet::new();
        }
        let is_new = self.view.replace(view.clone()).is_none();
        let newest = view.history.last().map_or(view.history_after, |change| change.revision);
        let since = std::mem::replace(&mut self.revision, newest);
        if is_new || since < view.history_after || newest < since {
            return view.objects.keys().chain(known).cloned().collect();
        }
        let recent = view.history.iter().rev().take_while(|change| change.revision > since);
        recent.map(|change| change.object.key.clone()).collect()
    }
}

/// Everything that concerns Deployments.
#[derive(Default)]
pub struct Index {
    read: [Read; 3],
    deployments: BTreeMap<ObjectKey, Arc<DeploymentSight>>,
    pods: BTreeMap<ObjectKey, (Arc<PodSight>, BTreeSet<ObjectKey>)>,
    pods_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    sets: BTreeMap<ObjectKey, (ObjectKey, Arc<SetSight>)>,
    sets_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Index {
    /// Reads what changed; the Deployments it concerns.
    pub fn refresh(&mut self, view: &ObjectsView, kinds: &Kinds) -> BTreeSet<ObjectKey> {
        let mut concerned = BTreeSet::new();
        let [deployments, sets, pods] = &mut self.read;
        let seen = view.kind(&kinds.deployments);
        for key in deployments.changes(&seen, self.deployments.keys()) {
            match seen.objects.get(&key) {
                Some(object) => drop(self.deployments.insert(key.clone(), Arc::new(DeploymentSight::of(object)))),
                None => drop(self.deployments.remove(&key)),
            }
            concerned.insert(key);
        }
        let seen = view.kind(&kinds.sets);
        for key in sets.changes(&seen, self.sets.keys()) {
            if let Some((deployment, _)) = self.sets.remove(&key) {
                unlink(&mut self.sets_of, &deployment, &key);
                concerned.insert(deployment);
            }
            if let Some((deployment, set)) = seen.objects.get(&key).and_then(|object| SetSight::of(object)) {
                self.sets_of.entry(deployment.clone()).or_default().insert(key.clone());
                self.sets.insert(key, (deployment.clone(), Arc::new(set)));
                concerned.insert(deployment);
            }
        }
        let seen = view.kind(&kinds.pods);
        for key in pods.changes(&seen, self.pods.keys()) {
            if let Some((_, before)) = self.pods.remove(&key) {
                for deployment in before {
                    unlink(&mut self.pods_of, &deployment, &key);
                    concerned.insert(deployment);
                }
            }
            let Some((pod, concerns)) = seen.objects.get(&key).map(read_pod) else { continue };
            for deployment in &concerns {
                self.pods_of.entry(deployment.clone()).or_default().insert(key.clone());
            }
            concerned.extend(concerns.iter().cloned());
            self.pods.insert(key, (Arc::new(pod), concerns));
        }
        concerned
    }

    /// A Deployment.
    pub fn deployment(&self, key: &ObjectKey) -> Option<Arc<DeploymentSight>> {
        self.deployments.get(key).cloned()
    }

    /// All of them.
    pub fn deployments(&self) -> impl Iterator<Item = &ObjectKey> {
        self.deployments.keys()
    }

    /// A pod.
    pub fn pod(&self, key: &ObjectKey) -> Option<Arc<PodSight>> {
        self.pods.get(key).map(|(pod, _)| pod.clone())
    }

    /// Pods that are a Deployment's, or have one of its names.
    pub fn pods_of(&self, deployment: &ObjectKey) -> Vec<Arc<PodSight>> {
        let keys = self.pods_of.get(deployment).into_iter().flatten();
        keys.filter_map(|key| self.pod(key)).collect()
    }

    /// ReplicaSets of a Deployment of this name.
    pub fn sets_of(&self, deployment: &ObjectKey) -> Vec<Arc<SetSight>> {
        let keys = self.sets_of.get(deployment).into_iter().flatten();
        keys.filter_map(|key| self.sets.get(key).map(|(_, set)| set.clone())).collect()
    }
}

fn unlink(links: &mut BTreeMap<ObjectKey, BTreeSet<ObjectKey>>, from: &ObjectKey, to: &ObjectKey) {
    if let Some(linked) = links.get_mut(from) {
        linked.remove(to);
        if linked.is_empty() {
            links.remove(from);
        }
    }
}

/// A pod, and the Deployments it concerns: its controller, the one it says, and the one its name would belong to.
fn read_pod(object: &Arc<StoredObject>) -> (PodSight, BTreeSet<ObjectKey>) {
    let pod = PodSight::of(object);
    let controller =
        pod.controller.as_ref().filter(|(kind, ..)| kind == "Deployment").map(|(_, name, _)| name.as_str());
    let names = [controller, pod.claimed_by.as_deref(), stem(&pod.key.name)];
    let concerns = names.into_iter().flatten().map(|name| ObjectKey::new(pod.key.namespace.clone(), name)).collect();
    (pod, concerns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::{ChangeType, ObjectChange};
    use mkube_model::kinds::KindTable;
    use serde_json::{Value, json};

    fn kinds() -> Kinds {
        let id = |name: &str| KindTable::builtin().named(name).expect("a kind").id();
        Kinds { deployments: id("Deployment"), sets: id("ReplicaSet"), pods: id("Pod"), nodes: id("Node") }
    }

    /// Puts an object into the view, or takes it out.
    fn write(view: &mut ObjectsView, kind: KindId, name: &str, value: Option<Value>) {
        view.number += 1;
        let (key, revision) = (ObjectKey::new("default", name), view.number);
        let mut of_kind = (*view.kind(&kind)).clone();
        let is_there = value.is_some();
        let object = Arc::new(StoredObject::new(kind, key.clone(), &value.unwrap_or_default(), revision));
        if is_there {
            of_kind.objects.insert(key, object.clone());
        } else {
            of_kind.objects.remove(&key);
        }
        let change = ChangeType::Modified;
        of_kind.history.push_back(Arc::new(ObjectChange { change, revision, object, previous: None }));
        view.kinds.insert(kind, Arc::new(of_kind));
    }

    fn names(concerned: &BTreeSet<ObjectKey>) -> Vec<&str> {
        concerned.iter().map(|key| key.name.as_str()).collect()
    }

    #[test]
    fn only_what_changed_is_read_and_everybody_it_concerns_is_told() {
        let (mut index, mut view, kinds) = (Index::default(), ObjectsView::default(), kinds());
        write(&mut view, kinds.deployments, "web", Some(json!({"spec": {}})));
        write(&mut view, kinds.deployments, "db", Some(json!({"spec": {}})));
        assert_eq!(names(&index.refresh(&view, &kinds)), ["db", "web"]);
        assert_eq!(names(&index.refresh(&view, &kinds)), [""; 0]);
        write(&mut view, kinds.pods, "web-0", Some(json!({"metadata": {}})));
        write(&mut view, kinds.pods, "lonely", Some(json!({"metadata": {}})));
        assert_eq!(names(&index.refresh(&view, &kinds)), ["web"]);
        let owned = json!({"metadata": {"ownerReferences": [
            {"kind": "Deployment", "name": "db", "uid": "1", "controller": true}]}});
        write(&mut view, kinds.pods, "web-0", Some(owned));
        assert_eq!(names(&index.refresh(&view, &kinds)), ["db", "web"]);
        assert_eq!(index.pods_of(&ObjectKey::new("default", "db")).len(), 1);
        write(&mut view, kinds.pods, "web-0", None);
        assert_eq!(names(&index.refresh(&view, &kinds)), ["db", "web"]);
        assert_eq!(index.pods_of(&ObjectKey::new("default", "db")).len(), 0);
    }

    #[test]
    fn a_history_that_begins_later_means_that_everything_is_read_again() {
        let (mut index, mut view, kinds) = (Index::default(), ObjectsView::default(), kinds());
        write(&mut view, kinds.pods, "web-0", Some(json!({"metadata": {}})));
        write(&mut view, kinds.pods, "db-0", Some(json!({"metadata": {}})));
        index.refresh(&view, &kinds);
        write(&mut view, kinds.pods, "db-0", None);
        let mut pods = (*view.kind(&kinds.pods)).clone();
        pods.history.clear();
        pods.history_after = 3;
        view.kinds.insert(kinds.pods, Arc::new(pods));
        assert_eq!(names(&index.refresh(&view, &kinds)), ["db", "web"]);
        assert!(index.pod(&ObjectKey::new("default", "db-0")).is_none());
    }
}
