//! The actor with recorders for its neighbours, under paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Actor;
use mkube_fakes::{FakeClock, Recorder};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::images::{EnsureTarball, ResolveImage};
use mkube_messages::objects::{
    KindView, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, StoredObject, Verb, WriteObject, Written,
    objects_view,
};
use mkube_messages::request::RequestContext;
use mkube_messages::rollouts::{
    ImagePushed, RedeployFault, RedeployImage, Redeploying, RolloutState, RolloutsReader, rollouts_view,
};
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::metadata;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, RowId};
use mkube_model::neighbours::tarballs::{Tarball, TarballFault};
use mkube_model::patch::merge_patch;
use mkube_model::status::Status;
use mkube_rollouts::{RolloutActor, RolloutParts, Rules};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

fn digest(number: u8) -> String {
    format!("sha256:{number:064x}")
}

fn kind(name: &str) -> KindId {
    KindTable::builtin().named(name).expect("a kind").id()
}

/// Objects as they are stored, and what goes wrong with them.
struct Stored {
    pods: BTreeMap<ObjectKey, (Value, u64)>,
    revision: u64,
    publisher: ObjectsPublisher,
    loaded: bool,
    /// Writes that are refused as busy before one is taken.
    busy: usize,
    /// Patches that were taken, in order.
    patches: Vec<(String, Value)>,
}

impl Stored {
    fn put(&mut self, mut pod: Value) {
        self.revision += 1;
        metadata::of_mut(&mut pod).insert("resourceVersion".into(), json!(self.revision.to_string()));
        let key = ObjectKey::new(metadata::namespace(&pod), metadata::name(&pod));
        self.pods.insert(key, (pod, self.revision));
        self.publish();
    }

    fn publish(&self) {
        let stored = |(key, (pod, revision)): (&ObjectKey, &(Value, u64))| {
            (key.clone(), Arc::new(StoredObject::new(kind("Pod"), key.clone(), pod, *revision)))
        };
        let pods = KindView { objects: self.pods.iter().map(stored).collect(), ..KindView::default() };
        let kinds = [(kind("Pod"), Arc::new(pods))].into_iter().collect();
        self.publisher.publish(ObjectsView { loaded: self.loaded, kinds, ..ObjectsView::default() });
    }

    fn write(&mut self, order: &WriteObject) -> Result<Written, Status> {
        if self.busy > 0 {
            self.busy -= 1;
            return Err(Status::unavailable("not now", 1));
        }
        let Verb::Patch { body, .. } = &order.verb else { panic!("only patches: {:?}", order.verb) };
        let pods = KindTable::builtin();
        let pods = pods.named("Pod").expect("a kind");
        let (pod, revision) = self.pods.get(&order.key).cloned().ok_or(Status::not_found(pods, &order.key.name))?;
        if metadata::resource_version(body) != revision.to_string() {
            return Err(Status::stale(pods, &order.key.name));
        }
        self.patches.push((order.key.name.clone(), body["metadata"]["annotations"].clone()));
        self.put(merge_patch(&pod, body)?);
        let (pod, revision) = &self.pods[&order.key];
        let object = Arc::new(StoredObject::new(order.kind, order.key.clone(), pod, *revision));
        Ok(Written { object, changed: true, created: false, gone: false, warnings: vec![] })
    }
}

/// The actor and everybody around it.
struct Bench {
    stored: Arc<Mutex<Stored>>,
    device: watch::Sender<Arc<DeviceSnapshot>>,
    resolved: Recorder<ResolveImage>,
    fetched: Recorder<EnsureTarball>,
    events: Recorder<RecordEvent>,
    pushed: Door<ImagePushed>,
    redeploy: Door<RedeployImage>,
    view: RolloutsReader,
    /// Keeps the recorder alive.
    _written: Recorder<WriteObject>,
}

type Has = Arc<Mutex<Result<String, TarballFault>>>;
type Fetches = Arc<Mutex<Result<(), TarballFault>>>;

struct Setup {
    has: Has,
    fetches: Fetches,
    loaded: bool,
    complete: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let (has, fetches) = (Arc::new(Mutex::new(Ok(digest(1)))), Arc::new(Mutex::new(Ok(()))));
        Self { has, fetches, loaded: true, complete: true }
    }
}

