//! The actor: waits until the store was read, then brings in what is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::{CallError, Door};
use mkube_messages::objects::{FieldValidation, ObjectKey, ObjectsReader, PatchType, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::document::Document;

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Pause before an unread store is looked at again.
const SOON: Duration = Duration::from_millis(20);
/// The record of what was brought in.
const RECORD: (&str, &str) = ("kube-system", "mkube-boot-manifest");

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct BootParts {
    /// Documents of the boot manifest: brought in once in the life of the store.
    pub once: Vec<Document>,
    /// Documents brought in, or brought up to date, at every start.
    pub always: Vec<Document>,
    /// Objects.
    pub objects: ObjectsReader,
    /// The one way in.
    pub write: Door<WriteObject>,
}

/// See the room's card.
pub struct BootActor {
    parts: BootParts,
    /// Identities of refused documents: told once, not tried again.
    refused: BTreeSet<String>,
}

impl BootActor {
    /// A new incarnation.
    pub fn new(parts: BootParts) -> Self {
        Self { parts, refused: BTreeSet::new() }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.parts.objects.view().loaded {
            ctx.run_later(SOON, |actor, ctx| actor.look(ctx));
            return;
        }
        let work = bring_in(self.parts.clone(), self.refused.clone());
        ctx.spawn(work.into_actor(self).map(|(refused, done), actor, ctx| {
            actor.refused = refused;
            if let Err(why) = done {
                tracing::info!(%why, "the boot manifest is not in yet, trying again");
                ctx.run_later(RETRY, |actor, ctx| actor.look(ctx));
            }
        }));
    }
}

/// What is recorded as brought in.
fn recorded(parts: &BootParts, maps: KindId) -> BTreeSet<String> {
    let record = parts.objects.view().get(&maps, &ObjectKey::new(RECORD.0, RECORD.1));
    let text = record.and_then(|map| map.value().pointer("/data/documents").and_then(Value::as_str).map(str::to_owned));
    text.unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn bring_in(parts: BootParts, mut refused: BTreeSet<String>) -> (BTreeSet<String>, Result<(), String>) {
    let kinds = parts.objects.kinds().clone();
    let (Some(maps), Some(namespaces)) = (kind(&kinds, "ConfigMap"), kind(&kinds, "Namespace")) else {
        return (refused, Ok(()));
    };
    let before = recorded(&parts, maps);
    let mut record = before.clone();
    let mut later = None;
    let once = parts.once.iter().filter(|document| !before.contains(&document.identity())).map(|one| (one, false));
    for (document, replace) in once.chain(parts.always.iter().map(|one| (one, true))) {
        let identity = document.identity();
        if refused.contains(&identity) {
            continue;
        }
        match one(&parts, namespaces, document, replace).await {
            Ok(()) if !replace => drop(record.insert(identity)),
            Ok(()) => {}
            Err(CallError::Fault(status)) if status.code < 500 && status.code != 429 => {
                tracing::error!(document = %identity, why = %status, "a document of the manifest is refused");
                refused.insert(identity);
            }
            Err(error) => later = Some(error.to_string()),
        }
    }
    if record != before
        && let Err(error) = keep_record(&parts, maps, &record).await
    {
        later = Some(error.to_string());
    }
    (refused, later.map_or(Ok(()), Err))
}

fn kind(kinds: &KindTable, name: &str) -> Option<KindId> {
    kinds.named(name).map(mkube_model::kinds::Kind::id)
}

type Refusal = CallError<Status>;

async fn one(parts: &BootParts, namespaces: KindId, document: &Document, replace: bool) -> Result<(), Refusal> {
    let namespace = &document.key.namespace;
    if !namespace.is_empty() {
        let body = json!({"metadata": {"name": namespace}});
        absent_is_made(write(parts, namespaces, ObjectKey::new("", namespace.clone()), Verb::Create { body }).await)?;
    }
    let body = if replace { document.body.clone() } else { document.owned() };
    let made = write(parts, document.kind, document.key.clone(), Verb::Create { body }).await;
    match made {
        Err(CallError::Fault(status)) if status.code == 409 && replace => {
            let verb = Verb::Patch { patch: PatchType::Merge, body: document.body.clone() };
            write(parts, document.kind, document.key.clone(), verb).await
        }
        made => absent_is_made(made),
    }
}

/// What is there already is not made again, and is as good.
fn absent_is_made(made: Result<(), Refusal>) -> Result<(), Refusal> {
    match made {
        Err(CallError::Fault(status)) if status.reason == "AlreadyExists" => Ok(()),
        made => made,
    }
}

async fn keep_record(parts: &BootParts, maps: KindId, record: &BTreeSet<String>) -> Result<(), Refusal> {
    let documents = record.iter().map(|identity| format!("{identity}\n")).collect::<String>();
    let key = ObjectKey::new(RECORD.0, RECORD.1);
    let body = json!({"metadata": {"name": RECORD.1}, "data": {"documents": documents}});
    let made = write(parts, maps, key.clone(), Verb::Create { body: body.clone() }).await;
    match made {
        Err(CallError::Fault(status)) if status.reason == "AlreadyExists" => {
            write(parts, maps, key, Verb::Patch { patch: PatchType::Merge, body }).await
        }
        made => made,
    }
}

async fn write(parts: &BootParts, kind: KindId, key: ObjectKey, verb: Verb) -> Result<(), Refusal> {
    let order = WriteObject {
        context: RequestContext::new("boot manifest", patience::WRITE),
        kind,
        key,
        verb,
        subresource: "",
        dry_run: false,
        field_validation: FieldValidation::Warn,
        behind: false,
    };
    parts.write.ask(order).await.map(|written| {
        for warning in &written.warnings {
            tracing::warn!(object = %written.object.key, %warning, "boot manifest");
        }
    })
}

impl Actor for BootActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
