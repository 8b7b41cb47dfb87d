//! Controllers, a book and the wires between them, in simulated time: whatever gets lost, late, cut, frozen or killed, two never
//! drive one device.

use std::collections::BTreeMap;

use mkube_messages::lease::Standing;
use mkube_model::lease_record::{LeaseNote, LeaseRecord};
use mkube_model::neighbours::lease_book::{LeaseEntry, LeaseFault};
use proptest::prelude::*;

use crate::commands::{Begin, Length};
use crate::memory::Memory;
use crate::next::Action;
use crate::times::{LONGEST, Moment};

/// Step of the simulated time, in milliseconds.
const STEP: u64 = 40;
/// How long a controller waits for the book.
const PATIENCE: Moment = Moment::from_secs(2);

#[derive(Debug, Clone)]
enum Ask {
    Read,
    Write(LeaseRecord, u64),
}

#[derive(Debug, Clone)]
struct Request {
    who: usize,
    id: u64,
    arrives: u64,
    ask: Ask,
}

#[derive(Debug, Clone)]
struct Reply {
    who: usize,
    id: u64,
    arrives: u64,
    read: Option<LeaseEntry>,
    written: Option<Result<u64, LeaseFault>>,
}

/// A command at work on the device.
#[derive(Debug)]
struct Running {
    who: usize,
    command: u64,
    life: u64,
    /// It is over by itself.
    done: u64,
    /// It is over whatever happens.
    ends: u64,
}

struct Controller {
    /// Speed of its clock, in millionths.
    rate: u64,
    life: u64,
    memory: Option<Memory>,
    note: LeaseNote,
    started: u64,
    frozen_until: u64,
    /// Nothing gets through in either direction.
    cut_until: u64,
    /// Replies get lost.
    deaf_until: u64,
    /// It starts again then.
    returns: Option<u64>,
    leaving: bool,
    waits_for: Option<(u64, Moment, bool)>,
    wake: Moment,
    look_at: Option<u64>,
}

impl Controller {
    fn local(&self, now: u64) -> Moment {
        Moment::from_micros((now - self.started) * self.rate / 1000)
    }

    /// The true time of a moment.
    fn global(&self, moment: Moment) -> u64 {
        self.started + u64::try_from(moment.as_micros()).expect("it is small") * 1000 / self.rate + 1
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Cut(u64),
    Deaf(u64),
    Freeze(u64),
    Kill(u64),
    Leave(u64),
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    at: u64,
    who: usize,
    what: What,
}

struct World {
    now: u64,
    chance: u64,
    entry: LeaseEntry,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    running: Vec<Running>,
    controllers: Vec<Controller>,
    next_id: u64,
    /// Slowest way of a message, in milliseconds.
    slow: u64,
    /// Nobody sends long commands.
    only_short: bool,
    /// Commands take as long as they may.
    to_the_end: bool,
    writes: u64,
    begun: BTreeMap<usize, u64>,
}

impl World {
    fn new(seed: u64, rates: &[u64], slow: u64) -> Self {
        let mut world = Self {
            now: 0,
            chance: seed,
            entry: LeaseEntry::default(),
            requests: vec![],
            replies: vec![],
            running: vec![],
            controllers: vec![],
            next_id: 0,
            slow,
            only_short: false,
            to_the_end: false,
            writes: 0,
            begun: BTreeMap::new(),
        };
        for (who, rate) in rates.iter().enumerate() {
            world.controllers.push(Controller {
                rate: *rate,
                life: 0,
                memory: None,
                note: LeaseNote::default(),
                started: 0,
                frozen_until: 0,
                cut_until: 0,
                deaf_until: 0,
                returns: Some(u64::try_from(who).expect("few") * 700),
                leaving: false,
                waits_for: None,
                wake: Moment::ZERO,
                look_at: None,
            });
        }
        world
    }

    /// One below `below`.
    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.chance;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % below.max(1)
    }

