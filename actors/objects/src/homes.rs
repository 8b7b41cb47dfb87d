//! Where controllers of several nodes share a store: which objects are this node's, and which are nobody's yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use mkube_messages::objects::{ObjectsPublisher, ObjectsView, StoredObject};
use mkube_model::kinds::{Home, KindTable};

use crate::dependents::Place;
use crate::publish::{Change, apply};

/// Follows where objects are at home.
pub struct Homes {
    kinds: KindTable,
    /// This node, where others share the store; none: all is at home here.
    node: Option<String>,
    /// Objects without a node. Who is first gives them one.
    nobodys: BTreeSet<Place>,
}

impl Homes {
    /// Nothing is known yet.
    pub fn new(kinds: KindTable, node: Option<String>) -> Self {
        Self { kinds, node, nobodys: BTreeSet::new() }
    }

    /// Objects that are to get this node.
    pub fn nobodys(&self) -> impl Iterator<Item = &Place> {
        self.nobodys.iter()
    }

    /// Learns which of all objects have no node.
    pub fn look(&mut self, all: &ObjectsView) {
        self.nobodys.clear();
        if self.node.is_none() {
            return;
        }
        for kind in self.kinds.iter().filter(|kind| kind.home != Home::Everywhere) {
            let objects = &all.kind(&kind.id()).objects;
            let homeless = objects.iter().filter(|(_, one)| kind.home.of(&one.value()).is_none());
            self.nobodys.extend(homeless.map(|(key, _)| (kind.id(), key.clone())));
        }
    }

    /// What is published, after changes in order of revision: all there is, what is at home here or everybody's, and the changed
    /// objects.
    pub fn apply(
        &mut self,
        published: &ObjectsPublisher,
        changes: Vec<Change>,
    ) -> (ObjectsView, ObjectsView, Vec<Arc<StoredObject>>) {
        let Some(node) = &self.node else {
            let (all, changed) = apply(&published.everywhere(), changes);
            return (all.clone(), all, changed);
        };
        let mut here = Vec::with_capacity(changes.len());
        for change in &changes {
            let home = self.kinds.get(&change.kind).map_or(Home::Everywhere, |kind| kind.home);
            let place = (change.kind, change.key.clone());
            let waits = |value| home != Home::Everywhere && home.of(value).is_none();
            if change.value.as_ref().is_some_and(waits) {
                self.nobodys.insert(place);
            } else {
                self.nobodys.remove(&place);
            }
            let value = change.value.clone().filter(|value| home.is_at(value, node));
            here.push(Change { value, ..change.clone() });
        }
        let (mut here, _) = apply(&published.view(), here);
        let (all, changed) = apply(&published.everywhere(), changes);
        for (id, kind) in &all.kinds {
            let ours = here.kinds.entry(*id).or_default();
            if ours.revision < kind.revision {
                Arc::make_mut(ours).revision = kind.revision;
            }
        }
        (all, here, changed)
    }
}
