//! Controllers, a book and the wires between them, in simulated time: whatever gets lost, late, cut, frozen or killed, two never
//! drive one device.

mod stories;

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
