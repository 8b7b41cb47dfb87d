//! The words of a supervisor tree.

use crate::child::ChildSpec;
use crate::pace::{Intensity, RestartPace};

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartRule {
    /// Always.
    Permanent,
    /// Unless it ended by itself, its work done. To be stopped by somebody who is not its supervisor is not that.
    Transient,
    /// Never.
    Temporary,
}

/// Who is restarted together with a child that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// Those started after it.
    RestForOne,
    /// All siblings.
    OneForAll,
}

/// What happens when restarts exceed the intensity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimit {
    /// The supervisor itself fails, and its own supervisor decides.
    Escalate,
    /// The child is parked until somebody releases it; restarts are counted per child. A supervisor below is never parked: its
    /// failures are counted, and escalate, as with [`OnLimit::Escalate`].
    HoldChild,
}

/// A supervisor.
#[derive(Clone)]
pub struct SupervisorSpec {
    /// Name in the tree.
    pub name: String,
    /// Who is restarted together.
    pub strategy: Strategy,
    /// How many restarts are too many.
    pub intensity: Intensity,
    /// What then.
    pub on_limit: OnLimit,
    /// Pauses between restarts.
    pub pace: RestartPace,
    /// In order of starting.
    pub children: Vec<Child>,
}

/// A child of a supervisor.
#[derive(Clone)]
pub enum Child {
    /// An actor.
    Actor(ChildSpec),
    /// Another supervisor.
    Supervisor(SupervisorSpec),
}
