//! A bus in memory: it is there or away, takes what it is told or does not, and says what it is told to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_messages::watch;
use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession, BusSubscription};
use tokio::sync::mpsc;

/// Longest payload.
const LONGEST: usize = 1 << 20;
/// How long a bus that takes nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Inner {
    away: bool,
    attached: u64,
    told: Vec<BusMessage>,
    listeners: BTreeMap<String, mpsc::UnboundedSender<BusMessage>>,
}

/// See the module's text. It is there at first.
pub struct FakeBus {
    inner: Arc<Mutex<Inner>>,
    /// Whether it takes what it is told.
    takes: Arc<watch::Sender<bool>>,
    /// Counts the ends of connections.
    ends: Arc<watch::Sender<u64>>,
}

impl Default for FakeBus {
    fn default() -> Self {
        let (takes, _) = watch::channel(true);
        let (ends, _) = watch::channel(0);
        Self { inner: Arc::default(), takes: Arc::new(takes), ends: Arc::new(ends) }
    }
}

impl FakeBus {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It goes away, or comes back. Connections end when it goes.
    pub fn set_away(&self, away: bool) {
        let mut inner = self.inner();
        inner.away = away;
        if away {
            inner.listeners.clear();
        }
        drop(inner);
        if away {
            self.ends.send_modify(|ends| *ends += 1);
        }
    }

    /// It keeps its connections and takes nothing, or goes on.
    pub fn set_stuck(&self, stuck: bool) {
        self.takes.send_replace(!stuck);
    }

    /// How often somebody attached.
    pub fn attached(&self) -> u64 {
        self.inner().attached
    }

    /// Everything it was told.
    pub fn told(&self) -> Vec<BusMessage> {
        self.inner().told.clone()
    }

    /// Says something to whoever subscribed to exactly this; false when nobody does.
    pub fn say(&self, subscription: &str, payload: impl Into<bytes::Bytes>) -> bool {
        let message = BusMessage { subject: subscription.to_owned(), payload: payload.into(), ..BusMessage::default() };
        let inner = self.inner();
        inner.listeners.get(subscription).is_some_and(|listener| listener.send(message).is_ok())
    }
}

#[async_trait]
impl Bus for FakeBus {
    async fn attach(&self) -> Result<Arc<dyn BusSession>, BusFault> {
        let mut inner = self.inner();
        if inner.away {
            return Err(BusFault::Away("nobody is there".to_owned()));
        }
        inner.attached += 1;
        let born = *self.ends.borrow();
        Ok(Arc::new(Session { inner: self.inner.clone(), takes: self.takes.clone(), ends: self.ends.clone(), born }))
    }
}

struct Session {
    inner: Arc<Mutex<Inner>>,
    takes: Arc<watch::Sender<bool>>,
    ends: Arc<watch::Sender<u64>>,
    born: u64,
}

impl Session {
    fn is_over(&self) -> bool {
        *self.ends.borrow() != self.born
    }
}

#[async_trait]
impl BusSession for Session {
    async fn publish(&self, messages: Vec<BusMessage>) -> Result<(), BusFault> {
        let mut takes = self.takes.subscribe();
        let waiting = takes.wait_for(|takes| *takes);
        let taken = tokio::select! {
            biased;
            _ = self.ended() => false,
            taken = tokio::time::timeout(PATIENCE, waiting) => taken.is_ok(),
        };
        if !taken || self.is_over() {
            return Err(BusFault::Away("it did not take it".to_owned()));
        }
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).told.extend(messages);
        Ok(())
    }

    async fn subscribe(&self, subject: &str) -> Result<Box<dyn BusSubscription>, BusFault> {
        if self.is_over() {
            return Err(BusFault::Away("the connection has ended".to_owned()));
        }
        let (say, hear) = mpsc::unbounded_channel();
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).listeners.insert(subject.to_owned(), say);
        Ok(Box::new(Subscription(hear)))
    }

    async fn ended(&self) -> String {
        let mut ends = self.ends.subscribe();
        let _ = ends.wait_for(|ends| *ends != self.born).await;
        "the connection has ended".to_owned()
    }

    fn longest(&self) -> usize {
        LONGEST
    }
}

struct Subscription(mpsc::UnboundedReceiver<BusMessage>);

#[async_trait]
impl BusSubscription for Subscription {
    async fn next(&mut self) -> Option<BusMessage> {
        self.0.recv().await
    }
}
