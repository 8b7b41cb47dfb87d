//! How containers are, after their probes: published by WatchdogActor, read by pod actors.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::watch;
use imbl::OrdMap;

use crate::objects::ObjectKey;

/// One run of a container's process: what is found out about one says nothing about the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Run {
    /// `containerID` of the pod's status.
    pub container_id: String,
    /// `restartCount` of the pod's status.
    pub restarts: u64,
    /// `state.running.startedAt` of the pod's status: a reboot of the device begins a new run that counts as no restart.
    pub since: String,
}

/// What probes say of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerHealth {
    /// The run.
    pub run: Run,
    /// Its startup probe succeeded, or it has none.
    pub started: bool,
    /// Its readiness probe says yes, or it has none and is started.
    pub ready: bool,
    /// Its startup or liveness probe failed as often as it may: which, such as `failed liveness probe`. It is to be restarted.
    pub failed: Option<&'static str>,
    /// Which of its probes count as absent because the device cannot ask them, and why.
    pub unasked: Option<String>,
}

/// What WatchdogActor publishes. Pods without probes are not in it.
#[derive(Debug, Clone, Default)]
pub struct HealthView {
    /// By pod, then by container.
    pub pods: OrdMap<ObjectKey, Arc<BTreeMap<String, ContainerHealth>>>,
}

/// Publishes it; outlives the actor.
pub type HealthPublisher = Arc<watch::Sender<Arc<HealthView>>>;
/// Reads it.
pub type HealthReader = watch::Receiver<Arc<HealthView>>;

/// A publisher and a reader, with nothing known.
pub fn health_view() -> (HealthPublisher, HealthReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
