//! RouterActor against the host's own state machine, under paused time.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::Verb as DeviceVerb;
use mkube_fakes::{Cue, FakeClock, FakeRouter, Timings};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::router::{
    DeviceReader, DeviceSnapshot, EnsureBridge, EnsureContainer, EnsureEnvs, EnsureMounts, EnsureVeth, RemoveContainer,
    RemoveVeth, StartContainer, StopContainer,
};
use mkube_model::neighbours::router::{ContainerState, NewContainer, NewMount, NewVeth, RouterFault};
use mkube_router::{RouterActor, RouterParts, answers, device_picture};
use mkube_supervision::{
    Child, ChildSpec, CrashHow, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const NAME: &str = "default_web_web";
const VETH: &str = "veth_default_web_0";

/// The actor under a supervisor, over a device.
struct Bench {
    device: FakeRouter,
    doors: Doorway,
    picture: DeviceReader,
    tree: Tree,
}

impl Bench {
    fn over(device: FakeRouter) -> Self {
        let doors = Doorway::new("router", 64);
        let (publish, picture) = device_picture();
        let parts = RouterParts {
            router: device.router(),
            picture: publish,
            clock: Arc::new(FakeClock::default()),
            tick: Duration::from_secs(10),
        };
        let spec =
            ChildSpec::actor("router", RestartRule::Permanent, doors.clone(), move |_| RouterActor::new(parts.clone()));
        let root = SupervisorSpec {
            name: "mkube".into(),
            strategy: Strategy::OneForOne,
            intensity: Intensity { restarts: 10, within: Duration::from_secs(60) },
            on_limit: OnLimit::Escalate,
            pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
            children: vec![Child::Actor(answers(spec).done())],
        };
        let tree = mkube_supervision::start(root, Arc::new(FakeClock::default()));
        Self { device, doors, picture, tree }
    }

    async fn new() -> Self {
        tokio::time::pause();
        let bench = Self::over(a_device());
        bench.read().await;
        bench
    }

    /// Waits until everything was read.
    async fn read(&self) {
        let mut picture = self.picture.clone();
        let complete = picture.wait_for(|picture| picture.complete);
        tokio::time::timeout(Duration::from_secs(30), complete).await.expect("read in time").expect("alive");
    }

    async fn ask<M: Request>(&self, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        let door: Door<M> = self.doors.door();
        door.ask(message).await
    }

    fn state(&self) -> Option<ContainerState> {
        self.picture.borrow().containers.get(NAME).map(|row| row.state)
    }

    /// Waits until the picture shows the container in this state.
    async fn until(&self, state: Option<ContainerState>) {
        let mut picture = self.picture.clone();
        let shows = picture.wait_for(|picture| picture.containers.get(NAME).map(|row| row.state) == state);
        tokio::time::timeout(Duration::from_secs(60), shows).await.expect("shown in time").expect("alive");
    }
}

fn a_device() -> FakeRouter {
    let device = FakeRouter::new("7.23.2");
    device.add_file("/cache/web.tar");
    device
}

fn within() -> RequestContext {
    RequestContext::new("test", Duration::from_secs(90))
}

fn veth(name: &str, address: &str) -> EnsureVeth {
    let veth = NewVeth {
        name: name.into(),
        address: address.parse().expect("a literal"),
        gateway: Some("10.90.0.1".parse().expect("a literal")),
        comment: "mkube default/web".into(),
    };
    EnsureVeth { context: within(), veth, bridge: "bridge-gt".into() }
}

fn bridge() -> EnsureBridge {
    let address = "10.90.0.1/24".parse().expect("a literal");
    EnsureBridge { context: within(), bridge: "bridge-gt".into(), address }
}

fn mounts(sources: &[&str]) -> EnsureMounts {
    let mount =
        |src: &&str| NewMount { list: NAME.into(), src: (*src).into(), dst: format!("/in{src}"), read_only: false };
    EnsureMounts { context: within(), list: NAME.into(), mounts: sources.iter().map(mount).collect() }
}

fn envs(pairs: &[(&str, &str)]) -> EnsureEnvs {
    let envs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    EnsureEnvs { context: within(), list: NAME.into(), envs }
}

fn container(name: &str, veth: &str) -> EnsureContainer {
    let container = NewContainer {
        name: name.into(),
        file: "/cache/web.tar".into(),
        interface: veth.into(),
        root_dir: format!("/images/{name}"),
        comment: "mkube default/web 0123456789abcdef".into(),
        ..NewContainer::default()
    };
    EnsureContainer { context: within(), container }
}

/// Everything one container of one pod goes through, each order repeated while it fails, as its pod would.
async fn whole_life(bench: &Bench, check: &dyn Fn(&FakeRouter)) {
    macro_rules! done {
        ($order:expr) => {{
            let mut tries = 0;
            while let Err(error) = bench.ask($order).await {
                check(&bench.device);
                tries += 1;
                assert!(tries < 6, "{error}");
                sleep(Duration::from_secs(1)).await;
            }
            check(&bench.device);
        }};
    }
    done!(bridge());
    done!(veth(VETH, "10.90.0.2/24"));
    done!(mounts(&["/a", "/b"]));
    done!(envs(&[("A", "1"), ("B", "2")]));
    done!(container(NAME, VETH));
    bench.until(Some(ContainerState::Stopped)).await;
    done!(StartContainer { context: within(), name: NAME.into() });
    bench.until(Some(ContainerState::Running)).await;
    done!(StopContainer { context: within(), name: NAME.into() });
    bench.until(Some(ContainerState::Stopped)).await;
    done!(RemoveContainer { context: within(), name: NAME.into() });
    bench.until(None).await;
    done!(RemoveVeth { context: within(), name: VETH.into(), owner: "mkube default/web".into() });
    done!(mounts(&[]));
    done!(envs(&[]));
}

/// No row twice.
fn nothing_twice(device: &FakeRouter) {
    for (menu, fields) in [
        ("container", vec!["name"]),
        ("interface/veth", vec!["name"]),
        ("interface/bridge", vec!["name"]),
        ("interface/bridge/port", vec!["interface"]),
        ("ip/address", vec!["address"]),
        ("container/mounts", vec!["list", "dst"]),
        ("container/envs", vec!["list", "key"]),
    ] {
        let key = |row: &Value| fields.iter().map(|field| row[*field].to_string()).collect::<String>();
        let mut keys: Vec<String> = device.rows(menu).iter().map(key).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all, "{menu} holds something twice: {:?}", device.rows(menu));
    }
}

