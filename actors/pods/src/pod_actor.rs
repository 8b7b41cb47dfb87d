//! One pod. Looks, takes one step, looks again; when there is nothing to do it waits to be told or for its next moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use mkube_messages::gates::Gate;
use mkube_messages::objects::{FinishDeletion, ObjectKey};
use mkube_messages::patience;
use mkube_messages::pods::{DesiredChanged, DeviceChanged};
use mkube_messages::request::RequestContext;
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::neighbours::router::ContainerState;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::Instrument;

use crate::after_exit::hands_off;
use crate::backoff::Backoff;
use crate::carry_out::{Failed, Job, carry_out};
use crate::gating::{gated, is_of_gate, or_start_on_boot, starts_on_boot, trouble_of};
use crate::health::paused;
use crate::memory::Memory;
use crate::next_step::{Step, next_step, next_teardown};
use crate::parts::{Desired, PodParts};
use crate::plan::{ContainerPlan, PodPlan, RestartPolicy, is_of, is_ours, plan};
use crate::pull;
use crate::sight::{
    address_of, event_reason, is_unconfirmed, previous_address, seen, short_pause, sources_of, take_as_it_is,
    was_changed, without_shared,
};
use crate::status::{Trouble, ran_before_boot, recorded_health, recorded_run};
use crate::telling::FIRST_WORD;

/// Longest time between two looks while something is expected.
pub(crate) const TICK: Duration = Duration::from_secs(10);
/// Longest time between two looks when nothing is: whatever happens to the pod is told at once.
const QUIET: Duration = Duration::from_secs(60);

/// Waiting for an archive takes no part of the device.
fn needs_turn(step: &Step) -> bool {
    *step != Step::EnsureTarball
}

/// See the room's card.
pub struct PodActor {
    pub(crate) parts: Arc<PodParts>,
    pub(crate) desired: watch::Receiver<Desired>,
    /// What is remembered of each container, by the name of its row.
    pub(crate) memories: BTreeMap<String, Box<Memory>>,
    /// Containers that left the spec and are not gone yet, by the name of their row.
    pub(crate) leaving: BTreeMap<String, ContainerPlan>,
    /// What keeps a container from running, by the name of its row.
    pub(crate) troubles: BTreeMap<String, Trouble>,
    /// Pace of tries to finish a deletion.
    finishing: Backoff,
    /// A step is being carried out. Waiting for an archive, which may take minutes, is none.
    busy: bool,
    /// Archives that are waited for, by the name of the row, and the hash they are for.
    pulls: BTreeMap<String, (SpawnHandle, String)>,
    /// The next look that is not asked for.
    timer: Option<SpawnHandle>,
    /// When this incarnation began.
    pub(crate) born: Instant,
    /// The status last reported (as text: a thousand pods report at once after a start), and when, until the published pod
    /// shows it.
    pub(crate) reported: Option<(String, Instant)>,
    /// The digest that was written down last, and when, until the published pod shows it.
    pub(crate) stamped: Option<(String, Instant)>,
    /// It is this pod's turn.
    turn: Option<OwnedSemaphorePermit>,
    /// It waits for its turn.
    queued: bool,
    /// The row of a container that is about to be stopped: nobody is to be sent there any more.
    pub(crate) stopping: Option<String>,
}

impl PodActor {
    /// A new incarnation.
    pub fn new(parts: Arc<PodParts>, desired: watch::Receiver<Desired>) -> Self {
        Self {
            parts,
            desired,
            memories: BTreeMap::new(),
            leaving: BTreeMap::new(),
            troubles: BTreeMap::new(),
            finishing: Backoff::of_retries(),
            busy: false,
            pulls: BTreeMap::new(),
            timer: None,
            born: Instant::now(),
            reported: None,
            stamped: None,
            turn: None,
            queued: false,
            stopping: None,
        }
    }

    pub(crate) fn plan(&self, desired: &Desired, pod: &Value, device: &DeviceSnapshot) -> PodPlan {
        let sources = sources_of(&self.parts, &desired.pod.key.namespace, pod);
        let first = desired.names.first();
        let address = first.and_then(|names| {
            let lease = self.memories.get(&names.row).and_then(|memory| memory.lease.as_ref());
            let leased = lease.map(|lease| lease.address.addr().to_string());
            leased.or_else(|| address_of(device, &names.veth))
        });
        let mut plan =
            plan(pod, &desired.names, &sources, &self.parts.settings, address.as_deref().unwrap_or_default());
        if is_unconfirmed(pod, &self.parts.objects.view()) {
            plan.containers.iter_mut().for_each(|container| take_as_it_is(container, device));
        }
        plan
    }

