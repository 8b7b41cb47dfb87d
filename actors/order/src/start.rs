//! Who may start now. Pure: the plan and what is seen of its pods in, gates and what is to be told out.
//!
//! A gate once opened stays open until the device is booted again: a pod that crashes comes back without asking the order. Others wait
//! for a pod until it is ready, at most `Rules::deadline` from the moment it might have started, or was ready for the last time.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::gates::{BOOT_ORDER, CYCLE, Gate, PlannedPod, Standing, WAITING};
use mkube_messages::objects::ObjectKey;
use tokio::time::Instant;

use crate::plan::{Need, Plan, Planned};
use crate::rules::Rules;

/// Names of those that are waited for that a message tells before it counts the rest.
const NAMES: usize = 3;
/// Names of those that are waited for that are told at all before the rest is counted.
const SPELLED: usize = 8;

/// What is seen of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// It is ready.
    pub ready: bool,
    /// Containers of it that are ready, by their names on the device.
    pub ready_containers: BTreeSet<String>,
    /// A process of it runs or is being started.
    pub runs: bool,
    /// It ran to its end and all was well.
    pub succeeded: bool,
    /// It ran to its end and something was wrong, or it is being deleted: nobody waits for it by priority.
    pub leaves: bool,
}

/// What is remembered between two decisions of one boot. All of it can be found again, at the price of waiting anew.
#[derive(Debug, Default)]
pub struct Memory {
    pods: BTreeMap<ObjectKey, Remembered>,
    /// Since when somebody waits for a name that nobody has.
    missing: BTreeMap<(ObjectKey, String), Instant>,
    /// Circles that were told.
    circles: BTreeMap<ObjectKey, String>,
}

#[derive(Debug, Default)]
struct Remembered {
    uid: String,
    /// It may start.
    opened: bool,
    /// Its gate was opened, and it was not ready since.
    on_its_way: bool,
    /// Since when it might be ready and is not.
    unready_since: Option<Instant>,
}

/// Something to be told of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// By position in the plan.
    pub pod: usize,
    /// Fixed word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What was decided.
#[derive(Debug, Default)]
pub struct Decision {
    /// For every pod of the plan.
    pub gates: BTreeMap<ObjectKey, Gate>,
    /// The same for people.
    pub rows: Vec<PlannedPod>,
    /// Events.
    pub tellings: Vec<Telling>,
    /// When to decide again though nothing happened.
    pub wake: Option<Instant>,
}

/// Names, the first of them spelled and the others counted: a thousand pods that wait for a thousand are not a million names.
#[derive(Debug, Default)]
struct Names {
    first: Vec<String>,
    more: usize,
}

