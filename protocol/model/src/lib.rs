//! The nouns everybody may know: names, kinds of objects, settings, and one trait for each thing outside mkube.
//!
//! Pure: no actors, no I/O, no clock. If a rule can be stated without knowing who asks or when, it lives here.

pub mod applied;
pub mod boot_order;
pub mod channels;
pub mod command_line;
pub mod discovery;
pub mod disk_map;
pub mod fields;
pub mod generated;
pub mod image_pins;
pub mod image_reference;
pub mod kinds;
pub mod lease_record;
pub mod list_types;
pub mod marks;
pub mod metadata;
pub mod names;
pub mod neighbours;
pub mod network;
pub mod patch;
pub mod percent;
pub mod portable;
pub mod probes;
pub mod problem;
pub mod protobuf;
pub mod pull_secrets;
pub mod schedule;
pub mod secret;
pub mod selectors;
pub mod settings;
pub mod static_addresses;
pub mod status;
pub mod stored_text;
pub mod table;
pub mod workloads;

pub use ipnet::IpNet;
