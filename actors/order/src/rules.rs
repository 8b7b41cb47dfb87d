//! How the order is kept.

use std::time::Duration;

/// How the order is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Pods with a place in the order that are on their way to being ready at the same time.
    pub parallel: usize,
    /// How long others wait for a pod that may start and is not ready.
    pub deadline: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { parallel: 4, deadline: Duration::from_secs(60) }
    }
}
