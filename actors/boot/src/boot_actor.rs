//! The actor: waits until the store was read, then brings in what is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::{CallError, Door};
use mkube_messages::objects::{FieldValidation, ObjectKey, ObjectsReader, PatchType, StoredObject, Verb, WriteObject};
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::marks::BOOT_RECORD;
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::document::Document;
use crate::settle::{Fate, Known, Unconfirmed, fate};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Pause before an unread store is looked at again.
const SOON: Duration = Duration::from_millis(20);
/// Pause before what a store that is away refused is tried again.
const AWAY: Duration = Duration::from_secs(5);
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
    done: Done,
}

/// What one incarnation knows of its work.
#[derive(Clone, Default)]
struct Done {
    /// Identities of refused documents: told once, not tried again.
    refused: BTreeSet<String>,
    /// Identities of documents that were brought in while the store was away.
    behind: BTreeSet<String>,
}

impl BootActor {
    /// A new incarnation.
    pub fn new(parts: BootParts) -> Self {
        Self { parts, done: Done::default() }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.parts.objects.view().loaded {
            ctx.run_later(SOON, |actor, ctx| actor.look(ctx));
            return;
        }
        let away = self.parts.objects.view().stale.is_some();
        let work = bring_in(self.parts.clone(), self.done.clone(), away);
        ctx.spawn(work.into_actor(self).map(move |(done, result), actor, ctx| {
            actor.done = done;
            match result {
                Ok(()) if away => actor.look_when_back(None, ctx),
                Ok(()) => actor.look_when_forgotten(ctx),
                Err(why) => {
                    tracing::info!(%why, "the boot manifest is not in yet, trying again");
                    if away {
                        return actor.look_when_back(Some(AWAY), ctx);
                    }
                    ctx.run_later(RETRY, |actor, ctx| actor.look(ctx));
                }
            }
        }));
    }

    /// Looks again when the store is there, or after a while.
    fn look_when_back(&self, longest: Option<Duration>, ctx: &mut Context<Self>) {
        let (objects, mut notices) = (self.parts.objects.clone(), self.parts.objects.notices());
        let back = async move {
            let waiting = notices.wait_for(|_| objects.view().is_complete());
            match longest {
                Some(longest) => drop(tokio::time::timeout(longest, waiting).await),
                None => drop(waiting.await),
            }
        };
        ctx.spawn(back.into_actor(self).map(|(), actor, ctx| actor.look(ctx)));
    }

    /// Looks again when a store that is there has no record any more: it was accepted as it is, and never lived before.
    fn look_when_forgotten(&self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let Some(maps) = kind(parts.objects.kinds(), "ConfigMap") else { return };
        let is_recorded = move |parts: &BootParts| !recorded(parts, maps).0.is_empty();
        // Without documents there is none.
        if !is_recorded(&parts) {
            return;
        }
        let mut notices = parts.objects.notices();
        let forgotten = async move {
            let is_gone = |_: &u64| parts.objects.view().is_complete() && !is_recorded(&parts);
            drop(notices.wait_for(is_gone).await);
        };
        ctx.spawn(forgotten.into_actor(self).map(|(), actor, ctx| actor.look(ctx)));
    }
}

/// The record of what was brought in: its uid, empty when there is none, and what it says.
fn recorded(parts: &BootParts, maps: KindId) -> (String, BTreeSet<String>) {
    let Some(record) = parts.objects.view().get(&maps, &ObjectKey::new(RECORD.0, RECORD.1)) else {
        return Default::default();
    };
    let text = record.value().pointer("/data/documents").and_then(Value::as_str).map(str::to_owned);
    (record.uid().to_owned(), text.unwrap_or_default().lines().map(str::to_owned).collect())
}