fn nothing_left(device: &FakeRouter) {
    for menu in ["container", "interface/veth", "interface/bridge/port", "container/mounts", "container/envs"] {
        assert_eq!(device.rows(menu), Vec::<Value>::new(), "{menu}");
    }
}

const MUTATIONS: [&str; 14] = [
    "POST /interface/bridge/add",
    "POST /ip/address/add",
    "POST /interface/veth/add",
    "POST /interface/bridge/port/add",
    "POST /container/mounts/add",
    "POST /container/envs/add",
    "POST /container/add",
    "POST /container/start",
    "POST /container/stop",
    "POST /container/remove",
    "POST /interface/bridge/port/remove",
    "POST /interface/veth/remove",
    "POST /container/mounts/remove",
    "POST /container/envs/remove",
];

#[actix::test]
async fn a_reply_lost_after_success_never_makes_a_second_row_and_never_leaves_one_behind() {
    tokio::time::pause();
    for operation in MUTATIONS {
        for cue in [Cue::LoseReply, Cue::LoseRequest, Cue::Late(Duration::from_secs(75))] {
            for nth in [1, 2] {
                let bench = Bench::over(a_device());
                bench.read().await;
                bench.device.cue(operation, nth, cue.clone());
                whole_life(&bench, &nothing_twice).await;
                nothing_left(&bench.device);
                bench.tree.stop(Duration::from_secs(1)).await;
            }
        }
    }
}

