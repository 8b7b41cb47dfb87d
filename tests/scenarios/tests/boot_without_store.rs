//! The whole controller over HTTP, whose store is itself to be started from the boot manifest.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::{LoadCue, MemoryStore};
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_model::kinds::KindId;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};

const PODS: KindId = KindId { group: "", plural: "pods" };
const MAPS: KindId = KindId { group: "", plural: "configmaps" };
const AWAY: &str = "NATS was not reached yet";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "infra"}, "spec": {"containers": [{"name": "c", "image": "hello:latest"}]}})
}

fn away() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::default());
    store.tell_what_others_do();
    store.set_stale(Some(AWAY));
    store
}

async fn world(store: &Arc<MemoryStore>, pods: &[&str]) -> anyhow::Result<World> {
    let boot_manifest = pods.iter().map(|name| pod(name)).collect();
    World::with(Setup {
        store: Some(store.clone()),
        boot_manifest,
        tick: Duration::from_millis(200),
        ..Setup::default()
    })
    .await
}

fn get(view: &ObjectsView, kind: KindId, namespace: &str, name: &str) -> Option<Value> {
    view.get(&kind, &ObjectKey::new(namespace, name)).map(|object| object.value())
}

fn runs(view: &ObjectsView, name: &str) -> bool {
    get(view, PODS, "infra", name).is_some_and(|pod| pod["status"]["phase"] == "Running")
}

fn doubtful(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("vkube.io/boot-record").is_some()
}

fn record(view: &ObjectsView) -> String {
    let record = get(view, MAPS, "kube-system", "mkube-boot-manifest").unwrap_or_default();
    record["data"]["documents"].as_str().unwrap_or_default().to_owned()
}

