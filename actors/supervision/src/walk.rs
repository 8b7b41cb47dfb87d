//! Going down in order: the last started first, one at a time, each within its patience. A group walks down to be started
//! again, a branch to be forgotten, the whole tree to stay down.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::node::{Kind, Node, NodeId};
use crate::status::State;
use crate::tree_task::{Happened, TreeTask};

/// One walk, of some children of one supervisor.
pub(crate) struct Walk {
    /// Tells this walk from an earlier one of the same supervisor.
    number: u64,
    /// Those still to be stopped, next one first.
    queue: VecDeque<NodeId>,
    /// The one that is stopping now.
    waiting: Option<NodeId>,
    end: End,
}

enum End {
    /// Start these again, in the supervisor's order, after a pause.
    Restart { members: Vec<NodeId>, pause: Duration },
    /// Forget the branch that the walk is named after.
    Remove,
    /// Tell those who asked; empty and done once told.
    Stop { asked: Vec<oneshot::Sender<()>>, done: bool },
}

impl Walk {
    /// Through a branch that is to go.
    pub(crate) fn out(number: u64, queue: VecDeque<NodeId>) -> Self {
        Self { number, queue, waiting: None, end: End::Remove }
    }

    /// A new value took the place of a member.
    pub(crate) fn replace(&mut self, old: Option<NodeId>, new: NodeId) {
        if let End::Restart { members, .. } = &mut self.end {
            for member in members.iter_mut().filter(|member| Some(**member) == old) {
                *member = new;
            }
        }
    }
}

impl TreeTask {
    /// Stops what is up of a group, then starts the group. A walk of the same supervisor that is under way grows.
    pub(crate) fn restart_group(&mut self, supervisor: NodeId, group: Vec<NodeId>, pause: Duration) {
        let (earlier, earlier_pause) = match self.walks.remove(&supervisor).map(|walk| walk.end) {
            Some(End::Restart { members, pause }) => (members, pause),
            _ => (Vec::new(), Duration::ZERO),
        };
        // The supervisor's order is the order of starting.
        let members: Vec<NodeId> = self
            .children(supervisor)
            .into_iter()
            .filter(|child| group.contains(child) || earlier.contains(child))
            .collect();
        let mut queue = VecDeque::new();
        for member in members.iter().rev() {
            self.cover(*member, supervisor);
            self.in_stop_order(*member, &mut queue);
        }
        self.next_walk += 1;
        let end = End::Restart { members, pause: pause.max(earlier_pause) };
        self.walks.insert(supervisor, Walk { number: self.next_walk, queue, waiting: None, end });
        self.advance(supervisor);
    }

    /// Makes a node and everything below it part of a walk; walks further down are taken over.
    pub(crate) fn cover(&mut self, id: NodeId, walk: NodeId) {
        self.walks.remove(&id);
        let node = self.node_mut(id);
        node.walk = Some(walk);
        let comes_back = node.alive || node.comes_back || node.cell.state() == State::BackingOff;
        node.comes_back = comes_back && node.may_come_back();
        for child in self.children(id) {
            self.cover(child, walk);
        }
    }

    pub(crate) fn in_stop_order(&self, id: NodeId, queue: &mut VecDeque<NodeId>) {
        for child in self.children(id).into_iter().rev() {
            self.in_stop_order(child, queue);
        }
        queue.push_back(id);
    }

    /// Takes the next step of a walk, if the last one is done.
    pub(crate) fn advance(&mut self, supervisor: NodeId) {
        loop {
            let Some(walk) = self.walks.get_mut(&supervisor) else { return };
            if walk.waiting.is_some_and(|id| self.nodes.get(&id).is_some_and(|node| node.alive)) {
                return;
            }
            walk.waiting = None;
            let Some(id) = walk.queue.pop_front() else { return self.arrived(supervisor) };
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if node.alive && node.is_actor() {
                walk.waiting = Some(id);
                return self.ask_to_stop(id);
            }
            node.alive = false;
            match node.cell.state() {
                _ if self.stopping => node.cell.set_state(State::Stopped),
                State::Held => {}
                _ if node.comes_back => node.cell.set_state(State::BackingOff),
                _ => node.cell.set_state(State::Stopped),
            }
        }
    }

    /// Everything of a walk is down.
    fn arrived(&mut self, supervisor: NodeId) {
        let Some(walk) = self.walks.get_mut(&supervisor) else { return };
        let number = walk.number;
        match &mut walk.end {
            End::Stop { asked, done } => {
                *done = true;
                let leaving = self.nodes.values_mut().filter_map(|node| node.leaving.take()).flatten();
                for asked in asked.drain(..).chain(leaving) {
                    // Whoever asked may have left.
                    let _ = asked.send(());
                }
            }
            End::Remove => self.remove_branch(supervisor),
            End::Restart { pause, .. } if pause.is_zero() => self.start_group(supervisor, number),
            End::Restart { pause, .. } => {
                let pause = *pause;
                self.happenings.push(Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    Happened::GroupDue(supervisor, number)
                }));
            }
        }
    }

    /// Starts the members of a walk whose pause is over.
    pub(crate) fn start_group(&mut self, supervisor: NodeId, number: u64) {
        if self.walks.get(&supervisor).is_none_or(|walk| walk.number != number) {
            return;
        }
        let Some(Walk { end: End::Restart { members, .. }, .. }) = self.walks.remove(&supervisor) else { return };
        for member in members {
            self.uncover(member);
            self.start_or_remove(member);
        }
    }

    fn uncover(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.walk = None;
        }
        for child in self.children(id) {
            self.uncover(child);
        }
    }

    /// Stops everything; a second request skips to the end.
    pub(crate) fn stop_all(&mut self, budget: Duration, answer: oneshot::Sender<()>) {
        if let Some(Walk { end: End::Stop { asked, done }, .. }) = self.walks.get_mut(&self.root) {
            if *done {
                // Whoever asked may have left.
                let _ = answer.send(());
                return;
            }
            asked.push(answer);
            return self.cut_off();
        }
        let mut queue = VecDeque::new();
        self.cover(self.root, self.root);
        self.in_stop_order(self.root, &mut queue);
        self.stopping = true;
        self.next_walk += 1;
        let end = End::Stop { asked: vec![answer], done: false };
        self.walks.insert(self.root, Walk { number: self.next_walk, queue, waiting: None, end });
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(budget).await;
            Happened::BudgetOver
        }));
        self.advance(self.root);
    }

    /// Ends every actor where it stands.
    pub(crate) fn cut_off(&mut self) {
        self.nodes.values().for_each(cut_off);
    }
}

/// Ends an actor where it stands.
pub(crate) fn cut_off(node: &Node) {
    if let Kind::Actor { running: Some(running), .. } = &node.kind {
        tracing::warn!(actor = %node.path, "still there when the time to stop was over: cut off");
        running.abort.abort();
    }
}
