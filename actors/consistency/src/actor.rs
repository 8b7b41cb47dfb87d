//! The actor: runs when something changed or time has passed, publishes the report, and carries out repairs one by one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use imbl::ordmap::DiffItem;
use mkube_messages::consistency::{
    ActionReport, ConsistencyPublisher, RepairAction, RepairFault, RepairNow, RepairOutcome, Repaired,
};
use mkube_messages::dns::NamesReader;
use mkube_messages::door::Door;
use mkube_messages::images::ImagesReader;
use mkube_messages::ipam::{LeasesReader, ReleaseAddress};
use mkube_messages::objects::{ObjectKey, ObjectsReader, RecordEvent, WriteObject};
use mkube_messages::rollouts::RolloutsReader;
use mkube_messages::router::{
    DeviceReader, DeviceSnapshot, EnsureEnvs, EnsureMounts, RemoveContainer, RemoveVeth, StopContainer,
};
use mkube_messages::volumes::VolumesReader;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::{Alarm, follow};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::decide::{Rules, Verdict};
use crate::memory::Memory;
use crate::orphans::Orphan;
use crate::repair;
use crate::run::{self, Run, action};
use crate::sights::{self, Sights};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_secs(300);
/// How long a repair nobody waits for may go on.
const UNASKED: Duration = Duration::from_secs(600);
/// What is left of a request's time for the answer.
const TO_ANSWER: Duration = Duration::from_secs(2);

/// The doors a repair knocks at.
#[derive(Clone)]
#[allow(missing_docs, reason = "each door is named by its message")]
pub struct ConsistencyDoors {
    pub stop: Door<StopContainer>,
    pub remove: Door<RemoveContainer>,
    pub remove_veth: Door<RemoveVeth>,
    pub mounts: Door<EnsureMounts>,
    pub envs: Door<EnsureEnvs>,
    pub release: Door<ReleaseAddress>,
    pub write: Door<WriteObject>,
    pub event: Door<RecordEvent>,
}

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct ConsistencyParts {
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Addresses that are given out.
    pub leases: LeasesReader,
    /// Names, and what their servers have.
    pub names: NamesReader,
    /// Archives.
    pub images: ImagesReader,
    /// What registries said last.
    pub rollouts: RolloutsReader,
    /// Directories.
    pub volumes: VolumesReader,
    /// Neighbouring actors.
    pub doors: ConsistencyDoors,
    /// Where the report is published; outlives the actor.
    pub publisher: ConsistencyPublisher,
    /// Time of day, for stamps.
    pub clock: Arc<dyn WallClock>,
    /// Directory of plain volumes on the device.
    pub volumes_base: String,
    /// Name of the Node that events are about.
    pub node_name: String,
    /// How to go about it.
    pub rules: Rules,
}

/// A repair that is going on.
struct Repair {
    /// What was tried, done or not: nothing is tried twice.
    tried: BTreeSet<(RepairAction, String, String)>,
    done: Repaired,
    deadline: Instant,
    /// Whoever waits for it.
    reply: Option<oneshot::Sender<Repaired>>,
}

/// See the room's card.
pub struct ConsistencyActor {
    parts: ConsistencyParts,
    sights: Sights,
    memory: Memory,
    /// The picture of the device that was last looked at.
    device: Arc<DeviceSnapshot>,
    /// The timer of the next run.
    timer: Alarm,
    repairing: Option<Repair>,
    /// When something was last removed.
    last_removal: Option<Instant>,
    /// Why nothing is removed, as somebody was told.
    alarmed: Option<String>,
}

impl ConsistencyActor {
    /// A new incarnation.
    pub fn new(parts: ConsistencyParts) -> Self {
        Self {
            parts,
            sights: Sights::default(),
            memory: Memory::default(),
            device: Arc::default(),
            timer: Alarm::default(),
            repairing: None,
            last_removal: None,
            alarmed: None,
        }
    }

    /// Runs, publishes, and says when to run again. Nothing before store and device were read.
    fn run(&mut self, ctx: &mut Context<Self>) -> Option<Run> {
        self.timer.stop(ctx);
        let now = Instant::now();
        let run = run::run(&self.parts, &mut self.sights, &mut self.memory);
        let next = run.as_ref().and_then(|run| run.decision.next()).filter(|at| *at > now);
        let usual = now + self.parts.rules.interval;
        self.wake_at(next.map_or(usual, |next| next.min(usual)), ctx);
        let run = run?;
        self.parts.publisher.send_replace(Some(Arc::new(run.report.clone())));
        self.alarm(run.decision.alarm.as_deref());
        Some(run)
    }