    fn start(&mut self, who: usize) {
        let now = self.now;
        let controller = &mut self.controllers[who];
        controller.life += 1;
        controller.started = now;
        controller.returns = None;
        controller.leaving = false;
        controller.waits_for = None;
        controller.wake = Moment::ZERO;
        let incarnation = format!("{who}/{}", controller.life);
        controller.memory = Some(Memory::new(format!("c{who}"), incarnation, controller.note.clone()));
    }

    fn strike(&mut self, fault: Fault) {
        let now = self.now;
        let controller = &mut self.controllers[fault.who];
        match fault.what {
            What::Cut(span) => controller.cut_until = now + span,
            What::Deaf(span) => controller.deaf_until = now + span,
            What::Freeze(span) => controller.frozen_until = now + span,
            What::Kill(span) => {
                controller.memory = None;
                controller.returns = Some(now + span);
            }
            What::Leave(span) => {
                // Whoever leaves has stopped everything else before.
                let idle = !self.running.iter().any(|one| one.who == fault.who && one.ends > now);
                if let Some(memory) = controller.memory.as_mut().filter(|_| idle) {
                    memory.leave();
                    controller.leaving = true;
                    controller.wake = Moment::ZERO;
                    controller.returns = Some(now + span + 4000);
                }
            }
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        let now = self.now;
        for who in 0..self.controllers.len() {
            if self.controllers[who].returns.is_some_and(|at| at <= now) {
                self.start(who);
            }
        }
        self.book();
        for who in 0..self.controllers.len() {
            self.turn(who);
        }
        self.device()
    }

    /// Requests arrive at the book.
    fn book(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.requests).into_iter().partition(|one| one.arrives <= now);
        self.requests = later;
        for request in due {
            let (mut read, mut written) = (None, None);
            match request.ask {
                Ask::Read => read = Some(self.entry.clone()),
                Ask::Write(record, expected) => {
                    written = Some(if expected == self.entry.revision {
                        self.writes += 1;
                        self.entry = LeaseEntry { record: Some(record), revision: expected + 1 };
                        for who in 0..self.controllers.len() {
                            let after = 20 + self.draw(self.slow);
                            self.controllers[who].look_at = Some(now + after);
                        }
                        Ok(self.entry.revision)
                    } else {
                        Err(LeaseFault::Conflict)
                    });
                }
            }
            let arrives = now + 1 + self.draw(self.slow);
            self.replies.push(Reply { who: request.who, id: request.id, arrives, read, written });
        }
    }

    fn turn(&mut self, who: usize) {
        let now = self.now;
        let (arrived, later) =
            std::mem::take(&mut self.replies).into_iter().partition(|one: &Reply| one.who == who && one.arrives <= now);
        self.replies = later;
        let arrived: Vec<Reply> = arrived;
        let controller = &mut self.controllers[who];
        let local = controller.local(now);
        if controller.frozen_until > now {
            // They wait in its socket.
            self.replies.extend(arrived);
            return;
        }
        let connected = controller.cut_until <= now && controller.deaf_until <= now;
        let Some(memory) = &mut controller.memory else { return };
        for reply in arrived.into_iter().filter(|_| connected) {
            if controller.waits_for.is_some_and(|(id, ..)| id == reply.id) {
                controller.waits_for = None;
                controller.wake = Moment::ZERO;
                if let Some(entry) = reply.read {
                    memory.was_read(Ok(entry), local);
                }
                if let Some(written) = reply.written {
                    memory.was_written(written, local);
                }
            }
        }
        if let Some((_, deadline, write)) = controller.waits_for {
            if deadline > local {
                return;
            }
            controller.waits_for = None;
            controller.wake = Moment::ZERO;
            let fault = LeaseFault::Unknown("no reply".into());
            if write { memory.was_written(Err(fault), local) } else { memory.was_read(Err(fault), local) }
        }
        if controller.look_at.is_some_and(|at| at <= now) {
            controller.look_at = None;
            if connected {
                memory.look();
                controller.wake = Moment::ZERO;
            }
        }
        if controller.wake > local {
            return;
        }
        self.act(who, local);
    }

