//! Consistency: compares what is wanted with what is there, reports what differs, and takes away what nobody owns.
//!
//! ConsistencyActor
//! Owns     the report, and since when it saw what.       Asks   RouterActor, IpamActor, ObjectsActor.
//! Answers  RepairNow.                                    Tells  RecordEvent.
//! Ticks    5 s after the first change of objects or device, and every 2 min. A run makes no device call.
//! Rebuilds nothing: after a restart every clock begins anew, so that nothing is removed on an old suspicion.
//!
//! What belongs to a pod that exists is its PodActor's to repair, which it does at its next look; it is only reported here. What
//! is taken away belongs to nobody: `orphans` says what that is and what proves it, `decide` whether it may go. Both are pure,
//! and what they said is asked once more right before each step of a removal.

mod actor;
mod checks;
mod decide;
#[cfg(test)]
mod decide_tests;
mod facts;
mod finding;
mod memory;
mod orphans;
mod pod_sight;
mod repair;
mod run;
mod sights;
#[cfg(test)]
mod testing;

pub use actor::{ConsistencyActor, ConsistencyDoors, ConsistencyParts};
pub use decide::Rules;

use mkube_messages::consistency::RepairNow;
use mkube_supervision::ChildSpecBuilder;

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<ConsistencyActor>) -> ChildSpecBuilder<ConsistencyActor> {
    spec.answers::<RepairNow>()
}
