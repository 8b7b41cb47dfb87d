//! The book of leases on a real server.

use std::sync::Arc;
use std::time::Duration;

use mkube_desired_store::{LeaseOptions, NatsLeases};
use mkube_model::lease_record::LeaseRecord;
use mkube_model::neighbours::lease_book::{LeaseBook, LeaseEntry, LeaseFault};
use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

const PATIENCE: Duration = Duration::from_secs(20);

fn book(url: &str) -> NatsLeases {
    let nats = NatsSettings { url: SecretUrl::new(url), replicas: 1, ..NatsSettings::default() };
    NatsLeases::open(LeaseOptions { nats, node: "rose1".into(), name: "test".into() }, Arc::new(SystemClock))
}

/// What it says as soon as it says something.
async fn read(book: &NatsLeases) -> LeaseEntry {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match book.read().await {
            Ok(entry) => return entry,
            Err(fault) => assert!(tokio::time::Instant::now() < until, "{fault}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn record(holder: &str) -> LeaseRecord {
    LeaseRecord { holder: holder.into(), token: 1, standby: Some("b".into()), ..LeaseRecord::default() }
}

#[tokio::test]
async fn a_record_is_written_over_the_one_that_was_read_and_no_other() {
    let server = NatsServer::start();
    let (one, other) = (book(&server.url()), book(&server.url()));
    assert_eq!(read(&one).await, LeaseEntry::default());
    assert_eq!(read(&other).await, LeaseEntry::default());
    let first = one.write(&record("a"), 0).await.expect("written");
    assert_eq!(other.write(&record("b"), 0).await, Err(LeaseFault::Conflict));
    let seen = read(&other).await;
    assert_eq!((seen.record.map(|record| record.holder), seen.revision), (Some("a".into()), first));
    let second = other.write(&record("b"), first).await.expect("written");
    assert!(second > first);
    assert_eq!(one.write(&record("a"), first).await, Err(LeaseFault::Conflict));
}

#[tokio::test]
async fn a_change_is_told_and_a_deleted_record_has_a_revision_too() {
    let server = NatsServer::start();
    let book = book(&server.url());
    read(&book).await;
    let first = book.write(&record("a"), 0).await.expect("written");
    // What was told before the next change is heard first.
    while tokio::time::timeout(Duration::from_millis(500), book.changed()).await.is_ok() {}
    let client = async_nats::connect(server.url()).await.expect("connected");
    let bucket = async_nats::jetstream::new(client).get_key_value("LEASES").await.expect("the bucket");
    bucket.delete("kube-node-lease.rose1").await.expect("deleted");
    tokio::time::timeout(PATIENCE, book.changed()).await.expect("it is told");
    let entry = read(&book).await;
    assert_eq!(entry.record, None);
    assert!(entry.revision > first);
    book.write(&record("b"), entry.revision).await.expect("written over the deletion");
    bucket.put("kube-node-lease.rose1", "nonsense".into()).await.expect("written");
    assert!(matches!(book.read().await, Err(LeaseFault::Unreadable(_))));
}

#[tokio::test]
async fn a_server_that_is_away_is_said_to_be_and_its_return_is_noticed() {
    let mut server = NatsServer::start();
    let book = book(&server.url());
    read(&book).await;
    let first = book.write(&record("a"), 0).await.expect("written");
    server.kill();
    let gone = async {
        while !matches!(book.read().await, Err(LeaseFault::Away(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is known to be away");
    assert!(matches!(book.write(&record("a"), first).await, Err(LeaseFault::Away(_))));
    server.start_again();
    assert_eq!(read(&book).await.revision, first);
}
