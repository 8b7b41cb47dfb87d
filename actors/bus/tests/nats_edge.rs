//! The actor between a bus in memory and objects as they are published, under paused time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use mkube_bus::{BusParts, NatsEdge};
use mkube_fakes::{FakeBus, Recorder};
use mkube_messages::bus::{BusReader, BusView, bus_view};
use mkube_messages::objects::{
    ChangeType, KindView, ObjectChange, ObjectKey, ObjectsPublisher, ObjectsView, StoredObject, objects_view,
};
use mkube_messages::rollouts::ImagePushed;
use mkube_model::kinds::{KindId, KindTable};
use serde_json::{Value, json};
use tokio::time::sleep;

const PUSHED: &str = "mkube.images.pushed";

fn pods() -> KindId {
    KindTable::builtin().named("Pod").expect("a kind").id()
}

struct Bench {
    bus: Arc<FakeBus>,
    objects: ObjectsPublisher,
    pods: KindView,
    complete: bool,
    pushed: Recorder<ImagePushed>,
    figures: BusReader,
}

impl Bench {
    /// A controller that has read a store with one pod in it.
    async fn new() -> Self {
        Self::over(Arc::new(FakeBus::default()), true).await
    }

    async fn over(bus: Arc<FakeBus>, complete: bool) -> Self {
        tokio::time::pause();
        let (objects, reader) = objects_view(KindTable::builtin());
        let pushed = Recorder::answering(|_: &ImagePushed| ());
        let (publish, figures) = bus_view();
        let mut bench = Self { bus: bus.clone(), objects, pods: KindView::default(), complete, pushed, figures };
        bench.put("old", 1);
        bench.pods.history.clear();
        bench.pods.history_after = 1;
        bench.publish();
        let parts = BusParts {
            bus,
            objects: reader,
            pushed: bench.pushed.door(),
            notify_secret: None,
            shared_by: None,
            publish,
        };
        NatsEdge::new(parts).start();
        sleep(Duration::from_millis(10)).await;
        bench
    }

    fn publish(&self) {
        let stale = (!self.complete).then(|| "NATS is away".to_owned());
        let kinds = [(pods(), Arc::new(self.pods.clone()))].into_iter().collect();
        self.objects.publish(ObjectsView { loaded: true, stale, kinds, ..ObjectsView::default() });
    }

    fn put(&mut self, name: &str, revision: u64) {
        let key = ObjectKey::new("default", name);
        let value = json!({"metadata": {"name": name, "uid": name, "resourceVersion": revision.to_string()}});
        let object = Arc::new(StoredObject::new(pods(), key.clone(), &value, revision));
        let previous = self.pods.objects.insert(key, object.clone());
        let change = if previous.is_some() { ChangeType::Modified } else { ChangeType::Added };
        self.pods.history.push_back(Arc::new(ObjectChange { change, revision, object, previous }));
        self.pods.revision = revision;
        self.publish();
    }

    /// What the bus was told of pods: word, name, version.
    fn told(&self) -> Vec<String> {
        let told = self.bus.told();
        let read = |payload: &[u8]| serde_json::from_slice::<Value>(payload).expect("JSON");
        let values = told.iter().map(|message| (message.subject.clone(), read(&message.payload)));
        values
            .map(|(subject, value)| {
                let meta = &value["object"]["metadata"];
                assert_eq!(subject, format!("mkube.objects.pods.default.{}", meta["name"].as_str().unwrap_or("?")));
                let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
                format!("{} {} {}", word(&value["type"]), word(&meta["name"]), word(&meta["resourceVersion"]))
            })
            .collect()
    }

    fn figures(&self) -> BusView {
        (*self.figures.borrow().clone()).clone()
    }
}

fn run(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

fn notice(tag: &str) -> String {
    json!({"repository": "app", "tag": tag}).to_string()
}

#[test]
fn each_change_is_told_in_order_and_what_was_there_before_is_not() {
    run(async {
        let mut bench = Bench::new().await;
        bench.put("a", 2);
        bench.put("a", 3);
        bench.put("old", 4);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.told(), ["ADDED a 2", "MODIFIED a 3", "MODIFIED old 4"]);
        let figures = bench.figures();
        assert_eq!((figures.attached, figures.told, figures.waiting, figures.dropped), (true, 3, 0, 0));
    });
}

