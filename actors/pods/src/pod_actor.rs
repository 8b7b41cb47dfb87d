//! One pod. Looks, takes one step, looks again; when there is nothing to do it waits to be told or for its next moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use mkube_messages::door::Door;
use mkube_messages::images::EnsureTarball;
use mkube_messages::ipam::{LeaseAddress, ReleaseAddress};
use mkube_messages::objects::{FinishDeletion, ObjectKey, ObjectsReader, RecordEvent, ReportStatus, StoredObject};
use mkube_messages::patience;
use mkube_messages::pods::{DesiredChanged, DeviceChanged};
use mkube_messages::request::RequestContext;
use mkube_messages::router::{
    DescribeContainerLog, DeviceReader, DeviceSnapshot, EnsureContainer, EnsureEnvs, EnsureMounts, EnsureVeth,
    MarkContainer, RemoveContainer, RemoveVeth, StartContainer, StopContainer,
};
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::names;
use mkube_model::neighbours::router::ContainerState;
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::wall_clock::WallClock;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::carry_out::{Failed, Job, Learnt, carry_out};
use crate::env_vars::ConfigMaps;
use crate::next_step::{Exit, Memory, Seen, Started, Step, next_step, next_teardown};
use crate::plan::{ContainerNames, ContainerPlan, PlanSettings, PodPlan, RestartPolicy, is_ours, owner_in_mark, plan};
use crate::sight::{address_of, event_reason, generation, leaver, previous_address, seen, short_pause, without_shared};
use crate::status::{ContainerFacts, Facts, Recorded, Trouble, only_begun, recorded_restarts, recorded_run, status};

/// Longest time between two looks while something is expected.
const TICK: Duration = Duration::from_secs(10);
/// Longest time between two looks when nothing is: whatever happens to the pod is told at once.
const QUIET: Duration = Duration::from_secs(60);
/// Pods that work on the device at the same time: enough to keep its few connections busy.
const PODS_AT_WORK: usize = 16;
/// That a new pod is being made is reported after this long; most run by then, and that is their first report.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// A container that ran this long has its restarts forgiven.
const STABLE: Duration = Duration::from_secs(600);

/// The doors a pod knocks at.
#[derive(Clone)]
#[allow(missing_docs, reason = "each door is named by its message")]
pub struct PodDoors {
    pub lease: Door<LeaseAddress>,
    pub release: Door<ReleaseAddress>,
    pub tarball: Door<EnsureTarball>,
    pub ensure_veth: Door<EnsureVeth>,
    pub remove_veth: Door<RemoveVeth>,
    pub mounts: Door<EnsureMounts>,
    pub envs: Door<EnsureEnvs>,
    pub container: Door<EnsureContainer>,
    pub start: Door<StartContainer>,
    pub stop: Door<StopContainer>,
    pub remove: Door<RemoveContainer>,
    pub mark: Door<MarkContainer>,
    pub log: Door<DescribeContainerLog>,
    pub report: Door<ReportStatus>,
    pub finish: Door<FinishDeletion>,
    pub event: Door<RecordEvent>,
}

/// How many pods may work on the device at the same time. The others wait in line, instead of asking again and again: after
/// a restart a thousand pods have something to do at once.
#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PODS_AT_WORK)))
    }
}

/// Waiting for an archive takes no part of the device.
fn needs_turn(step: &Step) -> bool {
    *step != Step::EnsureTarball
}

/// What all pod actors need from outside.
#[derive(Clone)]
pub struct PodParts {
    /// Neighbouring actors.
    pub doors: PodDoors,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Files for volumes.
    pub disk: Arc<dyn SharedDisk>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Whose turn it is.
    pub turns: Turns,
    /// Settings that shape every pod.
    pub settings: Arc<PlanSettings>,
    /// The kind of pods.
    pub kind: KindId,
    /// The kind of ConfigMaps.
    pub config_maps: KindId,
}

/// What a pod should be: published by PodsActor, read by its pod actor at every look.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The pod as stored.
    pub pod: Arc<StoredObject>,
    /// Device names, one for each container.
    pub names: Vec<ContainerNames>,
    /// The names were compared with the device; before that nothing is done to it under them.
    pub settled: bool,
}

