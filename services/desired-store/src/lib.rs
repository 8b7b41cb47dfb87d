//! Where objects are kept: one trait ([`DesiredStore`]), and the stores behind it: one file ([`EmbeddedStore`]), or NATS
//! JetStream with a file of what is known of it ([`JetStreamStore`]).
//!
//! [`DesiredStore`]: mkube_model::neighbours::desired_store::DesiredStore

mod embedded;
mod file;
mod jetstream;

pub use embedded::EmbeddedStore;
pub use jetstream::{JetStreamOptions, JetStreamStore};
