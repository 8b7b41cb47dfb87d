use std::sync::atomic::{AtomicU32, Ordering};

use actix::{Actor, Context, Handler, Message};
use mkube_messages::door::{Door, Doorway};
use mkube_messages::request::Event;
use mkube_model::neighbours::wall_clock::SystemClock;

use super::*;
use crate::pace::{Intensity, RestartPace};
use crate::tree::{Tree, start};

struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
enum Tell {
    Panic(&'static str),
    Hang,
}

impl Event for Tell {}

impl Handler<Tell> for Worker {
    type Result = ();
    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        use actix::{AsyncContext, WrapFuture};
        match tell {
            Tell::Panic(text) => panic!("{text}"),
            Tell::Hang => ctx.wait(std::future::pending::<()>().into_actor(self)),
        }
    }
}

struct Kid {
    spec: ChildSpec,
    door: Door<Tell>,
    starts: Arc<AtomicU32>,
}

fn child(name: &str, rule: RestartRule) -> Kid {
    let doorway = Doorway::new(name, 4);
    let door = doorway.door();
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let spec = ChildSpec::actor(name, rule, doorway, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Worker
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
async fn each_strategy_restarts_the_siblings_it_names() {
    tokio::time::pause();
    for (strategy, expected) in
        [(Strategy::OneForOne, [1, 2, 1]), (Strategy::RestForOne, [1, 2, 2]), (Strategy::OneForAll, [2, 2, 2])]
    {
        let (a, b, c) = (
            child("a", RestartRule::Permanent),
            child("b", RestartRule::Permanent),
            child("c", RestartRule::Permanent),
        );
        let tree = tree_of(strategy, OnLimit::Escalate, &[&a, &b, &c]);
        settle().await;
        b.door.tell(Tell::Panic("boom")).expect("open");
        settle().await;
        assert_eq!(starts(&[&a, &b, &c]), expected, "{strategy:?}");
        for path in ["root/a", "root/b", "root/c"] {
            assert_eq!(state(&tree, path), State::Running, "{strategy:?} {path}");
        }
    }
}

#[actix::test]
async fn each_rule_restarts_after_the_exits_it_names() {
    tokio::time::pause();
    for (rule, how, again) in [
        (RestartRule::Permanent, CrashHow::Stop, true),
        (RestartRule::Permanent, CrashHow::Panic, true),
        (RestartRule::Transient, CrashHow::Stop, false),
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
    assert_eq!(a.door.tell(Tell::Hang), Err(mkube_messages::door::NotAnswered::Away));
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
