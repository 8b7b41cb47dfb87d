//! How actix really behaves: one small test for each fact that the kernel was built around. When an upgrade changes the ground,
//! the test that turns red says which of our choices stood on it.
#![allow(clippy::disallowed_methods, reason = "what the rest of the tree must not call is looked at here")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use tokio::time::{Instant, pause, sleep, timeout};

/// What happened, in order; shared by the actors of one test.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("nobody panics with it").push(what.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

/// The actor that is looked at.
#[derive(Default)]
struct Subject {
    journal: Journal,
    bound: Option<usize>,
    peer: Option<Addr<Subject>>,
}

impl Actor for Subject {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(bound) = self.bound {
            ctx.set_mailbox_capacity(bound);
        }
        self.journal.note("started");
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.journal.note("stopped");
    }
}

impl Supervised for Subject {}

#[derive(Message)]
#[rtype(result = "()")]
enum Order {
    Note(&'static str),
    /// Notes, then tells itself this.
    Notify(&'static str),
    Panic,
    Stop,
    /// Waits twice, the second time asked for last.
    WaitTwice,
    /// Every 10 s a tick; busy with something else for 35 s at first.
    Tick,
    TickAndWait,
    Hold(Addr<Subject>),
}

impl Handler<Order> for Subject {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        let noted = |seconds: u64, what: &'static str| {
            let journal = self.journal.clone();
            async move {
                sleep(Duration::from_secs(seconds)).await;
                journal.note(what);
            }
            .into_actor(self)
        };
        match order {
            Order::Note(what) => self.journal.note(what),
            Order::Notify(what) => ctx.notify(Order::Note(what)),
            Order::Panic => panic!("on request"),
            Order::Stop => ctx.stop(),
            Order::WaitTwice => {
                ctx.wait(noted(1, "asked for first"));
                ctx.wait(noted(1, "asked for last"));
            }
            Order::Tick | Order::TickAndWait => {
                ctx.run_interval(Duration::from_secs(10), |subject, _| subject.journal.note("tick"));
                if matches!(order, Order::TickAndWait) {
                    ctx.wait(noted(35, "waited"));
                }
            }
            Order::Hold(peer) => self.peer = Some(peer),
        }
    }
}

/// Sleeps so many seconds, then notes; three ways of answering.
#[derive(Message)]
#[rtype(result = "()")]
struct Beside(u64);
#[derive(Message)]
#[rtype(result = "()")]
struct Within(u64);
#[derive(Message)]
#[rtype(result = "()")]
struct Alone(u64);

impl Subject {
    fn work(&self, seconds: u64) -> impl Future<Output = ()> + use<> {
        let journal = self.journal.clone();
        async move {
            journal.note(format!("{seconds} begins"));
            sleep(Duration::from_secs(seconds)).await;
            journal.note(format!("{seconds} ends"));
        }
    }
}

impl Handler<Beside> for Subject {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, work: Beside, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(self.work(work.0))
    }
}

impl Handler<Within> for Subject {
    type Result = ResponseActFuture<Self, ()>;
    fn handle(&mut self, work: Within, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(self.work(work.0).into_actor(self))
    }
}

impl Handler<Alone> for Subject {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, work: Alone, _ctx: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(Box::pin(self.work(work.0).into_actor(self)))
    }
}

/// Asks the peer, and waits for the answer alone.
#[derive(Message)]
#[rtype(result = "bool")]
struct AskPeer;

impl Handler<AskPeer> for Subject {
    type Result = AtomicResponse<Self, bool>;
    fn handle(&mut self, _ask: AskPeer, _ctx: &mut Self::Context) -> Self::Result {
        let peer = self.peer.clone().expect("held before");
        let asked = async move { timeout(Duration::from_secs(60), peer.send(AskPeer)).await.is_ok() };
        AtomicResponse::new(Box::pin(asked.into_actor(self)))
    }
}

fn subject(journal: &Journal) -> Addr<Subject> {
    Subject { journal: journal.clone(), ..Subject::default() }.start()
}

/// Lets everything run that can run now.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Why `Door` counts what is in flight itself.
#[actix::test]
async fn the_mailbox_bound_holds_per_handle_so_every_clone_has_a_free_slot() {
    pause();
    let addr = Subject { bound: Some(1), ..Subject::default() }.start();
    settle().await;
    // The runtime has one thread: nothing is handled until we wait for something.
    assert!(addr.try_send(Order::Note("1")).is_ok());
    assert!(matches!(addr.try_send(Order::Note("2")), Err(SendError::Full(_))), "the same handle is refused");
    for _ in 0..10 {
        assert!(addr.clone().try_send(Order::Note("3")).is_ok(), "a new handle never is");
    }
}

