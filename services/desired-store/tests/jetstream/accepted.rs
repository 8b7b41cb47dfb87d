//! An older store that is taken as it is: nothing else is lost, nothing is confused, and whatever was known is in the copy.

use std::os::unix::fs::PermissionsExt;

use async_nats::jetstream::stream::Config;
use mkube_desired_store::JetStreamOptions;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreContents, StoreKey};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, LossKind, OlderStore};
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, behind, delete, foreign, options, pairs, put, texts, until};

/// What it lacks, as soon as that is known.
async fn lacking(bench: &Bench) -> OlderStore {
    until("it is older", || async { bench.store.older().map(|older| (*older).clone()) }).await
}

fn named(older: &OlderStore) -> Vec<(&str, LossKind, bool)> {
    older.losses.iter().map(|loss| (loss.at.key.as_str(), loss.kind, loss.found.is_some())).collect()
}

async fn accept(bench: &Bench) -> Accepted {
    let digest = lacking(bench).await.digest;
    bench.store.accept(&digest).await.expect("it is taken")
}

fn copied(accepted: &Accepted) -> String {
    std::fs::read_to_string(&accepted.copy).expect("a copy")
}

async fn context(server: &NatsServer) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(server.url()).await.expect("there"))
}

/// Removes a bucket and makes one in its place, as who brings back a backup by hand does.
async fn made_anew(server: &NatsServer, values: &[(&'static str, &'static str)]) {
    let context = context(server).await;
    context.delete_stream("KV_PODS").await.expect("there");
    let subjects = vec!["$KV.PODS.>".into()];
    let config = Config { name: "KV_PODS".into(), subjects, max_messages_per_subject: 1, ..Config::default() };
    context.create_stream(Config { allow_direct: true, ..config }).await.expect("made");
    let kv = foreign(&server.url(), "PODS").await;
    for (key, value) in values {
        kv.put(*key, (*value).into()).await.expect("there");
    }
}

fn in_maps(change: StoreChange) -> StoreChange {
    StoreChange { at: StoreKey { bucket: "CONFIGMAPS".into(), ..change.at }, ..change }
}

fn revision(contents: &StoreContents, key: &str) -> u64 {
    contents.values.iter().find(|value| value.at.key == key).map(|value| value.revision).expect("it is there")
}

#[tokio::test]
async fn a_server_that_lost_everything_is_taken_as_it_is_by_whoever_names_what_is_lost() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    let last = bench.made(put("b", "2", Expected::Absent)).await;
    server.stop();
    server.replace_data(None);
    server.start_again();
    let older = lacking(&bench).await;
    assert_eq!(named(&older), [("a", LossKind::Missing, false), ("b", LossKind::Missing, false)]);
    assert_eq!(older.buckets, ["PODS"], "nothing was ever in the other one");
    assert_eq!(bench.store.accept("else").await, Err(AcceptFault::MovedOn));
    assert_eq!(bench.values().await, pairs(&[("a", "1"), ("b", "2")]));

    let accepted = bench.store.accept(&older.digest).await.expect("it is taken");
    assert_eq!(accepted.older, older);
    assert!(copied(&accepted).ends_with("\na=1\nb=2\n"), "{}", copied(&accepted));
    assert_eq!(std::fs::metadata(&accepted.copy).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!((bench.complete().await.values, bench.store.older()), (vec![], None));
    let next = bench.made(put("a", "again", Expected::Absent)).await;
    assert!(
        next > last + 1,
        "no revision is given twice, and what went did so after everything that is known: {next}, {last}"
    );
    let again = bench.store.accept(&older.digest).await;
    assert!(matches!(&again, Err(AcceptFault::Nothing(_))), "{again:?}");
    let bench = bench.reopened().await;
    assert_eq!(texts(&bench.complete().await), pairs(&[("a", "again")]));
}

#[tokio::test]
async fn a_bucket_that_somebody_brought_back_from_a_backup_is_taken_with_what_is_in_it_and_is_in_it_since() {
    let server = NatsServer::start();
    let bench = Bench::with(|path| JetStreamOptions { write_behind: true, ..options(&server.url(), path) }).await;
    bench.complete().await;
    // Under the revisions that the backup will have for them, and with other values.
    for key in ["a", "b", "c"] {
        bench.made(put(key, "first", Expected::Absent)).await;
    }
    bench.made(put("same", "s", Expected::Absent)).await;
    let mut last = bench.made(delete("c", Expected::Any)).await;
    for _ in 0..10 {
        last = bench.made(put("later", "x", Expected::Any)).await;
    }
    made_anew(&server, &[("a", "backup"), ("b", "first"), ("c", "backup"), ("same", "s"), ("theirs", "t")]).await;
    let older = lacking(&bench).await;
    let expected = [("a", LossKind::Older, true), ("c", LossKind::Returned, true), ("later", LossKind::Missing, false)];
    assert_eq!(named(&older), expected);
    // What is kept for it: a status of what is lost, and one of what is not.
    bench.made(behind(put("later", "x with a status", Expected::Any))).await;
    bench.made(behind(put("b", "first with a status", Expected::Any))).await;
    foreign(&server.url(), "PODS").await.put("since", "u".into()).await.expect("there");

    let accepted = bench.store.accept(&older.digest).await.expect("what others add changes nothing");
    let copy = copied(&accepted);
    assert!(copy.ends_with("\na=first\nb=first with a status\nlater=x with a status\nsame=s\n"), "{copy}");
    let taken = bench.complete().await;
    let expected = [("a", "backup"), ("b", "first"), ("c", "backup"), ("same", "s"), ("since", "u"), ("theirs", "t")];
    assert_eq!(texts(&taken), pairs(&expected));
    for value in &taken.values {
        assert!(value.revision > last, "who follows it sees it as a change: {value:?}");
    }
    bench.made(put("a", "mine", Expected::At(revision(&taken, "a")))).await;
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("a").await.expect("there").as_deref(), Some(&b"mine"[..]));
}