    /// Looks at what is wanted and what is there, and takes the next step.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let desired = self.desired.borrow_and_update().clone();
        let device = self.parts.device.borrow().clone();
        let pod = desired.pod.value();
        let plan = Arc::new(self.plan(&desired, &pod, &device));
        if !device.complete || !desired.settled {
            let message = device.fault.clone().unwrap_or_else(|| "the device is being read".into());
            let message =
                format!("{message}; nothing is done before it was read completely, which is tried all the time");
            for container in &plan.containers {
                let trouble = Trouble { reason: "DeviceUnreachable".into(), message: message.clone() };
                self.troubles.insert(container.row.clone(), trouble);
            }
            // What an earlier incarnation reported stays: not seeing the device says nothing about the pod.
            if pod.pointer("/status/containerStatuses").is_none() {
                self.report(&desired.pod.key, &pod["status"], &plan, &device, ctx);
            }
            return self.look_later(ctx, TICK);
        }
        self.remember(&pod["status"], &plan, &device);
        if self.unschedulable(&pod["status"], &plan, &device).is_some() {
            self.turn = None;
            self.report(&desired.pod.key, &pod["status"], &plan, &device, ctx);
            return self.look_later(ctx, QUIET);
        }
        let gate = self.gate(&plan, &device);
        let now = Instant::now();
        let mut next_moment = None;
        let mut action = None;
        let (mut gone, mut settled) = (0, true);
        let leaving: Vec<ContainerPlan> = self.leaving.values().map(|leaver| without_shared(leaver, &plan)).collect();
        // An interface goes over to its next container when the last one is gone.
        let held: BTreeSet<&String> = leaving
            .iter()
            .filter_map(|leaver| device.containers.get(&leaver.row))
            .flat_map(|row| &row.interfaces)
            .collect();
        let all: Vec<(ContainerPlan, bool)> = plan
            .containers
            .iter()
            .map(|container| (container.clone(), plan.deleting))
            .chain(leaving.iter().map(|container| (container.clone(), true)))
            .collect();
        self.give_up_pulls(&all, ctx);
        for (container, teardown) in &all {
            let memory = self.memories.entry(container.row.clone()).or_default();
            let tried = (container.hash.clone(), *teardown);
            if memory.tried != tried {
                // A new wish is tried at once, whatever became of the last one.
                memory.tried = tried;
                memory.tried_since = Some(now);
                memory.retry.reset();
                memory.remakes.reset();
            }
            let mut seen = seen(&device, container);
            let (leases, networks) = (&self.parts.leases, &self.parts.networks);
            seen.port &= *teardown || !was_changed(&device, container, &leases.borrow(), &networks.borrow());
            let step = if *teardown {
                next_teardown(container, seen, memory)
            } else if seen.row.is_none() && held.contains(&container.veth) {
                Step::Wait
            } else {
                let stopped = seen.row.is_some_and(|row| row.state == ContainerState::Stopped);
                let emptied = matches!(gate, Gate::Stop { .. }) && plan.restart == RestartPolicy::Always;
                if stopped && (memory.at_rest || emptied) {
                    memory.rest();
                }
                let step = next_step(container, plan.restart, seen, memory, now);
                let on_boot = starts_on_boot(&plan, &gate);
                or_start_on_boot(gated(step, &gate, container, seen.row), on_boot, container, seen.row)
            };
            if step != Step::Gated && self.troubles.get(&container.row).is_some_and(|one| is_of_gate(&one.reason)) {
                self.troubles.remove(&container.row);
            }
            let step = if plan.paused && !plan.deleting {
                let left = hands_off(step.clone());
                if left != step {
                    self.troubles.insert(container.row.clone(), paused());
                }
                left
            } else {
                step
            };
            settled &= matches!(step, Step::Settled | Step::Held);
            let due = match step {
                Step::Wait | Step::Settled => None,
                Step::Gated => {
                    self.troubles.extend(trouble_of(&gate).map(|trouble| (container.row.clone(), trouble)));
                    None
                }
                Step::Held => {
                    self.hold(&plan, container);
                    None
                }
                // Meanwhile the other containers of the pod go on.
                Step::EnsureTarball if self.pulls.contains_key(&container.row) => None,
                Step::WaitUntil(moment) => Some(moment),
                Step::Blocked(why) => {
                    let trouble = Trouble { reason: "CreateContainerConfigError".into(), message: why };
                    self.troubles.insert(container.row.clone(), trouble);
                    None
                }
                Step::Gone => {
                    gone += 1;
                    None
                }
                Step::ScheduleRestart => Some(now + self.schedule_restart(&plan, container, now)),
                Step::ScheduleRemake => Some(now + self.schedule_remake(&plan, container, seen, now)),
                step if memory.retry.is_over(now) => {
                    // One step at a time: the others are looked at again after it.
                    action.get_or_insert_with(|| (step, container.clone()));
                    None
                }
                _ => memory.retry.due(),
            };
            next_moment = next_moment.into_iter().chain(due).min();
        }
        self.forget_leavers(&plan, &device);
        self.stopping = match &action {
            Some((Step::Stop(_), container)) if self.turn.is_some() => Some(container.row.clone()),
            _ => None,
        };
        self.report(&desired.pod.key, &pod["status"], &plan, &device, ctx);
        if plan.deleting && gone == all.len() {
            return self.finish(&plan, ctx);
        }
        match action {
            Some((step, _)) if self.turn.is_none() && needs_turn(&step) => {
                self.queue_up(ctx);
                self.look_later(ctx, TICK);
            }
            Some((step, container)) => self.take(step, container, plan, &pod["status"], ctx),
            None => {
                self.turn = None;
                let longest = if settled && self.reported.is_none() { QUIET } else { TICK };
                let pause = next_moment.map_or(longest, |moment| moment.saturating_duration_since(now).min(longest));
                self.look_later(ctx, pause.max(Duration::from_millis(1)));
            }
        }
    }

    /// Learns what the device shows: first sights, exits, containers that left the spec.
    fn remember(&mut self, status: &Value, plan: &PodPlan, device: &DeviceSnapshot) {
        let now = Instant::now();
        let booted = device.booted_on;
        for container in &plan.containers {
            if !self.memories.contains_key(&container.row) {
                let memory = self.memory_of(container, plan, status, booted);
                self.memories.insert(container.row.clone(), Box::new(memory));
            }
            let row = device.containers.get(&container.row);
            let restarts = self.memories.get(&container.row).map_or(0, |memory| memory.restart_count);
            let run = row.and_then(|row| recorded_health(status, &container.name, &row.id, restarts, booted));
            let unhealthy = run.and_then(|recorded| self.probed(&container.name, &recorded.run)?.failed);
            let memory = self.memories.entry(container.row.clone()).or_default();
            memory.see_wish(&plan.wish);
            memory.unhealthy = unhealthy;
            match row {
                Some(row) if is_ours(row, container) => {
                    let ran_before = ran_before_boot(status, &container.name, &row.id, booted);
                    memory.see_boot(row, device.booted_at, ran_before);
                    memory.see_row(row, container, &self.parts.settings.images_base, now);
                    // What keeps a new spec from becoming true is worth telling while the old container runs.
                    if row.state == ContainerState::Running && is_of(Some(row), &container.hash) {
                        self.troubles.remove(&container.row);
                    }
                }
                Some(_) => {}
                None => memory.see_no_row(),
            }
        }
        self.find_leavers(plan, device);
    }

    fn take(
        &mut self,
        step: Step,
        container: ContainerPlan,
        plan: Arc<PodPlan>,
        status: &Value,
        ctx: &mut Context<Self>,
    ) {
        self.announce(&step, &container, &plan);
        let memory = (**self.memories.entry(container.row.clone()).or_default()).clone();
        let credentials = if step == Step::EnsureTarball { self.credentials(&plan) } else { Vec::new() };
        let job = Job {
            credentials,
            previous_address: previous_address(status, container.index),
            images_base: self.parts.settings.images_base.clone(),
            start_on_boot: starts_on_boot(&plan, &self.gate(&plan, &self.parts.device.borrow())),
            doors: self.parts.doors.clone(),
            disk: self.parts.disk.clone(),
            pod: plan.clone(),
            container: container.clone(),
            memory,
        };
        let row = self.parts.device.borrow().containers.get(&container.row).map(|row| row.id.clone());
        let before = recorded_run(status, &container.name, row.as_ref());
        let span =
            tracing::info_span!("pod", namespace = %plan.namespace, name = %plan.name, container = %container.name);
        let work = carry_out(step.clone(), job).instrument(span);
        let (row, hash) = (container.row.clone(), container.hash.clone());
        // Only this step may take minutes, and only this one leaves nothing half done when it is given up.
        let pulls = step == Step::EnsureTarball;
        let handle = ctx.spawn(work.into_actor(self).map(move |result, actor, ctx| {
            if pulls {
                actor.pulls.remove(&container.row);
            } else {
                actor.busy = false;
            }
            match result {
                Ok(learnt) => {
                    actor.tell_learnt(&learnt, &container, &plan);
                    actor.memories.entry(container.row.clone()).or_default().learn(&step, &container, learnt, before);
                    actor.troubles.remove(&container.row);
                    actor.look(ctx);
                }
                Err(failed) => actor.failed(&step, &container, &plan, failed, ctx),
            }
        }));
        if pulls {
            self.pulls.insert(row, (handle, hash));
            return self.look(ctx);
        }
        self.busy = true;
    }

    /// Gives up waiting for archives that nobody wants any more.
    fn give_up_pulls(&mut self, all: &[(ContainerPlan, bool)], ctx: &mut Context<Self>) {
        self.pulls.retain(|row, (handle, hash)| {
            let wanted = all.iter().any(|(one, teardown)| !teardown && one.row == *row && one.hash == *hash);
            if !wanted {
                ctx.cancel_future(*handle);
            }
            wanted
        });
    }

    fn failed(
        &mut self,
        step: &Step,
        container: &ContainerPlan,
        plan: &PodPlan,
        failed: Failed,
        ctx: &mut Context<Self>,
    ) {
        let memory = self.memories.entry(container.row.clone()).or_default();
        if failed.not_started {
            tracing::debug!(pod = %plan.name, namespace = %plan.namespace, step = ?step, "waits for its turn");
            memory.retry.hold(Instant::now(), short_pause(&container.row));
            return self.look(ctx);
        }
        if failed.root_dir_taken {
            memory.generation += 1;
        }
        if failed.archive_gone {
            memory.tarball = None;
        }
        if failed.lists_gone {
            memory.lists = None;
        }
        let again = memory.retry.is_in_use();
        let pause = memory.retry.pause(Instant::now());
        if matches!(step, Step::Mark) {
            // Without a mark drift cannot be seen, and nothing else is wrong.
            tracing::warn!(container = %container.row, why = %failed.trouble.message, "the container could not be marked");
        }
        let Trouble { reason, message } = failed.trouble;
        tracing::info!(pod = %plan.name, namespace = %plan.namespace, step = ?step, %message, ?pause, "a step failed");
        let (reason, message) = if *step == Step::EnsureTarball {
            let (reason, message, tellings) = pull::failed(&container.image, &reason, &message, again);
            self.tell_all(plan, tellings);
            (reason.to_owned(), message)
        } else {
            self.event(plan, true, event_reason(&reason), message.clone());
            (reason, message)
        };
        let message = format!("{message}; next try in {} s", pause.as_secs());
        self.troubles.insert(container.row.clone(), Trouble { reason, message });
        self.look(ctx);
    }

    fn finish(&mut self, plan: &PodPlan, ctx: &mut Context<Self>) {
        self.busy = true;
        let door = self.parts.doors.finish.clone();
        let order = FinishDeletion {
            context: RequestContext::new("finish", patience::WRITE),
            kind: self.parts.kind,
            key: ObjectKey::new(plan.namespace.clone(), plan.name.clone()),
            uid: plan.uid.clone(),
        };
        let (disk, scratch) = (self.parts.disk.clone(), plan.scratch.clone());
        let finishing = async move {
            // Nothing of it runs any more, and it is known by its own deletion that nobody wants them back.
            for path in scratch {
                disk.remove_scratch(&path).await.map_err(|fault| fault.to_string())?;
            }
            door.ask(order).await.map_err(|error| error.to_string())
        };
        ctx.spawn(finishing.into_actor(self).map(|result, actor, ctx| match result {
            Ok(()) => ctx.stop(),
            Err(error) => {
                actor.busy = false;
                let pause = actor.finishing.pause(Instant::now());
                tracing::info!(%error, ?pause, "a deletion could not be finished yet");
                actor.look_later(ctx, pause);
            }
        }));
    }

    /// Waits for this pod's turn, in order of arrival.
    fn queue_up(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.queued, true) {
            return;
        }
        let turns = self.parts.turns.0.clone();
        let waiting = async move { turns.acquire_owned().await };
        ctx.spawn(waiting.into_actor(self).map(|turn, actor, ctx| {
            actor.queued = false;
            // Nobody closes the semaphore; without a turn the next look queues up again.
            actor.turn = turn.ok();
            actor.look(ctx);
        }));
    }

    fn look_later(&mut self, ctx: &mut Context<Self>, pause: Duration) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(pause, |actor, ctx| {
            actor.timer = None;
            actor.look(ctx);
        }));
    }
}

impl Actor for PodActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.desired.borrow().pod.value().pointer("/status/containerStatuses").is_none() {
            ctx.run_later(FIRST_WORD, Self::first_word);
        }
        self.look(ctx);
    }
}

impl Handler<DesiredChanged> for PodActor {
    type Result = ();
    fn handle(&mut self, _event: DesiredChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<DeviceChanged> for PodActor {
    type Result = ();
    fn handle(&mut self, _event: DeviceChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
