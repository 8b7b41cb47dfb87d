//! What others do to the store, and what is left to do while it is away and known to be.

use std::sync::Arc;
use std::time::Duration;

use mkube_fakes::{MemoryStore, StoreCue};
use mkube_messages::objects::{ChangeType, Verb, WriteObject};
use mkube_model::neighbours::desired_store::PROVISIONAL;
use serde_json::json;
use tokio::time::sleep;

use super::{Bench, bench, on_node, pod};

const A_MOMENT: Duration = Duration::from_millis(100);

fn map(name: &str, value: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "data": {"k": value}})
}

async fn followed() -> Bench {
    let bench = bench().await;
    bench.store.tell_what_others_do();
    bench
}

#[actix::test]
async fn what_others_write_and_delete_is_published_as_it_happens_and_nothing_is_read_again() {
    let bench = followed().await;
    let put = |value: Option<&str>| {
        bench.store.put_behind("CONFIGMAPS", "default.m", value.map(|value| map("m", value).to_string()).as_deref());
    };
    put(Some("1"));
    sleep(A_MOMENT).await;
    assert_eq!(bench.get("ConfigMap", "m").map(|map| map["data"]["k"].clone()), Some(json!("1")));
    put(Some("2"));
    put(None);
    sleep(A_MOMENT).await;
    assert_eq!((bench.get("ConfigMap", "m"), bench.store.loads()), (None, 1));
    let maps = bench.reader.view().kind(&bench.kind("ConfigMap").id());
    let told: Vec<ChangeType> = maps.history.iter().map(|change| change.change).collect();
    assert_eq!(told, [ChangeType::Added, ChangeType::Modified, ChangeType::Deleted]);
    assert_eq!(maps.history.last().map(|change| change.revision), Some(maps.revision));
}

#[actix::test]
async fn changes_of_others_and_our_own_stand_in_the_history_in_the_order_of_the_store() {
    let bench = followed().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "ours"}})).await.expect("made");
    for number in 0..20 {
        bench.store.put_behind("CONFIGMAPS", "default.theirs", Some(&map("theirs", &number.to_string()).to_string()));
        bench
            .merge("ConfigMap", "ours", json!({"data": {"k": number.to_string()}}))
            .await
            .expect("nobody else writes it");
    }
    let maps = bench.reader.view().kind(&bench.kind("ConfigMap").id());
    let told: Vec<u64> = maps.history.iter().map(|change| change.revision).collect();
    assert!(told.is_sorted() && told.len() == 41, "{told:?}");
    assert_eq!(bench.store.loads(), 1);
}

#[actix::test]
async fn a_conflict_with_a_change_that_is_told_refuses_that_write_alone_and_reads_nothing_again() {
    let bench = followed().await;
    for name in ["m", "n"] {
        bench.create("ConfigMap", json!({"metadata": {"name": name}})).await.expect("made");
    }
    bench.store.put_behind("CONFIGMAPS", "default.m", Some(&map("m", "theirs").to_string()));
    let (refused, done) = tokio::join!(
        bench.merge("ConfigMap", "m", json!({"data": {"k": "ours"}})),
        bench.merge("ConfigMap", "n", json!({"data": {"k": "ours"}})),
    );
    assert_eq!(refused.expect_err("it changed").code, 409);
    assert!(done.expect("it stands for itself").changed);
    assert_eq!(bench.get("ConfigMap", "m").map(|map| map["data"]["k"].clone()), Some(json!("theirs")));
    assert_eq!(bench.store.loads(), 1);
}

