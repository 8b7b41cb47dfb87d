//! What controllers report, and events: merged, counted, kept to a number.

use super::*;

#[actix::test]
async fn reports_of_one_object_are_written_at_most_once_a_second_the_first_at_once_the_last_for_sure() {
    let bench = bench().await;
    bench.create("Pod", pod("a")).await.expect("made");
    sleep(Duration::from_secs(5)).await;
    let before = bench.writes_of("default.a").len();
    for step in 0..100 {
        bench.report("a", json!({"phase": "Pending", "step": step})).await;
        if step == 0 {
            sleep(Duration::from_millis(10)).await;
            assert_eq!(bench.writes_of("default.a").len(), before + 1, "the first is written at once");
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(3)).await;
    let writes = bench.writes_of("default.a").split_off(before);
    assert!(writes.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{writes:?}");
    assert!((5..=7).contains(&writes.len()), "{writes:?}");
    assert_eq!(bench.get("Pod", "a").map(|pod| pod["status"]["step"].clone()), Some(json!(99)));
}

#[actix::test]
async fn a_report_of_who_takes_a_name_does_not_wait_for_the_second_of_who_had_it() {
    let bench = bench().await;
    bench.create("ConfigMap", json!({"metadata": {"name": "other"}})).await.expect("made");
    let report = async |uid: &str, step: u32| {
        let status = json!({"phase": "Pending", "step": step});
        let (kind, key) = (bench.kind("Pod").id(), ObjectKey::new("default", "a"));
        let report = ReportStatus { context: within(), kind, key, uid: uid.into(), status };
        bench.ask(report).await.expect("taken");
    };
    let uid = || bench.get("Pod", "a").map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
    bench.create("Pod", pod("a")).await.expect("made");
    let first = uid().expect("it is there");
    report(&first, 1).await;
    sleep(Duration::from_millis(10)).await;
    bench.write("Pod", "a", Verb::Replace { body: pod("a") }).await.expect("replaced");
    let second = uid().expect("it is there");
    assert_ne!(first, second);
    report(&second, 2).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.get("Pod", "a").map(|pod| pod["status"]["step"].clone()), Some(json!(2)));
}

#[actix::test]
async fn a_slow_store_does_not_bring_two_reports_of_one_object_into_one_second() {
    let bench = bench().await;
    bench.create("Pod", pod("a")).await.expect("made");
    sleep(Duration::from_secs(5)).await;
    let before = bench.writes_of("default.a").len();
    bench.store.cue(StoreCue::Late(Duration::from_millis(900)));
    for step in 0..30 {
        bench.report("a", json!({"phase": "Pending", "step": step})).await;
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(3)).await;
    let writes = bench.writes_of("default.a").split_off(before);
    assert!(writes.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{writes:?}");
    assert!(writes.len() <= 5, "{writes:?}");
}

#[actix::test]
async fn a_report_about_a_predecessor_is_dropped() {
    let bench = bench().await;
    bench.create("Pod", pod("a")).await.expect("made");
    let report = ReportStatus {
        context: within(),
        kind: bench.kind("Pod").id(),
        key: ObjectKey::new("default", "a"),
        uid: "of-another".into(),
        status: json!({"phase": "Failed"}),
    };
    bench.ask(report).await.expect("taken");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.get("Pod", "a").map(|pod| pod["status"]["phase"].clone()), Some(json!("Pending")));
}

#[actix::test]
async fn equal_events_are_one_object_that_counts() {
    let bench = bench().await;
    let door: Door<RecordEvent> = bench.objects.door();
    let event = |message: &str| RecordEvent {
        involved_kind: "Pod",
        involved_api_version: "v1",
        key: ObjectKey::new("default", "a"),
        uid: "u".into(),
        warning: true,
        reason: "BackOff",
        message: message.into(),
    };
    for _ in 0..5 {
        door.tell(event("again")).expect("open");
        sleep(Duration::from_secs(2)).await;
    }
    door.tell(event("other")).expect("open");
    sleep(Duration::from_secs(2)).await;
    let events = bench.reader.view().kind(&bench.kind("Event").id());
    let mut told: Vec<(Value, Value)> =
        events.objects.values().map(|one| (one.value()["message"].clone(), one.value()["count"].clone())).collect();
    told.sort_by_key(|(message, _)| message.to_string());
    assert_eq!(told, [(json!("again"), json!(5)), (json!("other"), json!(1))]);
}

#[actix::test]
async fn the_last_events_are_kept_whoever_wrote_them() {
    let bench = bench().await;
    let kind = bench.kind("Event").id();
    let event = |number: usize| {
        json!({
            "metadata": {"name": format!("e.{number}")}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"},
            "reason": "Looked", "message": number.to_string(), "type": "Normal",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        })
    };
    for number in 0..40 {
        bench.create("Event", event(number)).await.expect("made");
    }
    sleep(Duration::from_secs(2)).await;
    let kept = |bench: &Bench| bench.reader.view().kind(&kind).objects.len();
    assert_eq!(kept(&bench), 32);
    assert_eq!(bench.get("Event", "e.7"), None, "the oldest went");
    assert!(bench.get("Event", "e.8").is_some() && bench.get("Event", "e.39").is_some());
    let door: Door<RecordEvent> = bench.objects.door();
    for number in 0..3 {
        let told = RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: ObjectKey::new("default", "a"),
            uid: "u".into(),
            warning: false,
            reason: "Started",
            message: number.to_string(),
        };
        door.tell(told).expect("open");
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(kept(&bench), 32);
    assert_eq!(bench.get("Event", "e.10"), None);
    // The next incarnation counts what is there.
    bench.tree.crash("mkube/objects", CrashHow::Panic).await.expect("running");
    sleep(Duration::from_secs(1)).await;
    bench.create("Event", event(50)).await.expect("made");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(kept(&bench), 32);
}
