//! How a view becomes the next one: objects replaced, history appended, both bounded and cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use mkube_messages::objects::{ChangeType, KindView, ObjectChange, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use serde_json::{Value, json};

/// Changes kept per kind for watches that resume.
pub const HISTORY: usize = 2000;

/// One durable change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its kind.
    pub kind: KindId,
    /// Its key.
    pub key: ObjectKey,
    /// The object after it (without version), or `None` for a deletion.
    pub value: Option<Value>,
    /// When.
    pub revision: Revision,
}

/// The object as published: with its version.
pub fn stored(kind: KindId, key: ObjectKey, mut value: Value, revision: Revision) -> StoredObject {
    metadata::of_mut(&mut value).insert("resourceVersion".into(), json!(revision.to_string()));
    StoredObject::new(kind, key, &value, revision)
}

/// The view after `changes`, which are in order of revision. Also answers each changed object as published.
pub fn apply(view: &ObjectsView, changes: Vec<Change>) -> (ObjectsView, Vec<Arc<StoredObject>>) {
    let mut next = view.clone();
    let mut published = Vec::with_capacity(changes.len());
    let mut touched: BTreeMap<KindId, KindView> = BTreeMap::new();
    for change in changes {
        let kind = touched.entry(change.kind).or_insert_with(|| (*view.kind(&change.kind)).clone());
        kind.revision = kind.revision.max(change.revision);
        let mut previous = kind.objects.get(&change.key).cloned();
        let (what, object) = match change.value {
            Some(value) => {
                let object = Arc::new(stored(change.kind, change.key.clone(), value, change.revision));
                // Another uid is another object: who watches sees the one before it go.
                if let Some(before) = previous.as_ref().filter(|before| before.uid() != object.uid()) {
                    let last = stored(change.kind, change.key.clone(), before.value(), change.revision);
                    remember(kind, ChangeType::Deleted, change.revision, Arc::new(last), previous.clone());
                    previous = None;
                }
                kind.objects.insert(change.key, object.clone());
                (if previous.is_some() { ChangeType::Modified } else { ChangeType::Added }, object)
            }
            None => {
                kind.objects.remove(&change.key);
                let Some(last) = &previous else { continue };
                // Clients continue from the version of the deletion.
                let object = stored(change.kind, change.key, last.value(), change.revision);
                (ChangeType::Deleted, Arc::new(object))
            }
        };
        published.push(object.clone());
        remember(kind, what, change.revision, object, previous);
    }
    for (id, kind) in touched {
        next.kinds.insert(id, Arc::new(kind));
    }
    (next, published)
}

fn remember(
    kind: &mut KindView,
    change: ChangeType,
    revision: Revision,
    object: Arc<StoredObject>,
    previous: Option<Arc<StoredObject>>,
) {
    kind.history.push_back(Arc::new(ObjectChange { change, revision, object, previous }));
    while kind.history.len() > HISTORY {
        if let Some(forgotten) = kind.history.pop_front() {
            kind.history_after = forgotten.revision;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: KindId = KindId { group: "", plural: "pods" };

    fn change(name: &str, value: Option<Value>, revision: Revision) -> Change {
        Change { kind: PODS, key: ObjectKey::new("d", name), value, revision }
    }

    #[test]
    fn history_tells_what_happened_and_forgets_the_oldest() {
        let view = ObjectsView::default();
        let (view, _) = apply(&view, vec![change("a", Some(json!({})), 1)]);
        let (view, _) = apply(&view, vec![change("a", Some(json!({"x": 1})), 2), change("b", Some(json!({})), 3)]);
        let (view, deleted) = apply(&view, vec![change("a", None, 4)]);
        let kind = view.kind(&PODS);
        let told: Vec<_> = kind.history.iter().map(|one| (one.change, one.revision)).collect();
        use ChangeType::{Added, Deleted, Modified};
        assert_eq!(told, [(Added, 1), (Modified, 2), (Added, 3), (Deleted, 4)]);
        assert_eq!(deleted[0].value()["metadata"]["resourceVersion"], "4");
        assert_eq!((kind.revision, kind.objects.len(), kind.history_after), (4, 1, 0));
        let many = (0..HISTORY as u64).map(|n| change("b", Some(json!({"n": n})), 5 + n)).collect();
        let (view, _) = apply(&view, many);
        assert_eq!(view.kind(&PODS).history.len(), HISTORY);
        assert_eq!(view.kind(&PODS).history_after, 4);
    }

    #[test]
    fn an_object_that_takes_the_name_of_another_is_seen_to_come_after_the_other_went() {
        let with_uid = |uid: &str| Some(json!({"metadata": {"uid": uid}}));
        let (view, _) = apply(&ObjectsView::default(), vec![change("a", with_uid("1"), 1)]);
        let (view, published) = apply(&view, vec![change("a", with_uid("2"), 2)]);
        let kind = view.kind(&PODS);
        let told: Vec<_> = kind.history.iter().map(|one| (one.change, one.object.uid().to_owned())).collect();
        use ChangeType::{Added, Deleted};
        assert_eq!(told, [(Added, "1".to_owned()), (Deleted, "1".to_owned()), (Added, "2".to_owned())]);
        assert!(kind.history[2].previous.is_none());
        assert_eq!((published.len(), published[0].uid()), (1, "2"));
    }
}