#[tokio::test]
async fn a_key_that_vanished_is_let_go_and_the_others_keep_their_revisions() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    let kept = bench.made(put("b", "2", Expected::Absent)).await;
    let stream = context(&server).await.get_stream("KV_PODS").await.expect("there");
    stream.purge().filter("$KV.PODS.a").await.expect("purged");
    server.stop();
    server.start_again();
    assert_eq!(named(&lacking(&bench).await), [("a", LossKind::Missing, false)]);
    bench.made(behind(put("b", "status", Expected::At(kept)))).await;
    accept(&bench).await;
    let taken = bench.complete().await;
    assert_eq!(texts(&taken), pairs(&[("b", "status")]), "what was kept for what is there is told");
    assert!(taken.buckets["PODS"] > kept);
}

#[tokio::test]
async fn what_other_buckets_lost_with_the_power_is_put_back_all_the_same() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    bench.made(in_maps(put("early", "1", Expected::Absent))).await;
    server.stop();
    let earlier = tempfile::tempdir().expect("a directory");
    server.copy_data_to(earlier.path());
    server.start_again();
    bench.loaded("it is back", |contents| contents.stale.is_none()).await;
    bench.complete().await;
    bench.made(in_maps(put("late", "2", Expected::Absent))).await;
    let bench = bench.closed().await;
    server.kill();
    server.replace_data(Some(earlier.path()));
    server.start_again();
    context(&server).await.delete_stream("KV_PODS").await.expect("there");
    let bench = bench.opened().await;
    assert_eq!(lacking(&bench).await.buckets, ["PODS"]);
    accept(&bench).await;
    assert_eq!(texts(&bench.complete().await), pairs(&[("early", "1"), ("late", "2")]));
    let kv = foreign(&server.url(), "CONFIGMAPS").await;
    assert_eq!(kv.get("late").await.expect("there").as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn what_moved_on_since_it_was_looked_at_is_not_accepted() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    context(&server).await.delete_stream("KV_PODS").await.expect("there");
    let bench = bench.reopened().await;
    let seen = lacking(&bench).await.digest;
    let config = Config { name: "KV_PODS".into(), subjects: vec!["$KV.PODS.>".into()], ..Config::default() };
    context(&server).await.create_stream(config).await.expect("made");
    assert_eq!(
        bench.store.accept(&seen).await,
        Err(AcceptFault::MovedOn),
        "by the reading, or by what was said before"
    );
    assert_eq!(bench.values().await, pairs(&[("a", "1")]));
    let copies = std::fs::read_dir(bench.directory.path()).expect("there").flatten();
    assert_eq!(copies.filter(|file| file.file_name().to_string_lossy().contains("before")).count(), 0);
}

#[tokio::test]
async fn without_a_reason_or_a_reading_or_a_copy_nothing_is_accepted_and_nothing_changes() {
    let mut server = NatsServer::start();
    let no_room = |path: &std::path::Path| JetStreamOptions {
        copy: |_, _, _| Err(std::io::Error::other("no more room")),
        ..options(&server.url(), path)
    };
    let bench = Bench::with(no_room).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    let well = bench.store.accept("").await;
    assert!(matches!(&well, Err(AcceptFault::Nothing(why)) if why.contains("has everything")), "{well:?}");
    server.stop();
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    let away = bench.store.accept("").await;
    assert!(matches!(&away, Err(AcceptFault::Away(_))), "{away:?}");

    server.replace_data(None);
    server.start_again();
    let digest = lacking(&bench).await.digest;
    let full = bench.store.accept(&digest).await;
    assert!(matches!(&full, Err(AcceptFault::NotCopied(why)) if why.contains("no more room")), "{full:?}");
    assert_eq!(lacking(&bench).await.digest, digest);
    assert!(context(&server).await.get_stream("KV_PODS").await.is_err(), "nothing is made");

    server.stop();
    let gone = bench.store.accept(&digest).await;
    assert!(matches!(&gone, Err(AcceptFault::Away(_))), "{gone:?}");
    assert_eq!(bench.values().await, pairs(&[("a", "1")]));
}

#[tokio::test]
async fn what_was_to_be_made_while_the_store_was_away_is_made_in_the_one_that_is_taken() {
    let mut server = NatsServer::start();
    let bench = Bench::with(|path| JetStreamOptions { write_behind: true, ..options(&server.url(), path) }).await;
    bench.complete().await;
    bench.made(put("a", "1", Expected::Absent)).await;
    server.stop();
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    bench.made(put("new", "acknowledged", Expected::Absent)).await;
    server.replace_data(None);
    server.start_again();
    assert_eq!(named(&lacking(&bench).await), [("a", LossKind::Missing, false)], "what nobody told it yet is not lost");
    accept(&bench).await;
    assert_eq!(texts(&bench.complete().await), pairs(&[("new", "acknowledged")]));
}
