//! The one task behind a tree: a table of nodes, a queue of what happened to them, and the rules.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::child::{ChildSpec, ExitReason, Order, Running};
use crate::pace::Window;
use crate::spec::{Child, OnLimit, RestartRule, Strategy, SupervisorSpec};
use crate::status::{Cell, State};
use crate::tree::{Command, CrashHow, TreeFault};

type NodeId = u64;

/// Something that happened to a node.
enum Happened {
    Ended(NodeId, u64, ExitReason),
    RestartDue(NodeId, u64),
    PatienceOver(NodeId, u64),
    BudgetOver,
}

enum Kind {
    Actor { spec: ChildSpec, running: Option<Running>, window: Window, short_lives: u32 },
    Supervisor { spec: SupervisorSpec, children: Vec<NodeId>, window: Window, restarting: bool },
}

struct Node {
    path: String,
    parent: Option<NodeId>,
    cell: Arc<Cell>,
    kind: Kind,
    /// Grows with each start: what is told about an earlier incarnation is ignored.
    incarnation: u64,
    alive: bool,
    started: Instant,
    /// What to do once it is down.
    after_stop: AfterStop,
}

enum AfterStop {
    Nothing,
    /// Its supervisor restarts a group it belongs to.
    Restart,
    /// Forget it.
    Forget,
    /// Start this instead.
    Replace(Box<ChildSpec>),
}

pub(crate) struct TreeTask {
    nodes: HashMap<NodeId, Node>,
    by_path: HashMap<String, NodeId>,
    next_id: NodeId,
    root: NodeId,
    happenings: FuturesUnordered<LocalBoxFuture<'static, Happened>>,
    clock: Arc<dyn WallClock>,
    give_up: watch::Sender<Option<String>>,
    stopping: Option<Shutdown>,
}

struct Shutdown {
    queue: VecDeque<NodeId>,
    done: Vec<oneshot::Sender<()>>,
}

