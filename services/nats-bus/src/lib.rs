//! The bus on NATS, without JetStream: whoever listens hears, nothing is kept for the others.
//!
//! The connection lives on a thread of its own, so that a flood costs that thread its time and nobody else. What is heard and not taken
//! in time is lost after a few messages.

mod bus;

pub use bus::NatsBus;
