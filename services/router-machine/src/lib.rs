//! The pure state machine of a RouterOS device, as far as containers need it, and the engine trait behind it.

pub mod engine;
