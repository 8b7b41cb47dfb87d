//! Real NATS servers for tests: one, or a cluster of them, each a child process with a directory of its own.
//!
//! A server listens on a free port of 127.0.0.1 and keeps it when it is started again. It is killed when its handle is dropped.
//! What the tests need beyond the plain server (users, TLS) is said as lines of its configuration.

#![allow(clippy::disallowed_methods, reason = "servers are real processes, and live in real time")]

mod cluster;
mod server;

pub use cluster::NatsCluster;
pub use server::NatsServer;
