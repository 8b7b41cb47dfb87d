//! Who depends on whom: which objects name which uid as their owner, and which owners are going. Kept in step with the view, so
//! that an owner finds its dependents without looking at anything else.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::{ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::KindId;

use crate::collecting::Policy;
use crate::departed::Departed;

/// Where an object is.
pub type Place = (KindId, ObjectKey);

/// What an owner has to know of a dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependent {
    /// An owner deleted in the foreground waits until it is gone.
    pub blocks: bool,
    /// It is being deleted itself.
    pub marked: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Dependents {
    /// By the owner's uid.
    of: BTreeMap<Box<str>, BTreeMap<Place, Dependent>>,
    /// Objects that are being deleted, by uid.
    going: BTreeMap<Box<str>, Place>,
    /// Uids of owners of which something changed since the last look.
    touched: BTreeSet<Box<str>>,
    /// Owners that were deleted; a dependent may come after that.
    departed: Departed,
}

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Owners that are being deleted.
    pub going: Vec<Place>,
    /// Dependents of owners that are gone, and the owner's uid.
    pub left_behind: Vec<(Place, Box<str>)>,
}

impl Dependents {
    /// From everything there is; who departed is still known.
    pub fn read_all(&mut self, view: &ObjectsView) {
        let mut all = Self { departed: std::mem::take(&mut self.departed), ..Self::default() };
        for object in view.kinds.values().flat_map(|kind| kind.objects.values()) {
            all.replace(None, Some(object));
        }
        *self = all;
    }

    /// An object was deleted, by whomever: that was heard, and not concluded from its absence.
    pub fn note_departed(&mut self, object: &StoredObject) {
        self.departed.note(object);
        self.touched.insert(object.uid().into());
    }

    /// What an owner that was deleted wanted of its dependents in this namespace.
    pub fn departed(&self, owner: &str, namespace: &str) -> Option<Policy> {
        self.departed.policy(owner, namespace)
    }

    /// An object changed, came or went.
    pub fn replace(&mut self, before: Option<&StoredObject>, after: Option<&StoredObject>) {
        if let Some(before) = before {
            let place = (before.kind, before.key.clone());
            self.going.remove(before.uid());
            for owner in before.owners() {
                if let Some(dependents) = self.of.get_mut(&owner.uid) {
                    dependents.remove(&place);
                    if dependents.is_empty() {
                        self.of.remove(&owner.uid);
                    }
                }
                self.touched.insert(owner.uid.clone());
            }
        }
        let Some(after) = after else { return };
        self.departed.forget(after.uid());
        let place = (after.kind, after.key.clone());
        for owner in after.owners() {
            let dependent = Dependent { blocks: owner.blocks, marked: after.is_deleting() };
            self.of.entry(owner.uid.clone()).or_default().insert(place.clone(), dependent);
            self.touched.insert(owner.uid.clone());
        }
        if after.is_deleting() {
            self.touched.insert(after.uid().into());
            self.going.insert(after.uid().into(), place);
        }
    }

