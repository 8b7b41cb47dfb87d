//! What is done to the device, step by step. Every function can be repeated: it looks at what is known, does what is missing,
//! and after an answer that leaves the outcome open it looks at the device before it concludes anything.
//!
//! A look can fail too. Then the doubt stays with the name, and the next order about it begins with a look.

mod containers;
mod files;
mod lists;
mod networks;
mod veths;

use mkube_model::neighbours::router::{Outcome, RouterFault};

use crate::picture::Learned;

pub use containers::{Move, ensure_container, mark_container, move_container, set_start_on_boot};
pub use files::{fetch_file, place_file, remove_file, rename_file};
pub use lists::{ensure_envs, ensure_mounts};
pub use networks::{ensure_bridge, release_bridge};
pub use veths::{ensure_veth, remove_veth};

/// Tries of one order: the first, one after a lost answer, one after a second lost answer.
const TRIES: usize = 3;

/// What a step taught us, and how it ended.
pub struct Done {
    /// To be folded into the picture, in order.
    pub learned: Vec<Learned>,
    /// How it ended.
    pub result: Result<(), RouterFault>,
}

/// Whether the device may hold something other than we believe.
fn worth_a_look(fault: &RouterFault) -> bool {
    matches!(fault, RouterFault::AlreadyExists { .. } | RouterFault::NotFound { .. } | RouterFault::WrongState { .. })
        || fault.outcome() == Outcome::Unknown
}

/// What is believed of one thing on the device while an order about it is carried out.
struct Belief<'a, T> {
    what: T,
    /// Something may have been done that the belief does not show.
    doubt: &'a mut bool,
}

impl<T> Belief<'_, T> {
    /// Notes how a command about it ended.
    fn noted<R>(&mut self, result: Result<R, RouterFault>) -> Result<R, RouterFault> {
        *self.doubt = result.as_ref().is_err_and(|fault| fault.outcome() == Outcome::Unknown);
        result
    }
}
