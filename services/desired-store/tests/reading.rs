//! Files are read without changing a byte of them, whoever wrote them and however he ended.

use std::path::Path;

use bytes::Bytes;
use mkube_desired_store::moving::{carry_out, differences, plan};
use mkube_desired_store::{
    EmbeddedStore, FileKind, JetStreamOptions, JetStreamStore, journal_of, read_buckets, read_file,
};
use mkube_model::neighbours::desired_store::{
    DesiredStore, Expected, StoreChange, StoreContents, StoreFault, StoreKey,
};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

fn put(bucket: &str, key: &str, value: &[u8]) -> StoreChange {
    let at = StoreKey { bucket: bucket.into(), key: key.into() };
    StoreChange { at, value: Some(Bytes::copy_from_slice(value)), expected: Expected::Any, behind: false }
}

fn nats(server: &NatsServer) -> NatsSettings {
    NatsSettings { url: SecretUrl::new(server.url()), replicas: 1, ..NatsSettings::default() }
}

fn buckets() -> Vec<String> {
    ["CONFIGMAPS", "PODS"].map(str::to_owned).to_vec()
}

/// Values that text would not survive.
async fn filled(store: &dyn DesiredStore) {
    let changes = vec![
        put("PODS", "default.a", b"{}"),
        put("PODS", "default.b", &[0, 255, 254]),
        put("CONFIGMAPS", "default.a", b""),
        put("CONFIGMAPS", "default.gone", b"x"),
    ];
    store.commit(changes).await.expect("room");
    let gone = StoreChange { value: None, ..put("CONFIGMAPS", "default.gone", b"") };
    store.commit(vec![gone]).await.expect("room");
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

fn keys(contents: &StoreContents) -> Vec<String> {
    contents.values.iter().map(|one| format!("{}/{}", one.at.bucket, one.at.key)).collect()
}

#[tokio::test]
async fn a_file_is_read_as_it_was_left_also_by_a_program_that_was_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, crashed) = (directory.path().join("state.redb"), directory.path().join("crashed.redb"));
    let store = EmbeddedStore::open(&path).await.expect("new");
    filled(&store).await;
    let fault = read_file(&path).await.expect_err("in use");
    assert!(matches!(&fault, StoreFault::Absent(why) if why.contains("stop that")), "{fault}");
    // As `kill -9` leaves it.
    for (from, to) in [(&path, &crashed), (&journal_of(&path), &journal_of(&crashed))] {
        std::fs::copy(from, to).expect("copied");
    }
    let known = store.load().await.expect("readable");
    drop(store);
    assert!(journal_of(&crashed).exists() && !journal_of(&path).exists());
    for path in [&path, &crashed] {
        let journal = || std::fs::read(journal_of(path)).ok();
        let before = (bytes(path), journal());
        let found = read_file(path).await.expect("readable");
        assert_eq!((found.kind, &found.contents.values), (FileKind::Embedded, &known.values));
        assert!((bytes(path), journal()) == before, "{} was changed", path.display());
    }
}

#[tokio::test]
async fn a_byte_that_turned_in_a_file_that_was_closed_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let store = EmbeddedStore::open(&path).await.expect("new");
    store.commit(vec![put("PODS", "default.a", b"the-value-that-turns")]).await.expect("room");
    drop(store);
    let mut damaged = bytes(&path);
    let value = b"the-value-that-turns";
    let places: Vec<usize> = (0..damaged.len() - value.len()).filter(|at| damaged[*at..].starts_with(value)).collect();
    assert!(!places.is_empty(), "it stands in the file");
    for at in places {
        damaged[at] ^= 1;
    }
    std::fs::write(&path, &damaged).expect("written");
    let fault = read_file(&path).await.expect_err("it is not what was written");
    assert!(matches!(fault, StoreFault::Unreadable(_)), "{fault}");
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_nothing_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    assert!(matches!(read_file(&path).await, Err(StoreFault::Unreadable(_))));
    assert!(!path.exists());
    for text in ["", "not a store"] {
        std::fs::write(&path, text).expect("written");
        assert!(matches!(read_file(&path).await, Err(StoreFault::Unreadable(_))), "{text:?}");
        assert_eq!(bytes(&path), text.as_bytes());
    }
}

#[tokio::test]
async fn a_store_goes_to_nats_and_back_byte_for_byte_and_its_snapshot_tells_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let first = EmbeddedStore::open(file("first.redb")).await.expect("new");
    filled(&first).await;
    let known = first.load().await.expect("readable");
    let server = NatsServer::start();

    let (empty, there) = read_buckets(&nats(&server), &buckets(), "test").await.expect("it is there");
    assert_eq!((empty.values.len(), there), (0, vec![]), "reading makes no buckets");
    let options = JetStreamOptions {
        nats: nats(&server),
        buckets: buckets(),
        path: file("known.redb"),
        write_behind: false,
        name: "test".into(),
        copy: |_, _, _| Ok(()),
    };
    let store = JetStreamStore::open(options).await.expect("a file");
    let now = store.load().await.expect("readable");
    assert_eq!(now.stale, None);
    carry_out(plan(&known, &now), &store, |_| {}).await.expect("nobody else writes");
    store.close().await;

    let (moved, there) = read_buckets(&nats(&server), &buckets(), "test").await.expect("it is there");
    assert_eq!(there, buckets());
    assert_eq!(differences(&known, &moved, 10), Vec::<String>::new());
    let snapshot = read_file(file("known.redb")).await.expect("readable");
    assert_eq!((snapshot.kind, keys(&snapshot.contents)), (FileKind::Snapshot, keys(&known)));
    assert_eq!(differences(&known, &snapshot.contents, 10), Vec::<String>::new());
    let back = EmbeddedStore::open(file("back.redb")).await.expect("new");
    carry_out(plan(&moved, &StoreContents::default()), &back, |_| {}).await.expect("room");
    assert_eq!(differences(&known, &back.load().await.expect("readable"), 10), Vec::<String>::new());
}
