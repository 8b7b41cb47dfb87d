//! What one pod makes of its probes, of reboots, of restarts without end, and of being paused.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mkube_messages::health::{ContainerHealth, Run};
use mkube_model::workloads;
use serde_json::Value;

use crate::ladder::{self, HELD, Ladder};
use crate::memory::Memory;
use crate::plan::{ContainerPlan, PodPlan};
use crate::pod_actor::PodActor;
use crate::status::{
    MoreCondition, RecordedHealth, Trouble, recorded_condition, recorded_drained, recorded_restarts, stamp,
};

/// The condition of a pod with probes that its device cannot ask. They count as absent.
pub const PROBES_NOT_ASKED: &str = "vkube.io/ProbesNotAsked";

impl PodActor {
    /// What the probes say of a run.
    pub(crate) fn probed(&self, container: &str, run: &Run) -> Option<ContainerHealth> {
        let view = self.parts.health.borrow().clone();
        view.pods.get(&self.desired.borrow().pod.key)?.get(container).filter(|health| health.run == *run).cloned()
    }

    /// Whether a container is started and ready as far as its probes go. Until they said something of a run, what was told of the
    /// same run before stands: a restart of mkube takes nobody out of service.
    pub(crate) fn health_of(&self, container: &ContainerPlan, recorded: Option<&RecordedHealth>) -> (bool, bool) {
        let probed = recorded.and_then(|recorded| self.probed(&container.name, &recorded.run));
        up_and_ready(container, probed.as_ref(), recorded)
    }

    /// What is known of a container that is met for the first time.
    pub(crate) fn memory_of(
        &self,
        container: &ContainerPlan,
        plan: &PodPlan,
        status: &Value,
        booted: Option<Timestamp>,
    ) -> Memory {
        let told = recorded_condition(status, HELD);
        // A reboot forgives; a device whose start is not known did none.
        let told = told.filter(|(_, since)| booted.is_none_or(|booted| **since >= *stamp(booted)));
        let ladder = told.and_then(|(message, _)| ladder::read(message, &plan.wish, &container.name));
        let restarts = recorded_restarts(status, &container.name);
        let at_rest = recorded_drained(status, &container.name);
        Memory { at_rest, ..Memory::of(self.parts.restarts, restarts, ladder.unwrap_or_default(), &plan.wish) }
    }

    /// Conditions beside those of Kubernetes, where there is something to say.
    pub(crate) fn more_conditions(&self, plan: &PodPlan) -> Vec<MoreCondition> {
        let ladders: BTreeMap<&str, Ladder> = plan
            .containers
            .iter()
            .filter_map(|container| Some((container.name.as_str(), self.memories.get(&container.row)?.ladder)))
            .collect();
        let told = ladder::told(&ladders, &plan.wish);
        let held = told.map(|(holds, message)| {
            let reason = if holds { "RestartedTooOften" } else { "Restarting" };
            MoreCondition { kind: HELD, holds, reason, message }
        });
        let paused = plan.paused.then(|| MoreCondition {
            kind: workloads::PAUSED,
            holds: true,
            reason: "Paused",
            message: paused_because(),
        });
        held.into_iter().chain(paused).chain(self.unasked()).collect()
    }

    /// Whether there are probes that the device cannot ask.
    fn unasked(&self) -> Option<MoreCondition> {
        let view = self.parts.health.borrow().clone();
        let health = view.pods.get(&self.desired.borrow().pod.key)?;
        let unasked = health.iter().filter_map(|(name, health)| Some((name, health.unasked.as_ref()?)));
        let told: Vec<String> = unasked.map(|(name, why)| format!("container {name}, {why}")).collect();
        let message = told.join("; ");
        (!message.is_empty()).then_some(MoreCondition {
            kind: PROBES_NOT_ASKED,
            holds: true,
            reason: "ProbeUnsupported",
            message,
        })
    }

    /// A container is not started any more: said in its status, and once in an event.
    pub(crate) fn hold(&mut self, plan: &PodPlan, container: &ContainerPlan) {
        let message = ladder::held_because(&container.name);
        let trouble = Trouble { reason: "CrashLoopBackOff".into(), message: message.clone() };
        self.memories.entry(container.row.clone()).or_default().ladder.held = true;
        let told = recorded_condition(&self.told_status(), HELD).is_some_and(|(told, _)| told.starts_with(&message));
        let known =
            self.troubles.insert(container.row.clone(), trouble.clone()).is_some_and(|before| before == trouble);
        if !known && !told {
            self.event(plan, true, "Held", message);
        }
    }

    /// The status as it was last reported or stored.
    fn told_status(&self) -> Value {
        let reported = self.reported.as_ref().and_then(|(told, _)| serde_json::from_str(told).ok());
        reported.unwrap_or_else(|| self.desired.borrow().pod.value()["status"].take())
    }
}

/// Whether a container is started and ready, by what its probes say of its run, or else by what was told of that run before.
fn up_and_ready(
    container: &ContainerPlan,
    probed: Option<&ContainerHealth>,
    recorded: Option<&RecordedHealth>,
) -> (bool, bool) {
    let told = match (probed, recorded) {
        (Some(probed), _) => (probed.started, probed.ready),
        (None, Some(recorded)) => (recorded.up, recorded.ready),
        (None, None) => (false, false),
    };
    let up = !container.startup || told.0;
    (up, up && (!container.readiness || told.1))
}

/// What keeps a container of a paused pod from being touched.
pub(crate) fn paused() -> Trouble {
    Trouble { reason: "Paused".into(), message: paused_because() }
}

fn paused_because() -> String {
    format!(
        "{} is \"true\": it is neither started nor stopped nor restarted before the annotation is taken away",
        workloads::PAUSED
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::next_step::tests::a_plan;

    #[test]
    fn what_was_told_of_a_run_stands_until_its_probes_say_something_and_a_new_run_is_not_ready() {
        let container = ContainerPlan { startup: true, readiness: true, ..a_plan() };
        let recorded = RecordedHealth { run: Run::default(), up: true, ready: true };
        let run = Run::default();
        let bad = ContainerHealth { run, started: true, ready: false, failed: None, unasked: None };
        assert_eq!(up_and_ready(&container, None, Some(&recorded)), (true, true));
        assert_eq!(up_and_ready(&container, Some(&bad), Some(&recorded)), (true, false));
        assert_eq!(up_and_ready(&container, None, None), (false, false));
        assert_eq!(up_and_ready(&a_plan(), None, None), (true, true), "without probes running is ready");
    }
}
