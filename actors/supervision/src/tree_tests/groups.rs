//! Strategies: who goes down with whom, and who comes back.

use super::*;

/// Which cells of strategy and rule come back when the middle one of three panics, its siblings following `rule`.
#[actix::test]
async fn a_group_restart_brings_back_what_the_group_names_and_its_rule_allows() {
    tokio::time::pause();
    use RestartRule::{Permanent, Temporary, Transient};
    use Strategy::{OneForAll, OneForOne, RestForOne};
    for (strategy, rule, expected) in [
        (OneForOne, Permanent, [1, 2, 1]),
        (OneForOne, Transient, [1, 2, 1]),
        (OneForOne, Temporary, [1, 2, 1]),
        (RestForOne, Permanent, [1, 2, 2]),
        (RestForOne, Transient, [1, 2, 2]),
        (RestForOne, Temporary, [1, 2, 1]),
        (OneForAll, Permanent, [2, 2, 2]),
        (OneForAll, Transient, [2, 2, 2]),
        (OneForAll, Temporary, [1, 2, 1]),
    ] {
        let (a, b, c) = (child("a", rule), child("b", Permanent), child("c", rule));
        let tree = tree_of(strategy, OnLimit::Escalate, &[&a, &b, &c]);
        settle().await;
        b.door.tell(Tell::Panic("boom")).expect("open");
        settle().await;
        let what = format!("{strategy:?}, siblings {rule:?}");
        assert_eq!(starts(&[&a, &b, &c]), expected, "{what}");
        // A temporary sibling that was stopped with the group stays down; everybody else is up.
        let stays_down =
            |at: usize| rule == Temporary && (strategy == OneForAll && at != 1 || strategy == RestForOne && at == 2);
        for (at, path) in ["root/a", "root/b", "root/c"].into_iter().enumerate() {
            let expected = if stays_down(at) { State::Stopped } else { State::Running };
            assert_eq!(state(&tree, path), expected, "{what}: {path}");
        }
    }
}

#[actix::test]
async fn a_child_whose_work_is_done_stays_down_also_when_its_group_restarts() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Transient), child("b", RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForAll, OnLimit::Escalate, &[&a, &b]);
    settle().await;
    a.door.tell(Tell::Finish).expect("open");
    settle().await;
    assert_eq!(last_exit(&tree, "root/a"), ("finished", String::new()));
    b.door.tell(Tell::Panic("boom")).expect("open");
    settle().await;
    assert_eq!((state(&tree, "root/a"), starts(&[&a, &b])), (State::Stopped, vec![1, 2]));
}

#[actix::test]
async fn a_group_that_keeps_dying_pauses_too_and_the_pause_counts_the_one_that_dies() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Permanent), child("b", RestartRule::Permanent));
    let tree = tree_of(Strategy::RestForOne, OnLimit::Escalate, &[&a, &b]);
    settle().await;
    a.door.tell(Tell::Panic("first")).expect("open");
    settle().await;
    assert_eq!(starts(&[&a, &b]), [2, 2], "at once");
    a.door.tell(Tell::Panic("second")).expect("open");
    settle().await;
    assert_eq!(starts(&[&a, &b]), [2, 2]);
    assert_eq!((state(&tree, "root/a"), state(&tree, "root/b")), (State::BackingOff, State::BackingOff));
    assert_eq!(b.door.tell(Tell::Hang), Err(NotAnswered::Away));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(starts(&[&a, &b]), [3, 3]);
    assert_eq!((state(&tree, "root/a"), state(&tree, "root/b")), (State::Running, State::Running));
}

#[actix::test]
async fn a_group_goes_down_from_the_last_to_the_first_and_comes_up_in_order() {
    tokio::time::pause();
    let journal = Journal::default();
    let kids: Vec<Kid> =
        ["a", "b", "c"].iter().map(|name| journalled(name, RestartRule::Permanent, &journal)).collect();
    let tree = tree_of(Strategy::OneForAll, OnLimit::Escalate, &kids.iter().collect::<Vec<_>>());
    settle().await;
    kids[2].door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    journal.take();
    kids[0].door.tell(Tell::Panic("boom")).expect("open");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(journal.take(), ["a down"], "b waits for c, which is slow");
    assert_eq!((state(&tree, "root/b"), state(&tree, "root/c")), (State::Running, State::Stopping));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(journal.take(), ["c down", "b down", "a up", "b up", "c up"]);
}

#[actix::test]
async fn a_second_death_during_a_group_restart_joins_it() {
    tokio::time::pause();
    let kids: Vec<Kid> = ["a", "b", "c", "d"].iter().map(|name| child(name, RestartRule::Permanent)).collect();
    let tree = tree_of(Strategy::RestForOne, OnLimit::Escalate, &kids.iter().collect::<Vec<_>>());
    settle().await;
    kids[3].door.tell(Tell::Hang).expect("open");
    settle().await;
    kids[2].door.tell(Tell::Panic("c first")).expect("open");
    settle().await;
    assert_eq!(state(&tree, "root/d"), State::Stopping);
    kids[0].door.tell(Tell::Panic("then a")).expect("open");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(starts(&kids.iter().collect::<Vec<_>>()), [2, 2, 2, 2]);
    for path in ["root/a", "root/b", "root/c", "root/d"] {
        assert_eq!(state(&tree, path), State::Running, "{path}");
    }
    assert_eq!(last_exit(&tree, "root/d").0, "aborted");
}

