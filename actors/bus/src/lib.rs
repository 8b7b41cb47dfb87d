//! Bus: what happens here is told on NATS, and what others tell there is heard.
//!
//! NatsEdge
//! Owns     the connection to the bus, and what waits to be told.   Asks   nobody; the bus, through a neighbour.
//! Answers  nothing.   Tells  ImagePushed.
//! Ticks    none; it wakes when objects change or something is heard, and tries again while the bus is away.
//! Rebuilds by attaching; what happened before it was there is not told.
//!
//! Nobody waits for the bus. What it does not take in time waits here up to a bound, the newest state of each object first; what it
//! says is a hint and no order. `news`, `outbox`, `telling`, `hearing`, `pace` and `subjects` are pure.

mod hearing;
mod nats_edge;
mod news;
mod outbox;
mod pace;
mod subjects;
mod telling;

pub use nats_edge::{BusParts, NatsEdge};
