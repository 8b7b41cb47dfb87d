//! What the actor does: one write for one step, and how that ended.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::CallError;
use mkube_messages::objects::{ObjectKey, PatchType, Verb, WriteObject};
use mkube_model::kinds::KindId;
use mkube_model::status::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::actor::DeploymentsActor;
use crate::case::Case;
use crate::decide::{Action, From, set_of};
use crate::deployment_sight::RolloutState;
use crate::render;
use crate::telling::Telling;

/// Pause before an object that changed meanwhile is written to again; doubles. None would turn a lasting refusal into a busy
/// loop.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// Pause after a write that nobody answered.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after a write that was refused; doubles up to the longest.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Doublings of it.
const DOUBLINGS: u32 = 6;

/// One write, and what is told when it is done.
struct Step {
    kind: KindId,
    key: ObjectKey,
    verb: Verb,
    /// The pod that goes with it.
    pod: Option<ObjectKey>,
    telling: Option<Telling>,
    /// A refusal is told in the Deployment's status.
    makes: bool,
}

fn patch(body: Value) -> Verb {
    Verb::Patch { patch: PatchType::Merge, body }
}

fn only_this(uid: &str) -> Verb {
    Verb::Delete { options: json!({"preconditions": {"uid": uid}}) }
}

impl DeploymentsActor {
    /// Begins with a step.
    pub(crate) fn carry_out(&mut self, action: &Action, case: &Case<'_>, ctx: &mut Context<Self>) {
        let key = case.deployment.key.clone();
        let Some(step) = self.step(action, case) else { return };
        if let Action::NoteSet { state, failure, .. } = action {
            match failure {
                Some(why) => drop(self.failed.insert(key.clone(), why.clone())),
                None if *state != RolloutState::Failed => drop(self.failed.remove(&key)),
                None => {}
            }
        }
        tracing::debug!(deployment = %key, ?action, "a step");
        self.writing.insert(key.clone(), step.pod.clone());
        let order = WriteObject::own("deployment", step.kind, step.key.clone(), step.verb);
        let door = self.parts.write.clone();
        let (telling, makes, uid) = (step.telling, step.makes, case.deployment.uid.clone());
        ctx.spawn(async move { door.ask(order).await }.into_actor(self).map(move |result, actor, ctx| {
            actor.writing.remove(&key);
            actor.pending.insert(key.clone());
            match result {
                Ok(_) => {
                    actor.not_before.remove(&key);
                    if makes {
                        actor.refused.remove(&key);
                    }
                    if let Some(telling) = telling {
                        actor.event(&key, &uid, telling);
                    }
                }
                Err(error) => actor.not_done(&key, &uid, makes, &error),
            }
            actor.look(ctx);
        }));
    }

    fn not_done(&mut self, key: &ObjectKey, uid: &str, makes: bool, error: &CallError<Status>) {
        let times = self.not_before.get(key).map_or(0, |(_, times)| *times);
        let (pause, times) = match error {
            // Something changed meanwhile: the next look sees how.
            CallError::Fault(status) if status.code == 409 || status.code == 404 => {
                (SHORT_PAUSE * (1 << times.min(DOUBLINGS)), times + 1)
            }
            CallError::Fault(status) if status.code < 500 && status.code != 429 => {
                if makes {
                    self.refused.insert(key.clone(), status.message.clone());
                    let message = format!("Error creating: {}", status.message);
                    self.event(key, uid, Telling { warning: true, reason: "FailedCreate", message });
                }
                tracing::warn!(deployment = %key, %status, "a step of a deployment was refused");
                (REFUSED_PAUSE * (1 << times.min(DOUBLINGS)), times + 1)
            }
            error => {
                tracing::warn!(deployment = %key, %error, "a step of a deployment was not stored, it is tried again");
                (PAUSE, times)
            }
        };
        self.not_before.insert(key.clone(), (Instant::now() + pause, times));
    }

