//! ObjectsActor with a real StoreActor over a store in memory, under paused time.

mod faults;
mod namespaces;
mod nodes;
mod others;
mod owners;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::{FakeClock, LoadCue, MemoryStore, StoreCue};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::objects::{
    ChangeType, FieldValidation, FinishDeletion, ObjectKey, ObjectsReader, PatchType, RecordEvent, ReportStatus, Verb,
    WriteObject, Writer, Written, objects_view,
};
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::store::{news_bell, older_view};
use mkube_model::kinds::{Kind, KindTable};
use mkube_model::neighbours::desired_store::StoreFault;
use mkube_model::neighbours::randomness::SystemRandomness;
use mkube_model::status::Status;
use mkube_objects::{Deletions, ObjectsActor, ObjectsParts};
use mkube_store::StoreActor;
use mkube_supervision::{
    Child, ChildSpec, CrashHow, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::time::sleep;

pub(crate) struct Bench {
    store: Arc<MemoryStore>,
    reader: ObjectsReader,
    objects: Doorway,
    tree: Tree,
}

fn over(store: Arc<MemoryStore>) -> Bench {
    on_node(store, "rose1", false)
}

/// The objects of a node, whose store may be shared by others.
fn on_node(store: Arc<MemoryStore>, node: &str, shared: bool) -> Bench {
    let kinds = KindTable::builtin();
    let (publisher, reader) = objects_view(kinds.clone());
    let (gate, objects) = (Doorway::new("store", 64), Doorway::new("objects", 4096));
    let (bell, heard) = news_bell();
    let parts = ObjectsParts {
        kinds,
        publisher,
        load: gate.door(),
        commit: gate.door(),
        news: gate.door(),
        notices: heard,
        clock: Arc::new(FakeClock::default()),
        randomness: Arc::new(SystemRandomness),
        node_name: node.into(),
        shared,
        event_ring: 32,
        deletions: Deletions::default(),
    };
    let kept = store.clone();
    let gate = ChildSpec::actor("store", RestartRule::Permanent, gate, move |_| {
        StoreActor::new(kept.clone(), bell.clone(), older_view().0)
    });
    let room =
        ChildSpec::actor("objects", RestartRule::Permanent, objects.clone(), move |_| ObjectsActor::new(parts.clone()));
    let root = SupervisorSpec {
        name: "mkube".into(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 10, within: Duration::from_secs(60) },
        on_limit: OnLimit::Escalate,
        pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
        children: vec![
            Child::Actor(mkube_store::answers(gate).done()),
            Child::Actor(mkube_objects::answers(room).done()),
        ],
    };
    let tree = mkube_supervision::start(root, Arc::new(FakeClock::default()));
    Bench { store, reader, objects, tree }
}

async fn bench() -> Bench {
    tokio::time::pause();
    let bench = over(Arc::new(MemoryStore::default()));
    sleep(Duration::from_secs(1)).await;
    bench
}

fn within() -> RequestContext {
    RequestContext::new("test", Duration::from_secs(30))
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}})
}

impl Bench {
    fn kind(&self, name: &str) -> Kind {
        *self.reader.kinds().named(name).expect("a kind")
    }

    async fn ask<M: Request>(&self, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        let door: Door<M> = self.objects.door();
        door.ask(message).await
    }

    fn order(&self, kind: &str, name: &str, verb: Verb) -> WriteObject {
        let kind = self.kind(kind);
        let namespace = if kind.namespaced { "default" } else { "" };
        WriteObject {
            context: within(),
            kind: kind.id(),
            key: ObjectKey::new(namespace, name),
            verb,
            subresource: "",
            dry_run: false,
            field_validation: FieldValidation::Strict,
            writer: Writer::own(),
            behind: false,
        }
    }

    async fn send(&self, order: WriteObject) -> Result<Written, Status> {
        self.ask(order).await.map_err(|error| match error {
            CallError::Fault(status) => status,
            CallError::NotAnswered(why) => panic!("not answered: {why}"),
        })
    }

    async fn write(&self, kind: &str, name: &str, verb: Verb) -> Result<Written, Status> {
        self.send(self.order(kind, name, verb)).await
    }

