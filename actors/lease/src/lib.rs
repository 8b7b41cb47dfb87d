//! Lease: one controller drives a device, and another may stand by.
//!
//! LeaseActor
//! Owns     the device's record in the book of leases, as far as it is ours.   Asks   nobody; the book, through a neighbour.
//! Answers  nobody; who drives is published.   Tells  nobody.
//! Ticks    when the book changes, and every second or five; every two seconds it says that it lives, while somebody stands by.
//! Rebuilds nothing: what it knows lies on a desk that outlives it, and what must outlive the process is in a note.
//!
//! `memory` is what is known, `next` says what to do about it, `commands` what may be sent to the device; all three are pure.
//! `permit` is asked before each command, by the device behind `guarded_router`. See `docs/decisions/026-one-drives.md`.

mod actor;
mod commands;
mod desk;
#[cfg(test)]
mod desk_tests;
mod guarded_router;
mod memory;
mod next;
mod permit;
#[cfg(test)]
mod protocol_tests;
mod times;

pub use actor::{LeaseActor, LeaseParts};
pub use desk::{DeskParts, LeaseDesk};
pub use guarded_router::GuardedRouter;
pub use permit::Permit;
