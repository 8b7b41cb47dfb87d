//! The actor with recorders for its neighbours, under paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Actor;
use mkube_fakes::{FakeClock, Recorder};
use mkube_jobs::{JobsActor, JobsParts};
use mkube_messages::objects::{
    KindView, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, StoredObject, Verb, WriteObject, Written,
    objects_view,
};
use mkube_model::kinds::{Kind, KindId, KindTable};
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::{Value, json};
use tokio::time::sleep;

fn kind(name: &str) -> Kind {
    *KindTable::builtin().named(name).expect("a kind")
}

/// Objects as they are stored, and what goes wrong with them.
struct Stored {
    objects: BTreeMap<(KindId, ObjectKey), (Value, u64)>,
    revision: u64,
    publisher: ObjectsPublisher,
    loaded: bool,
    /// What creations are refused with.
    refuse: Option<Status>,
    /// Creations whose answer gets lost after they are done.
    lose: usize,
}

impl Stored {
    fn put(&mut self, kind: KindId, mut value: Value) -> Written {
        self.revision += 1;
        metadata::of_mut(&mut value).insert("resourceVersion".into(), json!(self.revision.to_string()));
        let key = ObjectKey::new(metadata::namespace(&value), metadata::name(&value));
        let object = Arc::new(StoredObject::new(kind, key.clone(), &value, self.revision));
        self.objects.insert((kind, key), (value, self.revision));
        self.publish();
        Written { object, changed: true, created: false, gone: false, warnings: vec![] }
    }

    fn publish(&self) {
        let mut kinds: BTreeMap<KindId, KindView> = BTreeMap::new();
        for ((kind, key), (value, revision)) in &self.objects {
            let object = Arc::new(StoredObject::new(*kind, key.clone(), value, *revision));
            kinds.entry(*kind).or_default().objects.insert(key.clone(), object);
        }
        let kinds = kinds.into_iter().map(|(kind, view)| (kind, Arc::new(view))).collect();
        self.publisher.publish(ObjectsView { loaded: self.loaded, kinds, ..ObjectsView::default() });
    }

    fn write(&mut self, order: &WriteObject) -> Result<Written, Status> {
        let kinds = KindTable::builtin();
        let row = kinds.get(&order.kind).expect("a kind");
        let at = (order.kind, order.key.clone());
        match &order.verb {
            Verb::Create { .. } if self.refuse.is_some() => Err(self.refuse.clone().expect("just seen")),
            Verb::Create { .. } if self.objects.contains_key(&at) => Err(Status::already_exists(row, &order.key.name)),
            Verb::Create { body } => {
                let mut body = body.clone();
                metadata::of_mut(&mut body).insert("uid".into(), json!(format!("uid-{}", self.revision)));
                let written = self.put(order.kind, body);
                if self.lose > 0 {
                    self.lose -= 1;
                    return Err(Status::timeout("the answer is lost"));
                }
                Ok(written)
            }
            Verb::Update { body } => {
                assert_eq!(order.subresource, "status", "only the status is replaced");
                let (mut value, revision) =
                    self.objects.get(&at).cloned().ok_or(Status::not_found(row, &order.key.name))?;
                if metadata::resource_version(body) != revision.to_string() {
                    return Err(Status::stale(row, &order.key.name));
                }
                value["status"] = body["status"].clone();
                Ok(self.put(order.kind, value))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The actor and everybody around it.
struct Bench {
    stored: Arc<Mutex<Stored>>,
    written: Recorder<WriteObject>,
    events: Recorder<RecordEvent>,
}

impl Bench {
    fn new(loaded: bool) -> Self {
        tokio::time::pause();
        let (publisher, objects) = objects_view(KindTable::builtin());
        let stored = Stored { objects: BTreeMap::new(), revision: 1, publisher, loaded, refuse: None, lose: 0 };
        let stored = Arc::new(Mutex::new(stored));
        let writer = stored.clone();
        let written = Recorder::answering_after(Duration::from_millis(5), move |order: &WriteObject| {
            writer.lock().unwrap_or_else(PoisonError::into_inner).write(order)
        });
        let events = Recorder::answering(|_: &RecordEvent| ());
        JobsActor::new(JobsParts {
            jobs: kind("Job").id(),
            cron_jobs: kind("CronJob").id(),
            pods: kind("Pod").id(),
            objects,
            write: written.door(),
            event: events.door(),
            clock: Arc::new(FakeClock::default()),
        })
        .start();
        Self { stored, written, events }
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self, name: &str, parallelism: u64) {
        let job = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")}, "spec": {
            "parallelism": parallelism, "completions": parallelism, "backoffLimit": 6,
            "template": {"spec": {"restartPolicy": "Never"}}}});
        self.stored().put(kind("Job").id(), job);
    }

    fn pods(&self) -> Vec<String> {
        let pods = kind("Pod").id();
        self.stored().objects.keys().filter(|(kind, _)| *kind == pods).map(|(_, key)| key.name.clone()).collect()
    }

    fn creations(&self) -> usize {
        self.written.seen().iter().filter(|order| matches!(order.verb, Verb::Create { .. })).count()
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.events.seen().iter().map(|event| event.reason).collect()
    }
}

#[actix::test]
async fn nothing_is_decided_before_the_store_was_read() {
    let bench = Bench::new(false);
    bench.job("count", 2);
    sleep(Duration::from_secs(300)).await;
    assert!(bench.written.seen().is_empty());
    bench.stored().loaded = true;
    bench.stored().publish();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.pods().len(), 2);
}