    /// Everything that depends on an object. A reference from another namespace means nobody there.
    pub fn of<'a>(&'a self, owner: &'a StoredObject) -> impl Iterator<Item = (&'a Place, Dependent)> {
        let all = self.of.get(owner.uid()).into_iter().flatten();
        let namespace = owner.key.namespace.as_str();
        all.filter(move |((_, key), _)| namespace.is_empty() || key.namespace == namespace)
            .map(|(place, dependent)| (place, *dependent))
    }

    /// Whether something depends on an object and is not being deleted.
    pub fn has_unmarked(&self, owner: &StoredObject) -> bool {
        self.of(owner).any(|(_, dependent)| !dependent.marked)
    }

    /// Where the object of this uid is, if it is being deleted.
    pub fn going(&self, uid: &str) -> Option<&Place> {
        self.going.get(uid)
    }

    /// What is due of the owners of which something changed since this was asked last.
    pub fn take_due(&mut self) -> Due {
        let mut due = Due::default();
        for uid in std::mem::take(&mut self.touched) {
            if let Some(place) = self.going.get(&uid) {
                due.going.push(place.clone());
                continue;
            }
            let unmarked = self.of.get(&uid).into_iter().flatten().filter(|(_, dependent)| !dependent.marked);
            let late = unmarked.filter(|((_, key), _)| self.departed.policy(&uid, &key.namespace).is_some());
            due.left_behind.extend(late.map(|(place, _)| (place.clone(), uid.clone())));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MAPS: KindId = KindId { group: "", plural: "configmaps" };

    fn object(namespace: &str, name: &str, owner: &str, deleting: bool) -> StoredObject {
        let mut value = json!({"metadata": {"name": name, "uid": format!("uid-{name}")}});
        if !owner.is_empty() {
            value["metadata"]["ownerReferences"] =
                json!([{"uid": owner, "blockOwnerDeletion": true}, {"name": "no uid"}]);
        }
        if deleting {
            value["metadata"]["deletionTimestamp"] = Value::from("2026-01-01T00:00:00Z");
        }
        StoredObject::new(MAPS, ObjectKey::new(namespace, name), &value, 1)
    }

    fn names(all: &Dependents, owner: &StoredObject) -> Vec<String> {
        all.of(owner).map(|((_, key), _)| key.name.clone()).collect()
    }

    #[test]
    fn dependents_are_found_by_uid_in_the_namespace_of_their_owner() {
        let mut all = Dependents::default();
        let owner = object("d", "o", "", false);
        for one in [object("d", "a", "uid-o", false), object("d", "b", "uid-o", true), object("e", "c", "uid-o", false)]
        {
            all.replace(None, Some(&one));
        }
        assert_eq!(names(&all, &owner), ["a", "b"]);
        assert!(all.has_unmarked(&owner));
        all.replace(Some(&object("d", "a", "uid-o", false)), Some(&object("d", "a", "uid-else", false)));
        assert_eq!(names(&all, &owner), ["b"]);
        assert!(!all.has_unmarked(&owner), "what is left is going");
        all.replace(Some(&object("d", "b", "uid-o", true)), None);
        assert_eq!(names(&all, &owner), Vec::<String>::new());
    }

    #[test]
    fn only_owners_that_are_going_are_looked_at_and_only_when_something_changed() {
        let mut all = Dependents::default();
        let (owner, going) = (object("d", "o", "", false), object("d", "o", "", true));
        all.replace(None, Some(&owner));
        all.replace(None, Some(&object("d", "a", "uid-o", false)));
        assert_eq!(all.take_due(), Due::default());
        all.replace(Some(&owner), Some(&going));
        let place = (MAPS, ObjectKey::new("d", "o"));
        assert_eq!((all.take_due().going, all.take_due()), (vec![place.clone()], Due::default()));
        all.replace(Some(&object("d", "a", "uid-o", false)), None);
        assert_eq!(all.take_due().going, [place]);
        all.replace(Some(&going), None);
        assert_eq!((all.take_due(), all.going("uid-o")), (Due::default(), None));
    }

    #[test]
    fn who_comes_after_its_owner_was_deleted_is_due_also_when_everything_was_read_anew() {
        let mut all = Dependents::default();
        let (late, other) = (object("d", "late", "uid-o", false), object("d", "other", "uid-p", false));
        all.replace(None, Some(&other));
        all.note_departed(&object("d", "o", "", false));
        assert_eq!(all.take_due(), Due::default(), "of an owner that nobody says is deleted, nothing is due");
        all.replace(None, Some(&late));
        let due = Due { going: vec![], left_behind: vec![((MAPS, late.key.clone()), "uid-o".into())] };
        assert_eq!((all.take_due(), all.take_due()), (Due { ..due }, Due::default()));
        let mut view = ObjectsView::default();
        view.kinds.entry(MAPS).or_default();
        let kind = std::sync::Arc::make_mut(view.kinds.get_mut(&MAPS).expect("it is there"));
        kind.objects.insert(late.key.clone(), std::sync::Arc::new(object("d", "late", "uid-o", false)));
        all.read_all(&view);
        assert_eq!(all.take_due().left_behind, [((MAPS, late.key.clone()), "uid-o".into())]);
        all.replace(None, Some(&object("d", "o", "", false)));
        all.replace(Some(&late), Some(&late));
        assert_eq!(all.take_due(), Due::default(), "its owner is back");
        all.note_departed(&object("d", "o", "", false));
        all.replace(Some(&late), Some(&object("d", "late", "uid-o", true)));
        assert_eq!(all.take_due().left_behind, [], "it is being deleted already");
    }
}
