//! Schedules of CronJobs: the five fields of cron and the words that stand for some, read and followed as Kubernetes does.
//!
//! A time that daylight saving leaves out does not come, one that it repeats comes twice.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// A schedule in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Times {
    /// Bits of minutes, hours, days, months and weekdays.
    Fields { minutes: u64, hours: u64, days: u64, months: u64, weekdays: u64, any_day: bool, any_weekday: bool },
    /// `@every`, in whole seconds.
    Every(i64),
}

/// Years after which a schedule that did not come does not come at all.
const HORIZON: i16 = 5;
/// How far back the latest of very many times is looked for, in seconds: an hour, a day, a month, a year, five years.
const WINDOWS: [i64; 5] = [3600, 86_400, 32 * 86_400, 367 * 86_400, 5 * 367 * 86_400];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A time zone by its name in the IANA database, which is built in; UTC when none is said.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone, String> {
    match name {
        None => Ok(TimeZone::UTC),
        Some("") => Err("timeZone must be nil or non-empty string".to_owned()),
        // It would be the zone of a machine nobody named.
        Some(local) if local.eq_ignore_ascii_case("local") => {
            Err("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned())
        }
        Some(name) => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

impl Schedule {
    /// Reads a schedule; an error says what is not understood.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("TZ=") {
            return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
        }
        if let Some(every) = text.strip_prefix("@every ") {
            return Ok(Self { times: Times::Every(whole_seconds(every.trim())?), zone });
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return Err(format!("unrecognized descriptor: {word}")),
            fields => fields,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", fields.len()));
        };
        let is_any = |field: &str| field.split(',').any(|part| part.starts_with(['*', '?']));
        let times = Times::Fields {
            minutes: bits(minutes, 0, 59, &[])?,
            hours: bits(hours, 0, 23, &[])?,
            days: bits(days, 1, 31, &[])?,
            months: bits(months, 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: bits(weekdays, 0, 7, &WEEKDAYS).map(|bits| bits | (bits >> 7 & 1))?,
            any_day: is_any(days),
            any_weekday: is_any(weekdays),
        };
        Ok(Self { times, zone })
    }

    /// The first time after `after`; nothing when it does not come within years, as the 30th of February.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.times {
            Times::Every(seconds) => whole.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Times::Fields { minutes, hours, days, months, weekdays, any_day, any_weekday } => {
                let mut at =
                    whole.checked_add(SignedDuration::from_secs(60 - whole.as_second().rem_euclid(60))).ok()?;
                let last = whole.to_zoned(self.zone.clone()).year() + HORIZON;
                loop {
                    let local = at.to_zoned(self.zone.clone());
                    if local.year() > last {
                        return None;
                    }
                    let by_day = is_in(*days, local.day());
                    let by_weekday = is_in(*weekdays, local.weekday().to_sunday_zero_offset());
                    // When both are restricted, either is enough.
                    let on_day = if *any_day || *any_weekday { by_day && by_weekday } else { by_day || by_weekday };
                    let next = if !is_in(*months, local.month()) {
                        self.start_of(local.date().last_of_month().tomorrow().ok()?)?
                    } else if !on_day {
                        self.start_of(local.date().tomorrow().ok()?)?
                    } else if !is_in(*hours, local.hour()) {
                        ahead(&local, 60 - i64::from(local.minute()))?
                    } else if !is_in(*minutes, local.minute()) {
                        ahead(&local, 1)?
                    } else {
                        return Some(at);
                    };
                    // A zone whose clock goes back over midnight must not send us round in a circle.
                    at = if next > at { next } else { ahead(&local, 1)? };
                }
            }
        }
    }

    /// Times after `after` up to `now`: how many, counted up to `enough`, and the latest.
    pub fn missed(&self, after: Timestamp, now: Timestamp, enough: usize) -> (usize, Option<Timestamp>) {
        let (mut count, mut latest) = (0, None);
        let mut at = after;
        while let Some(next) = self.next_after(at).filter(|next| *next <= now) {
            if count == enough {
                return (count, self.latest(after, now).or(latest));
            }
            (count, latest, at) = (count + 1, Some(next), next);
        }
        (count, latest)
    }

    /// The latest time after `after` up to `now`, without a walk over all of them.
    fn latest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if let Times::Every(seconds) = self.times {
            let whole = (now.as_second() - after.as_second()) / seconds * seconds;
            return Timestamp::from_second(after.as_second() + whole).ok();
        }
        WINDOWS.into_iter().find_map(|window| {
            let from = now.checked_sub(SignedDuration::from_secs(window)).ok()?.max(after);
            let times = std::iter::successors(self.next_after(from), |at| self.next_after(*at));
            times.take_while(|at| *at <= now).last()
        })
    }

    fn start_of(&self, day: Date) -> Option<Timestamp> {
        day.to_zoned(self.zone.clone()).ok().map(|start| start.timestamp())
    }
}

