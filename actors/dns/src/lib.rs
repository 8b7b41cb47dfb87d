//! Names: every zone holds what it is to hold, and what others put there is left alone.
//!
//! DnsActor
//! Owns     the names of pods, services and networks at the name servers, and what is published of them.
//! Asks     ObjectsActor (what was put into servers that do not keep whose things are).
//! Answers  WithdrawNames.   Tells  RecordEvent.
//! Ticks    every 15 s asks each server how it is; compares everything every 10 min; else it wakes when objects or networks change.
//! Rebuilds from the servers' records and the stored entries, before it takes anything away.
//!
//! `frame`, `pieces` and `wishes` say what is to be in every zone, `plan` what to do about one set of records, `server` which call is next at a
//! server and `outcome` what is known after it. None of them does anything: the actor carries out.

mod actor;
mod carry_out;
mod desired;
#[cfg(test)]
mod desired_tests;
mod frame;
mod ledger;
mod names;
mod outcome;
mod pieces;
mod plan;
mod server;
mod sights;
mod sources;
mod telling;
mod waiting;
mod wishes;
#[cfg(test)]
mod wishes_tests;
mod zone_sight;
mod zone_state;

pub use actor::{DnsActor, DnsParts};
pub use sights::Mode;

use mkube_messages::dns::WithdrawNames;
use mkube_supervision::ChildSpecBuilder;

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<DnsActor>) -> ChildSpecBuilder<DnsActor> {
    spec.answers::<WithdrawNames>()
}
