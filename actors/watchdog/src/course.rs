//! The judgement of one run of one container: which probe is due, and what its answers amount to. Pure.

use std::time::Duration;

use mkube_messages::health::{ContainerHealth, Run};
use mkube_model::probes::{Probe, Probes};
use tokio::time::Instant;

/// One of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

impl Which {
    const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As events begin with it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The bad answers in a row began with this one, or are as many now as make the probe fail: worth telling.
    pub tell: bool,
    /// What is said of the container is another than before.
    pub changed: bool,
}

#[derive(Debug, Clone)]
struct Track {
    probe: Probe,
    /// When it is asked next.
    due: Instant,
    /// An answer is waited for.
    asking: bool,
    good: u32,
    bad: u32,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Course {
    /// Which.
    pub run: Run,
    /// When it was seen first.
    pub begun: Instant,
    tracks: [Option<Track>; 3],
    up: bool,
    ready: bool,
    /// A probe failed for good, and when.
    failed: Option<(&'static str, Instant)>,
}

/// Where a course begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// It is known to be started.
    pub up: bool,
    /// It was ready when last told of.
    pub ready: bool,
}

impl Course {
    /// A run is seen for the first time. `spread`: how much later its first probes come, so that those of many containers that
    /// are seen at once do not.
    pub fn new(run: Run, probes: &Probes, before: Before, spread: impl Fn(&Probe) -> Duration, now: Instant) -> Self {
        let track = |probe: &Option<Probe>| {
            let probe = probe.clone()?;
            let due = now + probe.initial_delay + spread(&probe);
            Some(Track { probe, due, asking: false, good: 0, bad: 0 })
        };
        let tracks = [track(&probes.startup), track(&probes.liveness), track(&probes.readiness)];
        let up = tracks[0].is_none() || before.up;
        Self { run, begun: now, tracks, up, ready: before.ready, failed: None }
    }

    /// What it came to so far, to begin another course of the same run with.
    pub fn so_far(&self) -> Before {
        Before { up: self.up, ready: self.ready }
    }

    /// Whether a probe may be asked at this stage: the others wait for the startup probe, and nothing is asked of the dead.
    fn is_on(&self, which: Which) -> bool {
        self.failed.is_none() && (which == Which::Startup) != self.up
    }

    fn track(&mut self, which: Which) -> Option<&mut Track> {
        self.tracks[which as usize].as_mut()
    }

    /// When the next probe is due.
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = Which::ALL.into_iter().filter(|which| self.is_on(*which));
        waiting.filter_map(|which| self.tracks[which as usize].as_ref()).filter(|t| !t.asking).map(|t| t.due).min()
    }

    /// A probe that is due; it counts as being asked from now on.
    pub fn take_due(&mut self, now: Instant) -> Option<(Which, Probe)> {
        let due = |course: &Self, which: Which| {
            course.is_on(which)
                && course.tracks[which as usize].as_ref().is_some_and(|track| !track.asking && track.due <= now)
        };
        let which = Which::ALL.into_iter().find(|which| due(self, *which))?;
        let track = self.track(which)?;
        track.asking = true;
        // In the rhythm of the period, and not at once again after answers that took long.
        track.due = (track.due + track.probe.period).max(now + track.probe.period / 2);
        Some((which, track.probe.clone()))
    }

    /// A question had no answer that counts.
    pub fn give_up(&mut self, which: Which) {
        if let Some(track) = self.track(which) {
            track.asking = false;
        }
    }

    /// A probe counts as absent from now on.
    pub fn leave_out(&mut self, which: Which) {
        self.tracks[which as usize] = None;
        self.up |= which == Which::Startup;
        self.ready |= which == Which::Readiness;
    }

    /// An answer came.
    pub fn judge(&mut self, which: Which, good: bool, now: Instant) -> Judged {
        let silent = Judged { tell: false, changed: false };
        let on = self.is_on(which);
        let Some(track) = self.track(which) else { return silent };
        track.asking = false;
        if !on {
            return silent;
        }
        (track.good, track.bad) = if good { (track.good + 1, 0) } else { (0, track.bad + 1) };
        let (succeeds, fails) =
            (track.good >= track.probe.success_threshold, track.bad >= track.probe.failure_threshold);
        let tell = track.bad == 1 || track.bad == track.probe.failure_threshold;
        let before = (self.up, self.ready, self.failed.is_some());
        match which {
            // The others, whose first delay ran meanwhile, are due now.
            Which::Startup if succeeds => self.up = true,
            Which::Startup if fails => self.failed = Some(("failed startup probe", now)),
            Which::Liveness if fails => self.failed = Some(("failed liveness probe", now)),
            Which::Readiness if succeeds => self.ready = true,
            Which::Readiness if fails => self.ready = false,
            _ => {}
        }
        Judged { tell, changed: before != (self.up, self.ready, self.failed.is_some()) }
    }

