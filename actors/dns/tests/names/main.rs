//! The actor over name servers that are early or current, lose replies, forget, and come back with what they had once.

mod bench;
mod faults;
mod steady;
