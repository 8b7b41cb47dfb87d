//! What becomes of one document: the object is made, or brought to what the document says.

use std::collections::BTreeSet;
use std::time::Duration;

use mkube_messages::objects::{FieldValidation, ObjectKey, Verb, WriteObject, Writer, Written};
use mkube_model::applied::{applied, first_applied};
use mkube_model::kinds::Kind;
use mkube_model::metadata;
use mkube_model::portable::{self, stripped, taken_in};
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::HttpParts;
use crate::read::loaded_view;
use crate::respond;

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is all its owner wrote: what he wrote otherwise is gone afterwards.
    Import,
    /// It is compared with the one before: what others wrote stays.
    Apply,
}

/// What was done, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The object is new.
    Created,
    /// It was changed.
    Configured,
    /// It was so already.
    Unchanged,
}

impl Action {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Times one document is tried: controllers write the same objects.
const TRIES: usize = 8;
/// Pause before a queue that was full is tried again.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Everything that is the same for all documents of a request.
pub struct Taking<'p> {
    /// What the edge has.
    pub parts: &'p HttpParts,
    /// How documents are read.
    pub how: How,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
    /// Who writes.
    pub writer: Writer,
}

impl Taking<'_> {
    /// Writes one. `coming`: namespaces that the same request makes, which a dry run does not.
    pub async fn take(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        document: &Value,
        coming: &BTreeSet<String>,
    ) -> Result<(Action, Vec<String>), Status> {
        self.check(kind, key)?;
        let mut tried = 0;
        loop {
            tried += 1;
            let done = self.once(kind, key, document).await;
            match done {
                Err(status) if status.code == 429 && tried < TRIES => tokio::time::sleep(PAUSE).await,
                // Somebody was quicker: once more from what is there now, unless the document insists on a version.
                Err(status) if status.code == 409 && tried < TRIES && self.version_of(document).is_none() => {
                    let found = loaded_view(self.parts)?.get(&kind.id(), key);
                    if found.is_some_and(|object| object.is_deleting()) {
                        return Err(status);
                    }
                }
                Err(status) if self.dry_run && status.code == 404 && coming.contains(&key.namespace) => {
                    return Ok((Action::Created, Vec::new()));
                }
                done => return done,
            }
        }
    }

    fn check(&self, kind: &Kind, key: &ObjectKey) -> Result<(), Status> {
        let why = match self.how {
            How::Import => portable::stays(kind),
            How::Apply => kind.read_only.then_some("mkube writes them"),
        };
        why.map_or(Ok(()), |why| {
            Err(Status::forbidden(kind, &key.name, format!("{} are not taken in: {why}", kind.plural)))
        })
    }

    fn version_of<'d>(&self, document: &'d Value) -> Option<&'d str> {
        let version = metadata::resource_version(document);
        (self.how == How::Apply && !version.is_empty()).then_some(version)
    }

    async fn once(&self, kind: &Kind, key: &ObjectKey, document: &Value) -> Result<(Action, Vec<String>), Status> {
        let current = loaded_view(self.parts)?.get(&kind.id(), key);
        let Some(current) = current else {
            let mut body = match self.how {
                How::Import => stripped(kind, document.clone()),
                How::Apply => first_applied(document.clone()),
            };
            metadata::of_mut(&mut body).remove("resourceVersion");
            let written = self.ask(kind, key, Verb::Create { body }).await?;
            return Ok((Action::Created, written.warnings));
        };
        if current.is_deleting() {
            let why = "object is being deleted: it can be made anew when it is gone";
            return Err(Status::conflict(kind, &key.name, why));
        }
        let tree = current.value();
        let mut body = match self.how {
            How::Import => taken_in(kind, document.clone(), &tree),
            How::Apply => applied(document.clone(), &tree),
        };
        // What was read is what is replaced.
        let version = self.version_of(document).unwrap_or_else(|| metadata::resource_version(&tree)).to_owned();
        let meta = metadata::of_mut(&mut body);
        meta.insert("resourceVersion".to_owned(), json!(version));
        meta.insert("uid".to_owned(), json!(current.uid()));
        let written = self.ask(kind, key, Verb::Update { body }).await?;
        let action = if written.changed { Action::Configured } else { Action::Unchanged };
        Ok((action, written.warnings))
    }

    async fn ask(&self, kind: &Kind, key: &ObjectKey, verb: Verb) -> Result<Written, Status> {
        let order = WriteObject {
            dry_run: self.dry_run,
            field_validation: FieldValidation::Warn,
            writer: self.writer.clone(),
            ..WriteObject::own("import", kind.id(), key.clone(), verb)
        };
        self.parts.write.ask(order).await.map_err(respond::status_of)
    }
}
