//! The actor: follows what is published, asks what is due, and publishes what follows from the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use imbl::ordmap::DiffItem;
use mkube_messages::door::Door;
use mkube_messages::health::{HealthPublisher, Run};
use mkube_messages::ipam::NetworksReader;
use mkube_messages::objects::{KindView, ObjectKey, ObjectsReader, RecordEvent, StoredObject};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::kinds::KindId;
use mkube_model::names;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::neighbours::prober::{Prober, Verdict};
use mkube_model::neighbours::router::ContainerState;
use mkube_model::probes::Probe;
use mkube_supervision::{Alarm, follow};
use tokio::time::Instant;

use crate::asking::{Asked, asked};
use crate::command::{Commands, Said};
use crate::course::{Course, Which};
use crate::dns_course::DnsRules;
use crate::dns_watch::DnsWatch;
use crate::sight::{PodSight, address_of, row_of};

/// Questions that are asked at the same time. Whoever hangs holds one of them for as long as its timeout.
pub(crate) const AT_ONCE: usize = 64;
/// Shortest pause between two looks.
const SOONEST: Duration = Duration::from_millis(1);
/// Longest time one answer is waited for, whatever a probe says.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// A status that speaks of the same run for so long after a boot speaks of the one of now: what it tells of times may be the same, when
/// the clock was set back.
const BELIEVED: Duration = Duration::from_secs(30);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct WatchdogParts {
    /// The kind of pods.
    pub pods: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Networks: they name their name servers.
    pub networks: NetworksReader,
    /// Who asks the containers.
    pub prober: Arc<dyn Prober>,
    /// Who runs commands in them.
    pub exec: Arc<dyn ContainerExec>,
    /// Where it is published what was found out; outlives the actor.
    pub publish: HealthPublisher,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Longest pause between two looks.
    pub interval: Duration,
    /// How name servers are watched and restarted.
    pub dns: DnsRules,
}

/// A pod that is looked after.
pub(crate) struct Pod {
    pub(crate) sight: PodSight,
    /// By container: the runs that are judged.
    pub(crate) courses: BTreeMap<String, Course>,
    /// When the next of its probes is due, as the queue knows it.
    due: Option<Instant>,
    /// Notes that were told already, by container and probe.
    pub(crate) noted: BTreeSet<(String, Which, String)>,
    /// Probes of containers that the device was asked for and never asks, and why.
    pub(crate) unasked: BTreeMap<(String, Which), String>,
}

/// See the room's card.
pub struct WatchdogActor {
    pub(crate) parts: WatchdogParts,
    pub(crate) pods: BTreeMap<ObjectKey, Pod>,
    /// Pods by when their next probe is due.
    queue: BTreeSet<(Instant, ObjectKey)>,
    /// Pods with a container that failed: they wait for the device to be read.
    pub(crate) failed: BTreeSet<ObjectKey>,
    /// The view the pods were read from.
    pub(crate) read_from: Option<Arc<KindView>>,
    /// The device as last seen.
    pub(crate) device: Arc<DeviceSnapshot>,
    /// Runs that ended with the device, and when that was seen: until a pod's status speaks of another one nobody is asked.
    ended: BTreeMap<(ObjectKey, String), (Run, Instant)>,
    /// Pods of which was told that a probe cannot be asked, by uid.
    told_unsupported: BTreeSet<String>,
    /// Questions that are being asked over the network.
    pub(crate) asking: usize,
    /// Commands of probes.
    commands: Commands,
    /// The name servers.
    pub(crate) dns: DnsWatch,
    timer: Alarm,
}

impl WatchdogActor {
    /// A new incarnation.
    pub fn new(parts: WatchdogParts) -> Self {
        Self {
            commands: Commands::new(parts.exec.clone()),
            parts,
            pods: BTreeMap::new(),
            queue: BTreeSet::new(),
            failed: BTreeSet::new(),
            read_from: None,
            device: Arc::default(),
            ended: BTreeMap::new(),
            told_unsupported: BTreeSet::new(),
            asking: 0,
            dns: DnsWatch::default(),
            timer: Alarm::after(SOONEST),
        }
    }

