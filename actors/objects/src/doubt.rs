//! What a reading of the store lacks although nobody here took it away, and whether that is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_messages::objects::ObjectsView;
use mkube_messages::watch;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::desired_store::{PROVISIONAL, Revision, StoreContents, StoreFault};

use crate::dependents::Place;
use crate::publish::Change;

/// Objects that are named in a sentence.
const NAMED: usize = 3;

/// Deletions that were sent to the store and of which nobody heard yet what came of them, with the version each was of. An
/// object is not missed when it went that way, and whoever comes after a death of the actor has to know: published, as the view is.
#[derive(Debug, Clone)]
pub struct Deletions(Arc<watch::Sender<BTreeMap<Place, Revision>>>);

impl Default for Deletions {
    fn default() -> Self {
        Self(Arc::new(watch::channel(BTreeMap::new()).0))
    }
}

impl Deletions {
    /// One is sent off.
    pub(crate) fn send(&self, place: Place, revision: Revision) {
        self.0.send_modify(|sent| {
            sent.insert(place, revision);
        });
    }

    /// It is known what came of one.
    pub(crate) fn settle(&self, place: &Place) {
        self.0.send_modify(|sent| {
            sent.remove(place);
        });
    }

    /// Those of which the view shows that they were carried out, or that they fit no more.
    pub(crate) fn settle_by(&self, view: &ObjectsView) {
        let waits =
            |(kind, key): &Place, sent: &Revision| view.get(kind, key).is_some_and(|object| object.revision == *sent);
        self.0.send_modify(|sent| sent.retain(|place, revision| waits(place, revision)));
    }
}

/// What a view knows and a reading lacks although nobody here deleted it.
pub fn missing(view: &ObjectsView, changes: &[Change], deletions: &Deletions) -> BTreeSet<Place> {
    let sent = deletions.0.borrow();
    let gone = changes.iter().filter(|change| change.value.is_none());
    let places = gone.map(|change| (change.kind, change.key.clone()));
    let deleted = |place: &Place| {
        let known = view.get(&place.0, &place.1).map(|object| object.revision);
        known.is_some() && sent.get(place).copied() == known
    };
    places.filter(|place| !deleted(place)).collect()
}

/// Why a reading that lacks these objects is not believed. `before`: what the reading before it lacked.
///
/// A store that is ours alone cannot have lost what nobody here deleted: such a reading is refused however often it comes. In one
/// that others write they may have deleted it; then a second reading lacks it too, and something happened in its bucket since.
pub fn doubt(
    kinds: &KindTable,
    view: &ObjectsView,
    contents: &StoreContents,
    missing: &BTreeSet<Place>,
    before: &BTreeSet<Place>,
) -> Result<(), StoreFault> {
    let by_others = |(kind, key): &Place| {
        let last = contents.revision_of(kinds.get(kind).map_or("", |kind| kind.bucket));
        let known = view.get(kind, key).map_or(0, |object| object.revision);
        contents.shared && (known >= PROVISIONAL || known < last)
    };
    let course = if !missing.iter().all(by_others) {
        "it is read again until they are there; if they are lost, restart mkube: it then takes the store as it is"
    } else if missing.is_subset(before) {
        return Ok(());
    } else {
        "it is read once more"
    };
    let named: Vec<String> = missing.iter().take(NAMED).map(|(kind, key)| format!("{} {key}", kind.plural)).collect();
    let more = if missing.len() > NAMED { ", …" } else { "" };
    Err(StoreFault::Unreadable(format!(
        "{} objects that nobody here deleted are missing ({}{more}); {course}",
        missing.len(),
        named.join(", "),
    )))
}

#[cfg(test)]
mod tests {
    use mkube_messages::objects::{KindView, ObjectKey, StoredObject};
    use mkube_model::kinds::KindId;
    use serde_json::{Value, json};

    use super::*;

    const PODS: KindId = KindId { group: "", plural: "pods" };

    fn place(name: &str) -> Place {
        (PODS, ObjectKey::new("d", name))
    }

    /// A view that knows pods at these revisions.
    fn view(pods: &[(&str, Revision)]) -> ObjectsView {
        let mut kind = KindView::default();
        for (name, revision) in pods {
            let key = ObjectKey::new("d", *name);
            let object = StoredObject::new(PODS, key.clone(), &json!({"metadata": {"name": name}}), *revision);
            kind.objects.insert(key, Arc::new(object));
        }
        ObjectsView { kinds: BTreeMap::from([(PODS, Arc::new(kind))]), ..ObjectsView::default() }
    }

    fn gone(name: &str) -> Change {
        Change { kind: PODS, key: ObjectKey::new("d", name), value: None, revision: 9 }
    }

    #[test]
    fn an_object_that_vanishes_is_missed_unless_its_deletion_was_under_way() {
        let view = view(&[("a", 1), ("going", 2), ("again", 3)]);
        let deletions = Deletions::default();
        deletions.send(place("going"), 2);
        // That deletion was of the version before, and fits no more.
        deletions.send(place("again"), 2);
        let there = Change { value: Some(Value::Null), ..gone("new") };
        let changes = [there, gone("a"), gone("going"), gone("again")];
        assert_eq!(missing(&view, &changes, &deletions), BTreeSet::from([place("a"), place("again")]));
        deletions.settle_by(&view);
        assert_eq!(deletions.0.borrow().keys().cloned().collect::<Vec<_>>(), [place("going")], "it may still be done");
        deletions.settle(&place("going"));
        assert!(missing(&view, &[gone("going")], &deletions).contains(&place("going")));
    }

    fn judged(shared: bool, known: Revision, last: Revision, before: &[&str]) -> Result<(), String> {
        let contents = StoreContents { revision: last, shared, ..StoreContents::default() };
        let before = before.iter().map(|name| place(name)).collect();
        let missing = BTreeSet::from([place("a")]);
        let view = view(&[("a", known)]);
        doubt(&KindTable::builtin(), &view, &contents, &missing, &before).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_store_that_is_ours_alone_has_lost_nothing_however_often_it_says_so() {
        for before in [&[][..], &["a"]] {
            let why = judged(false, 3, 9, before).expect_err("nobody deleted it");
            assert!(why.contains("pods d/a") && why.contains("restart mkube"), "{why}");
        }
    }

    #[test]
    fn in_a_store_of_several_what_two_readings_lack_was_deleted_by_others_if_something_happened_there() {
        assert!(judged(true, 3, 9, &[]).is_err_and(|why| why.contains("read once more")));
        assert!(judged(true, 3, 9, &["b"]).is_err(), "the reading before lacked something else");
        assert_eq!(judged(true, 3, 9, &["a"]), Ok(()));
        assert!(judged(true, 9, 9, &["a"]).is_err(), "its deletion would have come after it");
        assert_eq!(judged(true, PROVISIONAL + 1, 9, &["a"]), Ok(()), "the store never had this version");
    }
}
