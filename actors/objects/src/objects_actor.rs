//! The actor: queues writes, admits them into batches, commits, publishes, answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::door::Door;
use mkube_messages::objects::{
    FieldValidation, FinishDeletion, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, ReportStatus, WriteObject,
    Writer, Written,
};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::store::{CommitChanges, LoadContents, LoadNews, NewsNotices};

use mkube_model::kinds::{EventFacts, Kind, KindId, KindTable};
use mkube_model::neighbours::desired_store::{StoreChange, StoreContents, StoreFault};
use mkube_model::neighbours::randomness::Randomness;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::status::Status;
use mkube_supervision::{ChildSpecBuilder, follow};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::Circumstances;
use crate::batch::{Owners, Ready, again};
use crate::contents::{Missed, catch_up};
use crate::dependents::{Dependents, Place};
use crate::doubt::{Deletions, doubt, missing};
use crate::event_book::EventBook;
use crate::homes::Homes;
use crate::namespaces::PERMANENT;
use crate::outcome::Outcome;
use crate::queue::{Answer, Asked, Task, reply};
use crate::refusals::{RefusedMeanwhile, not_loaded, owner_gone, unreadable};
use crate::relations;
use crate::stored_form::{self, store_key};

/// Writes that may wait for a commit.
const QUEUE: usize = 1024;
/// Changes in one commit.
const BATCH: usize = 256;
/// Pause before the store is read again after that failed: the first one; doubles up to the longest. A store that was struck
/// is back in a moment.
const FIRST_RELOAD: Duration = Duration::from_millis(25);
/// The longest such pause.
const LONGEST_RELOAD: Duration = Duration::from_secs(1);

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
    /// To hear what others did to the store.
    pub news: Door<LoadNews>,
    /// When there is something to hear.
    pub notices: NewsNotices,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Where uids and made-up names come from.
    pub randomness: Arc<dyn Randomness>,
    /// Name of this node.
    pub node_name: String,
    /// Whether controllers of other nodes use the same store.
    pub shared: bool,
    /// Events kept.
    pub event_ring: usize,
    /// Deletions under way; outlives the actor.
    pub deletions: Deletions,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<ObjectsActor>) -> ChildSpecBuilder<ObjectsActor> {
    spec.answers::<WriteObject>().answers::<ReportStatus>().answers::<FinishDeletion>().answers::<RecordEvent>()
}

/// See the room's card.
pub struct ObjectsActor {
    pub(crate) parts: ObjectsParts,
    /// Waiting, in order of arrival.
    pub(crate) queue: VecDeque<(Task, Answer)>,
    /// A commit or a reading of the store is in flight.
    pub(crate) busy: bool,
    /// The view is what the store holds.
    pub(crate) in_step: bool,
    /// The bell rang and nothing was taken since.
    pub(crate) rung: bool,
    /// What the last reading lacked, if it was not believed.
    doubted: BTreeSet<Place>,
    /// A reading of a store that was away lacked objects that are still shown: whether they are gone is seen when it is back.
    pub(crate) gone_unsaid: bool,
    /// Writes that were refused since the store went away.
    pub(crate) refused_meanwhile: RefusedMeanwhile,
    pub(crate) events: EventBook,
    /// Reports that wait for their second to pass, newest only.
    pub(crate) reports: BTreeMap<(KindId, ObjectKey), (String, Value)>,
    /// When each object's status was last written, and that of which uid: who takes a name waits for nobody.
    pub(crate) reported: BTreeMap<(KindId, ObjectKey), (String, Instant)>,
    /// A timer for reports is armed.
    pub(crate) report_timer: bool,
    /// Pause before the store is read again, should that fail.
    reload_pause: Duration,
    /// A timer for events is armed.
    pub(crate) event_timer: bool,
    /// Who depends on whom, in step with the view.
    pub(crate) dependents: Dependents,
    pub(crate) homes: Homes,
}

