//! Strategies, rules, limits, pauses, holds and ends, all under paused time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Running, WrapFuture};
use mkube_messages::door::{Door, Doorway, NotAnswered};
use mkube_messages::request::Event;
use mkube_model::neighbours::wall_clock::SystemClock;

use tokio::time::Instant;

use crate::child::{ChildSpec, Incarnation};
use crate::pace::{Intensity, RestartPace};
use crate::spec::{Child, OnLimit, RestartRule, Strategy, SupervisorSpec};
use crate::status::State;
use crate::tree::{CrashHow, Tree, TreeFault, start};

#[derive(Default)]
struct Worker {
    name: String,
    journal: Journal,
    incarnation: Incarnation,
    slow: Option<Duration>,
}

/// What happened, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: String) {
        self.0.lock().expect("nobody panics with it").push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with it"))
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        self.journal.note(format!("{} up", self.name));
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        let Some(slow) = self.slow.take() else { return Running::Stop };
        ctx.run_later(slow, |_, ctx| ctx.stop());
        Running::Continue
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.journal.note(format!("{} down", self.name));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Tell {
    Nothing,
    Panic(&'static str),
    Fail(&'static str),
    Finish,
    /// Takes no more mail and no order to stop.
    Hang,
    /// From now on stopping takes so long.
    SlowStop(Duration),
}

impl Event for Tell {}

impl Handler<Tell> for Worker {
    type Result = ();
    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        match tell {
            Tell::Nothing => {}
            Tell::Panic(text) => panic!("{text}"),
            Tell::Fail(cause) => self.incarnation.clone().fail(ctx, cause),
            Tell::Finish => ctx.stop(),
            Tell::Hang => ctx.wait(std::future::pending::<()>().into_actor(self)),
            Tell::SlowStop(slow) => self.slow = Some(slow),
        }
    }
}

struct Kid {
    spec: ChildSpec,
    door: Door<Tell>,
    starts: Arc<AtomicU32>,
}

fn child(name: &str, rule: RestartRule) -> Kid {
    journalled(name, rule, &Journal::default())
}

fn journalled(name: &str, rule: RestartRule, journal: &Journal) -> Kid {
    let (own_name, journal) = (name.to_owned(), journal.clone());
    let doorway = Doorway::new(name, 4);
    let door = doorway.door();
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let spec = ChildSpec::actor(name, rule, doorway, move |incarnation| {
        counted.fetch_add(1, Ordering::SeqCst);
        Worker { name: own_name.clone(), journal: journal.clone(), incarnation: incarnation.clone(), slow: None }
    })
    .answers::<Tell>()
    .patience(Duration::from_secs(2))
    .done();
    Kid { spec, door, starts }
}

fn supervisor(name: &str, strategy: Strategy, on_limit: OnLimit, children: Vec<Child>) -> SupervisorSpec {
    SupervisorSpec {
        name: name.into(),
        strategy,
        intensity: Intensity { restarts: 3, within: Duration::from_secs(60) },
        on_limit,
        pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
        children,
    }
}

fn tree_of(strategy: Strategy, on_limit: OnLimit, children: &[&Kid]) -> Tree {
    let children = children.iter().map(|child| Child::Actor(child.spec.clone())).collect();
    start(supervisor("root", strategy, on_limit, children), Arc::new(SystemClock))
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

fn state(tree: &Tree, path: &str) -> State {
    tree.status().find(path).expect("in the tree").state
}

fn last_exit(tree: &Tree, path: &str) -> (&'static str, String) {
    let exit = tree.status().find(path).and_then(|node| node.last_exit.clone()).expect("it ended once");
    (exit.reason, exit.message)
}

/// Lets a child die until it is held.
async fn hold(tree: &Tree, kid: &Kid, path: &str) {
    for _ in 0..100 {
        if state(tree, path) == State::Held {
            return;
        }
        // Away while it is down.
        let _ = kid.door.tell(Tell::Panic("again"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("never held");
}

fn starts(children: &[&Kid]) -> Vec<u32> {
    children.iter().map(|child| child.starts.load(Ordering::SeqCst)).collect()
}

#[actix::test]
async fn a_panic_is_recorded_with_its_text_and_the_actor_is_back_at_once() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
    settle().await;
    a.door.tell(Tell::Panic("boom")).expect("open");
    settle().await;
    let status = tree.status();
    let node = status.find("root/a").expect("in the tree");
    let exit = node.last_exit.clone().expect("recorded");
    assert_eq!((exit.reason, exit.message.as_str()), ("panicked", "boom"));
    assert_eq!((node.state, node.restarts), (State::Running, 1));
    assert_eq!(starts(&[&a]), [2]);
    assert!(a.door.tell(Tell::Hang).is_ok(), "the door leads to the new incarnation");
}

#[actix::test]
async fn each_rule_restarts_after_the_exits_it_names() {
    tokio::time::pause();
    for (rule, how, again) in [
        (RestartRule::Permanent, CrashHow::Stop, true),
        (RestartRule::Permanent, CrashHow::Panic, true),
        (RestartRule::Transient, CrashHow::Stop, true),
        (RestartRule::Transient, CrashHow::Error, true),
        (RestartRule::Transient, CrashHow::Panic, true),
        (RestartRule::Temporary, CrashHow::Panic, false),
    ] {
        let a = child("a", rule);
        let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
        settle().await;
        tree.crash("root/a", how).await.expect("running");
        settle().await;
        assert_eq!(starts(&[&a]), [1 + u32::from(again)], "{rule:?} {how:?}");
        assert_eq!(state(&tree, "root/a"), if again { State::Running } else { State::Stopped }, "{rule:?} {how:?}");
    }
}

#[actix::test]
async fn a_child_that_keeps_dying_waits_longer_each_time_and_is_held_then_released() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::HoldChild, &[&a]);
    settle().await;
    let crash = async |expect: State| {
        a.door.tell(Tell::Panic("again")).expect("open");
        settle().await;
        assert_eq!(state(&tree, "root/a"), expect);
    };
    crash(State::Running).await;
    crash(State::BackingOff).await;
    assert_eq!(a.door.tell(Tell::Hang), Err(NotAnswered::Away));
    tokio::time::sleep(Duration::from_secs(1)).await;
    crash(State::BackingOff).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(state(&tree, "root/a"), State::BackingOff);
    tokio::time::sleep(Duration::from_millis(600)).await;
    crash(State::Held).await;
    tree.release("root/a").await.expect("held");
    settle().await;
    assert_eq!(state(&tree, "root/a"), State::Running);
    assert!(matches!(tree.release("root/a").await, Err(TreeFault::NotNow(_))));
}

#[actix::test]
async fn too_many_restarts_escalate_to_the_root_which_gives_up() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let inner = supervisor("inner", Strategy::OneForOne, OnLimit::Escalate, vec![Child::Actor(a.spec.clone())]);
    let root = supervisor("root", Strategy::OneForOne, OnLimit::Escalate, vec![Child::Supervisor(inner)]);
    let tree = start(root, Arc::new(SystemClock));
    settle().await;
    let mut crashes = 0;
    let gave_up = tree.gave_up();
    tokio::pin!(gave_up);
    let cause = loop {
        tokio::select! {
            cause = &mut gave_up => break cause,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if a.door.tell(Tell::Panic("boom")).is_ok() {
                    crashes += 1;
                }
                assert!(crashes < 100, "the root never gives up");
            }
        }
    };
    assert!(cause.contains("boom"), "{cause}");
    // Three restarts by the inner supervisor for each of its four lives.
    assert_eq!(crashes, 16);
}

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
async fn children_come_and_go_at_run_time() {
    tokio::time::pause();
    let tree = tree_of(Strategy::OneForOne, OnLimit::HoldChild, &[]);
    let a = child("pod/default/web", RestartRule::Transient);
    tree.start_child("root", a.spec.clone()).expect("running");
    settle().await;
    assert_eq!(state(&tree, "root/pod/default/web"), State::Running);
    tree.start_child("root", a.spec.clone()).expect("running");
    settle().await;
    assert_eq!(starts(&[&a]), [2], "a child of the same name is replaced");
    tree.stop_child("root/pod/default/web").expect("running");
    settle().await;
    assert!(tree.status().find("root/pod/default/web").is_none());
}

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

