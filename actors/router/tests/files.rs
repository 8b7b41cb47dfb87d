//! Orders about files: whatever reply is lost, the file is there once, or gone.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::{Cue, FakeClock, FakeRouter};
use mkube_messages::door::{CallError, Doorway};
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::router::{DescribeFile, DescribeRoom, FetchFile, PlaceFile, RemoveFile, RenameFile};
use mkube_model::neighbours::router::{Outcome, RouterFault, SMALL_FILE};
use mkube_model::secret::Secret;
use mkube_router::{RouterActor, RouterParts, answers, device_picture};
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};

const FINAL: &str = "/disk1/cache/x.tar";
const PART: &str = "/disk1/cache/x.tar.part";

/// The actor under a supervisor, over a device that can download 5000 bytes.
struct Bench {
    device: FakeRouter,
    doors: Doorway,
    _tree: Tree,
}

fn within() -> RequestContext {
    RequestContext::new("test", Duration::from_secs(90))
}

fn fetch(in_background: bool) -> FetchFile {
    FetchFile { context: within(), url: Secret::new("http://10.0.0.2/good"), path: PART.into(), in_background }
}

impl Bench {
    async fn new() -> Self {
        let device = FakeRouter::new("7.23.2");
        device.set_web(|url| url.ends_with("/good").then_some(5000));
        let (publish, mut picture) = device_picture();
        let parts = RouterParts {
            router: device.router(),
            picture: publish,
            clock: Arc::new(FakeClock::default()),
            tick: Duration::from_secs(10),
        };
        let doors = Doorway::new("router", 32);
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
        let tree = mkube_supervision::start(root, std::sync::Arc::new(FakeClock::default()));
        let read = picture.wait_for(|picture| picture.complete);
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("read in time").expect("alive");
        Self { device, doors, _tree: tree }
    }

    async fn ask<M: Request>(&self, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        let door: mkube_messages::door::Door<M> = self.doors.door();
        door.ask(message).await
    }

    async fn size(&self, path: &str) -> Option<u64> {
        self.ask(DescribeFile { context: within(), path: path.into() }).await.ok().flatten()
    }

    async fn rename(&self) -> Result<(), CallError<RouterFault>> {
        self.ask(RenameFile { context: within(), from: PART.into(), to: FINAL.into() }).await
    }
}

#[actix_rt::test]
async fn a_file_is_fetched_named_described_and_removed() {
    tokio::time::pause();
    let bench = Bench::new().await;
    assert_eq!(bench.size(PART).await, None);
    bench.ask(fetch(false)).await.expect("fetched");
    assert_eq!(bench.size(PART).await, Some(5000));
    bench.rename().await.expect("named");
    assert_eq!((bench.size(PART).await, bench.size(FINAL).await), (None, Some(5000)));
    // Named again, as after an answer that got lost.
    bench.rename().await.expect("it has the name");
    bench.ask(fetch(true)).await.expect("begun");
    bench.rename().await.expect("takes the place of the older one");
    let room = bench.ask(DescribeRoom { context: within(), path: FINAL.into() }).await.expect("known");
    assert!(room.is_some_and(|free| free > 0));
    for _ in 0..2 {
        bench.ask(RemoveFile { context: within(), path: FINAL.into() }).await.expect("gone");
        assert_eq!(bench.size(FINAL).await, None);
    }
    assert!(matches!(bench.rename().await, Err(CallError::Fault(RouterFault::NotFound { .. }))));
}

#[actix_rt::test]
async fn a_lost_answer_leaves_a_download_open_and_never_repeats_it() {
    tokio::time::pause();
    let bench = Bench::new().await;
    bench.device.cue("POST /tool/fetch", 1, Cue::LoseReply);
    let Err(CallError::Fault(fault)) = bench.ask(fetch(false)).await else { panic!("it was not answered") };
    assert_eq!(fault.outcome(), Outcome::Unknown);
    assert_eq!(bench.device.count("POST /tool/fetch"), 1);
    assert_eq!(bench.size(PART).await, Some(5000));
}

#[actix_rt::test]
async fn lost_answers_and_requests_change_nothing_of_how_it_ends() {
    tokio::time::pause();
    for operation in ["POST /file/set", "POST /file/remove", "POST /file/add"] {
        for cue in [Cue::LoseReply, Cue::LoseRequest] {
            let bench = Bench::new().await;
            bench.ask(fetch(false)).await.expect("fetched");
            bench.device.cue(operation, 1, cue.clone());
            bench.rename().await.unwrap_or_else(|error| panic!("{operation} {cue:?}: {error}"));
            assert_eq!((bench.size(PART).await, bench.size(FINAL).await), (None, Some(5000)), "{operation} {cue:?}");
            let place = |text: &str| PlaceFile { context: within(), path: "/disk1/n".into(), contents: text.into() };
            for text in ["one", "three"] {
                bench.ask(place(text)).await.unwrap_or_else(|error| panic!("{operation} {cue:?}: {error}"));
                assert_eq!(bench.size("/disk1/n").await, Some(text.len() as u64), "{operation} {cue:?}");
            }
            let remove = RemoveFile { context: within(), path: FINAL.into() };
            bench.ask(remove).await.unwrap_or_else(|error| panic!("{operation} {cue:?}: {error}"));
            assert_eq!(bench.size(FINAL).await, None, "{operation} {cue:?}");
        }
    }
}

#[actix_rt::test]
async fn what_does_not_fit_into_a_small_file_is_not_sent() {
    tokio::time::pause();
    let bench = Bench::new().await;
    let contents = "x".repeat(SMALL_FILE + 1);
    let refused = bench.ask(PlaceFile { context: within(), path: "/disk1/n".into(), contents }).await;
    assert!(matches!(refused, Err(CallError::Fault(RouterFault::Refused { .. }))), "{refused:?}");
    assert_eq!(bench.device.count("POST /file/add"), 0);
}
