//! What StoreActor answers. Only ObjectsActor reads and writes through it; HttpEdge passes on what a person decides of the whole store.

use std::sync::Arc;

use actix::Message;
use mkube_model::neighbours::desired_store::{Outcome, StoreChange, StoreContents, StoreFault, StoreNews};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, OlderStore};

use crate::request::{Floor, Request, RequestContext};
use crate::watch;

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

/// What came of a batch.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// One outcome per change.
    pub outcomes: Vec<Outcome>,
    /// As [`LoadNews`] answers it. Every change by others that is older than one of the batch, in its bucket, is here or was told before.
    pub news: StoreNews,
}

/// Applies each change whose condition holds; answered when they survive power loss. Not safe to repeat blindly: the conditions of
/// the changes decide.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Committed, StoreFault>")]
pub struct CommitChanges {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The batch.
    pub changes: Vec<StoreChange>,
}

impl Request for CommitChanges {
    type Reply = Committed;
    type Fault = StoreFault;
    const FLOOR: Floor = Floor::Gate;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// What happened to the store without us since it was asked last. A question that is asked once: what is told is not told again. Who
/// loses an answer loads everything.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<StoreNews, StoreFault>")]
pub struct LoadNews {
    /// Id, deadline, span.
    pub context: RequestContext,
}

impl Request for LoadNews {
    type Reply = StoreNews;
    type Fault = StoreFault;
    const FLOOR: Floor = Floor::Gate;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Takes an older store as it is, if it still lacks exactly what the digest stands for; what was known is copied first. Sent by
/// HttpEdge. Safe to repeat: what was accepted is not there to be accepted again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Accepted, AcceptFault>")]
pub struct AcceptStore {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// That of the published [`OlderStore`].
    pub digest: String,
}

impl Request for AcceptStore {
    type Reply = Accepted;
    type Fault = AcceptFault;
    const FLOOR: Floor = Floor::Gate;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Reads what the store lacks of what it acknowledged; none: nothing, as far as is known.
pub type OlderReader = watch::Receiver<Option<Arc<OlderStore>>>;
/// Its other end, kept outside the actor so that readers survive its restarts.
pub type OlderPublisher = Arc<watch::Sender<Option<Arc<OlderStore>>>>;

/// A connected pair.
pub fn older_view() -> (OlderPublisher, OlderReader) {
    let (sender, reader) = watch::channel(None);
    (Arc::new(sender), reader)
}

/// That there is something to take with [`LoadNews`]: a number that grows.
pub type NewsNotices = watch::Receiver<u64>;
/// Its other end, kept outside the actor so that readers survive its restarts.
pub type NewsBell = Arc<watch::Sender<u64>>;

/// A connected pair.
pub fn news_bell() -> (NewsBell, NewsNotices) {
    let (sender, receiver) = watch::channel(0);
    (Arc::new(sender), receiver)
}
