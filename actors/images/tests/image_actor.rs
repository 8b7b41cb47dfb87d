//! ImageActor over a fake registry and cache, under paused time.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use mkube_fakes::{FakeRouter, FakeTarballs};
use mkube_images::{Delivery, ImageActor, ImageParts};
use mkube_messages::door::{CallError, Door, Doorway, NotAnswered};
use mkube_messages::images::{EnsureTarball, ImagesReader, ResolveImage, images_view};
use mkube_messages::objects::{ObjectsPublisher, ObjectsView, objects_view};
use mkube_messages::request::RequestContext;
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::neighbours::tarballs::{ImageRequest, PullPhase, PullPolicy, Tarball, TarballFault};
use tokio::time::{sleep, timeout};

const PODS: KindId = KindId { group: "", plural: "pods" };
/// Pause between two collections.
const INTERVAL: Duration = Duration::from_secs(600);

/// An actor and what is around it.
struct Images {
    source: Arc<FakeTarballs>,
    view: ImagesReader,
    objects: ObjectsPublisher,
    device: watch::Sender<Arc<DeviceSnapshot>>,
    ensure: Door<EnsureTarball>,
    resolve: Door<ResolveImage>,
}

fn request(image: &str, policy: PullPolicy) -> ImageRequest {
    ImageRequest { image: image.into(), digest: None, policy, credentials: vec![] }
}

impl Images {
    fn start() -> Self {
        tokio::time::pause();
        let source = Arc::new(FakeTarballs::beside(&FakeRouter::new("7.23.2")));
        let (publisher, view) = images_view();
        let (objects, reader) = objects_view(KindTable::builtin());
        let (device, picture) = watch::channel(Arc::default());
        let parts = ImageParts {
            source: source.clone(),
            map: Default::default(),
            delivery: Delivery::Shared(Default::default()),
            publisher,
            objects: reader,
            device: picture,
            pods: PODS,
            gc_interval: INTERVAL,
        };
        let way = Doorway::new("images", 64);
        let actor = ImageActor::new(parts).start();
        way.open::<EnsureTarball, _>(&actor);
        way.open::<ResolveImage, _>(&actor);
        Self { source, view, objects, device, ensure: way.door(), resolve: way.door() }
    }

    async fn ensure_within(
        &self,
        request: ImageRequest,
        patience: Duration,
    ) -> Result<Tarball, CallError<TarballFault>> {
        self.ensure.ask(EnsureTarball { context: RequestContext::new("test", patience), request }).await
    }

    async fn ensure(&self, request: ImageRequest) -> Tarball {
        self.ensure_within(request, Duration::from_secs(3600)).await.expect("an archive")
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let waiting = async {
            while !holds() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(7200), waiting).await.unwrap_or_else(|_| panic!("not so: {what}"));
    }
}

#[actix::test]
async fn pulls_are_two_at_a_time_and_what_is_cached_does_not_wait_for_them() {
    let images = Arc::new(Images::start());
    for number in 1..=5 {
        images.source.push(&format!("big:{number}"), &FakeTarballs::digest(number));
    }
    images.source.push("small:1", &FakeTarballs::digest(9));
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Always] {
        assert_eq!(images.ensure(request("small:1", policy)).await.pulled, policy == PullPolicy::IfNotPresent);
    }
    images.source.set_delay(Duration::from_secs(100));
    let asking: Vec<_> = (1..=5)
        .map(|number| {
            let images = images.clone();
            actix::spawn(
                async move { images.ensure(request(&format!("big:{number}"), PullPolicy::IfNotPresent)).await },
            )
        })
        .collect();
    images.until("two pull", || images.source.pulls().len() == 3).await;
    images.source.set_delay(Duration::ZERO);
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Always, PullPolicy::Never] {
        let found = images.ensure(request("small:1", policy)).await;
        assert_eq!((found.digest, found.pulled), (Some(FakeTarballs::digest(9)), false));
    }
    assert_eq!(images.source.pulls().len(), 3, "the others wait in line");
    for asked in asking {
        assert!(asked.await.expect("no panic").pulled);
    }
    assert_eq!((images.source.most_pulling(), images.source.pulls().len()), (2, 6));
}

#[actix::test]
async fn how_far_a_pull_has_come_is_told_and_its_end_too() {
    let images = Arc::new(Images::start());
    images.source.push("web:1", &FakeTarballs::digest(1));
    images.source.set_delay(Duration::from_secs(10));
    let asked = images.clone();
    let asking = actix::spawn(async move { asked.ensure(request("web:1", PullPolicy::Always)).await });
    let told = || images.view.borrow().pulling.clone();
    images.until("half of it is told", || told().iter().any(|pull| pull.done_bytes == 500)).await;
    let pull = told().pop().expect("one");
    assert_eq!((pull.image.as_str(), pull.phase, pull.total_bytes), ("web:1", PullPhase::Downloading, Some(1000)));
    let found = asking.await.expect("no panic");
    assert_eq!((found.bytes, found.pulled), (1000, true));
    images.until("the cache shows it", || images.view.borrow().cached.len() == 1).await;
    assert_eq!(told(), []);
    assert_eq!(images.view.borrow().cached[0].references, ["web:1"]);
}

