//! The actor: looks at what is published, asks the pure parts what to do, and does one thing for each pod at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use imbl::ordmap::DiffItem;
use mkube_messages::door::Door;
use mkube_messages::images::{EnsureTarball, ResolveImage};
use mkube_messages::objects::{KindView, ObjectKey, ObjectsReader, ObjectsView, RecordEvent, WriteObject};
use mkube_messages::rollouts::{
    ImagePushed, RedeployFault, RedeployImage, RedeployedImage, Redeploying, RolloutsPublisher,
};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::{Alarm, follow};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::annotations::Version;
use crate::checks::Check;
use crate::decide::{Case, Next};
use crate::images::ImageMemory;
use crate::owners::Owners;
use crate::pod_sight::{PodSight, may_matter};
use crate::proof::{Limits, Observed};
use crate::reference;

/// Longest pause between two looks; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How rollouts go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Pause between two questions to a registry about one image.
    pub interval: Duration,
    /// How long a pod must be ready without a restart before the next one is replaced.
    pub settle: Duration,
    /// How long a pod may take to get there.
    pub timeout: Duration,
    /// Images that are rolled out at the same time.
    pub together: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            settle: Duration::from_secs(3),
            timeout: Duration::from_secs(600),
            together: 2,
        }
    }
}

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct RolloutParts {
    /// The kind of pods.
    pub pods: KindId,
    /// The kind of secrets.
    pub secrets: KindId,
    /// The kind of Deployments.
    pub deployments: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// What a registry has.
    pub resolve: Door<ResolveImage>,
    /// To fetch an archive before a pod is touched.
    pub fetch: Door<EnsureTarball>,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Where it is published what is being done; outlives the actor.
    pub publish: RolloutsPublisher,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// How to go about it.
    pub rules: Rules,
}

/// See the room's card.
pub struct RolloutActor {
    pub(crate) parts: RolloutParts,
    /// Pods that follow their images, and those on which something is tried.
    pub(crate) pods: BTreeMap<ObjectKey, Arc<PodSight>>,
    /// The view they were read from.
    read_from: Option<Arc<KindView>>,
    /// By reference, as pods write it.
    pub(crate) images: BTreeMap<String, ImageMemory>,
    /// What was seen of trials, by pod; the digest says of which.
    pub(crate) trials: BTreeMap<ObjectKey, (String, Observed)>,
    /// What the Deployments of the pods said of themselves.
    owners: Owners,
    /// Uids of Deployments whose template is coming in.
    unsettled: BTreeSet<String>,
    /// Since when pods are on their way without a trial.
    moving: BTreeMap<ObjectKey, Instant>,
    /// Pods whose annotations are being written, each for the sake of an image.
    pub(crate) writing: BTreeMap<ObjectKey, String>,
    /// Pods that are not written to before then, since the last time did not work.
    pub(crate) not_before: BTreeMap<ObjectKey, Instant>,
    /// The timer of the next look.
    timer: Alarm,
}

impl RolloutActor {
    /// A new incarnation.
    pub fn new(parts: RolloutParts) -> Self {
        Self {
            parts,
            pods: BTreeMap::new(),
            read_from: None,
            images: BTreeMap::new(),
            trials: BTreeMap::new(),
            owners: Owners::default(),
            unsettled: BTreeSet::new(),
            moving: BTreeMap::new(),
            writing: BTreeMap::new(),
            not_before: BTreeMap::new(),
            timer: Alarm::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { settle: self.parts.rules.settle, timeout: self.parts.rules.timeout }
    }

    /// Everything was read: before that nothing is decided.
    fn is_ready(&self) -> bool {
        self.parts.objects.view().is_complete() && self.parts.device.borrow().complete
    }

    /// Looks at everything and does what is due. Called whenever something may have changed.
    pub(crate) fn look(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let view = self.parts.objects.view();
        let device = self.parts.device.borrow().clone();
        if !view.is_complete() || !device.complete {
            // Time the store is away is not held against anybody.
            self.moving.clear();
            return;
        }
        self.read_pods(&view, now);
        self.unsettled = self.owners.unsettled(&view, &self.parts.deployments, self.pods.values().map(AsRef::as_ref));
        self.not_before.retain(|_, at| *at > now);
        let mut wake = now + LONGEST_PAUSE;
        wake = wake.min(self.judge_trials(&device, now, ctx));
        wake = wake.min(self.take_steps(&device, now, ctx));
        wake = wake.min(self.check_registries(now, ctx));
        self.publish();
        self.arm(wake, ctx);
    }

    fn arm(&mut self, at: Instant, ctx: &mut Context<Self>) {
        self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
    }

    /// Reads the pods that changed, and learns which images there are.
    fn read_pods(&mut self, view: &ObjectsView, now: Instant) {
        let kind = view.kind(&self.parts.pods);
        if self.read_from.as_ref().is_some_and(|before| Arc::ptr_eq(before, &kind)) {
            return;
        }
        let before = self.read_from.replace(kind.clone()).unwrap_or_default();
        for change in before.objects.diff(&kind.objects) {
            let (key, sight) = match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => {
                    (key, may_matter(object).then(|| PodSight::of(object)))
                }
                DiffItem::Remove(key, _) => (key, None),
            };
            match sight.filter(|pod| pod.follows || pod.mark.is_some()) {
                Some(pod) => drop(self.pods.insert(key.clone(), Arc::new(pod))),
                None => drop(self.pods.remove(key)),
            }
        }
        let interval = self.parts.rules.interval;
        let followed: BTreeSet<&str> = self.pods.values().flat_map(|pod| pod.images()).collect();
        self.images.retain(|image, memory| followed.contains(image.as_str()) || memory.check.is_in_flight());
        for image in followed.into_iter().filter(|image| !self.images.contains_key(*image)).collect::<Vec<_>>() {
            let mut check = Check::new(image, interval, now);
            // A rollout that somebody began goes on at once.
            if self.pods.values().any(|pod| is_unfinished(pod, image)) {
                check.ask();
            }
            self.images.insert(image.to_owned(), ImageMemory::new(check));
        }
        let pods = &self.pods;
        self.trials.retain(|key, (digest, _)| {
            pods.get(key).and_then(|pod| pod.mark.as_ref()).is_some_and(|mark| mark.to == *digest)
        });
        self.moving.retain(|key, _| pods.contains_key(key));
    }