impl ObjectsActor {
    /// A new incarnation; readers keep what was published before.
    pub fn new(parts: ObjectsParts) -> Self {
        let homes = Homes::new(parts.kinds.clone(), parts.shared.then(|| parts.node_name.clone()));
        Self {
            homes,
            events: EventBook::new(&parts.node_name, parts.event_ring),
            parts,
            queue: VecDeque::new(),
            busy: false,
            in_step: false,
            rung: false,
            doubted: BTreeSet::new(),
            gone_unsaid: false,
            refused_meanwhile: RefusedMeanwhile::default(),
            reports: BTreeMap::new(),
            reported: BTreeMap::new(),
            report_timer: false,
            reload_pause: FIRST_RELOAD,
            event_timer: false,
            dependents: Dependents::default(),
        }
    }

    pub(crate) fn view(&self) -> Arc<ObjectsView> {
        self.parts.publisher.everywhere()
    }

    pub(crate) fn circumstances(&mut self, field_validation: FieldValidation, writer: Writer) -> Circumstances {
        Circumstances {
            now: self.parts.clock.now(),
            node: self.parts.node_name.clone(),
            shared: self.parts.shared,
            uid: self.parts.randomness.uid(),
            random: self.parts.randomness.number(),
            field_validation,
            writer,
        }
    }

    // Reading the store.

    pub(crate) fn load(&mut self, ctx: &mut Context<Self>) {
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
        let publisher = &self.parts.publisher;
        let without = |view: &ObjectsView| ObjectsView { not_loaded_because: Some(why.to_owned()), ..view.clone() };
        publisher.publish_both(without(&publisher.everywhere()), without(&publisher.view()));
        for (_, answer) in self.queue.drain(..) {
            reply(answer, Err(not_loaded(why)));
        }
    }

    fn loaded(&mut self, contents: &StoreContents) -> Result<(), StoreFault> {
        let view = self.view();
        let Missed { mut changes, unreadable } = catch_up(&self.parts.kinds, &view, contents)?;
        let all = changes.len();
        if contents.stale.is_some() {
            changes.retain(|change| change.value.is_some());
        }
        let gone_unsaid = changes.len() < all;
        let first_time = !view.loaded;
        if !first_time {
            let missing = missing(&view, &changes, &self.parts.deletions);
            let before = std::mem::replace(&mut self.doubted, missing);
            doubt(&self.parts.kinds, &view, contents, &self.doubted, &before)?;
        }
        self.doubted.clear();
        self.gone_unsaid = gone_unsaid;
        let (mut next, mut here, _) = self.homes.apply(&self.parts.publisher, changes);
        for view in [&mut next, &mut here] {
            self.parts.kinds.iter().for_each(|row| in_step(view, row, contents, first_time));
            view.loaded = true;
            view.not_loaded_because = None;
            view.stale = contents.stale.clone();
            if contents.stale.is_none() {
                view.unreadable.clear();
            }
            view.unreadable.extend(unreadable.iter().map(|(place, why)| (place.clone(), why.clone())));
        }
        self.in_step = true;
        if contents.stale.is_none() {
            self.refused_meanwhile.over();
        }
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
        self.parts.deletions.settle_by(&next);
        self.dependents.read_all(&next);
        self.homes.look(&next);
        self.parts.publisher.publish_both(next, here);
        self.forget_old_events();
        for name in missing {
            self.make_namespace(name);
        }
        // What an earlier incarnation had begun to delete is deleted on.
        self.sweep();
        Ok(())
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
        self.queue.push_back((task, Some(Asked { answer, tries: 1 })));
        self.pump(ctx);
        let waiting = async move { answered.await.unwrap_or_else(|_| Err(Status::timeout("the outcome is unknown"))) };
        Box::pin(waiting.into_actor(self))
    }

