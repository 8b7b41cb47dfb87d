//! What DeploymentsActor answers.

use actix::Message;
use mkube_model::status::Status;
use serde_json::Value;

use crate::objects::{ObjectKey, Written};
use crate::request::{Floor, Request, RequestContext};

/// Take a pod away, as its eviction subresource asks: it is deleted, unless its Deployment would have fewer available pods than
/// it may. Sent by HttpEdge. Safe to repeat. Refused with 429 while the pod is needed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Written, Status>")]
pub struct EvictPod {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The pod.
    pub pod: ObjectKey,
    /// `deleteOptions` of the eviction, or null.
    pub options: Value,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
}

impl Request for EvictPod {
    type Reply = Written;
    type Fault = Status;
    const FLOOR: Floor = Floor::Decider;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}
