//! What the actor tells: events on Deployments, and the status of Deployments and ReplicaSets.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::objects::{ObjectKey, RecordEvent, ReportStatus};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::kinds::KindId;
use serde_json::Value;
use tokio::time::Instant;

use crate::actor::DeploymentsActor;
use crate::case::Case;
use crate::status;

/// Whoever took a report may have died with it: it is told again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// An event to be.
pub(crate) struct Telling {
    /// True for `Warning`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// A status that was reported, as text, and when.
type Reported = (String, Instant);

/// What was reported and is not published yet, by Deployment and by name of the object.
#[derive(Default)]
pub(crate) struct Reports(BTreeMap<ObjectKey, BTreeMap<(KindId, String), Reported>>);

impl Reports {
    /// When to report again, should nothing be heard of it.
    pub fn again(&self, deployment: &ObjectKey) -> Option<Instant> {
        self.0.get(deployment)?.values().map(|(_, at)| *at + AGAIN).min()
    }

    pub fn forget(&mut self, deployment: &ObjectKey) {
        self.0.remove(deployment);
    }

    /// Whether this is to be told, and remembers it then.
    fn is_news(
        &mut self,
        deployment: &ObjectKey,
        of: (KindId, String),
        stored: &Value,
        new: &Value,
        now: Instant,
    ) -> bool {
        let told = self.0.entry(deployment.clone()).or_default();
        let text = new.to_string();
        let known = stored == new || told.get(&of).is_some_and(|(before, at)| *before == text && now < *at + AGAIN);
        if stored == new {
            told.remove(&of);
        } else if !known {
            told.insert(of, (text, now));
        }
        if told.is_empty() {
            self.0.remove(deployment);
        }
        !known
    }
}

impl DeploymentsActor {
    pub(crate) fn event(&self, key: &ObjectKey, uid: &str, telling: Telling) {
        let Telling { warning, reason, message } = telling;
        tracing::info!(deployment = %key, reason, message, "deployment");
        let told = self.parts.event.tell(RecordEvent {
            involved_kind: "Deployment",
            involved_api_version: "apps/v1",
            key: key.clone(),
            uid: uid.to_owned(),
            warning,
            reason,
            message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }

    /// Reports what is new of a Deployment and its ReplicaSets.
    pub(crate) fn report(&mut self, case: &Case<'_>, now: Instant, ctx: &mut Context<Self>) {
        let deployment = case.deployment;
        let key = &deployment.key;
        for (index, pod) in case.taken.iter().filter(|(_, pod)| !pod.deleting) {
            if *index < deployment.replicas && self.told_taken.insert(pod.key.clone()) {
                let message = status::taken(&pod.key.name);
                self.event(key, &deployment.uid, Telling { warning: true, reason: "FailedCreate", message });
            }
        }
        let (why, refused) = (self.failed.get(key), self.refused.get(key));
        let (why, refused) = (why.map(String::as_str), refused.map(String::as_str));
        let new = status::of_deployment(case, why, refused, self.parts.clock.now());
        let mut found = vec![(self.kinds.deployments, key.clone(), &deployment.uid, &deployment.status, new)];
        let sets = case.sets.iter();
        found.extend(
            sets.map(|set| (self.kinds.sets, set.key.clone(), &set.uid, &set.status, status::of_set(case, set))),
        );
        for (kind, of, uid, stored, status) in found {
            if !self.reports.is_news(key, (kind, of.name.clone()), stored, &status, now) {
                continue;
            }
            let context = RequestContext::new("report", patience::WRITE);
            let report = ReportStatus { context, kind, key: of.clone(), uid: uid.clone(), status };
            let (door, deployment) = (self.parts.report.clone(), key.clone());
            ctx.spawn(async move { door.ask(report).await }.into_actor(self).map(move |result, actor, _| {
                if let Err(error) = result {
                    tracing::debug!(%error, %of, "a status was not taken, it is reported again");
                    actor.reports.forget(&deployment);
                }
            }));
        }
    }
}