/// Why `do_send` is banned.
#[actix::test]
async fn do_send_ignores_the_bound_and_swallows_that_nobody_is_there() {
    pause();
    let journal = Journal::default();
    let addr = Subject { bound: Some(1), journal: journal.clone(), peer: None }.start();
    settle().await;
    for _ in 0..100 {
        addr.do_send(Order::Note("in"));
    }
    settle().await;
    assert_eq!(journal.read().iter().filter(|what| *what == "in").count(), 100);
    addr.do_send(Order::Stop);
    settle().await;
    assert!(!addr.connected());
    addr.do_send(Order::Note("to nobody"));
}

/// Why `Door` refuses instead of queueing.
#[actix::test]
async fn send_to_a_full_mailbox_does_not_wait_for_room() {
    pause();
    let journal = Journal::default();
    let addr = Subject { bound: Some(1), journal: journal.clone(), peer: None }.start();
    settle().await;
    drop(actix::spawn(addr.send(Alone(1000))));
    settle().await;
    // The actor is busy for a long time; all of these get into its mailbox nevertheless, and in vain.
    for _ in 0..50 {
        drop(actix::spawn(addr.send(Order::Note("queued"))));
    }
    settle().await;
    assert!(!journal.read().contains(&"queued".to_owned()));
    assert!(matches!(addr.try_send(Order::Note("one more")), Err(SendError::Full(_))));
    sleep(Duration::from_secs(1001)).await;
    assert_eq!(journal.read().iter().filter(|what| *what == "queued").count(), 50);
}

/// Why a door's place belongs to the work and not to the caller.
#[actix::test]
async fn a_caller_that_leaves_cancels_only_what_has_not_started() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    let begun = addr.send(Within(5));
    settle().await;
    drop(addr.send(Within(7)));
    drop(begun);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(journal.read(), ["started", "5 begins", "5 ends"]);
}

/// Why `Door::ask` takes the deadline of the request.
#[actix::test]
async fn send_has_no_time_limit_of_its_own() {
    pause();
    let addr = subject(&Journal::default());
    let day = Duration::from_secs(24 * 3600);
    assert!(timeout(day, addr.send(Within(25 * 3600))).await.is_err(), "still waiting a day later");
}

/// Why the supervisor awaits the actor's own task.
#[actix::test]
async fn a_panic_ends_that_actor_alone_and_only_its_join_handle_tells() {
    pause();
    let (journal, other_journal) = (Journal::default(), Journal::default());
    let other = subject(&other_journal);
    let ctx = Context::<Subject>::new();
    let addr = ctx.address();
    let task = actix::spawn(ctx.into_future(Subject { journal: journal.clone(), ..Subject::default() }));
    let waiting = actix::spawn(addr.send(Within(1000)));
    settle().await;
    let died_with_it = addr.send(Order::Panic);
    assert!(matches!(died_with_it.await, Err(MailboxError::Closed)));
    assert!(matches!(waiting.await.expect("joined"), Err(MailboxError::Closed)), "whoever waited is told \"closed\"");
    assert!(task.await.expect_err("it panicked").is_panic());
    assert_eq!(journal.read(), ["started", "1000 begins", "stopped"], "`stopped` runs on half-changed state");
    assert!(other.send(Order::Note("alive")).await.is_ok(), "the neighbour lives");
}

/// Why actix's own supervisor is not used.
#[actix::test]
async fn the_frameworks_supervisor_restarts_after_a_stop_but_never_after_a_panic() {
    pause();
    let journal = Journal::default();
    let made = journal.clone();
    let addr = Supervisor::start(move |_| {
        made.note("made");
        Subject { journal: made.clone(), ..Subject::default() }
    });
    addr.do_send(Within(2));
    settle().await;
    addr.do_send(Order::Stop);
    addr.do_send(Order::Note("queued behind the stop"));
    sleep(Duration::from_secs(5)).await;
    let seen = journal.read();
    assert_eq!(seen.iter().filter(|what| *what == "made").count(), 1, "the same value, not a new one: {seen:?}");
    assert_eq!(seen.iter().filter(|what| *what == "started").count(), 2, "{seen:?}");
    assert!(seen.contains(&"queued behind the stop".to_owned()), "queued mail is kept: {seen:?}");
    assert!(!seen.contains(&"2 ends".to_owned()), "running futures are dropped: {seen:?}");
    addr.do_send(Order::Panic);
    settle().await;
    assert!(!addr.connected(), "nobody brings it back");
}

