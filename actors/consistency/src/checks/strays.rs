//! What nobody owns, with what is to become of it; and what looks like ours without any proof, which stays.

use mkube_messages::consistency::{RepairAction, Section};
use mkube_model::marks::{owner_in_mark, owner_in_veth_comment};

use crate::decide::{Decision, Verdict};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::orphans::{Orphan, uses_list};

/// What is said of things that only look like ours.
const NO_PROOF: &str = "nothing proves that mkube made it: it is never removed by mkube itself";

pub fn check(facts: &Facts<'_>, decision: &Decision, found: &mut Vec<Finding>) {
    found.extend(decision.verdicts.iter().map(|(orphan, verdict)| told(orphan, verdict)));
    containers(facts, found);
    interfaces(facts, found);
    lists(facts, found);
}

fn told(orphan: &Orphan, verdict: &Verdict) -> Finding {
    let (section, name) = orphan.check();
    let what = match orphan.action {
        RepairAction::DeletePod | RepairAction::ReleaseAddress => "belongs to",
        _ => "was made for",
    };
    let gone = if orphan.owner.is_some() { ", which is gone" } else { "" };
    let finding = Finding::warn(section, name, format!("{what} {}{gone}", orphan.owner_text()));
    let details = match verdict {
        Verdict::Due => "a repair takes it away".to_owned(),
        Verdict::Later(why, _) => format!("not yet: {why}"),
        Verdict::Refused(why) => format!("refused: {why}"),
    };
    Finding { repairable: !matches!(verdict, Verdict::Refused(_)), ..finding.saying(details) }
}

/// Containers that use an interface with a pod's kind of name, without a mark and without a pod.
fn containers(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let (names, veths) = facts.names_of_pods();
    for row in facts.device.containers.values() {
        let looks_like_ours = row.interfaces.iter().any(|veth| veth.starts_with("veth_"));
        let of_a_pod =
            names.contains(row.name.as_str()) || row.interfaces.iter().any(|veth| veths.contains(veth.as_str()));
        if looks_like_ours && !of_a_pod && owner_in_mark(&row.comment).is_none() {
            let name = format!("unowned-container/{}", row.name);
            found.push(Finding::warn(Section::Containers, name, "no pod has this container").saying(NO_PROOF));
        }
    }
}

fn interfaces(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let (_, veths) = facts.names_of_pods();
    for row in facts.device.veths.values() {
        let looks_like_ours = row.name.starts_with("veth_") && row.comment.is_empty();
        if looks_like_ours && !veths.contains(row.name.as_str()) && owner_in_veth_comment(&row.comment).is_none() {
            let name = format!("unowned-interface/{}", row.name);
            found.push(Finding::warn(Section::Network, name, "no pod has this interface").saying(NO_PROOF));
        }
    }
}

/// Mount lists into mkube's own volumes that no container refers to.
fn lists(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let Some(lists) = &facts.device.lists else { return };
    let (names, _) = facts.names_of_pods();
    let base = format!("{}/", facts.volumes_base.trim_end_matches('/'));
    for (list, rows) in &lists.mounts {
        let ours = rows.iter().any(|row| row.src.starts_with(&base));
        let used = facts.device.containers.values().any(|row| uses_list(row, list));
        if ours
            && !used
            && !facts.was_emptied(list)
            && !names.contains(list.as_str())
            && !facts.witnessed.contains_key(list)
        {
            let name = format!("unowned-mounts/{list}");
            found.push(Finding::warn(Section::Mounts, name, "no container uses this list").saying(NO_PROOF));
        }
    }
}
