//! What every store must do. A second store joins by one more call at the bottom.

use bytes::Bytes;
use mkube_desired_store::{EmbeddedStore, JetStreamOptions, JetStreamStore};
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, Revision, StoreChange, StoreKey};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

fn put(key: &str, value: &str, expected: Expected) -> StoreChange {
    let at = StoreKey { bucket: "PODS".into(), key: key.into() };
    StoreChange { at, value: Some(Bytes::copy_from_slice(value.as_bytes())), expected, behind: false }
}

fn delete(key: &str, expected: Expected) -> StoreChange {
    StoreChange { value: None, ..put(key, "", expected) }
}

async fn values(store: &dyn DesiredStore) -> Vec<(String, String, u64)> {
    let contents = store.load().await.expect("readable");
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    contents.values.iter().map(|one| (one.at.key.clone(), text(&one.value), one.revision)).collect()
}

async fn revision(store: &dyn DesiredStore) -> Revision {
    store.load().await.expect("readable").revision_of("PODS")
}

async fn committed(store: &dyn DesiredStore, changes: Vec<StoreChange>) -> Vec<Revision> {
    let outcomes = store.commit(changes).await.expect("it is there");
    outcomes.into_iter().map(|outcome| outcome.expect("it fits")).collect()
}

async fn a_store_keeps_what_it_was_given(store: &dyn DesiredStore) {
    let empty = revision(store).await;
    assert!(empty > 0, "whoever lists what is empty has something to continue from");
    let first = committed(store, vec![put("a", "1", Expected::Absent), put("b", "2", Expected::Any)]).await;
    assert!(empty < first[0] && first[0] < first[1], "{empty} {first:?}");
    let second =
        committed(store, vec![put("a", "3", Expected::At(first[0])), delete("b", Expected::At(first[1]))]).await;
    assert!(first[1] < second[0] && second[0] < second[1], "{first:?} {second:?}");
    assert_eq!(values(store).await, [("a".to_owned(), "3".to_owned(), second[0])]);
    assert_eq!(revision(store).await, second[1], "deletions count");
    let again = committed(store, vec![put("b", "4", Expected::Absent)]).await;
    assert!(second[1] < again[0], "a name that was free is taken");
    committed(store, vec![delete("b", Expected::Any), delete("never", Expected::Any)]).await;
    assert_eq!(values(store).await, [("a".to_owned(), "3".to_owned(), second[0])]);
}

async fn a_change_whose_condition_does_not_hold_is_not_applied_and_the_others_are(store: &dyn DesiredStore) {
    let (before, newest) = (values(store).await, revision(store).await);
    let held = before[0].2;
    let changes = vec![
        put("c", "1", Expected::Any),
        put("a", "9", Expected::At(held + 1)),
        put("a", "9", Expected::Absent),
        delete("a", Expected::At(held + 1)),
        delete("d", Expected::At(held)),
    ];
    let outcomes = store.commit(changes).await.expect("it is there");
    let made = *outcomes[0].as_ref().expect("it stands for itself");
    assert!(made > newest);
    for outcome in &outcomes[1..4] {
        let conflict = outcome.as_ref().expect_err("it is another revision");
        assert_eq!((conflict.at.key.as_str(), conflict.found), ("a", Some(held)));
    }
    assert_eq!(outcomes[4].as_ref().expect_err("there is none").found, None);
    assert_eq!(values(store).await, [before[0].clone(), ("c".to_owned(), "1".to_owned(), made)]);
    committed(store, vec![delete("c", Expected::At(made))]).await;
    assert_eq!(values(store).await, before);
}

async fn two_changes_of_one_key_in_one_batch_follow_one_another(store: &dyn DesiredStore) {
    let before = values(store).await;
    let changes =
        vec![put("twice", "1", Expected::Absent), put("twice", "2", Expected::Absent), delete("twice", Expected::Any)];
    let outcomes = store.commit(changes).await.expect("it is there");
    assert!(outcomes[0].is_ok() && outcomes[1].is_err() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(values(store).await, before);
}

async fn buckets_are_kept_apart(store: &dyn DesiredStore) {
    let before = values(store).await;
    let mut elsewhere = put("a", "elsewhere", Expected::Absent);
    elsewhere.at.bucket = "CONFIGMAPS".into();
    committed(store, vec![elsewhere.clone()]).await;
    let now = store.load().await.expect("readable");
    let found = now.values.iter().find(|value| value.at == elsewhere.at).expect("it is there");
    assert_eq!(found.value.as_ref(), b"elsewhere");
    assert!(now.revision_of("CONFIGMAPS") >= found.revision);
    committed(store, vec![StoreChange { value: None, expected: Expected::At(found.revision), ..elsewhere }]).await;
    assert_eq!(values(store).await, before);
}

async fn compacting_loses_nothing(store: &dyn DesiredStore) {
    let before = values(store).await;
    store.compact().await.expect("nothing is wrong");
    assert_eq!(values(store).await, before);
}

async fn conforms(store: &dyn DesiredStore) {
    a_store_keeps_what_it_was_given(store).await;
    a_change_whose_condition_does_not_hold_is_not_applied_and_the_others_are(store).await;
    two_changes_of_one_key_in_one_batch_follow_one_another(store).await;
    buckets_are_kept_apart(store).await;
    compacting_loses_nothing(store).await;
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    conforms(&EmbeddedStore::open(directory.path().join("deep/state.redb")).await.expect("new")).await;
}

#[tokio::test]
async fn the_store_in_jetstream_conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = NatsServer::start();
    let options = JetStreamOptions {
        nats: NatsSettings { url: SecretUrl::new(server.url()), replicas: 1, ..NatsSettings::default() },
        buckets: vec!["PODS".into(), "CONFIGMAPS".into()],
        path: directory.path().join("deep/state.redb"),
        write_behind: false,
        name: "mkube".into(),
        copy: |_, _, _| Ok(()),
    };
    let store = JetStreamStore::open(options.clone()).await.expect("new");
    assert_eq!(store.load().await.expect("there").stale, None);
    conforms(&store).await;
    let before = values(&store).await;
    store.close().await;
    assert_eq!(values(&JetStreamStore::open(options).await.expect("there")).await, before, "after a restart");
}