#[actix::test]
async fn a_lost_reply_whose_look_fails_too_is_looked_into_before_anything_is_repeated() {
    tokio::time::pause();
    for operation in MUTATIONS {
        let bench = Bench::over(a_device());
        bench.read().await;
        bench.device.cue(operation, 1, Cue::LoseReplyAndGoAway(Duration::from_millis(900)));
        whole_life(&bench, &nothing_twice).await;
        nothing_left(&bench.device);
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}

/// This device refuses a second row of the same name; not every release is known to.
#[actix::test]
async fn what_was_added_is_never_added_again_when_the_reply_was_lost() {
    tokio::time::pause();
    let adds = || MUTATIONS.into_iter().filter(|operation| operation.ends_with("/add"));
    let life = async |cue: Option<(&str, Cue)>| {
        let bench = Bench::over(a_device());
        bench.read().await;
        if let Some((operation, cue)) = cue {
            bench.device.cue(operation, 1, cue);
        }
        whole_life(&bench, &nothing_twice).await;
        bench.tree.stop(Duration::from_secs(1)).await;
        adds().map(|operation| (operation, bench.device.count(operation))).collect::<Vec<_>>()
    };
    let undisturbed = life(None).await;
    for operation in adds() {
        for cue in [Cue::LoseReply, Cue::LoseReplyAndGoAway(Duration::from_millis(900))] {
            assert_eq!(life(Some((operation, cue.clone()))).await, undisturbed, "{operation}: {cue:?}");
        }
    }
}

#[actix::test]
async fn steady_state_costs_one_poll_three_calls_a_tick_and_two_more_at_every_sixth_however_many_pods() {
    tokio::time::pause();
    for pods in [1, 100, 1000] {
        let device = a_device();
        for number in 0..pods {
            let veth = format!("veth_default_p{number}_0");
            device.operate(
                DeviceVerb::Put,
                "interface/veth",
                json!({"name": veth, "address": format!("10.90.{}.{}/16", number / 250, number % 250 + 2)}),
            );
            let row = json!({"name": format!("default_p{number}_c"), "file": "/cache/web.tar", "interface": veth,
                "root-dir": format!("/images/default_p{number}_c")});
            device.operate(DeviceVerb::Put, "container", row);
        }
        sleep(Duration::from_secs(1)).await;
        let bench = Bench::over(device);
        bench.read().await;
        assert_eq!(bench.picture.borrow().containers.len(), pods);
        sleep(Duration::from_secs(5)).await;
        let mut lists = 0;
        for _tick in 0..12 {
            bench.device.forget_calls();
            sleep(Duration::from_secs(10)).await;
            let calls: Vec<String> = bench.device.calls().into_iter().map(|call| call.operation).collect();
            let of_lists = ["GET /container/mounts", "GET /container/envs"].map(|one| bench.device.count(one));
            assert_eq!(of_lists[0], of_lists[1], "{pods} pods: {calls:?}");
            lists += of_lists[0];
            assert_eq!(calls.len() - 2 * of_lists[0], 3, "{pods} pods: {calls:?}");
            assert_eq!(bench.device.count("GET /container"), 1, "{pods} pods: {calls:?}");
            assert_eq!(bench.device.count("GET /interface/veth"), 1, "{pods} pods: {calls:?}");
        }
        assert_eq!(lists, 2, "lists are read once a minute");
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}

#[actix::test]
async fn lists_are_read_slowly_without_values_and_a_fault_of_theirs_is_no_fault_of_the_reading() {
    let bench = Bench::new().await;
    let made = |menu: &str, body| drop(bench.device.operate(DeviceVerb::Put, menu, body));
    made("container/mounts", json!({"list": "a_b_c", "src": "/volumes/x", "dst": "/x"}));
    made("container/envs", json!({"list": "a_b_c", "key": "PASSWORD", "value": "between us"}));
    bench.device.cue("GET /container/envs", 1, Cue::Unreachable);
    assert_eq!(bench.picture.borrow().lists, None, "nobody waits for them at the start");
    sleep(Duration::from_secs(65)).await;
    assert!(bench.picture.borrow().reachable && bench.picture.borrow().lists.is_none());
    sleep(Duration::from_secs(60)).await;
    let lists = bench.picture.borrow().lists.clone().expect("they were read");
    assert_eq!(lists.mounts["a_b_c"][0].dst, "/x");
    assert_eq!(lists.envs["a_b_c"], ["PASSWORD"]);
    assert!(!format!("{lists:?}").contains("between us"));
    let read_at = bench.picture.borrow().read_at.expect("read");
    sleep(Duration::from_secs(25)).await;
    let picture = bench.picture.borrow().clone();
    assert!(picture.read_at > Some(read_at), "the rest goes on at its own pace");
    assert_eq!(picture.lists.as_deref(), Some(&*lists), "and they keep their own time");
}

#[actix::test]
async fn while_a_row_moves_the_looks_come_every_50_ms_to_1_s_one_in_flight() {
    let bench = Bench::new().await;
    bench.device.set_timings(Timings { extract: Duration::from_secs(15), ..Timings::default() });
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.device.forget_calls();
    bench.until(Some(ContainerState::Stopped)).await;
    let calls = bench.device.calls();
    let looks: Vec<Instant> =
        calls.iter().filter(|call| call.operation == "GET /container").map(|one| one.at).collect();
    let pauses: Vec<u128> = looks.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis()).collect();
    assert!((50..60).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| (50..=1010).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().filter(|pause| **pause >= 990).count() >= 5, "they grow to a second: {pauses:?}");
    assert!(looks.len() < 30, "{} looks in 15 s", looks.len());
    assert_eq!(bench.device.most_in_flight(), 1);
}

/// A device with so many containers, read once.
async fn with_many(pods: usize) -> Bench {
    tokio::time::pause();
    let device = a_device();
    for number in 0..pods {
        let veth = format!("veth_default_p{number}_0");
        let address = format!("10.90.{}.{}/16", number / 250 + 1, number % 250 + 2);
        device.operate(DeviceVerb::Put, "interface/veth", json!({"name": veth, "address": address}));
        let row = json!({"name": format!("default_p{number}_c"), "file": "/cache/web.tar", "interface": veth,
            "root-dir": format!("/images/default_p{number}_c")});
        device.operate(DeviceVerb::Put, "container", row);
    }
    sleep(Duration::from_secs(1)).await;
    let bench = Bench::over(device);
    bench.read().await;
    sleep(Duration::from_secs(5)).await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/16")).await.expect("made");
    bench
}

/// Readings of single containers so far.
fn single_rows(bench: &Bench) -> usize {
    bench.device.calls().iter().filter(|call| call.operation.starts_with("GET /container/*")).count()
}

#[actix::test]
async fn of_many_containers_those_are_read_that_move_and_once_a_second_all() {
    let bench = with_many(100).await;
    bench.device.set_timings(Timings { extract: Duration::from_secs(8), ..Timings::default() });
    bench.ask(container(NAME, VETH)).await.expect("made");
    sleep(Duration::from_millis(1500)).await;
    bench.device.forget_calls();
    let mut picture = bench.picture.clone();
    let first = picture.borrow().read_at;
    picture.wait_for(|picture| picture.read_at != first).await.expect("alive");
    let read_at = picture.borrow().read_at;
    // Somebody else's row changes meanwhile: a look at the one that moves says nothing of it, and does not pretend to.
    bench.ask(StartContainer { context: within(), name: "default_p7_c".into() }).await.expect("accepted");
    bench.device.forget_calls();
    let started = |picture: &DeviceSnapshot| picture.containers["default_p7_c"].state == ContainerState::Running;
    picture.wait_for(|picture| started(picture)).await.expect("alive");
    assert_eq!(bench.device.count("GET /container"), 0, "{:?}", bench.device.calls());
    assert!(single_rows(&bench) > 0, "{:?}", bench.device.calls());
    assert_eq!(picture.borrow().read_at, read_at, "not everything was seen since");
    bench.until(Some(ContainerState::Stopped)).await;
    let took = read_at.expect("read").elapsed();
    let lists = u128::try_from(bench.device.count("GET /container")).expect("few");
    assert!(lists <= took.as_millis() / 1000 + 1, "{lists} lists in {took:?}");
    assert!(lists + 2 >= took.as_millis() / 2000, "{lists} lists in {took:?}");
}

#[actix::test]
async fn a_container_that_is_gone_and_was_not_going_is_looked_for_in_a_list_of_all() {
    let bench = with_many(100).await;
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    let mut picture = bench.picture.clone();
    let read_at = picture.borrow().read_at;
    picture.wait_for(|picture| picture.read_at != read_at).await.expect("alive");
    let id = picture.borrow().containers[NAME].id.clone();
    bench.device.operate(DeviceVerb::Delete, &format!("container/{id}"), Value::Null);
    bench.device.forget_calls();
    bench.until(None).await;
    assert!(bench.device.count(&format!("GET /container/{id}")) > 0, "{:?}", bench.device.calls());
    assert!(bench.device.count("GET /container") > 0, "one row that is missing is not believed");
}

#[actix::test]
async fn many_containers_live_as_few_do() {
    let bench = with_many(100).await;
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    bench.ask(StartContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(Some(ContainerState::Running)).await;
    bench.ask(StopContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(Some(ContainerState::Stopped)).await;
    bench.ask(RemoveContainer { context: within(), name: NAME.into() }).await.expect("accepted");
    bench.until(None).await;
    assert!(single_rows(&bench) > 4, "{:?}", bench.device.calls());
    assert_eq!(bench.picture.borrow().containers.len(), 100);
}

#[actix::test]
async fn a_stream_of_commands_does_not_put_the_next_look_off() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    for number in 0..30 {
        let name = format!("veth_default_p{number}_0");
        bench.ask(veth(&name, &format!("10.90.0.{}/24", number + 2))).await.expect("made");
    }
    bench.device.forget_calls();
    let began = Instant::now();
    for number in 0..30 {
        let (name, veth) = (format!("default_p{number}_c"), format!("veth_default_p{number}_0"));
        bench.ask(container(&name, &veth)).await.expect("made");
        sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    let looks = bench.device.count("GET /container");
    assert!(looks >= 6, "{looks} looks in {took:?}");
}

#[actix::test]
async fn a_list_that_is_suddenly_empty_is_believed_only_at_the_third_time() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    sleep(Duration::from_secs(15)).await;
    [1, 2].into_iter().for_each(|nth| bench.device.cue("GET /container", nth, Cue::EmptyList));
    let mut picture = bench.picture.clone();
    let until = Instant::now() + Duration::from_secs(30);
    while tokio::time::timeout_at(until, picture.changed()).await.is_ok() {
        assert!(picture.borrow_and_update().containers.contains_key(NAME));
    }
    assert!(bench.device.count("GET /container") > 3 && bench.picture.borrow().reachable);
    bench.device.remove_container_behind(NAME);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bench.state(), None, "gone for good is seen within a tick and a bit");
}

#[actix::test]
async fn a_strange_reading_is_believed_only_right_after_two_that_were_strange_in_the_same_way() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    let empty = |operation, nth| (operation, nth, Cue::EmptyList);
    let containers = |nth| empty("GET /container", nth);
    let otherwise = [containers(1), containers(2), empty("GET /interface/veth", 3)];
    let failed_between = [containers(1), containers(2), ("GET /container", 3, Cue::Unreachable), containers(4)];
    for cues in [otherwise.as_slice(), failed_between.as_slice()] {
        sleep(Duration::from_secs(15)).await;
        cues.iter().for_each(|(operation, nth, cue)| bench.device.cue(operation, *nth, cue.clone()));
        let mut picture = bench.picture.clone();
        let until = Instant::now() + Duration::from_secs(30);
        while tokio::time::timeout_at(until, picture.changed()).await.is_ok() {
            let picture = picture.borrow_and_update();
            assert!(picture.containers.contains_key(NAME) && picture.veths.contains_key(VETH), "{cues:?}");
        }
        assert!(bench.picture.borrow().reachable);
    }
}

