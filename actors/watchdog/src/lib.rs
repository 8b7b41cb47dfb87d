//! Watchdog: judges how containers are, by their probes and by what the device did. It restarts nothing itself.
//!
//! WatchdogActor
//! Owns     when each container is asked how it is, and what follows from its answers.   Asks   nobody (its questions go to the
//!          containers, through a `Prober`).
//! Answers  nothing: what it found out is published, and PodActor acts on it.   Tells  RecordEvent.
//! Ticks    when a probe is due, and every few seconds; else it wakes when objects or the device's picture change.
//! Rebuilds from the pods' status: a run that was started and ready is so until its probes say otherwise.
//!
//! `course` is the whole judgement of one run of one container, and pure. Nothing is asked, and no answer counts, while the device
//! is away: a container is dead only when the device was read since, and says that it runs.

mod actor;
mod asking;
mod course;
mod sight;
mod telling;

pub use actor::{WatchdogActor, WatchdogParts};