/// The supervisor did not order the stop and the actor did not say that its work is done: a transient child comes back.
#[actix::test]
async fn a_stop_from_outside_is_recorded_as_one_and_does_not_end_a_transient_child_for_good() {
    tokio::time::pause();
    let (a, b) = (child("a", RestartRule::Transient), child("b", RestartRule::Temporary));
    let tree = tree_of(Strategy::OneForOne, OnLimit::HoldChild, &[&a, &b]);
    settle().await;
    for path in ["root/a", "root/b"] {
        tree.crash(path, CrashHow::Stop).await.expect("running");
    }
    settle().await;
    assert_eq!((state(&tree, "root/a"), starts(&[&a])), (State::Running, vec![2]));
    assert_eq!((state(&tree, "root/b"), starts(&[&b])), (State::Stopped, vec![1]));
    assert_eq!(last_exit(&tree, "root/a").0, "stopped");
    a.door.tell(Tell::Finish).expect("open to the new incarnation");
    settle().await;
    assert_eq!((state(&tree, "root/a"), starts(&[&a])), (State::Stopped, vec![2]), "its work is done");
    assert!(matches!(tree.crash("root/a", CrashHow::Panic).await, Err(TreeFault::NotNow(_))));
    assert!(matches!(tree.crash("root/nobody", CrashHow::Panic).await, Err(TreeFault::Unknown(_))));
}

