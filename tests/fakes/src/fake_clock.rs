//! A time of day that goes with the runtime's clock and can be set.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::time::Instant;

/// Begins at 2026-01-01T00:00:00Z.
pub struct FakeClock {
    /// The time of day at an instant.
    anchor: Mutex<(Timestamp, Instant)>,
}

impl Default for FakeClock {
    fn default() -> Self {
        let start = "2026-01-01T00:00:00Z".parse().expect("a literal");
        Self { anchor: Mutex::new((start, Instant::now())) }
    }
}

impl FakeClock {
    /// Steps the clock by so many seconds, backwards if negative.
    pub fn step(&self, seconds: i64) {
        let now = self.now();
        let stepped = now.checked_add(SignedDuration::from_secs(seconds)).expect("in range");
        *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = (stepped, Instant::now());
    }
}

impl WallClock for FakeClock {
    fn now(&self) -> Timestamp {
        let (at, since) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = SignedDuration::try_from(since.elapsed()).expect("in range");
        at.checked_add(passed).expect("in range")
    }
}