    /// Pods concerned by an image: those that follow it, and those on which it is tried.
    pub(crate) fn pods_of(&self, image: &str) -> Vec<Arc<PodSight>> {
        let concerned = |pod: &&Arc<PodSight>| {
            pod.of_image(image).next().is_some() || pod.mark.as_ref().is_some_and(|mark| mark.image == image)
        };
        self.pods.values().filter(concerned).cloned().collect()
    }

    /// What is to be done about an image, and which pods are old.
    pub(crate) fn consider<R>(&self, image: &str, now: Instant, look: impl FnOnce(&Case<'_>) -> R) -> R {
        let pods = self.pods_of(image);
        let pods: Vec<&PodSight> = pods.iter().map(AsRef::as_ref).collect();
        let nothing = BTreeSet::new();
        let memory = self.images.get(image);
        let timeout = self.parts.rules.timeout;
        let waited = |key: &ObjectKey| self.moving.get(key).is_some_and(|since| now >= *since + timeout);
        let given_up = pods.iter().map(|pod| pod.key.clone()).filter(waited).collect();
        look(&Case {
            image,
            desired: memory.and_then(|memory| memory.desired.as_deref()),
            pods: &pods,
            refused: memory.map_or(&nothing, |memory| &memory.refused),
            given_up: &given_up,
            unsettled: &self.unsettled,
        })
    }

    /// Does for each image what is next; when to look again.
    fn take_steps(&mut self, device: &DeviceSnapshot, now: Instant, ctx: &mut Context<Self>) -> Instant {
        let mut wake = now + LONGEST_PAUSE;
        if !device.reachable {
            // Time the device is away is not held against anybody.
            self.moving.clear();
            return wake;
        }
        let tried = self.pods.values().filter_map(|pod| Some(pod.mark.as_ref()?.image.clone()));
        let names: BTreeSet<String> = self.images.keys().cloned().chain(tried).collect();
        let next: Vec<(String, Next)> = names
            .into_iter()
            .map(|image| {
                let next = self.consider(&image, now, |case| case.next());
                (image, next)
            })
            .collect();
        let mut busy: BTreeSet<String> = self.writing.values().cloned().collect();
        for (image, next) in &next {
            if let Next::Await(key) = next {
                busy.insert(image.clone());
                if self.pods.get(key).is_some_and(|pod| pod.mark.is_none()) {
                    let since = *self.moving.entry(key.clone()).or_insert(now);
                    wake = wake.min(since + self.parts.rules.timeout);
                }
            }
        }
        let pods = &self.pods;
        let is_moving = |pod: &Arc<PodSight>| pod.containers.iter().any(|one| pod.is_moving(&one.image));
        self.moving.retain(|key, _| pods.get(key).is_some_and(is_moving));
        for (image, next) in next {
            let Next::Replace(key) = next else { continue };
            if busy.contains(&image) || self.writing.contains_key(&key) {
                continue;
            }
            if let Some(at) = self.not_before.get(&key) {
                wake = wake.min(*at);
                continue;
            }
            if busy.len() >= self.parts.rules.together {
                continue;
            }
            match self.replace(&image, &key, now, ctx) {
                Some(at) => wake = wake.min(at),
                None => drop(busy.insert(image)),
            }
        }
        wake
    }

    /// What a redeployment of `image` to `digest` comes to, now that the order is stored.
    fn redeployed(&self, image: &str, digest: &str) -> RedeployedImage {
        let keys = |pods: Vec<&PodSight>| pods.into_iter().map(|pod| pod.key.clone()).collect::<Vec<_>>();
        let queued = self.consider(image, Instant::now(), |case| keys(case.to_replace()));
        let current = self.pods_of(image);
        let current =
            current.iter().map(AsRef::as_ref).filter(|pod: &&PodSight| pod.follows && pod.runs(image, digest));
        RedeployedImage {
            image: image.to_owned(),
            digest: digest.to_owned(),
            current: keys(current.filter(|pod| !queued.contains(&pod.key)).collect()),
            queued,
        }
    }

    fn trial_of(&self, image: &str, digest: &str) -> Option<ObjectKey> {
        let tried =
            |pod: &&Arc<PodSight>| pod.mark.as_ref().is_some_and(|mark| mark.image == image && mark.to == digest);
        self.pods.values().find(tried).map(|pod| pod.key.clone())
    }
}

/// Somebody began to roll this image out and did not end.
fn is_unfinished(pod: &PodSight, image: &str) -> bool {
    pod.mark.as_ref().is_some_and(|mark| mark.image == image) || pod.wanted.iter().any(|one| one.image == image)
}

impl Actor for RolloutActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::look);
        follow(self.parts.device.clone(), self, ctx, Self::look);
    }
}

