//! Who decides which fields of an object: `managedFields`, server-side apply, and what every other write leaves behind. Pure.
//!
//! A field belongs to whoever wrote it last, or to several who say the same by applying. Who applies says everything he wants: what
//! he said before and does not say any more goes, unless it is somebody else's too; what is another's is not changed without force.

mod applying;
mod comparing;
mod element;
mod last_applied;
mod managers;
mod merging;
mod owned;
mod recording;
mod set;

pub use applying::{Conflict, Intent, apply, check_lists, conflict_status, wanted};
pub use last_applied::refresh_last_applied;
pub use managers::{Manager, Managers, NAME_LENGTH, Operation, name_problem};
pub use owned::fields_of;
pub use recording::{BEFORE_FIRST_APPLY, Submitted, before_first_apply, created, reported, updated};
pub use set::FieldSet;

/// The manager that mkube's own controllers are.
pub const OWN: &str = "mkube";

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