    fn act(&mut self, who: usize, local: Moment) {
        let now = self.now;
        for _ in 0..8 {
            let (way, late, lost) = (self.draw(self.slow), self.draw(60_000), self.draw(3));
            let id = self.next_id;
            self.next_id += 1;
            let controller = &mut self.controllers[who];
            let Some(memory) = &mut controller.memory else { return };
            let action = memory.next(local);
            let (ask, write) = match action {
                Action::Remember(note) => {
                    controller.note = note.clone();
                    memory.was_kept(note);
                    continue;
                }
                Action::Wait(until) => {
                    assert!(until > local, "c{who} would never rest: {memory:?}");
                    controller.wake = until;
                    return;
                }
                Action::Done => {
                    controller.memory = None;
                    return;
                }
                Action::Read => (Ask::Read, false),
                Action::Write { record, expected } => (Ask::Write(record, expected), true),
            };
            let cut = controller.cut_until > now;
            if cut && lost == 0 {
                // It is known that nothing was sent.
                let fault = LeaseFault::Away("no connection".into());
                if write {
                    memory.was_written(Err(fault), local)
                } else {
                    memory.was_read(Err(fault), local)
                }
                continue;
            }
            controller.waits_for = Some((id, local + PATIENCE, write));
            // What is sent into a cut gets lost, or waits somewhere and arrives late.
            let arrives = if cut { now + late } else { now + 1 + way };
            if !cut || lost == 1 {
                self.requests.push(Request { who, id, arrives, ask });
            }
            return;
        }
        panic!("c{who} goes round in circles");
    }

    /// Whoever may sends commands.
    fn device(&mut self) -> Result<(), String> {
        let now = self.now;
        for who in 0..self.controllers.len() {
            let long = !self.only_short && self.draw(40) == 0;
            let takes = 20 + self.draw(if long { 75_000 } else { 5_000 });
            let takes = if self.to_the_end { 1_000_000 } else { takes };
            let controller = &mut self.controllers[who];
            if controller.frozen_until > now {
                continue;
            }
            let local = controller.local(now);
            let Some(memory) = &mut controller.memory else { continue };
            for one in self.running.iter().filter(|one| one.who == who && one.life == controller.life) {
                if one.done <= now {
                    memory.ended(one.command);
                }
            }
            let length = if long { Length::Long(LONGEST) } else { Length::Short(Moment::from_secs(20)) };
            match memory.begin(length, local) {
                Begin::Refused => {}
                Begin::Announce => controller.wake = Moment::ZERO,
                Begin::Go { command, ends } => {
                    let ends = controller.global(ends);
                    if let Some(other) = self.running.iter().find(|one| one.who != who && one.done.min(one.ends) > now)
                    {
                        return Err(format!("at {now} c{who} begins while {other:?} is at work"));
                    }
                    *self.begun.entry(who).or_default() += 1;
                    let life = controller.life;
                    self.running.push(Running { who, command, life, done: now + takes, ends });
                }
            }
        }
        self.running.retain(|one| one.done.min(one.ends) + 2 * STEP > now);
        Ok(())
    }

    fn until(&mut self, at: u64) -> Result<(), String> {
        while self.now < at {
            self.step()?;
        }
        Ok(())
    }

    fn drives(&self, who: usize) -> bool {
        let controller = &self.controllers[who];
        controller.memory.as_ref().is_some_and(|memory| memory.drives(controller.local(self.now)))
    }

    fn standing(&self, who: usize) -> Option<Standing> {
        let controller = &self.controllers[who];
        controller.memory.as_ref().map(|memory| memory.standing(controller.local(self.now)))
    }

