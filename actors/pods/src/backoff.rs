//! Pauses that double, as Kubernetes paces restarts and as we pace retries.

use std::time::Duration;

use tokio::time::Instant;

/// A pause that doubles with each use and is forgotten after a quiet while.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    uses: u32,
    due: Option<Instant>,
}

impl Backoff {
    /// Between tries of a step the device refused: 1 s doubling to 60 s.
    pub fn of_retries() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    /// Between restarts of a container: at once, then `first` (10 s) doubling to 5 min, as kubelet does.
    pub fn of_restarts(first: Duration) -> Self {
        Self::new(first, Duration::from_secs(300).max(first))
    }

    /// Between rows whose image could not be unpacked: 10 s doubling to 5 min, as kubelet paces image pulls.
    pub fn of_remakes() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }

    fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, uses: 0, due: None }
    }

    /// Starts the next pause and says how long it is.
    pub fn pause(&mut self, now: Instant) -> Duration {
        let pause = self.first.saturating_mul(1 << self.uses.min(16)).min(self.longest);
        self.uses += 1;
        self.due = Some(now + pause);
        pause
    }

    /// As `pause`, but the first one takes no time: the first restart of a container is immediate.
    pub fn pause_after_the_first(&mut self, now: Instant) -> Duration {
        if self.uses == 0 {
            self.uses = 1;
            self.due = Some(now);
            return Duration::ZERO;
        }
        let pause = self.first.saturating_mul(1 << (self.uses - 1).min(16)).min(self.longest);
        self.uses += 1;
        self.due = Some(now + pause);
        pause
    }

    /// Goes on after so many uses that somebody else made.
    pub fn resume(&mut self, uses: u32) {
        self.uses = self.uses.max(uses);
    }

    /// Waits so long, without counting it as a use.
    pub fn hold(&mut self, now: Instant, pause: Duration) {
        self.due = Some(now + pause);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.uses = 0;
        self.due = None;
    }

    /// Whether a pause was begun since the last reset.
    pub fn is_in_use(&self) -> bool {
        self.uses > 0
    }

    /// When the pause ends, if one was started.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether nothing has to be waited for.
    pub fn is_over(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_reset() {
        let now = Instant::now();
        let mut backoff = Backoff::of_retries();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.pause(now).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert!(backoff.is_over(now));
        assert_eq!(backoff.pause(now).as_secs(), 1);
        let mut restarts = Backoff::of_restarts(Duration::from_secs(10));
        let pauses: Vec<u64> = (0..8).map(|_| restarts.pause_after_the_first(now).as_secs()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
    }
}
