//! A store that others write too, and that can be away while everybody knows it: what is shown then was last known.

use std::fmt;
use std::time::Duration;

use mkube_fakes::{LoadCue, Meanwhile};
use mkube_model::kinds::KindTable;
use mkube_model::metadata;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::dice::Dice;
use crate::ledger::{EDIT, Found};
use crate::steps::{MAPS, PODS, Step};
use crate::world::World;

/// Sets the dice of these histories apart from those of the others: what a seed was, it stays.
const SALT: u64 = 0x7368_6172_6564;

/// What somebody else wrote is surely heard of after this time.
const HEARD: Duration = Duration::from_secs(10);

/// What somebody else does to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// Writes a note on a pod.
    Annotate(&'static str),
    /// Changes what a pod runs with.
    SetEnv(&'static str),
    /// Deletes a pod, as a controller elsewhere does when a user asks it: whoever runs the pod finishes.
    Delete(&'static str),
    /// Writes a ConfigMap.
    WriteMap(&'static str),
    /// Takes a ConfigMap away.
    DeleteMap(&'static str),
}

impl fmt::Display for Other {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotate(pod) => write!(out, "annotates pod {pod}"),
            Self::SetEnv(pod) => write!(out, "changes the environment of pod {pod}"),
            Self::Delete(pod) => write!(out, "deletes pod {pod}"),
            Self::WriteMap(map) => write!(out, "writes ConfigMap {map}"),
            Self::DeleteMap(map) => write!(out, "takes ConfigMap {map} away"),
        }
    }
}

/// The history of a seed over a store that others write too: the same as without them, with what they do, and with times in which
/// it is out of sight.
pub fn of_seed(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed ^ SALT);
    let keeps = dice.once_in(3);
    let mut steps = vec![Step::Shared { keeps }];
    for step in crate::history::of_seed(seed) {
        // Others store what is no object for good: nobody would read it once more.
        if matches!(step, Step::Load(LoadCue::Torn)) {
            continue;
        }
        steps.push(step);
        if dice.once_in(4) {
            trouble(&mut dice, &mut steps);
        }
    }
    steps
}

fn trouble(dice: &mut Dice, steps: &mut Vec<Step>) {
    let time = Duration::from_secs(dice.one_of(&[1, 5, 20, 90, 240]));
    let (pod, map) = (dice.one_of(&PODS), dice.one_of(&MAPS));
    match dice.below(10) {
        0..=1 => steps.push(Step::StoreLost(time)),
        2 => steps.push(Step::StoreOlder(time)),
        3 => steps.extend([Step::StoreLost(time), Step::Kill]),
        // What was last known may be less than there was.
        4 => steps.extend([
            Step::StoreLost(time),
            Step::Load(dice.one_of(&[LoadCue::Empty, LoadCue::Partial])),
            dice.one_of(&[Step::Kill, Step::Restart, Step::Crash("mkube/object-layer/objects", CrashHow::Panic)]),
        ]),
        5 => steps.push(Step::Other(Other::Annotate(pod))),
        6 => steps.push(Step::Other(Other::SetEnv(pod))),
        7 => steps.push(Step::Other(Other::Delete(pod))),
        8 => steps.push(Step::Other(Other::WriteMap(map))),
        _ => steps.push(Step::Other(Other::DeleteMap(map))),
    }
}

impl World {
    /// The store goes out of sight for a while.
    pub fn lose_store(&mut self, time: Duration, is_older: bool) {
        // What is acknowledged and waits is to be told, and only what nobody else wrote surely fits then.
        if self.keeps() && self.elsewhere_at.is_some_and(|at| at.elapsed() < HEARD) {
            return;
        }
        let (why, meanwhile) = match (is_older, self.keeps()) {
            (true, _) => ("what is there is older than what was acknowledged", Meanwhile::Refuses),
            (false, true) => ("nobody answers", Meanwhile::KeepsAll),
            (false, false) => ("nobody answers", Meanwhile::KeepsSome),
        };
        self.store.lose_sight(why, meanwhile);
        self.lost_until(time);
    }

    /// Somebody else writes the store.
    pub fn write_elsewhere(&mut self, other: Other) {
        // As above.
        if self.is_store_lost() && self.keeps() {
            return;
        }
        let (kind, name) = match other {
            Other::Annotate(pod) | Other::SetEnv(pod) | Other::Delete(pod) => ("Pod", pod),
            Other::WriteMap(map) | Other::DeleteMap(map) => ("ConfigMap", map),
        };
        let kinds = KindTable::builtin();
        let Some(bucket) = kinds.named(kind).map(|kind| kind.bucket) else { return };
        let key = format!("default.{name}");
        let stored: Option<Value> = self.store.text(bucket, &key).and_then(|text| serde_json::from_str(&text).ok());
        if stored.as_ref().is_some_and(metadata::is_deleting) {
            return;
        }
        let edit = self.ledger().next_number();
        let (value, found) = match (other, stored) {
            (Other::DeleteMap(_), Some(_)) => (None, Found::Absent),
            (Other::Delete(_), Some(mut value)) => {
                let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                value["metadata"]["deletionTimestamp"] = json!(now);
                value["metadata"]["deletionGracePeriodSeconds"] = json!(1);
                (Some(value), Found::Going)
            }
            (Other::WriteMap(_), None) => (
                Some(
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default",
                    "uid": format!("elsewhere-{edit}"), "creationTimestamp": "2026-01-01T00:00:00Z",
                    "annotations": {EDIT: edit.to_string()}}, "data": {"text": edit.to_string()}}),
                ),
                Found::Edited(edit),
            ),
            (Other::Delete(_) | Other::DeleteMap(_) | Other::Annotate(_) | Other::SetEnv(_), None) => return,
            (_, Some(mut value)) => {
                value["metadata"]["annotations"][EDIT] = json!(edit.to_string());
                match other {
                    Other::SetEnv(_) => {
                        let generation = metadata::generation(&value) + 1;
                        value["metadata"]["generation"] = json!(generation);
                        value["spec"]["containers"][0]["env"][0]["value"] = json!(edit.to_string());
                    }
                    Other::WriteMap(_) => value["data"] = json!({"text": edit.to_string()}),
                    _ => {}
                }
                (Some(value), Found::Edited(edit))
            }
        };
        let text = value.map(|value| value.to_string());
        self.elsewhere_at = Some(Instant::now());
        let revision = self.store.put_behind(bucket, &key, text.as_deref());
        self.ledger().done_elsewhere(&(kind, name.to_owned()), edit, found, revision);
        self.tell(format!("write {edit} to {kind} {name}, elsewhere"));
    }
}
