//! The one task behind a tree: a table of nodes, a queue of what happened to them, and what is wanted of it.
//!
//! How a node's end is judged stands in `judge`, how groups and the whole tree go down in order in `walk`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use mkube_messages::watch;
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::child::{ChildSpec, ExitReason, Order};
use crate::node::{AfterStop, Kind, Node, NodeId};
use crate::pace::Window;
use crate::spec::{Child, SupervisorSpec};
use crate::status::{Cell, State};
use crate::tree::{Command, CrashHow, TreeFault};
use crate::walk::Walk;

/// Something that happened to a node.
pub(crate) enum Happened {
    Ended(NodeId, u64, ExitReason),
    RestartDue(NodeId, u64),
    /// The pause of a group is over; supervisor and number of its walk.
    GroupDue(NodeId, u64),
    PatienceOver(NodeId, u64),
    BudgetOver,
    /// The time a branch had to stop is over.
    BranchBudgetOver(NodeId),
}

pub(crate) struct TreeTask {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    by_path: BTreeMap<String, NodeId>,
    next_id: NodeId,
    pub(crate) root: NodeId,
    pub(crate) happenings: FuturesUnordered<LocalBoxFuture<'static, Happened>>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) give_up: watch::Sender<Option<String>>,
    /// Walks under way, by the supervisor whose children they stop.
    pub(crate) walks: BTreeMap<NodeId, Walk>,
    pub(crate) next_walk: u64,
    /// The whole tree goes down, or is down: nothing starts any more.
    pub(crate) stopping: bool,
}

