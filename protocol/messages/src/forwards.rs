//! What ForwardsActor publishes: whether names of one zone can be resolved through the name server of another.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::watch;
use imbl::OrdMap;
use jiff::Timestamp;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardSight {
    /// Addresses the server gave, or why it gave none.
    pub answer: Result<BTreeSet<IpAddr>, String>,
    /// When it was asked last.
    pub asked_at: Timestamp,
}

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForwardsView {
    /// By the zone whose server was asked, and the zone that was asked for.
    pub by_pair: OrdMap<(String, String), ForwardSight>,
}

/// Publishes it; outlives the actor.
pub type ForwardsPublisher = Arc<watch::Sender<Arc<ForwardsView>>>;
/// Reads it.
pub type ForwardsReader = watch::Receiver<Arc<ForwardsView>>;

/// A publisher and a reader, with nothing known.
pub fn forwards_view() -> (ForwardsPublisher, ForwardsReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