    /// How long until it drives, in milliseconds.
    fn time_until_drives(&mut self, who: usize, most: u64) -> u64 {
        let from = self.now;
        while !self.drives(who) {
            assert!(self.now - from < most, "c{who} does not drive: {:?}, {:?}", self.standing(who), self.entry);
            self.step().expect("two never drive");
        }
        self.now - from
    }

    /// The first drives, the second stands by and is acknowledged.
    fn settled(seed: u64) -> Self {
        Self::settled_with(seed, [1_000_000, 1_000_000])
    }

    fn settled_with(seed: u64, rates: [u64; 2]) -> Self {
        let mut world = Self::new(seed, &rates, 10);
        world.only_short = true;
        world.until(20_000).expect("two never drive");
        assert_eq!(world.standing(0), Some(Standing::Drives));
        assert_eq!(world.standing(1), Some(Standing::StandsBy { holder: "c0".into(), acknowledged: true }));
        world
    }

    fn strike_now(&mut self, who: usize, what: What) {
        self.strike(Fault { at: 0, who, what });
    }
}

fn a_fault() -> impl Strategy<Value = Fault> {
    let what = prop_oneof![
        3 => (200_u64..40_000).prop_map(What::Cut),
        2 => (200_u64..20_000).prop_map(What::Deaf),
        2 => (200_u64..40_000).prop_map(What::Freeze),
        2 => (20_u64..40_000).prop_map(What::Kill),
        1 => (20_u64..20_000).prop_map(What::Leave),
    ];
    (15_000_u64..150_000, 0..3_usize, what).prop_map(|(at, who, what)| Fault { at, who, what })
}

/// Histories to play; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn two_never_drive_whatever_is_lost_late_cut_frozen_or_killed(
        seed in any::<u64>(),
        rates in proptest::collection::vec(990_000_u64..=1_010_000, 2..=3),
        slow in prop_oneof![Just(10_u64), Just(300), Just(2500)],
        mut faults in proptest::collection::vec(a_fault(), 0..14),
    ) {
        let mut world = World::new(seed, &rates, slow);
        faults.retain(|fault| fault.who < rates.len());
        faults.sort_by_key(|fault| fault.at);
        for fault in faults {
            world.until(fault.at).map_err(TestCaseError::fail)?;
            world.strike(fault);
        }
        world.until(240_000).map_err(TestCaseError::fail)?;
        // All trouble is over.
        world.slow = 20;
        world.until(420_000).map_err(TestCaseError::fail)?;
        let driving = (0..rates.len()).filter(|who| world.drives(*who)).count();
        let all: Vec<_> = (0..rates.len()).map(|who| world.standing(who)).collect();
        prop_assert_eq!(driving, 1, "{:?} {:?}", all, world.entry);
    }
}

#[test]
fn who_is_killed_is_followed_within_fifteen_seconds() {
    for seed in 0..40 {
        let mut world = World::settled(seed);
        world.until(20_000 + seed * 100).expect("two never drive");
        world.strike_now(0, What::Kill(1_000_000));
        let took = world.time_until_drives(1, 60_000);
        assert!((5_000..15_000).contains(&took), "{took} ms");
        assert_eq!(world.entry.record.as_ref().map(|record| record.token), Some(2));
    }
}

#[test]
fn who_is_frozen_or_cut_off_is_followed_and_stands_by_when_it_is_back() {
    for what in [What::Freeze(30_000), What::Cut(30_000), What::Deaf(30_000)] {
        let mut world = World::settled(1);
        world.strike_now(0, what);
        let took = world.time_until_drives(1, 60_000);
        assert!((5_000..15_000).contains(&took), "{what:?}: {took} ms");
        let begun = world.begun[&0];
        world.until(world.now + 40_000).expect("two never drive");
        assert_eq!(world.begun[&0], begun, "{what:?}: it sends nothing when it is back");
        assert_eq!(world.standing(0), Some(Standing::StandsBy { holder: "c1".into(), acknowledged: true }), "{what:?}");
    }
}

