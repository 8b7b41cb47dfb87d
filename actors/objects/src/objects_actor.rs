//! The actor: queues writes, admits them into batches, commits, publishes, answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::door::{CallError, Door};
use mkube_messages::objects::{
    FieldValidation, FinishDeletion, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, ReportStatus, StoredObject,
    Verb, WriteObject, Written,
};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::store::{CommitChanges, LoadContents};
use mkube_model::kinds::{EventFacts, Kind, KindId, KindTable};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::{Expected, StoreChange, StoreContents, StoreFault};
use mkube_model::neighbours::randomness::Randomness;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::status::Status;
use mkube_supervision::ChildSpecBuilder;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::{self, Circumstances};
use crate::contents::{catch_up, doubt, store_key, to_bytes};
use crate::event_book::{EventBook, EventWrite};
use crate::outcome::{Outcome, admit_replacement, existing, replace, unchanged};
use crate::publish::{Change, apply};
use crate::queue::{Answer, Task};
use crate::refusals::{gone, not_loaded, not_stored};

/// Writes that may wait for a commit.
const QUEUE: usize = 1024;
/// Changes in one commit.
const BATCH: usize = 256;
/// At most one status write per object within this time, beside the first.
const STATUS_PACE: Duration = Duration::from_secs(1);
/// Events are written together this often.
const EVENT_PACE: Duration = Duration::from_secs(1);
/// Pause before the store is read again after that failed: the first one; doubles up to the longest. A store that was struck
/// is back in a moment.
const FIRST_RELOAD: Duration = Duration::from_millis(25);
/// The longest such pause.
const LONGEST_RELOAD: Duration = Duration::from_secs(1);
/// Further names tried when a generated one is taken.
const GENERATED_TRIES: usize = 8;
/// Namespaces that always exist.
const PERMANENT: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct ObjectsParts {
    /// The kinds there are.
    pub kinds: KindTable,
    /// Where the view is published; outlives the actor.
    pub publisher: ObjectsPublisher,
    /// To read everything.
    pub load: Door<LoadContents>,
    /// To make a batch durable.
    pub commit: Door<CommitChanges>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Where uids and made-up names come from.
    pub randomness: Arc<dyn Randomness>,
    /// Name of this node, in events.
    pub node_name: String,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<ObjectsActor>) -> ChildSpecBuilder<ObjectsActor> {
    spec.answers::<WriteObject>().answers::<ReportStatus>().answers::<FinishDeletion>().answers::<RecordEvent>()
}

/// See the room's card.
pub struct ObjectsActor {
    parts: ObjectsParts,
    /// Waiting, in order of arrival.
    queue: VecDeque<(Task, Answer)>,
    /// A commit or a reading of the store is in flight.
    busy: bool,
    /// The view is what the store holds.
    in_step: bool,
    /// Objects whose deletion was sent to the store, with an outcome nobody told.
    deleting: BTreeSet<(KindId, ObjectKey)>,
    /// The last reading missed objects and was not believed.
    doubted: bool,
    events: EventBook,
    /// Reports that wait for their second to pass, newest only.
    reports: BTreeMap<(KindId, ObjectKey), (String, Value)>,
    /// When each object's status was last written.
    reported: BTreeMap<(KindId, ObjectKey), Instant>,
    /// A timer for reports is armed.
    report_timer: bool,
    /// Pause before the store is read again, should that fail.
    reload_pause: Duration,
    /// A timer for events is armed.
    event_timer: bool,
}

/// An admitted write on its way to the store.
struct Ready {
    change: StoreChange,
    kind: KindId,
    key: ObjectKey,
    value: Option<Value>,
    warnings: Vec<String>,
    answer: Answer,
}

impl ObjectsActor {
    /// A new incarnation; readers keep what was published before.
    pub fn new(parts: ObjectsParts) -> Self {
        Self {
            parts,
            queue: VecDeque::new(),
            busy: false,
            in_step: false,
            deleting: BTreeSet::new(),
            doubted: false,
            events: EventBook::default(),
            reports: BTreeMap::new(),
            reported: BTreeMap::new(),
            report_timer: false,
            reload_pause: FIRST_RELOAD,
            event_timer: false,
        }
    }

    fn view(&self) -> Arc<ObjectsView> {
        self.parts.publisher.view()
    }

    fn circumstances(&mut self, field_validation: FieldValidation) -> Circumstances {
        Circumstances {
            now: self.parts.clock.now(),
            node: self.parts.node_name.clone(),
            uid: self.parts.randomness.uid(),
            random: self.parts.randomness.number(),
            field_validation,
        }
    }