    fn step(&self, action: &Action, case: &Case<'_>) -> Option<Step> {
        let deployment = case.deployment;
        let kinds = &self.kinds;
        let named = |name: String| ObjectKey::new(deployment.key.namespace.clone(), name);
        let tell = |reason, message: String| Some(Telling { warning: false, reason, message });
        let plain = |kind, key, verb| Step { kind, key, verb, pod: None, telling: None, makes: false };
        Some(match action {
            Action::MakeSet { revision } => {
                let body = render::set(case, *revision);
                let key = named(deployment.set_name(&deployment.hash));
                // One that a Deployment of this name left behind is nobody's: only we write them.
                let is_there = self.parts.objects.view().get(&kinds.sets, &key).is_some();
                let verb = if is_there { Verb::Replace { body } } else { Verb::Create { body } };
                Step { makes: true, ..plain(kinds.sets, key, verb) }
            }
            Action::NoteSet { hash, revision, state, proven, failure } => {
                let set = set_of(case, hash)?;
                let body = render::set_patch(case, set, *revision, *state, *proven)?;
                let name = &set.key.name;
                let telling = match (failure, state) {
                    (Some(why), _) => {
                        let message =
                            format!("the rollout of replica set {name} stopped, nothing else is replaced: {why}");
                        Some(Telling { warning: true, reason: "RolloutFailed", message })
                    }
                    (None, RolloutState::Complete) if set.state != RolloutState::Complete => {
                        tell("RolloutComplete", format!("every replica runs replica set {name}"))
                    }
                    _ => None,
                };
                Step { telling, ..plain(kinds.sets, set.key.clone(), patch(body)) }
            }
            Action::DeleteSet { hash } => {
                let set = set_of(case, hash)?;
                plain(kinds.sets, set.key.clone(), only_this(&set.uid))
            }
            Action::NoteRevision(revision) => {
                let body = render::revision_note(deployment, *revision);
                plain(kinds.deployments, deployment.key.clone(), patch(body))
            }
            Action::RollBack { to } => {
                let set = set_of(case, to)?;
                let view = self.parts.objects.view();
                // Only the one that was looked at: its version guards the write, too.
                let stored = view.get(&kinds.deployments, &deployment.key)?;
                let mut body = (stored.revision == deployment.version).then(|| stored.value())?;
                body["spec"]["template"] = set.template.clone();
                let message = format!("put back to revision {} (replica set {})", set.revision, set.key.name);
                let telling = Some(Telling { warning: true, reason: "RolledBack", message });
                Step { telling, ..plain(kinds.deployments, deployment.key.clone(), Verb::Update { body }) }
            }
            Action::Adopt { pod } => {
                let key = named(pod.clone());
                let pod = self.index.pod(&key)?;
                let body = render::adoption(deployment, pod.version, &pod.uid);
                let telling = tell("Adopted", format!("took over pod {}", pod.key.name));
                Step { telling, ..plain(kinds.pods, key, patch(body)) }
            }
            Action::Create { index, from } => {
                let key = named(deployment.pod_name(*index));
                let body = render::pod(case, *index, from);
                let telling = tell("SuccessfulCreate", format!("Created pod: {}", key.name));
                Step { telling, makes: true, ..plain(kinds.pods, key, Verb::Create { body }) }
            }
            Action::Replace { index } => {
                let pod = case.member(*index)?.pod;
                let mut body = render::pod(case, *index, &From::Present);
                body["metadata"]["resourceVersion"] = json!(pod.version.to_string());
                let name = deployment.set_name(&deployment.hash);
                let telling = tell("PodReplaced", format!("pod {} is now of replica set {name}", pod.key.name));
                let step = plain(kinds.pods, pod.key.clone(), Verb::Replace { body });
                Step { telling, makes: true, pod: Some(pod.key.clone()), ..step }
            }
            Action::Delete { pod } => {
                let key = named(pod.clone());
                let pod = self.index.pod(&key)?;
                let telling = tell("SuccessfulDelete", format!("Deleted pod: {}", key.name));
                Step { telling, pod: Some(key.clone()), ..plain(kinds.pods, key, only_this(&pod.uid)) }
            }
        })
    }
}
