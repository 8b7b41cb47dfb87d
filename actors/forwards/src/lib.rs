//! Forwards: whether names of one network can be resolved through the name server of another.
//!
//! ForwardsActor
//! Owns     the last answers.   Asks   nobody; name servers, through a neighbour.
//! Answers  nobody; what servers said is published.   Tells  nobody.
//! Ticks    every minute, and every 10 s while something is wrong; else it wakes when zones come and go.
//! Rebuilds by asking.
//!
//! It repairs nothing: whoever keeps forwarders does. `plan` says who is asked for what, and is pure.

mod actor;
mod plan;

pub use actor::{ForwardsActor, ForwardsParts};