#[test]
fn clocks_that_go_wrong_in_opposite_directions_are_no_excuse() {
    for seed in 0..30 {
        let mut world = World::settled_with(seed, [990_000, 1_010_000]);
        world.only_short = seed % 2 == 0;
        world.to_the_end = true;
        world.until(40_000).expect("two never drive");
        world.strike_now(0, What::Cut(300_000));
        world.time_until_drives(1, 120_000);
        world.until(world.now + 3_000).expect("two never drive");
    }
}

#[test]
fn who_gives_the_lease_back_is_followed_at_once() {
    let mut world = World::settled(2);
    world.controllers[0].memory.as_mut().expect("it runs").commands.clear();
    world.running.clear();
    world.strike_now(0, What::Leave(60_000));
    let took = world.time_until_drives(1, 60_000);
    assert!(took < 1_000, "{took} ms");
}

#[test]
fn a_long_command_is_announced_and_waited_for() {
    let mut world = World::settled(3);
    let from = world.now;
    let begun = loop {
        let controller = &mut world.controllers[0];
        let local = controller.local(world.now);
        controller.wake = Moment::ZERO;
        match controller.memory.as_mut().expect("it runs").begin(Length::Long(LONGEST), local) {
            Begin::Go { .. } => break world.now,
            Begin::Announce => world.step().expect("two never drive"),
            Begin::Refused => panic!("it drives"),
        }
    };
    assert!((STEP..500).contains(&(begun - from)), "it is announced first, and soon");
    assert!(world.entry.record.as_ref().is_some_and(|record| record.long_seconds >= 75));
    world.strike_now(0, What::Kill(1_000_000));
    assert!(world.time_until_drives(1, 120_000) >= 75_000, "the command may be at work for so long");
}

#[test]
fn while_nobody_stands_by_nothing_is_written_and_a_book_that_is_away_stops_nobody() {
    let mut world = World::new(4, &[1_000_000], 10);
    world.until(20_000).expect("it is alone");
    assert!(world.drives(0));
    assert_eq!(world.writes, 1);
    world.strike_now(0, What::Cut(3_600_000));
    world.until(620_000).expect("it is alone");
    assert!(world.drives(0));
    // Not even a start without the book, nor one after an end in good order, when the book ended with it.
    world.strike_now(0, What::Kill(100));
    world.until(621_000).expect("it is alone");
    assert!(world.drives(0));
    world.strike_now(0, What::Cut(0));
    world.until(640_000).expect("it is alone");
    let writes = world.writes;
    world.controllers[0].memory.as_mut().expect("it runs").commands.clear();
    world.running.clear();
    world.strike_now(0, What::Leave(0));
    assert!(world.controllers[0].leaving);
    world.until(641_000).expect("it is alone");
    world.strike_now(0, What::Cut(3_600_000));
    world.until(660_000).expect("it is alone");
    assert!(world.drives(0));
    assert_eq!(world.writes, writes);
}

#[test]
fn who_was_killed_and_starts_again_takes_its_own_lease_at_once() {
    let mut world = World::settled(5);
    world.strike_now(0, What::Kill(300));
    world.until(world.now + 400).expect("two never drive");
    let took = world.time_until_drives(0, 60_000);
    assert!(took < 1_000, "{took} ms");
    assert_eq!(world.entry.record.as_ref().map(|record| record.token), Some(2));
}

#[test]
fn a_standby_that_has_gone_ends_the_writing() {
    let mut world = World::settled(6);
    world.strike_now(1, What::Kill(10_000_000));
    world.until(world.now + 60_000).expect("one drives");
    let writes = world.writes;
    world.until(world.now + 60_000).expect("one drives");
    assert_eq!(world.writes, writes);
    world.strike_now(0, What::Cut(60_000));
    world.until(world.now + 50_000).expect("one drives");
    assert!(world.drives(0), "nobody may take over, so the book need not be there");
}

