//! What others do.

use std::time::Duration;

use futures_util::TryStreamExt;
use mkube_desired_store::read_buckets;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, at, delete, foreign, pairs, put, text};

#[tokio::test]
async fn what_others_put_delete_and_purge_is_told_in_order_and_what_we_do_is_not() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.store.take_news();
    bench.made(put("ours", "1", Expected::Absent)).await;
    let kv = foreign(&server.url(), "PODS").await;
    let first = kv.put("a", "1".into()).await.expect("there");
    kv.put("a", "2".into()).await.expect("there");
    kv.put("b", "1".into()).await.expect("there");
    kv.delete("a").await.expect("there");
    kv.purge("b").await.expect("there");
    kv.put("c", "1".into()).await.expect("there");
    // What is overwritten at once may be left out, by JetStream itself; the rest is in order.
    let mut told = Vec::new();
    while told.last().is_none_or(|(key, ..): &(String, _, _)| key != "c") {
        bench.store.changed().await;
        let news = bench.store.take_news();
        assert!(!news.reload && news.stale.is_none());
        told.extend(
            news.changes.into_iter().map(|one| (one.at.key, one.value.map(|value| text(&value)), one.revision)),
        );
    }
    assert!(told.iter().map(|(.., revision)| *revision).is_sorted(), "{told:?}");
    assert!(told.iter().all(|(key, ..)| key != "ours"), "{told:?}");
    let last =
        |key: &str| told.iter().rfind(|(told, ..)| told == key).map(|(_, value, revision)| (value.clone(), *revision));
    assert_eq!(last("a"), Some((None, first + 3)));
    assert_eq!(last("b"), Some((None, first + 4)));
    assert_eq!(last("c"), Some((Some("1".into()), first + 5)));
    assert_eq!(bench.values().await, pairs(&[("c", "1"), ("ours", "1")]));
    // A key that somebody else deleted is free.
    bench.made(put("a", "ours", Expected::Absent)).await;
    bench.made(delete("c", Expected::At(first + 5))).await;
    assert_eq!(bench.values().await, pairs(&[("a", "ours"), ("ours", "1")]));
}

#[tokio::test]
async fn everything_older_by_others_is_among_the_news_when_a_change_of_ours_is_acknowledged() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.store.take_news();
    let kv = foreign(&server.url(), "PODS").await;
    let mut ours = bench.made(put("ours", "0", Expected::Absent)).await;
    for number in 1..200 {
        let theirs = kv.put(format!("theirs{number}"), number.to_string().into()).await.expect("there");
        ours = bench.made(put("ours", &number.to_string(), Expected::At(ours))).await;
        let news = bench.store.take_news();
        let told: Vec<u64> = news.changes.iter().map(|change| change.revision).collect();
        assert_eq!((told, news.reload), (vec![theirs], false), "at {number}");
    }
}

#[tokio::test]
async fn a_conflict_with_somebody_else_says_what_is_there_and_tells_it() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let ours = bench.made(put("a", "ours", Expected::Absent)).await;
    bench.store.take_news();
    let kv = foreign(&server.url(), "PODS").await;
    let theirs = kv.put("a", "theirs".into()).await.expect("there");
    let conflict = bench.commit(put("a", "again", Expected::At(ours))).await.expect("there").expect_err("it changed");
    assert_eq!((conflict.at, conflict.found), (at("a"), Some(theirs)));
    let news = bench.store.take_news();
    assert_eq!(news.changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [theirs]);
    kv.delete("a").await.expect("there");
    let conflict = bench.commit(put("a", "again", Expected::At(theirs))).await.expect("there").expect_err("it is gone");
    assert_eq!(conflict.found, None);
}

#[tokio::test]
async fn more_than_can_be_kept_for_whoever_asks_is_to_be_read_anew() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let kv = foreign(&server.url(), "PODS").await;
    let writing = (0..5000).map(|number| {
        let kv = &kv;
        async move { kv.put(format!("k{number}"), "x".into()).await.expect("there") }
    });
    futures_util::future::join_all(writing).await;
    // With this everything older was heard of, and nobody took any of it.
    bench.made(put("ours", "x", Expected::Absent)).await;
    let news = bench.store.take_news();
    assert!(news.reload && news.changes.is_empty(), "{}", news.changes.len());
    bench.loaded("all of it is known", |contents| contents.values.len() == 5001).await;
}

#[tokio::test]
async fn what_the_go_controller_has_written_is_there_and_its_buckets_stay_as_they_are() {
    let server = NatsServer::start();
    let client = async_nats::connect(server.url()).await.expect("there");
    let context = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "KV_PODS".into(),
        subjects: vec!["$KV.PODS.>".into()],
        max_messages_per_subject: 5,
        description: Some("made elsewhere".into()),
        allow_rollup: true,
        ..Default::default()
    };
    context.create_stream(config).await.expect("there");
    let kv = context.get_key_value("PODS").await.expect("a bucket");
    for value in ["1", "2", "3"] {
        kv.put("infra.nats", value.into()).await.expect("there");
    }
    kv.put("infra.gone", "x".into()).await.expect("there");
    kv.delete("infra.gone").await.expect("there");
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("infra.nats", "3")]));
    bench.made(put("infra.nats", "4", Expected::At(3))).await;
    let stream = context.get_stream("KV_PODS").await.expect("there");
    let config = &stream.cached_info().config;
    assert_eq!((config.max_messages_per_subject, config.description.as_deref()), (5, Some("made elsewhere")));
    assert_eq!(kv.get("infra.nats").await.expect("there").as_deref(), Some(&b"4"[..]));
}

