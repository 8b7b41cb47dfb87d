//! What the actor does: asks registries, fetches archives, writes annotations; and folds in how that ended.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::CallError;
use mkube_messages::images::{EnsureTarball, ResolveImage};
use mkube_messages::objects::{ObjectKey, PatchType, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::router::ContainerState;
use mkube_model::neighbours::tarballs::{ImageRequest, PullPolicy, RegistryCredential, TarballFault};
use mkube_model::pull_secrets;
use serde_json::Value;
use tokio::time::Instant;

use crate::actor::{RolloutActor, RolloutParts};
use crate::annotations::Version;
use crate::images::{Fetch, Waiter, is_final};
use crate::patches::{self, Outcome};
use crate::pod_sight::PodSight;
use crate::proof::{Device, Observed, Verdict, judge};

/// Questions to registries in flight at the same time.
const QUESTIONS: usize = 4;
/// Pause before a pod is written to again after that did not work.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before a pod that changed meanwhile is written to again: none would turn a lasting refusal into a busy loop.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// Pause before an archive is fetched again: the first one; doubles.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// Doublings of it.
const DOUBLINGS: u32 = 5;
/// How often an order is written again when the pod changed meanwhile.
const TRIES: usize = 8;

impl RolloutActor {
    /// Judges every trial, and writes down those that ended; when to look again.
    pub(crate) fn judge_trials(&mut self, device: &DeviceSnapshot, now: Instant, ctx: &mut Context<Self>) -> Instant {
        let mut wake = now + self.parts.rules.timeout;
        let limits = self.limits();
        let runs = |row: &str| {
            device
                .containers
                .values()
                .any(|one| one.id.0.trim_start_matches('*') == row && one.state == ContainerState::Running)
        };
        let answers = device.complete && device.reachable;
        let device = Device { answers, read_at: device.read_at, runs: &runs };
        let tried: Vec<Arc<PodSight>> = self.pods.values().filter(|pod| pod.mark.is_some()).cloned().collect();
        for pod in tried {
            let Some(mark) = pod.mark.clone() else { continue };
            // One that is going takes its marks along.
            if pod.deleting || self.writing.contains_key(&pod.key) {
                continue;
            }
            if let Some(at) = self.not_before.get(&pod.key) {
                wake = wake.min(*at);
                continue;
            }
            let begun = || (mark.to.clone(), Observed::new(now, limits));
            let (_, seen) = self.trials.entry(pod.key.clone()).or_insert_with(begun);
            match judge(&pod, &mark, &device, seen, now, limits) {
                Verdict::Open(at) => wake = wake.min(at),
                Verdict::Proven => {
                    let body = patches::finish(&pod, &mark);
                    let image = mark.image.clone();
                    self.write(&pod, image, body, ctx, move |actor, pod| {
                        if let Some(memory) = actor.images.get_mut(&mark.image) {
                            memory.refused.clear();
                            // What was decided before a restart goes on without another question.
                            if memory.desired.is_none() {
                                memory.wants(&mark.to);
                            }
                        }
                        let text = format!("image {} was updated to {}", mark.image, mark.to);
                        actor.event(pod, false, "ImageUpdated", text);
                    });
                }
                Verdict::Failed(why) => {
                    let body = patches::fail(&pod, &mark);
                    let outcome = patches::outcome(&pod, &mark);
                    let image = mark.image.clone();
                    self.write(&pod, image, body, ctx, move |actor, pod| {
                        let what = match outcome {
                            Outcome::PutBack => "the digest that ran before is put back, and the rollout stops",
                            Outcome::Stays => "it stays, and the rollout stops",
                            Outcome::SaysNothing => "it stays: the pod failed before too",
                        };
                        if outcome != Outcome::SaysNothing {
                            actor.remember_refused(&mark.image, &mark.to);
                        }
                        let text = format!("image {} does not work as {}: {why}; {what}", mark.image, mark.to);
                        actor.event(pod, true, "RolloutFailed", text);
                    });
                }
                Verdict::Void => {
                    let body = patches::abandon(&pod);
                    self.write(&pod, mark.image, body, ctx, |_, _| {});
                }
            }
        }
        wake
    }

    fn remember_refused(&mut self, image: &str, digest: &str) {
        if let Some(memory) = self.images.get_mut(image) {
            memory.refused.insert(digest.to_owned());
        }
    }

    /// Replaces a pod, or fetches the archive first. When to look again, or `None` when the pod's turn has begun.
    pub(crate) fn replace(
        &mut self,
        image: &str,
        key: &ObjectKey,
        now: Instant,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        let later = Some(now + self.parts.rules.interval);
        let (Some(pod), Some(memory)) = (self.pods.get(key).cloned(), self.images.get(image)) else { return later };
        let Some(desired) = memory.desired.clone() else { return later };
        match &memory.fetch {
            Fetch::Done(digest) if *digest == desired => {
                let body = patches::begin(&pod, image, &desired);
                tracing::info!(pod = %key, image, to = desired, "the pod gets another image");
                self.write(&pod, image.to_owned(), body, ctx, |_, _| {});
                None
            }
            // Its end wakes us.
            Fetch::Busy(_) => later,
            Fetch::Failed(digest, at) if *digest == desired && *at > now => Some(*at),
            _ => {
                self.fetch(image, desired, ctx);
                later
            }
        }
    }

    fn request(&self, image: &str, digest: Option<String>) -> ImageRequest {
        ImageRequest {
            image: image.to_owned(),
            digest,
            policy: PullPolicy::Always,
            credentials: self.credentials(image),
        }
    }

    /// Credentials of the pods that use an image.
    fn credentials(&self, image: &str) -> Vec<RegistryCredential> {
        let view = self.parts.objects.view();
        let mut found: Vec<RegistryCredential> = Vec::new();
        for pod in self.pods_of(image) {
            for name in &pod.pull_secrets {
                let key = ObjectKey::new(pod.key.namespace.clone(), name.clone());
                let secret = view.get(&self.parts.secrets, &key);
                // A secret that is missing or makes no sense is the pod's trouble, and it says so.
                let credentials = secret.and_then(|secret| pull_secrets::credentials(&secret.value()).ok());
                for one in credentials.unwrap_or_default() {
                    if !found.contains(&one) {
                        found.push(one);
                    }
                }
            }
        }
        found
    }

    fn fetch(&mut self, image: &str, digest: String, ctx: &mut Context<Self>) {
        let request = self.request(image, Some(digest.clone()));
        let Some(memory) = self.images.get_mut(image) else { return };
        memory.fetch = Fetch::Busy(digest.clone());
        let order = EnsureTarball { context: RequestContext::new("rollout archive", patience::IMAGE), request };
        let (door, image) = (self.parts.fetch.clone(), image.to_owned());
        ctx.spawn(async move { door.ask(order).await }.into_actor(self).map(move |result, actor, ctx| {
            actor.fetched(&image, digest, result.map(drop), ctx);
            actor.look(ctx);
        }));
    }

    fn fetched(
        &mut self,
        image: &str,
        digest: String,
        result: Result<(), CallError<TarballFault>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(memory) = self.images.get_mut(image) else { return };
        if memory.fetch != Fetch::Busy(digest.clone()) {
            return;
        }
        let error = match result {
            Ok(()) => {
                memory.fetch = Fetch::Done(digest);
                memory.fetch_failures = 0;
                memory.error = None;
                return;
            }
            Err(error) => error,
        };
        tracing::warn!(image, %error, "the image could not be fetched, no pod was touched");
        memory.error = Some(error.to_string());
        let pause = FETCH_PAUSE * (1 << memory.fetch_failures.min(DOUBLINGS));
        memory.fetch_failures += 1;
        memory.fetch = Fetch::Failed(digest.clone(), Instant::now() + pause);
        let CallError::Fault(fault) = error else { return };
        if !is_final(&fault) {
            return;
        }
        memory.refused.insert(digest.clone());
        let Some(pod) = self.pods_of(image).into_iter().find(|pod| pod.follows && pod.mark.is_none()) else { return };
        let version = Version::new(image, digest);
        let body = patches::refuse(&pod, &version);
        self.write(&pod, image.to_owned(), body, ctx, move |actor, pod| {
            let text = format!("image {} is not rolled out as {}: {fault}", version.image, version.digest);
            actor.event(pod, true, "RolloutFailed", text);
        });
    }

    /// Asks the registries about the images that are due; when to look again.
    pub(crate) fn check_registries(&mut self, now: Instant, ctx: &mut Context<Self>) -> Instant {
        let mut wake = now + self.parts.rules.interval;
        let mut in_flight = self.images.values().filter(|memory| memory.check.is_in_flight()).count();
        let mut due: Vec<(Instant, String)> =
            self.images.iter().filter_map(|(image, memory)| Some((memory.check.due()?, image.clone()))).collect();
        due.sort();
        for (at, image) in due {
            if at > now {
                wake = wake.min(at);
            } else if in_flight < QUESTIONS {
                in_flight += 1;
                self.resolve(&image, now, ctx);
            }
        }
        wake
    }

    fn resolve(&mut self, image: &str, now: Instant, ctx: &mut Context<Self>) {
        let request = self.request(image, None);
        let Some(memory) = self.images.get_mut(image) else { return };
        memory.check.begin(now);
        let pushed = std::mem::take(&mut memory.pushed);
        let waiters = std::mem::take(&mut memory.waiters);
        let question = ResolveImage { context: RequestContext::new("image check", patience::RESOLVE), request };
        let (door, image) = (self.parts.resolve.clone(), image.to_owned());
        ctx.spawn(async move { door.ask(question).await }.into_actor(self).map(move |result, actor, ctx| {
            let result = result.map_err(|error| not_answered(&image, error));
            actor.resolved(&image, result, pushed, waiters, ctx);
            actor.look(ctx);
        }));
    }

    fn resolved(
        &mut self,
        image: &str,
        result: Result<String, TarballFault>,
        pushed: bool,
        waiters: Vec<Waiter>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.parts.clock.now();
        if let Some(memory) = self.images.get_mut(image) {
            memory.check.end(Instant::now(), result.is_ok());
            match &result {
                Ok(digest) => {
                    memory.wants(digest);
                    memory.last_checked = Some(now);
                    memory.error = None;
                }
                Err(fault) => {
                    tracing::debug!(image, %fault, "the registry does not say what it has");
                    memory.error = Some(fault.to_string());
                    // A push that could not be followed up is followed up by the next check.
                    memory.pushed |= pushed;
                }
            }
        }
        if let (Ok(digest), true) = (&result, pushed) {
            for order in self.orders(&[Version::new(image, digest)], false) {
                ctx.spawn(order.into_actor(self).map(|stored, _, _| {
                    if let Err(why) = stored {
                        tracing::warn!(why, "what a push asks for could not be stored");
                    }
                }));
            }
        }
        for waiter in waiters {
            // Whoever asked may have left.
            drop(waiter.send(result.clone()));
        }
    }

    /// Stores, pod by pod, that somebody asks for these versions.
    pub(crate) fn orders(
        &self,
        versions: &[Version],
        forgive: bool,
    ) -> Vec<impl Future<Output = Result<(), String>> + use<>> {
        let mut orders = Vec::new();
        for version in versions {
            for pod in self.pods_of(&version.image) {
                if patches::order(&pod, version, forgive).is_some() {
                    orders.push(store_order(self.parts.clone(), pod, version.clone(), forgive));
                }
            }
        }
        orders
    }

    /// Writes to a pod; `done` runs when it is stored.
    fn write(
        &mut self,
        pod: &PodSight,
        image: String,
        body: Value,
        ctx: &mut Context<Self>,
        done: impl FnOnce(&mut Self, &PodSight) + 'static,
    ) {
        self.writing.insert(pod.key.clone(), image);
        let writing = patch(&self.parts, &pod.key, body);
        let pod = pod.clone();
        ctx.spawn(writing.into_actor(self).map(move |result, actor, ctx| {
            actor.writing.remove(&pod.key);
            match result {
                Ok(()) => done(actor, &pod),
                // The pod changed meanwhile: the next look sees how.
                Err(CallError::Fault(status)) if status.code == 409 || status.code == 404 => {
                    actor.not_before.insert(pod.key.clone(), Instant::now() + SHORT_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(pod = %pod.key, %error, "a step of a rollout was not stored, it is tried again");
                    actor.not_before.insert(pod.key.clone(), Instant::now() + PAUSE);
                }
            }
            actor.look(ctx);
        }));
    }
}

/// Nobody answered: as good as a registry that is away.
fn not_answered(image: &str, error: CallError<TarballFault>) -> TarballFault {
    match error {
        CallError::Fault(fault) => fault,
        CallError::NotAnswered(why) => TarballFault::Unreachable {
            image: image.to_owned(),
            registry: "the registry".to_owned(),
            why: why.to_string(),
        },
    }
}

fn patch(
    parts: &RolloutParts,
    key: &ObjectKey,
    body: Value,
) -> impl Future<Output = Result<(), CallError<mkube_model::status::Status>>> + use<> {
    let order = WriteObject::own("rollout", parts.pods, key.clone(), Verb::Patch { patch: PatchType::Merge, body });
    let door = parts.write.clone();
    async move { door.ask(order).await.map(drop) }
}

/// Stores an order on one pod, also when the pod changes meanwhile.
async fn store_order(parts: RolloutParts, pod: Arc<PodSight>, version: Version, forgive: bool) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let Some(object) = parts.objects.view().get(&parts.pods, &pod.key) else { return Ok(()) };
        let Some(body) = patches::order(&PodSight::of(&object), &version, forgive) else { return Ok(()) };
        match patch(&parts, &pod.key, body).await {
            Ok(()) => return Ok(()),
            Err(CallError::Fault(status)) if status.code == 404 => return Ok(()),
            Err(CallError::Fault(status)) if status.code == 409 => last = status.to_string(),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(last)
}
