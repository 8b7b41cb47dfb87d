//! The last word of somebody, for everybody who wants to follow it: the `watch` of tokio, with one difference. There, whoever
//! waits takes one of several queues by lot; here there is one queue, so that the same events wake the same readers in the same
//! order. What happens must not depend on luck, or a run could not be repeated.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// A writing end.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// A reading end. Each remembers which value it saw last.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// A look at a value. No await may lie between taking it and letting it go.
#[derive(Debug)]
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The writing ends are gone: there will be no other value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody publishes here any more")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// How many values there were.
    version: AtomicU64,
    /// Writing ends.
    senders: AtomicUsize,
    news: Notify,
}

/// A connected pair. The first value is no news to the reading end.
pub fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(first),
        version: AtomicU64::new(0),
        senders: AtomicUsize::new(1),
        news: Notify::new(),
    });
    (Sender(shared.clone()), Receiver { shared, seen: 0 })
}

impl<T> Shared<T> {
    fn read(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

impl<T> Sender<T> {
    /// Publishes a value; gives the one before.
    pub fn send_replace(&self, value: T) -> T {
        let mut new = value;
        self.send_modify(|old| std::mem::swap(old, &mut new));
        new
    }

    /// Publishes a change of the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Publishes a change of the value, if there is one: `change` says so, and so does the answer.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            if !change(&mut value) {
                return false;
            }
            // Under the lock: who sees the number sees the value.
            self.0.version.fetch_add(1, Ordering::Release);
        }
        self.0.news.notify_waiters();
        true
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// How many reading ends there are.
    pub fn receiver_count(&self) -> usize {
        Arc::strong_count(&self.0).saturating_sub(self.0.senders.load(Ordering::Acquire))
    }

    /// Another reading end, to which the present value is no news.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { seen: self.0.version(), shared: self.0.clone() }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::Release);
        self.0.news.notify_waiters();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The present value, which is no news from now on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version();
        value
    }

    /// What is there now is no news.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.version();
    }

    /// Waits for news, which are none any more afterwards.
    ///
    /// # Errors
    /// [`Closed`], once the last value was seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let waiting = self.shared.news.notified();
            tokio::pin!(waiting);
            // In the queue before the look, so that nothing falls in between.
            waiting.as_mut().enable();
            let version = self.shared.version();
            if self.seen != version {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            waiting.await;
        }
    }

    /// Waits until the value is one that `is_it` says yes to; the present one counts.
    ///
    /// # Errors
    /// [`Closed`], when the last value was none.
    pub async fn wait_for(&mut self, mut is_it: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            self.mark_unchanged();
            if is_it(&self.shared.read()) {
                break;
            }
            self.changed().await?;
        }
        Ok(self.shared.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_value_is_news_once_to_each_reader() {
        let (sender, mut one) = channel(1);
        let mut other = one.clone();
        sender.send_replace(2);
        one.changed().await.expect("news");
        assert_eq!(*one.borrow(), 2);
        assert_eq!(*other.borrow_and_update(), 2);
        drop(sender);
        assert_eq!((one.changed().await, other.changed().await), (Err(Closed), Err(Closed)));
    }

    #[tokio::test]
    async fn the_last_word_is_heard_though_nobody_publishes_any_more() {
        let (sender, mut reader) = channel(1);
        assert_eq!(sender.send_replace(2), 1);
        drop(sender);
        assert_eq!(reader.changed().await, Ok(()));
        assert_eq!(reader.changed().await, Err(Closed));
    }

    #[tokio::test]
    async fn the_present_value_is_no_news_to_whoever_comes_later() {
        let (sender, _) = channel(1);
        sender.send_replace(2);
        let mut late = sender.subscribe();
        sender.send_modify(|value| *value += 1);
        assert_eq!(late.wait_for(|value| *value == 3).await.map(|value| *value), Ok(3));
        drop(sender);
        assert_eq!(late.changed().await, Err(Closed));
    }

    #[tokio::test]
    async fn a_value_that_was_waited_for_may_come_while_we_wait() {
        let (sender, mut reader) = channel(0);
        let waiting = tokio::spawn(async move { reader.wait_for(|value| *value == 2).await.map(|value| *value) });
        tokio::task::yield_now().await;
        sender.send_replace(1);
        tokio::task::yield_now().await;
        sender.send_replace(2);
        assert_eq!(waiting.await.expect("it does not panic"), Ok(2));
    }

    #[tokio::test]
    async fn readers_wake_in_the_order_in_which_they_began_to_wait() {
        let (sender, reader) = channel(());
        let woken: Arc<Mutex<Vec<usize>>> = Arc::default();
        let waiting: Vec<_> = (0..32)
            .map(|number| {
                let (mut reader, woken) = (reader.clone(), woken.clone());
                tokio::spawn(async move {
                    reader.changed().await.expect("news");
                    woken.lock().expect("nobody panics with it").push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_replace(());
        for one in waiting {
            one.await.expect("it does not panic");
        }
        assert!(woken.lock().expect("nobody panics with it").is_sorted());
    }
}
