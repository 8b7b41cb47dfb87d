//! Evictions: a pod goes, unless its Deployment needs it.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use actix::{ActorFutureExt, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::deployments::EvictPod;
use mkube_messages::door::{CallError, NotAnswered};
use mkube_messages::objects::{FieldValidation, ObjectKey, Verb, WriteObject, Writer, Written};
use mkube_model::status::Status;
use serde_json::json;
use tokio::time::Instant;

use crate::actor::DeploymentsActor;
use crate::case::{Case, Member};

/// Whether a pod of this name may go: so many must stay available, but when all are there one may always go. A closed node makes no
/// new ones, so that there no more go at the same time than may be missing.
/// `asked`: whose deletion is on its way to the store.
pub fn may_go(case: &Case<'_>, pod: &str, asked: &BTreeSet<ObjectKey>) -> bool {
    if case.cordoned {
        let goes = |member: &&Member<'_>| member.pod.deleting || asked.contains(&member.pod.key);
        let going = case.members.iter().filter(goes).count();
        return going < (case.deployment.replicas - case.deployment.least()).max(1);
    }
    let counts = case.staying().any(|member| member.pod.key.name == pod && member.live.available);
    let (serving, replicas) = (case.serving(), case.deployment.replicas);
    !counts || serving > case.deployment.least() || serving >= replicas
}

fn refused(case: &Case<'_>, pod: &str) -> Status {
    let deployment = case.deployment;
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::busy(1);
    status.message = message.to_owned();
    let why = format!(
        "pod {pod} is needed: Deployment {} has {} of {} replicas available and at least {} must stay",
        deployment.key.name,
        case.serving(),
        deployment.replicas,
        deployment.least(),
    );
    status.details["causes"] = json!([{"reason": "DisruptionBudget", "message": why}]);
    status
}

impl DeploymentsActor {
    /// Whether the pod may go now.
    fn check_eviction(&mut self, pod: &ObjectKey) -> Result<(), Status> {
        let view = self.parts.objects.view();
        if !self.read(&view) {
            return Err(Status::unavailable("the store is being read", 1));
        }
        let Some(sight) = self.index.pod(pod) else {
            let kind = self.parts.kinds.get(&self.kinds.pods);
            return Err(kind.map_or_else(Status::no_such_path, |kind| Status::not_found(kind, &pod.name)));
        };
        let Some((_, name, _)) = sight.controller.as_ref().filter(|(kind, ..)| kind == "Deployment") else {
            return Ok(());
        };
        let owner = ObjectKey::new(pod.namespace.clone(), name.clone());
        let device = self.parts.device.borrow().clone();
        let Some(looked) = self.look_at(&owner, &device, &OnceCell::new(), Instant::now()) else { return Ok(()) };
        let case = looked.case(false);
        if sight.deleting || !sight.belongs_to(&looked.deployment) || may_go(&case, &pod.name, &self.evicting) {
            return Ok(());
        }
        Err(refused(&case, &pod.name))
    }
}

impl Handler<EvictPod> for DeploymentsActor {
    type Result = ResponseActFuture<Self, Result<Written, Status>>;
    fn handle(&mut self, order: EvictPod, _ctx: &mut Self::Context) -> Self::Result {
        if let Err(status) = self.check_eviction(&order.pod) {
            return Box::pin(async { Err(status) }.into_actor(self));
        }
        let delete = WriteObject {
            context: order.context,
            kind: self.kinds.pods,
            key: order.pod.clone(),
            verb: Verb::Delete { options: order.options },
            subresource: "",
            dry_run: order.dry_run,
            field_validation: FieldValidation::Ignore,
            writer: Writer::own(),
            behind: false,
        };
        if !order.dry_run {
            self.evicting.insert(order.pod.clone());
        }
        let door = self.parts.write.clone();
        Box::pin(async move { door.ask(delete).await }.into_actor(self).map(move |result, actor, ctx| {
            actor.evicting.remove(&order.pod);
            actor.look(ctx);
            result.map_err(|error| match error {
                CallError::Fault(status) => status,
                CallError::NotAnswered(NotAnswered::Busy) => Status::busy(1),
                CallError::NotAnswered(NotAnswered::Away) => Status::unavailable("the object layer is restarting", 1),
                CallError::NotAnswered(why) => Status::timeout(why.to_string()),
            })
        }))
    }
}
