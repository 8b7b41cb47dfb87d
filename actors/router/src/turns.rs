//! Orders about one name follow one another, each with what the one before left behind.
//!
//! Two orders about the same row would both find it missing and both make it. They cannot come from one PodActor, but from
//! the one that died a moment ago and the one that took its place.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// A turn; it ends when dropped. Nobody closes the queue, so an error does not happen, and would cost the order only.
pub type Turn = Result<OwnedSemaphorePermit, AcquireError>;

/// Who is at it, by name, and what is remembered of each name meanwhile.
#[derive(Debug)]
pub struct Turns<T>(BTreeMap<String, (Arc<Semaphore>, T)>);

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default> Turns<T> {
    fn entry(&mut self, name: &str) -> &mut (Arc<Semaphore>, T) {
        self.0.entry(name.to_owned()).or_insert_with(|| (Arc::new(Semaphore::new(1)), T::default()))
    }

    /// Waits until it is one's turn, in order of arrival.
    pub fn take(&mut self, name: &str) -> impl Future<Output = Turn> + use<T> {
        self.entry(name).0.clone().acquire_owned()
    }

    /// What is remembered of a name, for whoever has the turn.
    pub fn kept(&mut self, name: &str) -> &mut T {
        &mut self.entry(name).1
    }

    /// Forgets names nobody is at and about which there is nothing worth remembering.
    pub fn tidy(&mut self, worth: impl Fn(&T) -> bool) {
        self.0.retain(|_, (queue, kept)| Arc::strong_count(queue) > 1 || worth(kept));
    }
}
