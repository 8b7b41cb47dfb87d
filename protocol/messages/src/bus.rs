//! What NatsEdge publishes: whether there is a bus, and how much went in and out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::watch;

/// How much was heard about one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Messages that were understood and passed on to whoever is concerned.
    pub taken: u64,
    /// Messages that were too long, said nothing that makes sense, or found nobody with room for them.
    pub refused: u64,
    /// How often nothing was heard for a while, because there was too much of it.
    pub floods: u64,
}

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusView {
    /// Whether a bus is configured.
    pub wanted: bool,
    /// Whether we are attached to it.
    pub attached: bool,
    /// Why not.
    pub why: Option<String>,
    /// Messages the bus has taken.
    pub told: u64,
    /// Changes that wait to be told.
    pub waiting: usize,
    /// Changes that were never told: newer ones of the same object took their place, or there was no room.
    pub dropped: u64,
    /// By what it is about.
    pub heard: BTreeMap<&'static str, Hearing>,
}

/// Publishes it; outlives the actor.
pub type BusPublisher = Arc<watch::Sender<Arc<BusView>>>;
/// Reads it.
pub type BusReader = watch::Receiver<Arc<BusView>>;

/// A publisher and a reader, with no bus.
pub fn bus_view() -> (BusPublisher, BusReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
