//! Watches: what is there, what changes, where to go on, and when not to.

use std::time::Duration;

use futures_util::StreamExt;
use mkube_edges::HttpLimits;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{JSON, MAPS, TABLE, map, quiet};

fn labelled(name: &str, label: &str) -> Value {
    let mut one = map(name, json!({}));
    one["metadata"]["labels"] = json!({"app": label});
    one
}

fn told(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[actix_rt::test]
async fn a_watch_without_a_version_tells_what_is_there_and_then_what_happens() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("a", json!({}))).await?.expect(201);
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut watch = api.watch(&format!("{MAPS}?{query}"), JSON).await?;
        assert_eq!(watch.event().await?, told("ADDED", "a"));
        let made = api.post(MAPS, &map("b", json!({}))).await?.expect(201);
        let event = watch.next().await?.unwrap_or_default();
        assert_eq!((&event["type"], &event["object"]), (&json!("ADDED"), &made.body));
        let changed = api.patch(&format!("{MAPS}/b"), "merge", &json!({"data": {"x": "1"}})).await?.expect(200);
        let event = watch.next().await?.unwrap_or_default();
        assert_eq!((&event["type"], &event["object"]), (&json!("MODIFIED"), &changed.body));
        api.delete(&format!("{MAPS}/b")).await?.expect(200);
        let event = watch.next().await?.unwrap_or_default();
        assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("DELETED"), &json!("1")));
        let version =
            |value: &Value| value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        assert!(version(&event["object"]) > version(&changed.body), "a deletion has its own version");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_watch_goes_on_from_the_version_of_a_list_and_misses_and_repeats_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("old", json!({}))).await?.expect(201);
    let list = api.get(MAPS).await?.expect(200);
    for name in ["a", "b"] {
        api.post(MAPS, &map(name, json!({}))).await?.expect(201);
    }
    api.delete(&format!("{MAPS}/a")).await?.expect(200);
    let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={}", list.version()), JSON).await?;
    assert_eq!(watch.event().await?, told("ADDED", "a"));
    let b = watch.next().await?.unwrap_or_default();
    assert_eq!((&b["type"], &b["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("b")));
    assert_eq!(watch.event().await?, told("DELETED", "a"));
    let version = b["object"]["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut later = api.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"), JSON).await?;
    assert_eq!(later.event().await?, told("DELETED", "a"));
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_version_that_is_too_old_or_from_elsewhere_is_expired_inside_the_stream() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    // More changes than the history is long.
    let changes = futures_util::stream::iter(0..mkube_objects::HISTORY + 10)
        .map(|number| async move { api.post(MAPS, &map(&format!("m{number}"), json!({}))).await })
        .buffer_unordered(64);
    let codes: Vec<u16> = changes.map(|answer| answer.map_or(0, |answer| answer.code)).collect().await;
    assert!(codes.iter().all(|code| *code == 201), "{codes:?}");
    for version in ["999999999", "1"] {
        let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"), JSON).await?;
        let event = watch.next().await?.unwrap_or_default();
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
        assert_eq!(event["object"]["reason"], "Expired");
        assert!(watch.next().await?.is_none(), "and the stream ends");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn what_enters_or_leaves_a_selection_is_added_or_deleted() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &labelled("a", "web")).await?.expect(201);
    let mut watch = api.watch(&format!("{MAPS}?watch=true&labelSelector=app%3Dweb"), JSON).await?;
    assert_eq!(watch.event().await?, told("ADDED", "a"));
    api.post(MAPS, &labelled("b", "db")).await?.expect(201);
    let left =
        api.patch(&format!("{MAPS}/a"), "merge", &json!({"metadata": {"labels": {"app": "db"}}})).await?.expect(200);
    let event = watch.next().await?.unwrap_or_default();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("a")));
    assert_eq!(event["object"]["metadata"]["labels"]["app"], "web", "as it was when it belonged to the selection");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left.version());
    api.patch(&format!("{MAPS}/b"), "merge", &json!({"metadata": {"labels": {"app": "web"}}})).await?.expect(200);
    assert_eq!(watch.event().await?, told("ADDED", "b"));
    api.delete(&format!("{MAPS}/b")).await?.expect(200);
    assert_eq!(watch.event().await?, told("DELETED", "b"));
    let mut named = api.watch(&format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Da"), JSON).await?;
    assert_eq!(named.event().await?, told("ADDED", "a"));
    api.post(MAPS, &labelled("c", "web")).await?.expect(201);
    assert!(named.is_silent_for(Duration::from_millis(300)).await);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_watch_ends_by_itself_with_a_last_bookmark_for_those_who_asked() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let made = api.post(MAPS, &map("a", json!({}))).await?.expect(201);
    let list = api.get(MAPS).await?;
    let begun = Instant::now();
    let path = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={}", list.version());
    let mut plain = api.watch(&path, JSON).await?;
    let mut marked = api.watch(&format!("{path}&allowWatchBookmarks=true"), JSON).await?;
    let bookmark = marked.next().await?.unwrap_or_default();
    assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    let version = bookmark["object"]["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(version >= made.version().parse().ok(), "{bookmark}");
    assert!(marked.next().await?.is_none());
    assert!(plain.next().await?.is_none(), "nobody gets a bookmark unasked");
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(10));
    api.get(&format!("{MAPS}?watch=true&timeoutSeconds=soon")).await?.refused(400, "BadRequest");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn initial_events_end_with_a_marked_bookmark() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("a", json!({}))).await?.expect(201);
    let streaming = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{streaming}&resourceVersion=0"), JSON).await?;
    assert_eq!(watch.event().await?, told("ADDED", "a"));
    let end = watch.next().await?.unwrap_or_default();
    assert_eq!(
        (&end["type"], &end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"]),
        (&json!("BOOKMARK"), &json!("true"))
    );
    api.post(MAPS, &map("b", json!({}))).await?.expect(201);
    assert_eq!(watch.event().await?, told("ADDED", "b"));
    let refused = api.get(&format!("{MAPS}?watch=true&sendInitialEvents=true")).await?.refused(422, "Invalid");
    refused.saying("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_watch_of_tables_sends_one_row_each_and_headings_once() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("a", json!({"x": "1"}))).await?.expect(201);
    let mut watch = api.watch(&format!("{MAPS}?watch=true"), TABLE).await?;
    let first = watch.next().await?.unwrap_or_default();
    assert_eq!(
        (&first["object"]["kind"], first["object"]["rows"].as_array().map(Vec::len)),
        (&json!("Table"), Some(1))
    );
    assert_eq!(first["object"]["columnDefinitions"].as_array().map(Vec::len), Some(3));
    api.post(MAPS, &map("b", json!({}))).await?.expect(201);
    let second = watch.next().await?.unwrap_or_default();
    assert_eq!((&second["type"], &second["object"]["rows"][0]["cells"][0]), (&json!("ADDED"), &json!("b")));
    assert_eq!(second["object"]["columnDefinitions"], Value::Null);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn asking_one_object_for_a_watch_reads_it() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("a", json!({}))).await?.expect(201);
    assert_eq!(api.get(&format!("{MAPS}/a?watch=true")).await?.expect(200).body["kind"], "ConfigMap");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn too_many_watches_are_told_to_come_back_later() -> anyhow::Result<()> {
    let limits = HttpLimits { watches: 32, ..HttpLimits::of_this_process() };
    let world = World::with(Setup { tick: Duration::from_secs(3600), limits, ..Setup::default() }).await?;
    let api = world.api();
    let mut watches = Vec::new();
    for _ in 0..32 {
        watches.push(api.watch(&format!("{MAPS}?watch=true"), JSON).await?);
    }
    let refused = api.get(&format!("{MAPS}?watch=true")).await?.refused(429, "TooManyRequests");
    assert_eq!(refused.header("retry-after"), "5");
    api.get(MAPS).await?.expect(200);
    drop(watches);
    let deadline = Instant::now() + Duration::from_secs(20);
    while api.get(&format!("{MAPS}?watch=true&timeoutSeconds=1")).await?.code != 200 {
        assert!(Instant::now() < deadline, "watches of clients that left are still counted");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_watch_outlives_the_actor_that_feeds_it() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut watch = api.watch(&format!("{MAPS}?watch=true"), JSON).await?;
    api.post(MAPS, &map("before", json!({}))).await?.expect(201);
    assert_eq!(watch.event().await?, told("ADDED", "before"));
    let actor = "/api/v1/supervisor/mkube/object-layer/objects";
    api.post(&format!("{actor}/crash"), &json!({"how": "panic"})).await?.expect(200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while api.post(MAPS, &map("after", json!({}))).await?.code == 503 {
        assert!(Instant::now() < deadline, "the actor does not come back");
    }
    assert_eq!(watch.event().await?, told("ADDED", "after"), "nothing is repeated, nothing is missing");
    world.stop().await;
    Ok(())
}