    async fn create(&self, kind: &str, body: Value) -> Result<Written, Status> {
        self.write(kind, "", Verb::Create { body }).await
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<Written, Status> {
        self.write(kind, name, Verb::Delete { options: Value::Null }).await
    }

    async fn merge(&self, kind: &str, name: &str, body: Value) -> Result<Written, Status> {
        self.write(kind, name, Verb::Patch { patch: PatchType::Merge, body }).await
    }

    fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let order = self.order(kind, name, Verb::Delete { options: Value::Null });
        self.reader.view().get(&order.kind, &order.key).map(|object| object.value())
    }

    async fn report(&self, name: &str, status: Value) {
        let uid = self.get("Pod", name).map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        let report = ReportStatus {
            context: within(),
            kind: self.kind("Pod").id(),
            key: ObjectKey::new("default", name),
            uid: uid.unwrap_or_default(),
            status,
        };
        self.ask(report).await.expect("taken");
    }

    async fn finish(&self, name: &str, uid: &str) -> Result<(), CallError<Status>> {
        let key = ObjectKey::new("default", name);
        let order = FinishDeletion { context: within(), kind: self.kind("Pod").id(), key, uid: uid.into() };
        self.ask(order).await
    }

    /// Seconds at which a key was written.
    fn writes_of(&self, key: &str) -> Vec<u128> {
        let batches = self.store.batches();
        let first = batches.first().map(|(at, _)| *at);
        let of_key = batches.iter().filter(|(_, changes)| changes.iter().any(|change| change.at.key == key));
        of_key.map(|(at, _)| at.duration_since(first.expect("there is one")).as_millis()).collect()
    }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

#[actix::test]
async fn a_write_is_answered_after_it_is_stored_and_published() {
    let bench = bench().await;
    let made = bench.create("Pod", pod("a")).await.expect("made");
    assert!(made.changed && !made.gone);
    let stored = bench.store.text("PODS", "default.a").expect("stored");
    assert!(!stored.contains("resourceVersion"), "the revision is the store's, not the value's: {stored}");
    assert_eq!(bench.get("Pod", "a").as_ref(), Some(&made.object.value()));
    assert_eq!(made.object.value()["metadata"]["resourceVersion"], made.object.revision.to_string());

    let mut body = made.object.value();
    body["spec"]["containers"][0]["image"] = json!("x:2");
    let updated = bench.write("Pod", "a", Verb::Update { body: body.clone() }).await.expect("updated");
    assert_eq!(updated.object.value()["metadata"]["generation"], 2);
    let stale = bench.write("Pod", "a", Verb::Update { body }).await.expect_err("its version is old");
    assert_eq!((stale.code, stale.reason), (409, "Conflict"));

    let merged = bench.merge("Pod", "a", json!({"metadata": {"labels": {"x": "y"}}})).await.expect("patched");
    assert_eq!(merged.object.value()["metadata"]["labels"]["x"], "y");
    let replace = json!([{"op": "replace", "path": "/metadata/labels/x", "value": "z"}]);
    let patch = Verb::Patch { patch: PatchType::Json, body: replace };
    let patched = bench.write("Pod", "a", patch).await.expect("patched");
    assert_eq!(patched.object.value()["metadata"]["labels"]["x"], "z");

    let again = bench.create("Pod", pod("a")).await.expect_err("there is one");
    assert_eq!((again.code, again.reason), (409, "AlreadyExists"));
    let missing = bench.merge("Pod", "b", json!({})).await.expect_err("there is none");
    assert_eq!((missing.code, missing.reason), (404, "NotFound"));
}

#[actix::test]
async fn a_write_that_says_nothing_new_writes_nothing() {
    let bench = bench().await;
    let made = bench.create("Pod", pod("a")).await.expect("made");
    let before = bench.store.batches().len();
    let body = made.object.value();
    let same = bench.write("Pod", "a", Verb::Update { body }).await.expect("accepted");
    assert!(!same.changed);
    assert_eq!(same.object.revision, made.object.revision);
    bench.merge("Pod", "a", json!({"metadata": {"namespace": "default"}})).await.expect("accepted");
    bench.report("a", made.object.value()["status"].clone()).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.store.batches().len(), before);
}

#[actix::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let bench = bench().await;
    let before = bench.store.batches().len();
    let order = WriteObject { dry_run: true, ..bench.order("Pod", "", Verb::Create { body: pod("a") }) };
    let shown = bench.send(order).await.expect("acceptable");
    assert_eq!(shown.object.value()["spec"]["restartPolicy"], "Always");
    assert_eq!(bench.get("Pod", "a"), None);
    assert_eq!(bench.store.batches().len(), before);
    let bad = WriteObject { dry_run: true, ..bench.order("Pod", "", Verb::Create { body: pod("Not_A_Name") }) };
    assert_eq!(bench.send(bad).await.expect_err("refused all the same").code, 422);
}

