//! Whether pods may start: published by OrderActor, read by pod actors before they start anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::objects::ObjectKey;

/// What a pod may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Gate {
    /// Whatever it needs.
    #[default]
    Open,
    /// It starts no process that does not run; what runs goes on.
    Closed {
        /// CamelCase, for the status of waiting containers, such as `WaitingForDependencies`.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Its processes are stopped and stay stopped; objects and rows stay.
    Stop {
        /// CamelCase, such as `NodeDrained`.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// What OrderActor publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatesView {
    /// False until the order was worked out for the first time: until then nothing is started that does not run.
    pub decided: bool,
    /// Pods whose gate is not open.
    pub gates: BTreeMap<ObjectKey, Gate>,
}

impl GatesView {
    /// The gate of a pod.
    pub fn of(&self, pod: &ObjectKey) -> Gate {
        if !self.decided {
            return Gate::Closed { reason: "BootOrder", message: "the boot order is being worked out".into() };
        }
        self.gates.get(pod).cloned().unwrap_or_default()
    }
}

/// Publishes the gates; outlives the actor.
pub type GatesPublisher = Arc<watch::Sender<Arc<GatesView>>>;
/// Reads them.
pub type GatesReader = watch::Receiver<Arc<GatesView>>;

/// A publisher and a reader, with nothing decided.
pub fn gates_view() -> (GatesPublisher, GatesReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
