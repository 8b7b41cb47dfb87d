//! IpamActor: which networks there are, and which interface has which address.
//!
//! Owns     address leases per network, the networks of file and API together, and what is published of both.
//! Asks     RouterActor (bridge and gateway of a network, who is heard), ObjectsActor (objects of networks).
//! Answers  LeaseAddress, ReleaseAddress.               Tells  nobody.
//! Ticks    when interfaces or networks change; every 30 s: forgets leases of pods that are gone from the store and veths that are gone from the device;
//!          every 10 min: looks for the bridges.
//! Rebuilds from the device's veths and the addresses in the pods' status, before it answers; networks from their objects.

mod care;
mod ipam_actor;
mod known_networks;
mod lease_table;
mod taken;

pub use ipam_actor::{IpamActor, IpamParts, answers};
pub use lease_table::{LeaseTable, Wish};