    // Reading the store.

    fn load(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let load = self.parts.load.clone();
        let loading =
            async move { load.ask(LoadContents { context: RequestContext::new("load", patience::LOAD) }).await };
        ctx.spawn(loading.into_actor(self).map(|loaded, actor, ctx| {
            actor.busy = false;
            let caught_up = match loaded {
                Ok(contents) => actor.loaded(&contents).map_err(|fault| fault.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match caught_up {
                Ok(()) => {
                    actor.reload_pause = FIRST_RELOAD;
                    actor.pump(ctx);
                }
                Err(why) => {
                    tracing::error!(%why, "objects cannot be loaded, trying again");
                    actor.out_of_step(&why);
                    let pause = actor.reload_pause;
                    actor.reload_pause = (pause * 2).min(LONGEST_RELOAD);
                    ctx.run_later(pause, |actor, ctx| actor.load(ctx));
                }
            }
        }));
    }

    fn out_of_step(&mut self, why: &str) {
        self.in_step = false;
        let mut view = (*self.view()).clone();
        view.not_loaded_because = Some(why.to_owned());
        self.parts.publisher.publish(view);
        for (_, answer) in self.queue.drain(..) {
            reply(answer, Err(not_loaded(why)));
        }
    }

    fn loaded(&mut self, contents: &StoreContents) -> Result<(), StoreFault> {
        let view = self.view();
        let changes = catch_up(&self.parts.kinds, &view, contents)?;
        let first_time = !view.loaded;
        if !first_time && !std::mem::replace(&mut self.doubted, true) {
            doubt(&changes, &self.deleting)?;
        }
        self.doubted = false;
        self.deleting.clear();
        let (mut next, _) = apply(&view, changes);
        next.revision = next.revision.max(contents.revision);
        next.loaded = true;
        next.not_loaded_because = None;
        if first_time {
            // What was there before this process is no news to anybody.
            for kind in next.kinds.values_mut() {
                let kind = Arc::make_mut(kind);
                kind.history.clear();
                kind.history_after = contents.revision;
            }
            for kind in self.parts.kinds.iter() {
                let entry = next.kinds.entry(kind.id()).or_default();
                Arc::make_mut(entry).history_after = contents.revision;
            }
        }
        self.in_step = true;
        if let Some(kind) = self.parts.kinds.named("Event") {
            let events = next.kind(&kind.id());
            let values: Vec<(&ObjectKey, Value)> =
                events.objects.iter().map(|(key, event)| (key, event.value())).collect();
            self.events.load(values.iter().map(|(key, value)| (*key, value)));
        }
        let missing: Vec<&str> = match self.parts.kinds.named("Namespace") {
            Some(kind) => {
                let there = next.kind(&kind.id());
                PERMANENT.into_iter().filter(|name| !there.objects.contains_key(&ObjectKey::new("", *name))).collect()
            }
            None => Vec::new(),
        };
        self.parts.publisher.publish(next);
        for name in missing {
            self.make_namespace(name);
        }
        // What an earlier incarnation had begun to empty is emptied on.
        self.sweep_namespaces();
        Ok(())
    }

    fn make_namespace(&mut self, name: &str) {
        let Some(kind) = self.parts.kinds.named("Namespace").copied() else { return };
        let given = self.circumstances(FieldValidation::Ignore);
        let body = json!({"metadata": {"name": name}});
        match admission::create(&kind, "", body, &given) {
            Ok(admitted) => {
                let task = Task::Put { kind: kind.id(), key: ObjectKey::new("", name), value: admitted.value };
                self.queue.push_front((task, None));
            }
            Err(status) => tracing::error!(%status, name, "a permanent namespace could not be made"),
        }
    }

    // The queue.

    fn enqueue(&mut self, task: Task, ctx: &mut Context<Self>) -> ResponseActFuture<Self, Result<Written, Status>> {
        if !self.in_step && !self.busy {
            let why = self.view().not_loaded_because.clone().unwrap_or_else(|| "the store is being read".into());
            return Box::pin(actix::fut::ready(Err(not_loaded(&why))));
        }
        if self.queue.len() >= QUEUE {
            return Box::pin(actix::fut::ready(Err(Status::busy(1))));
        }
        let (answer, answered) = oneshot::channel();
        self.queue.push_back((task, Some(answer)));
        self.pump(ctx);
        let waiting = async move { answered.await.unwrap_or_else(|_| Err(Status::timeout("the outcome is unknown"))) };
        Box::pin(waiting.into_actor(self))
    }

    /// Forms the next batch, if none is in flight, and sends it off.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.busy || !self.in_step {
            return;
        }
        self.take_due_reports();
        if self.queue.is_empty() {
            return;
        }
        let view = self.view();
        let mut batch: Vec<Ready> = Vec::new();
        let mut taken: BTreeSet<(KindId, ObjectKey)> = BTreeSet::new();
        let mut later = VecDeque::new();
        let namespaces = self.parts.kinds.named("Namespace").map(Kind::id);
        while let Some((task, answer)) = self.queue.pop_front() {
            let conflicts = task.target().is_some_and(|target| taken.contains(&target));
            // What follows may live in a namespace this batch makes.
            let homeless = batch.iter().any(|ready| Some(ready.kind) == namespaces)
                && task.target().is_none_or(|(kind, _)| Some(kind) != namespaces);
            if conflicts || homeless || batch.len() >= BATCH {
                // Also whatever else waits for the same key must keep its place behind this one.
                taken.extend(task.target());
                later.push_back((task, answer));
                continue;
            }
            let reports = matches!(task, Task::Status { .. });
            match self.admit(&view, task) {
                Outcome::Refused(status) => reply(answer, Err(status)),
                Outcome::Done(written) => reply(answer, Ok(*written)),
                Outcome::Write { kind, key, value, expected, warnings } => {
                    let Some(row) = self.parts.kinds.get(&kind) else { continue };
                    let at = store_key(row, &key);
                    if !taken.insert((kind, key.clone())) {
                        // A name that was made up just now, twice.
                        reply(answer, Err(Status::already_exists(row, &key.name)));
                        continue;
                    }
                    if reports {
                        self.reported.insert((kind, key.clone()), Instant::now());
                    }
                    let change = StoreChange { at, value: value.as_ref().map(to_bytes), expected };
                    batch.push(Ready { change, kind, key, value, warnings, answer });
                }
            }
        }
        self.queue = later;
        if !batch.is_empty() {
            self.commit(batch, ctx);
        }
    }

