//! Order: which pod may start when, after a boot of the device, and which is stopped first when the node is emptied.
//!
//! OrderActor
//! Owns     the order of pods, who is still waited for, and who is stopped next.   Asks   nobody.
//! Answers  nothing.                                    Tells  RecordEvent.
//! Ticks    when somebody has been waited for long enough; else it wakes when objects or the device's picture change.
//! Rebuilds from the pods and the device's picture, before it opens or closes anything: what runs has had its turn.
//!
//! What it decides is published (`GatesView`), and pod actors keep to it. `plan` says who comes before whom, `start` who may start
//! now, `drain` who is stopped now. All three are pure.

mod actor;
mod drain;
mod plan;
mod rules;
mod sight;
mod start;
#[cfg(test)]
mod start_tests;

pub use actor::{OrderActor, OrderParts};
pub use rules::Rules;