impl Handler<ImagePushed> for RolloutActor {
    type Result = ();
    fn handle(&mut self, push: ImagePushed, ctx: &mut Self::Context) {
        // Pods that came since the last look count.
        self.look(ctx);
        for (image, memory) in &mut self.images {
            if reference::is_pushed(image, &push.repository, &push.tag) {
                tracing::info!(image, digest = push.digest, registry = push.registry, "the image was pushed");
                memory.pushed = true;
                memory.check.ask();
            }
        }
        self.look(ctx);
    }
}

impl Handler<RedeployImage> for RolloutActor {
    type Result = ResponseActFuture<Self, Result<Redeploying, RedeployFault>>;
    fn handle(&mut self, order: RedeployImage, ctx: &mut Self::Context) -> Self::Result {
        if !self.is_ready() {
            return Box::pin(async { Err(RedeployFault::NotYet) }.into_actor(self));
        }
        self.look(ctx);
        let mut answers = Vec::new();
        for (image, memory) in &mut self.images {
            if reference::is_meant(image, &order.image) {
                let (waiter, answer) = oneshot::channel();
                memory.waiters.push(waiter);
                memory.check.ask();
                answers.push((image.clone(), answer));
            }
        }
        if answers.is_empty() {
            let fault = RedeployFault::NoPods { image: order.image };
            return Box::pin(async { Err(fault) }.into_actor(self));
        }
        self.look(ctx);
        let asking = async move {
            let mut versions = Vec::new();
            for (image, answer) in answers {
                match answer.await {
                    Ok(Ok(digest)) => versions.push(Version::new(image, digest)),
                    Ok(Err(fault)) => return Err(RedeployFault::Image(fault)),
                    // Its last pod is gone meanwhile.
                    Err(_) => {}
                }
            }
            if versions.is_empty() { Err(RedeployFault::NoPods { image: order.image }) } else { Ok(versions) }
        };
        let context = order.context.clone();
        let ordering = context.answered_by("rollouts", asking).into_actor(self).then(move |versions, actor, _ctx| {
            let versions = versions.and_then(|versions| actor.not_under_way(versions));
            for version in versions.iter().flatten() {
                if let Some(memory) = actor.images.get_mut(&version.image) {
                    memory.forgive(&version.digest);
                }
            }
            let orders = versions.as_ref().map(|versions| actor.orders(versions, true)).unwrap_or_default();
            let storing = async move {
                let versions = versions?;
                for order in orders {
                    order.await.map_err(RedeployFault::NotStored)?;
                }
                Ok(versions)
            };
            storing.into_actor(actor)
        });
        Box::pin(ordering.map(|stored: Result<Vec<Version>, RedeployFault>, actor, ctx| {
            let versions = stored?;
            actor.look(ctx);
            let images = versions.iter().map(|one| actor.redeployed(&one.image, &one.digest)).collect();
            Ok(Redeploying { images })
        }))
    }
}

impl RolloutActor {
    /// Those of the versions that are not being rolled out at this moment.
    fn not_under_way(&self, versions: Vec<Version>) -> Result<Vec<Version>, RedeployFault> {
        let (busy, free): (Vec<_>, Vec<_>) = versions
            .into_iter()
            .map(|version| (self.trial_of(&version.image, &version.digest), version))
            .partition(|(trial, _)| trial.is_some());
        match busy.into_iter().next() {
            Some((Some(pod), Version { image, digest })) if free.is_empty() => {
                Err(RedeployFault::UnderWay { image, digest, pod })
            }
            _ => Ok(free.into_iter().map(|(_, version)| version).collect()),
        }
    }
}
