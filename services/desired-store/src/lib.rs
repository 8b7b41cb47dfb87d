//! Where objects are kept: one trait ([`DesiredStore`]), and the stores behind it: one file ([`EmbeddedStore`]), or NATS
//! JetStream with a file of what is known of it ([`JetStreamStore`]). Beside the latter lies the book in which controllers write who
//! drives a device ([`NatsLeases`]).
//!
//! [`DesiredStore`]: mkube_model::neighbours::desired_store::DesiredStore

mod embedded;
mod file;
mod jetstream;
mod leases;
pub mod moving;
mod own_note;
mod reading;

pub use embedded::EmbeddedStore;
pub use jetstream::{JetStreamOptions, JetStreamStore, read_buckets};
pub use leases::{LeaseOptions, NatsLeases};
pub use own_note::OwnNote;
pub use reading::{FileContents, FileKind, read_file};
