//! Watchdog: judges how containers are, by their probes, by what the device did, and name servers by their answers. It restarts
//! nothing itself.
//!
//! WatchdogActor
//! Owns     when each container is asked how it is, what follows from its answers, and which of several dead name servers is restarted
//!          first.   Asks   nobody (its questions go to the containers, through a `Prober`, its commands through a `ContainerExec`).
//! Answers  nothing: what it found out is published, and PodActor acts on it.   Tells  RecordEvent.
//! Ticks    when a probe is due, and every few seconds; else it wakes when objects or the device's picture change.
//! Rebuilds from the pods' status: a run that was started and ready is so until its probes say otherwise.
//!
//! `course` is the whole judgement of one run of one container, and pure. Nothing is asked, and no answer counts, while the device
//! is away: a container is dead only when the device was read since, and says that it runs.
//!
//! A probe that is a command runs where the device runs commands, a few at a time. Where it runs none the probe counts as absent, which
//! an event and the pod's status say; a command of which nobody knows what became of it counts as not asked.
//!
//! A container whose address a network names as its name server is asked on port 53 beside its own probes. `dns_servers` finds them,
//! `dns_course` judges one, `dns_turns` says which one goes; all are pure. Counts of restarts begin anew with the actor: no run is
//! judged before it is old enough again, and the pod's own ladder counts on.

mod actor;
mod asking;
mod command;
mod course;
mod dns_course;
mod dns_servers;
mod dns_turns;
mod dns_watch;
mod sight;
mod telling;
mod unasked;

pub use actor::{WatchdogActor, WatchdogParts};
pub use dns_course::DnsRules;