#[actix::test]
async fn an_actor_that_tells_why_it_ends_is_recorded_with_the_cause() {
    tokio::time::pause();
    let a = child("a", RestartRule::Transient);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
    settle().await;
    a.door.tell(Tell::Fail("no store")).expect("open");
    settle().await;
    assert_eq!(last_exit(&tree, "root/a"), ("failed", "no store".to_owned()));
    assert_eq!((state(&tree, "root/a"), starts(&[&a])), (State::Running, vec![2]));
}

#[actix::test]
async fn a_panic_in_the_factory_counts_like_a_short_life() {
    tokio::time::pause();
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let spec = ChildSpec::actor("a", RestartRule::Permanent, Doorway::new("a", 4), move |_| -> Worker {
        assert!(counted.fetch_add(1, Ordering::SeqCst) == 3, "not yet");
        Worker::default()
    });
    let root = supervisor("root", Strategy::OneForOne, OnLimit::Escalate, vec![Child::Actor(spec.done())]);
    let tree = start(root, Arc::new(SystemClock));
    settle().await;
    assert_eq!((state(&tree, "root/a"), tries.load(Ordering::SeqCst)), (State::BackingOff, 2), "once more at once");
    assert_eq!(last_exit(&tree, "root/a"), ("panicked", "not yet".to_owned()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((state(&tree, "root/a"), tries.load(Ordering::SeqCst)), (State::BackingOff, 3));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((state(&tree, "root/a"), tries.load(Ordering::SeqCst)), (State::Running, 4));
    assert_eq!(tree.status().find("root/a").expect("in the tree").restarts, 3);
}

#[actix::test]
async fn a_long_life_forgives_the_short_ones_before_it() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let mut root = supervisor("root", Strategy::OneForOne, OnLimit::Escalate, vec![Child::Actor(a.spec.clone())]);
    root.intensity.restarts = 10;
    let tree = start(root, Arc::new(SystemClock));
    settle().await;
    for _ in 0..2 {
        a.door.tell(Tell::Panic("short")).expect("open");
        settle().await;
    }
    assert_eq!(state(&tree, "root/a"), State::BackingOff);
    tokio::time::sleep(Duration::from_secs(12)).await;
    a.door.tell(Tell::Panic("long")).expect("open");
    settle().await;
    assert_eq!(state(&tree, "root/a"), State::Running, "back at once");
}

#[actix::test]
async fn pauses_vary_by_at_most_their_share_so_that_those_who_died_together_come_back_apart() {
    tokio::time::pause();
    let kids: Vec<Kid> = (0..20).map(|at| child(&format!("a{at}"), RestartRule::Permanent)).collect();
    let children = kids.iter().map(|kid| Child::Actor(kid.spec.clone())).collect();
    let mut root = supervisor("root", Strategy::OneForOne, OnLimit::HoldChild, children);
    root.pace.jitter = 0.5;
    let tree = start(root, Arc::new(SystemClock));
    settle().await;
    for _ in 0..2 {
        kids.iter().for_each(|kid| kid.door.tell(Tell::Panic("together")).expect("open"));
        settle().await;
    }
    let down = |tree: &Tree| tree.status().children.iter().filter(|child| child.state == State::BackingOff).count();
    assert_eq!(down(&tree), 20);
    tokio::time::sleep(Duration::from_millis(480)).await;
    assert_eq!(down(&tree), 20, "nobody before half the pause");
    tokio::time::sleep(Duration::from_millis(250)).await;
    let halfway = down(&tree);
    assert!((1..20).contains(&halfway), "all at once: {halfway}");
    tokio::time::sleep(Duration::from_millis(280)).await;
    assert_eq!(down(&tree), 0, "everybody after the whole pause");
}

#[actix::test]
async fn restarts_outside_of_the_window_do_not_add_up() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::HoldChild, &[&a]);
    settle().await;
    for round in 0..12 {
        a.door.tell(Tell::Panic("now and then")).expect("open");
        settle().await;
        assert_eq!(state(&tree, "root/a"), State::Running, "round {round}");
        tokio::time::sleep(Duration::from_secs(21)).await;
    }
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
async fn a_released_child_has_a_clean_slate() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::HoldChild, &[&a]);
    settle().await;
    hold(&tree, &a, "root/a").await;
    let restarts = tree.status().find("root/a").expect("in the tree").restarts;
    tree.release("root/a").await.expect("held");
    settle().await;
    assert_eq!(tree.status().find("root/a").expect("in the tree").restarts, restarts + 1, "counted");
    a.door.tell(Tell::Panic("once more")).expect("open");
    settle().await;
    assert_eq!(state(&tree, "root/a"), State::Running, "at once, as after a first short life");
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

