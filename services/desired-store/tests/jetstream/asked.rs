//! Who dies as soon as a change is acknowledged, before the word on it is noted in the file.

use mkube_desired_store::JetStreamStore;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected};
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, behind, delete, foreign, pairs, put, until};

/// Ends without writing anything more, and begins again. `meanwhile` happens in between.
async fn died(bench: Bench, meanwhile: impl AsyncFnOnce()) -> Bench {
    let Bench { store, options, directory } = bench;
    drop(store);
    meanwhile().await;
    // Its last work may still have the file.
    let store = until("the file is free", || async { JetStreamStore::open(options.clone()).await.ok() }).await;
    Bench { store, options, directory }
}

async fn begun(server: &NatsServer) -> Bench {
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench
}

#[tokio::test]
async fn what_was_acknowledged_last_is_served_while_nats_is_away_and_what_is_kept_then_is_based_on_it() {
    let mut server = NatsServer::start();
    let bench = begun(&server).await;
    let first = bench.made(put("a", "1", Expected::Absent)).await;
    bench.made(put("a", "2", Expected::At(first))).await;
    bench.commit(put("a", "refused", Expected::At(first + 100))).await.expect("there").expect_err("it is not so");
    for key in ["gone", "b"] {
        bench.made(put(key, "1", Expected::Absent)).await;
    }
    let together = vec![put("a", "3", Expected::Any), delete("gone", Expected::Any), put("c", "1", Expected::Absent)];
    assert!(bench.store.commit(together).await.expect("there").iter().all(Result::is_ok));
    let bench = died(bench, async || server.stop()).await;
    let contents = bench.load().await;
    assert!(contents.stale.is_some());
    assert_eq!(bench.values().await, pairs(&[("a", "3"), ("b", "1"), ("c", "1")]));
    let now = contents.values.iter().find(|value| value.at.key == "a").expect("it is there").revision;
    bench.made(behind(put("a", "4", Expected::At(now)))).await;
    bench.made(behind(put("gone", "again", Expected::Absent))).await;
    let kept = pairs(&[("a", "4"), ("b", "1"), ("c", "1"), ("gone", "again")]);
    assert_eq!(bench.values().await, kept);
    server.start_again();
    bench.complete().await;
    assert_eq!(bench.values().await, kept);
    assert!(bench.store.take_news().lost.is_empty());
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("a").await.expect("there").as_deref(), Some(&b"4"[..]));
}

#[tokio::test]
async fn what_is_said_to_be_refused_is_not_told_by_the_next_life() {
    let mut server = NatsServer::start();
    let bench = begun(&server).await;
    let first = bench.made(put("a", "1", Expected::Absent)).await;
    bench.commit(put("a", "refused", Expected::At(first + 100))).await.expect("there").expect_err("it is not so");
    let bench = died(bench, async || server.stop()).await;
    assert_eq!(bench.values().await, pairs(&[("a", "1")]));
    server.start_again();
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("a", "1")]));
}

#[tokio::test]
async fn what_the_server_lost_with_the_power_is_put_back_by_the_next_life_too() {
    let mut server = NatsServer::start();
    let bench = begun(&server).await;
    let first = bench.made(put("a", "1", Expected::Absent)).await;
    bench.made(put("gone", "1", Expected::Absent)).await;
    let bench = bench.closed().await;
    server.stop();
    let before = tempfile::tempdir().expect("a directory");
    server.copy_data_to(before.path());
    server.start_again();
    let bench = bench.opened().await;
    bench.complete().await;
    // Of one key two changes are lost: one that was noted and one that was not.
    let second = bench.made(put("a", "2", Expected::At(first))).await;
    let together =
        vec![put("a", "3", Expected::At(second)), delete("gone", Expected::Any), put("b", "1", Expected::Absent)];
    assert!(bench.store.commit(together).await.expect("there").iter().all(Result::is_ok));
    let bench = died(bench, async || {
        server.kill();
        server.replace_data(Some(before.path()));
        server.start_again();
    })
    .await;
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("a", "3"), ("b", "1")]));
    assert!(bench.store.take_news().lost.is_empty());
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("a").await.expect("there").as_deref(), Some(&b"3"[..]));
    assert_eq!(kv.get("gone").await.expect("there"), None);
}

#[tokio::test]
async fn what_others_did_since_stays_and_is_no_conflict() {
    let server = NatsServer::start();
    let bench = begun(&server).await;
    let together = ["changed", "deleted", "cleaned", "kept"].map(|key| put(key, "ours", Expected::Absent));
    assert!(bench.store.commit(together.to_vec()).await.expect("there").iter().all(Result::is_ok));
    let kv = foreign(&server.url(), "PODS").await;
    let bench = died(bench, async || {
        kv.put("changed", "theirs".into()).await.expect("there");
        for key in ["deleted", "cleaned"] {
            kv.delete(key).await.expect("there");
        }
        let purging = kv.stream.purge().filter("$KV.PODS.cleaned");
        purging.await.expect("there");
    })
    .await;
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("changed", "theirs"), ("kept", "ours")]));
    assert!(bench.store.take_news().lost.is_empty());
    for key in ["deleted", "cleaned"] {
        assert_eq!(kv.get(key).await.expect("there"), None, "{key}");
    }
}
