//! How everything stops, and how long that may take.

use super::*;

#[actix::test]
async fn everything_stops_in_reverse_order_and_the_stubborn_are_cut_off() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Permanent), child("b", RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a, &b]);
    settle().await;
    b.door.tell(Tell::Hang).expect("open");
    settle().await;
    let before = Instant::now();
    tree.stop(Duration::from_secs(20)).await;
    assert_eq!(before.elapsed().as_secs(), 2, "its patience, not the whole budget");
    let status = tree.status();
    let exit = |path: &str| status.find(path).and_then(|node| node.last_exit.clone()).map(|exit| exit.reason);
    assert_eq!((exit("root/a"), exit("root/b")), (Some("stopped"), Some("aborted")));
    assert_eq!(starts(&[&a, &b]), [1, 1]);
}

#[actix::test]
async fn a_child_that_died_while_another_is_stopping_does_not_upset_the_order_of_the_end() {
    tokio::time::pause();
    let journal = Journal::default();
    let kids: Vec<Kid> =
        ["a", "b", "c"].iter().map(|name| journalled(name, RestartRule::Permanent, &journal)).collect();
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &kids.iter().collect::<Vec<_>>());
    settle().await;
    kids[2].door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    journal.take();
    let stopping = tree.clone();
    let stop = actix_rt::spawn(async move { stopping.stop(Duration::from_secs(20)).await });
    settle().await;
    kids[0].door.tell(Tell::Panic("at the worst moment")).expect("open");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((journal.take(), state(&tree, "root/b")), (vec!["a down".to_owned()], State::Running));
    assert!(!stop.is_finished(), "c is still there");
    stop.await.expect("joined");
    assert_eq!(journal.take(), ["c down", "b down"]);
    assert_eq!(starts(&kids.iter().collect::<Vec<_>>()), [1, 1, 1], "nobody starts during the end");
}

#[actix::test]
async fn a_second_stop_skips_to_the_end_and_a_third_finds_it_done() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Permanent), child("b", RestartRule::Permanent));
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a, &b]);
    settle().await;
    b.door.tell(Tell::Hang).expect("open");
    settle().await;
    let before = Instant::now();
    let first = tree.clone();
    let first = actix_rt::spawn(async move { first.stop(Duration::from_secs(20)).await });
    settle().await;
    tree.stop(Duration::from_secs(20)).await;
    first.await.expect("joined");
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    tokio::time::timeout(Duration::from_secs(1), tree.stop(Duration::from_secs(20))).await.expect("at once");
    tree.start_child("root", a.spec.clone()).expect("the task is there");
    settle().await;
    assert_eq!(starts(&[&a, &b]), [1, 1], "nothing starts after the end");
    assert!(tree.status().children.iter().all(|child| child.state == State::Stopped));
}

#[actix::test]
async fn the_budget_ends_what_patience_would_still_wait_for() {
    tokio::time::pause();
    let kids: Vec<Kid> = ["a", "b", "c"].iter().map(|name| child(name, RestartRule::Permanent)).collect();
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &kids.iter().collect::<Vec<_>>());
    settle().await;
    for kid in &kids {
        kid.door.tell(Tell::Hang).expect("open");
    }
    settle().await;
    let before = Instant::now();
    tree.stop(Duration::from_secs(3)).await;
    assert_eq!(before.elapsed().as_secs(), 3, "three times two seconds of patience, cut at three");
    for path in ["root/a", "root/b", "root/c"] {
        assert_eq!((state(&tree, path), last_exit(&tree, path).0), (State::Stopped, "aborted"), "{path}");
    }
}

#[actix::test]
async fn stopping_a_child_twice_still_leaves_it_its_patience() {
    tokio::time::pause();
    let journal = Journal::default();
    let a = journalled("a", RestartRule::Permanent, &journal);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
    settle().await;
    a.door.tell(Tell::SlowStop(Duration::from_secs(1))).expect("open");
    settle().await;
    journal.take();
    tree.stop_child("root/a").expect("running");
    tree.stop_child("root/a").expect("running");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(state(&tree, "root/a"), State::Stopping);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(journal.take(), ["a down"]);
    assert!(tree.status().find("root/a").is_none());
}