#[actix::test]
async fn who_named_no_version_is_not_told_that_somebody_else_was_faster_where_others_write() {
    tokio::time::pause();
    let bench = on_node(Arc::new(MemoryStore::default()), "n", true);
    bench.store.tell_what_others_do();
    sleep(Duration::from_secs(1)).await;
    for name in ["m", "n"] {
        bench.create("ConfigMap", json!({"metadata": {"name": name}})).await.expect("made");
    }
    let before = bench.get("ConfigMap", "m").expect("it is there")["metadata"]["resourceVersion"].clone();
    bench.store.put_behind("CONFIGMAPS", "default.m", Some(&map("m", "theirs").to_string()));
    bench.store.put_behind("CONFIGMAPS", "default.o", Some(&map("o", "theirs").to_string()));
    let versioned = json!({"metadata": {"resourceVersion": before}, "data": {"l": "too late"}});
    let (done, refused, made) = tokio::join!(
        bench.merge("ConfigMap", "m", json!({"data": {"l": "ours"}})),
        bench.merge("ConfigMap", "m", versioned),
        bench.create("ConfigMap", json!({"metadata": {"name": "o"}})),
    );
    assert!(done.expect("it is done on top of theirs").changed);
    assert_eq!(refused.expect_err("it was changed").code, 409);
    assert_eq!(made.expect_err("it is there").reason, "AlreadyExists");
    assert_eq!(bench.get("ConfigMap", "m").map(|map| map["data"].clone()), Some(json!({"k": "theirs", "l": "ours"})));
    // Deletion too.
    bench.store.put_behind("CONFIGMAPS", "default.m", Some(&map("m", "again").to_string()));
    bench.delete("ConfigMap", "m").await.expect("nobody asked for a version");
    assert_eq!(bench.get("ConfigMap", "m"), None);
}

#[actix::test]
async fn what_somebody_stored_that_is_no_object_changes_nothing() {
    let bench = followed().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}, "data": {"k": "good"}})).await.expect("made");
    for bad in ["{not json", "[]", "{}", &map("other", "x").to_string()] {
        bench.store.put_behind("CONFIGMAPS", "default.m", Some(bad));
    }
    sleep(A_MOMENT).await;
    assert_eq!(bench.get("ConfigMap", "m").map(|map| map["data"]["k"].clone()), Some(json!("good")));
    assert_eq!(bench.get("ConfigMap", "other"), None);
    assert!(bench.reader.view().loaded);
}

#[actix::test]
async fn while_the_store_is_away_reads_go_on_writes_are_refused_at_once_and_reports_are_kept() {
    let bench = followed().await;
    bench.create("Pod", pod("a")).await.expect("made");
    let before = bench.reader.view().kind(&bench.kind("Pod").id()).revision;
    bench.store.set_stale(Some("nobody answers"));
    sleep(A_MOMENT).await;
    let view = bench.reader.view();
    assert!(view.loaded && !view.is_complete());
    let refused = bench.create("Pod", pod("b")).await.expect_err("nobody can keep it");
    assert_eq!((refused.code, refused.details["retryAfterSeconds"].clone()), (503, json!(5)));
    assert!(refused.message.contains("nothing was changed"), "{}", refused.message);
    bench.report("a", json!({"phase": "Running"})).await;
    sleep(A_MOMENT).await;
    let told = bench.get("Pod", "a").expect("it is there");
    assert_eq!(told["status"]["phase"], "Running");
    assert!(
        told["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|text| text.parse::<u64>().expect("a number") > PROVISIONAL)
    );
    assert_eq!((bench.get("Pod", "b"), bench.store.loads()), (None, 1));

    bench.store.set_stale(None);
    sleep(A_MOMENT).await;
    let view = bench.reader.view();
    let pods = view.kind(&bench.kind("Pod").id());
    assert!(view.is_complete());
    assert_eq!(bench.get("Pod", "a").expect("it is there")["status"]["phase"], "Running");
    // Whoever watched from a revision that was never the store's begins anew.
    assert!(before < pods.revision && pods.revision < PROVISIONAL && pods.history_after == pods.revision);
    bench.create("Pod", pod("b")).await.expect("the store is back");
}

#[actix::test]
async fn a_store_that_comes_back_in_the_middle_of_a_write_is_complete_only_when_it_was_read() {
    let bench = followed().await;
    bench.create("Pod", pod("a")).await.expect("made");
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}})).await.expect("made");
    sleep(Duration::from_secs(2)).await;
    bench.store.set_stale(Some("nobody answers"));
    sleep(A_MOMENT).await;
    let (reader, mut notices) = (bench.reader.clone(), bench.reader.notices());
    let kind = bench.kind("ConfigMap").id();
    let watched = actix::spawn(async move {
        loop {
            notices.changed().await.expect("it is published");
            let view = reader.view();
            if view.is_complete() {
                let map = view.get(&kind, &mkube_messages::objects::ObjectKey::new("default", "m"));
                return map.map(|map| map.value()["data"]["k"].clone());
            }
        }
    });
    bench.store.cue(StoreCue::Late(A_MOMENT));
    bench.report("a", json!({"phase": "Running"})).await;
    sleep(A_MOMENT / 2).await;
    bench.store.put_behind("CONFIGMAPS", "default.m", Some(&map("m", "theirs").to_string()));
    bench.store.set_stale(None);
    assert_eq!(watched.await.expect("it watches"), Some(json!("theirs")));
    assert_eq!(bench.get("Pod", "a").expect("it is there")["status"]["phase"], "Running");
}

