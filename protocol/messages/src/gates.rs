//! Whether pods may start, and the order they start in: published by OrderActor, read by pod actors, the node and the HTTP edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::watch;

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

/// Reason of a pod whose place in the order is not known yet, or whose turn it is not yet.
pub const BOOT_ORDER: &str = "BootOrder";
/// Reason of a pod that waits until others are ready.
pub const WAITING: &str = "WaitingForDependencies";
/// Reason of a pod that would wait for itself.
pub const CYCLE: &str = "DependencyCycle";
/// Reason of a pod that was stopped since the node is emptied.
pub const DRAINED: &str = "NodeDrained";

impl Gate {
    /// The gate of a pod that is stopped since the node is emptied.
    pub fn drained() -> Self {
        Self::Stop { reason: DRAINED, message: "the node is drained; mkube uncordon starts it again".into() }
    }
}

/// How far the node is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Pods that have a process still.
    pub left: usize,
    /// Pods there are.
    pub pods: usize,
}

/// What OrderActor publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatesView {
    /// False until the order was worked out for the first time: until then nothing is started that does not run.
    pub decided: bool,
    /// The boot of the device it was worked out for, as `DeviceSnapshot::boots` counts: after another one nothing is started either.
    pub boots: u64,
    /// The node is being emptied, or empty: a pod that is not named here is not started.
    pub drain: Option<Drain>,
    /// Pods with a place in the order, and pods whose gate is not open.
    pub gates: BTreeMap<ObjectKey, Gate>,
}

impl GatesView {
    /// Everything is open: for whoever has no order.
    pub fn open() -> Self {
        Self { decided: true, ..Self::default() }
    }

    /// The gate of a pod on a device that was booted so often; `ordered`: it says something of its place in the order.
    pub fn of(&self, pod: &ObjectKey, boots: u64, ordered: bool) -> Gate {
        if !self.decided || self.boots != boots {
            return not_yet();
        }
        match self.gates.get(pod) {
            Some(gate) => gate.clone(),
            None if self.drain.is_some() => Gate::drained(),
            None if ordered => not_yet(),
            None => Gate::Open,
        }
    }
}

fn not_yet() -> Gate {
    Gate::Closed { reason: BOOT_ORDER, message: "the boot order is being worked out".into() }
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

/// How a pod stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is ready, or ran to its end.
    Ready,
    /// It may start, and is not ready yet.
    Starting,
    /// It waits for others, or for its turn.
    Waiting,
    /// It was not ready in time: nobody waits for it any longer.
    GivenUp,
    /// It would wait for itself.
    Cycle,
    /// It is stopped since the node is emptied.
    Stopped,
}

impl Standing {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Starting => "Starting",
            Self::Waiting => "Waiting",
            Self::GivenUp => "GivenUp",
            Self::Cycle => "Cycle",
            Self::Stopped => "Stopped",
        }
    }
}

/// A pod with a place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPod {
    /// Namespace and name.
    pub pod: ObjectKey,
    /// From 1; whoever it waits for is on a smaller one.
    pub level: usize,
    /// `vkube.io/boot-priority`.
    pub priority: Option<i64>,
    /// The priority it has since a pod with this one depends on it, where that is smaller than its own.
    pub raised_to: Option<i64>,
    /// `vkube.io/depends-on`, word by word.
    pub depends_on: Vec<String>,
    /// What it waits for at this moment.
    pub waits_for: Vec<String>,
    /// How it stands.
    pub standing: Standing,
    /// For people: why it does not start.
    pub message: String,
}

/// The order as it stands. Pods that are not in it start at once and are stopped first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootPlan {
    /// False until objects and device were read.
    pub decided: bool,
    /// The node is being emptied.
    pub drain: Option<Drain>,
    /// By level, priority and name.
    pub pods: Vec<PlannedPod>,
}

/// Publishes the order; outlives the actor.
pub type BootPlanPublisher = Arc<watch::Sender<Arc<BootPlan>>>;
/// Reads it.
pub type BootPlanReader = watch::Receiver<Arc<BootPlan>>;

/// A publisher and a reader, with nothing decided.
pub fn boot_plan() -> (BootPlanPublisher, BootPlanReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anything_was_decided_for_this_boot_nothing_starts() {
        let pod = ObjectKey::new("default", "web");
        let closed = |view: &GatesView, boots| matches!(view.of(&pod, boots, false), Gate::Closed { .. });
        assert!(closed(&GatesView::default(), 0));
        assert!(!closed(&GatesView::open(), 0));
        assert!(closed(&GatesView::open(), 1));
    }

    #[test]
    fn a_pod_the_order_does_not_know_yet_waits_only_if_it_has_a_place_or_the_node_is_emptied() {
        let pod = ObjectKey::new("default", "new");
        let mut view = GatesView::open();
        assert_eq!(view.of(&pod, 0, false), Gate::Open);
        assert!(matches!(view.of(&pod, 0, true), Gate::Closed { .. }));
        view.drain = Some(Drain { left: 1, pods: 2 });
        assert_eq!(view.of(&pod, 0, false), Gate::drained());
    }
}
