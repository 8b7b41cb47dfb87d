//! Doing what was planned: one write, and what is told of it.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use jiff::Timestamp;
use mkube_messages::door::CallError;
use mkube_messages::objects::{ObjectKey, RecordEvent, Verb, WriteObject};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::status::Status;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::actor::{JobsActor, Subject};
use crate::bodies;
use crate::sight::{CronSight, JobSight};
use crate::told::Told;

/// Pause after a write that the store had no answer for.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Pause after something could not be made.
const PAUSE: Duration = Duration::from_secs(10);

/// One thing to do.
pub(crate) enum Deed {
    /// Store the status, then tell.
    Record(Value, Vec<Told>),
    /// Make a pod of the Job.
    CreatePod(String),
    /// Delete a pod of the Job.
    DeletePod(ObjectKey, String),
    /// Make the Job of the CronJob that is due at this time.
    CreateJob(String, Timestamp),
    /// Delete a Job.
    DeleteJob(ObjectKey, String),
}

/// For whom it is done.
struct For {
    subject: Subject,
    kind: &'static str,
    id: KindId,
    key: ObjectKey,
    uid: String,
    revision: Revision,
}

impl JobsActor {
    pub(crate) fn do_for_job(&mut self, job: &JobSight, deed: Deed, ctx: &mut Context<Self>) {
        let whom = For {
            subject: Subject::Job(job.key.clone()),
            kind: "Job",
            id: self.parts.jobs,
            key: job.key.clone(),
            uid: job.uid.clone(),
            revision: job.revision,
        };
        self.carry_out(whom, deed, ctx);
    }

    pub(crate) fn do_for_cron(&mut self, cron: &CronSight, deed: Deed, ctx: &mut Context<Self>) {
        let whom = For {
            subject: Subject::Cron(cron.key.clone()),
            kind: "CronJob",
            id: self.parts.cron_jobs,
            key: cron.key.clone(),
            uid: cron.uid.clone(),
            revision: cron.revision,
        };
        self.carry_out(whom, deed, ctx);
    }

    pub(crate) fn tell(&self, kind: &'static str, key: &ObjectKey, uid: &str, told: Told) {
        tracing::info!(kind, %key, reason = told.reason, message = told.message, "job");
        let event = RecordEvent {
            involved_kind: kind,
            involved_api_version: "batch/v1",
            key: key.clone(),
            uid: uid.to_owned(),
            warning: told.warning,
            reason: told.reason,
            message: told.message,
        };
        if let Err(why) = self.parts.event.tell(event) {
            tracing::debug!(%why, %key, "an event was not recorded");
        }
    }

    fn carry_out(&mut self, whom: For, deed: Deed, ctx: &mut Context<Self>) {
        let Some((kind, key, verb, subresource)) = self.order(&whom, &deed) else { return };
        let order = WriteObject { subresource, ..WriteObject::own("job", kind, key, verb) };
        self.busy.insert(whom.subject.clone());
        let door = self.parts.write.clone();
        ctx.spawn(async move { door.ask(order).await.map(drop) }.into_actor(self).map(move |result, actor, ctx| {
            actor.busy.remove(&whom.subject);
            actor.done(&whom, deed, result);
            actor.look(ctx);
        }));
    }

    /// What to write; nothing when the object is gone meanwhile.
    fn order(&self, whom: &For, deed: &Deed) -> Option<(KindId, ObjectKey, Verb, &'static str)> {
        let parts = &self.parts;
        let template = || {
            let object = parts.objects.view().get(&whom.id, &whom.key)?;
            (object.uid() == whom.uid).then(|| object.value())
        };
        let of_namespace = |name: &str| ObjectKey::new(whom.key.namespace.clone(), name);
        let remove = |uid: &str| {
            let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": "Background"});
            Verb::Delete { options }
        };
        Some(match deed {
            Deed::Record(status, _) => {
                let meta = json!({"name": whom.key.name, "namespace": whom.key.namespace, "uid": whom.uid,
                    "resourceVersion": whom.revision.to_string()});
                let body = json!({"metadata": meta, "status": status});
                (whom.id, whom.key.clone(), Verb::Update { body }, "status")
            }
            Deed::CreatePod(name) => {
                (parts.pods, of_namespace(name), Verb::Create { body: bodies::pod(&template()?, name) }, "")
            }
            Deed::CreateJob(name, at) => {
                (parts.jobs, of_namespace(name), Verb::Create { body: bodies::job(&template()?, name, *at) }, "")
            }
            Deed::DeletePod(key, uid) => (parts.pods, key.clone(), remove(uid), ""),
            Deed::DeleteJob(key, uid) => (parts.jobs, key.clone(), remove(uid), ""),
        })
    }

    fn done(&mut self, whom: &For, deed: Deed, result: Result<(), CallError<Status>>) {
        let now = Instant::now();
        let error = match result {
            Ok(()) => {
                self.tell_done(whom, deed);
                return;
            }
            Err(error) => error,
        };
        let pause = match (&deed, &error) {
            // The object changed meanwhile, or is gone: the next look sees how.
            (Deed::Record(..), CallError::Fault(status)) if [404, 409].contains(&status.code) => None,
            (Deed::DeletePod(..) | Deed::DeleteJob(..), CallError::Fault(status))
                if [404, 409].contains(&status.code) =>
            {
                Some(SHORT_PAUSE)
            }
            // It was made, and the answer got lost on the way; or somebody else has the name. A look tells.
            (Deed::CreatePod(_), CallError::Fault(status)) if status.reason == "AlreadyExists" => None,
            (Deed::CreatePod(name) | Deed::CreateJob(name, _), CallError::Fault(status)) if status.code < 500 => {
                let message = format!("Error creating {name}: {status}");
                self.tell(whom.kind, &whom.key, &whom.uid, Told::warning("FailedCreate", message));
                Some(PAUSE)
            }
            _ => Some(SHORT_PAUSE),
        };
        if let Some(pause) = pause {
            tracing::warn!(kind = whom.kind, key = %whom.key, %error, "a step of a job was not done, it is tried again");
            self.not_before.insert(whom.subject.clone(), now + pause);
        }
    }

    fn tell_done(&mut self, whom: &For, deed: Deed) {
        let told = match deed {
            Deed::Record(_, told) => {
                if let Subject::Job(key) = &whom.subject {
                    self.written.insert(key.clone(), Instant::now());
                }
                told
            }
            Deed::CreatePod(name) => vec![Told::normal("SuccessfulCreate", format!("Created pod: {name}"))],
            Deed::CreateJob(name, _) => vec![Told::normal("SuccessfulCreate", format!("Created job {name}"))],
            Deed::DeletePod(key, _) => vec![Told::normal("SuccessfulDelete", format!("Deleted pod: {}", key.name))],
            // A Job that takes itself away has nobody left to be told about.
            Deed::DeleteJob(..) if whom.kind == "Job" => Vec::new(),
            Deed::DeleteJob(key, _) => vec![Told::normal("SuccessfulDelete", format!("Deleted job {}", key.name))],
        };
        for one in told {
            self.tell(whom.kind, &whom.key, &whom.uid, one);
        }
    }
}