    /// Whether containers can be judged at all.
    pub(crate) fn sees(&self) -> bool {
        self.device.reachable && self.device.complete
    }

    pub(crate) fn look(&mut self, ctx: &mut Context<Self>) {
        let mut changed = self.look_at_device();
        changed.extend(self.look_for_name_servers());
        changed.extend(self.look_at_pods());
        changed.extend(self.believe_again());
        changed.extend(self.look_after_name_servers());
        self.publish(changed);
        self.ask_what_is_due(ctx);
        self.ask_name_servers(ctx);
        self.arm(ctx);
    }

    /// Learns what the device did; which pods that concerns.
    fn look_at_device(&mut self) -> BTreeSet<ObjectKey> {
        let now = self.parts.device.borrow().clone();
        let saw = self.sees();
        let before = std::mem::replace(&mut self.device, now);
        if before.booted_at.is_some() && before.booted_at != self.device.booted_at {
            return self.end_before(self.device.booted_at);
        }
        if self.sees() && !saw && before.complete {
            return self.forgive_all();
        }
        // A failure counts once the device was read since.
        if before.read_at != self.device.read_at { self.failed.clone() } else { BTreeSet::new() }
    }

    /// The device was rebooted: what is known of a run that was seen before is of one that ended. A run that was seen since is one
    /// of now: rows are read more often than the device's age.
    fn end_before(&mut self, boot: Option<Instant>) -> BTreeSet<ObjectKey> {
        self.failed.clear();
        let keys: BTreeSet<ObjectKey> = self.pods.keys().cloned().collect();
        for key in &keys {
            if let Some(pod) = self.pods.get_mut(key) {
                for (name, course) in std::mem::take(&mut pod.courses) {
                    if boot.is_some_and(|boot| course.begun >= boot) {
                        pod.courses.insert(name, course);
                    } else {
                        self.ended.insert((key.clone(), name), (course.run, Instant::now()));
                    }
                }
                if pod.courses.values().any(Course::is_failed) {
                    self.failed.insert(key.clone());
                }
            }
            self.enqueue(key);
        }
        keys
    }

    /// The device was away, and with it perhaps the way to its containers.
    fn forgive_all(&mut self) -> BTreeSet<ObjectKey> {
        let now = Instant::now();
        self.failed.clear();
        self.forgive_name_servers();
        let keys: BTreeSet<ObjectKey> = self.pods.keys().cloned().collect();
        for key in &keys {
            if let Some(pod) = self.pods.get_mut(key) {
                for (name, course) in &mut pod.courses {
                    course.forgive(|probe| spread(key, name, probe), now);
                }
                // It may be another device, or a newer host.
                pod.ask_again(|name, probe| spread(key, name, probe), now);
            }
            self.enqueue(key);
        }
        keys
    }