/// See the room's card.
pub struct PodActor {
    parts: PodParts,
    desired: watch::Receiver<Desired>,
    /// What is remembered of each container, by the name of its row.
    memories: HashMap<String, Memory>,
    /// Containers that left the spec and are not gone yet, by the name of their row.
    leaving: HashMap<String, ContainerPlan>,
    /// What keeps a container from running, by the name of its row.
    troubles: HashMap<String, Trouble>,
    /// Pace of tries to finish a deletion.
    finishing: Backoff,
    /// A step is being carried out.
    busy: bool,
    /// The step, while it may be given up for a newer wish, and the generation it was begun for.
    waiting: Option<(SpawnHandle, u64)>,
    /// The next look that is not asked for.
    timer: Option<SpawnHandle>,
    /// When this incarnation began.
    born: Instant,
    /// The status last reported, and when, until the published pod shows it.
    reported: Option<(Value, Instant)>,
    /// It is this pod's turn.
    turn: Option<OwnedSemaphorePermit>,
    /// It waits for its turn.
    queued: bool,
}

impl PodActor {
    /// A new incarnation.
    pub fn new(parts: PodParts, desired: watch::Receiver<Desired>) -> Self {
        Self {
            parts,
            desired,
            memories: HashMap::new(),
            leaving: HashMap::new(),
            troubles: HashMap::new(),
            finishing: Backoff::of_retries(),
            busy: false,
            waiting: None,
            timer: None,
            born: Instant::now(),
            reported: None,
            turn: None,
            queued: false,
        }
    }

