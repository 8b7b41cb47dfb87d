//! What StoreActor answers; only ObjectsActor asks.

use actix::Message;
use mkube_model::neighbours::desired_store::{Revision, StoreChange, StoreContents, StoreFault};

use crate::request::{Floor, Request, RequestContext};

/// Reads everything. A question.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<StoreContents, StoreFault>")]
pub struct LoadContents {
    /// Id, deadline, span.
    pub context: RequestContext,
}

impl Request for LoadContents {
    type Reply = StoreContents;
    type Fault = StoreFault;
    const FLOOR: Floor = Floor::Gate;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Applies all changes or none; answered when they survive power loss. Not safe to repeat blindly: the conditions of the
/// changes decide.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<Revision>, StoreFault>")]
pub struct CommitChanges {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The batch.
    pub changes: Vec<StoreChange>,
}

impl Request for CommitChanges {
    type Reply = Vec<Revision>;
    type Fault = StoreFault;
    const FLOOR: Floor = Floor::Gate;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}