#[actix::test]
async fn orders_to_the_wrong_kind_of_node_are_refused_and_the_tree_lives_on() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
    settle().await;
    tree.start_child("root/a", child("b", RestartRule::Permanent).spec).expect("told");
    tree.start_child("nowhere", child("b", RestartRule::Permanent).spec).expect("told");
    tree.stop_child("root").expect("told");
    settle().await;
    assert!(matches!(tree.crash("root", CrashHow::Panic).await, Err(TreeFault::NotNow(_))));
    assert!(matches!(tree.release("root/b").await, Err(TreeFault::Unknown(_))));
    assert_eq!((state(&tree, "root/a"), starts(&[&a])), (State::Running, vec![1]));
}

#[actix::test]
async fn what_a_door_counts_is_published_and_outlives_the_incarnation() {
    tokio::time::pause();
    let a = child("a", RestartRule::Permanent);
    let tree = tree_of(Strategy::OneForOne, OnLimit::Escalate, &[&a]);
    settle().await;
    for _ in 0..2 {
        a.door.tell(Tell::Nothing).expect("open");
    }
    settle().await;
    a.door.tell(Tell::Panic("boom")).expect("open");
    settle().await;
    a.door.tell(Tell::Hang).expect("open");
    settle().await;
    for _ in 0..4 {
        a.door.tell(Tell::Nothing).expect("room for four");
    }
    assert_eq!(a.door.tell(Tell::Nothing), Err(NotAnswered::Busy));
    let status = serde_json::to_value(tree.status()).expect("plain data");
    let published = &status["children"][0];
    assert_eq!(published["mailbox"], serde_json::json!({"inFlight": 4, "bound": 4, "handled": 4, "refused": 1}));
    assert_eq!((&published["kind"], &published["restarts"]), (&"actor".into(), &1.into()));
    assert_eq!(published["lastExit"]["reason"], "panicked");
    assert!(published["startedAt"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert!(published["latencyMicros"]["max"].is_u64());
    assert_eq!((&status["kind"], &status["strategy"]), (&"supervisor".into(), &"one_for_one".into()));
}

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