#[actix::test]
async fn a_member_that_is_stopped_for_good_or_replaced_does_not_hold_its_group_up() {
    tokio::time::pause();
    for replace in [false, true] {
        let (a, b, c) = (
            child("a", RestartRule::Permanent),
            child("b", RestartRule::Permanent),
            child("c", RestartRule::Permanent),
        );
        let tree = tree_of(Strategy::OneForAll, OnLimit::Escalate, &[&a, &b, &c]);
        settle().await;
        c.door.tell(Tell::Hang).expect("open");
        settle().await;
        a.door.tell(Tell::Panic("boom")).expect("open");
        settle().await;
        if replace {
            tree.start_child("root", c.spec.clone()).expect("running");
        } else {
            tree.stop_child("root/c").expect("running");
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(starts(&[&a, &b, &c]), [2, 2, 1 + u32::from(replace)]);
        assert_eq!((state(&tree, "root/a"), state(&tree, "root/b")), (State::Running, State::Running));
        assert_eq!(tree.status().find("root/c").map(|node| node.state), replace.then_some(State::Running));
    }
}

#[actix::test]
async fn a_held_child_stays_held_when_its_group_restarts_and_a_new_spec_releases_it() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Permanent), child("b", RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForAll, OnLimit::HoldChild, &[&a, &b]);
    settle().await;
    hold(&tree, &a, "root/a").await;
    let before = starts(&[&a, &b]);
    b.door.tell(Tell::Panic("boom")).expect("open");
    settle().await;
    assert_eq!((state(&tree, "root/a"), state(&tree, "root/b")), (State::Held, State::Running));
    assert_eq!(starts(&[&a, &b]), [before[0], before[1] + 1]);
    tree.start_child("root", a.spec.clone()).expect("running");
    settle().await;
    assert_eq!(state(&tree, "root/a"), State::Running);
}

#[actix::test]
async fn a_failing_supervisor_takes_along_whom_its_own_supervisor_names() {
    tokio::time::pause();
    for (strategy, expected) in
        [(Strategy::OneForOne, [1, 4, 1]), (Strategy::RestForOne, [1, 4, 2]), (Strategy::OneForAll, [2, 4, 2])]
    {
        let (before, culprit, after) = (
            child("before", RestartRule::Permanent),
            child("culprit", RestartRule::Permanent),
            child("after", RestartRule::Permanent),
        );
        let mut inner =
            supervisor("inner", Strategy::OneForOne, OnLimit::Escalate, vec![Child::Actor(culprit.spec.clone())]);
        inner.intensity.restarts = 2;
        inner.pace.first = Duration::ZERO;
        let children =
            vec![Child::Actor(before.spec.clone()), Child::Supervisor(inner), Child::Actor(after.spec.clone())];
        let tree = start(supervisor("root", strategy, OnLimit::Escalate, children), Arc::new(SystemClock));
        settle().await;
        for _ in 0..3 {
            culprit.door.tell(Tell::Panic("boom")).expect("open");
            settle().await;
        }
        assert_eq!(starts(&[&before, &culprit, &after]), expected, "{strategy:?}");
        let status = tree.status();
        let inner = status.find("root/inner").expect("in the tree");
        assert_eq!((inner.state, inner.restarts), (State::Running, 1), "{strategy:?}");
        let exit = inner.last_exit.as_ref().expect("recorded");
        assert_eq!(exit.reason, "failed");
        assert!(exit.message.contains("root/inner/culprit ended too often: boom"), "{}", exit.message);
        assert!(status.children.iter().all(|child| child.state == State::Running), "{strategy:?}");
    }
}

#[actix::test]
async fn two_supervisors_that_fail_at_the_same_time_both_come_back() {
    tokio::time::pause();
    let kids: Vec<Kid> = ["a1", "a2", "b1"].iter().map(|name| child(name, RestartRule::Permanent)).collect();
    let actors = |kids: &[Kid]| kids.iter().map(|kid| Child::Actor(kid.spec.clone())).collect();
    let mut a = supervisor("a", Strategy::OneForOne, OnLimit::Escalate, actors(&kids[..2]));
    let mut b = supervisor("b", Strategy::OneForOne, OnLimit::Escalate, actors(&kids[2..]));
    (a.intensity.restarts, b.intensity.restarts) = (0, 0);
    let children = vec![Child::Supervisor(a), Child::Supervisor(b)];
    let tree = start(supervisor("root", Strategy::OneForOne, OnLimit::Escalate, children), Arc::new(SystemClock));
    settle().await;
    kids[1].door.tell(Tell::Hang).expect("open");
    settle().await;
    kids[0].door.tell(Tell::Panic("a fails")).expect("open");
    settle().await;
    assert_eq!(state(&tree, "root/a/a2"), State::Stopping);
    kids[2].door.tell(Tell::Panic("b fails")).expect("open");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(starts(&kids.iter().collect::<Vec<_>>()), [2, 2, 2]);
    for path in ["root/a", "root/a/a1", "root/a/a2", "root/b", "root/b/b1"] {
        assert_eq!(state(&tree, path), State::Running, "{path}");
    }
}