fn set<T>(cell: &Arc<Mutex<T>>, value: T) {
    *cell.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn get<T: Clone>(cell: &Arc<Mutex<T>>) -> T {
    cell.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Bench {
    fn new(setup: &Setup) -> Self {
        tokio::time::pause();
        let (publisher, objects) = objects_view(KindTable::builtin());
        let (pods, patches) = (BTreeMap::new(), Vec::new());
        let stored = Stored { pods, revision: 1, publisher, loaded: setup.loaded, busy: 0, patches };
        let stored = Arc::new(Mutex::new(stored));
        let (has, fetches) = (setup.has.clone(), setup.fetches.clone());
        let resolved = Recorder::answering_after(Duration::from_millis(50), move |_: &ResolveImage| get(&has));
        let fetched = Recorder::answering_after(Duration::from_millis(50), move |order: &EnsureTarball| {
            let digest = order.request.digest.clone();
            get(&fetches).map(|()| Tarball {
                device_path: "/x.tar".into(),
                digest,
                stale: None,
                bytes: 1,
                pulled: true,
            })
        });
        let events = Recorder::answering(|_: &RecordEvent| ());
        let writer = stored.clone();
        let written = Recorder::answering(move |order: &WriteObject| {
            writer.lock().unwrap_or_else(PoisonError::into_inner).write(order)
        });
        let device = DeviceSnapshot { reachable: true, complete: setup.complete, ..DeviceSnapshot::default() };
        let (device, picture) = watch::channel(Arc::new(device));
        let (publish, view) = rollouts_view();
        let actor = RolloutActor::new(RolloutParts {
            pods: kind("Pod"),
            secrets: kind("Secret"),
            deployments: kind("Deployment"),
            objects,
            device: picture,
            resolve: resolved.door(),
            fetch: fetched.door(),
            write: written.door(),
            event: events.door(),
            publish,
            clock: Arc::new(FakeClock::default()),
            rules: Rules::default(),
        });
        let doorway = Doorway::new("rollouts", 64);
        let address = actor.start();
        doorway.open::<ImagePushed, _>(&address);
        doorway.open::<RedeployImage, _>(&address);
        let (pushed, redeploy) = (doorway.door(), doorway.door());
        Self { stored, device, resolved, fetched, events, pushed, redeploy, view, _written: written }
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pods do what they are told and the device is read, every half second, for so long.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds * 2 {
            sleep(Duration::from_millis(500)).await;
            self.move_pods();
            self.read_device();
        }
    }

    fn read_device(&self) {
        let rows = self.stored().pods.values().map(|(pod, _)| row(metadata::uid(pod))).collect::<Vec<_>>();
        self.device.send_modify(|device| {
            let mut seen = (**device).clone();
            seen.sequence += 1;
            seen.read_at = Some(Instant::now());
            seen.containers = rows.into_iter().map(|row| (row.name.clone(), Arc::new(row))).collect();
            *device = Arc::new(seen);
        });
    }

    fn move_pods(&self) {
        let mut stored = self.stored();
        let pods: Vec<Value> = stored.pods.values().map(|(pod, _)| pod.clone()).collect();
        for mut pod in pods {
            let pins = metadata::annotation(&pod, "vkube.io/image-pin").unwrap_or_default().to_owned();
            let before = pod.clone();
            for pin in pins.split(',').filter(|pin| !pin.is_empty()) {
                let (container, version) = pin.split_once('=').expect("a pin");
                let statuses = pod["status"]["containerStatuses"].as_array_mut().expect("a list");
                let status = statuses.iter_mut().find(|status| status["name"] == container).expect("a container");
                status["imageID"] = json!(version);
            }
            if pod != before {
                stored.put(pod);
            }
        }
    }

    fn push(&self, repository: &str) {
        let (repository, tag) = (repository.to_owned(), "edge".to_owned());
        self.pushed.tell(ImagePushed { repository, tag, digest: None, registry: None }).expect("heard");
    }

    async fn redeploy(&self, image: &str) -> Result<Redeploying, CallError<RedeployFault>> {
        let context = RequestContext::new("test", Duration::from_secs(60));
        self.redeploy.ask(RedeployImage { context, image: image.into() }).await
    }

    /// Names of pods that were pinned, in order.
    fn pinned(&self) -> Vec<String> {
        let stored = self.stored();
        let begun = stored.patches.iter().filter(|(_, notes)| notes["vkube.io/image-rollout"].is_string());
        begun.map(|(name, _)| name.clone()).collect()
    }

    fn note(&self, pod: &str, name: &str) -> String {
        let stored = self.stored();
        let (pod, _) = &stored.pods[&ObjectKey::new("default", pod)];
        metadata::annotation(pod, name).unwrap_or_default().to_owned()
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.events.seen().iter().map(|event| event.reason).collect()
    }

    fn state(&self, image: &str) -> RolloutState {
        let view = self.view.borrow();
        view.images.iter().find(|one| one.image == image).map(|one| one.state.clone()).expect("it is followed")
    }
}

fn row(uid: &str) -> ContainerRow {
    ContainerRow {
        id: RowId(format!("*{uid}")),
        name: uid.to_owned(),
        state: ContainerState::Running,
        ..ContainerRow::default()
    }
}

/// A pod that follows these images and runs that digest of each.
fn pod(name: &str, images: &[&str], runs: Option<u8>) -> Value {
    let names: Vec<String> = (0..images.len()).map(|number| format!("c{number}")).collect();
    let each = || images.iter().zip(&names);
    let containers: Vec<Value> = each().map(|(image, name)| json!({"name": name, "image": image})).collect();
    let statuses: Vec<Value> = each()
        .map(|(image, container)| {
            json!({
                "name": container, "image": image, "ready": true, "restartCount": 0,
                "containerID": format!("routeros://{name}"), "state": {"running": {}},
                "imageID": runs.map(digest).unwrap_or_default(),
            })
        })
        .collect();
    json!({
        "metadata": {
            "namespace": "default", "name": name, "uid": name, "annotations": {"vkube.io/image-policy": "auto"},
        },
        "spec": {"containers": containers}, "status": {"phase": "Running", "containerStatuses": statuses},
    })
}

#[actix::test]
async fn nothing_is_decided_before_the_store_and_the_device_were_read() {
    let setup = Setup { loaded: false, complete: false, ..Setup::default() };
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    set(&setup.has, Ok(digest(2)));
    bench.pass(300).await;
    assert_eq!((bench.resolved.seen().len(), bench.pinned().len()), (0, 0));
    assert_eq!(bench.redeploy("app").await, Err(CallError::Fault(RedeployFault::NotYet)));
    bench.stored().loaded = true;
    bench.stored().publish();
    bench.pass(300).await;
    assert_eq!((bench.resolved.seen().len(), bench.pinned().len()), (0, 0), "the device was not read yet");
    bench.device.send_modify(|device| {
        let mut seen = (**device).clone();
        seen.complete = true;
        *device = Arc::new(seen);
    });
    bench.pass(120).await;
    assert_eq!(bench.pinned(), ["a"]);
}

#[actix::test]
async fn when_nobody_knows_what_runs_a_check_does_nothing_and_a_push_replaces_it() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], None));
    bench.pass(300).await;
    assert!(bench.resolved.seen().len() >= 4);
    assert_eq!(bench.stored().patches, [], "taking over a device restarts nothing");
    bench.push("app");
    bench.pass(30).await;
    assert_eq!(bench.pinned(), ["a"]);
    assert_eq!(bench.note("a", "vkube.io/image-wanted"), "");
    assert_eq!(bench.reasons(), ["ImageUpdated"]);
}

