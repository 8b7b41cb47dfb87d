//! From a fresh reading of the store, and from what others did to it, to the changes a view has missed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_messages::objects::ObjectsView;
use mkube_model::kinds::{Kind, KindTable};
use mkube_model::neighbours::desired_store::{ForeignChange, StoreContents, StoreFault, StoreKey};

use crate::admission::without_version;
use crate::dependents::Place;
use crate::publish::Change;
use crate::stored_form;

/// Places of values that are no objects, and why they are none.
pub type Unreadable = BTreeMap<Place, Arc<str>>;

/// What a view has missed.
#[derive(Debug, Default)]
pub struct Missed {
    /// Objects that came, changed or went, in order of revision.
    pub changes: Vec<Change>,
    /// Values that are no objects. After a reading all of them; of news only those that are new.
    pub unreadable: Unreadable,
}

fn by_bucket(kinds: &KindTable) -> BTreeMap<&str, &Kind> {
    kinds.iter().map(|kind| (kind.bucket, kind)).collect()
}

/// What changed between `view` and what the store holds. In a store that is ours alone a value that is no object is refused: a store
/// that is half understood must not look like one that is half empty. In one that others write it costs nobody else: it is noted,
/// and what was known of it before stays.
pub fn catch_up(kinds: &KindTable, view: &ObjectsView, contents: &StoreContents) -> Result<Missed, StoreFault> {
    let by_bucket = by_bucket(kinds);
    let mut missed = Missed::default();
    let mut present: BTreeSet<Place> = BTreeSet::new();
    for stored in &contents.values {
        // Buckets of kinds this build does not have stay as they are.
        let Some(kind) = by_bucket.get(stored.at.bucket.as_str()) else { continue };
        let (key, value) = match stored_form::read(kind, &stored.at, &stored.value) {
            Ok(object) => object,
            Err(why) if contents.shared => {
                let place = (kind.id(), stored_form::object_key(kind, &stored.at));
                if !view.unreadable.contains_key(&place) {
                    tell(&stored.at, &why);
                }
                present.insert(place.clone());
                missed.unreadable.insert(place, why.into());
                continue;
            }
            Err(why) => {
                return Err(StoreFault::Unreadable(format!("{}/{}: {why}", stored.at.bucket, stored.at.key)));
            }
        };
        present.insert((kind.id(), key.clone()));
        let known = view.get(&kind.id(), &key).is_some_and(|known| known.revision == stored.revision);
        if !known {
            let value = Some(without_version(&value));
            missed.changes.push(Change { kind: kind.id(), key, value, revision: stored.revision });
        }
    }
    for (id, kind) in &view.kinds {
        for key in kind.objects.keys().filter(|key| !present.contains(&(*id, (*key).clone()))) {
            let bucket = kinds.get(id).map_or("", |kind| kind.bucket);
            let revision = contents.revision_of(bucket);
            missed.changes.push(Change { kind: *id, key: key.clone(), value: None, revision });
        }
    }
    missed.changes.sort_by_key(|change| change.revision);
    Ok(missed)
}

/// What changes by others mean to a view. What it knows already is left out; of what is no object the last one that was stays.
pub fn by_others(kinds: &KindTable, view: &ObjectsView, changes: Vec<ForeignChange>) -> Missed {
    let by_bucket = by_bucket(kinds);
    let mut missed = Missed::default();
    for change in changes {
        let Some(kind) = by_bucket.get(change.at.bucket.as_str()) else { continue };
        let read = match change.value.as_deref() {
            Some(value) => stored_form::read(kind, &change.at, value).map(|(key, value)| (key, Some(value))),
            None => Ok((stored_form::object_key(kind, &change.at), None)),
        };
        match read {
            Ok((key, value)) => {
                missed.unreadable.remove(&(kind.id(), key.clone()));
                if view.get(&kind.id(), &key).is_none_or(|known| known.revision < change.revision) {
                    let value = value.map(|value| without_version(&value));
                    missed.changes.push(Change { kind: kind.id(), key, value, revision: change.revision });
                }
            }
            Err(why) => {
                tell(&change.at, &why);
                missed.unreadable.insert((kind.id(), stored_form::object_key(kind, &change.at)), why.into());
            }
        }
    }
    missed
}

fn tell(at: &StoreKey, why: &str) {
    tracing::warn!(bucket = at.bucket, key = at.key, %why, "somebody stored what is no object; what was there before stays");
}
