//! What happened lately, told when the story fails.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lines that are kept.
const LINES: usize = 250;

/// The last lines, and when each was written.
pub struct Log {
    began: Instant,
    lines: Mutex<VecDeque<String>>,
}

impl Log {
    pub fn new() -> Self {
        Self { began: Instant::now(), lines: Mutex::default() }
    }

    pub fn note(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{:9.3} {line}", self.began.elapsed().as_secs_f64()));
    }

    /// Everything that is kept.
    pub fn tell(&self) {
        eprintln!("--- what happened last");
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            eprintln!("{line}");
        }
    }
}
