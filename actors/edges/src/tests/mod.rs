//! What strangers may send, thrown at everything that reads it.

mod fuzzing;
mod mutation;
mod targets;
mod wire;