#[actix::test]
async fn a_tag_that_moved_is_pulled_again_only_by_who_asks_always() {
    let images = Images::start();
    images.source.push("web:1", &FakeTarballs::digest(1));
    images.ensure(request("web:1", PullPolicy::Always)).await;
    images.source.push("web:1", &FakeTarballs::digest(2));
    let old = images.ensure(request("web:1", PullPolicy::IfNotPresent)).await;
    assert_eq!(old.digest, Some(FakeTarballs::digest(1)));
    let context = RequestContext::new("test", Duration::from_secs(10));
    let question = ResolveImage { context, request: request("web:1", PullPolicy::Always) };
    let now = images.resolve.ask(question).await.expect("a digest");
    assert_eq!(now, FakeTarballs::digest(2));
    let new = images.ensure(request("web:1", PullPolicy::Always)).await;
    assert_eq!((new.digest, new.pulled), (Some(FakeTarballs::digest(2)), true));
    let pinned = ImageRequest { digest: Some(FakeTarballs::digest(1)), ..request("web:1", PullPolicy::Always) };
    let pinned = images.ensure(pinned).await;
    assert_eq!((pinned.digest, pinned.pulled), (Some(FakeTarballs::digest(1)), false));
    let never = images.ensure_within(request("other", PullPolicy::Never), Duration::from_secs(10)).await;
    assert!(matches!(never, Err(CallError::Fault(TarballFault::Missing { .. }))), "{never:?}");
}

#[actix::test]
async fn while_the_registry_is_away_what_is_cached_is_given_and_called_stale() {
    let images = Images::start();
    images.source.push("web:1", &FakeTarballs::digest(1));
    images.ensure(request("web:1", PullPolicy::Always)).await;
    images.source.set_away(true);
    let found = images.ensure(request("web:1", PullPolicy::Always)).await;
    assert_eq!(found.digest, Some(FakeTarballs::digest(1)));
    assert!(found.stale.is_some());
    let other = images.ensure_within(request("web:2", PullPolicy::Always), Duration::from_secs(10)).await;
    assert!(matches!(other, Err(CallError::Fault(TarballFault::Unreachable { .. }))), "{other:?}");
}

#[actix::test]
async fn whoever_waits_in_line_leaves_it_at_the_deadline() {
    let images = Arc::new(Images::start());
    for number in 1..=3 {
        images.source.push(&format!("big:{number}"), &FakeTarballs::digest(number));
    }
    images.source.set_delay(Duration::from_secs(1000));
    let ask = |number: u8| {
        let images = images.clone();
        let patience = Duration::from_secs(if number == 3 { 1100 } else { 8000 });
        actix::spawn(async move {
            images.ensure_within(request(&format!("big:{number}"), PullPolicy::IfNotPresent), patience).await
        })
    };
    let asking = [ask(1), ask(2)];
    images.until("both pull", || images.source.pulls().len() == 2).await;
    images.source.set_delay(Duration::ZERO);
    let late = ask(3).await.expect("no panic");
    let gave_up = matches!(
        late,
        Err(CallError::Fault(TarballFault::Unreachable { .. }) | CallError::NotAnswered(NotAnswered::Late))
    );
    assert!(gave_up, "{late:?}");
    for asked in asking {
        assert!(asked.await.expect("no panic").is_ok());
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(images.source.pulls().len(), 2, "nobody pulls for who left");
}

#[actix::test]
async fn nothing_is_collected_before_store_and_device_were_read() {
    let images = Images::start();
    let read = Arc::new(DeviceSnapshot { complete: true, reachable: true, ..DeviceSnapshot::default() });
    let loaded = ObjectsView { loaded: true, ..ObjectsView::default() };
    sleep(INTERVAL * 3).await;
    assert_eq!(images.source.collections(), []);
    images.device.send_replace(read.clone());
    sleep(INTERVAL * 3).await;
    assert_eq!(images.source.collections(), [], "the store was not read");
    images.objects.publish(loaded);
    images.device.send_replace(Arc::new(DeviceSnapshot { complete: false, ..(*read).clone() }));
    sleep(INTERVAL * 3).await;
    assert_eq!(images.source.collections(), [], "the device was not read");
    images.device.send_replace(read);
    sleep(INTERVAL * 2).await;
    assert!(!images.source.collections().is_empty());
}
