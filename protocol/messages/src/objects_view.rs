//! The objects as they are published: every reader looks at the last [`ObjectsView`], and none asks an actor.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::{OrdMap, Vector};
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use serde_json::Value;

use crate::watch;

/// Namespace and name of an object. Cluster-scoped objects have an empty namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// What lies under a key of the store, `<namespace>.<name>` where the kind has namespaces: there is no dot in their names.
    pub fn stored(namespaced: bool, key: &str) -> Self {
        match key.split_once('.').filter(|_| namespaced) {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::new("", key),
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            out.write_str(&self.name)
        } else {
            write!(out, "{}/{}", self.namespace, self.name)
        }
    }
}

/// An object as published, complete: its `metadata.resourceVersion` equals `revision`.
///
/// Kept as text: a tree of a pod takes ten times the memory, thousands of them are published and remembered, and most readers only
/// pass them on. What everybody asks for stands beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredObject {
    /// Its kind.
    pub kind: KindId,
    /// Its key.
    pub key: ObjectKey,
    /// When it last changed.
    pub revision: Revision,
    uid: Box<str>,
    deleting: bool,
    owners: Box<[OwnerUid]>,
    text: Box<str>,
}

/// One of an object's owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerUid {
    /// Its uid.
    pub uid: Box<str>,
    /// Whether an owner that is deleted in the foreground waits for this object.
    pub blocks: bool,
}

impl StoredObject {
    /// `value` as clients see it; its version must be that of `revision`.
    pub fn new(kind: KindId, key: ObjectKey, value: &Value, revision: Revision) -> Self {
        let (uid, deleting) = (metadata::uid(value).into(), metadata::is_deleting(value));
        let owners = metadata::owners(value)
            .map(|owner| OwnerUid {
                uid: metadata::owner_uid(owner).into(),
                blocks: owner["blockOwnerDeletion"] == true,
            })
            .collect();
        // Copied, not shrunk: shrinking would leave a hole behind each of thousands of objects.
        let text = value.to_string();
        Self { kind, key, revision, uid, deleting, owners, text: text.as_str().into() }
    }

    /// The object as JSON.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object as a tree, read anew: keep it no longer than needed.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("the text was written from a value")
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether a deletion timestamp is set.
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// The owners it names.
    pub fn owners(&self) -> &[OwnerUid] {
        &self.owners
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeType {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the change carries its last state, with the revision of the deletion.
    Deleted,
}

/// One entry of a kind's history.
#[derive(Debug, Clone)]
pub struct ObjectChange {
    /// What happened.
    pub change: ChangeType,
    /// When.
    pub revision: Revision,
    /// The state after it (before it, for a deletion).
    pub object: Arc<StoredObject>,
    /// The state before it: selectors need it to tell "left the selection" from "was never in it".
    pub previous: Option<Arc<StoredObject>>,
}

/// All objects of one kind, and what recently happened to them.
#[derive(Debug, Clone, Default)]
pub struct KindView {
    /// Objects in key order.
    pub objects: OrdMap<ObjectKey, Arc<StoredObject>>,
    /// Recent changes, oldest first, bounded.
    pub history: Vector<Arc<ObjectChange>>,
    /// Every change after this revision is in `history`; a watch from before it gets 410.
    pub history_after: Revision,
    /// The revision of the last change contained.
    pub revision: Revision,
}

/// Everything, at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ObjectsView {
    /// Counts publications.
    pub number: u64,
    /// False until the store was read completely: nobody may conclude absence before.
    pub loaded: bool,
    /// Why it is not loaded, for `/readyz`.
    pub not_loaded_because: Option<String>,
    /// Why this is what was last known, and perhaps not what the store holds now; none: it is. Nobody may conclude absence from
    /// what is stale.
    pub stale: Option<String>,
    /// One view per kind of the table.
    pub kinds: BTreeMap<KindId, Arc<KindView>>,
    /// Where others stored what is no object of the kind, and why it is none. What was known before stays in `kinds`; whether there
    /// is an object nobody can say.
    pub unreadable: OrdMap<(KindId, ObjectKey), Arc<str>>,
}

impl ObjectsView {
    /// Whether what is not here is not there: the store was read completely and is followed.
    pub fn is_complete(&self) -> bool {
        self.loaded && self.stale.is_none()
    }

