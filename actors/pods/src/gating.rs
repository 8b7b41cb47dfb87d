//! What a pod's gate makes of a step, and whether the device starts a container by itself. Pure.

use mkube_messages::gates::{BOOT_ORDER, CYCLE, DRAINED, Gate, WAITING};
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_messages::router::DeviceSnapshot;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::router::{ContainerRow, ContainerState};
use serde_json::Value;

use crate::next_step::{Step, Why};
use crate::plan::{ContainerPlan, PodPlan, RestartPolicy, hash_in_mark, is_ours};
use crate::pod_actor::PodActor;
use crate::status::Trouble;

/// The step, as far as the gate lets it through. A closed gate keeps a process from being started and ends none.
pub fn gated(step: Step, gate: &Gate, container: &ContainerPlan, row: Option<&ContainerRow>) -> Step {
    let is_ours = row.is_some_and(|row| is_ours(row, container));
    match (gate, row.map(|row| row.state)) {
        (Gate::Open, _) => step,
        (Gate::Closed { .. }, _) if step == Step::Start => Step::Gated,
        (Gate::Closed { .. }, _) => step,
        // What is not ours, and what ran to its end, is as it is.
        (Gate::Stop { .. }, _) if matches!(step, Step::Blocked(_)) && !is_ours => step,
        (Gate::Stop { .. }, Some(ContainerState::Running | ContainerState::Starting)) => Step::Stop(Why::Drained),
        (Gate::Stop { .. }, Some(ContainerState::Stopped)) if step == Step::Settled => step,
        (Gate::Stop { .. }, Some(ContainerState::Stopped | ContainerState::Failed) | None) => Step::Gated,
        (Gate::Stop { .. }, Some(_)) => Step::Wait,
    }
}

/// Whether the device starts the container by itself when it boots: not when it has a place in the boot order, which mkube keeps, and
/// not while the node is drained.
pub fn starts_on_boot(plan: &PodPlan, gate: &Gate) -> bool {
    plan.restart == RestartPolicy::Always && !plan.ordered && !matches!(gate, Gate::Stop { .. })
}

/// Brings that up to date on a row of ours for which nothing else is to be done: it never keeps a process from being started or
/// stopped.
pub fn or_start_on_boot(step: Step, on: bool, container: &ContainerPlan, row: Option<&ContainerRow>) -> Step {
    let Some(row) = row.filter(|row| is_ours(row, container) && hash_in_mark(&row.comment).is_some()) else {
        return step;
    };
    let idle = match step {
        Step::Settled => row.state == ContainerState::Running,
        Step::Gated => row.state == ContainerState::Stopped,
        _ => false,
    };
    if idle && row.start_on_boot != on { Step::SetStartOnBoot(on) } else { step }
}

/// Whether a status says that the pod was given its place on the node: cordoning it later changes nothing for the pod.
pub fn is_placed(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "PodScheduled" && one["status"] == "True")
}

/// Whether a gate's reason, and no trouble of the container's own.
pub fn is_of_gate(reason: &str) -> bool {
    [BOOT_ORDER, WAITING, CYCLE, DRAINED].contains(&reason)
}

/// What a waiting container says of a gate that is not open.
pub fn trouble_of(gate: &Gate) -> Option<Trouble> {
    match gate {
        Gate::Open => None,
        Gate::Closed { reason, message } | Gate::Stop { reason, message } => {
            Some(Trouble { reason: (*reason).to_owned(), message: message.clone() })
        }
    }
}

impl PodActor {
    /// What the pod may do.
    pub(crate) fn gate(&self, plan: &PodPlan, device: &DeviceSnapshot) -> Gate {
        let pod = ObjectKey::new(plan.namespace.as_str(), plan.name.as_str());
        self.parts.gates.borrow().of(&pod, device.boots, plan.ordered)
    }

    /// Why the pod gets no place on the node, if that is so: the node is cordoned, and the pod neither has a row nor had a place before.
    pub(crate) fn unschedulable(&self, status: &Value, plan: &PodPlan, device: &DeviceSnapshot) -> Option<String> {
        let has_row = plan
            .containers
            .iter()
            .any(|container| device.containers.get(&container.row).is_some_and(|row| is_ours(row, container)));
        let node = &self.parts.settings.node_name;
        let closed = || is_cordoned(&self.parts.objects.view(), &self.parts.nodes, node);
        (!has_row && !plan.deleting && !is_placed(status) && closed())
            .then(|| "0/1 nodes are available: 1 node(s) were unschedulable.".to_owned())
    }
}