impl TreeTask {
    pub(crate) fn new(
        root: SupervisorSpec,
        cell: Arc<Cell>,
        clock: Arc<dyn WallClock>,
        give_up: watch::Sender<Option<String>>,
    ) -> Self {
        let mut task = Self {
            nodes: BTreeMap::new(),
            by_path: BTreeMap::new(),
            next_id: 0,
            root: 0,
            happenings: FuturesUnordered::new(),
            clock,
            give_up,
            walks: BTreeMap::new(),
            next_walk: 0,
            stopping: false,
        };
        let path = root.name.clone();
        task.root = task.add_supervisor(root, None, path, cell);
        task
    }

    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Command>) {
        self.start_node(self.root);
        let mut handles = true;
        // Without a handle nobody can give orders any more; what runs stays supervised.
        while handles || !self.happenings.is_empty() {
            tokio::select! {
                // What happened comes before what is wanted: an order then sees the tree as it is.
                biased;
                Some(happened) = self.happenings.next(), if !self.happenings.is_empty() => self.note(happened),
                order = orders.recv(), if handles => match order {
                    Some(order) => self.obey(order),
                    None => handles = false,
                },
            }
        }
    }

    fn add_supervisor(
        &mut self,
        mut spec: SupervisorSpec,
        parent: Option<NodeId>,
        path: String,
        cell: Arc<Cell>,
    ) -> NodeId {
        let children = std::mem::take(&mut spec.children);
        let kind = Kind::Supervisor { spec, children: Vec::new(), window: Window::default() };
        let id = self.add_node(Node::new(parent, path, cell, kind));
        for child in children {
            self.add_child(child, id, usize::MAX);
        }
        id
    }

    /// Adds a child, and what is below it, at a place among its siblings.
    pub(crate) fn add_child(&mut self, child: Child, parent: NodeId, at: usize) -> NodeId {
        let (above, parent_cell) = (self.nodes[&parent].path.clone(), self.nodes[&parent].cell.clone());
        let (cell, id) = match child {
            Child::Actor(spec) => {
                let cell = Cell::new(&spec.name, None, Some(spec.doorway.clone()));
                let path = format!("{above}/{}", spec.name);
                let kind = Kind::Actor { spec, running: None, window: Window::default(), short_lives: 0 };
                (cell.clone(), self.add_node(Node::new(Some(parent), path, cell, kind)))
            }
            Child::Supervisor(spec) => {
                let cell = Cell::new(&spec.name, Some(spec.strategy), None);
                let path = format!("{above}/{}", spec.name);
                (cell.clone(), self.add_supervisor(spec, Some(parent), path, cell))
            }
        };
        parent_cell.add(cell, at);
        let siblings = self.children_mut(parent);
        siblings.insert(at.min(siblings.len()), id);
        id
    }

    fn add_node(&mut self, node: Node) -> NodeId {
        self.next_id += 1;
        self.by_path.insert(node.path.clone(), self.next_id);
        self.nodes.insert(self.next_id, node);
        self.next_id
    }

    /// The node at a path.
    pub(crate) fn at(&self, path: &str) -> Option<NodeId> {
        self.by_path.get(path).copied()
    }

    pub(crate) fn forget(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.by_path.remove(&node.path);
        if let Some(parent) = node.parent {
            self.children_mut(parent).retain(|child| *child != id);
            self.nodes[&parent].cell.remove(&node.cell);
        }
    }

    fn children_mut(&mut self, id: NodeId) -> &mut Vec<NodeId> {
        match &mut self.node_mut(id).kind {
            Kind::Supervisor { children, .. } => children,
            Kind::Actor { .. } => unreachable!("only supervisors have children"),
        }
    }

    pub(crate) fn children(&self, id: NodeId) -> Vec<NodeId> {
        match self.nodes.get(&id).map(|node| &node.kind) {
            Some(Kind::Supervisor { children, .. }) => children.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("ids in the table stay until the node is forgotten")
    }

    /// Starts a node that is down and may come back; a supervisor with its children, in order.
    pub(crate) fn start_node(&mut self, id: NodeId) {
        let now = self.clock.now();
        let node = self.node_mut(id);
        node.walk = None;
        if node.alive || !node.comes_back {
            return;
        }
        node.comes_back = false;
        node.alive = true;
        node.started = Instant::now();
        node.incarnation += 1;
        let incarnation = node.incarnation;
        if incarnation > 1 {
            node.cell.restarting();
        }
        match &mut node.kind {
            Kind::Supervisor { window, .. } => {
                // A supervisor that starts afresh holds nothing against anybody.
                window.clear();
                node.cell.started(now);
                for child in self.children(id) {
                    if self.nodes[&child].comes_back {
                        self.node_mut(child).forgive();
                    }
                    self.start_or_remove(child);
                }
            }
            Kind::Actor { spec, running, .. } => {
                node.cell.set_state(State::Starting);
                let ended: LocalBoxFuture<'static, Happened> = match (spec.start)() {
                    Ok(mut started) => {
                        let exit = std::mem::replace(&mut started.exit, Box::pin(std::future::pending()));
                        *running = Some(started);
                        node.cell.started(now);
                        Box::pin(async move { Happened::Ended(id, incarnation, exit.await) })
                    }
                    // Noted like any other end, after what is going on now.
                    Err(reason) => Box::pin(async move { Happened::Ended(id, incarnation, reason) }),
                };
                self.happenings.push(ended);
            }
        }
    }

    fn note(&mut self, happened: Happened) {
        let is_now = |node: &Node, incarnation: u64| node.incarnation == incarnation;
        match happened {
            Happened::Ended(id, incarnation, reason) => {
                if self.nodes.get(&id).is_some_and(|node| is_now(node, incarnation) && node.alive) {
                    self.ended(id, reason);
                }
            }
            Happened::RestartDue(id, incarnation) => {
                // A node that meanwhile became part of a walk is started by that walk.
                if self.nodes.get(&id).is_some_and(|node| is_now(node, incarnation) && node.walk.is_none()) {
                    self.start_node(id);
                }
            }
            Happened::GroupDue(supervisor, number) => self.start_group(supervisor, number),
            Happened::PatienceOver(id, incarnation) => {
                let Some(node) = self.nodes.get(&id) else { return };
                if is_now(node, incarnation)
                    && let Kind::Actor { running: Some(running), .. } = &node.kind
                {
                    tracing::warn!(actor = %node.path, "did not stop in time and is cut off");
                    running.abort.abort();
                }
            }
            Happened::BudgetOver => self.cut_off(),
            Happened::BranchBudgetOver(id) => self.cut_off_branch(id),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::StartChild(path, spec) => self.start_child(&path, spec),
            Command::StopChild(path) => self.stop_child(&path),
            Command::StartBranch { parent, child, before } => self.start_branch(&parent, child, before.as_deref()),
            Command::StopBranch(path, budget, done) => self.stop_branch(&path, budget, done),
            Command::Release(path, answer) => drop(answer.send(self.release(&path))),
            Command::Crash(path, how, answer) => drop(answer.send(self.crash(&path, how))),
            Command::StopAll(budget, done) => self.stop_all(budget, done),
        }
    }

    fn start_child(&mut self, path: &str, spec: ChildSpec) {
        if self.stopping {
            tracing::debug!(supervisor = path, child = %spec.name, "not started: everything stops");
            return;
        }
        let Some(parent) = self.by_path.get(path).copied().filter(|id| !self.nodes[id].is_actor()) else {
            tracing::error!(supervisor = path, child = %spec.name, "no such supervisor: the child is not started");
            return;
        };
        match self.by_path.get(&format!("{path}/{}", spec.name)).copied() {
            Some(old) if !self.nodes[&old].is_actor() => {
                tracing::error!(supervisor = path, child = %spec.name, "a supervisor has that name: not started");
            }
            Some(old) if self.nodes[&old].alive => {
                self.node_mut(old).after_stop = AfterStop::Replace(Box::new(spec));
                self.ask_to_stop(old);
            }
            old => {
                let walk = old.and_then(|old| self.nodes[&old].walk);
                if let Some(old) = old {
                    self.forget(old);
                }
                self.start_instead(old, spec, parent, walk);
            }
        }
    }

    /// Adds an actor and starts it, unless a walk that its predecessor was part of is to do so.
    pub(crate) fn start_instead(&mut self, old: Option<NodeId>, spec: ChildSpec, parent: NodeId, walk: Option<NodeId>) {
        let id = self.add_child(Child::Actor(spec), parent, usize::MAX);
        match walk.and_then(|walk| self.walks.get_mut(&walk).map(|under_way| (walk, under_way))) {
            Some((supervisor, walk)) => {
                walk.replace(old, id);
                self.node_mut(id).walk = Some(supervisor);
            }
            // A supervisor that is down starts it with the others.
            None if self.nodes[&parent].alive && self.nodes[&parent].walk.is_none() => self.start_node(id),
            None => {}
        }
    }

    fn stop_child(&mut self, path: &str) {
        let Some(id) = self.by_path.get(path).copied() else { return };
        if !self.nodes[&id].is_actor() {
            tracing::error!(supervisor = path, "a supervisor stops with its branch only");
        } else if self.nodes[&id].alive {
            self.node_mut(id).after_stop = AfterStop::Forget;
            self.ask_to_stop(id);
        } else {
            self.forget(id);
        }
    }

    /// Asks an actor to stop; when its patience is over it is cut off. Asking twice is asking once.
    pub(crate) fn ask_to_stop(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let incarnation = node.incarnation;
        if node.cell.state() == State::Stopping {
            return;
        }
        node.cell.set_state(State::Stopping);
        let Kind::Actor { spec, running: Some(running), .. } = &mut node.kind else { return };
        let patience = spec.patience;
        // None: it was told to crash. A receiver that is gone: it is ending. Either way its end is under way.
        if let Some(order) = running.order.take() {
            let _ = order.send(Order::Stop);
        }
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(patience).await;
            Happened::PatienceOver(id, incarnation)
        }));
    }

    fn release(&mut self, path: &str) -> Result<(), TreeFault> {
        let id = self.by_path.get(path).copied().ok_or_else(|| TreeFault::Unknown(path.to_owned()))?;
        if self.stopping {
            return Err(TreeFault::NotNow("everything stops".to_owned()));
        }
        let node = self.node_mut(id);
        if node.cell.state() != State::Held {
            return Err(TreeFault::NotNow(format!("{path} is not held")));
        }
        node.forgive();
        node.comes_back = true;
        match node.walk {
            // Its group is on the way down and starts it.
            Some(_) => node.cell.set_state(State::BackingOff),
            None => self.start_node(id),
        }
        Ok(())
    }

    fn crash(&mut self, path: &str, how: CrashHow) -> Result<(), TreeFault> {
        let id = self.by_path.get(path).copied().ok_or_else(|| TreeFault::Unknown(path.to_owned()))?;
        let Kind::Actor { running: Some(running), .. } = &mut self.node_mut(id).kind else {
            return Err(TreeFault::NotNow(format!("{path} is not a running actor")));
        };
        let order = match how {
            CrashHow::Panic => Order::Panic,
            CrashHow::Error => Order::Fail,
            // The node's state does not become Stopping: its supervisor did not ask, so its rule decides.
            CrashHow::Stop => Order::Stop,
        };
        let sender = running.order.take().ok_or_else(|| TreeFault::NotNow(format!("{path} is ending already")))?;
        sender.send(order).map_err(|_| TreeFault::NotNow(format!("{path} is ending already")))
    }
}
