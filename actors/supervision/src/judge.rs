//! What follows from the end of a node: recorded first, restarted second.

use std::time::Duration;

use mkube_model::names::fnv1a;
use tokio::time::Instant;

use crate::child::ExitReason;
use crate::node::{AfterStop, Kind, NodeId};
use crate::spec::{OnLimit, RestartRule, Strategy};
use crate::status::State;
use crate::tree_task::{Happened, TreeTask};

impl TreeTask {
    /// An actor ended.
    pub(crate) fn ended(&mut self, id: NodeId, reason: ExitReason) {
        let (now, stopping) = (self.clock.now(), self.stopping);
        let node = self.node_mut(id);
        node.alive = false;
        let Kind::Actor { spec, running, .. } = &mut node.kind else { return };
        let rule = spec.rule;
        if let Some(running) = running.take() {
            (running.close)();
        }
        let asked = node.cell.state() == State::Stopping;
        node.cell.ended(reason.word(), reason.text(), now);
        node.cell.set_state(State::Stopped);
        if asked {
            tracing::debug!(actor = %node.path, reason = reason.word(), "stopped");
        } else if reason.is_bad() {
            tracing::error!(actor = %node.path, reason = reason.word(), cause = %reason.text(), "ended");
        } else {
            tracing::info!(actor = %node.path, reason = reason.word(), "ended");
        }
        let (walk, parent) = (node.walk, node.parent.expect("an actor has a supervisor"));
        match std::mem::replace(&mut node.after_stop, AfterStop::Nothing) {
            AfterStop::Nothing => {
                if walk.is_some() && node.comes_back && !stopping {
                    node.cell.set_state(State::BackingOff);
                }
            }
            AfterStop::Forget => self.forget(id),
            AfterStop::Replace(spec) => {
                self.forget(id);
                if !self.stopping {
                    self.start_instead(Some(id), *spec, parent, walk);
                }
            }
        }
        if let Some(supervisor) = walk {
            return self.advance(supervisor);
        }
        let again = match rule {
            RestartRule::Permanent => true,
            RestartRule::Transient => reason.is_bad(),
            RestartRule::Temporary => false,
        };
        if !asked && again {
            self.count_life(id, parent);
            self.failed(id, &reason.text());
        }
    }

    fn count_life(&mut self, id: NodeId, parent: NodeId) {
        let short_life = match &self.nodes[&parent].kind {
            Kind::Supervisor { spec, .. } => spec.pace.short_life,
            Kind::Actor { .. } => Duration::ZERO,
        };
        let node = self.node_mut(id);
        let was_short = node.started.elapsed() < short_life;
        if let Kind::Actor { short_lives, .. } = &mut node.kind {
            *short_lives = if was_short { *short_lives + 1 } else { 0 };
        }
    }

    /// A child is down and is to be restarted, or a supervisor gave up: intensity first, then strategy.
    fn failed(&mut self, id: NodeId, cause: &str) {
        let now = Instant::now();
        let node = self.node_mut(id);
        node.comes_back = true;
        let Some(parent) = node.parent else {
            self.give_up.send_replace(Some(cause.to_owned()));
            return;
        };
        let is_actor = node.is_actor();
        let Kind::Supervisor { spec, window, .. } = &mut self.node_mut(parent).kind else { return };
        let (strategy, intensity, pace) = (spec.strategy, spec.intensity, spec.pace);
        if spec.on_limit == OnLimit::HoldChild && is_actor {
            let child = self.node_mut(id);
            if let Kind::Actor { window, .. } = &mut child.kind
                && !window.admit(intensity, now)
            {
                child.comes_back = false;
                child.cell.set_state(State::Held);
                tracing::error!(actor = %child.path, "ended too often and is held until somebody releases it");
                return;
            }
        } else if !window.admit(intensity, now) {
            let cause = format!("{} ended too often: {cause}", self.nodes[&id].path);
            return self.supervisor_failed(parent, &cause);
        }
        // Another chance for each name and restart, so that those who died together do not come back together.
        let dying = &self.nodes[&id];
        let chance = (fnv1a(&format!("{} {}", dying.path, dying.incarnation)) % 1000) as f64 / 1000.0;
        let pause = match &self.nodes[&id].kind {
            Kind::Actor { short_lives, .. } => pace.pause(*short_lives, chance),
            Kind::Supervisor { .. } => Duration::ZERO,
        };
        let siblings = self.children(parent);
        let group: Vec<NodeId> = match strategy {
            Strategy::OneForOne if is_actor => return self.restart_alone(id, pause),
            Strategy::OneForOne => vec![id],
            Strategy::OneForAll => siblings,
            Strategy::RestForOne => siblings.into_iter().skip_while(|one| *one != id).collect(),
        };
        self.restart_group(parent, group, pause);
    }

    fn restart_alone(&mut self, id: NodeId, pause: Duration) {
        if pause.is_zero() {
            return self.start_node(id);
        }
        let node = self.node_mut(id);
        node.cell.set_state(State::BackingOff);
        let incarnation = node.incarnation;
        self.happenings.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Happened::RestartDue(id, incarnation)
        }));
    }

    /// A supervisor saw too many restarts: it fails itself, and its own supervisor decides.
    fn supervisor_failed(&mut self, id: NodeId, cause: &str) {
        let now = self.clock.now();
        let node = self.node_mut(id);
        tracing::error!(supervisor = %node.path, cause, "gives up");
        node.cell.ended("failed", cause.to_owned(), now);
        self.failed(id, cause);
    }
}