#[actix::test]
async fn a_pod_whose_making_was_not_answered_is_not_made_twice() {
    let bench = Bench::new(true);
    bench.stored().lose = 1;
    bench.job("count", 1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((bench.pods().len(), bench.creations()), (1, 1));
}

#[actix::test]
async fn what_cannot_be_made_is_told_and_tried_again_after_a_pause() {
    let bench = Bench::new(true);
    bench.stored().refuse = Some(Status::new(403, "Forbidden", "the namespace is being deleted"));
    bench.job("count", 1);
    sleep(Duration::from_secs(35)).await;
    assert_eq!(bench.reasons(), ["FailedCreate"; 4]);
    assert_eq!(bench.creations(), 4, "every ten seconds");
    bench.stored().refuse = None;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.pods().len(), 1);
}

#[actix::test]
async fn a_status_that_tells_of_no_end_is_written_once_a_second_at_most() {
    let bench = Bench::new(true);
    bench.job("count", 50);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.pods().len(), 50);
    let updates = bench.written.seen().iter().filter(|order| matches!(order.verb, Verb::Update { .. })).count();
    assert!(updates <= 4, "{updates} writes of the status within three seconds");
    let job = bench.stored().objects[&(kind("Job").id(), ObjectKey::new("n", "count"))].0.clone();
    assert_eq!(job["status"]["active"], 50);
    let before = bench.written.seen().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.written.seen().len(), before, "nothing new is nothing to write");
}

#[actix::test]
async fn a_time_that_is_due_while_another_job_runs_is_told_once() {
    let bench = Bench::new(true);
    let cron = json!({"metadata": {"name": "tick", "namespace": "n", "uid": "uid-tick", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never"}}}}}});
    bench.stored().put(kind("CronJob").id(), cron);
    sleep(Duration::from_secs(200)).await;
    let told = bench.reasons();
    let count = |reason: &str| told.iter().filter(|one| **one == reason).count();
    assert_eq!((count("SuccessfulCreate"), count("JobAlreadyActive")), (1, 2), "{told:?}");
    let jobs = bench.written.seen();
    let job = jobs.iter().find(|order| order.kind == kind("Job").id()).expect("one was made");
    assert_eq!(job.key.name, "tick-29453761");
}
