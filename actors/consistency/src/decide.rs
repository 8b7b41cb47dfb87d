//! Whether what nobody owns may be taken away now. Pure: what was seen in, a verdict for each out.

use std::collections::BTreeMap;
use std::time::Duration;

use mkube_messages::consistency::RepairAction;
use tokio::time::Instant;

use crate::facts::Facts;
use crate::memory::Memory;
use crate::orphans::{Orphan, Totals};

/// A device that was read longer ago says nothing about now.
const FRESH: Duration = Duration::from_secs(60);
/// Readings that must have shown it.
const SIGHTINGS: usize = 2;

/// How repairs go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Pause between two runs when nothing changes.
    pub interval: Duration,
    /// Pause between the first change and the run after it.
    pub settle: Duration,
    /// Whether what nobody owns is removed without being asked for.
    pub automatic: bool,
    /// How long something must have been without an owner.
    pub orphan_age: Duration,
    /// How much of ours a repair may touch, in percent.
    pub max_share: u32,
    /// Pause between two removals.
    pub pause: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(120),
            settle: Duration::from_secs(5),
            automatic: false,
            orphan_age: Duration::from_secs(600),
            max_share: 20,
            pause: Duration::from_secs(5),
        }
    }
}

/// What may be done about an orphan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may go now.
    Due,
    /// Not yet, and why; when that is known to end, then.
    Later(String, Option<Instant>),
    /// Not at all as things are, and why.
    Refused(String),
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// In the order in which it is done.
    pub verdicts: Vec<(Orphan, Verdict)>,
    /// Why nothing is removed at all, if that is sure enough to call somebody.
    pub alarm: Option<String>,
}

impl Decision {
    /// When the next of them may become due.
    pub fn next(&self) -> Option<Instant> {
        self.verdicts
            .iter()
            .filter_map(|(_, verdict)| if let Verdict::Later(_, at) = verdict { *at } else { None })
            .min()
    }
}

/// Judges every orphan.
pub fn decide(
    facts: &Facts<'_>,
    mut orphans: Vec<Orphan>,
    totals: &Totals,
    memory: &Memory,
    rules: &Rules,
) -> Decision {
    orphans.sort_by_cached_key(Orphan::suspicion);
    let sure = |orphan: &&Orphan| memory.sighting(orphan).is_some_and(|sighting| sighting.times >= SIGHTINGS);
    let sure: Vec<&Orphan> = orphans.iter().filter(sure).collect();
    let alarm = nothing_wanted(facts, &sure).or_else(|| too_many(&sure, totals, rules));
    let stopped =
        not_now(facts).or_else(|| alarm.clone()).or_else(|| nothing_wanted(facts, &orphans.iter().collect::<Vec<_>>()));
    let judge = |orphan: Orphan| {
        let verdict = match &stopped {
            // An address is given back to a table; nothing is destroyed by it.
            _ if orphan.action == RepairAction::ReleaseAddress => one(&orphan, facts.now, memory, Duration::ZERO, 1),
            Some(why) => Verdict::Refused(why.clone()),
            None => one(&orphan, facts.now, memory, rules.orphan_age, SIGHTINGS),
        };
        (orphan, verdict)
    };
    Decision { verdicts: orphans.into_iter().map(judge).collect(), alarm }
}

fn one(orphan: &Orphan, now: Instant, memory: &Memory, age: Duration, times: usize) -> Verdict {
    let Some(sighting) = memory.sighting(orphan) else {
        return Verdict::Later("it was never seen before".to_owned(), None);
    };
    let old_enough = sighting.first + age;
    if now < old_enough {
        let (seen, needed) = ((now - sighting.first).as_secs(), age.as_secs());
        return Verdict::Later(format!("without an owner for {seen} s, and {needed} s are needed"), Some(old_enough));
    }
    if sighting.times < times {
        return Verdict::Later("it was seen in one reading only".to_owned(), None);
    }
    if let Some(at) = memory.not_before.get(&orphan.suspicion()) {
        return Verdict::Later("the last try failed, and the next one comes later".to_owned(), Some(*at));
    }
    match &orphan.blocked {
        Some(why) => Verdict::Later(why.clone(), None),
        None => Verdict::Due,
    }
}

fn not_now(facts: &Facts<'_>) -> Option<String> {
    if !facts.is_complete() {
        return Some("the store or the device was not read completely".to_owned());
    }
    let fresh = facts.device.read_at.is_some_and(|read_at| facts.now.saturating_duration_since(read_at) < FRESH);
    (!fresh).then(|| "the device was not read lately".to_owned())
}

/// A store that wants nothing while the device is full of ours has lost something, whatever it says.
fn nothing_wanted(facts: &Facts<'_>, orphans: &[&Orphan]) -> Option<String> {
    let rows = orphans.iter().filter(|orphan| is_row(orphan.action)).count();
    if rows > 0 && facts.sights.pods.is_empty() {
        return Some(format!("the store has no pod at all, and the device has {rows} things of mkube's"));
    }
    let pods = orphans.iter().filter(|orphan| orphan.action == RepairAction::DeletePod).count();
    (pods > 0 && facts.sights.deployments.is_empty())
        .then(|| format!("the store has no deployment at all, and {pods} pods that belong to one"))
}

/// Rows of the device.
fn is_row(action: RepairAction) -> bool {
    !matches!(action, RepairAction::ReleaseAddress | RepairAction::DeletePod)
}

fn too_many(orphans: &[&Orphan], totals: &Totals, rules: &Rules) -> Option<String> {
    let mut counts: BTreeMap<RepairAction, usize> = BTreeMap::new();
    for orphan in orphans.iter().filter(|orphan| orphan.action != RepairAction::ReleaseAddress) {
        *counts.entry(orphan.action).or_default() += 1;
    }
    let over = counts.into_iter().find_map(|(action, count)| {
        let total = totals.get(&action).copied().unwrap_or_default();
        let most = (total * rules.max_share as usize / 100).max(1);
        (count > most).then_some((action, count, total, most))
    });
    over.map(|(action, count, total, most)| {
        format!(
            "{} would touch {count} of {total}, and {most} are the most at {} % (consistency.maxShare)",
            action.as_str(),
            rules.max_share
        )
    })
}
