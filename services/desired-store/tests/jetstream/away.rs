//! A server that is away, and what is kept for it meanwhile.

use mkube_model::neighbours::desired_store::{DesiredStore, Expected, PROVISIONAL, StoreFault};
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, at, behind, delete, foreign, options, pairs, put, until};

#[tokio::test]
async fn a_server_that_stops_or_dies_takes_nothing_along() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let mut revision = bench.made(put("a", "0", Expected::Absent)).await;
    for round in 1..4 {
        if round % 2 == 0 {
            server.stop()
        } else {
            server.kill()
        }
        let away = bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
        assert_eq!(crate::bench::texts(&away), pairs(&[("a", &(round - 1).to_string())]));
        let refused = bench.commit(put("a", "x", Expected::At(revision))).await;
        assert!(matches!(refused, Err(StoreFault::Absent(_))), "{refused:?}");
        server.start_again();
        let back = bench.complete().await;
        assert_eq!(crate::bench::texts(&back), pairs(&[("a", &(round - 1).to_string())]));
        assert_eq!(back.values[0].revision, revision);
        revision = bench.made(put("a", &round.to_string(), Expected::At(revision))).await;
    }
}

#[tokio::test]
async fn what_happened_meanwhile_is_told_when_the_server_is_back() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let kept = bench.made(put("kept", "1", Expected::Absent)).await;
    bench.made(put("deleted", "1", Expected::Absent)).await;
    let bench = bench.closed().await;
    let kv = foreign(&server.url(), "PODS").await;
    kv.put("new", "1".into()).await.expect("there");
    kv.delete("deleted").await.expect("there");
    let bench = bench.opened().await;
    // Nobody has read yet: the first reading has it all.
    let contents = bench.complete().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("kept", "1"), ("new", "1")]));
    assert_eq!(contents.values[0].revision, kept);
}

#[tokio::test]
async fn a_lost_connection_comes_back_and_nothing_is_read_anew_for_it() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let revision = bench.made(put("ours", "1", Expected::Absent)).await;
    bench.store.take_news();
    server.stop();
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    server.start_again();
    let kv = foreign(&server.url(), "PODS").await;
    kv.put("theirs", "1".into()).await.expect("there");
    kv.delete("ours").await.expect("there");
    // Whether it is back before or after others write: it is told, each change once.
    let mut told = Vec::new();
    while told.len() < 2 {
        tokio::time::timeout(crate::bench::PATIENCE, bench.store.changed()).await.expect("it is told");
        let news = bench.store.take_news();
        assert!(!news.reload);
        told.extend(news.changes.into_iter().map(|one| (one.at.key, one.value.is_some(), one.revision)));
    }
    assert_eq!(told, [("theirs".into(), true, revision + 1), ("ours".into(), false, revision + 2)]);
}

#[tokio::test]
async fn a_server_without_jetstream_and_one_that_refuses_us_say_why() {
    let server = NatsServer::start_without_jetstream();
    let bench = Bench::new(&server.url()).await;
    let contents = bench
        .loaded("it was reached", |contents| {
            contents.stale.as_ref().is_some_and(|why| why.contains("JetStream is not enabled"))
        })
        .await;
    assert!(contents.values.is_empty());
    let server = NatsServer::start_with("authorization { user: bob, password: hunter2 }");
    let bench = Bench::new(&server.url()).await;
    bench
        .loaded("it was reached", |contents| contents.stale.as_ref().is_some_and(|why| why.contains("nats.user")))
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_leaves_the_outcome_open_and_a_reading_tells() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let revision = bench.made(put("a", "1", Expected::Absent)).await;
    server.freeze();
    let open = bench.commit(put("a", "2", Expected::At(revision))).await;
    assert!(matches!(open, Err(StoreFault::Away(_))), "{open:?}");
    let refused = bench.commit(put("b", "1", Expected::Absent)).await;
    assert!(matches!(refused, Err(StoreFault::Absent(_))), "{refused:?}");
    server.thaw();
    let contents = bench.complete().await;
    // Whether it was taken or not: what is read from now on is what the server has, and can be changed.
    let kv = foreign(&server.url(), "PODS").await;
    let (has, knows) = until("both say the same", || async {
        let has = kv.entry("a").await.expect("there").map(|entry| (entry.revision, entry.value))?;
        let knows = bench.load().await.values.first().map(|one| (one.revision, one.value.clone()))?;
        (has == knows).then_some((has, knows))
    })
    .await;
    assert_eq!((has.0, contents.stale), (knows.0, None));
    bench.made(put("a", "3", Expected::At(knows.0))).await;
}

