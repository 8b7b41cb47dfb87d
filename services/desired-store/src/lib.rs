//! Where objects are kept: one trait ([`DesiredStore`]), and the stores behind it: one file ([`EmbeddedStore`]), or NATS
//! JetStream with a file of what is known of it ([`JetStreamStore`]). Beside a file lies its journal, which is what a write waits for. Beside the latter lies the book in which controllers write who
//! drives a device ([`NatsLeases`]).
//!
//! [`DesiredStore`]: mkube_model::neighbours::desired_store::DesiredStore

mod copy;
mod embedded;
mod file;
mod jetstream;
mod journal;
mod leases;
pub mod moving;
mod own_note;
mod reading;
mod rows;

pub use copy::CopyText;
pub use embedded::EmbeddedStore;
pub use jetstream::{JetStreamOptions, JetStreamStore, read_buckets};
pub use journal::journal_of;
pub use leases::{LeaseOptions, NatsLeases};
pub use own_note::OwnNote;
pub use reading::{FileContents, FileKind, read_file};
