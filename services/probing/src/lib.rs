//! Probing: one question to a container, over HTTP, TCP, gRPC or DNS, and whether the answer is a good one.
//!
//! Who answers is not trusted: everything has a deadline, nothing that is read is unbounded, and no connection is used twice. A
//! process that hangs with an open connection must not look alive because of it.

mod dns;
mod grpc;
mod http_get;
mod network_prober;
mod network_resolver;
mod tcp;

pub use network_prober::NetworkProber;
pub use network_resolver::NetworkResolver;