#[tokio::test]
async fn the_first_start_without_a_server_is_an_empty_store_that_keeps_what_may_wait() {
    let mut server = NatsServer::start();
    server.stop();
    let bench = Bench::new(&server.url()).await;
    let contents = bench.load().await;
    assert!(contents.values.is_empty());
    assert!(contents.stale.is_some_and(|why| why.contains("cannot be reached")));
    let revision = bench.made(behind(put("infra.nats", "1", Expected::Absent))).await;
    assert!(revision > PROVISIONAL);
    let refused = bench.commit(put("other", "1", Expected::Absent)).await;
    assert!(matches!(refused, Err(StoreFault::Absent(_))), "{refused:?}");
    let bench = bench.reopened().await;
    let contents = bench.load().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("infra.nats", "1")]));
    assert_eq!((contents.values[0].revision, contents.revision_of("PODS")), (revision, revision));
    let newer = bench.made(behind(put("infra.nats", "2", Expected::At(revision)))).await;
    assert!(newer > revision, "no revision is given twice, also after a restart");
    server.start_again();
    let contents = bench.complete().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("infra.nats", "2")]));
    assert!(contents.values[0].revision < PROVISIONAL);
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("infra.nats").await.expect("there").as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn what_was_kept_is_told_in_order_where_nobody_else_changed_it_and_reported_where_somebody_did() {
    let mut server = NatsServer::start();
    let bench = Bench::with(|path| {
        let mut options = options(&server.url(), path);
        options.write_behind = true;
        options
    })
    .await;
    bench.complete().await;
    let mut revisions = Vec::new();
    for key in ["contested", "changed", "deleted"] {
        revisions.push(bench.made(put(key, "1", Expected::Absent)).await);
    }
    server.stop();
    bench.loaded("it is noticed", |contents| contents.stale.is_some()).await;
    bench.made(put("contested", "ours", Expected::At(revisions[0]))).await;
    let changed = bench.made(put("changed", "2", Expected::At(revisions[1]))).await;
    bench.made(put("changed", "3", Expected::At(changed))).await;
    bench.made(delete("deleted", Expected::At(revisions[2]))).await;
    bench.made(put("made", "1", Expected::Absent)).await;
    let brief = bench.made(put("brief", "1", Expected::Absent)).await;
    bench.made(delete("brief", Expected::At(brief))).await;
    for wrong in [put("changed", "x", Expected::At(changed)), put("made", "x", Expected::Absent)] {
        bench.commit(wrong).await.expect("kept").expect_err("it is checked against what is kept");
    }
    let away = bench.values().await;
    assert_eq!(away, pairs(&[("changed", "3"), ("contested", "ours"), ("made", "1")]));

    // Somebody else is quicker.
    let bench = bench.closed().await;
    server.start_again();
    let kv = foreign(&server.url(), "PODS").await;
    let theirs = kv.put("contested", "theirs".into()).await.expect("there");
    let bench = bench.opened().await;
    let lost =
        until("it is reported", || async { Some(bench.store.take_news().lost).filter(|lost| !lost.is_empty()) }).await;
    assert_eq!(lost, [at("contested")]);
    let contents = bench.complete().await;
    assert_eq!(crate::bench::texts(&contents), pairs(&[("changed", "3"), ("contested", "theirs"), ("made", "1")]));
    let contested = contents.values.iter().find(|value| value.at == at("contested")).map(|value| value.revision);
    assert_eq!(contested, Some(theirs));
    assert_eq!(kv.get("deleted").await.expect("there"), None);
    assert_eq!(kv.get("changed").await.expect("there").as_deref(), Some(&b"3"[..]));
    assert!(kv.entry("brief").await.expect("there").is_none(), "what came and went meanwhile is not told at all");
}

#[tokio::test]
async fn a_name_or_a_value_that_nats_does_not_take_is_refused_with_words() {
    let server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let refused = bench.commit(put("system:node", "1", Expected::Any)).await;
    assert!(matches!(&refused, Err(StoreFault::Unwritable(why)) if why.contains("PODS/system:node")), "{refused:?}");
    let long = bench.commit(put("long", &"x".repeat(2 << 20), Expected::Any)).await;
    assert!(matches!(&long, Err(StoreFault::Unwritable(why)) if why.contains("max_payload")), "{long:?}");
    bench.made(put("fine", "1", Expected::Absent)).await;
}
