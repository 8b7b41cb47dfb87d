//! One at a time for each key: locks that exist only while somebody holds or awaits them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Table<K> = Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>;

/// A lock for each key.
pub struct KeyedLocks<K: Hash + Eq + Clone> {
    table: Table<K>,
}

/// A key that is held; let go when dropped.
pub struct Held<K: Hash + Eq + Clone> {
    key: K,
    table: Table<K>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Hash + Eq + Clone> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self { table: Arc::default() }
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq + Clone> KeyedLocks<K> {
    /// Waits for the key.
    pub async fn hold(&self, key: &K) -> Held<K> {
        // Made before waiting: a caller that gives up cleans the table as well.
        let mut held = Held { key: key.clone(), table: self.table.clone(), guard: None };
        let lock = open(&self.table).entry(key.clone()).or_default().clone();
        held.guard = Some(lock.lock_owned().await);
        held
    }

    /// Takes the key if nobody has it.
    pub fn try_hold(&self, key: &K) -> Option<Held<K>> {
        let mut held = Held { key: key.clone(), table: self.table.clone(), guard: None };
        let lock = open(&self.table).entry(key.clone()).or_default().clone();
        held.guard = lock.try_lock_owned().ok();
        held.guard.is_some().then_some(held)
    }

    /// Keys that are held or awaited.
    pub fn len(&self) -> usize {
        open(&self.table).len()
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        self.guard = None;
        let mut table = open(&self.table);
        // Whoever waits has a copy; the table alone has one.
        if table.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_held_by_one_and_forgotten_by_all_in_the_end() {
        let locks = KeyedLocks::default();
        let first = locks.hold(&"a").await;
        let other = locks.hold(&"b").await;
        assert!(locks.try_hold(&"a").is_none());
        let mut second = Box::pin(locks.hold(&"a"));
        assert!(futures_util::poll!(&mut second).is_pending());
        let mut third = Box::pin(locks.hold(&"a"));
        assert!(futures_util::poll!(&mut third).is_pending());
        assert_eq!(locks.len(), 2);
        drop(first);
        let second = second.await;
        drop(second);
        // It never got its turn.
        drop(third);
        drop(other);
        assert_eq!(locks.len(), 0);
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_after_the_holder_left_leaves_nothing_behind() {
        let locks = KeyedLocks::default();
        let first = locks.hold(&1).await;
        let mut second = Box::pin(locks.hold(&1));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second);
        assert_eq!(locks.len(), 0);
    }
}
