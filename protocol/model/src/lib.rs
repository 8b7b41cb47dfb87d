//! The nouns everybody may know: names, kinds of objects, settings, and one trait for each thing outside mkube.
//!
//! Pure: no actors, no I/O, no clock. If a rule can be stated without knowing who asks or when, it lives here.

pub mod names;
pub mod neighbours;
pub mod network;

pub use ipnet::IpNet;
