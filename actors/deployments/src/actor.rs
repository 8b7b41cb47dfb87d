//! The actor: looks at what is published, asks the pure parts what to do, and does one thing for each Deployment at a time.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};
use mkube_messages::door::Door;
use mkube_messages::objects::{
    ObjectKey, ObjectsReader, ObjectsView, RecordEvent, ReportStatus, StoredObject, WriteObject,
};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::router::ContainerState;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::workloads::{DRAIN, is_closed_node};
use mkube_supervision::{Alarm, follow};
use tokio::time::Instant;

use crate::case::{Case, Look};
use crate::decide::decide;
use crate::deployment_sight::{DeploymentSight, RolloutState, SetSight};
use crate::index::{Index, Kinds};
use crate::live::{Liveness, Moment, Restarts, Seen, judge};
use crate::pod_sight::PodSight;
use crate::telling::Reports;

/// Longest pause between two looks; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Deployments that are written to at the same time.
const TOGETHER: usize = 32;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct DeploymentsParts {
    /// The kinds there are.
    pub kinds: KindTable,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// What is observed.
    pub report: Door<ReportStatus>,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
}

/// How far the rollout of a template had come, and when it last got on.
#[derive(Debug)]
struct Progress {
    hash: String,
    /// Old pods, pods of the template, proven ones: the best there was.
    best: (usize, usize, usize),
    at: Instant,
}

/// Everything about one Deployment at one moment.
pub(crate) struct Looked {
    pub deployment: Arc<DeploymentSight>,
    pods: Vec<Arc<PodSight>>,
    lives: Vec<Liveness>,
    sets: Vec<Arc<SetSight>>,
    cordoned: bool,
}

impl Looked {
    /// Sorted for a decision.
    pub fn case(&self, overdue: bool) -> Case<'_> {
        let looks: Vec<Look<'_>> =
            self.pods.iter().zip(&self.lives).map(|(pod, live)| Look { pod: pod.as_ref(), live }).collect();
        Case::new(&self.deployment, &looks, self.sets.iter().map(AsRef::as_ref), self.cordoned, overdue)
    }
}

/// See the room's card.
pub struct DeploymentsActor {
    pub(crate) parts: DeploymentsParts,
    pub(crate) kinds: Kinds,
    pub(crate) index: Index,
    /// Deployments to look at.
    pub(crate) pending: BTreeSet<ObjectKey>,
    /// Deployments that are being written to, and the pod it is about, if any.
    pub(crate) writing: BTreeMap<ObjectKey, Option<ObjectKey>>,
    /// Pods that are being evicted.
    pub(crate) evicting: BTreeSet<ObjectKey>,
    /// When to look at which again, whatever happens.
    wakes: BTreeMap<ObjectKey, Instant>,
    /// Deployments that are not written to before then, since the last time did not work; and how often that was.
    pub(crate) not_before: BTreeMap<ObjectKey, (Instant, u32)>,
    /// Why a pod could not be made, by Deployment.
    pub(crate) refused: BTreeMap<ObjectKey, String>,
    /// Why the rollout stopped, by Deployment, until it is told.
    pub(crate) failed: BTreeMap<ObjectKey, String>,
    /// What was seen of pods.
    seen: BTreeMap<ObjectKey, Seen>,
    progress: BTreeMap<ObjectKey, Progress>,
    /// Deployments that wait for the next reading of the device.
    waiting_for_device: BTreeSet<ObjectKey>,
    /// The node takes no new pods.
    cordoned: bool,
    /// The device answers.
    reachable: bool,
    /// What was reported and is not published yet.
    pub(crate) reports: Reports,
    /// Names that others have, as told.
    pub(crate) told_taken: BTreeSet<ObjectKey>,
    timer: Alarm,
}

