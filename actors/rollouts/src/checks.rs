//! When a registry is asked what an image means now. Pure: spread out, never twice at once, more rarely while it is away.

use std::time::Duration;

use mkube_model::names;
use tokio::time::Instant;

/// Pause between two questions about an image, however many pushes are told.
const SHORTEST: Duration = Duration::from_secs(1);
/// Doublings of the pause while the registry does not say.
const DOUBLINGS: u32 = 4;

/// When one image is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    interval: Duration,
    born: Instant,
    due: Instant,
    begun: Option<Instant>,
    in_flight: bool,
    asked_for: bool,
    failures: u32,
}

impl Check {
    /// A new image has its place in the interval, so that not all are asked about together.
    pub fn new(image: &str, interval: Duration, now: Instant) -> Self {
        let share = f64::from(names::fnv1a(image)) / f64::from(u32::MAX);
        let due = now + interval.mul_f64(share);
        Self { interval, born: now, due, begun: None, in_flight: false, asked_for: false, failures: 0 }
    }

    /// Somebody wants to know what it means from now on: an answer that is under way already may be too old.
    pub fn ask(&mut self) {
        self.asked_for = true;
    }

    /// When the next question is due; none while one is in flight.
    pub fn due(&self) -> Option<Instant> {
        let soonest = self.begun.map_or(self.born, |begun| begun + SHORTEST);
        (!self.in_flight).then_some(if self.asked_for { soonest } else { self.due })
    }

    /// A question is in flight.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// The question goes out.
    pub fn begin(&mut self, now: Instant) {
        self.in_flight = true;
        self.asked_for = false;
        self.begun = Some(now);
        self.due = now + self.interval;
    }

    /// It was answered, or not.
    pub fn end(&mut self, now: Instant, answered: bool) {
        self.in_flight = false;
        self.failures = if answered { 0 } else { self.failures.saturating_add(1) };
        let pause = self.interval * (1 << self.failures.min(DOUBLINGS));
        self.due = self.begun.unwrap_or(now) + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Seconds after the start at which questions go out, within so long, when each is answered `answered`.
    fn asked_at(check: &mut Check, start: Instant, seconds: u64, answered: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut asked = Vec::new();
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            if check.due().is_some_and(|due| due <= now) {
                check.begin(now);
                assert_eq!(check.due(), None, "none while one is in flight");
                check.end(now, answered(second));
                asked.push(second);
            }
        }
        asked
    }

    #[tokio::test]
    async fn an_image_is_asked_about_once_a_minute_each_at_its_own_time() {
        let start = Instant::now();
        let first = |image: &str| asked_at(&mut Check::new(image, MINUTE, start), start, 600, |_| true);
        let (one, other) = (first("web:1"), first("side:1"));
        assert_ne!(one[0], other[0], "spread out");
        for asked in [one, other] {
            assert_eq!(asked.len(), 10);
            assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == 60), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_does_not_answer_is_asked_more_rarely_until_it_does() {
        let start = Instant::now();
        let mut check = Check::new("web:1", MINUTE, start);
        let asked = asked_at(&mut check, start, 6000, |second| second > 4000);
        let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses[..6], [120, 240, 480, 960, 960, 960]);
        assert_eq!(pauses[pauses.len() - 3..], [60, 60, 60]);
    }

    #[tokio::test]
    async fn whoever_asks_gets_an_answer_of_now_and_a_flood_of_questions_becomes_one_a_second() {
        let start = Instant::now();
        let mut check = Check::new("web:1", MINUTE, start);
        check.ask();
        assert_eq!(check.due(), Some(start));
        check.begin(start);
        check.ask();
        check.end(start, true);
        assert_eq!(check.due(), Some(start + SHORTEST), "the answer under way was older than the question");
        check.begin(start + SHORTEST);
        check.end(start + SHORTEST, true);
        assert_eq!(check.due(), Some(start + SHORTEST + MINUTE));
    }
}