#[actix::test]
async fn what_went_while_the_store_was_away_and_was_read_then_is_gone_when_it_is_back() {
    let bench = followed().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}})).await.expect("made");
    bench.store.set_stale(Some("nobody answers"));
    sleep(A_MOMENT).await;
    // Somebody deletes it, and only a reading of what was last known shows that.
    bench.store.forget(|at| at.key == "default.m", 1000);
    bench.tree.crash("mkube/objects", mkube_supervision::CrashHow::Panic).await.expect("running");
    sleep(A_MOMENT).await;
    assert!(bench.get("ConfigMap", "m").is_some(), "nothing is gone because a store that is away does not have it");
    bench.store.say_back();
    sleep(Duration::from_secs(5)).await;
    assert!(bench.reader.view().is_complete());
    assert_eq!(bench.get("ConfigMap", "m"), None);
}

#[actix::test]
async fn while_the_store_is_away_nobody_is_told_what_is_missing_there_in_the_way_or_as_wanted() {
    let bench = followed().await;
    let made = json!({"metadata": {"name": "m"}, "data": {"k": "1"}});
    bench.create("ConfigMap", made.clone()).await.expect("made");
    // One more is made, one is changed, and the answers are lost: what is there is not what was last known.
    bench.store.set_stale(Some("nobody answers"));
    sleep(A_MOMENT).await;
    let told = [
        ("a patch of what may be there", bench.merge("ConfigMap", "lost", json!({"data": {"k": "1"}})).await),
        ("its deletion", bench.delete("ConfigMap", "lost").await),
        ("another of a name that may be free", bench.create("ConfigMap", made.clone()).await),
        ("a patch to what may be otherwise", bench.merge("ConfigMap", "m", json!({"data": {"k": "1"}})).await),
        ("one from long ago", bench.merge("ConfigMap", "m", json!({"metadata": {"resourceVersion": "1"}})).await),
    ];
    for (what, told) in told {
        let refused = told.map(|written| written.changed).expect_err(what);
        assert_eq!((refused.code, refused.details["retryAfterSeconds"].clone()), (503, json!(5)), "{what}");
    }
    // What is wrong whatever is there is said at once, and a dry run says what it knows.
    let bad = bench.create("ConfigMap", json!({"metadata": {"name": "Not_A_Name"}})).await;
    assert_eq!(bad.expect_err("no name").code, 422);
    let dry = WriteObject { dry_run: true, ..bench.order("ConfigMap", "", Verb::Create { body: made }) };
    assert_eq!(bench.send(dry).await.expect_err("it is there, as far as is known").code, 409);
}

#[actix::test]
async fn what_we_say_is_kept_though_what_somebody_wants_is_refused_in_the_same_moment() {
    let bench = followed().await;
    bench.create("Pod", pod("a")).await.expect("made");
    sleep(Duration::from_secs(2)).await;
    // The store is away, and nobody has heard of it yet: both are in one batch.
    bench.store.set_stale_unheard("nobody answers");
    let (refused, ()) = tokio::join!(bench.create("Pod", pod("b")), bench.report("a", json!({"phase": "Running"})));
    assert_eq!(refused.expect_err("nobody can keep it").code, 503);
    sleep(A_MOMENT).await;
    assert_eq!(bench.get("Pod", "a").expect("it is there")["status"]["phase"], "Running");
}