    /// Reads the pods that changed; those of which something else is to be said.
    fn look_at_pods(&mut self) -> BTreeSet<ObjectKey> {
        let view = self.parts.objects.view();
        if !view.loaded {
            return BTreeSet::new();
        }
        let kind = view.kind(&self.parts.pods);
        if self.read_from.as_ref().is_some_and(|before| Arc::ptr_eq(before, &kind)) {
            return BTreeSet::new();
        }
        let before = self.read_from.replace(kind.clone());
        let first = before.is_none();
        let mut changed = BTreeSet::new();
        if first {
            // What an earlier incarnation published of pods that are gone goes with it.
            changed.extend(self.parts.publish.borrow().pods.keys().cloned());
        }
        let before = before.unwrap_or_default();
        for change in before.objects.diff(&kind.objects) {
            let (key, object) = match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => (key, Some(object)),
                DiffItem::Remove(key, _) => (key, None),
            };
            if self.look_at_pod(key, object, first) {
                changed.insert(key.clone());
            }
        }
        changed
    }

    /// Runs of which nobody said for long enough that they are over are asked again.
    fn believe_again(&mut self) -> BTreeSet<ObjectKey> {
        let now = Instant::now();
        let is_old = |(_, seen): &(Run, Instant)| now >= *seen + BELIEVED;
        let due: BTreeSet<ObjectKey> =
            self.ended.iter().filter(|(_, ended)| is_old(ended)).map(|((pod, _), _)| pod.clone()).collect();
        self.ended.retain(|_, ended| !is_old(ended));
        for key in &due {
            let object = self.read_from.as_ref().and_then(|view| view.objects.get(key)).cloned();
            self.look_at_pod(key, object.as_ref(), false);
        }
        due
    }

    /// Whether something else is to be said of a pod. `first`: this is the first look after a start.
    pub(crate) fn look_at_pod(&mut self, key: &ObjectKey, object: Option<&Arc<StoredObject>>, first: bool) -> bool {
        let names = self.dns.is_server(key);
        let Some(sight) = object.and_then(|object| PodSight::of(object, names)) else {
            return self.forget(key);
        };
        if self.pods.get(key).is_some_and(|pod| pod.sight.uid != sight.uid) {
            self.forget(key);
        }
        self.tell_unsupported(key, &sight);
        let now = Instant::now();
        let pod = self.pods.entry(key.clone()).or_insert_with(|| Pod {
            sight: sight.clone(),
            courses: BTreeMap::new(),
            due: None,
            noted: BTreeSet::new(),
            unasked: BTreeMap::new(),
        });
        let mut courses = std::mem::take(&mut pod.courses);
        for container in sight.containers.iter().filter(|_| !sight.left_alone) {
            let Some((run, told)) = &container.run else { continue };
            let about = (key.clone(), container.name.clone());
            if self.ended.get(&about).is_some_and(|(ended, _)| ended == run) {
                continue;
            }
            self.ended.remove(&about);
            let later = |probe: &Probe| if first { spread(key, &container.name, probe) } else { Duration::ZERO };
            let same_probes =
                pod.sight.containers.iter().any(|one| one.name == container.name && one.probes == container.probes);
            if !same_probes {
                pod.unasked.retain(|(name, _), _| *name != container.name);
            }
            let mut course = match courses.remove(&container.name).filter(|course| course.run == *run) {
                Some(course) if same_probes => course,
                Some(course) => Course::new(run.clone(), &container.probes, course.so_far(), later, now),
                None => Course::new(run.clone(), &container.probes, *told, later, now),
            };
            let unasked = pod.unasked.keys().filter(|(name, _)| *name == container.name);
            unasked.for_each(|(_, which)| course.leave_out(*which));
            pod.courses.insert(container.name.clone(), course);
        }
        pod.sight = sight;
        if !pod.courses.values().any(Course::is_failed) {
            self.failed.remove(key);
        }
        self.enqueue(key);
        true
    }

    fn forget(&mut self, key: &ObjectKey) -> bool {
        self.failed.remove(key);
        self.ended.retain(|(pod, _), _| pod != key);
        let Some(pod) = self.pods.remove(key) else { return false };
        self.told_unsupported.remove(&pod.sight.uid);
        if let Some(due) = pod.due {
            self.queue.remove(&(due, key.clone()));
        }
        true
    }

    fn tell_unsupported(&mut self, key: &ObjectKey, sight: &PodSight) {
        if sight.unsupported.is_empty() || !self.told_unsupported.insert(sight.uid.clone()) {
            return;
        }
        let which = sight.unsupported.join(", ");
        let message = format!("{which}: no such thing can be asked; the probe counts as absent");
        self.event(key, &sight.uid, "ProbeUnsupported", message);
    }

    /// Puts a pod where it belongs among those that wait.
    pub(crate) fn enqueue(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get_mut(key) else { return };
        let due = pod.courses.values().filter_map(Course::next_due).min();
        if due == pod.due {
            return;
        }
        if let Some(before) = std::mem::replace(&mut pod.due, due) {
            self.queue.remove(&(before, key.clone()));
        }
        if let Some(due) = due {
            self.queue.insert((due, key.clone()));
        }
    }

    fn ask_what_is_due(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        while self.sees() && self.asking < AT_ONCE {
            let Some((_, key)) = self.queue.first().filter(|(due, _)| *due <= now).cloned() else { return };
            self.ask_one(&key, now, ctx);
            self.enqueue(&key);
        }
    }

    /// Asks one of a pod's probes that are due.
    fn ask_one(&mut self, key: &ObjectKey, now: Instant, ctx: &mut Context<Self>) {
        let Some(pod) = self.pods.get_mut(key) else { return };
        let due = pod.courses.iter_mut().find_map(|(name, course)| Some((name, course.take_due(now)?, course)));
        let Some((name, (which, probe), course)) = due else { return };
        let row = row_of(&self.device, &key.namespace, &key.name, name, &course.run);
        let running = row.filter(|row| row.state == ContainerState::Running);
        let asked = running.and_then(|row| asked(&probe.handler, address_of(&self.device, row)));
        let Some(asked) = asked else {
            // It is on its way from one state to another; its pod's status will say so.
            return course.give_up(which);
        };
        let patience = probe.timeout.min(LONGEST_PATIENCE);
        let (key, name, run) = (key.clone(), name.clone(), course.run.clone());
        match asked {
            Asked::Question(question) => {
                let prober = self.parts.prober.clone();
                self.asking += 1;
                let asking = async move { prober.ask(&question, patience).await };
                ctx.spawn(asking.into_actor(self).map(move |verdict, actor, ctx| {
                    actor.asking -= 1;
                    actor.answered(&key, &name, &run, which, verdict);
                    actor.look(ctx);
                }));
            }
            Asked::Command(command) => {
                let container =
                    ContainerRef { namespace: key.namespace.clone(), pod: key.name.clone(), container: name.clone() };
                let running = self.commands.clone().run(container, command, patience);
                ctx.spawn(running.into_actor(self).map(move |said, actor, ctx| {
                    match said {
                        Said::Answer(verdict) => actor.answered(&key, &name, &run, which, verdict),
                        Said::Unknown(why) => actor.not_known(&key, &name, &run, which, why),
                        Said::Never(why) => actor.never_asked(&key, &name, &run, which, why),
                    }
                    actor.look(ctx);
                }));
            }
        }
    }

    fn answered(&mut self, key: &ObjectKey, name: &str, run: &Run, which: Which, verdict: Verdict) {
        let now = Instant::now();
        let sees = self.sees();
        let Some(pod) = self.pods.get_mut(key) else { return };
        let uid = pod.sight.uid.clone();
        let Some(course) = pod.courses.get_mut(name).filter(|course| course.run == *run) else { return };
        let mut tellings = Vec::new();
        let mut changed = false;
        if sees {
            let judged = course.judge(which, !matches!(verdict, Verdict::Bad(_)), now);
            changed = judged.changed;
            match verdict {
                Verdict::Bad(why) if judged.tell => {
                    tellings.push(("Unhealthy", format!("{} probe failed: {why}", which.word())));
                }
                Verdict::Doubtful(note) if pod.noted.insert((name.to_owned(), which, note.clone())) => {
                    tellings.push(("ProbeWarning", format!("{} probe warning: {note}", which.word())));
                }
                _ => {}
            }
            if course.is_failed() {
                self.failed.insert(key.clone());
            }
        } else {
            course.give_up(which);
        }
        for (reason, message) in tellings {
            self.event(key, &uid, reason, message);
        }
        self.enqueue(key);
        if changed {
            self.publish([key.clone()]);
        }
    }

    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let due = self.queue.first().map(|(due, _)| *due).into_iter().chain(self.dns.next_due()).min();
        let due = due.filter(|_| self.sees() && self.asking < AT_ONCE);
        let at = due.unwrap_or(now + self.parts.interval).min(now + self.parts.interval);
        if !self.timer.at().is_some_and(|armed| armed <= at && armed > now) {
            self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
        }
    }
}

/// How much later than others a probe is first asked, of many that are seen at once: a share of its period that is always the same.
fn spread(pod: &ObjectKey, container: &str, probe: &Probe) -> Duration {
    probe.period.mul_f64(f64::from(names::fnv1a(&format!("{pod}/{container}")) % 1000) / 1000.0)
}

impl Actor for WatchdogActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.device = self.parts.device.borrow().clone();
        follow(self.parts.objects.notices(), self, ctx, Self::look);
        follow(self.parts.networks.clone(), self, ctx, Self::look);
        follow(self.parts.device.clone(), self, ctx, Self::look);
    }
}
