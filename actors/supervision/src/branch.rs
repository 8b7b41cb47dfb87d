//! Branches that come and go while the rest of the tree stays: a child of a supervisor, with all that is below it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::node::NodeId;
use crate::spec::Child;
use crate::tree_task::{Happened, TreeTask};
use crate::walk::{Walk, cut_off};

impl TreeTask {
    pub(crate) fn start_branch(&mut self, path: &str, child: Child, before: Option<&str>) {
        let name = match &child {
            Child::Actor(spec) => &spec.name,
            Child::Supervisor(spec) => &spec.name,
        };
        if self.stopping {
            tracing::debug!(supervisor = path, child = %name, "not started: everything stops");
            return;
        }
        let Some(parent) = self.at(path).filter(|id| !self.nodes[id].is_actor()) else {
            tracing::error!(supervisor = path, child = %name, "no such supervisor: the child is not started");
            return;
        };
        if self.at(&format!("{path}/{name}")).is_some() {
            tracing::debug!(supervisor = path, child = %name, "not started: it is there");
            return;
        }
        let sibling = before.and_then(|before| self.at(&format!("{path}/{before}")));
        let at = self.children(parent).iter().position(|child| Some(*child) == sibling);
        let id = self.add_child(child, parent, at.unwrap_or(usize::MAX));
        // A supervisor that is down starts it with the others.
        if self.nodes[&parent].alive && self.nodes[&parent].walk.is_none() {
            self.start_node(id);
        }
    }

    pub(crate) fn stop_branch(&mut self, path: &str, budget: Duration, asked: oneshot::Sender<()>) {
        // Whoever asks hears of the end of everything by the end of this word.
        let Some(id) = self.at(path).filter(|_| !self.stopping) else { return };
        let mut queue = VecDeque::new();
        self.in_stop_order(id, &mut queue);
        let node = self.node_mut(id);
        let is_first = node.leaving.is_none();
        node.leaving.get_or_insert_default().push(asked);
        if !is_first {
            return;
        }
        if !queue.iter().any(|one| self.is_up(*one)) {
            return self.remove_branch(id);
        }
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(budget).await;
            Happened::BranchBudgetOver(id)
        }));
        // A walk that it is part of takes it down, and does not start it again.
        if self.nodes[&id].walk.is_none() {
            self.cover(id, id);
            self.next_walk += 1;
            self.walks.insert(id, Walk::out(self.next_walk, queue));
            self.advance(id);
        }
    }

    /// Ends what is left of a branch.
    pub(crate) fn cut_off_branch(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_none_or(|node| node.leaving.is_none()) {
            return;
        }
        let mut left = VecDeque::new();
        self.in_stop_order(id, &mut left);
        if left.iter().any(|one| self.is_up(*one)) {
            left.iter().filter_map(|one| self.nodes.get(one)).for_each(cut_off);
        } else {
            // Its group pauses before it would be started again.
            self.remove_branch(id);
        }
    }

    fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.is_actor() && node.alive)
    }

    /// Starts a child, or forgets one that was to go meanwhile.
    pub(crate) fn start_or_remove(&mut self, id: NodeId) {
        match self.nodes.get(&id).map(|node| node.leaving.is_some()) {
            Some(true) => self.remove_branch(id),
            Some(false) => self.start_node(id),
            None => {}
        }
    }

    /// Forgets a branch that is down, and tells whoever waited for it.
    pub(crate) fn remove_branch(&mut self, id: NodeId) {
        self.walks.remove(&id);
        for child in self.children(id) {
            self.remove_branch(child);
        }
        let asked = self.nodes.get_mut(&id).and_then(|node| node.leaving.take());
        self.forget(id);
        for asked in asked.into_iter().flatten() {
            // Whoever asked may have left.
            let _ = asked.send(());
        }
    }
}