    /// Runs, and begins to repair if that is to be done unasked.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(run) = self.run(ctx) else { return };
        let due = run.decision.verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Due);
        if due && self.parts.rules.automatic && self.repairing.is_none() {
            self.begin(Instant::now() + UNASKED, None, ctx);
        }
    }

    /// A run at that time; one that is due sooner stays, so that a stream of changes does not put it off.
    fn wake_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if self.timer.at().is_none_or(|due| due > at) {
            self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
        }
    }

    /// Something changed: the first report is wanted at once, later ones when things have settled.
    fn changed(&mut self, ctx: &mut Context<Self>) {
        if self.parts.publisher.borrow().is_none() {
            self.look(ctx);
        } else {
            self.wake_at(Instant::now() + self.parts.rules.settle, ctx);
        }
    }

    fn device_changed(&mut self, ctx: &mut Context<Self>) {
        let now = self.parts.device.borrow().clone();
        let before = std::mem::replace(&mut self.device, now.clone());
        if is_news(&before, &now) {
            self.changed(ctx);
        }
    }

    fn begin(&mut self, deadline: Instant, reply: Option<oneshot::Sender<Repaired>>, ctx: &mut Context<Self>) {
        self.repairing = Some(Repair { tried: BTreeSet::new(), done: Repaired::default(), deadline, reply });
        self.step(ctx);
    }

    /// Looks anew and does the next thing; ends the repair when there is none, or no time for it.
    fn step(&mut self, ctx: &mut Context<Self>) {
        let run = self.run(ctx);
        let Some(repair) = &mut self.repairing else { return };
        let Some(run) = run else { return self.end(&[], "the store or the device cannot be read now") };
        let untried = |orphan: &Orphan| !repair.tried.contains(&orphan.suspicion());
        let due = run.decision.verdicts.iter().find(|(orphan, verdict)| *verdict == Verdict::Due && untried(orphan));
        let Some((orphan, _)) = due.cloned() else { return self.end(&run.decision.verdicts, "") };
        let now = Instant::now();
        let turn = if orphan.action == RepairAction::ReleaseAddress {
            now
        } else {
            self.last_removal.map_or(now, |last| last + self.parts.rules.pause)
        };
        let limit = repair.deadline.saturating_duration_since(turn.max(now)).min(repair::LONGEST);
        if limit.is_zero() {
            return self.end(&run.decision.verdicts, "there is no time left for it in this repair");
        }
        if turn > now {
            ctx.run_later(turn - now, |actor, ctx| actor.step(ctx));
            return;
        }
        repair.tried.insert(orphan.suspicion());
        let parts = self.parts.clone();
        let (work, of) = (orphan.clone(), orphan);
        let work = async move { repair::carry_out(&parts, &work, limit).await };
        ctx.spawn(work.into_actor(self).map(move |done, actor, ctx| {
            actor.note(&of, done);
            actor.step(ctx);
        }));
    }

    /// Notes how one removal ended, and tells it.
    fn note(&mut self, orphan: &Orphan, done: Result<(), String>) {
        let is_removal = orphan.action != RepairAction::ReleaseAddress;
        if is_removal {
            self.last_removal = Some(Instant::now());
        }
        let (what, owner) = (format!("{} {}", orphan.action.as_str(), orphan.object), orphan.owner_text());
        let (outcome, why) = match done {
            Ok(()) => (RepairOutcome::Done, String::new()),
            Err(why) => (RepairOutcome::Refused, why),
        };
        use RepairAction::{RemoveContainer, RemoveEnvs, RemoveMounts};
        if outcome == RepairOutcome::Done && matches!(orphan.action, RemoveContainer | RemoveMounts | RemoveEnvs) {
            self.memory.emptied.insert(orphan.object.clone(), Instant::now());
        }
        if outcome == RepairOutcome::Done {
            tracing::info!(action = orphan.action.as_str(), object = %orphan.object, %owner, "what nobody owned was taken away");
            if is_removal {
                self.tell(false, "OrphanRemoved", format!("{what}: it belonged to {owner}, which is gone"));
            }
        } else {
            tracing::warn!(action = orphan.action.as_str(), object = %orphan.object, %why, "a repair did not work");
            self.tell(true, "RepairFailed", format!("{what}: {why}"));
            self.memory.not_before.insert(orphan.suspicion(), Instant::now() + RETRY);
        }
        if let Some(repair) = &mut self.repairing {
            if outcome == RepairOutcome::Done && !is_removal {
                repair.done.released.push(orphan.object.clone());
            }
            repair.done.actions.push(action(orphan, outcome, why));
        }
    }

    /// Ends the repair; what was not done is told with the reason.
    fn end(&mut self, left: &[(Orphan, Verdict)], why_not: &str) {
        let Some(mut repair) = self.repairing.take() else { return };
        let untried = left.iter().filter(|(orphan, _)| !repair.tried.contains(&orphan.suspicion()));
        repair.done.actions.extend(untried.map(|(orphan, verdict)| not_done(orphan, verdict, why_not)));
        if let Some(reply) = repair.reply
            && reply.send(repair.done).is_err()
        {
            tracing::debug!("nobody waits for the repair any more");
        }
    }

    /// Calls somebody when nothing is removed since too much would be; once for each reason.
    fn alarm(&mut self, why: Option<&str>) {
        if self.alarmed.as_deref() == why {
            return;
        }
        self.alarmed = why.map(str::to_owned);
        if let Some(why) = why {
            tracing::error!(why, "nothing is removed");
            self.tell(true, "RepairStopped", format!("nothing is removed: {why}"));
        }
    }

    fn tell(&self, warning: bool, reason: &'static str, message: String) {
        let key = ObjectKey::new("", self.parts.node_name.as_str());
        let node =
            sights::id(self.parts.objects.kinds(), "Node").and_then(|kind| self.parts.objects.view().get(&kind, &key));
        let event = RecordEvent {
            involved_kind: "Node",
            involved_api_version: "v1",
            uid: node.map(|node| node.uid().to_owned()).unwrap_or_default(),
            key,
            warning,
            reason,
            message,
        };
        if let Err(why) = self.parts.doors.event.tell(event) {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }
}