#[actix::test]
async fn half_a_reading_is_never_published() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.ask(container(NAME, VETH)).await.expect("made");
    bench.until(Some(ContainerState::Stopped)).await;
    sleep(Duration::from_secs(15)).await;
    // The containers can be read and show something new; the interfaces cannot.
    bench.device.remove_container_behind(NAME);
    bench.device.cue_every("GET /interface/veth", Cue::Unreachable);
    sleep(Duration::from_secs(20)).await;
    let picture = bench.picture.borrow().clone();
    assert!(!picture.reachable && picture.fault.is_some());
    assert!(picture.containers.contains_key(NAME), "what was read before the failure is not shown");
    bench.device.clear_cues();
    bench.until(None).await;
    assert!(bench.picture.borrow().reachable);
}

#[actix::test]
async fn before_everything_was_read_once_the_picture_is_not_complete() {
    tokio::time::pause();
    for list in ["GET /container", "GET /interface/veth", "GET /interface/bridge/port", "GET /system/resource"] {
        let device = a_device();
        device.cue_every(list, Cue::Unreachable);
        let bench = Bench::over(device);
        sleep(Duration::from_secs(30)).await;
        assert!(!bench.picture.borrow().complete, "{list}");
        bench.device.clear_cues();
        bench.read().await;
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}

#[actix::test]
async fn a_device_that_goes_away_keeps_its_picture_and_is_seen_again_when_it_is_back() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    sleep(Duration::from_secs(12)).await;
    bench.device.set_away(true);
    sleep(Duration::from_secs(60)).await;
    let picture = bench.picture.borrow().clone();
    assert!(!picture.reachable && picture.complete && picture.veths.contains_key(VETH), "{picture:?}");
    assert!(picture.fault.as_ref().is_some_and(|fault| fault.contains("cannot be reached")), "{:?}", picture.fault);
    let refused = bench.ask(veth("veth_default_other_0", "10.90.0.3/24")).await;
    assert!(matches!(refused, Err(CallError::Fault(RouterFault::Unreachable { .. }))), "{refused:?}");
    bench.device.set_away(false);
    sleep(Duration::from_secs(11)).await;
    assert!(bench.picture.borrow().reachable);
}

