//! Generated configuration: ConfigMaps that follow from the networks.
//!
//! GeneratedActor
//! Owns     `<network>/dns-config` of every network with a zone and a name server, `infra/mkube-console-config`.
//!          Where several nodes share a store and another has that name already: with `.<node>` behind it.
//! Asks     ObjectsActor.   Answers  nobody.   Tells  nobody.
//! Ticks    every minute at the latest; else it wakes when networks or objects change.
//! Rebuilds from networks and objects, before it decides anything.
//!
//! `dns_config` and `console_config` say what is to stand there, `decide` what is to be done about it. All are pure. What mkube wrote
//! says so in an annotation; whoever changes it finds it put back, unless the annotation says `false`.

mod actor;
mod console_config;
mod decide;
#[cfg(test)]
mod decide_tests;
mod dns_config;

pub use actor::{GeneratedActor, GeneratedParts};