#[test]
fn who_is_asked_while_the_book_goes_away_is_stopped_only_by_a_word_that_may_have_been_heard() {
    for (heard, drives) in [(false, true), (true, false)] {
        let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
        let asked = LeaseRecord {
            holder: "a".into(),
            incarnation: "1".into(),
            token: 1,
            renewals: 1,
            standby: Some("b".into()),
            standby_word: 1,
            ..LeaseRecord::default()
        };
        memory.was_read(Ok(LeaseEntry { record: Some(asked), revision: 5 }), Moment::ZERO);
        let action = memory.next(Moment::ZERO);
        assert!(matches!(&action, Action::Write { record, .. } if record.acknowledged.is_some()), "{action:?}");
        let why = "cut".to_owned();
        let fault = if heard { LeaseFault::Unknown(why) } else { LeaseFault::Away(why) };
        memory.was_written(Err(fault), Moment::from_secs(1));
        assert!(memory.drives(Moment::from_secs(5)));
        assert_eq!(memory.drives(Moment::from_secs(60)), drives);
    }
}

#[test]
fn the_note_is_taken_back_before_the_acknowledgement_is_sent() {
    let now = Moment::ZERO;
    let note = LeaseNote { token: 1, sole: true, highest: 1 };
    let mut memory = Memory::new("a".into(), "2".into(), note);
    let mine = LeaseRecord { holder: "a".into(), incarnation: "2".into(), token: 1, ..LeaseRecord::default() };
    let asked = LeaseRecord { standby: Some("b".into()), standby_word: 1, ..mine };
    memory.was_read(Ok(LeaseEntry { record: Some(asked), revision: 5 }), now);
    let taken_back = LeaseNote { token: 1, sole: false, highest: 1 };
    assert_eq!(memory.next(now), Action::Remember(taken_back.clone()));
    memory.was_kept(taken_back);
    assert!(matches!(memory.next(now), Action::Write { record, .. } if record.acknowledged.is_some()));
}

#[test]
fn what_an_earlier_life_was_doing_is_waited_for_too() {
    let mut world = World::settled(11);
    loop {
        let controller = &mut world.controllers[0];
        let local = controller.local(world.now);
        controller.wake = Moment::ZERO;
        match controller.memory.as_mut().expect("it runs").begin(Length::Long(LONGEST), local) {
            Begin::Go { .. } => break,
            _ => world.step().expect("two never drive"),
        }
    }
    let begun = world.now;
    world.strike_now(0, What::Kill(100));
    world.until(begun + 5_000).expect("two never drive");
    assert_eq!(world.standing(1), Some(Standing::StandsBy { holder: "c0".into(), acknowledged: true }));
    world.strike_now(0, What::Kill(1_000_000));
    world.time_until_drives(1, 200_000);
    assert!(world.now - begun >= 75_000, "{} ms", world.now - begun);
}

#[test]
fn who_was_never_acknowledged_does_not_take_over_and_says_so() {
    let mut world = World::new(8, &[1_000_000, 1_000_000], 10);
    world.controllers[1].returns = Some(30_000);
    world.until(20_000).expect("one drives");
    world.strike_now(0, What::Kill(10_000_000));
    world.until(300_000).expect("nobody drives");
    assert_eq!(world.standing(1), Some(Standing::Unheard { holder: "c0".into() }));
    let writes = world.writes;
    world.until(500_000).expect("nobody drives");
    assert_eq!(world.writes, writes, "it asks once");
    // Somebody who knows deletes the record.
    world.entry = LeaseEntry { record: None, revision: world.entry.revision + 1 };
    let took = world.time_until_drives(1, 60_000);
    assert!((11_000..15_000).contains(&took), "{took} ms");
}

#[test]
fn a_record_that_is_lost_is_put_back_by_whoever_holds() {
    let mut world = World::settled(9);
    world.entry = LeaseEntry { record: None, revision: world.entry.revision + 1 };
    world.until(world.now + 30_000).expect("two never drive");
    assert!(world.drives(0));
    let record = world.entry.record.clone().expect("it is back");
    assert_eq!((record.holder.as_str(), record.token), ("c0", 2));
    assert_eq!(world.standing(1), Some(Standing::StandsBy { holder: "c0".into(), acknowledged: true }));
}

