//! Branches that come and go while the rest of the tree stays.

use super::*;

/// A branch with one level of its own between it and its actors.
fn branch(name: &str, kids: &[&Kid]) -> Child {
    let kids = kids.iter().map(|kid| Child::Actor(kid.spec.clone())).collect();
    Child::Supervisor(supervisor(name, Strategy::OneForOne, OnLimit::Escalate, kids))
}

fn names(tree: &Tree) -> Vec<String> {
    tree.status().children.into_iter().map(|child| child.name).collect()
}

#[actix::test]
async fn a_branch_comes_and_goes_in_its_place_while_all_others_go_on() {
    tokio::time::pause();
    let journal = Journal::default();
    let [first, last] = ["first", "last"].map(|name| journalled(name, RestartRule::Permanent, &journal));
    let [a, b] = ["a", "b"].map(|name| journalled(name, RestartRule::Permanent, &journal));
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&first, &last]);
    settle().await;
    for round in 1..=2 {
        journal.take();
        tree.start_branch("root", branch("middle", &[&a, &b]), Some("last")).expect("the task is there");
        tree.start_branch("root", branch("middle", &[&a, &b]), Some("last")).expect("the task is there");
        settle().await;
        assert_eq!(names(&tree), ["first", "middle", "last"]);
        assert_eq!(journal.take(), ["a up", "b up"], "once, though asked for twice");
        // One that came later goes with it, also if it is down.
        let late = journalled("late", RestartRule::Temporary, &journal);
        tree.start_child("root/middle", late.spec.clone()).expect("the task is there");
        settle().await;
        late.door.tell(Tell::Finish).expect("open");
        settle().await;
        journal.take();
        tree.stop_branch("root/middle", Duration::from_secs(20)).await;
        assert_eq!(journal.take(), ["b down", "a down"]);
        assert_eq!(names(&tree), ["first", "last"]);
        assert_eq!(a.door.tell(Tell::Nothing), Err(NotAnswered::Away));
        assert_eq!(starts(&[&a, &b, &first, &last]), [round, round, 1, 1]);
    }
    tree.stop_branch("root/middle", Duration::from_secs(20)).await;
    tree.start_branch("root", Child::Actor(a.spec.clone()), None).expect("the task is there");
    settle().await;
    journal.take();
    tree.stop(Duration::from_secs(20)).await;
    assert_eq!(journal.take(), ["a down", "last down", "first down"]);
}

#[actix::test]
async fn what_of_a_branch_does_not_stop_in_time_is_cut_off() {
    tokio::time::pause();
    let [a, b, other] = ["a", "b", "other"].map(|name| child(name, RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&other]);
    tree.start_branch("root", branch("slow", &[&a, &b]), None).expect("the task is there");
    settle().await;
    for kid in [&a, &b] {
        kid.door.tell(Tell::Hang).expect("open");
    }
    settle().await;
    let before = Instant::now();
    tree.stop_branch("root/slow", Duration::from_secs(3)).await;
    assert_eq!(before.elapsed().as_secs(), 3, "twice two seconds of patience, cut at three");
    assert_eq!((names(&tree), starts(&[&other])), (vec!["other".to_owned()], vec![1]));
    // A budget that is over concerns nobody who came later.
    tree.start_branch("root", branch("slow", &[&a]), None).expect("the task is there");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(starts(&[&a]), [2]);
    assert_eq!(state(&tree, "root/slow/a"), State::Running);
}

#[actix::test]
async fn branches_that_end_one_after_the_other_have_one_bound_and_their_order() {
    tokio::time::pause();
    let journal = Journal::default();
    let kids = ["a", "b", "c"].map(|name| journalled(name, RestartRule::Permanent, &journal));
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[]);
    let paths = ["root/of c", "root/of b", "root/nobody", "root/of a"];
    // Each may take two seconds to stop, and nobody does.
    for (stubborn, seconds) in [(true, 3), (false, 0)] {
        for (name, kid) in ["of a", "of b", "of c"].into_iter().zip(&kids) {
            tree.start_branch("root", branch(name, &[kid]), None).expect("the task is there");
        }
        settle().await;
        for kid in kids.iter().filter(|_| stubborn) {
            kid.door.tell(Tell::Hang).expect("open");
        }
        settle().await;
        journal.take();
        let before = Instant::now();
        tree.stop_branches(&paths, Duration::from_secs(3)).await;
        assert_eq!(before.elapsed().as_secs(), seconds);
        assert_eq!(journal.take(), ["c down", "b down", "a down"]);
        assert!(names(&tree).is_empty());
    }
}

#[actix::test]
async fn a_branch_that_is_to_go_while_its_group_goes_down_is_not_started_with_it() {
    tokio::time::pause();
    let [a, b, c] = ["a", "b", "c"].map(|name| child(name, RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForAll, OnLimit::Escalate, &[&a]);
    tree.start_branch("root", branch("leaves", &[&b]), None).expect("the task is there");
    tree.start_branch("root", Child::Actor(c.spec.clone()), None).expect("the task is there");
    settle().await;
    c.door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    a.door.tell(Tell::Panic("all of them")).expect("open");
    settle().await;
    assert_eq!(state(&tree, "root/c"), State::Stopping, "the group goes down");
    tree.stop_branch("root/leaves", Duration::from_secs(20)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((names(&tree), starts(&[&a, &b, &c])), (vec!["a".to_owned(), "c".to_owned()], vec![2, 1, 2]));
}

#[actix::test]
async fn a_group_that_goes_down_while_one_of_its_branches_leaves_comes_back_without_it() {
    tokio::time::pause();
    let [a, b] = ["a", "b"].map(|name| child(name, RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForAll, OnLimit::Escalate, &[&a]);
    tree.start_branch("root", branch("leaves", &[&b]), None).expect("the task is there");
    settle().await;
    b.door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    let leaving = tree.clone();
    let leaving = actix_rt::spawn(async move { leaving.stop_branch("root/leaves", Duration::from_secs(20)).await });
    settle().await;
    a.door.tell(Tell::Panic("all of them")).expect("open");
    leaving.await.expect("it is told");
    settle().await;
    assert_eq!((names(&tree), starts(&[&a, &b])), (vec!["a".to_owned()], vec![2, 1]));
}

#[actix::test]
async fn whoever_waits_for_a_branch_is_told_when_everything_stops() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[]);
    tree.start_branch("root", branch("slow", &[&a]), None).expect("the task is there");
    settle().await;
    a.door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    let leaving = tree.clone();
    let leaving = actix_rt::spawn(async move { leaving.stop_branch("root/slow", Duration::from_secs(20)).await });
    settle().await;
    tree.stop(Duration::from_secs(20)).await;
    tokio::time::timeout(Duration::from_secs(1), leaving).await.expect("it is told").expect("joined");
    tree.stop_branch("root/slow", Duration::from_secs(20)).await;
    tree.start_branch("root", branch("other", &[&a]), None).expect("the task is there");
    settle().await;
    assert_eq!(starts(&[&a]), [1], "nothing starts after the end");
}
