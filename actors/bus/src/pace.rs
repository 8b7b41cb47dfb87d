//! How much of one thing is heard. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone)]
pub struct Pace {
    burst: u32,
    /// Time after which there is room for one more.
    each: Duration,
    /// When all the room will be there again.
    full_at: Instant,
}

impl Pace {
    /// Room for `burst` at once.
    pub fn new(burst: u32, each: Duration, now: Instant) -> Self {
        Self { burst, each, full_at: now }
    }

    /// Takes room for one; false when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.each;
        if full_at > now + self.each * self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(8, Duration::from_millis(250), start);
        let taken = |pace: &mut Pace, at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|_| pace.take(now)).count()
        };
        assert_eq!(taken(&mut pace, 0), 8);
        assert_eq!(taken(&mut pace, 249), 0);
        assert_eq!(taken(&mut pace, 1000), 4);
        assert_eq!(taken(&mut pace, 100_000), 8, "room is not saved up without end");
    }
}