impl DeploymentsActor {
    /// A new incarnation.
    ///
    /// # Panics
    /// When the table lacks one of the kinds this is about.
    pub fn new(parts: DeploymentsParts) -> Self {
        let id = |name: &str| parts.kinds.named(name).unwrap_or_else(|| panic!("{name} is a builtin kind")).id();
        let kinds = Kinds { deployments: id("Deployment"), sets: id("ReplicaSet"), pods: id("Pod"), nodes: id("Node") };
        Self {
            parts,
            kinds,
            index: Index::default(),
            pending: BTreeSet::new(),
            writing: BTreeMap::new(),
            evicting: BTreeSet::new(),
            wakes: BTreeMap::new(),
            not_before: BTreeMap::new(),
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            seen: BTreeMap::new(),
            progress: BTreeMap::new(),
            waiting_for_device: BTreeSet::new(),
            cordoned: false,
            reachable: false,
            reports: Reports::default(),
            told_taken: BTreeSet::new(),
            timer: Alarm::default(),
        }
    }

    /// Looks at every Deployment of which something may have changed, and does what is due.
    pub(crate) fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        if !self.read(&view) {
            return;
        }
        let now = Instant::now();
        let due: Vec<ObjectKey> = self.wakes.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.wakes.remove(&key);
            self.pending.insert(key);
        }
        let device = self.parts.device.borrow().clone();
        // Time in which the device is away counts for no deadline: who comes and goes is looked at then.
        if std::mem::replace(&mut self.reachable, device.reachable) != device.reachable {
            self.pending.extend(self.index.deployments().cloned());
        }
        let running = OnceCell::new();
        // Those that are being written to are looked at again when that is done.
        let ready: Vec<ObjectKey> =
            self.pending.iter().filter(|key| !self.writing.contains_key(*key)).cloned().collect();
        for key in ready {
            if self.writing.len() >= TOGETHER {
                break;
            }
            self.pending.remove(&key);
            self.consider(&key, &device, &running, now, ctx);
        }
        self.arm(ctx);
    }

    /// Reads what changed; false while nothing may be decided.
    pub(crate) fn read(&mut self, view: &ObjectsView) -> bool {
        // A pod that was not heard of while the store is away is not lost, and none could be made.
        if !view.is_complete() {
            return false;
        }
        let concerned = self.index.refresh(view, &self.kinds);
        self.pending.extend(concerned);
        let nodes = view.kind(&self.kinds.nodes);
        let cordoned = nodes.objects.values().any(|node| is_closed(node));
        if std::mem::replace(&mut self.cordoned, cordoned) != cordoned {
            self.pending.extend(self.index.deployments().cloned());
        }
        true
    }

    /// What there is to know of a Deployment now, and when that may change by itself.
    pub(crate) fn look_at(
        &mut self,
        key: &ObjectKey,
        device: &DeviceSnapshot,
        running: &OnceCell<BTreeSet<String>>,
        now: Instant,
    ) -> Option<Looked> {
        let deployment = self.index.deployment(key)?;
        let sets = self.index.sets_of(key);
        let failed = sets.iter().any(|set| set.hash == deployment.hash && set.state == RolloutState::Failed);
        let has_another = sets.iter().any(|set| deployment.may_go_back_to(set));
        let runs = |row: &str| running.get_or_init(|| running_rows(device)).contains(row);
        let answers = device.complete && device.reachable;
        let read_at = device.read_at.filter(|_| answers);
        let moment = Moment { now, wall: self.parts.clock.now(), read_at, runs: &runs };
        let pods = self.index.pods_of(key);
        let mut lives = Vec::with_capacity(pods.len());
        for pod in &pods {
            let seen = self.seen.entry(pod.key.clone()).or_insert_with(|| Seen::new(pod));
            if seen.is_of_another(pod) {
                *seen = Seen::new(pod);
            }
            let is_current = pod.belongs_to(&deployment) && pod.is_current(&deployment);
            let restarts = match (has_another, failed && is_current) {
                (false, _) => Restarts::Forgiven,
                (true, false) => Restarts::Counted,
                (true, true) => Restarts::Remembered,
            };
            let mut live = judge(pod, seen, deployment.min_ready, restarts, &moment);
            // One that is about to go does not count any more, though nobody sees it yet.
            let leaves = self.evicting.contains(&pod.key) || self.writing.get(key) == Some(&Some(pod.key.clone()));
            if leaves {
                (live.available, live.proven) = (false, false);
            }
            lives.push(live);
        }
        Some(Looked { deployment, pods, lives, sets, cordoned: self.cordoned })
    }

    fn consider(
        &mut self,
        key: &ObjectKey,
        device: &DeviceSnapshot,
        running: &OnceCell<BTreeSet<String>>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        self.waiting_for_device.remove(key);
        let Some(looked) = self.look_at(key, device, running, now) else { return self.forget(key) };
        if looked.deployment.deleting {
            return;
        }
        let overdue = self.watch_progress(key, &looked, device.reachable, now);
        let case = looked.case(overdue);
        self.report(&case, now, ctx);
        let mut wakes: Vec<Instant> = looked.lives.iter().filter_map(|live| live.wake).collect();
        wakes.extend(self.progress.get(key).map(|progress| progress.at + looked.deployment.deadline));
        wakes.extend(self.reports.again(key));
        if case.in_rollout() && looked.lives.iter().any(|live| live.wants_device) {
            self.waiting_for_device.insert(key.clone());
        }
        match self.not_before.get(key) {
            Some((at, _)) if *at > now => wakes.push(*at),
            _ => {
                if let Some(action) = decide(&case) {
                    self.carry_out(&action, &case, ctx);
                }
            }
        }
        match wakes.into_iter().filter(|at| *at > now).min() {
            Some(at) => drop(self.wakes.insert(key.clone(), at)),
            None => drop(self.wakes.remove(key)),
        }
    }

    /// Whether the rollout did not get on for too long.
    fn watch_progress(&mut self, key: &ObjectKey, looked: &Looked, reachable: bool, now: Instant) -> bool {
        let case = looked.case(false);
        let deployment = case.deployment;
        let over = !case.in_rollout() || deployment.replicas == 0 || case.state() == RolloutState::Failed;
        if over || case.cordoned || case.waits_for_paused() || !reachable {
            // Time in which nothing can happen is not held against anybody.
            self.progress.remove(key);
            return false;
        }
        let current = || case.staying().filter(|member| member.current);
        let proven = current().filter(|member| member.live.proven).count();
        let (old, new) = (case.old().count(), current().count());
        let begun = || Progress { hash: deployment.hash.clone(), best: (old, new, proven), at: now };
        let progress = self.progress.entry(key.clone()).or_insert_with(begun);
        let best = progress.best;
        if progress.hash != deployment.hash || old < best.0 || new > best.1 || proven > best.2 {
            let best = (old.min(best.0), new.max(best.1), proven.max(best.2));
            *progress = if progress.hash == deployment.hash { Progress { best, ..begun() } } else { begun() };
        }
        now >= progress.at + deployment.deadline
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.wakes.remove(key);
        self.not_before.remove(key);
        self.refused.remove(key);
        self.failed.remove(key);
        self.progress.remove(key);
        self.reports.forget(key);
        let index = &self.index;
        self.seen.retain(|pod, _| index.pod(pod).is_some());
        self.told_taken.retain(|pod| index.pod(pod).is_some());
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let next = self.wakes.values().min().copied().unwrap_or(now + LONGEST_PAUSE);
        let at = next.min(now + LONGEST_PAUSE);
        if !self.timer.at().is_some_and(|due| due <= at && due > now) {
            self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
        }
    }

    fn device_changed(&mut self, ctx: &mut Context<Self>) {
        self.pending.append(&mut self.waiting_for_device);
        self.look(ctx);
    }
}

/// Whether the node takes no new pods, or is emptied. A look at the text first: this is asked often, and true seldom.
fn is_closed(node: &StoredObject) -> bool {
    let text = node.text();
    (text.contains("\"unschedulable\":true") || text.contains(DRAIN)) && is_closed_node(&node.value())
}

/// Rows of the device that run, by `.id`.
fn running_rows(device: &DeviceSnapshot) -> BTreeSet<String> {
    let running = device.containers.values().filter(|row| row.state == ContainerState::Running);
    running.map(|row| row.id.0.trim_start_matches('*').to_owned()).collect()
}

impl Actor for DeploymentsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::look);
        follow(self.parts.device.clone(), self, ctx, Self::device_changed);
    }
}
