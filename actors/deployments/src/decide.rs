//! What is to be done about one Deployment next, if anything. Pure: one step at a time, each of which may be repeated.

use std::cmp::Reverse;

use crate::case::{Case, Member};
use crate::deployment_sight::{RolloutState, SetSight, Strategy};
use crate::live::Liveness;
use crate::records;

/// Which template a new pod is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The Deployment's own.
    Present,
    /// That of another ReplicaSet, by its hash.
    Set(String),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The record of the present template is missing.
    MakeSet {
        /// Its revision.
        revision: u64,
    },
    /// A record says something else than it should.
    NoteSet {
        /// Hash of the record.
        hash: String,
        /// Its revision.
        revision: u64,
        /// How far its rollout is.
        state: RolloutState,
        /// Every replica ran it once.
        proven: bool,
        /// Why, when the rollout has just failed.
        failure: Option<String>,
    },
    /// A record that is too old.
    DeleteSet {
        /// Hash of the record.
        hash: String,
    },
    /// The Deployment does not say which revision it is.
    NoteRevision(u64),
    /// The template of another record becomes the Deployment's.
    RollBack {
        /// Hash of the record.
        to: String,
    },
    /// A pod gets the Deployment as its owner.
    Adopt {
        /// Name of the pod.
        pod: String,
    },
    /// A pod is missing.
    Create {
        /// Its number.
        index: usize,
        /// What it is made from.
        from: From,
    },
    /// A pod of the present template takes the name of another.
    Replace {
        /// Its number.
        index: usize,
    },
    /// A pod is too many.
    Delete {
        /// Name of the pod.
        pod: String,
    },
}

/// The next step.
pub fn decide(case: &Case<'_>) -> Option<Action> {
    if case.deployment.deleting {
        return None;
    }
    records::of_template(case)
        .or_else(|| case.adoptable.first().map(|pod| Action::Adopt { pod: pod.key.name.clone() }))
        .or_else(|| verdict(case))
        .or_else(|| missing(case))
        .or_else(|| too_many(case))
        .or_else(|| roll(case))
        .or_else(|| records::of_the_rest(case))
}

/// The rollout failed, recovered, or is through; a failed one is taken back where that is wanted.
fn verdict(case: &Case<'_>) -> Option<Action> {
    let set = case.set()?;
    let note = |state, failure| {
        let proven = set.proven || state == RolloutState::Complete;
        let (hash, revision) = (set.hash.clone(), set.revision);
        Some(Action::NoteSet { hash, revision, state, proven, failure })
    };
    let failure = case.failure();
    match (set.state, failure) {
        (RolloutState::Failed, None) if !case.deployment.paused && has_recovered(case) => {
            note(RolloutState::Progressing, None)
        }
        (RolloutState::Failed, _) if case.deployment.rolls_back && !case.deployment.paused => {
            case.stable().map(|set| Action::RollBack { to: set.hash.clone() })
        }
        (RolloutState::Failed, _) => None,
        (_, Some(why)) => note(RolloutState::Failed, Some(why)),
        (RolloutState::Progressing, None) if is_over(case) => note(RolloutState::Complete, None),
        _ => None,
    }
}

/// Every pod of the present template that is there works after all.
fn has_recovered(case: &Case<'_>) -> bool {
    let mut current = case.staying().filter(|member| member.current).peekable();
    current.peek().is_some() && current.all(|member| member.live.proven)
}

fn is_over(case: &Case<'_>) -> bool {
    !case.deployment.paused
        && case.deployment.replicas > 0
        && case.is_through()
        && case.members.iter().all(|member| member.current)
}

/// The template of pods that are missing. While a new one is not proven by any pod, it is the one before: a pod that is lost
/// meanwhile must not become a second trial.
fn template_of_missing(case: &Case<'_>) -> From {
    let deployment = case.deployment;
    if deployment.paused {
        let newest = case.sets.last().map(|set| set.hash.clone()).filter(|hash| *hash != deployment.hash);
        return newest.map_or(From::Present, From::Set);
    }
    if deployment.strategy == Strategy::Recreate && case.state() != RolloutState::Failed {
        return From::Present;
    }
    let is_proven = case.staying().any(|member| member.current && member.live.proven);
    let is_safe = match case.state() {
        RolloutState::Complete => true,
        RolloutState::Progressing => is_proven || case.members.is_empty(),
        RolloutState::Failed => false,
    };
    match case.stable() {
        Some(set) if !is_safe => From::Set(set.hash.clone()),
        _ => From::Present,
    }
}

fn missing(case: &Case<'_>) -> Option<Action> {
    let deployment = case.deployment;
    if case.cordoned || deployment.paused && case.sets.is_empty() {
        return None;
    }
    // Recreate: first everything old is gone, then the new ones come; when they failed, old ones come back.
    let recreates =
        deployment.strategy == Strategy::Recreate && !deployment.paused && case.state() != RolloutState::Failed;
    if recreates && case.members.iter().any(|one| !one.current) {
        return None;
    }
    let is_missing = |index: &usize| case.member(*index).is_none() && !case.taken.contains_key(index);
    let index = (0..deployment.replicas).find(is_missing)?;
    Some(Action::Create { index, from: template_of_missing(case) })
}

fn too_many(case: &Case<'_>) -> Option<Action> {
    let most = case.deployment.replicas + usize::from(case.keeps_surge());
    let extra = case.staying().filter(|member| member.index.is_none_or(|index| index >= most));
    // Highest number first; before them those whose name is none of ours.
    let extra = extra.max_by_key(|member| (member.index.is_none(), member.index))?;
    Some(Action::Delete { pod: extra.pod.key.name.clone() })
}

fn roll(case: &Case<'_>) -> Option<Action> {
    let deployment = case.deployment;
    if deployment.paused || case.cordoned || case.state() == RolloutState::Failed || deployment.replicas == 0 {
        return None;
    }
    match deployment.strategy {
        Strategy::Recreate if case.old().any(|member| member.pod.paused) => None,
        Strategy::Recreate => case.old().next().map(|member| Action::Delete { pod: member.pod.key.name.clone() }),
        Strategy::Rolling { surge, .. } => roll_one(case, surge),
    }
}

fn roll_one(case: &Case<'_>, surge: bool) -> Option<Action> {
    let on_trial = |member: &Member<'_>| member.pod.tried || member.current && !member.live.proven;
    if case.staying().any(on_trial) {
        return None;
    }
    // Those that are broken first: nothing is lost with them. Then those that nobody knows to last, the latest of them first, such
    // as the first pod of a version that was given up a moment later. One that somebody works on waits until it is given back.
    let free = case.old().filter(|member| !member.pod.paused);
    let latest = |live: &Liveness| (!live.proven).then_some((live.since.is_some(), Reverse(live.since)));
    let rank = |member: &&Member<'_>| (member.live.available, member.live.proven, latest(member.live), member.index);
    let next = free.min_by_key(rank)?;
    let index = next.index?;
    if !next.live.available || case.serving() > case.deployment.least() {
        return Some(Action::Replace { index });
    }
    let extra = case.deployment.replicas;
    let free = case.member(extra).is_none() && !case.taken.contains_key(&extra);
    (surge && free).then_some(Action::Create { index: extra, from: From::Present })
}

/// The record of a hash.
pub fn set_of<'a>(case: &Case<'a>, hash: &str) -> Option<&'a SetSight> {
    case.sets.iter().copied().find(|set| set.hash == hash)
}
