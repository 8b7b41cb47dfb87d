//! What every store must do. A second store joins by one more call at the bottom.

use bytes::Bytes;
use mkube_desired_store::EmbeddedStore;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreFault, StoreKey};

fn put(key: &str, value: &str, expected: Expected) -> StoreChange {
    let at = StoreKey { bucket: "PODS".into(), key: key.into() };
    StoreChange { at, value: Some(Bytes::copy_from_slice(value.as_bytes())), expected }
}

fn delete(key: &str, expected: Expected) -> StoreChange {
    StoreChange { value: None, ..put(key, "", expected) }
}

async fn values(store: &dyn DesiredStore) -> Vec<(String, String, u64)> {
    let contents = store.load().await.expect("readable");
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    contents.values.iter().map(|one| (one.at.key.clone(), text(&one.value), one.revision)).collect()
}

async fn a_store_keeps_what_it_was_given(store: &dyn DesiredStore) {
    let revisions =
        store.commit(vec![put("a", "1", Expected::Absent), put("b", "2", Expected::Any)]).await.expect("fits");
    assert_eq!(revisions, [1, 2]);
    let revisions =
        store.commit(vec![put("a", "3", Expected::At(1)), delete("b", Expected::At(2))]).await.expect("fits");
    assert_eq!(revisions, [3, 4]);
    assert_eq!(values(store).await, [("a".to_owned(), "3".to_owned(), 3)]);
    assert_eq!(store.load().await.expect("readable").revision, 4, "deletions count");
}

async fn a_conflict_leaves_everything_untouched(store: &dyn DesiredStore) {
    let before = (values(store).await, store.load().await.expect("readable").revision);
    let conflict = store.commit(vec![put("c", "1", Expected::Any), put("a", "9", Expected::At(1))]).await;
    assert!(matches!(&conflict, Err(StoreFault::Conflict { at, found: Some(3), .. }) if at.key == "a"), "{conflict:?}");
    let conflict = store.commit(vec![put("a", "9", Expected::Absent)]).await;
    assert!(matches!(conflict, Err(StoreFault::Conflict { .. })), "{conflict:?}");
    assert_eq!((values(store).await, store.load().await.expect("readable").revision), before);
}

async fn compacting_loses_nothing(store: &dyn DesiredStore) {
    let before = values(store).await;
    store.compact().await.expect("nothing is wrong");
    assert_eq!(values(store).await, before);
}

async fn conforms(store: &dyn DesiredStore) {
    a_store_keeps_what_it_was_given(store).await;
    a_conflict_leaves_everything_untouched(store).await;
    compacting_loses_nothing(store).await;
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    conforms(&EmbeddedStore::open(directory.path().join("deep/state.redb")).await.expect("new")).await;
}
