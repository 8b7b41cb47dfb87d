//! ReplicaSets as records of revisions: which are written, renumbered and forgotten. Pure.

use crate::case::Case;
use crate::decide::Action;
use crate::deployment_sight::{RolloutState, SetSight};
use crate::render;

/// What is to be written before anything is done with the present template.
pub fn of_template(case: &Case<'_>) -> Option<Action> {
    let deployment = case.deployment;
    let newest = case.sets.iter().map(|set| set.revision).max().unwrap_or(0);
    let Some(set) = case.set() else {
        return (!deployment.paused).then_some(Action::MakeSet { revision: newest + 1 });
    };
    // A template that was there before is the newest again; what it did before is forgiven.
    let revision = if set.revision < newest && !deployment.paused { newest + 1 } else { set.revision };
    if revision != set.revision {
        let (hash, proven) = (set.hash.clone(), set.proven);
        return Some(Action::NoteSet { hash, revision, state: RolloutState::Progressing, proven, failure: None });
    }
    (deployment.revision != revision && !deployment.paused).then_some(Action::NoteRevision(revision))
}

/// What is written when there is nothing more important.
pub fn of_the_rest(case: &Case<'_>) -> Option<Action> {
    let out_of_date = |set: &&&SetSight| render::set_patch(case, set, set.revision, set.state, set.proven).is_some();
    if let Some(set) = case.sets.iter().find(out_of_date) {
        let (hash, revision) = (set.hash.clone(), set.revision);
        return Some(Action::NoteSet { hash, revision, state: set.state, proven: set.proven, failure: None });
    }
    let has_pods =
        |set: &SetSight| case.members.iter().any(|member| member.pod.hash.as_deref() == Some(set.hash.as_str()));
    let stable = case.stable().map(|set| &set.hash);
    let old: Vec<&&SetSight> =
        case.sets.iter().filter(|set| set.hash != case.deployment.hash && !has_pods(set)).collect();
    let too_many = old.len().saturating_sub(case.deployment.history);
    // What a rollout would go back to stays until it is through.
    let needed = |set: &&&&SetSight| case.in_rollout() && Some(&set.hash) == stable;
    let oldest = old.iter().take(too_many).find(|set| !needed(set))?;
    Some(Action::DeleteSet { hash: oldest.hash.clone() })
}
