//! Containers of pods against rows of the device, and interfaces against leases.

use mkube_messages::consistency::Section;
use mkube_model::neighbours::router::ContainerState;

use crate::facts::{Facts, is_moving, state_word};
use crate::finding::Finding;
use crate::pod_sight::{ContainerSight, PodSight};

const SECTION: Section = Section::Containers;

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    for pod in facts.pods() {
        for container in &pod.containers {
            found.push(row(facts, pod, container));
            if facts.leases.loaded {
                found.push(lease(facts, pod, container));
            }
        }
    }
}

fn row(facts: &Facts<'_>, pod: &PodSight, container: &ContainerSight) -> Finding {
    let name = format!("container/{}/{}", pod.key.name, container.name);
    let in_flight = facts.in_flight(pod);
    let Some(row) = facts.row_of(pod, container) else {
        if pod.paused {
            return Finding::warn(SECTION, name, "not found, and its pod is paused").of(&pod.key);
        }
        if let Some(why) = waits(pod, container) {
            return Finding::warn(SECTION, name, format!("not found, and its pod waits ({why})")).of(&pod.key);
        }
        return Finding::fail(SECTION, name, "not found").of_pod(&pod.key, in_flight);
    };
    let id = format!("id={}", row.id);
    if row.state == ContainerState::Running {
        return Finding::pass(SECTION, name, "running").of(&pod.key).saying(id);
    }
    let word = state_word(row.state);
    if row.state == ContainerState::Stopped && pod.phase == "Succeeded" {
        return Finding::pass(SECTION, name, "ended, as it was to").of(&pod.key).saying(id);
    }
    if row.state == ContainerState::Stopped && pod.paused {
        return Finding::warn(SECTION, name, "stopped, and its pod is paused").of(&pod.key).saying(id);
    }
    if let Some(why) = &container.gated {
        return Finding::warn(SECTION, name, format!("{word}, and its pod waits ({why})")).of(&pod.key).saying(id);
    }
    Finding::fail(SECTION, name, word).saying(id).of_pod(&pod.key, in_flight || is_moving(row))
}

/// Why the pod is not there yet, when that is as it should be.
fn waits<'a>(pod: &PodSight, container: &'a ContainerSight) -> Option<&'a str> {
    container.gated.as_deref().or(pod.unschedulable.then_some("Unschedulable"))
}

fn lease(facts: &Facts<'_>, pod: &PodSight, container: &ContainerSight) -> Finding {
    let veth = facts.veth_name(pod, container);
    let name = format!("veth/{veth}");
    match facts.leases.by_veth.get(veth) {
        Some(held) => Finding::pass(SECTION, name, format!("allocated {}", held.address)).of(&pod.key),
        None if waits(pod, container).is_some() => {
            Finding::warn(SECTION, name, "no address is allocated, and its pod waits").of(&pod.key)
        }
        None => Finding::fail(SECTION, name, "no address is allocated").of_pod(&pod.key, facts.in_flight(pod)),
    }
}