    /// Forms the next batch, if none is in flight, and sends it off.
    pub(crate) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.busy || !self.in_step {
            return;
        }
        if std::mem::take(&mut self.rung) {
            return self.listen(ctx);
        }
        self.take_due_reports();
        if self.queue.is_empty() {
            return;
        }
        let view = self.view();
        let mut batch: Vec<Ready> = Vec::new();
        let mut taken: BTreeSet<Place> = BTreeSet::new();
        let mut owners = Owners::default();
        let mut later = VecDeque::new();
        let namespaces = self.parts.kinds.named("Namespace").map(Kind::id);
        let mut founded = BTreeSet::new();
        while let Some((task, answer)) = self.queue.pop_front() {
            let target = task.target();
            let conflicts = target.as_ref().is_some_and(|target| taken.contains(target));
            // What follows may live in a namespace this batch makes.
            let homeless = batch.iter().any(|ready| Some(ready.kind) == namespaces)
                && target.as_ref().is_none_or(|(kind, _)| Some(*kind) != namespaces);
            let current = target.as_ref().and_then(|(kind, key)| view.get(kind, key));
            // An owner is not judged before it is known what depends on it.
            let expecting = current.is_some_and(|current| owners.named.contains(current.uid()));
            let behind = task.may_wait_for_the_store();
            // A store that is away keeps some and refuses others, and a batch as a whole.
            let unlike = view.stale.is_some() && batch.first().is_some_and(|ready| ready.change.behind != behind);
            // Others of its kind that are written in the same moment are not seen yet.
            let unjudged = relations::is_judged_by_others(&task)
                && target.as_ref().is_some_and(|(kind, _)| batch.iter().any(|ready| ready.kind == *kind));
            if conflicts || homeless || expecting || unlike || unjudged || batch.len() >= BATCH {
                // Also whatever else waits for the same key must keep its place behind this one.
                taken.extend(target);
                later.push_back((task, answer));
                continue;
            }
            let bad = target.as_ref().and_then(|place| view.unreadable.get(place)).cloned();
            if let (Some(why), Some((kind, key))) = (bad, &target) {
                let bucket = self.parts.kinds.get(kind).map_or("", |row| row.bucket);
                reply(answer, Err(unreadable(bucket, key, &why)));
                continue;
            }
            let home = self.home_to_make(&view, &task).filter(|home| !founded.contains(home));
            if let Some(home) = home {
                // First the namespace; what is to live in it waits for the next batch.
                self.queue.push_front((task, answer));
                self.make_namespace(&home);
                founded.insert(home);
                continue;
            }
            let reported = if let Task::Status { uid, .. } = &task { Some(uid.clone()) } else { None };
            let again = again(&task, self.parts.shared);
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
                    if let Err(uid) = owners.note(view.get(&kind, &key).as_deref(), value.as_ref()) {
                        reply(answer, Err(owner_gone(row, &key.name, &uid)));
                        continue;
                    }
                    if let Some(uid) = reported {
                        self.reported.insert((kind, key.clone()), (uid, Instant::now()));
                    }
                    let bytes = value.as_ref().map(|value| stored_form::write(row, value));
                    let change = StoreChange { at, value: bytes, expected, behind };
                    batch.push(Ready { change, kind, key, value, warnings, answer, again });
                }
            }
        }
        self.queue = later;
        if !batch.is_empty() {
            self.commit(batch, ctx);
        }
    }
}

/// A kind's revision is the store's. What was there before this process is no news to anybody; and where revisions were handed out
/// that the store knows nothing of, whoever continues from one begins anew.
fn in_step(view: &mut ObjectsView, row: &Kind, contents: &StoreContents, first_time: bool) {
    let kind = Arc::make_mut(view.kinds.entry(row.id()).or_default());
    let revision = contents.revision_of(row.bucket);
    if first_time || kind.revision > revision {
        kind.history.clear();
        kind.history_after = revision;
    }
    kind.revision = revision;
}

impl Actor for ObjectsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.load(ctx);
        follow(self.parts.notices.clone(), self, ctx, Self::ring);
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