#[actix::test]
async fn an_interface_of_somebody_else_is_neither_changed_nor_removed() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    let theirs = json!({"name": VETH, "address": "192.168.7.7/24", "comment": "camera, do not touch"});
    bench.device.operate(DeviceVerb::Put, "interface/veth", theirs);
    sleep(Duration::from_secs(11)).await;
    let before = bench.device.state();
    let refused = bench.ask(veth(VETH, "10.90.0.2/24")).await;
    assert!(matches!(&refused, Err(CallError::Fault(RouterFault::AlreadyExists { .. }))), "{refused:?}");
    assert!(refused.is_err_and(|error| error.to_string().contains("camera, do not touch")));
    let order = RemoveVeth { context: within(), name: VETH.into(), owner: "mkube default/web".into() };
    let refused = bench.ask(order).await;
    assert!(matches!(refused, Err(CallError::Fault(RouterFault::AlreadyExists { .. }))), "{refused:?}");
    assert_eq!(bench.device.state(), before);
}

#[actix::test]
async fn an_interface_that_was_not_listed_is_removed_all_the_same() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.device.cue_every("GET /interface/veth", Cue::EmptyList);
    // Long enough for an empty list to be believed.
    sleep(Duration::from_secs(21)).await;
    assert!(bench.picture.borrow().veths.is_empty());
    bench.device.clear_cues();
    let order = RemoveVeth { context: within(), name: VETH.into(), owner: "mkube default/web".into() };
    bench.ask(order).await.expect("removed");
    assert_eq!(bench.device.row("interface/veth", VETH), None);
    assert_eq!(bench.device.rows("interface/bridge/port"), Vec::<Value>::new());
}