    fn commit(&mut self, batch: Vec<Ready>, ctx: &mut Context<Self>) {
        self.busy = true;
        let door = self.parts.commit.clone();
        let changes = batch.iter().map(|ready| ready.change.clone()).collect();
        let context = RequestContext::new("commit", patience::WRITE);
        let committing = async move { door.ask(CommitChanges { context, changes }).await };
        ctx.spawn(committing.into_actor(self).map(move |result, actor, ctx| {
            actor.busy = false;
            match result {
                Ok(revisions) => {
                    actor.committed(batch, &revisions);
                    actor.pump(ctx);
                }
                Err(error) => actor.not_committed(batch, &error, ctx),
            }
        }));
    }

    fn committed(&mut self, batch: Vec<Ready>, revisions: &[u64]) {
        let mut answers = Vec::with_capacity(batch.len());
        let mut changes = Vec::with_capacity(batch.len());
        for (ready, revision) in batch.into_iter().zip(revisions) {
            let gone = ready.value.is_none();
            answers.push((ready.answer, gone, ready.warnings));
            changes.push(Change { kind: ready.kind, key: ready.key, value: ready.value, revision: *revision });
        }
        let (view, published) = apply(&self.view(), changes);
        self.parts.publisher.publish(view);
        for ((answer, gone, warnings), object) in answers.into_iter().zip(published) {
            reply(answer, Ok(Written { object, changed: true, gone, warnings }));
        }
        self.sweep_namespaces();
    }

    fn not_committed(&mut self, batch: Vec<Ready>, error: &CallError<StoreFault>, ctx: &mut Context<Self>) {
        tracing::error!(%error, writes = batch.len(), "a commit failed");
        let status = not_stored(error);
        for ready in batch {
            if ready.value.is_none() {
                self.deleting.insert((ready.kind, ready.key));
            }
            reply(ready.answer, Err(status.clone()));
        }
        // Whatever happened, the store knows: read it before anything else is admitted.
        self.in_step = false;
        self.load(ctx);
    }

    // Admission of each task.