fn not_done(orphan: &Orphan, verdict: &Verdict, why_not: &str) -> ActionReport {
    match verdict {
        Verdict::Due => action(orphan, RepairOutcome::Planned, why_not.to_owned()),
        Verdict::Later(why, _) => action(orphan, RepairOutcome::Planned, why.clone()),
        Verdict::Refused(why) => action(orphan, RepairOutcome::Refused, why.clone()),
    }
}

/// Whether something changed that a check looks at; figures that move all the time do not count.
fn is_news(before: &DeviceSnapshot, now: &DeviceSnapshot) -> bool {
    if (before.complete, before.reachable) != (now.complete, now.reachable) {
        return true;
    }
    let alike = |change: DiffItem<'_, '_, String, Arc<mkube_model::neighbours::router::ContainerRow>>| match change {
        DiffItem::Update { old: (_, old), new: (_, new) } => {
            (&old.id, old.state, &old.comment, &old.interfaces) == (&new.id, new.state, &new.comment, &new.interfaces)
        }
        DiffItem::Add(..) | DiffItem::Remove(..) => false,
    };
    before.containers.diff(&now.containers).any(|change| !alike(change))
        || before.veths.diff(&now.veths).next().is_some()
        || before.ports.diff(&now.ports).next().is_some()
        || before.lists.as_ref().map(|lists| (&lists.mounts, &lists.envs))
            != now.lists.as_ref().map(|lists| (&lists.mounts, &lists.envs))
}

impl Actor for ConsistencyActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::changed);
        follow(self.parts.device.clone(), self, ctx, Self::device_changed);
    }
}

impl Handler<RepairNow> for ConsistencyActor {
    type Result = ResponseActFuture<Self, Result<Repaired, RepairFault>>;

    fn handle(&mut self, order: RepairNow, ctx: &mut Self::Context) -> Self::Result {
        let refused = |fault| -> Self::Result { Box::pin(actix::fut::ready(Err(fault))) };
        if order.dry_run {
            let Some(run) = self.run(ctx) else { return refused(RepairFault::NotYet) };
            let released = |(orphan, verdict): &(Orphan, Verdict)| {
                (orphan.action == RepairAction::ReleaseAddress && *verdict == Verdict::Due)
                    .then(|| orphan.object.clone())
            };
            let released = run.decision.verdicts.iter().filter_map(released).collect();
            return Box::pin(actix::fut::ready(Ok(Repaired { released, actions: run.report.planned })));
        }
        if self.repairing.is_some() {
            return refused(RepairFault::UnderWay);
        }
        if self.run(ctx).is_none() {
            return refused(RepairFault::NotYet);
        }
        let (reply, answer) = oneshot::channel();
        self.begin(order.context.deadline - TO_ANSWER, Some(reply), ctx);
        let answer = async move { answer.await.map_err(|_| RepairFault::NotYet) };
        Box::pin(order.context.answered_by("consistency", answer).into_actor(self))
    }
}