/// `spec.unschedulable` of the node.
pub fn is_cordoned(view: &ObjectsView, nodes: &KindId, node: &str) -> bool {
    let node = view.get(nodes, &ObjectKey::new("", node));
    // A look at the text first: this is asked often, and true seldom.
    node.filter(|node| node.text().contains("\"unschedulable\":true"))
        .is_some_and(|node| node.value().pointer("/spec/unschedulable") == Some(&Value::Bool(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::next_step::tests::{a_plan, a_row};

    fn closed() -> Gate {
        Gate::Closed { reason: "WaitingForDependencies", message: "db".into() }
    }

    #[test]
    fn a_closed_gate_keeps_from_starting_and_from_nothing_else() {
        let row = a_row(ContainerState::Stopped);
        assert_eq!(gated(Step::Start, &closed(), &a_plan(), Some(&row)), Step::Gated);
        assert_eq!(gated(Step::Start, &Gate::Open, &a_plan(), Some(&row)), Step::Start);
        for step in [
            Step::LeaseAddress,
            Step::EnsureTarball,
            Step::EnsureContainer,
            Step::Stop(Why::SpecChanged),
            Step::Remove(Why::SpecChanged),
            Step::ReadExit,
            Step::ScheduleRestart,
        ] {
            assert_eq!(gated(step.clone(), &closed(), &a_plan(), Some(&row)), step);
        }
        let running = a_row(ContainerState::Running);
        assert_eq!(gated(Step::Settled, &closed(), &a_plan(), Some(&running)), Step::Settled);
    }

    #[test]
    fn on_a_drained_node_processes_are_stopped_and_nothing_is_made() {
        let stop = Gate::drained();
        let at = |state, step| gated(step, &stop, &a_plan(), Some(&a_row(state)));
        assert_eq!(at(ContainerState::Running, Step::Settled), Step::Stop(Why::Drained));
        assert_eq!(at(ContainerState::Starting, Step::Wait), Step::Stop(Why::Drained));
        assert_eq!(at(ContainerState::Stopping, Step::Wait), Step::Wait);
        for step in [Step::Start, Step::ReadExit, Step::ScheduleRestart, Step::Remove(Why::SpecChanged)] {
            assert_eq!(at(ContainerState::Stopped, step), Step::Gated);
        }
        assert_eq!(at(ContainerState::Stopped, Step::Settled), Step::Settled);
        assert_eq!(gated(Step::LeaseAddress, &stop, &a_plan(), None), Step::Gated);
        let blocked = Step::Blocked("ConfigMap \"settings\" is not there".into());
        assert_eq!(at(ContainerState::Running, blocked.clone()), Step::Stop(Why::Drained), "it runs all the same");
        let theirs = ContainerRow { comment: "theirs".into(), interfaces: vec![], ..a_row(ContainerState::Running) };
        assert_eq!(gated(blocked.clone(), &stop, &a_plan(), Some(&theirs)), blocked, "what is not ours is as it is");
    }

    #[test]
    fn start_on_boot_is_set_when_nothing_else_is_to_be_done_and_on_rows_of_ours_alone() {
        let plan = a_plan();
        let set = |step: Step, on, row: &ContainerRow| or_start_on_boot(step, on, &plan, Some(row));
        let running = a_row(ContainerState::Running);
        assert_eq!(set(Step::Settled, false, &running), Step::SetStartOnBoot(false));
        assert_eq!(set(Step::Settled, true, &running), Step::Settled);
        let stopped = a_row(ContainerState::Stopped);
        assert_eq!(set(Step::Start, false, &stopped), Step::Start);
        assert_eq!(set(Step::Gated, false, &stopped), Step::SetStartOnBoot(false));
        let adopted = ContainerRow { comment: String::new(), ..running };
        assert_eq!(set(Step::Settled, false, &adopted), Step::Settled);
    }
}
