//! The judgement of one run of a name server: when it is asked, and what its silence amounts to. Pure.
//!
//! Silence is death only after several rounds over some time, when somebody else on its network is heard, and never of a server that
//! may still be starting. When nobody is heard there, it is the network that is at fault, and what was counted is forgotten.

use std::time::Duration;

use mkube_messages::health::Run;
use tokio::time::Instant;

/// How name servers are watched and restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsRules {
    /// Pause between two rounds.
    pub period: Duration,
    /// How long one round may take, over UDP and TCP together.
    pub patience: Duration,
    /// Rounds without an answer in a row that make it dead.
    pub rounds: u32,
    /// Time they must span at least.
    pub span: Duration,
    /// Age before which a run is never dead, even if it answered before.
    pub young: Duration,
    /// Age before which a run that never answered is still starting.
    pub starting: Duration,
    /// Restarts of one address for silence within `within`.
    pub most: usize,
    /// See `most`.
    pub within: Duration,
    /// How long the others wait for one that was restarted and does not answer.
    pub back: Duration,
}

impl Default for DnsRules {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            period: seconds(10),
            patience: seconds(5),
            rounds: 3,
            span: seconds(10),
            young: seconds(60),
            starting: seconds(300),
            most: 3,
            within: seconds(3600),
            back: seconds(360),
        }
    }
}

/// What came of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It answered.
    Server,
    /// It did not, and nobody else was asked.
    Nothing,
    /// It did not, and somebody on its network did.
    Others,
    /// It did not, and nobody on its network did.
    Nobody,
}

/// What a round made of it, as far as that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing else than before.
    None,
    /// The first round without an answer.
    Silent,
    /// It is dead.
    Dead,
    /// Its network is not reached.
    Unreached,
}

/// One run.
#[derive(Debug, Clone)]
pub struct DnsCourse {
    /// Which.
    pub run: Run,
    begun: Instant,
    due: Instant,
    asking: bool,
    /// Silence in the round that is being asked is enough.
    enough: bool,
    answered: bool,
    silent: u32,
    silent_since: Option<Instant>,
    dead: bool,
    unreached: bool,
}

impl DnsCourse {
    /// A run is seen for the first time; its first round comes `later`.
    pub fn new(run: Run, later: Duration, now: Instant) -> Self {
        Self {
            run,
            begun: now,
            due: now + later,
            asking: false,
            enough: false,
            answered: false,
            silent: 0,
            silent_since: None,
            dead: false,
            unreached: false,
        }
    }

    /// When the next round is due.
    pub fn next_due(&self) -> Option<Instant> {
        (!self.asking).then_some(self.due)
    }