    fn admit(&mut self, view: &ObjectsView, task: Task) -> Outcome {
        match task {
            Task::Write(write) => self.admit_write(view, *write).unwrap_or_else(Outcome::Refused),
            Task::Put { kind, key, value } => {
                // What is missing here and there after all was misread, and is not written over.
                let expected = if view.get(&kind, &key).is_some() { Expected::Any } else { Expected::Absent };
                Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] }
            }
            Task::Remove { kind, key } => match view.get(&kind, &key) {
                Some(current) => {
                    let expected = Expected::At(current.revision);
                    Outcome::Write { kind, key, value: None, expected, warnings: vec![] }
                }
                None => Outcome::Refused(gone()),
            },
            Task::Status { kind, key, uid, status } => {
                let Some(current) = view.get(&kind, &key).filter(|object| object.uid() == uid) else {
                    return Outcome::Refused(gone());
                };
                let mut value = current.value();
                if value["status"] == status {
                    return unchanged(current, vec![]);
                }
                value = admission::without_version(&value);
                value["status"] = status;
                let expected = Expected::At(current.revision);
                Outcome::Write { kind, key, value: Some(value), expected, warnings: vec![] }
            }
            Task::Finish { kind, key, uid } => {
                let Some(current) = view.get(&kind, &key).filter(|object| object.uid() == uid) else {
                    return Outcome::Refused(gone());
                };
                if metadata::has_finalizers(&current.value()) {
                    let why = "the object has finalizers";
                    return Outcome::Refused(Status::new(409, "Conflict", why));
                }
                let expected = Expected::At(current.revision);
                Outcome::Write { kind, key, value: None, expected, warnings: vec![] }
            }
        }
    }

    fn admit_write(&mut self, view: &ObjectsView, write: WriteObject) -> Result<Outcome, Status> {
        let Some(kind) = self.parts.kinds.get(&write.kind).copied() else { return Err(Status::no_such_path()) };
        let given = self.circumstances(write.field_validation);
        let dry_run = write.dry_run;
        let outcome = match write.verb {
            Verb::Create { body } => self.admit_create(view, &kind, &write.key, body, &given)?,
            Verb::Update { body } => {
                let current = existing(view, &kind, &write.key)?;
                let admitted = admission::update(&kind, &current.value(), body, write.subresource, &given)?;
                replace(&kind, write.key, &current, admitted)
            }
            Verb::Patch { patch, body } => {
                let current = existing(view, &kind, &write.key)?;
                let admitted = admission::patched(&kind, &current.value(), patch, &body, write.subresource, &given)?;
                replace(&kind, write.key, &current, admitted)
            }
            Verb::Replace { body } => admit_replacement(view, &kind, write.key, body, &given)?,
            Verb::Delete { options } => self.admit_delete(view, &kind, write.key, &options, &given)?,
        };
        if !dry_run {
            return Ok(outcome);
        }
        Ok(match outcome {
            Outcome::Write { kind, key, value, warnings, .. } => {
                let before = view.get(&kind, &key);
                let gone = value.is_none();
                let mut value = value.or_else(|| before.as_ref().map(|object| object.value())).unwrap_or_default();
                // What is not stored has no version; what is keeps the one it has.
                let object = match before {
                    Some(before) => crate::publish::stored(kind, key, value, before.revision),
                    None => {
                        metadata::of_mut(&mut value).remove("resourceVersion");
                        StoredObject::new(kind, key, &value, 0)
                    }
                };
                Outcome::Done(Box::new(Written { object: Arc::new(object), changed: true, gone, warnings }))
            }
            other => other,
        })
    }

    fn admit_create(
        &mut self,
        view: &ObjectsView,
        kind: &Kind,
        key: &ObjectKey,
        body: Value,
        given: &Circumstances,
    ) -> Result<Outcome, Status> {
        let generated = metadata::name(&body).is_empty();
        let mut admitted = admission::create(kind, &key.namespace, body, given)?;
        let name = metadata::name(&admitted.value).to_owned();
        if kind.namespaced {
            self.check_namespace(view, kind, &key.namespace, &name)?;
        }
        let mut key = ObjectKey::new(key.namespace.clone(), name);
        for _ in 0..GENERATED_TRIES {
            if !generated || view.get(&kind.id(), &key).is_none() {
                break;
            }
            let prefix = admitted.value["metadata"]["generateName"].as_str().unwrap_or_default();
            key.name = metadata::generated_name(prefix, self.parts.randomness.number());
            metadata::of_mut(&mut admitted.value).insert("name".into(), json!(key.name));
        }
        if view.get(&kind.id(), &key).is_some() {
            return Err(Status::already_exists(kind, &key.name));
        }
        Ok(Outcome::Write {
            kind: kind.id(),
            key,
            value: Some(admitted.value),
            expected: Expected::Absent,
            warnings: admitted.warnings,
        })
    }

    fn check_namespace(&self, view: &ObjectsView, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let Some(namespaces) = self.parts.kinds.named("Namespace") else { return Ok(()) };
        match view.get(&namespaces.id(), &ObjectKey::new("", namespace)) {
            None => Err(Status::not_found(namespaces, namespace)),
            Some(found) if found.is_deleting() => {
                let why =
                    format!("unable to create new content in namespace {namespace} because it is being terminated");
                Err(Status::forbidden(kind, name, why))
            }
            Some(_) => Ok(()),
        }
    }

    fn admit_delete(
        &mut self,
        view: &ObjectsView,
        kind: &Kind,
        key: ObjectKey,
        options: &Value,
        given: &Circumstances,
    ) -> Result<Outcome, Status> {
        let current = existing(view, kind, &key)?;
        let tree = current.value();
        admission::check_preconditions(kind, &tree, options)?;
        let is_namespace = kind.kind == "Namespace";
        if is_namespace && PERMANENT.contains(&key.name.as_str()) {
            return Err(Status::forbidden(kind, &key.name, "this namespace may not be deleted"));
        }
        let expected = Expected::At(current.revision);
        let write = |value| Outcome::Write { kind: kind.id(), key: key.clone(), value, expected, warnings: vec![] };
        let asked = options.get("gracePeriodSeconds").and_then(Value::as_u64);
        if current.is_deleting() {
            // Whoever deletes again may make it sooner, not later.
            let before = tree.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(0);
            return Ok(match asked.filter(|asked| *asked < before) {
                Some(asked) => write(Some(admission::mark_deleted(&tree, asked, given.now))),
                None => unchanged(current, vec![]),
            });
        }
        let waits = kind.graceful || metadata::has_finalizers(&tree) || is_namespace;
        if !waits {
            return Ok(write(None));
        }
        let own = tree.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64);
        let mut value = admission::mark_deleted(&tree, asked.or(own).unwrap_or(0), given.now);
        if is_namespace {
            value["status"]["phase"] = json!("Terminating");
        }
        Ok(write(Some(value)))
    }

    /// Deletes what is in namespaces that are going, then the namespaces.
    fn sweep_namespaces(&mut self) {
        let Some(namespaces) = self.parts.kinds.named("Namespace").map(Kind::id) else { return };
        let view = self.view();
        let going: Vec<(ObjectKey, bool)> = view
            .kind(&namespaces)
            .objects
            .iter()
            .filter(|(_, namespace)| namespace.is_deleting())
            .map(|(key, namespace)| (key.clone(), metadata::has_finalizers(&namespace.value())))
            .collect();
        if going.is_empty() {
            return;
        }
        let waiting: BTreeSet<(KindId, ObjectKey)> = self.queue.iter().filter_map(|(task, _)| task.target()).collect();
        for (namespace, held) in going {
            let mut empty = !held && !waiting.contains(&(namespaces, namespace.clone()));
            for kind in self.parts.kinds.clone().iter().filter(|kind| kind.namespaced) {
                let content = view.kind(&kind.id());
                let inside = content.objects.iter().filter(|(key, _)| key.namespace == namespace.name);
                for (key, object) in inside {
                    empty = false;
                    if object.is_deleting() || waiting.contains(&(kind.id(), key.clone())) {
                        continue;
                    }
                    let write = WriteObject {
                        context: RequestContext::new("delete namespace content", patience::WRITE),
                        kind: kind.id(),
                        key: key.clone(),
                        verb: Verb::Delete { options: Value::Null },
                        subresource: "",
                        dry_run: false,
                        field_validation: FieldValidation::Ignore,
                    };
                    self.queue.push_back((Task::Write(Box::new(write)), None));
                }
            }
            if empty {
                self.queue.push_back((Task::Remove { kind: namespaces, key: namespace }, None));
            }
        }
    }

    // Reports and events, merged.

    fn report(&mut self, report: ReportStatus, ctx: &mut Context<Self>) {
        self.reports.insert((report.kind, report.key), (report.uid, report.status));
        self.pump(ctx);
        self.arm_report_timer(ctx);
    }

    /// Queues the reports whose second has passed. Called when a batch is about to be formed and not before: meanwhile newer
    /// reports replace older ones, and the second is counted from write to write.
    fn take_due_reports(&mut self) {
        let now = Instant::now();
        self.reported.retain(|_, last| now.duration_since(*last) < STATUS_PACE);
        let due: Vec<_> = self.reports.keys().filter(|target| !self.reported.contains_key(*target)).cloned().collect();
        for target in due {
            if let Some((uid, status)) = self.reports.remove(&target) {
                let (kind, key) = target;
                self.queue.push_back((Task::Status { kind, key, uid, status }, None));
            }
        }
    }

    fn arm_report_timer(&mut self, ctx: &mut Context<Self>) {
        if self.report_timer || self.reports.is_empty() {
            return;
        }
        self.report_timer = true;
        ctx.run_later(STATUS_PACE / 4, |actor, ctx| {
            actor.report_timer = false;
            actor.pump(ctx);
            actor.arm_report_timer(ctx);
        });
    }

    fn arm_event_timer(&mut self, ctx: &mut Context<Self>) {
        if self.event_timer {
            return;
        }
        self.event_timer = true;
        ctx.run_later(EVENT_PACE, |actor, ctx| {
            actor.event_timer = false;
            actor.write_events(ctx);
            if !actor.events.is_idle() {
                actor.arm_event_timer(ctx);
            }
        });
    }

    fn takes_events(&self, view: &ObjectsView, namespace: &str) -> bool {
        let Some(kind) = self.parts.kinds.named("Namespace") else { return true };
        let found = view.get(&kind.id(), &ObjectKey::new("", namespace));
        found.is_some_and(|namespace| !namespace.is_deleting())
    }

    fn write_events(&mut self, ctx: &mut Context<Self>) {
        let Some(kind) = self.parts.kinds.named("Event").map(Kind::id) else { return };
        if !self.in_step {
            return;
        }
        let view = self.view();
        let now = self.parts.clock.now();
        let node = self.parts.node_name.clone();
        let current = |key: &ObjectKey| view.get(&kind, key).map(|event| admission::without_version(&event.value()));
        for write in self.events.flush(&node, now, current) {
            let task = match write {
                // A namespace that is going takes no new objects, and one that is gone must not get any.
                EventWrite::Put(key, _) if !self.takes_events(&view, &key.namespace) => continue,
                EventWrite::Put(key, mut value) => {
                    let meta = metadata::of_mut(&mut value);
                    meta.entry("uid").or_insert_with(|| json!(self.parts.randomness.uid()));
                    meta.entry("creationTimestamp").or_insert_with(|| json!(admission::stamp(now)));
                    Task::Put { kind, key, value }
                }
                EventWrite::Delete(key) => Task::Remove { kind, key },
            };
            self.queue.push_back((task, None));
        }
        self.pump(ctx);
    }
}

