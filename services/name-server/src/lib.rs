//! The name server: zones in a file, answers from memory, the REST surface of microdns.
//!
//! A packet is read with hickory's decoder (`question`), answered from an immutable picture of all zones (`index`, `answers`,
//! `reply`), or from what others told (`forwarding`, `cache`). A write comes over `rest`, is checked and done in one
//! transaction (`changes`, `store`), and is in the next picture before it is answered (`desk`). `running` puts it together,
//! `config` reads the configuration file.
//!
//! DHCP, address management, probing, mDNS and clusters are not here: their routes answer as those of a server where nobody set
//! them up.

mod answers;
mod cache;
mod changes;
mod config;
mod desk;
mod events;
mod forwarding;
mod import;
mod index;
mod listeners;
pub mod names;
mod passing_on;
mod question;
mod rdata;
pub mod records;
mod reply;
mod rest;
mod reverse;
mod running;
mod store;
mod transfer;

pub use config::{Config, ConfigFault};
pub use listeners::Bound;
pub use running::{NameServer, Options, Running, Seed, StartFault};
pub use store::StoreFault;
