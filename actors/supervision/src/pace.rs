//! How often and how fast restarts may follow one another. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// At most `restarts` within `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts allowed.
    pub restarts: usize,
    /// Length of the sliding window.
    pub within: Duration,
}

/// The sliding window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window(VecDeque<Instant>);

impl Window {
    /// Counts a restart; false when it is one too many.
    pub(crate) fn admit(&mut self, intensity: Intensity, now: Instant) -> bool {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= intensity.within) {
            self.0.pop_front();
        }
        if self.0.len() >= intensity.restarts {
            return false;
        }
        self.0.push_back(now);
        true
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Pause before a restart: none after a long life or the first short one, then doubling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPace {
    /// A life shorter than this is a short one.
    pub short_life: Duration,
    /// First pause.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// Share of the pause that varies, 0 to 1.
    pub jitter: f64,
}

impl Default for RestartPace {
    fn default() -> Self {
        Self {
            short_life: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            jitter: 0.2,
        }
    }
}

impl RestartPace {
    /// The pause after the `short_lives`-th short life in a row; `chance` is uniform in 0..1.
    pub fn pause(&self, short_lives: u32, chance: f64) -> Duration {
        if short_lives <= 1 {
            return Duration::ZERO;
        }
        let doubled = self.first.saturating_mul(1 << (short_lives - 2).min(16)).min(self.longest);
        doubled.mul_f64(1.0 - self.jitter * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_then_pauses_double_to_the_longest() {
        let pace = RestartPace { jitter: 0.0, ..RestartPace::default() };
        let pauses: Vec<u64> = (0..10).map(|lives| pace.pause(lives, 0.5).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn jitter_shortens_by_at_most_its_share() {
        let pace = RestartPace::default();
        assert_eq!(pace.pause(3, 0.0), Duration::from_secs(2));
        assert!(pace.pause(3, 0.999) > Duration::from_millis(1600));
    }

    #[test]
    fn the_window_slides() {
        let intensity = Intensity { restarts: 2, within: Duration::from_secs(10) };
        let (mut window, start) = (Window::default(), Instant::now());
        assert!(window.admit(intensity, start));
        assert!(window.admit(intensity, start + Duration::from_secs(5)));
        assert!(!window.admit(intensity, start + Duration::from_secs(9)));
        assert!(window.admit(intensity, start + Duration::from_secs(11)));
    }
}