    /// Whether what is not here is not there, in the kinds that matter: complete, and everything of them was understood.
    pub fn is_whole(&self, matters: impl Fn(&KindId) -> bool) -> bool {
        let understood = !self.unreadable.keys().any(|(kind, _)| matters(kind));
        self.is_complete() && self.not_loaded_because.is_none() && understood
    }

    /// Whether others stored something under this name that is no such object.
    pub fn is_unreadable(&self, kind: &KindId, key: &ObjectKey) -> bool {
        !self.unreadable.is_empty() && self.unreadable.contains_key(&(*kind, key.clone()))
    }

    /// One object.
    pub fn get(&self, kind: &KindId, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.kinds.get(kind)?.objects.get(key).cloned()
    }

    /// The view of one kind; empty when nothing of it was ever stored.
    pub fn kind(&self, kind: &KindId) -> Arc<KindView> {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }
}

/// Reads what ObjectsActor publishes, and learns when there is more. Clone freely; never blocks the writer.
#[derive(Clone)]
pub struct ObjectsReader {
    kinds: KindTable,
    view: Arc<ArcSwap<ObjectsView>>,
    here: Arc<ArcSwap<ObjectsView>>,
    everywhere: Arc<ArcSwap<ObjectsView>>,
    changed: watch::Receiver<u64>,
}

impl ObjectsReader {
    /// The table of kinds the objects belong to.
    pub fn kinds(&self) -> &KindTable {
        &self.kinds
    }

    /// The last published view: what is at home on this node, or everybody's.
    pub fn view(&self) -> Arc<ObjectsView> {
        self.view.load_full()
    }

    /// A reader of all there is, also what controllers of other nodes act on.
    pub fn everywhere(&self) -> Self {
        Self { view: self.everywhere.clone(), ..self.clone() }
    }

    /// Whether an object is at home on this node, or everybody's.
    pub fn is_here(&self, kind: &KindId, key: &ObjectKey) -> bool {
        self.here.load().kinds.get(kind).is_some_and(|kind| kind.objects.contains_key(key))
    }

    /// The notification that something was published; mark it unchanged, look, then wait for it.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

/// The writing end; ObjectsActor's own, kept outside the actor so that readers survive its restarts.
#[derive(Clone)]
pub struct ObjectsPublisher {
    view: Arc<ArcSwap<ObjectsView>>,
    everywhere: Arc<ArcSwap<ObjectsView>>,
    changed: Arc<watch::Sender<u64>>,
}

impl ObjectsPublisher {
    /// Replaces what is published, where all is at home on this node, then wakes the readers.
    pub fn publish(&self, view: ObjectsView) {
        self.publish_both(view.clone(), view);
    }

    /// Replaces what is published, then wakes the readers: all there is, and what is at home on this node or everybody's.
    pub fn publish_both(&self, mut everywhere: ObjectsView, mut here: ObjectsView) {
        let number = self.view.load().number + 1;
        (everywhere.number, here.number) = (number, number);
        self.everywhere.store(Arc::new(everywhere));
        self.view.store(Arc::new(here));
        self.changed.send_replace(number);
    }

    /// All there is, as published now.
    pub fn everywhere(&self) -> Arc<ObjectsView> {
        self.everywhere.load_full()
    }

    /// What is at home on this node or everybody's, as published now.
    pub fn view(&self) -> Arc<ObjectsView> {
        self.view.load_full()
    }
}

/// A connected pair, empty and not loaded.
pub fn objects_view(kinds: KindTable) -> (ObjectsPublisher, ObjectsReader) {
    let view = Arc::new(ArcSwap::from_pointee(ObjectsView::default()));
    let everywhere = Arc::new(ArcSwap::from_pointee(ObjectsView::default()));
    let (sender, receiver) = watch::channel(0);
    (
        ObjectsPublisher { view: view.clone(), everywhere: everywhere.clone(), changed: Arc::new(sender) },
        ObjectsReader { kinds, view: view.clone(), here: view, everywhere, changed: receiver },
    )
}