fn reply(answer: Answer, result: Result<Written, Status>) {
    if let Some(answer) = answer {
        // A caller that left does not matter: the write stands.
        let _ = answer.send(result);
    }
}

impl Actor for ObjectsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(ctx);
    }
}

impl Handler<WriteObject> for ObjectsActor {
    type Result = ResponseActFuture<Self, Result<Written, Status>>;
    fn handle(&mut self, order: WriteObject, ctx: &mut Self::Context) -> Self::Result {
        self.enqueue(Task::Write(Box::new(order)), ctx)
    }
}

impl Handler<ReportStatus> for ObjectsActor {
    type Result = Result<(), Status>;
    fn handle(&mut self, report: ReportStatus, ctx: &mut Self::Context) -> Self::Result {
        self.report(report, ctx);
        Ok(())
    }
}

impl Handler<FinishDeletion> for ObjectsActor {
    type Result = ResponseActFuture<Self, Result<(), Status>>;
    fn handle(&mut self, order: FinishDeletion, ctx: &mut Self::Context) -> Self::Result {
        let FinishDeletion { kind, key, uid, .. } = order;
        Box::pin(self.enqueue(Task::Finish { kind, key, uid }, ctx).map(|result, _, _| match result {
            Ok(_) => Ok(()),
            Err(status) if status.code == 404 => Ok(()),
            Err(status) => Err(status),
        }))
    }
}

impl Handler<RecordEvent> for ObjectsActor {
    type Result = ();
    fn handle(&mut self, event: RecordEvent, ctx: &mut Self::Context) {
        self.events.record(EventFacts {
            kind: event.involved_kind.to_owned(),
            api_version: event.involved_api_version.to_owned(),
            namespace: event.key.namespace,
            name: event.key.name,
            uid: event.uid,
            warning: event.warning,
            reason: event.reason.to_owned(),
            message: event.message,
        });
        self.arm_event_timer(ctx);
    }
}
