//! Jobs: pods that run to their end, and Jobs that come by a schedule.
//!
//! JobsActor
//! Owns     which pods of a Job and which Jobs of a CronJob are made, when, and what is counted of them.   Asks   ObjectsActor.
//! Answers  nobody.   Tells  RecordEvent.
//! Ticks    every 10 s at the latest while something may fall due; else it wakes when objects change.
//! Rebuilds from the objects, before it decides anything.
//!
//! `job_plan` says what is next for a Job, `cron_plan` for a CronJob. Both are pure, and what they rest on is stored: whoever comes
//! after a crash goes on where it was. What a pod does, its PodActor does; what a deleted Job leaves goes with its owner.

mod actor;
mod bodies;
mod carry_out;
mod cron_plan;
#[cfg(test)]
mod cron_plan_tests;
mod eyes;
mod job_plan;
#[cfg(test)]
mod job_plan_tests;
mod sight;
mod told;

pub use actor::{JobsActor, JobsParts};