#[actix::test]
async fn generated_names_differ_and_equal_names_at_once_hurt_nobody_else() {
    let bench = Arc::new(bench().await);
    let mut bodies: Vec<Value> = (0..20).map(|_| json!({"metadata": {"generateName": "job-"}, "data": {}})).collect();
    bodies.extend([json!({"metadata": {"name": "same"}}), json!({"metadata": {"name": "same"}})]);
    bodies.push(json!({"metadata": {"name": "bystander"}}));
    let writing: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let bench = bench.clone();
            actix_rt::spawn(async move { bench.create("ConfigMap", body).await })
        })
        .collect();
    let mut refused = Vec::new();
    for one in writing {
        if let Err(status) = one.await.expect("joined") {
            refused.push(status);
        }
    }
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].reason, "AlreadyExists");
    let maps = bench.reader.view().kind(&bench.kind("ConfigMap").id());
    assert_eq!(maps.objects.len(), 22);
}

#[actix::test]
async fn the_status_subresource_and_the_object_are_written_apart() {
    let bench = bench().await;
    bench.create("Pod", pod("a")).await.expect("made");
    let body = json!({"status": {"phase": "Running"}, "spec": {"restartPolicy": "Never"}});
    let patch = Verb::Patch { patch: PatchType::Merge, body: body.clone() };
    let order = WriteObject { subresource: "status", ..bench.order("Pod", "a", patch) };
    let written = bench.send(order).await.expect("written");
    assert_eq!(written.object.value()["status"]["phase"], "Running");
    assert_eq!(written.object.value()["spec"]["restartPolicy"], "Always");
    let written = bench.merge("Pod", "a", json!({"status": {"phase": "Failed"}})).await.expect("accepted");
    assert_eq!(written.object.value()["status"]["phase"], "Running");
}

#[actix::test]
async fn a_pod_is_marked_for_deletion_and_gone_when_its_controller_says_so() {
    let bench = bench().await;
    let made = bench.create("Pod", pod("a")).await.expect("made");
    let marked = bench.delete("Pod", "a").await.expect("marked");
    assert!(!marked.gone && marked.object.value()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked.object.value()["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(!bench.delete("Pod", "a").await.expect("again").changed);
    bench.finish("a", "another-uid").await.expect("of no concern");
    assert!(bench.get("Pod", "a").is_some(), "a predecessor's end is not its own");
    bench.finish("a", &uid(&made.object.value())).await.expect("finished");
    assert_eq!(bench.get("Pod", "a"), None);
    bench.finish("a", &uid(&made.object.value())).await.expect("safe to repeat");
    let history = bench.reader.view().kind(&bench.kind("Pod").id()).history.clone();
    assert_eq!(history.back().map(|change| change.change), Some(ChangeType::Deleted));
}

#[actix::test]
async fn preconditions_of_a_deletion_are_checked() {
    let bench = bench().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}})).await.expect("made");
    let options = json!({"preconditions": {"uid": "another"}});
    let refused = bench.write("ConfigMap", "m", Verb::Delete { options }).await.expect_err("another uid");
    assert_eq!(refused.code, 409);
    assert!(bench.delete("ConfigMap", "m").await.expect("gone").gone);
    assert_eq!(bench.store.text("CONFIGMAPS", "default.m"), None);
}

#[actix::test]
async fn finalizers_keep_an_object_until_the_last_is_taken_away() {
    let bench = bench().await;
    let body = json!({"metadata": {"name": "m", "finalizers": ["a.io/x", "b.io/y"]}});
    bench.create("ConfigMap", body).await.expect("made");
    assert!(!bench.delete("ConfigMap", "m").await.expect("marked").gone);
    bench.merge("ConfigMap", "m", json!({"metadata": {"finalizers": ["b.io/y"]}})).await.expect("patched");
    assert!(bench.get("ConfigMap", "m").is_some());
    let last = bench.merge("ConfigMap", "m", json!({"metadata": {"finalizers": null}})).await.expect("patched");
    assert!(last.gone);
    assert_eq!(bench.get("ConfigMap", "m"), None);

    let mut held = pod("p");
    held["metadata"]["finalizers"] = json!(["a.io/x"]);
    let made = bench.create("Pod", held).await.expect("made");
    bench.delete("Pod", "p").await.expect("marked");
    let refused = bench.finish("p", &uid(&made.object.value())).await;
    assert!(matches!(refused, Err(CallError::Fault(status)) if status.code == 409));
}