/// `away`: the store is, and may hold more than is known here.
async fn bring_in(parts: BootParts, mut done: Done, away: bool) -> (Done, Result<(), String>) {
    let kinds = parts.objects.kinds().clone();
    let (Some(maps), Some(namespaces)) = (kind(&kinds, "ConfigMap"), kind(&kinds, "Namespace")) else {
        return (done, Ok(()));
    };
    let mut later = None;
    if !away && let Err(error) = settle(&parts, &kinds, maps, &mut done).await {
        return (done, Err(error.to_string()));
    }
    if away
        && recorded(&parts, maps).0.is_empty()
        && let Err(error) = keep_record(&parts, maps, &BTreeSet::new()).await
    {
        return (done, Err(error.to_string()));
    }
    let (uid, before) = recorded(&parts, maps);
    let mut record = before.clone();
    let once = parts.once.iter().filter(|document| !before.contains(&document.identity())).map(|one| (one, false));
    // What is in the store already is not brought up to date from what was last known of it.
    let always = parts.always.iter().filter(|_| !away).map(|one| (one, true));
    for (document, replace) in once.chain(always) {
        let identity = document.identity();
        if done.refused.contains(&identity) {
            continue;
        }
        let body = match (replace, away) {
            (true, _) => document.body.clone(),
            (false, false) => document.owned(),
            (false, true) => document.owned_by_record(&uid),
        };
        match one(&parts, namespaces, document, body, replace).await {
            Ok(()) if !replace => {
                if away {
                    done.behind.insert(identity.clone());
                }
                record.insert(identity);
            }
            Ok(()) => {}
            Err(CallError::Fault(status)) if status.code < 500 && status.code != 429 => {
                tracing::error!(document = %identity, why = %status, "a document of the manifest is refused");
                done.refused.insert(identity);
            }
            Err(error) => later = Some(error.to_string()),
        }
    }
    if record != before
        && let Err(error) = keep_record(&parts, maps, &record).await
    {
        later = Some(error.to_string());
    }
    (done, later.map_or(Ok(()), Err))
}

/// Decides about what was brought in while the store was away, by this process or one before it.
async fn settle(parts: &BootParts, kinds: &KindTable, maps: KindId, done: &mut Done) -> Result<(), Refusal> {
    let (uid, documents) = recorded(parts, maps);
    let view = parts.objects.view();
    let noted_in = |object: &StoredObject| metadata::annotation(&object.value(), BOOT_RECORD).map(str::to_owned);
    let pods = kind(kinds, "Pod").map(|pods| view.kind(&pods)).unwrap_or_default();
    let has_others = pods.objects.values().any(|pod| noted_in(pod).is_none());
    let known = Known { record: &uid, documents: &documents, has_others };
    for document in &parts.once {
        let identity = document.identity();
        let behind = done.behind.contains(&identity);
        let Some(object) = view.get(&document.kind, &document.key) else { continue };
        let Some(noted_in) = noted_in(&object) else {
            if behind {
                tracing::warn!(document = %identity, "the store has one of this name already: that one stands");
                done.behind.remove(&identity);
            }
            continue;
        };
        let uid = object.uid();
        let verb = match fate(&Unconfirmed { identity: identity.clone(), noted_in }, known) {
            Fate::Stays => {
                let body = json!({"metadata": {"uid": uid, "annotations": {BOOT_RECORD: null}}});
                Verb::Patch { patch: PatchType::Merge, body }
            }
            Fate::Goes => {
                tracing::warn!(document = %identity, "it was deleted in the store before, and goes again");
                Verb::Delete { options: json!({"preconditions": {"uid": uid}}) }
            }
        };
        match write(parts, document.kind, document.key.clone(), verb).await {
            // Somebody was quicker.
            Err(CallError::Fault(status)) if [404, 409].contains(&status.code) => {}
            other => other?,
        }
        done.behind.remove(&identity);
    }
    Ok(())
}

fn kind(kinds: &KindTable, name: &str) -> Option<KindId> {
    kinds.named(name).map(mkube_model::kinds::Kind::id)
}

type Refusal = CallError<Status>;

async fn one(
    parts: &BootParts,
    namespaces: KindId,
    document: &Document,
    body: Value,
    replace: bool,
) -> Result<(), Refusal> {
    let namespace = &document.key.namespace;
    if !namespace.is_empty() {
        let body = json!({"metadata": {"name": namespace}});
        absent_is_made(write(parts, namespaces, ObjectKey::new("", namespace.clone()), Verb::Create { body }).await)?;
    }
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
        field_validation: FieldValidation::Warn,
        // The store itself may be among what is brought in.
        behind: true,
        ..WriteObject::own("boot manifest", kind, key, verb)
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
