//! A server that comes back with less than it acknowledged.

use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreFault};
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, behind, delete, foreign, pairs, put};

fn is_older(stale: &Option<String>) -> bool {
    stale.as_ref().is_some_and(|why| why.contains("older than what was acknowledged"))
}

#[tokio::test]
async fn a_server_that_lost_everything_is_reported_and_not_obeyed_until_it_has_it_again() {
    let mut server = NatsServer::start();
    let mut bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    bench.made(put("b", "2", Expected::Absent)).await;
    server.stop();
    let kept = tempfile::tempdir().expect("a directory");
    server.copy_data_to(kept.path());
    server.replace_data(None);
    server.start_again();
    for _ in 0..2 {
        let contents = bench.loaded("it is reported", |contents| is_older(&contents.stale)).await;
        let why = contents.stale.clone().unwrap_or_default();
        assert!(why.contains("PODS") && why.contains("mkube store accept"), "{why}");
        assert_eq!(crate::bench::texts(&contents), pairs(&[("a", "1"), ("b", "2")]));
        let refused = bench.commit(put("c", "3", Expected::Absent)).await;
        assert!(matches!(refused, Err(StoreFault::Absent(_))), "{refused:?}");
        // So it is after a restart of ours, too.
        bench = bench.reopened().await;
    }
    let client = async_nats::connect(server.url()).await.expect("there");
    let made = async_nats::jetstream::new(client).get_stream("KV_PODS").await;
    assert!(made.is_err(), "nothing is made in its place");

    server.stop();
    server.replace_data(Some(kept.path()));
    server.start_again();
    bench.complete().await;
    bench.made(put("c", "3", Expected::Absent)).await;
    assert_eq!(bench.values().await, pairs(&[("a", "1"), ("b", "2"), ("c", "3")]));
}

#[tokio::test]
async fn who_removes_the_local_file_takes_what_the_server_holds() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    server.stop();
    server.replace_data(None);
    server.start_again();
    bench.loaded("it is reported", |contents| is_older(&contents.stale)).await;
    let closed = bench.closed().await;
    std::fs::remove_file(&closed.options.path).expect("there");
    let again = closed.opened().await;
    assert_eq!(again.complete().await.values, []);
    again.made(put("b", "1", Expected::Absent)).await;
}

#[tokio::test]
async fn a_bucket_nothing_was_ever_in_may_have_been_made_anew() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    let closed = bench.closed().await;
    let client = async_nats::connect(server.url()).await.expect("there");
    let context = async_nats::jetstream::new(client);
    context.delete_stream("KV_CONFIGMAPS").await.expect("there");
    let config = async_nats::jetstream::stream::Config {
        name: "KV_CONFIGMAPS".into(),
        subjects: vec!["$KV.CONFIGMAPS.>".into()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    context.create_stream(config).await.expect("there");
    let bench = closed.opened().await;
    assert_eq!(crate::bench::texts(&bench.complete().await), pairs(&[("a", "1")]));
    bench.made(put("b", "2", Expected::Absent)).await;
}

#[tokio::test]
async fn a_bucket_that_somebody_made_anew_is_reported() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    let client = async_nats::connect(server.url()).await.expect("there");
    let context = async_nats::jetstream::new(client);
    context.delete_stream("KV_PODS").await.expect("there");
    let config = async_nats::jetstream::stream::Config {
        name: "KV_PODS".into(),
        subjects: vec!["$KV.PODS.>".into()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    context.create_stream(config).await.expect("there");
    let contents = bench.loaded("it is reported", |contents| is_older(&contents.stale)).await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("a", "1")]));
}

#[tokio::test]
async fn a_key_that_vanished_without_a_word_is_reported() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    bench.made(put("b", "2", Expected::Absent)).await;
    let client = async_nats::connect(server.url()).await.expect("there");
    let stream = async_nats::jetstream::new(client).get_stream("KV_PODS").await.expect("there");
    stream.purge().filter("$KV.PODS.a").await.expect("purged");
    server.stop();
    server.start_again();
    let contents = bench.loaded("it is reported", |contents| is_older(&contents.stale)).await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("a", "1"), ("b", "2")]));
}

