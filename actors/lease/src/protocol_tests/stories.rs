//! One thing that goes wrong at a time, each with what has to come of it.

use super::*;

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
