//! A RouterOS-compatible container host for Linux: the REST surface of a router over real containers, or simulated ones.
//!
//! The decisions are in `mkube-router-machine`; here are the socket, the disk, the clock and the engines.

mod cpu_load;
mod disks;
mod exec;
mod faults;
mod fetch;
mod files;
mod host;
mod http;
mod keep;
mod simulated;
mod world;

pub use faults::{FaultRule, Faults};
pub use host::{EngineKind, HostFault, HostOptions, RunningHost, clean, start};
pub use simulated::Timings;
