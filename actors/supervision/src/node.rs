//! A row of the tree's table.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::child::{ChildSpec, Running};
use crate::pace::Window;
use crate::spec::{RestartRule, SupervisorSpec};
use crate::status::Cell;

/// Names a row; never used twice.
pub(crate) type NodeId = u64;

pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) parent: Option<NodeId>,
    pub(crate) cell: Arc<Cell>,
    pub(crate) kind: Kind,
    /// Grows with each start: what is told about an earlier incarnation is ignored.
    pub(crate) incarnation: u64,
    /// Started, and its end not yet noted.
    pub(crate) alive: bool,
    pub(crate) started: Instant,
    pub(crate) after_stop: AfterStop,
    /// The supervisor whose walk this node is part of, if one is under way.
    pub(crate) walk: Option<NodeId>,
    /// Whether the start of its group, or of its supervisor, starts it too.
    pub(crate) comes_back: bool,
    /// It is to be stopped and forgotten with all that is below it, and who waits for that.
    pub(crate) leaving: Option<Vec<oneshot::Sender<()>>>,
}

pub(crate) enum Kind {
    Actor { spec: ChildSpec, running: Option<Running>, window: Window, short_lives: u32 },
    Supervisor { spec: SupervisorSpec, children: Vec<NodeId>, window: Window },
}

/// What to do once an actor that was asked to stop is down.
pub(crate) enum AfterStop {
    Nothing,
    /// Forget it.
    Forget,
    /// Start this instead.
    Replace(Box<ChildSpec>),
}

impl Node {
    /// In the table, not started yet.
    pub(crate) fn new(parent: Option<NodeId>, path: String, cell: Arc<Cell>, kind: Kind) -> Self {
        Self {
            path,
            parent,
            cell,
            kind,
            incarnation: 0,
            alive: false,
            started: Instant::now(),
            after_stop: AfterStop::Nothing,
            walk: None,
            comes_back: true,
            leaving: None,
        }
    }

    pub(crate) fn is_actor(&self) -> bool {
        matches!(self.kind, Kind::Actor { .. })
    }

    /// Whether a restart of its group may start it again at all.
    pub(crate) fn may_come_back(&self) -> bool {
        !matches!(&self.kind, Kind::Actor { spec, .. } if spec.rule == RestartRule::Temporary)
    }

    /// Its past is forgiven: no pauses, no counted restarts.
    pub(crate) fn forgive(&mut self) {
        match &mut self.kind {
            Kind::Actor { window, short_lives, .. } => {
                window.clear();
                *short_lives = 0;
            }
            Kind::Supervisor { window, .. } => window.clear(),
        }
    }
}
