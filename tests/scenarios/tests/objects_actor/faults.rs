//! A store that fails, lies or is slow.

use super::*;

#[actix::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing_it_took() {
    let bench = Arc::new(bench().await);
    bench.store.cue(StoreCue::Late(Duration::from_secs(5)));
    let writing: Vec<_> = (0..1200)
        .map(|number| {
            let bench = bench.clone();
            let body = json!({"metadata": {"name": format!("m{number}")}});
            actix_rt::spawn(async move { bench.create("ConfigMap", body).await.map_err(|status| status.code) })
        })
        .collect();
    let mut taken = 0;
    let mut refused = 0;
    for one in writing {
        match one.await.expect("joined") {
            Ok(_) => taken += 1,
            Err(code) => {
                assert_eq!(code, 429);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && taken >= 1024, "{taken} taken, {refused} refused");
    assert_eq!(bench.reader.view().kind(&bench.kind("ConfigMap").id()).objects.len(), taken);
}

#[actix::test]
async fn a_store_that_cannot_write_refuses_with_503_and_the_batch_is_not_half_there() {
    let bench = bench().await;
    bench.store.cue(StoreCue::Fail(StoreFault::Unwritable("no space left".into())));
    let refused = bench.create("Pod", pod("a")).await.expect_err("not stored");
    assert_eq!(refused.code, 503);
    assert!(refused.message.contains("no space left"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.get("Pod", "a"), bench.store.loads()), (None, 2));
    bench.create("Pod", pod("a")).await.expect("the next one is stored");
}

#[actix::test]
async fn a_lost_reply_of_the_store_is_504_and_what_it_holds_is_read_again() {
    let bench = bench().await;
    bench.store.cue(StoreCue::LoseReply);
    let unknown = bench.create("Pod", pod("a")).await.expect_err("nobody knows");
    assert_eq!(unknown.code, 504);
    sleep(Duration::from_secs(1)).await;
    assert!(bench.get("Pod", "a").is_some(), "it was done, and is seen");
    let again = bench.create("Pod", pod("a")).await.expect_err("it is there");
    assert_eq!(again.reason, "AlreadyExists");
}

#[actix::test]
async fn a_change_behind_our_back_is_a_conflict_and_then_known() {
    let bench = bench().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}, "data": {"k": "1"}})).await.expect("made");
    let theirs = json!({"metadata": {"name": "m", "namespace": "default"}, "data": {"k": "theirs"}});
    bench.store.put_behind("CONFIGMAPS", "default.m", Some(&theirs.to_string()));
    let refused = bench.merge("ConfigMap", "m", json!({"data": {"k": "2"}})).await.expect_err("it changed");
    assert_eq!(refused.code, 409);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.get("ConfigMap", "m").map(|map| map["data"]["k"].clone()), Some(json!("theirs")));
}

#[actix::test]
async fn an_unreadable_store_is_not_an_empty_one() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    store.set_load_fault(Some(StoreFault::Unreadable("checksum".into())));
    let bench = over(store);
    sleep(Duration::from_secs(5)).await;
    let view = bench.reader.view();
    assert!(!view.loaded && view.not_loaded_because.as_ref().is_some_and(|why| why.contains("checksum")));
    assert_eq!(bench.create("Pod", pod("a")).await.expect_err("not loaded").code, 503);
    bench.store.set_load_fault(None);
    sleep(Duration::from_secs(2)).await;
    assert!(bench.reader.view().loaded);
    bench.store.put_behind("PODS", "default.broken", Some("{not json"));
    bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    sleep(Duration::from_secs(5)).await;
    assert!(bench.reader.view().not_loaded_because.as_ref().is_some_and(|why| why.contains("default.broken")));
    assert!(bench.get("Namespace", "default").is_some(), "what was known stays");
}

/// The store is away for a moment, and is read again.
async fn read_again(bench: &Bench) {
    bench.store.cue(StoreCue::Fail(StoreFault::Away("reset".into())));
    bench.create("Pod", pod("e")).await.expect_err("the store is away, and is read again");
    sleep(Duration::from_secs(2)).await;
}

