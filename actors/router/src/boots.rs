//! When the device was started: by the uptime it tells, and by the clock on the wall.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::router::SystemResource;
use tokio::time::Instant;

/// An uptime is printed in whole seconds, rounded down.
const ROUNDING: Duration = Duration::from_secs(1);
/// So much less uptime than time went by, while the device was away, means that it was rebooted long ago.
const LAG: Duration = Duration::from_secs(30);

/// What figures, asked for at `asked` and before that at `then`, say of reboots.
pub fn learn(picture: &mut DeviceSnapshot, figures: &SystemResource, then: Option<Instant>, asked: Instant) {
    // One that was started this very second says zero.
    let before = picture.resource.as_ref().map(|before| before.uptime);
    let went_back = before.is_some_and(|before| figures.uptime < before);
    // While it answered, nothing but a reboot sets it back; clocks that run apart a little are no reboot.
    let lags = picture.fault.is_some()
        && before
            .zip(then)
            .is_some_and(|(before, then)| figures.uptime + LAG < before + asked.saturating_duration_since(then));
    picture.boots += u64::from(went_back || lags);
    if went_back || lags || picture.booted_at.is_none() {
        picture.booted_at = asked.checked_sub(figures.uptime + ROUNDING);
        picture.booted_on = None;
    }
}

/// Says when the device was started by the clock on the wall, which says `now`. Once said it stays: a clock that is set forward must
/// not look like a reboot after which nothing was seen. One that is set back takes it along, or all that is noted from now on would
/// have been noted before the device was started.
pub fn date(picture: &mut DeviceSnapshot, now: Timestamp) {
    let ago = picture.booted_at.and_then(|at| SignedDuration::try_from(at.elapsed()).ok());
    let by_now = ago.and_then(|ago| now.checked_sub(ago).ok());
    picture.booted_on = [picture.booted_on, by_now].into_iter().flatten().min();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture, and when its figures were asked for.
    #[derive(Default)]
    struct Seen(DeviceSnapshot, Option<Instant>);

    impl Seen {
        fn look(&mut self, uptime: u64, asked: Instant) {
            let figures = SystemResource { uptime: Duration::from_secs(uptime), ..SystemResource::default() };
            learn(&mut self.0, &figures, self.1.replace(asked), asked);
            self.0.resource = Some(figures);
        }
    }

    #[test]
    fn a_device_whose_uptime_went_back_was_rebooted_and_nothing_else_says_so() {
        let mut device = Seen::default();
        let start = Instant::now() + Duration::from_secs(100_000);
        let at = |second: u64| start + Duration::from_secs(second);
        device.look(5000, at(0));
        let first = device.0.booted_at;
        assert_eq!(first, at(0).checked_sub(Duration::from_secs(5001)));
        // A slow clock, a look that took long: none of them is a reboot.
        for (uptime, asked) in [(5018, 20), (5050, 120)] {
            device.look(uptime, at(asked));
            assert_eq!(device.0.booted_at, first, "{uptime}");
        }
        device.look(7, at(160));
        assert_eq!(device.0.booted_at, Some(at(152)));
        // It is asked in its first second.
        device.look(0, at(200));
        device.look(9, at(210));
        assert_eq!(device.0.booted_at, Some(at(199)));
    }

    #[test]
    fn a_device_that_was_away_and_is_younger_than_it_should_be_was_rebooted() {
        let mut device = Seen::default();
        let start = Instant::now() + Duration::from_secs(100_000);
        device.look(20, start);
        device.0.fault = Some("nobody answers".into());
        let later = start + Duration::from_secs(600);
        device.look(90, later);
        assert_eq!(device.0.booted_at, Some(later - Duration::from_secs(91)));
        // One that only could not be reached is as old as it should be.
        device.0.fault = Some("nobody answers".into());
        device.look(688, later + Duration::from_secs(600));
        assert_eq!(device.0.booted_at, Some(later - Duration::from_secs(91)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_forward_leaves_the_boot_where_it_was_and_one_set_back_takes_it_along() {
        let day = SignedDuration::from_hours(24);
        let noon: Timestamp = "2026-01-02T12:00:00Z".parse().expect("a time");
        tokio::time::advance(Duration::from_secs(100)).await;
        let mut device = Seen::default();
        date(&mut device.0, noon);
        assert_eq!(device.0.booted_on, None, "nobody knows");
        device.look(59, Instant::now());
        date(&mut device.0, noon);
        let boot = noon - SignedDuration::from_secs(60);
        assert_eq!(device.0.booted_on, Some(boot));
        date(&mut device.0, noon + day);
        assert_eq!(device.0.booted_on, Some(boot));
        date(&mut device.0, noon - day);
        assert_eq!(device.0.booted_on, Some(boot - day));
        // It is rebooted: what was said of the start before says nothing of this one.
        device.look(4, Instant::now());
        date(&mut device.0, noon + day);
        assert_eq!(device.0.booted_on, Some(noon + day - SignedDuration::from_secs(5)));
    }
}
