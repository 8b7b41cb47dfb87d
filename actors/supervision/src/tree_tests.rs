//! The tree under paused time. Here: rules, limits, pauses and holds, and the actors that all stories are played with.

mod branches;
mod ends;
mod groups;

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
