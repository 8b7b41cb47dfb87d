//! What is asked of the device, and what it needs to know of the world to answer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// HTTP verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the verbs of HTTP")]
pub enum Verb {
    Get,
    Put,
    Patch,
    Delete,
    Post,
}

/// A request below `/rest`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Verb.
    pub verb: Verb,
    /// Decoded path segments.
    pub segments: Vec<String>,
    /// Decoded query.
    pub query: Vec<(String, String)>,
    /// Parsed body; null when there is none.
    pub body: Value,
}

/// What the device needs to know of the world at a request or event.
pub struct Circumstances<'a> {
    /// Time of day as printed in logs.
    pub stamp: String,
    /// Since the device started.
    pub uptime: Duration,
    /// Whether a path of the device exists.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// A path of the device as a path of this machine.
    pub local: &'a dyn Fn(&str) -> PathBuf,
    /// Free and total memory, free and total disk, in bytes.
    pub sizes: [u64; 4],
    /// Number of CPUs.
    pub cpus: usize,
    /// How busy they are, in percent of all.
    pub cpu_load: u8,
}
