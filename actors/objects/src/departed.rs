//! Owners that were deleted a moment ago. Where several controllers write, one may make a dependent before it has heard that
//! another let the owner go: whoever comes late is found by the owner's uid, and treated as the others were.
//!
//! Only deletions that were heard are noted, never what a reading lacks: absence deletes nothing.

use std::collections::{BTreeMap, VecDeque};

use mkube_messages::objects::StoredObject;

use crate::collecting::Policy;

/// Owners that are remembered. Who comes later than so many deletions stays.
const REMEMBERED: usize = 4096;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Departed {
    by_uid: BTreeMap<Box<str>, Departure>,
    order: VecDeque<Box<str>>,
}

/// How one of them went.
#[derive(Debug)]
struct Departure {
    namespace: String,
    policy: Policy,
}

impl Departed {
    /// Notes that an object was deleted.
    pub fn note(&mut self, object: &StoredObject) {
        let policy = Policy::of(&object.value()).unwrap_or(Policy::Background);
        let departure = Departure { namespace: object.key.namespace.clone(), policy };
        let uid: Box<str> = object.uid().into();
        if self.by_uid.insert(uid.clone(), departure).is_none() {
            self.order.push_back(uid);
        }
        while self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.by_uid.remove(&oldest));
        }
    }

    /// It is there after all: a deletion that was kept for the store was dropped, since somebody else had changed the object.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }

    /// What an owner wanted of its dependents in this namespace, if it is one of them.
    pub fn policy(&self, uid: &str, namespace: &str) -> Option<Policy> {
        let found = self.by_uid.get(uid)?;
        (found.namespace.is_empty() || found.namespace == namespace).then_some(found.policy)
    }
}

#[cfg(test)]
mod tests {
    use mkube_messages::objects::ObjectKey;
    use mkube_model::kinds::KindId;
    use serde_json::json;

    use super::*;

    const MAPS: KindId = KindId { group: "", plural: "configmaps" };

    fn owner(namespace: &str, uid: &str, finalizers: &[&str]) -> StoredObject {
        let value = json!({"metadata": {"name": uid, "uid": uid, "finalizers": finalizers}});
        StoredObject::new(MAPS, ObjectKey::new(namespace, uid), &value, 1)
    }

    #[test]
    fn who_was_deleted_is_known_in_its_namespace_with_what_it_wanted() {
        let mut all = Departed::default();
        for one in [owner("d", "a", &[]), owner("d", "b", &["orphan"]), owner("", "c", &["else.example/x"])] {
            all.note(&one);
        }
        assert_eq!(all.policy("a", "d"), Some(Policy::Background));
        assert_eq!((all.policy("a", "e"), all.policy("nobody", "d")), (None, None));
        all.forget("a");
        assert_eq!(all.policy("a", "d"), None);
        assert_eq!((all.policy("b", "d"), all.policy("c", "e")), (Some(Policy::Orphan), Some(Policy::Background)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut all = Departed::default();
        (0..=REMEMBERED).for_each(|number| all.note(&owner("d", &format!("u{number}"), &[])));
        assert_eq!((all.policy("u0", "d"), all.by_uid.len(), all.order.len()), (None, REMEMBERED, REMEMBERED));
        assert!(all.policy("u1", "d").is_some());
    }
}