fn ahead(local: &Zoned, minutes: i64) -> Option<Timestamp> {
    local.timestamp().checked_add(SignedDuration::from_mins(minutes)).ok()
}

fn is_in(bits: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| bits >> number & 1 == 1)
}

/// Numbers of a field: `*`, `?`, `5`, `mon`, `1-5`, `*/2`, `10/5`, and lists of these.
fn bits(field: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step, field)?)),
            None => (part, None),
        };
        let one = |text: &str| match names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            // Months begin with 1, weekdays with 0: both with the least there may be.
            Some(position) => Ok(u32::try_from(position).unwrap_or(u32::MAX).saturating_add(least)),
            None => number(text, field),
        };
        let (from, to) = match range {
            // Seven is Sunday once more, not an eighth day.
            "*" | "?" => (least, if most == 7 { 6 } else { most }),
            range => match range.split_once('-') {
                Some((from, to)) => (one(from)?, one(to)?),
                None if step.is_some() => (one(range)?, if most == 7 { 6 } else { most }),
                None => (one(range)?, one(range)?),
            },
        };
        if from < least || to > most {
            return Err(format!("{part:?} is not within {least} and {most}"));
        }
        if from > to {
            return Err(format!("the beginning of range {part:?} is beyond its end"));
        }
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(format!("the step of {part:?} must be a positive number"));
        }
        for number in (from..=to).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            bits |= 1 << number;
        }
    }
    Ok(bits)
}

fn number(text: &str, field: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| format!("{text:?} in {field:?} is not a number"))
}