#[actix::test]
async fn two_images_at_most_are_rolled_out_together_and_a_pod_of_both_is_replaced_for_one_at_a_time() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    for (name, images) in [("a", ["x:edge", "y:edge"]), ("b", ["y:edge", "z:edge"]), ("c", ["w:edge", "z:edge"])] {
        bench.stored().put(pod(name, &images, Some(1)));
    }
    bench.pass(70).await;
    set(&setup.has, Ok(digest(2)));
    for image in ["w", "x", "y", "z"] {
        bench.push(image);
    }
    let mut most = 0;
    for _ in 0..240 {
        sleep(Duration::from_millis(500)).await;
        bench.move_pods();
        bench.read_device();
        let tried = ["a", "b", "c"].iter().filter(|pod| !bench.note(pod, "vkube.io/image-rollout").is_empty()).count();
        most = most.max(tried);
    }
    assert_eq!(most, 2);
    assert_eq!(bench.pinned().len(), 6, "{:?}", bench.pinned());
    // One after the other at each pod: a trial ends before the next one begins.
    for pod in ["a", "b", "c"] {
        let stored = bench.stored();
        let marks = stored.patches.iter().filter(|(name, _)| name == pod);
        let tried: Vec<bool> = marks.map(|(_, notes)| notes["vkube.io/image-rollout"].is_string()).collect();
        assert_eq!(tried, [true, false, true, false], "{pod}");
    }
    for image in ["w:edge", "x:edge", "y:edge", "z:edge"] {
        assert_eq!(bench.state(image), RolloutState::Current);
    }
}