#[actix::test]
async fn a_store_of_our_own_that_lacks_what_nobody_deleted_is_not_believed_however_often_it_says_so() {
    let bench = bench().await;
    for name in ["a", "b", "c", "d"] {
        bench.create("Pod", pod(name)).await.expect("made");
    }
    let seen = || {
        let view = bench.reader.view();
        let pods = view.kind(&bench.kind("Pod").id());
        assert!(pods.history.iter().all(|one| one.change != ChangeType::Deleted), "nobody saw one go");
        (pods.objects.len(), view.not_loaded_because.clone())
    };
    for less in [LoadCue::Empty, LoadCue::Partial] {
        (0..3).for_each(|_| bench.store.cue_load(less.clone()));
        read_again(&bench).await;
        assert_eq!(seen(), (4, None), "read until it is true");
    }
    // What somebody took out of it by hand is missed for as long as mkube runs.
    bench.store.put_behind("PODS", "default.a", None);
    read_again(&bench).await;
    sleep(Duration::from_secs(60)).await;
    let (count, why) = seen();
    assert_eq!(count, 4);
    assert!(why.is_some_and(|why| why.contains("pods default/a") && why.contains("restart mkube")));
    let refused = bench.merge("Pod", "b", json!({"metadata": {"labels": {"a": "b"}}})).await.expect_err("unsure");
    assert!(refused.code == 503 && refused.message.contains("pods default/a"), "{refused}");
    let again = over(bench.store);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((again.get("Pod", "a"), again.get("Pod", "b").is_some()), (None, true), "a restart takes it as it is");
    assert_eq!(again.reader.view().not_loaded_because, None);
}

#[actix::test]
async fn what_we_deleted_ourselves_is_not_missed_whatever_became_of_the_answer() {
    let bench = bench().await;
    for (name, cue) in [
        ("lost", StoreCue::LoseReply),
        ("late", StoreCue::Late(Duration::from_secs(30))),
        ("failed", StoreCue::Fail(StoreFault::Away("reset".into()))),
    ] {
        bench.create("ConfigMap", json!({"metadata": {"name": name}})).await.expect("made");
        bench.store.cue(cue);
        bench.delete("ConfigMap", name).await.expect_err("nobody knows");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(bench.reader.view().not_loaded_because, None, "{name}");
        if bench.get("ConfigMap", name).is_some() {
            bench.delete("ConfigMap", name).await.expect("asked again");
        }
        assert_eq!(bench.get("ConfigMap", name), None);
    }
    // It was carried out after all, when the store had been read again: that comes out when somebody asks once more.
    bench.create("ConfigMap", json!({"metadata": {"name": "slow"}})).await.expect("made");
    bench.store.cue(StoreCue::Fail(StoreFault::Away("reset".into())));
    bench.delete("ConfigMap", "slow").await.expect_err("nobody knows");
    sleep(Duration::from_secs(5)).await;
    assert!(bench.get("ConfigMap", "slow").is_some());
    bench.store.put_behind("CONFIGMAPS", "default.slow", None);
    bench.delete("ConfigMap", "slow").await.expect_err("it is not there");
    sleep(Duration::from_secs(5)).await;
    assert_eq!((bench.reader.view().not_loaded_because.clone(), bench.get("ConfigMap", "slow")), (None, None));
    // Whoever asked is gone too.
    bench.create("ConfigMap", json!({"metadata": {"name": "m"}})).await.expect("made");
    bench.store.cue(StoreCue::Late(Duration::from_secs(1)));
    let died = async {
        sleep(Duration::from_millis(100)).await;
        bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    };
    let order = bench.order("ConfigMap", "m", Verb::Delete { options: Value::Null });
    let (answer, ()) = tokio::join!(bench.ask(order), died);
    answer.expect_err("nobody is there to answer");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((bench.reader.view().not_loaded_because.clone(), bench.get("ConfigMap", "m")), (None, None));
}

#[actix::test]
async fn what_two_readings_of_a_store_of_several_lack_was_deleted_by_others() {
    let bench = bench().await;
    for name in ["a", "b"] {
        bench.create("Pod", pod(name)).await.expect("made");
    }
    // They delete it while nobody is told.
    bench.store.put_behind("PODS", "default.a", None);
    bench.store.tell_what_others_do();
    for cue in [LoadCue::Empty, LoadCue::Partial] {
        bench.store.cue_load(cue);
    }
    read_again(&bench).await;
    assert_eq!((bench.get("Pod", "a"), bench.get("Pod", "b").is_some()), (None, true));
    assert_eq!(bench.reader.view().not_loaded_because, None);
}

#[actix::test]
async fn a_store_that_seems_empty_at_the_start_is_not_written_over() {
    let store = bench().await.store;
    let before = store.text("NAMESPACES", "default").expect("it is there");
    store.cue_load(LoadCue::Empty);
    let bench = over(store);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.store.text("NAMESPACES", "default"), Some(before));
    assert!(bench.get("Namespace", "default").is_some(), "and what it holds is known");
}
