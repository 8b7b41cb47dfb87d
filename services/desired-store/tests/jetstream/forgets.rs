//! A server that takes away the newer of two changes when it starts after a `kill -9`, as nats-server 2.9 does where they lie in
//! block 9 and in block 10 of their stream.

use std::sync::Arc;

use async_nats::jetstream::kv::Store;
use mkube_desired_store::{LeaseOptions, NatsLeases};
use mkube_model::lease_record::LeaseRecord;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected};
use mkube_model::neighbours::lease_book::{LeaseBook, LeaseEntry, LeaseFault};
use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, at, delete, foreign, pairs, put, until};

/// Keys that are written in both blocks. What the server notes of one that is written alone is on the disk at once.
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Fills the stream up to this block. Of what fills a block that is to keep its keys something has to stay: a block that is nearly
/// empty is written anew at once.
async fn fill(server: &NatsServer, kv: &Store, block: u32, stays: bool) {
    let file = server.data().join(format!("jetstream/$G/streams/{}/msgs/{block}.blk", kv.stream_name));
    for number in 0.. {
        if file.exists() {
            return;
        }
        // Four of them are a block.
        let key = if stays { format!("filler-{number}") } else { "filler".to_owned() };
        kv.put(key, vec![b'x'; 900_000].into()).await.expect("there");
    }
}

fn all(value: &str) -> Vec<(&str, &str)> {
    KEYS.iter().map(|key| (*key, value)).collect()
}

async fn without_filler(bench: &Bench) -> Vec<(String, String)> {
    bench.complete().await;
    bench.values().await.into_iter().filter(|(key, _)| !key.starts_with("filler")).collect()
}

/// Whoever else reads the bucket finds the same.
async fn others_find(server: &NatsServer, expected: &[(&str, &str)]) {
    let kv = foreign(&server.url(), "PODS").await;
    for (key, value) in expected {
        assert_eq!(kv.get(*key).await.expect("there").as_deref(), Some(value.as_bytes()), "{key}");
    }
}

#[tokio::test]
async fn acknowledged_changes_of_which_the_server_brought_back_the_ones_before_are_put_back() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let kv = foreign(&server.url(), "PODS").await;
    fill(&server, &kv, 9, false).await;
    for key in KEYS.iter().chain(&["gone"]) {
        bench.made(put(key, "old", Expected::Any)).await;
    }
    fill(&server, &kv, 10, true).await;
    for key in KEYS {
        bench.made(put(key, "new", Expected::Any)).await;
    }
    bench.made(delete("gone", Expected::Any)).await;
    server.kill();
    server.start_again();
    // Those who were there, and those who start again with what they have in their file.
    assert_eq!(without_filler(&bench).await, pairs(&all("new")));
    others_find(&server, &all("new")).await;
    server.kill();
    let bench = bench.closed().await;
    server.start_again();
    let bench = bench.opened().await;
    assert_eq!(without_filler(&bench).await, pairs(&all("new")));
    let kv = foreign(&server.url(), "PODS").await;
    assert_eq!(kv.get("gone").await.expect("there"), None, "what was deleted stays deleted");
    // The server keeps what it is told of them from now on.
    for key in KEYS {
        bench.made(put(key, "newer", Expected::Any)).await;
    }
    others_find(&server, &all("newer")).await;
    assert_eq!(without_filler(&bench).await, pairs(&all("newer")));
}

#[tokio::test]
async fn a_key_that_the_server_holds_and_does_not_find_can_be_written_again() {
    let mut server = NatsServer::start();
    let bench = Bench::new(&server.url()).await;
    bench.complete().await;
    let kv = foreign(&server.url(), "PODS").await;
    fill(&server, &kv, 9, false).await;
    for key in KEYS {
        bench.made(put(key, "old", Expected::Any)).await;
    }
    let bench = bench.closed().await;
    fill(&server, &kv, 10, true).await;
    // Nobody here ever heard of these.
    for key in KEYS {
        kv.put(key, "theirs".into()).await.expect("there");
    }
    server.kill();
    server.start_again();
    let bench = bench.opened().await;
    for key in KEYS {
        let bench = &bench;
        until("it is written", || async move {
            let contents = bench.complete().await;
            let now = contents.values.iter().find(|value| value.at == at(key)).expect("it is there").revision;
            matches!(bench.commit(put(key, "ours", Expected::At(now))).await, Ok(Ok(_))).then_some(())
        })
        .await;
    }
    others_find(&server, &all("ours")).await;
    assert_eq!(without_filler(&bench).await, pairs(&all("ours")));
    assert!(bench.store.take_news().lost.is_empty());
}

fn book(url: &str, node: &str) -> NatsLeases {
    let nats = NatsSettings { url: SecretUrl::new(url), replicas: 1, ..NatsSettings::default() };
    NatsLeases::open(LeaseOptions { nats, node: node.into(), name: "test".into() }, Arc::new(SystemClock))
}

fn held_by(holder: &str, token: u64) -> LeaseRecord {
    LeaseRecord { holder: holder.into(), token, ..LeaseRecord::default() }
}

async fn entry(book: &NatsLeases) -> LeaseEntry {
    until("the book says something", || async { book.read().await.ok() }).await
}

/// Takes the lease over what the book says, and tries again when it is not known whether that was written. None: somebody else was
/// faster.
async fn take(book: &NatsLeases, seen: &LeaseEntry, record: &LeaseRecord) -> Option<u64> {
    let expected = seen.revision;
    until("the book takes it", || async {
        match book.write(record, expected).await {
            Ok(revision) => Some(Some(revision)),
            Err(LeaseFault::Conflict) => Some(None),
            Err(_) => None,
        }
    })
    .await
}

#[tokio::test]
async fn a_lease_that_the_server_holds_and_does_not_find_is_taken_by_one_and_no_other() {
    let mut server = NatsServer::start();
    let nodes: Vec<String> = KEYS.iter().map(|key| format!("rose-{key}")).collect();
    let books: Vec<NatsLeases> = nodes.iter().map(|node| book(&server.url(), node)).collect();
    for book in &books {
        assert_eq!(entry(book).await, LeaseEntry::default());
    }
    let kv = foreign(&server.url(), "LEASES").await;
    fill(&server, &kv, 9, false).await;
    for book in &books {
        book.write(&held_by("a", 1), 0).await.expect("written");
    }
    fill(&server, &kv, 10, true).await;
    for book in &books {
        let seen = entry(book).await;
        book.write(&held_by("b", 2), seen.revision).await.expect("written");
    }
    server.kill();
    server.start_again();
    for node in &nodes {
        let (one, other) = (book(&server.url(), node), book(&server.url(), node));
        let (seen, also) = (entry(&one).await, entry(&other).await);
        eprintln!("{node}: {seen:?} {also:?}");
        let first = take(&one, &seen, &held_by("c", 3)).await;
        let second = take(&other, &also, &held_by("d", 3)).await;
        eprintln!("{node}: {first:?} {second:?} {:?}", entry(&one).await);
        assert!(first.is_some() != second.is_some(), "{node}: {first:?} {second:?}");
        let now = entry(&other).await;
        assert_eq!(Some(now.revision), first.or(second), "{now:?}");
    }
}
