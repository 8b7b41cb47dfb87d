//! Lease.
mod commands;
mod memory;
mod next;
#[cfg(test)]
mod protocol_tests;
mod times;