/// `1h30m`, `90s`: whole seconds. At least a minute: Jobs are named after theirs.
fn whole_seconds(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse duration @every {text}: use hours, minutes and seconds, such as 1h30m");
    let (mut total, mut digits) = (0i64, String::new());
    for c in text.chars() {
        if c.is_ascii_digit() && digits.len() < 9 {
            digits.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(bad()),
        };
        total += digits.parse::<i64>().map_err(|_| bad())? * unit;
        digits.clear();
    }
    match total {
        _ if !digits.is_empty() => Err(bad()),
        60.. => Ok(total),
        _ => Err(format!("@every {text} is less than a minute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a literal")
    }

    fn schedule(text: &str, zone: &str) -> Schedule {
        Schedule::parse(text, time_zone(Some(zone)).expect("a zone")).expect("a schedule")
    }

    #[test]
    fn the_next_time_is_the_one_cron_means() {
        // 2026-01-01 is a Thursday.
        for (text, after, next) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:46:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 * * * *", "2026-01-01T00:26:00Z", "2026-01-01T00:45:00Z"),
            ("30 3 * * *", "2026-01-01T03:30:00Z", "2026-01-02T03:30:00Z"),
            ("0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("0 12 * feb mon-wed", "2026-01-01T00:00:00Z", "2026-02-02T12:00:00Z"),
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * ?", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("0 0 */2 * 1", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("1,2,10-12/2 5 * * *", "2026-01-01T05:02:00Z", "2026-01-01T05:10:00Z"),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:10.7Z", "2026-01-01T01:30:10Z"),
        ] {
            assert_eq!(schedule(text, "UTC").next_after(at(after)), Some(at(next)), "{text}");
        }
        assert_eq!(schedule("0 0 30 2 *", "UTC").next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn a_time_zone_has_its_own_hours_and_daylight_saving() {
        let early = schedule("30 2 * * *", "Europe/Berlin");
        assert_eq!(early.next_after(at("2026-01-01T00:00:00Z")), Some(at("2026-01-01T01:30:00Z")));
        // 02:30 on 2026-03-29 is left out.
        assert_eq!(early.next_after(at("2026-03-28T02:00:00Z")), Some(at("2026-03-30T00:30:00Z")));
        // 02:30 on 2026-10-25 comes twice.
        let first = early.next_after(at("2026-10-24T12:00:00Z"));
        assert_eq!(first, Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(early.next_after(at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (text, word) in [
            ("* * * *", "expected exactly 5 fields, found 4"),
            ("* * * * * *", "found 6"),
            ("", "found 0"),
            ("60 * * * *", "not within 0 and 59"),
            ("* * 0 * *", "not within 1 and 31"),
            ("5-1 * * * *", "beyond its end"),
            ("*/0 * * * *", "positive"),
            ("a * * * *", "\"a\""),
            ("* * * foo *", "\"foo\""),
            ("+1 * * * *", "\"+1\""),
            ("@never", "unrecognized descriptor"),
            ("@every 5", "duration"),
            ("@every 59s", "less than a minute"),
            ("TZ=UTC * * * * *", "timeZone"),
        ] {
            let why = Schedule::parse(text, TimeZone::UTC).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        }
        for bad in ["", "Local", "Mars/Olympus"] {
            assert!(time_zone(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(time_zone(None), Ok(TimeZone::UTC));
    }

    #[test]
    fn of_many_missed_times_the_latest_is_found_without_a_walk() {
        let (from, now) = (at("1970-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
        for (text, count, latest) in [
            ("* * * * *", 100, "2026-01-01T00:00:00Z"),
            ("0 3 * * *", 100, "2025-12-31T03:00:00Z"),
            ("0 0 1 1 *", 57 - 1, "2026-01-01T00:00:00Z"),
            ("0 0 1 * *", 100, "2026-01-01T00:00:00Z"),
            ("@every 70s", 100, "2026-01-01T00:00:00Z"),
        ] {
            let seen = schedule(text, "UTC").missed(from, now, 100);
            assert_eq!(seen, (count, Some(at(latest))), "{text}");
        }
        assert_eq!(schedule("* * * * *", "UTC").missed(now, now, 100), (0, None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9*/,?a-z@ -]{0,24}", second in 0i64..4_000_000_000) {
            if let Ok(schedule) = Schedule::parse(&text, TimeZone::UTC) {
                let now = Timestamp::from_second(second).expect("in range");
                if let Some(next) = schedule.next_after(now) {
                    prop_assert!(next > now);
                }
            }
        }

        /// Every minute is asked by hand: what is skipped did not match, what is found is the first.
        #[test]
        fn the_next_time_is_the_first_that_fits(minute in 0u8..60, hour in 0u8..24, start in 1_700_000_000i64..1_900_000_000) {
            let zone = time_zone(Some("Europe/Berlin")).expect("a zone");
            let schedule = Schedule::parse(&format!("{minute} {hour} * * *"), zone.clone()).expect("a schedule");
            let start = Timestamp::from_second(start).expect("in range");
            let fits = |at: Timestamp| {
                let local = at.to_zoned(zone.clone());
                i64::from(local.minute()) == i64::from(minute) && i64::from(local.hour()) == i64::from(hour)
            };
            let mut by_hand = Timestamp::from_second((start.as_second() / 60 + 1) * 60).expect("in range");
            while !fits(by_hand) {
                by_hand = by_hand.checked_add(SignedDuration::from_secs(60)).expect("in range");
            }
            prop_assert_eq!(schedule.next_after(start), Some(by_hand));
        }
    }
}
