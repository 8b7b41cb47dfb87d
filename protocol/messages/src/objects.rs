//! What ObjectsActor answers.
//!
//! Writes go through its door, one at a time per key; reads never do: everybody holds an [`ObjectsReader`] and looks at the
//! last published [`ObjectsView`]. A write is answered only after the view that contains it is published, so whoever
//! wrote reads its own write.

use std::borrow::Cow;
use std::sync::Arc;

use actix::Message;
use mkube_model::fields::OWN;
use mkube_model::kinds::KindId;
use mkube_model::status::Status;
use serde_json::Value;

pub use crate::objects_view::{
    ChangeType, KindView, ObjectChange, ObjectKey, ObjectsPublisher, ObjectsReader, ObjectsView, OwnerUid,
    StoredObject, objects_view,
};
use crate::request::{Floor, Request, RequestContext};

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
