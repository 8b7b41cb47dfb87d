//! From the block `nats` of the settings to a connection, the same for everybody who speaks to NATS.
//!
//! | question | file |
//! |---|---|
//! | where the servers are, and who the address says we are | `address` |
//! | whose certificates are believed, and which is ours | `trust` |
//! | how a connection is made, and how its end is heard of | `connection` |
//!
//! A connection that broke is not mended behind its user's back: what was not told yet must not be told later, when nobody waits
//! for it any more. It ends, and its user makes another. Files are read anew for each connection, so that new seeds and
//! certificates are used from the next one on. No text of ours holds a secret.

mod address;
mod connection;
mod trust;

pub use connection::{Connection, NatsFault, connect};