#[test]
fn while_the_bus_is_away_the_newest_waits_for_it_within_bounds() {
    run(async {
        let bus = Arc::new(FakeBus::default());
        bus.set_away(true);
        let mut bench = Bench::over(bus, true).await;
        bench.put("first", 2);
        for revision in 3..5000 {
            bench.put("busy", revision);
            tokio::task::yield_now().await;
        }
        let figures = bench.figures();
        assert!(!figures.attached && figures.waiting <= 2048, "{figures:?}");
        bench.bus.set_away(false);
        sleep(Duration::from_secs(16)).await;
        let told = bench.told();
        assert_eq!(told[0], "ADDED first 2", "who changed less is not pushed out");
        assert_eq!(told.last().map(String::as_str), Some("MODIFIED busy 4999"));
        let figures = bench.figures();
        assert!(figures.attached && figures.waiting == 0 && figures.dropped > 2000, "{figures:?}");
        assert_eq!(figures.told + figures.dropped, 4998, "what was not told is counted");
    });
}

#[test]
fn a_bus_that_takes_nothing_is_left_and_gets_everything_when_it_does_again() {
    run(async {
        let mut bench = Bench::new().await;
        bench.bus.set_stuck(true);
        bench.put("a", 2);
        sleep(Duration::from_secs(1)).await;
        bench.put("b", 3);
        sleep(Duration::from_secs(9)).await;
        assert!(bench.told().is_empty());
        assert!(bench.bus.attached() > 1, "another connection was tried");
        bench.bus.set_stuck(false);
        sleep(Duration::from_secs(16)).await;
        assert_eq!(bench.told(), ["ADDED a 2", "ADDED b 3"]);
        bench.put("c", 4);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.told().last().map(String::as_str), Some("ADDED c 4"));
    });
}

#[test]
fn the_bus_is_tried_again_ever_more_rarely_and_heard_when_it_is_back() {
    run(async {
        let bench = Bench::new().await;
        assert!(bench.bus.say(PUSHED, notice("one")));
        sleep(Duration::from_millis(10)).await;
        bench.bus.set_away(true);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.figures().why.as_deref(), Some("nobody is there"));
        sleep(Duration::from_secs(60)).await;
        bench.bus.set_away(false);
        sleep(Duration::from_secs(16)).await;
        assert_eq!((bench.bus.attached(), bench.figures().attached), (2, true));
        assert!(bench.bus.say(PUSHED, notice("two")));
        sleep(Duration::from_millis(10)).await;
        let tags: Vec<String> = bench.pushed.seen().into_iter().map(|pushed| pushed.tag).collect();
        assert_eq!(tags, ["one", "two"]);
    });
}

#[test]
fn what_is_not_known_for_sure_is_not_told_until_it_is() {
    run(async {
        let mut bench = Bench::over(Arc::new(FakeBus::default()), false).await;
        bench.put("a", 2);
        bench.complete = true;
        bench.publish();
        sleep(Duration::from_millis(10)).await;
        assert!(bench.told().is_empty(), "what was there when all was read is no news");
        bench.complete = false;
        bench.put("a", 1 << 48);
        sleep(Duration::from_millis(10)).await;
        assert!(bench.told().is_empty());
        // The store is back, and counts by itself.
        bench.put("a", 3);
        bench.pods.history.clear();
        bench.pods.history_after = 3;
        bench.complete = true;
        bench.publish();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.told(), ["MODIFIED a 3"]);
    });
}

#[test]
fn a_flood_ends_the_listening_for_a_while_and_nothing_else() {
    run(async {
        let mut bench = Bench::new().await;
        for number in 0..1000 {
            bench.bus.say(PUSHED, if number % 2 == 0 { notice("flood") } else { "garbage".to_owned() });
        }
        bench.put("a", 2);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(bench.told(), ["ADDED a 2"]);
        assert!(!bench.bus.say(PUSHED, notice("unheard")), "nobody listens");
        assert!(bench.bus.say("microdns.*.leases", "garbage"), "others are heard");
        let heard = bench.figures().heard["pushes"];
        assert_eq!((heard.taken, heard.refused, heard.floods), (32, 32, 1));
        sleep(Duration::from_secs(6)).await;
        assert!(bench.bus.say(PUSHED, notice("later")));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.pushed.seen().last().map(|pushed| pushed.tag.clone()).as_deref(), Some("later"));
        assert_eq!(bench.figures().heard["leases"].refused, 1);
        assert_eq!(bench.bus.attached(), 1);
    });
}
