//! IpamActor: which interface has which address.
//!
//! Owns     address leases per network, and what is published of them.   Asks   RouterActor (bridge and gateway of a network).
//! Answers  LeaseAddress, ReleaseAddress.               Tells  nobody.
//! Ticks    when interfaces change, to publish; every 30 s: forgets leases of pods that are gone from the store and veths that are gone from the device.
//! Rebuilds from the device's veths and the addresses in the pods' status, before it answers.

mod ipam_actor;
mod lease_table;

pub use ipam_actor::{IpamActor, IpamParts, answers};
