//! The store in JetStream over real servers: what happens when they stop, die, come back older, or are written by others.

mod accepted;
mod asked;
mod away;
mod bench;
mod cluster;
mod forgets;
mod killed;
mod older;
mod others;
mod tail;
