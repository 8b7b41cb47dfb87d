//! From the store's bytes to objects and back, and from a fresh reading to the changes a view has missed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_model::kinds::{Kind, KindId, KindTable};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::{ForeignChange, StoreContents, StoreFault, StoreKey};
use serde_json::Value;

use crate::admission::without_version;
use crate::publish::Change;

/// Where an object lies: `<namespace>.<name>` in its kind's bucket.
pub fn store_key(kind: &Kind, key: &ObjectKey) -> StoreKey {
    let name = if kind.namespaced { format!("{}.{}", key.namespace, key.name) } else { key.name.clone() };
    StoreKey { bucket: kind.bucket.to_owned(), key: name }
}

/// An object as bytes.
pub fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// What changed between `view` and what the store holds, in order of revision. A value that is no object is refused: a store
/// that is half understood must not look like one that is half empty.
pub fn catch_up(kinds: &KindTable, view: &ObjectsView, contents: &StoreContents) -> Result<Vec<Change>, StoreFault> {
    let by_bucket: BTreeMap<&str, &Kind> = kinds.iter().map(|kind| (kind.bucket, kind)).collect();
    let mut changes = Vec::new();
    let mut present = BTreeSet::new();
    for stored in &contents.values {
        // Buckets of kinds this build does not have stay as they are.
        let Some(kind) = by_bucket.get(stored.at.bucket.as_str()) else { continue };
        let damaged = |why: &dyn std::fmt::Display| {
            StoreFault::Unreadable(format!("{}/{}: {why}", stored.at.bucket, stored.at.key))
        };
        let value: Value = serde_json::from_slice(&stored.value).map_err(|error| damaged(&error))?;
        let name = metadata::name(&value);
        if name.is_empty() {
            return Err(damaged(&"it has no name"));
        }
        let namespace = if kind.namespaced { metadata::namespace(&value) } else { "" };
        let key = ObjectKey::new(namespace, name);
        present.insert((kind.id(), key.clone()));
        let known = view.get(&kind.id(), &key).is_some_and(|known| known.revision == stored.revision);
        if !known {
            let value = Some(without_version(&value));
            changes.push(Change { kind: kind.id(), key, value, revision: stored.revision });
        }
    }
    for (id, kind) in &view.kinds {
        for key in kind.objects.keys().filter(|key| !present.contains(&(*id, (*key).clone()))) {
            let bucket = kinds.get(id).map_or("", |kind| kind.bucket);
            changes.push(Change { kind: *id, key: key.clone(), value: None, revision: contents.revision_of(bucket) });
        }
    }
    changes.sort_by_key(|change| change.revision);
    Ok(changes)
}

/// What changes by others mean to a view. What it knows already is left out; so is what is no object, after a word about it: the last
/// one that was stays.
pub fn by_others(kinds: &KindTable, view: &ObjectsView, changes: Vec<ForeignChange>) -> Vec<Change> {
    let by_bucket: BTreeMap<&str, &Kind> = kinds.iter().map(|kind| (kind.bucket, kind)).collect();
    let mut found = Vec::with_capacity(changes.len());
    for change in changes {
        let Some(kind) = by_bucket.get(change.at.bucket.as_str()) else { continue };
        let value: Option<Value> = match change.value.as_deref().map(serde_json::from_slice::<Value>).transpose() {
            Ok(value) => value,
            Err(error) => {
                tracing::warn!(bucket = kind.bucket, key = %change.at.key, %error, "somebody stored what is no object; what was there before stays");
                continue;
            }
        };
        let key = match &value {
            Some(value) => {
                let namespace = if kind.namespaced { metadata::namespace(value) } else { "" };
                ObjectKey::new(namespace, metadata::name(value))
            }
            None => match change.at.key.split_once('.').filter(|_| kind.namespaced) {
                Some((namespace, name)) => ObjectKey::new(namespace, name),
                None => ObjectKey::new("", change.at.key.clone()),
            },
        };
        if value.is_some() && store_key(kind, &key) != change.at {
            tracing::warn!(bucket = kind.bucket, key = %change.at.key, "somebody stored an object under the name of another; it is left out");
            continue;
        }
        if view.get(&kind.id(), &key).is_none_or(|known| known.revision < change.revision) {
            let value = value.map(|value| without_version(&value));
            found.push(Change { kind: kind.id(), key, value, revision: change.revision });
        }
    }
    found
}

/// Why a reading is not believed at once: objects that were there are not in it, and nobody here tried to delete them.
/// A store that says the same a second time is believed: somebody else may write it.
pub fn doubt(changes: &[Change], deleting: &BTreeSet<(KindId, ObjectKey)>) -> Result<(), StoreFault> {
    let gone = |change: &&Change| change.value.is_none() && !deleting.contains(&(change.kind, change.key.clone()));
    match changes.iter().filter(gone).count() {
        0 => Ok(()),
        gone => {
            Err(StoreFault::Unreadable(format!("{gone} objects that nobody deleted are missing; it is read once more")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_vanishes_is_doubted_unless_its_deletion_was_under_way() {
        let kind = KindId { group: "", plural: "pods" };
        let change = |name: &str, value| Change { kind, key: ObjectKey::new("d", name), value, revision: 1 };
        let deleting = BTreeSet::from([(kind, ObjectKey::new("d", "going"))]);
        assert!(doubt(&[change("a", Some(Value::Null)), change("going", None)], &deleting).is_ok());
        assert!(doubt(&[change("b", None)], &deleting).is_err());
    }
}
