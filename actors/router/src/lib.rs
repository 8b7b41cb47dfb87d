//! RouterActor: sole owner of the device's REST client, keeper of the picture everybody compares with.
//!
//! Owns     the client, the published [`DeviceSnapshot`], what is known of mount and environment lists.  Asks  nobody.
//! Answers  EnsureBridge, DescribeNetworks, EnsureVeth, RemoveVeth, EnsureMounts, EnsureEnvs, EnsureContainer,
//!          StartContainer, StopContainer, RemoveContainer, MarkContainer, SetStartOnBoot, DescribeContainerLog, DescribeFile,
//!          DescribeRoom, FetchFile, RenameFile, RemoveFile, PlaceFile.  Tells  nobody.
//! Ticks    every 10 s: containers and veths, and in turn bridge ports or figures; once a minute mount and environment lists
//!          too; every 50 ms to 1 s while a row moves, of many containers those alone that move, and once a second all. Figures also after the device was away or a process ended by itself:
//!          they tell whether it was booted.
//! Rebuilds from the device, before it publishes a complete picture.
//!
//! Steady state costs three calls a tick, and two more at every sixth, whatever the number of pods.
//!
//! [`DeviceSnapshot`]: mkube_messages::router::DeviceSnapshot

mod boots;
mod file_orders;
mod hands;
mod network_orders;
mod picture;
mod reading;
mod router_actor;
mod turns;

pub use picture::outdate;
pub use router_actor::{RouterActor, RouterParts, answers, device_picture};