    /// Nobody could be asked for a while: what was begun to be held against it is not, and questions begin anew.
    pub fn forgive(&mut self, spread: impl Fn(&Probe) -> Duration, now: Instant) {
        self.failed = None;
        for track in self.tracks.iter_mut().flatten() {
            (track.good, track.bad) = (0, 0);
            track.due = now + spread(&track.probe);
        }
    }

    /// Something else than its probes found it dead: `which`, as a probe's failure is told.
    pub fn fail(&mut self, which: &'static str, now: Instant) {
        self.failed.get_or_insert((which, now));
    }

    /// What is said of it, when the device was last read at `read_at`. That a probe failed counts only once the device was read
    /// since: what looks like a dead container may be a lost connection to all of them.
    pub fn health(&self, read_at: Option<Instant>) -> ContainerHealth {
        let failed = self.failed.filter(|(_, at)| read_at.is_some_and(|read| read >= *at)).map(|(which, _)| which);
        let ready = self.up && (self.tracks[Which::Readiness as usize].is_none() || self.ready);
        ContainerHealth { run: self.run.clone(), started: self.up, ready, failed, unasked: None }
    }

    /// Whether it waits for the device to be read before it counts as dead.
    pub fn is_failed(&self) -> bool {
        self.failed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::probes::Handler;

    const UNKNOWN: Before = Before { up: false, ready: false };

    fn probe(failure_threshold: u32) -> Probe {
        Probe {
            handler: Handler::Tcp { host: None, port: 80 },
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold,
        }
    }

    fn course(probes: &Probes, before: Before, now: Instant) -> Course {
        Course::new(Run::default(), probes, before, |_| Duration::ZERO, now)
    }

    /// Asks whatever is due every second and answers with `good`; what was asked, as second and probe.
    fn run(course: &mut Course, start: Instant, seconds: u64, good: impl Fn(Which, u64) -> bool) -> Vec<(u64, Which)> {
        let mut asked = Vec::new();
        for second in 0..=seconds {
            let now = start + Duration::from_secs(second);
            while let Some((which, _)) = course.take_due(now) {
                asked.push((second, which));
                course.judge(which, good(which, second), now);
            }
        }
        asked
    }

    #[test]
    fn a_container_is_ready_after_its_first_good_answer_and_not_before() {
        let now = Instant::now();
        let probes = Probes { readiness: Some(probe(3)), ..Probes::default() };
        let mut course = course(&probes, UNKNOWN, now);
        assert!(!course.health(Some(now)).ready && course.health(Some(now)).started);
        let asked = run(&mut course, now, 25, |_, second| second >= 20);
        assert_eq!(asked, [0, 10, 20].map(|second| (second, Which::Readiness)));
        assert!(course.health(Some(now)).ready);
    }

    #[test]
    fn readiness_is_lost_after_as_many_bad_answers_in_a_row_as_the_threshold_says_and_nothing_is_restarted() {
        let now = Instant::now();
        let probes = Probes { readiness: Some(probe(3)), ..Probes::default() };
        let mut course = course(&probes, Before { up: true, ready: true }, now);
        // It flaps: never three in a row.
        run(&mut course, now, 100, |_, second| second % 30 == 20);
        assert!(course.health(Some(now)).ready);
        let later = now + Duration::from_secs(110);
        run(&mut course, later, 30, |_, _| false);
        let health = course.health(Some(later + Duration::from_secs(60)));
        assert_eq!((health.ready, health.failed), (false, None));
    }

    #[test]
    fn readiness_needs_as_many_good_answers_as_its_success_threshold_says() {
        let now = Instant::now();
        let patient = Probe { success_threshold: 3, ..probe(3) };
        let mut course = course(&Probes { readiness: Some(patient), ..Probes::default() }, UNKNOWN, now);
        run(&mut course, now, 15, |_, _| true);
        assert!(!course.health(None).ready);
        run(&mut course, now + Duration::from_secs(20), 0, |_, _| true);
        assert!(course.health(None).ready);
    }

    #[test]
    fn a_dead_container_counts_as_dead_once_the_device_was_read_since_and_is_asked_no_more() {
        let now = Instant::now();
        let probes = Probes { liveness: Some(probe(3)), ..Probes::default() };
        let mut course = course(&probes, UNKNOWN, now);
        let asked = run(&mut course, now, 60, |_, _| false);
        assert_eq!(asked.len(), 3);
        let failed = now + Duration::from_secs(20);
        assert_eq!(course.health(None).failed, None);
        assert_eq!(course.health(Some(failed - Duration::from_secs(1))).failed, None);
        assert_eq!(course.health(Some(failed)).failed, Some("failed liveness probe"));
        assert_eq!(course.next_due(), None);
    }

    #[test]
    fn nothing_else_is_asked_before_the_startup_probe_succeeded_and_then_at_once() {
        let now = Instant::now();
        let probes = Probes {
            startup: Some(probe(30)),
            liveness: Some(Probe { initial_delay: Duration::from_secs(5), ..probe(1) }),
            readiness: Some(probe(1)),
            unsupported: vec![],
        };
        let mut course = course(&probes, UNKNOWN, now);
        let asked = run(&mut course, now, 65, |which, second| which != Which::Startup || second >= 60);
        assert!(asked[..7].iter().all(|(_, which)| *which == Which::Startup), "{asked:?}");
        assert_eq!(asked[7..9], [(60, Which::Liveness), (60, Which::Readiness)]);
        let health = course.health(None);
        assert_eq!((health.started, health.ready, health.failed), (true, true, None));
    }

    #[test]
    fn a_container_that_never_starts_fails_by_its_startup_probe() {
        let now = Instant::now();
        let probes = Probes { startup: Some(probe(2)), ..Probes::default() };
        let mut course = course(&probes, UNKNOWN, now);
        run(&mut course, now, 15, |_, _| false);
        let health = course.health(Some(now + Duration::from_secs(20)));
        assert_eq!((health.started, health.failed), (false, Some("failed startup probe")));
    }

    #[test]
    fn what_was_known_of_a_run_stands_until_its_probes_say_otherwise() {
        let now = Instant::now();
        let probes = Probes { startup: Some(probe(2)), readiness: Some(probe(2)), ..Probes::default() };
        let mut course = course(&probes, Before { up: true, ready: true }, now);
        assert!(course.health(None).ready);
        let asked = run(&mut course, now, 5, |_, _| false);
        assert_eq!(asked, [(0, Which::Readiness)], "it was started: that is not asked again");
        assert!(course.health(None).ready, "one bad answer is not two");
    }

    #[test]
    fn times_are_kept_the_first_delay_the_period_and_one_question_at_a_time() {
        let now = Instant::now();
        let late = Probe { initial_delay: Duration::from_secs(7), ..probe(3) };
        let mut course = course(&Probes { liveness: Some(late), ..Probes::default() }, UNKNOWN, now);
        assert_eq!(course.next_due(), Some(now + Duration::from_secs(7)));
        let at = |second: u64| now + Duration::from_secs(second);
        assert_eq!(course.take_due(at(6)), None);
        assert!(course.take_due(at(7)).is_some());
        assert_eq!((course.take_due(at(40)), course.next_due()), (None, None), "it is being asked");
        course.judge(Which::Liveness, true, at(40));
        assert_eq!(course.next_due(), Some(at(17)), "overdue, and asked once for it");
        assert!(course.take_due(at(40)).is_some());
        course.judge(Which::Liveness, true, at(40));
        assert!(course.next_due().is_some_and(|due| due >= at(45)));
    }

    #[test]
    fn after_a_time_of_blindness_everybody_begins_anew() {
        let now = Instant::now();
        let probes = Probes { liveness: Some(probe(2)), ..Probes::default() };
        let mut course = course(&probes, UNKNOWN, now);
        run(&mut course, now, 15, |_, _| false);
        assert!(course.is_failed());
        let later = now + Duration::from_secs(60);
        course.forgive(|_| Duration::ZERO, later);
        assert_eq!(course.health(Some(later)).failed, None);
        run(&mut course, later, 5, |_, _| false);
        assert!(!course.is_failed(), "the bad answers of before do not count");
    }

    #[test]
    fn a_probe_that_is_left_out_is_as_if_it_had_never_been_there() {
        let now = Instant::now();
        let probes = Probes {
            startup: Some(probe(1)),
            readiness: Some(probe(1)),
            liveness: Some(probe(1)),
            unsupported: vec![],
        };
        let mut course = course(&probes, UNKNOWN, now);
        course.leave_out(Which::Startup);
        assert_eq!((course.health(None).started, course.health(None).ready), (true, false));
        course.leave_out(Which::Readiness);
        assert!(course.health(None).ready);
        let asked = run(&mut course, now, 25, |_, _| true);
        assert_eq!(asked, [0, 10, 20].map(|second| (second, Which::Liveness)));
        course.judge(Which::Readiness, false, now);
        assert!(course.health(None).ready, "an answer that comes late says nothing");
    }

    #[test]
    fn bad_answers_are_told_when_they_begin_and_when_they_are_enough() {
        let now = Instant::now();
        let probes = Probes { readiness: Some(probe(3)), ..Probes::default() };
        let mut course = course(&probes, Before { up: true, ready: true }, now);
        let told: Vec<bool> = (0..5).map(|_| course.judge(Which::Readiness, false, now).tell).collect();
        assert_eq!(told, [true, false, true, false, false]);
    }
}