impl TreeTask {
    pub(crate) fn new(
        root: SupervisorSpec,
        cell: Arc<Cell>,
        clock: Arc<dyn WallClock>,
        give_up: watch::Sender<Option<String>>,
    ) -> Self {
        let mut task = Self {
            nodes: HashMap::new(),
            by_path: HashMap::new(),
            next_id: 0,
            root: 0,
            happenings: FuturesUnordered::new(),
            clock,
            give_up,
            stopping: None,
        };
        let path = root.name.clone();
        task.root = task.add_supervisor(root, None, path, cell);
        task
    }

    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Command>) {
        self.start_node(self.root);
        loop {
            tokio::select! {
                // What happened comes before what is wanted: an order then sees the tree as it is.
                biased;
                Some(happened) = self.happenings.next(), if !self.happenings.is_empty() => self.note(happened),
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
        }
    }

    fn add_supervisor(
        &mut self,
        spec: SupervisorSpec,
        parent: Option<NodeId>,
        path: String,
        cell: Arc<Cell>,
    ) -> NodeId {
        let children = spec.children.clone();
        let kind = Kind::Supervisor { spec, children: Vec::new(), window: Window::default(), restarting: false };
        let id = self.add_node(parent, path.clone(), cell.clone(), kind);
        for child in children {
            match child {
                Child::Actor(child) => {
                    self.add_actor(child, id);
                }
                Child::Supervisor(child) => {
                    let child_cell = Cell::new(&child.name, Some(child.strategy), None);
                    cell.add(child_cell.clone());
                    let path = format!("{path}/{}", child.name);
                    let child = self.add_supervisor(child, Some(id), path, child_cell);
                    self.children_mut(id).push(child);
                }
            }
        }
        id
    }

    fn add_actor(&mut self, spec: ChildSpec, parent: NodeId) -> NodeId {
        let cell = Cell::new(&spec.name, None, Some(spec.doorway.clone()));
        self.nodes[&parent].cell.add(cell.clone());
        let path = format!("{}/{}", self.nodes[&parent].path, spec.name);
        let kind = Kind::Actor { spec, running: None, window: Window::default(), short_lives: 0 };
        let id = self.add_node(Some(parent), path, cell, kind);
        self.children_mut(parent).push(id);
        id
    }

    fn add_node(&mut self, parent: Option<NodeId>, path: String, cell: Arc<Cell>, kind: Kind) -> NodeId {
        self.next_id += 1;
        let id = self.next_id;
        self.by_path.insert(path.clone(), id);
        let node = Node {
            path,
            parent,
            cell,
            kind,
            incarnation: 0,
            alive: false,
            started: Instant::now(),
            after_stop: AfterStop::Nothing,
        };
        self.nodes.insert(id, node);
        id
    }

    fn children_mut(&mut self, id: NodeId) -> &mut Vec<NodeId> {
        match &mut self.node_mut(id).kind {
            Kind::Supervisor { children, .. } => children,
            Kind::Actor { .. } => unreachable!("only supervisors have children"),
        }
    }

    fn children(&self, id: NodeId) -> Vec<NodeId> {
        match self.nodes.get(&id).map(|node| &node.kind) {
            Some(Kind::Supervisor { children, .. }) => children.clone(),
            _ => Vec::new(),
        }
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("ids in the table stay until the node is forgotten")
    }

    fn start_node(&mut self, id: NodeId) {
        if self.stopping.is_some() {
            return;
        }
        let now = self.clock.now();
        let node = self.node_mut(id);
        if node.alive {
            return;
        }
        node.started = Instant::now();
        node.incarnation += 1;
        let incarnation = node.incarnation;
        match &mut node.kind {
            Kind::Supervisor { .. } => {
                node.alive = true;
                node.cell.started(now);
                for child in self.children(id) {
                    self.start_node(child);
                }
            }
            Kind::Actor { spec, running, .. } => match (spec.start)() {
                Ok(mut started) => {
                    let exit = std::mem::replace(&mut started.exit, Box::pin(std::future::pending()));
                    *running = Some(started);
                    node.alive = true;
                    node.cell.started(now);
                    self.happenings.push(Box::pin(async move { Happened::Ended(id, incarnation, exit.await) }));
                }
                Err(reason) => {
                    node.alive = true;
                    self.happenings.push(Box::pin(async move { Happened::Ended(id, incarnation, reason) }));
                }
            },
        }
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Ended(id, incarnation, reason) => {
                if self.nodes.get(&id).is_some_and(|node| node.incarnation == incarnation && node.alive) {
                    self.ended(id, reason);
                }
            }
            Happened::RestartDue(id, incarnation) => {
                let due = self
                    .nodes
                    .get(&id)
                    .is_some_and(|node| node.incarnation == incarnation && node.cell.state() == State::BackingOff);
                if due {
                    self.start_node(id);
                }
            }
            Happened::PatienceOver(id, incarnation) => {
                let Some(node) = self.nodes.get(&id) else { return };
                if node.incarnation == incarnation
                    && node.alive
                    && let Kind::Actor { running: Some(running), .. } = &node.kind
                {
                    tracing::warn!(actor = %node.path, "did not stop in time and is cut off");
                    running.abort.abort();
                }
            }
            Happened::BudgetOver => {
                for node in self.nodes.values() {
                    if let Kind::Actor { running: Some(running), .. } = &node.kind {
                        tracing::warn!(actor = %node.path, "still there when the time to stop was over: cut off");
                        running.abort.abort();
                    }
                }
            }
        }
    }

    /// An actor ended: record first, restart second.
    fn ended(&mut self, id: NodeId, reason: ExitReason) {
        let now = self.clock.now();
        let node = self.node_mut(id);
        node.alive = false;
        let Kind::Actor { spec, running, .. } = &mut node.kind else { return };
        if let Some(running) = running.take() {
            (running.close)();
        }
        node.cell.ended(reason.word(), reason.text(), now);
        let rule = spec.rule;
        let pace_life = node.started.elapsed();
        let asked = node.cell.state() == State::Stopping;
        if asked {
            node.cell.set_state(State::Stopped);
            tracing::debug!(actor = %node.path, reason = reason.word(), "stopped");
        } else if reason.is_bad() {
            tracing::error!(actor = %node.path, reason = reason.word(), cause = %reason.text(), "ended");
        } else {
            tracing::info!(actor = %node.path, reason = reason.word(), "ended");
        }
        if self.stopping.is_some() {
            self.node_mut(id).cell.set_state(State::Stopped);
            return self.stop_next();
        }
        match std::mem::replace(&mut self.node_mut(id).after_stop, AfterStop::Nothing) {
            AfterStop::Forget => return self.forget(id),
            AfterStop::Replace(spec) => {
                let parent = self.nodes[&id].parent;
                self.forget(id);
                if let Some(parent) = parent {
                    let id = self.add_actor(*spec, parent);
                    self.start_node(id);
                }
                return;
            }
            AfterStop::Restart => return self.group_member_down(id),
            AfterStop::Nothing if asked => return,
            AfterStop::Nothing => {}
        }
        let again = match rule {
            RestartRule::Permanent => true,
            RestartRule::Transient => reason.is_bad(),
            RestartRule::Temporary => false,
        };
        if !again {
            self.node_mut(id).cell.set_state(State::Stopped);
            return;
        }
        let parent = self.nodes[&id].parent.expect("an actor has a supervisor");
        let short_life = match &self.nodes[&parent].kind {
            Kind::Supervisor { spec, .. } => spec.pace.short_life,
            Kind::Actor { .. } => Duration::ZERO,
        };
        if let Kind::Actor { short_lives, .. } = &mut self.node_mut(id).kind {
            *short_lives = if pace_life < short_life { *short_lives + 1 } else { 0 };
        }
        self.restart_child(parent, id, &reason);
    }

    /// Applies intensity and strategy of supervisor `parent` to its child `id`, which is down.
    fn restart_child(&mut self, parent: NodeId, id: NodeId, reason: &ExitReason) {
        let now = Instant::now();
        let (spec, admitted) = match &mut self.node_mut(parent).kind {
            Kind::Supervisor { spec, window, .. } => {
                let spec = spec.clone();
                let admitted = match spec.on_limit {
                    OnLimit::Escalate => window.admit(spec.intensity, now),
                    OnLimit::HoldChild => true,
                };
                (spec, admitted)
            }
            Kind::Actor { .. } => unreachable!("a parent is a supervisor"),
        };
        if spec.on_limit == OnLimit::HoldChild {
            let child = self.node_mut(id);
            let held = match &mut child.kind {
                Kind::Actor { window, .. } | Kind::Supervisor { window, .. } => !window.admit(spec.intensity, now),
            };
            if held {
                child.cell.set_state(State::Held);
                tracing::error!(actor = %child.path, "ended too often and is held until somebody releases it");
                return;
            }
        }
        if !admitted {
            return self
                .supervisor_fails(parent, format!("{} ended too often: {}", self.nodes[&id].path, reason.text()));
        }
        let siblings = self.children(parent);
        let group: Vec<NodeId> = match spec.strategy {
            Strategy::OneForOne => vec![],
            Strategy::OneForAll => siblings.into_iter().filter(|one| *one != id).collect(),
            Strategy::RestForOne => siblings.into_iter().skip_while(|one| *one != id).skip(1).collect(),
        };
        let alive: Vec<NodeId> = group.into_iter().filter(|one| self.nodes[one].alive).collect();
        if alive.is_empty() {
            return self.restart_after_pause(parent, id);
        }
        if let Kind::Supervisor { restarting, .. } = &mut self.node_mut(parent).kind {
            *restarting = true;
        }
        self.node_mut(id).after_stop = AfterStop::Nothing;
        self.node_mut(id).cell.set_state(State::BackingOff);
        for member in alive.into_iter().rev() {
            self.stop_for_restart(member);
        }
        self.group_member_down(id);
    }

    fn restart_after_pause(&mut self, parent: NodeId, id: NodeId) {
        let pace = match &self.nodes[&parent].kind {
            Kind::Supervisor { spec, .. } => spec.pace,
            Kind::Actor { .. } => return,
        };
        let chance = (RandomState::new().hash_one(id) % 1000) as f64 / 1000.0;
        let node = self.node_mut(id);
        let short_lives = match &node.kind {
            Kind::Actor { short_lives, .. } => *short_lives,
            Kind::Supervisor { .. } => 0,
        };
        let pause = pace.pause(short_lives, chance);
        node.cell.restarting();
        if pause.is_zero() {
            return self.start_node(id);
        }
        node.cell.set_state(State::BackingOff);
        let incarnation = node.incarnation;
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Happened::RestartDue(id, incarnation)
        }));
    }

    /// Stops a node so that its group can be started again in order.
    fn stop_for_restart(&mut self, id: NodeId) {
        for child in self.children(id).into_iter().rev() {
            if self.nodes[&child].alive {
                self.stop_for_restart(child);
            }
        }
        let node = self.node_mut(id);
        match node.kind {
            Kind::Actor { .. } => {
                node.after_stop = AfterStop::Restart;
                self.ask_to_stop(id);
            }
            Kind::Supervisor { .. } => node.alive = false,
        }
    }

    /// One of a group that restarts together is down; when all are, the supervisor starts them in order.
    fn group_member_down(&mut self, id: NodeId) {
        let mut parent = self.nodes[&id].parent;
        // The supervisor that restarts the group may be further up.
        while let Some(candidate) = parent {
            let restarting = matches!(&self.nodes[&candidate].kind, Kind::Supervisor { restarting: true, .. });
            if restarting {
                break;
            }
            parent = self.nodes[&candidate].parent;
        }
        let Some(parent) = parent else { return };
        if self.any_stopping(parent) {
            return;
        }
        if let Kind::Supervisor { restarting, .. } = &mut self.node_mut(parent).kind {
            *restarting = false;
        }
        for child in self.children(parent) {
            if !self.nodes[&child].alive {
                let node = self.node_mut(child);
                node.cell.restarting();
                // A group that starts afresh starts without the pauses its members had earned.
                if let Kind::Actor { short_lives, .. } = &mut node.kind {
                    *short_lives = 0;
                }
                self.start_node(child);
            }
        }
    }

    fn any_stopping(&self, id: NodeId) -> bool {
        self.children(id).into_iter().any(|child| {
            let node = &self.nodes[&child];
            matches!(node.after_stop, AfterStop::Restart) || self.any_stopping(child)
        })
    }

    /// A supervisor saw too many restarts.
    fn supervisor_fails(&mut self, id: NodeId, cause: String) {
        let now = self.clock.now();
        let node = self.node_mut(id);
        tracing::error!(supervisor = %node.path, %cause, "gives up");
        node.cell.ended("failed", cause.clone(), now);
        let Some(parent) = node.parent else {
            self.give_up.send_replace(Some(cause));
            return;
        };
        if let Kind::Supervisor { window, restarting, .. } = &mut node.kind {
            window.clear();
            *restarting = true;
        }
        let admitted = match &mut self.node_mut(parent).kind {
            Kind::Supervisor { spec, window, .. } => window.admit(spec.intensity, Instant::now()),
            Kind::Actor { .. } => false,
        };
        if !admitted {
            return self.supervisor_fails(parent, cause);
        }
        self.node_mut(id).cell.restarting();
        for child in self.children(id).into_iter().rev() {
            if self.nodes[&child].alive {
                self.stop_for_restart(child);
            }
        }
        if let Some(first) = self.children(id).first().copied() {
            self.group_member_down(first);
        }
    }

    fn ask_to_stop(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let incarnation = node.incarnation;
        let Kind::Actor { spec, running, .. } = &mut node.kind else { return };
        let patience = spec.patience;
        let Some(running) = running else { return };
        node.cell.set_state(State::Stopping);
        match running.order.take() {
            // A receiver that is gone belongs to an actor that is ending anyway.
            Some(order) => drop(order.send(Order::Stop)),
            None => running.abort.abort(),
        }
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(patience).await;
            Happened::PatienceOver(id, incarnation)
        }));
    }

    fn forget(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.by_path.remove(&node.path);
        if let Some(parent) = node.parent {
            self.children_mut(parent).retain(|child| *child != id);
            self.nodes[&parent].cell.remove(&node.cell);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::StartChild(path, spec) => self.start_child(&path, spec),
            Command::StopChild(path) => {
                if let Some(id) = self.by_path.get(&path).copied() {
                    if self.nodes[&id].alive {
                        self.node_mut(id).after_stop = AfterStop::Forget;
                        self.ask_to_stop(id);
                    } else {
                        self.forget(id);
                    }
                }
            }
            Command::Release(path, answer) => drop(answer.send(self.release(&path))),
            Command::Crash(path, how, answer) => drop(answer.send(self.crash(path, how))),
            Command::StopAll(budget, done) => self.stop_all(budget, done),
        }
    }

    fn start_child(&mut self, path: &str, spec: ChildSpec) {
        let Some(parent) = self.by_path.get(path).copied() else {
            tracing::error!(supervisor = path, child = %spec.name, "no such supervisor: the child is not started");
            return;
        };
        let child_path = format!("{path}/{}", spec.name);
        match self.by_path.get(&child_path).copied() {
            Some(old) if self.nodes[&old].alive => {
                self.node_mut(old).after_stop = AfterStop::Replace(Box::new(spec));
                self.ask_to_stop(old);
            }
            Some(old) => {
                self.forget(old);
                let id = self.add_actor(spec, parent);
                self.start_node(id);
            }
            None => {
                let id = self.add_actor(spec, parent);
                self.start_node(id);
            }
        }
    }

    fn release(&mut self, path: &str) -> Result<(), TreeFault> {
        let id = self.by_path.get(path).copied().ok_or_else(|| TreeFault::Unknown(path.to_owned()))?;
        let node = self.node_mut(id);
        if node.cell.state() != State::Held {
            return Err(TreeFault::NotNow(format!("{path} is not held")));
        }
        if let Kind::Actor { window, short_lives, .. } = &mut node.kind {
            window.clear();
            *short_lives = 0;
        }
        node.cell.restarting();
        self.start_node(id);
        Ok(())
    }

    fn crash(&mut self, path: String, how: CrashHow) -> Result<(), TreeFault> {
        let id = self.by_path.get(&path).copied().ok_or_else(|| TreeFault::Unknown(path.clone()))?;
        let Kind::Actor { running: Some(running), .. } = &mut self.node_mut(id).kind else {
            return Err(TreeFault::NotNow(format!("{path} is not a running actor")));
        };
        let order = match how {
            CrashHow::Panic => Order::Panic,
            CrashHow::Error => Order::Fail,
            // Not Order::Stop: that is a stop on request. Here the actor ends and its rule decides.
            CrashHow::Stop => Order::Stop,
        };
        let sender = running.order.take().ok_or_else(|| TreeFault::NotNow(format!("{path} is ending already")))?;
        sender.send(order).map_err(|_| TreeFault::NotNow(format!("{path} is ending already")))
    }

    fn stop_all(&mut self, budget: Duration, done: oneshot::Sender<()>) {
        if let Some(shutdown) = &mut self.stopping {
            // A second request skips to the end.
            shutdown.done.push(done);
            return self.note(Happened::BudgetOver);
        }
        let mut queue = VecDeque::new();
        self.in_stop_order(self.root, &mut queue);
        self.stopping = Some(Shutdown { queue, done: vec![done] });
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(budget).await;
            Happened::BudgetOver
        }));
        self.stop_next();
    }

    fn in_stop_order(&self, id: NodeId, queue: &mut VecDeque<NodeId>) {
        for child in self.children(id).into_iter().rev() {
            self.in_stop_order(child, queue);
        }
        queue.push_back(id);
    }

    fn stop_next(&mut self) {
        loop {
            let Some(shutdown) = &mut self.stopping else { return };
            let Some(id) = shutdown.queue.pop_front() else {
                for done in shutdown.done.drain(..) {
                    // Whoever asked may have left.
                    let _ = done.send(());
                }
                return;
            };
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let is_actor = matches!(node.kind, Kind::Actor { .. });
            if is_actor && node.alive {
                return self.ask_to_stop(id);
            }
            node.alive = false;
            node.cell.set_state(State::Stopped);
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