#[actix::test]
async fn an_image_that_is_no_good_is_refused_before_any_pod_is_touched() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    bench.stored().put(pod("b", &["app:edge"], Some(1)));
    let bad = TarballFault::Unusable { image: "app:edge".into(), why: "layer 1 is truncated".into() };
    set(&setup.fetches, Err(bad));
    set(&setup.has, Ok(digest(2)));
    bench.pass(600).await;
    assert_eq!(bench.pinned(), [""; 0]);
    assert_eq!(bench.fetched.seen().len(), 1, "it would end the same again");
    assert_eq!(bench.note("a", "vkube.io/image-refused"), format!("app:edge@{}", digest(2)));
    assert_eq!(bench.reasons(), ["RolloutFailed"]);
    assert!(bench.events.seen()[0].message.contains("layer 1 is truncated"));
    assert_eq!(bench.state("app:edge"), RolloutState::Refused);
}

#[actix::test]
async fn a_registry_that_breaks_off_is_asked_for_the_archive_again_and_nobody_is_touched_meanwhile() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    let away = TarballFault::Unreachable { image: "app:edge".into(), registry: "r".into(), why: "cut".into() };
    set(&setup.fetches, Err(away));
    set(&setup.has, Ok(digest(2)));
    bench.pass(300).await;
    assert_eq!((bench.pinned().len(), bench.note("a", "vkube.io/image-refused").len()), (0, 0));
    let tries = bench.fetched.seen().len();
    assert!((3..10).contains(&tries), "with growing pauses: {tries}");
    set(&setup.fetches, Ok(()));
    bench.pass(330).await;
    assert_eq!(bench.pinned(), ["a"]);
    let request = bench.fetched.seen().pop().expect("some").request;
    assert_eq!(request.digest, Some(digest(2)), "the very digest, whatever the tag means by then");
}

#[actix::test]
async fn a_write_that_is_not_taken_is_tried_again_and_a_changed_pod_is_looked_at_anew() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    bench.pass(70).await;
    bench.stored().busy = 5;
    set(&setup.has, Ok(digest(2)));
    bench.push("app");
    bench.pass(40).await;
    assert_eq!(bench.pinned(), ["a"]);
    assert_eq!(bench.reasons(), ["ImageUpdated"]);
}

#[actix::test]
async fn what_is_being_done_is_not_begun_again_by_a_second_request() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    bench.stored().put(pod("b", &["app:edge"], Some(1)));
    bench.pass(70).await;
    set(&setup.has, Ok(digest(2)));
    let told = bench.redeploy("app").await.expect("it is followed");
    assert_eq!(told.images[0].queued.len(), 2);
    sleep(Duration::from_millis(200)).await;
    let again = bench.redeploy("app").await.expect_err("it is being done");
    assert!(matches!(again, CallError::Fault(RedeployFault::UnderWay { .. })), "{again}");
    bench.pass(60).await;
    assert_eq!(bench.pinned(), ["a", "b"]);
}

#[actix::test]
async fn a_flood_of_notices_is_a_question_a_second_and_no_two_at_once() {
    let setup = Setup::default();
    let bench = Bench::new(&setup);
    bench.stored().put(pod("a", &["app:edge"], Some(1)));
    bench.pass(2).await;
    let before = bench.resolved.seen().len();
    for _ in 0..100 {
        bench.push("app");
        sleep(Duration::from_millis(100)).await;
    }
    let asked = bench.resolved.seen().len() - before;
    assert!((9..=12).contains(&asked), "{asked} in ten seconds");
}