impl Names {
    fn add(&mut self, name: String) {
        if self.first.len() < SPELLED {
            if !self.first.contains(&name) {
                self.first.push(name);
            }
        } else {
            self.more += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn listed(&self) -> String {
        let first = self.first.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
        match self.first.len().saturating_sub(NAMES) + self.more {
            0 => first,
            more => format!("{first} and {more} more"),
        }
    }
}

/// What a pod waits for.
#[derive(Default)]
struct Waits {
    /// Whoever is waited for still.
    on: Names,
    /// Whoever is not waited for any longer.
    given_up: Names,
}

struct Pass<'a> {
    plan: &'a Plan,
    seen: &'a [Seen],
    replicas: &'a dyn Fn(&ObjectKey) -> Option<usize>,
    rules: Rules,
    now: Instant,
    /// By position: it was not ready in time.
    given_up: Vec<bool>,
    missing: BTreeMap<(ObjectKey, String), Instant>,
    /// Urgency and position of those that others wait for by priority, in this order.
    urgent: Vec<(i64, usize)>,
    /// The same of those that are not waited for any longer.
    urgent_late: Vec<(i64, usize)>,
}

/// Decides for every pod of the plan. `seen` stands in the order of the plan; `replicas` says how many pods a Deployment should have.
pub fn decide(
    plan: &Plan,
    seen: &[Seen],
    replicas: &dyn Fn(&ObjectKey) -> Option<usize>,
    memory: &mut Memory,
    now: Instant,
    rules: Rules,
) -> Decision {
    let mut pods: BTreeMap<ObjectKey, Remembered> = BTreeMap::new();
    for (pod, seen) in plan.pods.iter().zip(seen) {
        let known = memory.pods.remove(&pod.key).filter(|known| known.uid == seen.uid);
        let mut known = known.unwrap_or_else(|| Remembered { uid: seen.uid.clone(), ..Remembered::default() });
        known.opened |= seen.runs || seen.ready || seen.succeeded;
        if seen.ready || seen.succeeded {
            known.unready_since = None;
            known.on_its_way = false;
        } else if known.opened || pod.circle.is_some() {
            known.unready_since.get_or_insert(now);
        }
        pods.insert(pod.key.clone(), known);
    }
    memory.pods = pods;
    let late = |pod: &Planned| {
        let since = memory.pods.get(&pod.key).and_then(|known| known.unready_since);
        since.is_some_and(|since| now >= since + rules.deadline)
    };
    let given_up = plan.pods.iter().map(late).collect();
    let missing = std::mem::take(&mut memory.missing);
    let mut pass =
        Pass { plan, seen, replicas, rules, now, given_up, missing, urgent: Vec::new(), urgent_late: Vec::new() };
    pass.sort_by_urgency();
    let mut decision = Decision::default();
    let mut missing = BTreeMap::new();
    let on_their_way = |memory: &Memory, pass: &Pass<'_>| {
        plan.pods
            .iter()
            .zip(&pass.given_up)
            .filter(|(pod, late)| !**late && memory.pods.get(&pod.key).is_some_and(|known| known.on_its_way))
            .count()
    };
    let mut busy = on_their_way(memory, &pass);
    for (position, pod) in plan.pods.iter().enumerate() {
        let waits = pass.waits(pod, &mut missing);
        let Some(known) = memory.pods.get_mut(&pod.key) else { continue };
        let eligible = waits.on.is_empty() && pod.circle.is_none();
        if eligible && !pass.is_done(position) {
            known.unready_since.get_or_insert(now);
        }
        let mut full = false;
        if eligible && !known.opened {
            // Who says nothing itself is only waited for. Who waited for its turn as long as others wait at all has it.
            full = pod.is_ordered() && busy >= rules.parallel.max(1) && !pass.given_up[position];
            if !full {
                known.opened = true;
                if pod.is_ordered() {
                    known.on_its_way = true;
                    busy += usize::from(!pass.given_up[position]);
                }
                if !waits.given_up.is_empty() {
                    let message = format!("starts without waiting any longer for {}", waits.given_up.listed());
                    decision.tellings.push(Telling { pod: position, reason: "DependencyNotReady", message });
                }
            }
        }
        if let Some(circle) = pod.circle.as_ref().filter(|_| !known.opened)
            && memory.circles.insert(pod.key.clone(), circle.clone()).as_ref() != Some(circle)
        {
            let message = format!("dependency cycle: {circle}; nothing of it starts");
            decision.tellings.push(Telling { pod: position, reason: CYCLE, message });
        }
        let gate = gate(pod, known.opened, full, &waits, rules);
        decision.rows.push(row(pod, &gate, &waits, pass.standing(position, known.opened)));
        decision.gates.insert(pod.key.clone(), gate);
    }
    memory.circles.retain(|key, _| plan.pods.iter().any(|pod| pod.key == *key && pod.circle.is_some()));
    memory.missing = missing;
    let dues = memory.pods.values().filter_map(|known| known.unready_since).chain(memory.missing.values().copied());
    decision.wake = dues.map(|since| since + rules.deadline).filter(|due| *due > now).min();
    decision
}

