//! What a decision about one Deployment rests on, sorted: its own pods, those it may adopt, names that others hold, its records.

use std::collections::BTreeMap;

use crate::deployment_sight::{DeploymentSight, RolloutState, SetSight, Strategy};
use crate::live::Liveness;
use crate::pod_sight::PodSight;

/// A pod and how it counts.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The pod.
    pub pod: &'a PodSight,
    /// How it counts.
    pub live: &'a Liveness,
}

/// A pod of the Deployment.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The number in its name; none when the name is not one of the Deployment's.
    pub index: Option<usize>,
    /// The pod.
    pub pod: &'a PodSight,
    /// How it counts.
    pub live: &'a Liveness,
    /// It is of the present template.
    pub current: bool,
}

/// Everything, sorted.
pub struct Case<'a> {
    /// The Deployment.
    pub deployment: &'a DeploymentSight,
    /// Its pods, by number.
    pub members: Vec<Member<'a>>,
    /// Pods without a controller that are its own by name.
    pub adoptable: Vec<&'a PodSight>,
    /// Names of the Deployment's pods that others have.
    pub taken: BTreeMap<usize, &'a PodSight>,
    /// Its ReplicaSets, oldest revision first.
    pub sets: Vec<&'a SetSight>,
    /// No new pods now.
    pub cordoned: bool,
    /// The rollout did not get on for too long.
    pub overdue: bool,
}

impl<'a> Case<'a> {
    /// Sorts what there is.
    pub fn new(
        deployment: &'a DeploymentSight,
        looks: &[Look<'a>],
        sets: impl IntoIterator<Item = &'a SetSight>,
        cordoned: bool,
        overdue: bool,
    ) -> Self {
        let mut case = Self {
            deployment,
            members: vec![],
            adoptable: vec![],
            taken: BTreeMap::new(),
            sets: vec![],
            cordoned,
            overdue,
        };
        for Look { pod, live } in looks.iter().copied() {
            let index = deployment.index_of(&pod.key.name);
            if pod.belongs_to(deployment) {
                case.members.push(Member { index, pod, live, current: pod.is_current(deployment) });
            } else if pod.is_adoptable_by(deployment) {
                case.adoptable.push(pod);
            } else if let Some(index) = index {
                case.taken.insert(index, pod);
            }
        }
        case.members.sort_by_key(|member| (member.index.is_none(), member.index, &member.pod.key));
        case.sets = sets.into_iter().filter(|set| set.owner == deployment.uid).collect();
        case.sets.sort_by_key(|set| (set.revision, &set.hash));
        case
    }

    /// The record of the present template.
    pub fn set(&self) -> Option<&'a SetSight> {
        self.sets.iter().copied().find(|set| set.hash == self.deployment.hash)
    }

    /// The newest other version that every replica ran.
    pub fn stable(&self) -> Option<&'a SetSight> {
        self.sets.iter().rev().find(|set| self.deployment.may_go_back_to(set)).copied()
    }

    /// Members that stay.
    pub fn staying(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| !member.pod.deleting)
    }

    /// Members that count as available.
    pub fn available(&self) -> usize {
        self.staying().filter(|member| member.live.available).count()
    }

    /// Members that are available, and run as far as the device shows: a status may be a second late, and meanwhile nobody else is
    /// taken for it.
    pub fn serving(&self) -> usize {
        self.staying().filter(|member| member.live.available && !member.live.down).count()
    }

    /// The one of this number.
    pub fn member(&self, index: usize) -> Option<&Member<'a>> {
        let at = self.members.binary_search_by_key(&(false, Some(index)), |one| (one.index.is_none(), one.index));
        self.members.get(at.ok()?)
    }

    /// Members of other templates that stay and are not too many.
    pub fn old(&self) -> impl Iterator<Item = &Member<'a>> {
        self.staying().filter(|member| !member.current)
    }

    /// Every replica is there, of the present template, and proven.
    pub fn is_through(&self) -> bool {
        (0..self.deployment.replicas)
            .all(|index| self.member(index).is_some_and(|one| !one.pod.deleting && one.current && one.live.proven))
    }

    /// How far the rollout of the present template is.
    pub fn state(&self) -> RolloutState {
        self.set().map_or(RolloutState::Progressing, |set| set.state)
    }

    /// Pods of the present template are still coming in, or should be.
    pub fn in_rollout(&self) -> bool {
        !self.deployment.paused
            && (self.deployment.replicas > 0 && self.state() != RolloutState::Complete || self.old().next().is_some())
    }

    /// The rollout can get on only when somebody gives a pod back that is paused.
    pub fn waits_for_paused(&self) -> bool {
        let is_done = |member: &&Member<'_>| member.current && member.live.proven;
        let mut open = self.staying().filter(|member| !is_done(member)).peekable();
        let all_there = self.staying().count() >= self.deployment.replicas;
        let on_trial = |member: &Member<'_>| member.current && member.pod.paused && !member.live.proven;
        open.peek().is_some() && all_there && open.all(|member| member.pod.paused) || self.staying().any(on_trial)
    }

    /// Why the present template does not work, if that is known now.
    pub fn failure(&self) -> Option<String> {
        if !self.in_rollout() {
            return None;
        }
        // What somebody who works on a pod does to it says nothing of the template.
        let failing = self.staying().filter(|member| member.current && !member.pod.paused).find_map(|member| {
            let why = member.live.failing.as_ref()?;
            Some(format!("pod {}: {why}", member.pod.key.name))
        });
        failing.or_else(|| {
            let seconds = self.deployment.deadline.as_secs();
            self.overdue.then(|| format!("no progress for {seconds} s"))
        })
    }

    /// One more pod than replicas is to be there for the time of the rollout, or to stay until it is over.
    pub fn keeps_surge(&self) -> bool {
        let surges = matches!(self.deployment.strategy, Strategy::Rolling { unavailable: 0, surge: true });
        let replicas = self.deployment.replicas;
        let is_old = |member: &Member<'_>| !member.current && member.index.is_some_and(|index| index < replicas);
        surges
            && replicas > 0
            && (self.staying().any(is_old) || self.state() != RolloutState::Complete && !self.is_through())
    }
}
