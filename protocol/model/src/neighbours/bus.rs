//! The message bus: what others tell on it is heard, and what happens here is told on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// Subject of notices that an image was pushed.
pub const PUSHED: &str = "mkube.images.pushed";
/// Subject of events, as they are written.
pub const EVENTS: &str = "mkube.events";

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusMessage {
    /// What it is about: words with dots between them.
    pub subject: String,
    /// What stands beside the payload.
    pub headers: BTreeMap<String, String>,
    /// What is said, usually JSON.
    pub payload: Bytes,
}

/// Why nothing can be told or heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusFault {
    /// Nobody answers, or not any more; another try may go well.
    #[error("{0}")]
    Away(String),
    /// The bus does not let us in. Somebody has to change something.
    #[error("{0}")]
    Refused(String),
}

/// A bus that can be attached to.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Attaches. Answers within 10 s.
    async fn attach(&self) -> Result<Arc<dyn BusSession>, BusFault>;
}

/// A connection to the bus. Once it is broken it stays so.
#[async_trait]
pub trait BusSession: Send + Sync + 'static {
    /// Tells something, in this order. When it answers the bus has taken all of it; after a fault perhaps some of it. Answers within 10 s.
    async fn publish(&self, messages: Vec<BusMessage>) -> Result<(), BusFault>;

    /// Hears what is told from now on where the subject fits; `*` stands for one word, `>` for all that follow. Ends when it is dropped.
    async fn subscribe(&self, subject: &str) -> Result<Box<dyn BusSubscription>, BusFault>;

    /// Returns when the connection has ended: why.
    async fn ended(&self) -> String;

    /// The longest payload the bus takes.
    fn longest(&self) -> usize;
}

/// What is heard of one subject. What nobody takes in time is lost: the bus waits for nobody, and little is kept here.
#[async_trait]
pub trait BusSubscription: Send + 'static {
    /// The next message; none when the connection has ended.
    async fn next(&mut self) -> Option<BusMessage>;
}
