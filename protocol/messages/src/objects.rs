//! What ObjectsActor answers, and the view it publishes.
//!
//! Writes go through its door, one at a time per key; reads never do: everybody holds an [`ObjectsReader`] and looks at the
//! last published [`ObjectsView`]. A write is answered only after the view that contains it is published, so whoever
//! wrote reads its own write.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use arc_swap::ArcSwap;
use imbl::{OrdMap, Vector};
use mkube_model::fields::OWN;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::status::Status;
use serde_json::Value;

use crate::request::{Floor, Request, RequestContext};
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

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply,
}

/// What to do with the object.
#[derive(Debug, Clone)]
pub enum Verb {
    /// New object; the body may carry `generateName`.
    Create {
        /// The object.
        body: Value,
    },
    /// Replace. A `resourceVersion` in the body must match.
    Update {
        /// The object.
        body: Value,
    },
    /// Change parts.
    Patch {
        /// How to read `body`.
        patch: PatchType,
        /// The patch.
        body: Value,
    },
    /// Another object takes the name, in one write: a new uid, a fresh status. Whoever watches sees the old one go and the new
    /// one come. For controllers; what is being deleted is not replaced.
    Replace {
        /// The new object.
        body: Value,
    },
    /// Remove. Kinds marked graceful get a deletion timestamp; their controller finishes with [`FinishDeletion`]. So do owners of
    /// other objects: they go after these.
    Delete {
        /// `preconditions`, `gracePeriodSeconds` and `propagationPolicy` of `DeleteOptions`, or null.
        options: Value,
    },
}

/// What to do with unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop silently.
    Ignore,
    /// Drop and warn.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// Who writes, as `managedFields` will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Name of the field manager.
    pub manager: Cow<'static, str>,
    /// An apply takes fields that others manage.
    pub force: bool,
}

impl Writer {
    /// mkube's own controllers, who are one to the outside.
    pub fn own() -> Self {
        Self { manager: Cow::Borrowed(OWN), force: false }
    }
}

/// As a subresource: the write says what the configuration file says, which wins over what the API holds.
pub const CONFIGURATION: &str = "configuration";

/// The one way in: creates, changes or removes one object. Sent by HttpEdge and by controllers. Safe to repeat only with
/// a `resourceVersion`. Answered after the change is durable and published.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Written, Status>")]
pub struct WriteObject {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Which kind.
    pub kind: KindId,
    /// Which object; the name is empty for a create with `generateName` or a name in the body.
    pub key: ObjectKey,
    /// What to do.
    pub verb: Verb,
    /// Empty, `status`, or `scale`: then body or patch are about the object's Scale, and the answer is the object itself. Or
    /// [`CONFIGURATION`], which no client can name.
    pub subresource: &'static str,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
    /// Who writes.
    pub writer: Writer,
    /// While the store is away the write may be kept safe elsewhere, and be told to the store when it is back.
    pub behind: bool,
}

/// A write that was done (or, dry, would have been).
#[derive(Debug, Clone)]
pub struct Written {
    /// The object after the write; for a completed deletion, its last state.
    pub object: Arc<StoredObject>,
    /// False when the body equalled what was stored: nothing was written, the revision did not move.
    pub changed: bool,
    /// True when there was no such object before.
    pub created: bool,
    /// True when the object is gone now.
    pub gone: bool,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

impl WriteObject {
    /// What a controller writes by itself: `what` is what it is about.
    pub fn own(what: &'static str, kind: KindId, key: ObjectKey, verb: Verb) -> Self {
        Self {
            context: RequestContext::new(what, crate::patience::WRITE),
            kind,
            key,
            verb,
            subresource: "",
            dry_run: false,
            field_validation: FieldValidation::Ignore,
            writer: Writer::own(),
            behind: false,
        }
    }
}

impl Request for WriteObject {
    type Reply = Written;
    type Fault = Status;
    const FLOOR: Floor = Floor::Objects;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Tells what a controller observed about an object. Merged: at most one stored write per object and second, none when
/// nothing changed; the first change is written at once. Lost if the actor dies before storing it: reporters repeat what
/// they see at every tick.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), Status>")]
pub struct ReportStatus {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Which kind.
    pub kind: KindId,
    /// Which object.
    pub key: ObjectKey,
    /// The object's uid: a report about a predecessor of the same name is dropped.
    pub uid: String,
    /// The whole new `status`.
    pub status: Value,
}

impl Request for ReportStatus {
    type Reply = ();
    type Fault = Status;
    const FLOOR: Floor = Floor::Objects;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Ends a graceful deletion: everything the object stood for is gone from the device. Safe to repeat; an object of another
/// uid is left alone and answers success.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), Status>")]
pub struct FinishDeletion {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Which kind.
    pub kind: KindId,
    /// Which object.
    pub key: ObjectKey,
    /// The uid that was torn down.
    pub uid: String,
}

impl Request for FinishDeletion {
    type Reply = ();
    type Fault = Status;
    const FLOOR: Floor = Floor::Objects;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Something worth telling a person, stored as a Kubernetes Event; equal ones are counted, not repeated.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct RecordEvent {
    /// Kind of the object concerned, such as `Pod`.
    pub involved_kind: &'static str,
    /// Its API version, such as `v1`.
    pub involved_api_version: &'static str,
    /// The object concerned.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// True for `Warning`, false for `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl crate::request::Event for RecordEvent {}