#[test]
fn a_device_that_nobody_drove_is_driven_without_the_book_and_no_other_is() {
    let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
    let away = || Err(LeaseFault::Away("refused".into()));
    memory.was_read(away(), Moment::from_secs(1));
    memory.device_is_new(Moment::from_secs(3));
    assert!(!memory.drives(Moment::from_secs(3)), "the book may yet answer");
    memory.was_read(away(), Moment::from_secs(6));
    memory.device_is_new(Moment::from_secs(6));
    assert!(memory.drives(Moment::from_secs(6)));
    let note = LeaseNote { token: 0, sole: true, highest: 0 };
    assert_eq!(memory.next(Moment::from_secs(6)), Action::Remember(note.clone()));
    memory.was_kept(note);
    // The book comes up, and another was there first.
    let record = LeaseRecord { holder: "b".into(), token: 1, ..LeaseRecord::default() };
    memory.was_read(Ok(LeaseEntry { record: Some(record), revision: 3 }), Moment::from_secs(9));
    assert!(!memory.drives(Moment::from_secs(9)));
}

#[test]
fn a_copy_of_a_controller_stops_it_and_is_said() {
    let mut world = World::settled(10);
    let mut record = world.entry.record.clone().expect("a record");
    record.incarnation = "a copy".into();
    record.token += 1;
    world.entry = LeaseEntry { record: Some(record), revision: world.entry.revision + 1 };
    world.until(world.now + 3_000).expect("two never drive");
    assert_eq!(world.standing(0), Some(Standing::Twin));
}

#[test]
fn an_old_record_from_a_server_that_lags_behind_is_not_believed() {
    let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
    let mine = LeaseRecord { holder: "a".into(), incarnation: "1".into(), token: 1, ..LeaseRecord::default() };
    let asked = LeaseRecord { standby: Some("b".into()), renewals: 1, ..mine.clone() };
    memory.was_read(Ok(LeaseEntry { record: Some(asked), revision: 5 }), Moment::ZERO);
    assert!(matches!(memory.next(Moment::ZERO), Action::Write { .. }));
    memory.was_written(Ok(6), Moment::ZERO);
    let old = || Ok(LeaseEntry { record: Some(mine.clone()), revision: 4 });
    memory.was_read(old(), Moment::from_secs(1));
    assert!(!memory.drives(Moment::from_secs(7)), "somebody may have taken over");
    // A book that began anew goes on saying so.
    memory.was_read(old(), Moment::from_secs(62));
    assert!(memory.drives(Moment::from_secs(62)));
}

#[test]
fn a_long_command_is_not_begun_on_an_announcement_that_is_being_replaced() {
    let second = Moment::from_secs;
    let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
    let asked = LeaseRecord {
        holder: "a".into(),
        incarnation: "1".into(),
        token: 1,
        standby: Some("b".into()),
        ..LeaseRecord::default()
    };
    memory.was_read(Ok(LeaseEntry { record: Some(asked), revision: 5 }), second(0));
    assert!(matches!(memory.next(second(0)), Action::Write { .. }));
    memory.was_written(Ok(6), second(0));
    let long = Length::Long(second(60));
    assert_eq!(memory.begin(long, second(1)), Begin::Announce);
    assert!(matches!(memory.next(second(1)), Action::Write { record, .. } if record.long_seconds >= 65));
    memory.was_written(Ok(7), second(1));
    let Begin::Go { command, .. } = memory.begin(long, second(1)) else { panic!("it was announced") };
    memory.ended(command);
    // The next word says that nothing is at work, and may be heard at any time.
    assert!(matches!(memory.next(second(3)), Action::Write { record, .. } if record.long_seconds == 0));
    assert_eq!(memory.begin(long, second(3)), Begin::Announce);
}