    fn config_maps(&self, namespace: &str) -> ConfigMaps {
        let view = self.parts.objects.view();
        let all = view.kind(&self.parts.config_maps);
        let from = ObjectKey::new(namespace, "");
        all.objects
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(key, object)| (key.name.clone(), object.value()))
            .collect()
    }

    fn plan(&self, desired: &Desired, pod: &Value, device: &DeviceSnapshot) -> PodPlan {
        let maps = self.config_maps(metadata::namespace(pod));
        let first = desired.names.first();
        let address = first.and_then(|names| {
            let lease = self.memories.get(&names.row).and_then(|memory| memory.lease.as_ref());
            let leased = lease.map(|lease| lease.address.addr().to_string());
            leased.or_else(|| address_of(device, &names.veth))
        });
        plan(pod, &desired.names, &maps, &self.parts.settings, address.as_deref().unwrap_or_default())
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
        let now = Instant::now();
        let mut next_moment = None;
        let mut action = None;
        let (mut gone, mut settled) = (0, true);
        let leaving: Vec<ContainerPlan> = self.leaving.values().map(|leaver| without_shared(leaver, &plan)).collect();
        // An interface goes over to its next container when the last one is gone.
        let held: HashSet<&String> = leaving
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
        for (container, teardown) in &all {
            let memory = self.memories.entry(container.row.clone()).or_default();
            let tried = (container.hash.clone(), *teardown);
            if memory.tried != tried {
                // A new wish is tried at once, whatever became of the last one.
                memory.tried = tried;
                memory.retry.reset();
                memory.remakes.reset();
            }
            let seen = seen(&device, container);
            let step = if *teardown {
                next_teardown(container, seen, memory)
            } else if seen.row.is_none() && held.contains(&container.veth) {
                Step::Wait
            } else {
                next_step(container, plan.restart, seen, memory, now)
            };
            settled &= step == Step::Settled;
            let due = match step {
                Step::Wait | Step::Settled => None,
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

    /// Starts the pause before a restart, and says so; how long it is.
    fn schedule_restart(&mut self, plan: &PodPlan, container: &ContainerPlan, now: Instant) -> Duration {
        let memory = self.memories.entry(container.row.clone()).or_default();
        let pause = memory.restarts.pause_after_the_first(now);
        memory.restart_scheduled = true;
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            mkube_model::kinds::human_duration(pause.as_secs() as i64),
            container.name,
            plan.name,
            plan.namespace,
            plan.uid
        );
        if !pause.is_zero() {
            self.event(plan, true, "BackOff", message.clone());
        }
        self.troubles.insert(container.row.clone(), Trouble { reason: "CrashLoopBackOff".into(), message });
        pause
    }

    /// Starts the pause before a row is made anew, and says why; how long it is.
    fn schedule_remake(&mut self, plan: &PodPlan, container: &ContainerPlan, seen: Seen<'_>, now: Instant) -> Duration {
        let memory = self.memories.entry(container.row.clone()).or_default();
        let pause = memory.remakes.pause(now);
        memory.remake_scheduled = true;
        let why = seen.row.map(|row| row.about.as_str()).filter(|about| !about.is_empty());
        let why = why.unwrap_or("the device dropped the container while it was unpacking the image");
        let message = format!("image {:?} cannot be unpacked: {why}", container.image);
        self.event(plan, true, "Failed", message.clone());
        let message = format!("{message}; next try in {} s", pause.as_secs());
        self.troubles.insert(container.row.clone(), Trouble { reason: "ErrImageUnpack".into(), message });
        pause
    }

    /// Containers that left the spec and are gone now.
    fn forget_leavers(&mut self, plan: &PodPlan, device: &DeviceSnapshot) {
        let Self { leaving, memories, troubles, .. } = self;
        leaving.retain(|row, container| {
            let memory = memories.get(row);
            let container = without_shared(container, plan);
            let seen = seen(device, &container);
            let left = memory.is_none_or(|memory| next_teardown(&container, seen, memory) != Step::Gone);
            if !left {
                troubles.remove(row);
                memories.remove(row);
            }
            left
        });
    }

    /// Learns what the device shows: first sights, exits, containers that left the spec.
    fn remember(&mut self, status: &Value, plan: &PodPlan, device: &DeviceSnapshot) {
        let now = Instant::now();
        for container in &plan.containers {
            let memory = self.memories.entry(container.row.clone()).or_insert_with(|| Memory {
                restart_count: recorded_restarts(status, &container.name),
                ..Memory::default()
            });
            let base = &self.parts.settings.images_base;
            match device.containers.get(&container.row) {
                Some(row) if is_ours(row, container) => {
                    memory.had_row = true;
                    memory.has_mounts |= row.mount_lists.contains(&container.row);
                    memory.has_envs |= row.env_lists.contains(&container.row);
                    if let Some(generation) = names::root_dir_generation(base, &container.row, &row.root_dir) {
                        memory.generation = memory.generation.max(generation);
                    }
                    if matches!(row.state, ContainerState::Running | ContainerState::Stopped) {
                        memory.unpacking = false;
                    }
                    if row.state == ContainerState::Running {
                        memory.remakes.reset();
                        memory.started = Started::Yes;
                        memory.exit = None;
                        memory.restart_scheduled = false;
                        let since = *memory.running_since.get_or_insert(now);
                        if now.duration_since(since) >= STABLE {
                            memory.restarts.reset();
                        }
                        self.troubles.remove(&container.row);
                    } else {
                        memory.running_since = None;
                    }
                }
                Some(_) => {}
                None => {
                    if std::mem::take(&mut memory.had_row) && !std::mem::take(&mut memory.removing) {
                        // Gone behind our back. Its directory may be there still.
                        memory.generation += 1;
                        memory.tarball = None;
                    }
                    memory.started = Started::No;
                    memory.exit = None;
                    memory.restart_scheduled = false;
                    memory.running_since = None;
                }
            }
        }
        self.find_leavers(plan, device);
    }

    /// Rows of this pod whose container is not in the spec any more.
    fn find_leavers(&mut self, plan: &PodPlan, device: &DeviceSnapshot) {
        let wanted = |row: &str| plan.containers.iter().any(|container| container.row == row);
        let owner = format!("{}/{}", plan.namespace, plan.name);
        for row in device.containers.values() {
            // The mark decides: names of different pods can begin alike.
            let ours = owner_in_mark(&row.comment) == Some(&owner);
            if ours && !wanted(&row.name) && !self.leaving.contains_key(&row.name) {
                self.leaving.insert(row.name.clone(), leaver(row, &owner));
            }
        }
        self.leaving.retain(|row, _| !wanted(row));
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
        let memory = self.memories.entry(container.row.clone()).or_default().clone();
        let job = Job {
            previous_address: previous_address(status, container.index),
            images_base: self.parts.settings.images_base.clone(),
            doors: self.parts.doors.clone(),
            disk: self.parts.disk.clone(),
            pod: plan.clone(),
            container: container.clone(),
            memory,
        };
        self.busy = true;
        let row = self.parts.device.borrow().containers.get(&container.row).map(|row| row.id.clone());
        let before = recorded_run(status, &container.name, row.as_ref());
        let begun = self.desired.borrow().pod.clone();
        // Only this step may take minutes, and only this one leaves nothing half done when it is given up.
        let may_wait = step == Step::EnsureTarball;
        let work = carry_out(step.clone(), job);
        let handle = ctx.spawn(work.into_actor(self).map(move |result, actor, ctx| {
            actor.busy = false;
            actor.waiting = None;
            match result {
                Ok(learnt) => {
                    actor.learn(&step, &container, learnt, before);
                    actor.look(ctx);
                }
                Err(failed) => actor.failed(&step, &container, &plan, failed, ctx),
            }
        }));
        self.waiting = may_wait.then(|| (handle, generation(&begun.value())));
    }

    /// Gives up a step that waits for something nobody wants any more.
    fn give_up_waiting(&mut self, ctx: &mut Context<Self>) {
        if self.waiting.is_none() {
            return;
        }
        let pod = self.desired.borrow().pod.clone();
        let outdated = |(_, begun): &mut (SpawnHandle, u64)| pod.is_deleting() || *begun != generation(&pod.value());
        if let Some((handle, _)) = self.waiting.take_if(outdated) {
            ctx.cancel_future(handle);
            self.busy = false;
        }
    }

    /// `before`: what the stored status said of the row when the step began.
    fn learn(&mut self, step: &Step, container: &ContainerPlan, learnt: Learnt, before: Recorded) {
        let memory = self.memories.entry(container.row.clone()).or_default();
        memory.retry.reset();
        match (step, learnt) {
            (_, Learnt::Lease(lease)) => {
                if memory.lease.as_ref() != Some(&lease) {
                    // Variables may hold the address.
                    memory.lists = None;
                }
                memory.lease = Some(lease);
                memory.wish = (container.network.clone(), container.wanted);
            }
            (_, Learnt::Tarball(tarball)) => memory.tarball = Some(tarball),
            (_, Learnt::Volumes(paths)) => memory.volumes = Some((container.hash.clone(), paths)),
            (_, Learnt::RowMade(generation)) => {
                memory.generation = generation;
                memory.started = Started::No;
                memory.exit = None;
                memory.unpacking = true;
                memory.remake_scheduled = false;
            }
            (_, Learnt::Exit(exit)) => {
                // The device's log is short and does not survive a reboot; what was seen once stands in the status.
                let exit = exit.or(before.exit.filter(|_| memory.started != Started::Yes));
                let ran = exit.is_some() || before.started || memory.started == Started::Yes;
                memory.started = if ran { Started::Yes } else { Started::No };
                memory.exit =
                    exit.or_else(|| ran.then(|| Exit { code: None, message: "the exit code is not known".into() }));
            }
            (Step::EnsureLists, _) => {
                memory.lists = Some(container.hash.clone());
                memory.has_mounts = !container.mounts.is_empty();
                memory.has_envs = !container.envs.is_empty();
            }
            (Step::Start, _) => {
                if memory.exit.take().is_some() {
                    memory.restart_count += 1;
                }
                memory.started = Started::Yes;
                memory.restart_scheduled = false;
            }
            (Step::Remove(_), _) => {
                // The next row is another generation: nothing of this one may be taken for it.
                memory.generation += 1;
                memory.removing = true;
                memory.unpacking = false;
                memory.tarball = None;
                memory.lists = None;
                memory.exit = None;
                memory.started = Started::No;
            }
            (Step::ClearLists, _) => memory.lists_cleared = true,
            (Step::ReleaseAddress, _) => memory.released = true,
            _ => {}
        }
        self.troubles.remove(&container.row);
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
        let pause = memory.retry.pause(Instant::now());
        if matches!(step, Step::Mark) {
            // Without a mark drift cannot be seen, and nothing else is wrong.
            tracing::warn!(container = %container.row, why = %failed.trouble.message, "the container could not be marked");
        }
        let Trouble { reason, message } = failed.trouble;
        tracing::info!(pod = %plan.name, namespace = %plan.namespace, step = ?step, %message, ?pause, "a step failed");
        self.event(plan, true, event_reason(&reason), message.clone());
        let message = format!("{message}; next try in {} s", pause.as_secs());
        self.troubles.insert(container.row.clone(), Trouble { reason, message });
        self.look(ctx);
    }

    /// Tells what is about to happen, once for each thing worth telling.
    fn announce(&self, step: &Step, container: &ContainerPlan, plan: &PodPlan) {
        match step {
            Step::EnsureTarball => {
                self.event(plan, false, "Pulling", format!("Looking for the archive of image {:?}", container.image));
            }
            Step::EnsureContainer => {
                self.event(plan, false, "Created", format!("Creating container {}", container.name))
            }
            Step::Start => self.event(plan, false, "Started", format!("Starting container {}", container.name)),
            Step::Stop(why) => {
                self.event(plan, false, "Killing", format!("Stopping container {} ({})", container.name, why.words()));
            }
            _ => {}
        }
    }

    fn event(&self, plan: &PodPlan, warning: bool, reason: &'static str, message: String) {
        let told = self.parts.doors.event.tell(RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: ObjectKey::new(plan.namespace.clone(), plan.name.clone()),
            uid: plan.uid.clone(),
            warning,
            reason,
            message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }

    /// Tells the status when it is not what is stored, or what was told a moment ago.
    fn report(
        &mut self,
        key: &ObjectKey,
        stored: &Value,
        plan: &PodPlan,
        device: &DeviceSnapshot,
        ctx: &mut Context<Self>,
    ) {
        if self.reported.as_ref().is_some_and(|(told, _)| told == stored) {
            self.reported = None;
        }
        let containers: Vec<ContainerFacts> =
            plan.containers.iter().map(|container| self.facts(container, plan, device)).collect();
        let new = status(&Facts {
            containers: &containers,
            restart: plan.restart,
            deleting: plan.deleting,
            host_ip: &self.parts.settings.host_ip,
            // Between a report and the view that shows it, what was reported is the truth to continue from.
            previous: self.reported.as_ref().map_or(stored, |(told, _)| told),
            now: self.parts.clock.now(),
        });
        let known = match &self.reported {
            // Whoever took the report may have died with it.
            Some((told, at)) => *told == new && at.elapsed() < TICK,
            None => *stored == new,
        };
        if known {
            return;
        }
        if only_begun(stored, &new) && self.born.elapsed() < FIRST_WORD {
            return;
        }
        self.reported = Some((new.clone(), Instant::now()));
        let door = self.parts.doors.report.clone();
        let report = ReportStatus {
            context: RequestContext::new("report", patience::WRITE),
            kind: self.parts.kind,
            key: key.clone(),
            uid: plan.uid.clone(),
            status: new,
        };
        let reporting = async move { door.ask(report).await };
        ctx.spawn(reporting.into_actor(self).map(|result, actor, _ctx| {
            if let Err(error) = result {
                tracing::debug!(%error, "a status was not taken, it is reported again");
                actor.reported = None;
            }
        }));
    }

    /// Reports what is known of a pod that takes long to be made, also in the middle of a step.
    fn first_word(&mut self, ctx: &mut Context<Self>) {
        let desired = self.desired.borrow().clone();
        let device = self.parts.device.borrow().clone();
        let pod = desired.pod.value();
        let plan = self.plan(&desired, &pod, &device);
        if device.complete && !plan.deleting {
            self.report(&desired.pod.key, &pod["status"], &plan, &device, ctx);
        }
    }

    fn facts(&self, container: &ContainerPlan, plan: &PodPlan, device: &DeviceSnapshot) -> ContainerFacts {
        let fresh = Memory::default();
        let memory = self.memories.get(&container.row).unwrap_or(&fresh);
        let row = device.containers.get(&container.row);
        let again = match (&memory.exit, plan.restart) {
            (None, _) | (_, RestartPolicy::Never) => false,
            (Some(_), RestartPolicy::Always) => true,
            (Some(exit), RestartPolicy::OnFailure) => !exit.succeeded(),
        };
        let leased = memory.lease.as_ref().map(|lease| lease.address.addr().to_string());
        ContainerFacts {
            name: container.name.clone(),
            image: container.image.clone(),
            image_id: memory.tarball.as_ref().and_then(|tarball| tarball.digest.clone()).unwrap_or_default(),
            row_id: row.map(|row| row.id.to_string()),
            state: row.map(|row| row.state),
            started: memory.started,
            exit: memory.exit.clone(),
            trouble: self.troubles.get(&container.row).cloned(),
            will_restart: again,
            restarts: memory.restart_count,
            address: leased.or_else(|| address_of(device, &container.veth)),
        }
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
        let finishing = async move { door.ask(order).await };
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
        self.give_up_waiting(ctx);
        self.look(ctx);
    }
}

impl Handler<DeviceChanged> for PodActor {
    type Result = ();
    fn handle(&mut self, _event: DeviceChanged, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