#[actix::test]
async fn wrong_types_and_bad_values_are_refused_with_the_field_and_change_nothing() {
    let bench = bench().await;
    let before = bench.store.batches().len();
    for (body, code, field) in [
        (
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": 5, "image": "x"}]}}),
            400,
            "containers[0].name",
        ),
        (json!({"metadata": {"name": "a"}, "spec": {"containers": "none"}}), 400, "spec.containers"),
        (json!({"metadata": {"name": "a", "labels": {"k": 5}}, "spec": {"containers": []}}), 400, "metadata.labels"),
        (json!({"metadata": {"name": 7}, "spec": {}}), 400, "metadata.name"),
        (json!({"metadata": {"name": "a"}, "spec": {"containers": []}}), 422, "spec.containers"),
        (
            json!({"metadata": {"name": "A_B"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}),
            422,
            "metadata.name",
        ),
        (json!({"metadata": "x"}), 400, "metadata"),
        (json!([1, 2]), 400, "body"),
    ] {
        let refused = bench.create("Pod", body.clone()).await.expect_err("bad");
        assert_eq!(refused.code, code, "{body}: {refused}");
        assert!(refused.message.contains(field), "{body}: {refused}");
    }
    assert_eq!(bench.store.batches().len(), before);
}

#[actix::test]
async fn readers_keep_what_was_published_while_the_actor_is_replaced() {
    let bench = bench().await;
    let made = bench.create("Pod", pod("a")).await.expect("made");
    bench.store.put_behind(
        "CONFIGMAPS",
        "default.m",
        Some(&json!({"metadata": {"name": "m", "namespace": "default"}}).to_string()),
    );
    bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    assert!(bench.reader.view().loaded);
    assert_eq!(bench.get("Pod", "a").as_ref(), Some(&made.object.value()));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.get("Pod", "a").as_ref(), Some(&made.object.value()), "its version did not move");
    assert!(bench.get("ConfigMap", "m").is_some(), "what was written meanwhile is seen");
    let history = bench.reader.view().kind(&bench.kind("Pod").id()).history.clone();
    assert_eq!(history.len(), 1, "nothing is told twice");
    bench.create("Pod", pod("b")).await.expect("the next incarnation works");
}

#[actix::test]
async fn a_write_that_was_answered_survives_the_death_of_objects_and_store_at_any_moment() {
    tokio::time::pause();
    for actor in ["mkube/objects", "mkube/store"] {
        for delay in 0..6 {
            let bench = Arc::new(over(Arc::new(MemoryStore::default())));
            sleep(Duration::from_secs(1)).await;
            bench.store.cue(StoreCue::Late(Duration::from_millis(4)));
            let writer = bench.clone();
            let door: Door<WriteObject> = writer.objects.door();
            let order = writer.order("Pod", "", Verb::Create { body: pod("a") });
            let writing = actix_rt::spawn(async move { door.ask(order).await.is_ok() });
            sleep(Duration::from_millis(delay)).await;
            bench.tree.crash(actor, CrashHow::Panic).await.expect("running");
            let acknowledged = writing.await.expect("joined");
            sleep(Duration::from_secs(12)).await;
            let there = bench.get("Pod", "a").is_some();
            assert!(there || !acknowledged, "{actor} after {delay} ms: acknowledged and lost");
            assert_eq!(there, bench.store.text("PODS", "default.a").is_some(), "{actor} after {delay} ms");
            bench.tree.stop(Duration::from_secs(1)).await;
        }
    }
}

#[actix::test]
async fn two_that_would_wait_for_each_other_are_not_both_taken_in_one_moment() {
    let bench = bench().await;
    let waits = |name: &str, other: &str| {
        let mut waits = pod(name);
        waits["metadata"]["annotations"] = json!({"vkube.io/depends-on": other});
        waits
    };
    let (first, second) = tokio::join!(bench.create("Pod", waits("a", "b")), bench.create("Pod", waits("b", "a")));
    first.expect("nothing is there yet");
    let refused = second.expect_err("it closes the circle");
    assert!(refused.code == 422 && refused.message.contains("dependency cycle"), "{refused}");
}