#[actix::test]
async fn what_is_to_be_deleted_for_something_else_waits_for_the_store_and_goes_then() {
    let bench = followed().await;
    let owner = bench.create("ConfigMap", json!({"metadata": {"name": "owner"}})).await.expect("made");
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.object.uid()}]);
    bench.create("ConfigMap", json!({"metadata": {"name": "m", "ownerReferences": reference}})).await.expect("made");
    bench.create("Namespace", json!({"metadata": {"name": "team"}})).await.expect("made");
    for (kind, name, follows) in
        [("ConfigMap", "owner", ("ConfigMap", "m")), ("Namespace", "team", ("Namespace", "team"))]
    {
        // It is marked, and before anything can follow from it the store is away.
        let (marked, ()) = tokio::join!(bench.delete(kind, name), async {
            bench.store.until_batches(bench.store.batches().len() + 1).await;
            bench.store.set_stale(Some("nobody answers"));
        });
        marked.expect("it is marked");
        sleep(Duration::from_secs(60)).await;
        assert!(bench.get(follows.0, follows.1).is_some() && bench.get(kind, name).is_some(), "{name}");
        bench.store.set_stale(None);
        sleep(Duration::from_secs(1)).await;
        assert_eq!((bench.get(follows.0, follows.1), bench.get(kind, name)), (None, None), "{name}");
    }
}

#[actix::test]
async fn what_was_kept_and_fits_no_more_is_told_and_what_somebody_else_did_stands() {
    let bench = followed().await;
    bench.create("Pod", pod("a")).await.expect("made");
    bench.store.set_stale(Some("nobody answers"));
    sleep(A_MOMENT).await;
    bench.report("a", json!({"phase": "Running"})).await;
    sleep(A_MOMENT).await;
    let mut theirs = pod("a");
    theirs["metadata"]["namespace"] = json!("default");
    theirs["metadata"]["labels"] = json!({"by": "them"});
    bench.store.put_behind("PODS", "default.a", Some(&theirs.to_string()));
    bench.store.set_stale(None);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.get("Pod", "a").expect("it is there")["metadata"]["labels"], json!({"by": "them"}));
    let events = bench.reader.view().kind(&bench.kind("Event").id());
    let told = events.objects.values().find(|event| event.value()["reason"] == "ChangeLost").expect("it is told");
    assert_eq!(told.value()["involvedObject"]["name"], "a");
}

#[actix::test]
async fn a_value_of_somebody_else_that_is_no_object_costs_nobody_else_and_is_not_written_over() {
    let bench = followed().await;
    for name in ["good", "bad"] {
        bench.create("ConfigMap", json!({"metadata": {"name": name}, "data": {"k": "1"}})).await.expect("made");
    }
    let maps = bench.kind("ConfigMap").id();
    bench.store.put_behind("CONFIGMAPS", "default.bad", Some("{not json"));
    bench.store.put_behind("CONFIGMAPS", "default.never", Some("[]"));
    for round in ["as news", "after a restart", "after a second one"] {
        sleep(Duration::from_secs(15)).await;
        let view = bench.reader.view();
        assert!(view.is_complete() && view.not_loaded_because.is_none(), "{round}");
        assert!(!view.is_whole(|kind| *kind == maps) && view.is_whole(|kind| kind.plural == "pods"), "{round}");
        let bad: Vec<String> = view.unreadable.keys().map(|(_, key)| key.to_string()).collect();
        assert_eq!(bad, ["default/bad", "default/never"], "{round}");
        // What was known of it stays, and nobody writes over what is there now.
        assert!(bench.get("ConfigMap", "bad").is_some(), "{round}");
        let refused = bench.merge("ConfigMap", "bad", json!({"data": {"k": "2"}})).await.expect_err("unknown");
        assert!(refused.code == 409 && refused.message.contains("no object"), "{round}: {refused}");
        let refused = bench.create("ConfigMap", json!({"metadata": {"name": "never"}})).await.expect_err("unknown");
        assert_eq!(refused.code, 409, "{round}");
        bench.merge("ConfigMap", "good", json!({"data": {"k": round}})).await.expect("it is nobody else's");
        bench.tree.crash("mkube/objects", mkube_supervision::CrashHow::Panic).await.expect("running");
    }
    bench.store.put_behind("CONFIGMAPS", "default.bad", Some(&map("bad", "theirs").to_string()));
    bench.store.put_behind("CONFIGMAPS", "default.never", None);
    sleep(Duration::from_secs(30)).await;
    assert!(bench.reader.view().unreadable.is_empty());
    assert_eq!(bench.get("ConfigMap", "bad").expect("there")["data"]["k"], "theirs");
    bench.create("ConfigMap", json!({"metadata": {"name": "never"}})).await.expect("nothing is there");
}