/// Why `ResponseFuture` is only for work that may finish unowned.
#[actix::test]
async fn a_response_future_outlives_the_stop_of_its_actor() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    drop(actix::spawn(addr.send(Beside(5))));
    drop(actix::spawn(addr.send(Within(6))));
    settle().await;
    addr.do_send(Order::Stop);
    sleep(Duration::from_secs(10)).await;
    let seen = journal.read();
    assert_eq!(seen[3..], ["stopped", "5 ends"], "the other future is gone with its actor: {seen:?}");
}

/// Why state is checked again after each wait.
#[actix::test]
async fn a_response_act_future_lets_later_messages_run_while_it_waits() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    let slow = actix::spawn(addr.send(Within(5)));
    settle().await;
    addr.send(Order::Note("meanwhile")).await.expect("handled");
    slow.await.expect("joined").expect("handled");
    assert_eq!(journal.read(), ["started", "5 begins", "meanwhile", "5 ends"]);
}

/// Why `AtomicResponse` is for short steps only.
#[actix::test]
async fn an_atomic_response_stops_mail_and_timers_until_it_is_done() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    addr.send(Order::Tick).await.expect("handled");
    let slow = actix::spawn(addr.send(Alone(15)));
    settle().await;
    addr.do_send(Order::Note("mail"));
    sleep(Duration::from_secs(14)).await;
    assert_eq!(journal.read(), ["started", "15 begins"]);
    slow.await.expect("joined").expect("handled");
    settle().await;
    assert_eq!(journal.read(), ["started", "15 begins", "15 ends", "mail", "tick"]);
}

/// Why order never rests on `ctx.wait`.
#[actix::test]
async fn of_two_waits_the_newer_runs_first() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    addr.send(Order::WaitTwice).await.expect("handled");
    addr.send(Order::Note("mail")).await.expect("handled");
    assert_eq!(journal.read(), ["started", "asked for last", "asked for first", "mail"]);
}

/// Why floors ask downward only.
#[actix::test]
async fn two_actors_that_ask_each_other_alone_wait_until_a_timeout() {
    pause();
    let (one, other) = (subject(&Journal::default()), subject(&Journal::default()));
    one.send(Order::Hold(other.clone())).await.expect("handled");
    other.send(Order::Hold(one.clone())).await.expect("handled");
    let before = Instant::now();
    assert_eq!(one.send(AskPeer).await, Ok(false), "no answer");
    assert_eq!(before.elapsed().as_secs(), 60);
}

/// Why order never rests on `ctx.notify`.
#[actix::test]
async fn what_an_actor_notifies_itself_of_is_overtaken_by_mail_already_queued() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    settle().await;
    addr.do_send(Order::Notify("notified first"));
    addr.do_send(Order::Note("queued second"));
    settle().await;
    assert_eq!(journal.read(), ["started", "queued second", "notified first"]);
}

/// Why ticks are re-armed with `run_later` when their work ended.
#[actix::test]
async fn run_interval_makes_up_missed_ticks_in_a_burst() {
    pause();
    let journal = Journal::default();
    let addr = subject(&journal);
    addr.send(Order::TickAndWait).await.expect("handled");
    sleep(Duration::from_millis(35_001)).await;
    assert_eq!(journal.read(), ["started", "waited", "tick", "tick", "tick"], "three at once");
}

/// Why the lifetime of an actor belongs to its supervisor.
#[actix::test]
async fn an_actor_without_addresses_ends_unless_a_timer_keeps_it() {
    pause();
    let (plain, ticking) = (Journal::default(), Journal::default());
    drop(subject(&plain));
    let addr = subject(&ticking);
    addr.send(Order::Tick).await.expect("handled");
    drop(addr);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(plain.read(), ["started", "stopped"]);
    assert_eq!(ticking.read(), ["started", "tick", "tick"]);
}

/// Why peers hold doors and not addresses.
#[actix::test]
async fn two_actors_that_hold_each_other_never_end() {
    pause();
    let (one, other) = (Journal::default(), Journal::default());
    let (first, second) = (subject(&one), subject(&other));
    first.send(Order::Hold(second.clone())).await.expect("handled");
    second.send(Order::Hold(first.clone())).await.expect("handled");
    drop((first, second));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((one.read(), other.read()), (vec!["started".to_owned()], vec!["started".to_owned()]));
}