/// Writes before and after a copy is made, kills the server, and puts the copy in its place.
async fn power_lost(server: &mut NatsServer, bench: &Bench) -> u64 {
    bench.complete().await;
    bench.made(put("kept", "1", Expected::Absent)).await;
    let changed = bench.made(put("changed", "old", Expected::Absent)).await;
    let deleted = bench.made(put("deleted", "1", Expected::Absent)).await;
    server.stop();
    let copy = tempfile::tempdir().expect("a directory");
    server.copy_data_to(copy.path());
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    server.start_again();
    bench.complete().await;
    bench.made(put("changed", "new", Expected::At(changed))).await;
    bench.made(put("made", "1", Expected::Absent)).await;
    let mut last = bench.made(delete("deleted", Expected::At(deleted))).await;
    for number in 0..20 {
        last = bench.made(put("made", &number.to_string(), Expected::Any)).await;
    }
    server.kill();
    server.replace_data(Some(copy.path()));
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    last
}

const ACKNOWLEDGED: &[(&str, &str)] = &[("changed", "new"), ("kept", "1"), ("made", "19")];

#[tokio::test]
async fn acknowledged_changes_that_the_server_lost_with_the_power_are_put_back() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    let last = power_lost(&mut server, &bench).await;
    let away = bench.load().await;
    assert!(away.stale.is_some());
    assert_eq!(crate::bench::texts(&away), pairs(ACKNOWLEDGED));
    server.start_again();
    let back = bench.complete().await;
    assert_eq!(crate::bench::texts(&back), pairs(ACKNOWLEDGED));
    let revision = |key: &str| back.values.iter().find(|value| value.at.key == key).map(|value| value.revision);
    for key in ["changed", "made"] {
        assert!(revision(key).is_some_and(|revision| revision > last), "no revision is given twice: {back:?}, {last}");
    }
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("changed").await.expect("there").as_deref(), Some(&b"new"[..]));
    assert_eq!(kv.get("deleted").await.expect("there"), None, "what was deleted stays deleted");
    bench.made(put("deleted", "again", Expected::Absent)).await;
}

#[tokio::test]
async fn they_are_put_back_after_a_restart_of_ours_too_and_others_may_have_written_meanwhile() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    power_lost(&mut server, &bench).await;
    let bench = bench.closed().await;
    server.start_again();
    let kv = foreign(&server.url(), "PODS").await;
    kv.put("changed", "theirs".into()).await.expect("there");
    let bench = bench.opened().await;
    bench.complete().await;
    // Theirs was written to the server as it came back, before ours was put back; it lost nothing anybody acknowledged to them.
    let values = bench.values().await;
    assert!(
        values.contains(&("made".into(), "19".into())) && values.contains(&("kept".into(), "1".into())),
        "{values:?}"
    );
    assert!(values.iter().any(|(key, _)| key == "changed"), "{values:?}");
}

#[tokio::test]
async fn reports_are_kept_for_a_server_that_is_older() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let revision = bench.made(put("a", "1", Expected::Absent)).await;
    server.stop();
    let kept = tempfile::tempdir().expect("a directory");
    server.copy_data_to(kept.path());
    server.replace_data(None);
    server.start_again();
    bench.loaded("it is reported", |contents| is_older(&contents.stale)).await;
    bench.made(behind(put("a", "status", Expected::At(revision)))).await;
    assert_eq!(bench.values().await, pairs(&[("a", "status")]));
    server.stop();
    server.replace_data(Some(kept.path()));
    server.start_again();
    bench.complete().await;
    assert_eq!(bench.values().await, pairs(&[("a", "status")]));
    assert!(bench.store.take_news().lost.is_empty());
}
