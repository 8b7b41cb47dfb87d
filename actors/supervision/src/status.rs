//! What is published about the tree. Reading it enters no mailbox: every node has a cell the tree task writes to.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use mkube_messages::door::{DoorCounters, Doorway, Latency};
use serde::Serialize;

use crate::spec::Strategy;

/// State of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Being started.
    Starting,
    /// Up.
    Running,
    /// Down, restart due.
    BackingOff,
    /// Down, parked until released.
    Held,
    /// Asked to stop.
    Stopping,
    /// Down, and meant to be.
    Stopped,
}

/// How a node last ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastExit {
    /// `finished`, `stopped`, `failed`, `panicked` or `aborted`.
    pub reason: &'static str,
    /// Cause or panic text.
    pub message: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A node as answered by `GET /api/v1/supervisor`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusNode {
    /// Name in the tree.
    pub name: String,
    /// `actor` or `supervisor`.
    pub kind: &'static str,
    /// What it is doing.
    pub state: State,
    /// Who is restarted together; supervisors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Restarts since the tree started.
    pub restarts: u64,
    /// When the present incarnation started, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// How the last incarnation ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Figures of its doors; actors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<DoorCounters>,
    /// Microseconds from acceptance to end of work; actors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_micros: Option<Latency>,
    /// Children in order of starting; supervisors only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<StatusNode>,
}

impl StatusNode {
    /// The node at a path (names joined by `/`, this node's own name first; names may contain slashes).
    pub fn find(&self, path: &str) -> Option<&StatusNode> {
        if path == self.name {
            return Some(self);
        }
        let rest = path.strip_prefix(&self.name)?.strip_prefix('/')?;
        self.children.iter().find_map(|child| child.find(rest))
    }
}

#[derive(Debug, Clone)]
struct Facts {
    state: State,
    restarts: u64,
    started_at: Option<String>,
    last_exit: Option<LastExit>,
}

pub(crate) struct Cell {
    name: String,
    strategy: Option<Strategy>,
    doorway: Option<Doorway>,
    facts: Mutex<Facts>,
    children: RwLock<Vec<Arc<Cell>>>,
}

impl Cell {
    pub(crate) fn new(name: &str, strategy: Option<Strategy>, doorway: Option<Doorway>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            strategy,
            doorway,
            facts: Mutex::new(Facts { state: State::Starting, restarts: 0, started_at: None, last_exit: None }),
            children: RwLock::default(),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn state(&self) -> State {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).state
    }

    pub(crate) fn set_state(&self, state: State) {
        self.change(|facts| facts.state = state);
    }

    pub(crate) fn started(&self, now: Timestamp) {
        self.change(|facts| {
            facts.state = State::Running;
            facts.started_at = Some(rfc3339(now));
        });
    }

    pub(crate) fn restarting(&self) {
        self.change(|facts| facts.restarts += 1);
    }

    pub(crate) fn ended(&self, reason: &'static str, message: String, now: Timestamp) {
        self.change(|facts| facts.last_exit = Some(LastExit { reason, message, at: rfc3339(now) }));
    }

    pub(crate) fn add(&self, child: Arc<Cell>, at: usize) {
        let mut children = self.children.write().unwrap_or_else(PoisonError::into_inner);
        let at = at.min(children.len());
        children.insert(at, child);
    }

    pub(crate) fn remove(&self, child: &Arc<Cell>) {
        self.children.write().unwrap_or_else(PoisonError::into_inner).retain(|one| !Arc::ptr_eq(one, child));
    }

    pub(crate) fn read(&self) -> StatusNode {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let children = self.children.read().unwrap_or_else(PoisonError::into_inner).clone();
        StatusNode {
            name: self.name.clone(),
            kind: if self.doorway.is_some() { "actor" } else { "supervisor" },
            state: facts.state,
            strategy: self.strategy,
            restarts: facts.restarts,
            started_at: facts.started_at,
            last_exit: facts.last_exit,
            mailbox: self.doorway.as_ref().map(Doorway::counters),
            latency_micros: self.doorway.as_ref().map(Doorway::latency),
            children: children.iter().map(|child| child.read()).collect(),
        }
    }
}

fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
