//! How a view becomes the next one: objects replaced, history appended, both bounded and cheap to clone.

use std::collections::HashMap;
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
    let mut touched: HashMap<KindId, KindView> = HashMap::new();
    for change in changes {
        next.revision = next.revision.max(change.revision);
        let kind = touched.entry(change.kind).or_insert_with(|| (*view.kind(&change.kind)).clone());
        let previous = kind.objects.get(&change.key).cloned();
        let (what, object) = match change.value {
            Some(value) => {
                let object = Arc::new(stored(change.kind, change.key.clone(), value, change.revision));
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
        kind.history.push_back(Arc::new(ObjectChange { change: what, revision: change.revision, object, previous }));
        while kind.history.len() > HISTORY {
            if let Some(forgotten) = kind.history.pop_front() {
                kind.history_after = forgotten.revision;
            }
        }
    }
    for (id, kind) in touched {
        next.kinds.insert(id, Arc::new(kind));
    }
    (next, published)
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
        assert_eq!((view.revision, kind.objects.len(), kind.history_after), (4, 1, 0));
        let many = (0..HISTORY as u64).map(|n| change("b", Some(json!({"n": n})), 5 + n)).collect();
        let (view, _) = apply(&view, many);
        assert_eq!(view.kind(&PODS).history.len(), HISTORY);
        assert_eq!(view.kind(&PODS).history_after, 4);
    }
}