#[actix::test]
async fn an_interface_without_a_comment_is_adopted_by_its_name() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": VETH, "address": "10.90.0.9/24"}));
    sleep(Duration::from_secs(11)).await;
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("adopted and changed");
    let row = bench.device.row("interface/veth", VETH).expect("one row");
    assert_eq!(row["address"], "10.90.0.2/24");
}

#[actix::test]
async fn an_address_another_interface_has_is_not_given_to_a_second_one() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth("veth_default_first_0", "10.90.0.2/24")).await.expect("made");
    let refused = bench.ask(veth(VETH, "10.90.0.2/24")).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("veth_default_first_0")));
    assert_eq!(bench.device.row("interface/veth", VETH), None);
}

#[actix::test]
async fn a_lost_interface_comes_back_with_a_live_port_and_leaves_no_dead_one() {
    let bench = Bench::new().await;
    bench.ask(bridge()).await.expect("made");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made");
    bench.device.lose_veth(VETH);
    sleep(Duration::from_secs(25)).await;
    let dead = bench.device.rows("interface/bridge/port");
    assert!(dead[0]["interface"].as_str().is_some_and(|name| name.starts_with('*')), "{dead:?}");
    bench.ask(veth(VETH, "10.90.0.2/24")).await.expect("made again");
    let ports = bench.device.rows("interface/bridge/port");
    assert_eq!(ports.len(), 1, "{ports:?}");
    assert_ne!(ports[0][".id"], dead[0][".id"], "the dead port is gone");
    assert_eq!(ports[0]["interface"], VETH);
}

#[actix::test]
async fn a_crash_in_the_middle_of_an_order_loses_no_picture_and_makes_nothing_twice() {
    tokio::time::pause();
    for operation in MUTATIONS {
        let bench = Bench::over(a_device());
        bench.read().await;
        bench.device.cue(operation, 1, Cue::Late(Duration::from_millis(500)));
        let (tree, device) = (bench.tree.clone(), bench.device.clone());
        let crashing = actix_rt::spawn(async move {
            while device.count(operation) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            sleep(Duration::from_millis(20)).await;
            tree.crash("mkube/router", CrashHow::Panic).await.expect("running");
        });
        whole_life(&bench, &nothing_twice).await;
        crashing.await.expect("crashed");
        nothing_left(&bench.device);
        let status = bench.tree.status();
        assert_eq!(status.find("mkube/router").map(|node| node.restarts), Some(1), "{operation}");
        bench.tree.stop(Duration::from_secs(1)).await;
    }
}