impl Pass<'_> {
    /// Nobody has to wait for it.
    fn is_done(&self, position: usize) -> bool {
        self.seen[position].ready || self.seen[position].succeeded
    }

    fn standing(&self, position: usize, opened: bool) -> Standing {
        match (opened, self.plan.pods[position].circle.is_some()) {
            _ if self.is_done(position) => Standing::Ready,
            (false, true) => Standing::Cycle,
            (false, false) => Standing::Waiting,
            (true, _) if self.given_up[position] => Standing::GivenUp,
            (true, _) => Standing::Starting,
        }
    }

    fn waits(&mut self, pod: &Planned, missing: &mut BTreeMap<(ObjectKey, String), Instant>) -> Waits {
        let mut waits = Waits::default();
        for need in &pod.needs {
            self.wait_for_need(pod, need, &mut waits, missing);
        }
        let Some(urgency) = pod.urgency else { return waits };
        let before = |all: &[(i64, usize)], names: &mut Names| {
            let smaller = all.partition_point(|(other, _)| *other < urgency);
            all[..smaller.min(SPELLED)].iter().for_each(|(_, at)| names.add(self.plan.pods[*at].key.to_string()));
            names.more += smaller.saturating_sub(SPELLED);
        };
        before(&self.urgent, &mut waits.on);
        before(&self.urgent_late, &mut waits.given_up);
        waits
    }

    fn sort_by_urgency(&mut self) {
        for (position, pod) in self.plan.pods.iter().enumerate() {
            let Some(urgency) = pod.urgency else { continue };
            if self.is_done(position) || self.seen[position].leaves {
                continue;
            }
            let list = if self.given_up[position] { &mut self.urgent_late } else { &mut self.urgent };
            list.push((urgency, position));
        }
        self.urgent.sort_unstable();
        self.urgent_late.sort_unstable();
    }

    fn wait_for_need(
        &mut self,
        pod: &Planned,
        need: &Need,
        waits: &mut Waits,
        missing: &mut BTreeMap<(ObjectKey, String), Instant>,
    ) {
        let mut all_there = true;
        for position in &need.pods {
            let seen = &self.seen[*position];
            let is_ready = match &need.container {
                Some(container) => seen.succeeded || seen.ready_containers.contains(container),
                None => self.is_done(*position),
            };
            if is_ready {
                continue;
            }
            all_there = false;
            let name = self.plan.pods[*position].key.to_string();
            if self.given_up[*position] { waits.given_up.add(name) } else { waits.on.add(name) }
        }
        // A Deployment of none is there when it is empty.
        let wanted = (self.replicas)(&need.deployment).unwrap_or(usize::from(need.pods.is_empty()));
        if need.pods.len() >= wanted || !all_there {
            return;
        }
        let clock = (pod.key.clone(), need.word.clone());
        let since = self.missing.get(&clock).copied().unwrap_or(self.now);
        missing.insert(clock, since);
        let late = self.now >= since + self.rules.deadline;
        let name = if need.pods.is_empty() {
            format!("{} (there is no such pod)", need.word)
        } else {
            format!("{} ({} of {wanted} pods are there)", need.word, need.pods.len())
        };
        if late { waits.given_up.add(name) } else { waits.on.add(name) }
    }
}

fn gate(pod: &Planned, opened: bool, full: bool, waits: &Waits, rules: Rules) -> Gate {
    if opened {
        return Gate::Open;
    }
    if let Some(circle) = &pod.circle {
        return Gate::Closed { reason: CYCLE, message: format!("dependency cycle: {circle}") };
    }
    if full {
        let message = format!("{} pods are being started, its turn comes after one of them", rules.parallel.max(1));
        return Gate::Closed { reason: BOOT_ORDER, message };
    }
    Gate::Closed { reason: WAITING, message: format!("waits until these are ready: {}", waits.on.listed()) }
}

fn row(pod: &Planned, gate: &Gate, waits: &Waits, standing: Standing) -> PlannedPod {
    let message = match gate {
        Gate::Closed { message, .. } | Gate::Stop { message, .. } => message.clone(),
        Gate::Open => String::new(),
    };
    PlannedPod {
        pod: pod.key.clone(),
        level: pod.level,
        priority: pod.priority,
        raised_to: pod.urgency.filter(|urgency| Some(*urgency) != pod.priority),
        depends_on: pod.needs.iter().map(|need| need.word.clone()).collect(),
        waits_for: if *gate == Gate::Open { Vec::new() } else { waits.on.first.clone() },
        standing,
        message,
    }
}