/// Why there is one arbiter for all actors, stopped by its owner.
#[actix::test]
async fn dropping_an_arbiter_does_not_stop_it_and_a_stopped_one_still_hands_out_addresses() {
    let arbiter = Arbiter::new();
    let handle = arbiter.handle();
    let journal = Journal::default();
    let noted = journal.clone();
    let addr = Subject::start_in_arbiter(&handle, move |_| Subject { journal: noted, ..Subject::default() });
    drop(arbiter);
    addr.send(Order::Note("still here")).await.expect("the thread lives on");
    assert_eq!(journal.read(), ["started", "still here"]);

    let arbiter = Arbiter::new();
    let handle = arbiter.handle();
    arbiter.stop();
    arbiter.join().expect("no panic");
    let addr = Subject::start_in_arbiter(&handle, |_| Subject::default());
    assert!(addr.send(Order::Note("into the void")).await.is_err());
}

struct Blocking;

impl Actor for Blocking {
    type Context = SyncContext<Self>;
}

impl Handler<Order> for Blocking {
    type Result = ();
    fn handle(&mut self, order: Order, _ctx: &mut Self::Context) {
        assert!(!matches!(order, Order::Panic), "on request");
    }
}

/// Why blocking work goes to `spawn_blocking` inside a service.
#[actix::test]
async fn a_sync_arbiter_never_replaces_a_worker_that_panicked() {
    let pool = SyncArbiter::start(1, || Blocking);
    pool.send(Order::Note("fine")).await.expect("handled");
    assert!(pool.send(Order::Panic).await.is_err());
    let after = timeout(Duration::from_secs(5), pool.send(Order::Note("anybody?"))).await;
    assert!(!matches!(after, Ok(Ok(()))), "the only worker is gone for good");
}

/// Why a handler may compute for half a millisecond at most.
#[actix::test]
async fn all_actors_of_a_system_share_one_thread() {
    struct Where;
    impl Actor for Where {
        type Context = Context<Self>;
    }
    #[derive(Message)]
    #[rtype(result = "std::thread::ThreadId")]
    struct Ask;
    impl Handler<Ask> for Where {
        type Result = MessageResult<Ask>;
        fn handle(&mut self, _ask: Ask, _ctx: &mut Self::Context) -> Self::Result {
            MessageResult(std::thread::current().id())
        }
    }
    let (one, other) = (Where.start().send(Ask).await, Where.start().send(Ask).await);
    assert_eq!(one.expect("answered"), std::thread::current().id());
    assert_eq!(other.expect("answered"), std::thread::current().id());
}

/// Why we stop in order ourselves, and `System::stop` is the last line.
#[test]
fn stopping_the_system_drops_futures_where_they_stand() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (dropped, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (guard, end) = (Guard(dropped.clone()), finished.clone());
    let system = System::new();
    system.block_on(async move {
        actix::spawn(async move {
            let _guard = guard;
            sleep(Duration::from_secs(3600)).await;
            end.store(true, Ordering::SeqCst);
        });
        actix::spawn(async { System::current().stop() });
    });
    system.run().expect("stopped without a code");
    assert_eq!((dropped.load(Ordering::SeqCst), finished.load(Ordering::SeqCst)), (true, false));
}

/// Why a dependency that cannot be seen in `new` does not exist.
#[actix::test]
async fn a_registry_service_starts_by_itself_from_a_default_value() {
    impl ArbiterService for Registered {}
    impl Supervised for Registered {}
    #[derive(Default)]
    struct Registered(u32);
    impl Actor for Registered {
        type Context = Context<Self>;
    }
    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Count;
    impl Handler<Count> for Registered {
        type Result = u32;
        fn handle(&mut self, _count: Count, _ctx: &mut Self::Context) -> u32 {
            self.0 += 1;
            self.0
        }
    }
    assert_eq!(Registered::from_registry().send(Count).await, Ok(1), "nobody started it");
    assert_eq!(Registered::from_registry().send(Count).await, Ok(2), "and it is there for everybody");
}

/// Why tests under paused time use one thread.
#[actix::test]
async fn another_arbiter_keeps_real_time_when_this_one_pauses() {
    pause();
    let arbiter = Arbiter::new();
    let (there, answer) = std::sync::mpsc::channel();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    arbiter.spawn(async move {
        let before = Instant::now();
        there.send(None).expect("the test waits");
        wait.await.expect("the test goes on");
        there.send(Some(before.elapsed())).expect("the test waits");
    });
    assert_eq!(answer.recv().expect("it runs"), None);
    let before = Instant::now();
    sleep(Duration::from_secs(3600)).await;
    go.send(()).expect("it waits");
    let elsewhere = answer.recv().expect("it runs").expect("its time");
    assert!(before.elapsed() >= Duration::from_secs(3600), "an hour passed here");
    assert!(elsewhere < Duration::from_secs(600), "and not there: {elsewhere:?}");
    arbiter.stop();
    arbiter.join().expect("no panic");
}