    /// Whether a round is due now, and if so, whether others are to be asked when it is silent: when that would be enough, and to hear
    /// when its network is back.
    pub fn take_due(&mut self, rules: &DnsRules, now: Instant) -> Option<bool> {
        if self.asking || self.due > now {
            return None;
        }
        self.asking = true;
        self.due = (self.due + rules.period).max(now + rules.period / 2);
        let age = now.saturating_duration_since(self.begun);
        let old = age >= rules.young && (self.answered || age >= rules.starting);
        let long = self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= rules.span);
        self.enough = old && long && self.silent + 1 >= rules.rounds;
        Some(self.enough || self.unreached)
    }

    /// A round had no result that counts.
    pub fn give_up(&mut self) {
        self.asking = false;
    }

    /// A round is over.
    pub fn judge(&mut self, heard: Heard, now: Instant) -> News {
        self.asking = false;
        let before = (self.silent, self.dead, self.unreached);
        match heard {
            Heard::Server => {
                (self.answered, self.unreached) = (true, false);
                self.forget();
                News::None
            }
            Heard::Nothing | Heard::Others => {
                self.silent = self.silent.saturating_add(1);
                self.silent_since.get_or_insert(now);
                self.dead = heard == Heard::Others && self.enough;
                self.unreached &= heard == Heard::Nothing;
                match before {
                    (_, false, _) if self.dead => News::Dead,
                    (0, _, false) => News::Silent,
                    _ => News::None,
                }
            }
            Heard::Nobody => {
                self.forget();
                self.unreached = true;
                if before.2 { News::None } else { News::Unreached }
            }
        }
    }

    fn forget(&mut self) {
        (self.silent, self.silent_since, self.dead) = (0, None, false);
    }

    /// Nobody could be asked for a while: what was begun to be held against it is not.
    pub fn forgive(&mut self, later: Duration, now: Instant) {
        self.forget();
        self.due = now + later;
    }

    /// Whether it is to be restarted.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether it may still be starting.
    pub fn is_starting(&self, rules: &DnsRules, now: Instant) -> bool {
        !self.answered && now.saturating_duration_since(self.begun) < rules.starting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays rounds every second from `from` to `to`; `heard` says what a round hears, and whether it would ask others.
    fn play(
        course: &mut DnsCourse,
        start: Instant,
        seconds: std::ops::Range<u64>,
        heard: impl Fn(u64, bool) -> Heard,
    ) -> Vec<(u64, News)> {
        let rules = DnsRules::default();
        let mut news = Vec::new();
        for second in seconds {
            let now = start + Duration::from_secs(second);
            if let Some(decisive) = course.take_due(&rules, now) {
                match course.judge(heard(second, decisive), now) {
                    News::None => {}
                    other => news.push((second, other)),
                }
            }
        }
        news
    }

    fn silent(_: u64, decisive: bool) -> Heard {
        if decisive { Heard::Others } else { Heard::Nothing }
    }

    /// A run that is old enough and answered so far, for 100 s.
    fn old(start: Instant) -> DnsCourse {
        let mut course = DnsCourse::new(Run::default(), Duration::ZERO, start);
        assert_eq!(play(&mut course, start, 0..100, |_, _| Heard::Server), []);
        course
    }

    #[test]
    fn three_rounds_without_an_answer_are_death_and_fewer_are_not() {
        let start = Instant::now();
        let mut course = old(start);
        let news = play(&mut course, start, 100..200, silent);
        assert_eq!(news, [(100, News::Silent), (120, News::Dead)]);
        assert!(course.is_dead());
        let mut course = old(start);
        // One of three packets comes through.
        let lossy = |second: u64, decisive| if second / 10 % 3 == 2 { Heard::Server } else { silent(second, decisive) };
        let news = play(&mut course, start, 100..2000, lossy);
        assert!(!news.is_empty() && news.iter().all(|(_, news)| *news == News::Silent), "{news:?}");
    }

    #[test]
    fn rounds_that_follow_fast_are_not_enough_before_some_time_has_passed() {
        let start = Instant::now();
        let rules = DnsRules { period: Duration::from_secs(1), ..DnsRules::default() };
        let mut course = old(start);
        let mut decided = None;
        for second in 100..130 {
            let now = start + Duration::from_secs(second);
            if let Some(decisive) = course.take_due(&rules, now) {
                if decisive {
                    decided.get_or_insert(second);
                }
                course.judge(Heard::Nothing, now);
            }
        }
        assert_eq!(decided, Some(110));
    }

    #[test]
    fn who_answers_again_is_not_dead_any_more() {
        let start = Instant::now();
        let mut course = old(start);
        play(&mut course, start, 100..130, silent);
        assert!(course.is_dead());
        play(&mut course, start, 130..140, |_, _| Heard::Server);
        assert!(!course.is_dead());
        assert_eq!(play(&mut course, start, 140..155, silent), [(140, News::Silent)], "and counting begins anew");
    }

    #[test]
    fn a_network_where_nobody_is_heard_is_told_once_and_kills_nobody() {
        let start = Instant::now();
        let mut course = old(start);
        let away = |_, decisive| if decisive { Heard::Nobody } else { Heard::Nothing };
        let news = play(&mut course, start, 100..600, away);
        assert_eq!(news, [(100, News::Silent), (120, News::Unreached)]);
        assert!(!course.is_dead());
        // It is back, and the server is not: that is held against it from now on.
        let news = play(&mut course, start, 600..700, silent);
        assert_eq!(news, [(620, News::Dead)]);
    }

    #[test]
    fn a_run_is_not_judged_while_it_is_young_or_never_answered_yet() {
        let start = Instant::now();
        let mut course = DnsCourse::new(Run::default(), Duration::ZERO, start);
        let news = play(&mut course, start, 0..400, silent);
        assert_eq!(news, [(0, News::Silent), (300, News::Dead)]);
        let mut course = DnsCourse::new(Run::default(), Duration::ZERO, start);
        play(&mut course, start, 0..5, |_, _| Heard::Server);
        let news = play(&mut course, start, 5..400, silent);
        assert_eq!(news, [(10, News::Silent), (60, News::Dead)]);
        let rules = DnsRules::default();
        let fresh = DnsCourse::new(Run::default(), Duration::ZERO, start);
        assert!(fresh.is_starting(&rules, start + Duration::from_secs(299)));
        assert!(!fresh.is_starting(&rules, start + Duration::from_secs(300)));
    }

    #[test]
    fn what_was_counted_before_a_time_of_blindness_does_not_count() {
        let start = Instant::now();
        let mut course = old(start);
        play(&mut course, start, 100..115, silent);
        let now = start + Duration::from_secs(200);
        course.forgive(Duration::ZERO, now);
        assert_eq!(play(&mut course, start, 200..215, silent), [(200, News::Silent)]);
        assert!(!course.is_dead());
    }

    #[test]
    fn one_round_at_a_time_is_asked_and_none_twice_for_being_late() {
        let start = Instant::now();
        let rules = DnsRules::default();
        let mut course = DnsCourse::new(Run::default(), Duration::from_secs(4), start);
        let at = |second: u64| start + Duration::from_secs(second);
        assert_eq!((course.next_due(), course.take_due(&rules, at(3))), (Some(at(4)), None));
        assert!(course.take_due(&rules, at(4)).is_some());
        assert_eq!((course.next_due(), course.take_due(&rules, at(40))), (None, None));
        course.give_up();
        assert!(course.take_due(&rules, at(40)).is_some());
        course.judge(Heard::Server, at(40));
        assert!(course.next_due().is_some_and(|due| due >= at(45)));
    }
}
