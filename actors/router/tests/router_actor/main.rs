//! RouterActor against the host's own state machine, under paused time.

mod interfaces;
mod readings;

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
