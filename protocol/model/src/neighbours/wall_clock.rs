//! Time of day, for stamps only. Waiting uses the runtime's clock, which never steps backwards.

use jiff::Timestamp;

/// Tells the time of day. It may step in either direction between two calls.
pub trait WallClock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
        Timestamp::now()
    }
}