#[test]
fn a_record_that_the_book_lost_is_put_back_before_a_newcomer_takes_the_lease_for_free() {
    for seed in 0..10 {
        let mut world = World::new(seed, &[1_000_000, 1_000_000], 10);
        world.controllers[1].returns = Some(20_000);
        world.to_the_end = true;
        world.until(20_000).expect("it is alone");
        world.entry = LeaseEntry::default();
        world.until(60_000).expect("two never drive");
        assert!(world.drives(0) && !world.drives(1));
        let record = world.entry.record.as_ref().expect("it is back");
        assert_eq!((record.holder.as_str(), record.token), ("c0", 2));
    }
}

#[test]
fn a_book_that_goes_back_to_the_holder_before_gives_no_token_twice() {
    let mut world = World::settled(12);
    let before = world.entry.clone();
    world.strike_now(0, What::Kill(40_000));
    world.time_until_drives(1, 60_000);
    world.until(world.now + 5_000).expect("two never drive");
    assert_eq!(world.entry.record.as_ref().map(|record| record.token), Some(2));
    world.entry = before;
    world.until(world.now + 90_000).expect("two never drive");
    let record = world.entry.record.clone().expect("it is back");
    assert_eq!((record.holder.as_str(), record.token), ("c1", 3));
    assert_eq!(world.standing(0), Some(Standing::StandsBy { holder: "c1".into(), acknowledged: true }));
    assert!(world.drives(1));
}

#[test]
fn one_does_not_go_on_by_an_own_record_from_before_somebody_else_drove() {
    let second = Moment::from_secs;
    let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
    let mine = LeaseRecord { holder: "a".into(), incarnation: "1".into(), token: 1, ..LeaseRecord::default() };
    let old = || Ok(LeaseEntry { record: Some(mine.clone()), revision: 5 });
    memory.was_read(old(), second(0));
    assert!(memory.drives(second(0)));
    let next = LeaseRecord { holder: "b".into(), token: 2, long_seconds: 75, ..LeaseRecord::default() };
    memory.was_read(Ok(LeaseEntry { record: Some(next), revision: 6 }), second(10));
    memory.was_read(old(), second(11));
    memory.was_read(old(), second(72));
    assert!(!memory.drives(second(72)));
    // Whoever drives has time to put its record back.
    let mut now = second(72);
    let taken = loop {
        match memory.next(now) {
            Action::Wait(until) => now = until,
            Action::Read => memory.was_read(old(), now),
            Action::Remember(note) => memory.was_kept(note),
            Action::Write { record, .. } => break record,
            Action::Done => panic!("it stays"),
        }
    };
    assert!(now >= second(72 + 11), "{now:?}");
    assert_eq!((taken.holder.as_str(), taken.token), ("a", 3));
    memory.was_written(Ok(7), now);
    assert!(!memory.drives(second(72 + 75)), "a command of the other may be at work");
    assert_eq!(memory.standing(now), Standing::ReadsOnly);
}

#[test]
fn the_highest_token_that_was_seen_is_noted_and_the_next_life_goes_on_from_there() {
    let now = Moment::ZERO;
    let mut memory = Memory::new("a".into(), "1".into(), LeaseNote::default());
    let record = LeaseRecord { holder: "b".into(), token: 7, standby: Some("c".into()), ..LeaseRecord::default() };
    memory.was_read(Ok(LeaseEntry { record: Some(record), revision: 3 }), now);
    let note = LeaseNote { token: 0, sole: false, highest: 7 };
    assert_eq!(memory.next(now), Action::Remember(note.clone()));
    let mut memory = Memory::new("a".into(), "2".into(), note);
    memory.was_read(Ok(LeaseEntry::default()), now);
    let later = Moment::from_secs(12);
    assert_eq!(memory.next(later), Action::Read);
    memory.was_read(Ok(LeaseEntry::default()), later);
    assert!(matches!(memory.next(later), Action::Write { record, .. } if record.token == 8));
}
