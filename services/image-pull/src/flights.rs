//! One piece of work for however many ask for it at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::trouble::Trouble;

type Outcome<T> = Result<T, Trouble>;

/// Work that is under way, by what it is for.
pub(crate) struct Flights<T> {
    running: Arc<Mutex<HashMap<String, Weak<Flight<T>>>>>,
    /// Whether work goes on when nobody waits for it any more.
    goes_on: bool,
}

struct Flight<T> {
    outcome: watch::Receiver<Option<Outcome<T>>>,
    task: AbortHandle,
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        // Nobody waits: what is under way has no use. What has ended is not touched by it.
        self.task.abort();
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Work that ends with the last of those who wait for it.
    pub(crate) fn for_waiters() -> Self {
        Self { running: Arc::default(), goes_on: false }
    }

    /// Work that is brought to its end whoever leaves.
    pub(crate) fn to_the_end() -> Self {
        Self { running: Arc::default(), goes_on: true }
    }

    /// Waits for the work of that name, which is begun if nobody has; whether it was begun here.
    pub(crate) async fn join<F>(&self, name: &str, begin: impl FnOnce() -> F) -> (Outcome<T>, bool)
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let (flight, begun) = self.board(name, begin);
        let mut outcome = flight.outcome.clone();
        let done = match outcome.wait_for(Option::is_some).await {
            Ok(done) => done.clone(),
            Err(_) => None,
        };
        (done.unwrap_or_else(|| Err(Trouble::Unreadable("the work on it ended without a result".to_owned()))), begun)
    }

    fn board<F>(&self, name: &str, begin: impl FnOnce() -> F) -> (Arc<Flight<T>>, bool)
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(name).and_then(Weak::upgrade)
            && flight.outcome.has_changed().is_ok()
        {
            return (flight, false);
        }
        let (sender, outcome) = watch::channel(None);
        let work = begin();
        let (hold, held) = tokio::sync::oneshot::channel::<Arc<Flight<T>>>();
        let (all, own, goes_on) = (self.running.clone(), name.to_owned(), self.goes_on);
        let task = tokio::spawn(async move {
            // Its own ticket keeps it in the air.
            let _held = if goes_on { held.await.ok() } else { None };
            let done = work.await;
            // Whoever comes from here on finds what was made, or makes another attempt.
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
            sender.send_replace(Some(done));
        });
        let flight = Arc::new(Flight { outcome, task: task.abort_handle() });
        if goes_on {
            // Refused only when the runtime is being shut down.
            let _ = hold.send(flight.clone());
        }
        running.retain(|_, flight| flight.strong_count() > 0);
        running.insert(name.to_owned(), Arc::downgrade(&flight));
        (flight, true)
    }
}
