//! Stand-ins for everything outside an actor, in memory and under paused time.
//!
//! [`FakeRouter`] is no second imitation of RouterOS: it is the host's own state machine behind the real client, without a
//! socket between them. The others keep what they are told and fail on cue. [`Recorder`] stands in for a peer actor,
//! [`Crossings`] counts every call between neighbours and does something at one of them.

mod cue;
mod fake_bus;
mod fake_clock;
mod fake_commands;
mod fake_device;
mod fake_disk;
mod fake_files;
mod fake_name_servers;
mod fake_node_apis;
mod fake_prober;
mod fake_resolver;
mod fake_router;
mod fake_streams;
mod fake_tarballs;
mod memory_store;
mod recorder;
mod relay;

pub use cue::Cue;
pub use fake_bus::FakeBus;
pub use fake_clock::FakeClock;
pub use fake_commands::{Command, FakeCommands};
pub use fake_device::Timings;
pub use fake_disk::FakeDisk;
pub use fake_name_servers::{Contents, FakeNameServers, Release};
pub use fake_node_apis::NoNodeApis;
pub use fake_prober::{Answer, FakeProber};
pub use fake_resolver::FakeResolver;
pub use fake_router::{Call, FakeRouter};
pub use fake_streams::FakeStreams;
pub use fake_tarballs::FakeTarballs;
pub use memory_store::{LoadCue, Meanwhile, MemoryStore, Reading, StoreCue};
pub use mkube_router_machine::Verb;
pub use recorder::Recorder;
pub use relay::{Crossings, relay};
