//! Namespaces that come, go, and take along what is in them.

use super::*;

#[actix::test]
async fn the_permanent_namespaces_are_there_and_cannot_be_deleted() {
    let bench = bench().await;
    for name in ["default", "infra", "kube-system", "kube-public", "kube-node-lease"] {
        assert_eq!(bench.get("Namespace", name).map(|one| one["status"]["phase"].clone()), Some(json!("Active")));
        assert_eq!(bench.delete("Namespace", name).await.expect_err("permanent").code, 403);
    }
    let elsewhere =
        WriteObject { key: ObjectKey::new("nowhere", ""), ..bench.order("Pod", "", Verb::Create { body: pod("a") }) };
    assert_eq!(bench.send(elsewhere).await.expect_err("no such namespace").code, 404);
}

#[actix::test]
async fn a_namespace_goes_when_everything_in_it_is_gone_and_takes_nothing_new_meanwhile() {
    let bench = bench().await;
    bench.create("Namespace", json!({"metadata": {"name": "shop"}})).await.expect("made");
    let inside =
        |kind: &str, name: &str, verb| WriteObject { key: ObjectKey::new("shop", name), ..bench.order(kind, "", verb) };
    let made = bench.send(inside("Pod", "", Verb::Create { body: pod("a") })).await.expect("made");
    for number in 0..300 {
        let body = json!({"metadata": {"name": format!("m{number}")}});
        bench.send(inside("ConfigMap", "", Verb::Create { body })).await.expect("made");
    }
    bench.delete("Namespace", "shop").await.expect("marked");
    let refused = bench.send(inside("Pod", "", Verb::Create { body: pod("late") })).await.expect_err("terminating");
    assert_eq!(refused.code, 403);
    let door: Door<RecordEvent> = bench.objects.door();
    let event = RecordEvent {
        involved_kind: "Pod",
        involved_api_version: "v1",
        key: ObjectKey::new("shop", "a"),
        uid: "u".into(),
        warning: false,
        reason: "Killing",
        message: "stopping".into(),
    };
    door.tell(event.clone()).expect("open");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.get("Namespace", "shop").map(|one| one["status"]["phase"].clone()), Some(json!("Terminating")));
    let maps = bench.reader.view().kind(&bench.kind("ConfigMap").id());
    assert_eq!(maps.objects.len(), 0, "what needs no ceremony is gone");
    // The actor that was emptying it dies; the next one goes on.
    bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    sleep(Duration::from_millis(100)).await;
    let finish = FinishDeletion {
        context: within(),
        kind: bench.kind("Pod").id(),
        key: ObjectKey::new("shop", "a"),
        uid: uid(&made.object.value()),
    };
    bench.ask(finish).await.expect("finished");
    door.tell(event).expect("open");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.get("Namespace", "shop"), None);
    let events = bench.reader.view().kind(&bench.kind("Event").id());
    assert_eq!(events.objects.len(), 0, "no event is left in a namespace that is gone");
}

#[actix::test]
async fn a_crash_between_emptying_a_namespace_and_removing_it_leaves_no_namespace_behind() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let going = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u",
        "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Terminating"}});
    store.put_behind("NAMESPACES", "shop", Some(&going.to_string()));
    let bench = over(store);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.get("Namespace", "shop"), None);
}

#[actix::test]
async fn a_namespace_that_was_being_emptied_when_the_process_died_is_emptied_on() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let going = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "uid": "u",
        "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Terminating"}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "shop", "uid": "m"}, "data": {}});
    store.put_behind("NAMESPACES", "shop", Some(&going.to_string()));
    store.put_behind("CONFIGMAPS", "shop.m", Some(&map.to_string()));
    let bench = over(store);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.get("Namespace", "shop"), None);
    assert_eq!(bench.store.text("CONFIGMAPS", "shop.m"), None);
}