#[tokio::test]
async fn what_marks_old_deletions_goes_and_nothing_else() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    for key in ["old", "young", "again", "kept"] {
        bench.made(put(key, "1", Expected::Absent)).await;
    }
    bench.made(delete("old", Expected::Any)).await;
    bench.made(delete("again", Expected::Any)).await;
    bench.store.compact().await.expect("there");
    bench.made(delete("young", Expected::Any)).await;
    let kv = foreign(&server.url(), "PODS").await;
    assert!(kv.entry("old").await.expect("there").is_some(), "for now it stays, others may not have seen it");
    kv.put("again", "2".into()).await.expect("there");
    bench.store.compact().await.expect("there");
    assert!(kv.entry("old").await.expect("there").is_none());
    assert!(kv.entry("young").await.expect("there").is_some());
    let expected = pairs(&[("again", "2"), ("kept", "1")]);
    bench.loaded("it is told", |contents| crate::bench::texts(contents) == expected).await;
    bench.made(put("old", "2", Expected::Absent)).await;
    let bench = bench.reopened().await;
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("again", "2"), ("kept", "1"), ("old", "2")]));
}

/// Runs in a thread of its own, so that it hears nothing while somebody else works: how many it knows in the end.
fn is_deaf_between(url: String, deaf: &std::sync::Barrier) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let bench = runtime.block_on(async {
        let bench = Bench::new(&url).await;
        bench.complete().await;
        bench
    });
    deaf.wait();
    deaf.wait();
    let heard = bench.loaded("everything is heard", |contents| contents.values.len() == BURST);
    runtime.block_on(heard).values.len()
}

/// So many values of this size are more than is on its way to one who does not listen.
const BURST: usize = 200;
const SIZE: usize = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_misses_nothing_when_somebody_else_cleans_up() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("gone", "1", Expected::Absent)).await;
    bench.made(delete("gone", Expected::Any)).await;
    bench.store.compact().await.expect("there");
    let deaf = std::sync::Arc::new(std::sync::Barrier::new(2));
    let (url, until_then) = (server.url(), deaf.clone());
    let other = std::thread::spawn(move || is_deaf_between(url, &until_then));
    let meet = || {
        let deaf = deaf.clone();
        tokio::task::spawn_blocking(move || {
            deaf.wait();
        })
    };
    meet().await.expect("it is there");
    let kv = foreign(&server.url(), "PODS").await;
    for number in 0..BURST {
        kv.put(format!("k{number}"), vec![b'x'; SIZE].into()).await.expect("there");
    }
    bench.store.compact().await.expect("there");
    assert!(kv.entry("gone").await.expect("there").is_none(), "it is cleaned up");
    let sent = kv.stream.consumers().map_ok(|consumer| consumer.delivered.consumer_sequence);
    let sent: Vec<u64> = sent.try_collect().await.expect("described");
    assert!(sent.iter().any(|sent| *sent < BURST as u64), "somebody is behind: {sent:?}");
    meet().await.expect("it is there");
    let heard = tokio::task::spawn_blocking(move || other.join().expect("it heard everything"));
    assert_eq!(heard.await.expect("it ended"), BURST);
    bench.loaded("everything is heard", |contents| contents.values.len() == BURST).await;
}

/// Writes a few keys again and again, and takes them away without a trace in between.
async fn write_and_take_away(url: String) {
    let client = async_nats::connect(url).await.expect("there");
    let stream = async_nats::jetstream::new(client.clone()).get_stream("KV_PODS").await.expect("a bucket");
    for number in 0u64.. {
        let at = format!("$KV.PODS.busy{}", number % 5);
        client.publish(at.clone(), number.to_string().into()).await.expect("there");
        if number % 7 == 0 {
            let _ = stream.purge().filter(at).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_ends_and_has_what_nobody_touches_however_busy_others_are() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    for number in 0..20 {
        bench.made(put(&format!("still{number}"), "x", Expected::Absent)).await;
    }
    drop(bench.closed().await);
    let nats = NatsSettings { url: SecretUrl::new(server.url()), ..NatsSettings::default() };
    let busy = tokio::spawn(write_and_take_away(server.url()));
    let buckets = ["PODS".to_owned()];
    for nth in 0..60 {
        let reading = tokio::time::timeout(Duration::from_secs(60), read_buckets(&nats, &buckets, "test")).await;
        let (contents, _) = reading.expect("it ends").expect("and nothing was passed over");
        let still = contents.values.iter().filter(|value| value.at.key.starts_with("still")).count();
        assert_eq!(still, 20, "at reading {nth}");
    }
    assert!(!busy.is_finished(), "somebody was busy all the time");
    busy.abort();
}