async fn container_of(world: &World, name: &str) -> anyhow::Result<String> {
    let pod = world.api().get(&format!("/api/v1/namespaces/infra/pods/{name}")).await?.expect(200);
    Ok(pod.body["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().to_owned())
}

#[actix_rt::test]
async fn a_first_start_without_the_store_starts_the_boot_manifest_serves_reads_and_says_so() -> anyhow::Result<()> {
    let store = away();
    let world = world(&store, &["nats", "dns"]).await?;
    world.until("both run", |view| runs(view, "nats") && runs(view, "dns")).await?;
    let api = world.api();

    let list = api.get("/api/v1/pods").await?.expect(200);
    assert_eq!(list.names(), ["dns", "nats"]);
    let words = format!("299 mkube \"the store is away ({AWAY}): this is what was last known\"");
    assert_eq!(list.warnings(), std::slice::from_ref(&words));
    let missing = api.get("/api/v1/namespaces/infra/pods/other").await?.refused(404, "NotFound");
    assert_eq!(missing.warnings(), [words]);
    let refused = api.post("/api/v1/namespaces/infra/pods", &pod("new")).await?.refused(503, "ServiceUnavailable");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    let refused = refused.saying("nothing was changed");
    assert_eq!(refused.warnings(), Vec::<String>::new());
    assert_eq!(api.get("/readyz").await?.expect(200).text, "ok");
    let checks = api.get("/readyz?verbose").await?.expect(200).text;
    assert!(checks.contains(&format!("[!]store degraded: not connected ({AWAY}); loaded; not complete")), "{checks}");
    let metrics = api.get("/metrics").await?.expect(200).text;
    assert!(metrics.contains("mkube_store_stale 1\n"), "{metrics}");
    assert!(!metrics.contains("mkube_store_pending_writes 0\n"), "{metrics}");

    let (uid, container) = (
        get(&world.view(), PODS, "infra", "nats").expect("there")["metadata"]["uid"].clone(),
        container_of(&world, "nats").await?,
    );
    assert!(store.text("PODS", "infra.nats").is_none(), "the store does not have it yet");
    store.set_stale(None);
    world
        .until("they are confirmed", |view| {
            let known = |name| get(view, PODS, "infra", name).is_some_and(|pod| !doubtful(&pod));
            view.is_complete() && known("nats") && known("dns")
        })
        .await?;
    let stored: Value = serde_json::from_str(&store.text("PODS", "infra.nats").expect("stored"))?;
    assert_eq!(stored["metadata"]["uid"], uid);
    assert_eq!(container_of(&world, "nats").await?, container, "nothing restarted");
    assert!(store.text("NAMESPACES", "infra").is_some());
    assert_eq!(record(&world.view()), "pods/infra/dns\npods/infra/nats\n");
    assert!(api.get("/api/v1/pods").await?.expect(200).warnings().is_empty());
    assert!(api.get("/readyz?verbose").await?.expect(200).text.contains("[+]store ok: connected, loaded, complete"));
    assert!(api.get("/metrics").await?.text.contains("mkube_store_stale 0\n"));
    api.post("/api/v1/namespaces/infra/pods", &pod("new")).await?.expect(201);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_store_that_has_lived_before_keeps_its_own_and_brings_nothing_back_that_was_deleted_in_it()
-> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let mut theirs = pod("nats");
    theirs["metadata"]["uid"] = json!("theirs");
    theirs["metadata"]["labels"] = json!({"edited": "yes"});
    let other = json!({"metadata": {"name": "other", "namespace": "default", "uid": "other"},
        "spec": {"containers": [{"name": "c", "image": "hello:latest"}]}});
    let record_before = json!({"metadata": {"name": "mkube-boot-manifest", "namespace": "kube-system", "uid": "old"},
        "data": {"documents": "pods/infra/gone\npods/infra/nats\n"}});
    for (bucket, key, value) in [
        ("PODS", "infra.nats", &theirs),
        ("PODS", "default.other", &other),
        ("CONFIGMAPS", "kube-system.mkube-boot-manifest", &record_before),
        ("NAMESPACES", "default", &json!({"metadata": {"name": "default", "uid": "d"}})),
    ] {
        store.put_behind(bucket, key, Some(&value.to_string()));
    }
    store.tell_what_others_do();
    store.set_stale(Some(AWAY));
    // Nothing is remembered of it.
    store.cue_load(LoadCue::Empty);
    let world = world(&store, &["nats", "gone", "added"]).await?;
    world
        .until("all of the manifest run", |view| ["nats", "gone", "added"].iter().all(|name| runs(view, name)))
        .await?;
    let container = container_of(&world, "nats").await?;
    assert!(get(&world.view(), PODS, "default", "other").is_none());

    store.set_stale(None);
    world
        .until("what was deleted goes", |view| view.is_complete() && get(view, PODS, "infra", "gone").is_none())
        .await?;
    world.until("the record is complete", |view| record(view).contains("added")).await?;
    world.until("its own run", |view| runs(view, "nats") && runs(view, "added")).await?;
    let view = world.view();
    assert_eq!(get(&view, PODS, "infra", "nats").expect("there")["metadata"]["uid"], "theirs");
    assert!(!doubtful(&get(&view, PODS, "infra", "added").expect("there")));
    assert_eq!(record(&view), "pods/infra/added\npods/infra/gone\npods/infra/nats\n");
    assert_eq!(container_of(&world, "nats").await?, container, "nothing restarted");
    assert!(store.text("PODS", "infra.gone").is_none());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_value_that_is_no_object_is_told_of_and_everything_else_is_served() -> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    store.tell_what_others_do();
    store.put_behind("PODS", "default.bad", Some("{not json"));
    let world = world(&store, &["nats"]).await?;
    world.until("it runs", |view| runs(view, "nats")).await?;
    let api = world.api();
    let warned =
        |warnings: Vec<String>| warnings.len() == 1 && warnings[0].contains("default/bad in the store is no Pod");
    let list = api.get("/api/v1/pods").await?.expect(200);
    assert!(list.names() == ["nats"] && warned(list.warnings()));
    assert!(api.get("/api/v1/namespaces/infra/pods").await?.expect(200).warnings().is_empty());
    let bad = api.get("/api/v1/namespaces/default/pods/bad").await?.refused(500, "InternalError");
    assert!(warned(bad.warnings()));
    let mut body = pod("bad");
    body["metadata"]["namespace"] = json!("default");
    api.post("/api/v1/namespaces/default/pods", &body).await?.refused(409, "Conflict").saying("no object");
    let checks = api.get("/readyz?verbose").await?.expect(200).text;
    assert!(checks.contains("[!]store degraded: connected; loaded; not complete: 1 of its values"), "{checks}");
    assert!(api.get("/metrics").await?.text.contains("mkube_store_unreadable_values 1\n"));
    store.put_behind("PODS", "default.bad", None);
    world.until("it is understood", |view| view.unreadable.is_empty()).await?;
    api.post("/api/v1/namespaces/default/pods", &body).await?.expect(201);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_store_that_was_accepted_empty_gets_the_boot_manifest_as_a_new_one_does() -> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    store.tell_what_others_do();
    let world = world(&store, &["nats"]).await?;
    world.until("it runs", |view| runs(view, "nats")).await?;
    let container = container_of(&world, "nats").await?;
    world.api().send("DELETE", "/api/v1/namespaces/infra/pods/nats", &[], "").await?.expect(200);
    world.until("it is gone", |view| get(view, PODS, "infra", "nats").is_none()).await?;
    world.api().post("/api/v1/namespaces/infra/pods", &pod("nats")).await?.expect(201);
    world.until("it runs again", |view| runs(view, "nats")).await?;
    let uid = |view: &ObjectsView| get(view, PODS, "infra", "nats").map(|pod| pod["metadata"]["uid"].clone());
    let (before, again) = (uid(&world.view()), container_of(&world, "nats").await?);
    assert_ne!(again, container, "what was deleted was made by a person, and not by the manifest");

    store.put_behind("PODS", "infra.nats", None);
    store.put_behind("CONFIGMAPS", "kube-system.mkube-boot-manifest", None);
    world
        .until("it is brought in", |view| {
            runs(view, "nats") && uid(view) != before && record(view) == "pods/infra/nats\n"
        })
        .await?;
    assert_eq!(container_of(&world, "nats").await?, again, "nothing restarted");
    world.stop().await;
    Ok(())
}
