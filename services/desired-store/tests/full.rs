//! A disk that is full, or that fails: writes are refused with words, nothing is lost, and it goes on when the disk does.

mod disk;

use std::collections::BTreeMap;

use bytes::Bytes;
use disk::{Dice, Disk, State, state, transaction};
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreFault, StoreKey};

fn put(key: usize, length: usize) -> StoreChange {
    let at = StoreKey { bucket: "PODS".into(), key: format!("default.pod-{key}") };
    StoreChange { at, value: Some(Bytes::from(vec![b'x'; length])), expected: Expected::Any, behind: false }
}

#[tokio::test]
async fn a_full_disk_refuses_what_has_no_room_keeps_what_is_there_and_goes_on_when_there_is_room() {
    let disk = Disk::default();
    let store = disk.store().await.expect("new");
    let mut wanted = BTreeMap::new();
    disk.room(Some(disk.blocks() + 60));
    let mut refused = 0;
    for key in 0..200 {
        match store.commit(vec![put(key, 3000)]).await {
            Ok(outcomes) => {
                wanted.insert(format!("default.pod-{key}"), outcomes[0].clone().expect("no condition"));
            }
            Err(StoreFault::Unwritable(why)) => {
                assert!(why.starts_with("disk: ") && why.to_lowercase().contains("no storage space"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        let (_, now) = state(&store).await.expect("readable while full");
        let now: BTreeMap<String, u64> = now.into_iter().map(|(key, revision, _)| (key, revision)).collect();
        assert_eq!(now, wanted, "after {key}");
    }
    assert!(refused > 50 && wanted.len() > 10, "{refused} refused, {} kept", wanted.len());
    // Also for who comes after.
    drop(store);
    let store = disk.store().await.expect("readable while full");
    assert_eq!(state(&store).await.expect("readable").1.len(), wanted.len());
    disk.room(None);
    store.commit(vec![put(1000, 3000)]).await.expect("there is room");
    assert_eq!(state(&store).await.expect("readable").1.len(), wanted.len() + 1);
}

/// What the store is after the changes, if they are made.
fn then(state: &State, changes: &[StoreChange]) -> Vec<(String, Bytes)> {
    let mut values: BTreeMap<String, Bytes> =
        state.1.iter().map(|(key, _, value)| (key.clone(), value.clone())).collect();
    for change in changes {
        match &change.value {
            Some(value) => drop(values.insert(change.at.key.clone(), value.clone())),
            None => drop(values.remove(&change.at.key)),
        }
    }
    values.into_iter().collect()
}

#[tokio::test]
async fn a_write_that_fails_at_any_order_is_done_or_not_and_is_told_as_what_it_is() {
    let mut dice = Dice(23);
    for once in [true, false] {
        let disk = Disk::default();
        let store = disk.store().await.expect("new");
        let (mut untouched, mut unknown, mut lived_through) = (0, 0, false);
        for orders in 0..40 {
            let before = state(&store).await.expect("readable");
            let changes = transaction(&mut dice);
            disk.fail_after(orders, once);
            let told = store.commit(changes.clone()).await;
            let failed = disk.mend();
            let now = state(&store).await.unwrap_or_else(|fault| panic!("after {orders}: {fault}"));
            let values: Vec<(String, Bytes)> =
                now.1.iter().map(|(key, _, value)| (key.clone(), value.clone())).collect();
            match told {
                Ok(_) => {
                    assert_eq!(values, then(&before, &changes), "after {orders}");
                    lived_through |= !failed;
                }
                Err(StoreFault::Unwritable(_)) => {
                    assert_eq!(now, before, "after {orders}");
                    untouched += 1;
                }
                Err(StoreFault::Away(_)) => {
                    assert!(now == before || values == then(&before, &changes), "after {orders}");
                    unknown += 1;
                }
                Err(other) => panic!("after {orders}: {other}"),
            }
        }
        // A disk that goes on failing cannot be asked what became of a write.
        let told = if once { untouched } else { unknown };
        assert!(told > 0 && lived_through, "{untouched} untouched, {unknown} unknown");
    }
}