#[actix::test]
async fn what_the_go_controller_left_is_served_as_whole_objects_and_the_first_write_keeps_their_uids() {
    let bench = followed().await;
    let left = json!({"metadata": {"name": "web", "namespace": "default", "creationTimestamp": null},
        "spec": {"containers": [{"name": "c", "image": "x:1", "resources": {}}]}, "status": {}});
    bench.store.put_behind("PODS", "default.web", Some(&left.to_string()));
    bench.store.put_behind(
        "NAMESPACES",
        "team",
        Some(&json!({"name": "team", "mode": "open", "network": "gt"}).to_string()),
    );
    sleep(A_MOMENT).await;
    let read = bench.get("Pod", "web").expect("it is there");
    let uid = read["metadata"]["uid"].as_str().expect("it has one").to_owned();
    assert_eq!((&read["kind"], &read["spec"]["restartPolicy"]), (&json!("Pod"), &json!("Always")));
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let written = bench.merge("Pod", "web", labels.clone()).await.expect("it is an object like others");
    assert_eq!(written.object.uid(), uid);
    let stored = bench.store.text("PODS", "default.web").expect("stored");
    assert!(stored.contains(&uid));
    bench.merge("Namespace", "team", labels).await.expect("it is an object like others");
    let stored: serde_json::Value =
        serde_json::from_str(&bench.store.text("NAMESPACES", "team").expect("stored")).expect("JSON");
    assert_eq!(
        (&stored["name"], &stored["mode"], &stored["metadata"]["name"]),
        (&json!("team"), &json!("open"), &json!("team"))
    );
}

#[actix::test]
async fn what_is_missing_in_what_was_last_known_is_not_taken_for_deleted() {
    let bench = bench().await;
    bench.create("Pod", pod("a")).await.expect("made");
    bench.store.forget(|at| at.bucket == "PODS", 0);
    bench.store.set_stale(Some("nobody answers"));
    for _ in 0..3 {
        let loads = bench.store.loads();
        bench.tree.crash("mkube/objects", mkube_supervision::CrashHow::Panic).await.expect("running");
        sleep(Duration::from_secs(20)).await;
        assert!(bench.store.loads() > loads, "it was read again");
    }
    assert!(bench.get("Pod", "a").is_some());
}

#[actix::test]
async fn who_comes_after_its_owner_was_deleted_goes_too_and_nobody_goes_for_an_owner_that_is_only_missing() {
    let bench = followed().await;
    let of = |name: &str, owner: &str, uid: &str| {
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}]);
        json!({"metadata": {"name": name, "namespace": "default", "uid": name, "ownerReferences": owner}}).to_string()
    };
    let put = |name: &str, value: &str| bench.store.put_behind("CONFIGMAPS", &format!("default.{name}"), Some(value));
    let owner = bench.create("ConfigMap", json!({"metadata": {"name": "ours"}})).await.expect("made");
    let uid = owner.object.uid().to_owned();
    bench.delete("ConfigMap", "ours").await.expect("deleted");
    // Another controller made them when it had not heard of that; one owner was never here.
    put("late", &of("late", "ours", &uid));
    put("stays", &of("stays", "never-here", "never-here"));
    sleep(A_MOMENT).await;
    assert_eq!(bench.get("ConfigMap", "late"), None);
    assert!(bench.get("ConfigMap", "stays").is_some());
    // And the other way round: it was here before its owner was deleted there.
    put("theirs", &map("theirs", "1").to_string());
    put("early", &of("early", "theirs", "theirs"));
    sleep(A_MOMENT).await;
    assert!(bench.get("ConfigMap", "early").is_some());
    bench.store.put_behind("CONFIGMAPS", "default.theirs", None);
    sleep(A_MOMENT).await;
    assert_eq!((bench.get("ConfigMap", "early"), bench.get("ConfigMap", "theirs")), (None, None));
    assert!(bench.get("ConfigMap", "stays").is_some());
}
