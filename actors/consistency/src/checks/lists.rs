//! Mounts and variables of containers against the lists on the device. Lists are read once a minute: what changed since then is
//! on its way, not missing.

use std::collections::BTreeSet;

use mkube_messages::consistency::Section;
use mkube_messages::router::DeviceLists;

use crate::facts::Facts;
use crate::finding::Finding;
use crate::pod_sight::{ContainerSight, PodSight};

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let Some(lists) = &facts.device.lists else {
        for section in [Section::Mounts, Section::Envs] {
            found.push(Finding::warn(section, "lists", "the lists were not read yet"));
        }
        return;
    };
    for pod in facts.pods() {
        for container in &pod.containers {
            // Without a row there is nothing that could refer to a list.
            let Some(row) = facts.row_of(pod, container) else { continue };
            if !container.mount_paths.is_empty() {
                found.push(mounts(facts, lists, pod, container, &row.name));
            }
            if container.sets_variables && row.env_lists.contains(&row.name) {
                found.push(variables(facts, lists, pod, container, &row.name));
            }
        }
    }
}

fn missing<'a>(wanted: &'a [String], there: &BTreeSet<&str>) -> Vec<&'a str> {
    wanted.iter().map(String::as_str).filter(|one| !there.contains(one.trim_end_matches('/'))).collect()
}

fn mounts(facts: &Facts<'_>, lists: &DeviceLists, pod: &PodSight, container: &ContainerSight, list: &str) -> Finding {
    let name = format!("mounts/{list}");
    let rows = lists.mounts.get(list).map(Vec::as_slice).unwrap_or_default();
    let there: BTreeSet<&str> = rows.iter().map(|row| row.dst.trim_end_matches('/')).collect();
    match missing(&container.mount_paths, &there).as_slice() {
        [] => Finding::pass(Section::Mounts, name, format!("{} mounts", rows.len())).of(&pod.key),
        missing => {
            let told = format!("not in the list: {}", missing.join(", "));
            Finding::fail(Section::Mounts, name, told).of_pod(&pod.key, facts.in_flight(pod))
        }
    }
}

fn variables(
    facts: &Facts<'_>,
    lists: &DeviceLists,
    pod: &PodSight,
    container: &ContainerSight,
    list: &str,
) -> Finding {
    let name = format!("envs/{list}");
    let keys = lists.envs.get(list).map(Vec::as_slice).unwrap_or_default();
    let there: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let missing = missing(&container.variables, &there);
    if missing.is_empty() && !keys.is_empty() {
        return Finding::pass(Section::Envs, name, format!("{} variables", keys.len())).of(&pod.key);
    }
    let told = if keys.is_empty() {
        "the list is empty".to_owned()
    } else {
        format!("not in the list: {}", missing.join(", "))
    };
    Finding::fail(Section::Envs, name, told).of_pod(&pod.key, facts.in_flight(pod))
}
