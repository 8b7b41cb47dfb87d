//! The book of leases: one record per device in the bucket `LEASES`, over a connection of its own. A record is read from the
//! leader of its stream, never from a copy.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use mkube_model::lease_record::LeaseRecord;
use mkube_model::neighbours::desired_store::StoreKey;
use mkube_model::neighbours::lease_book::{LeaseBook, LeaseEntry, LeaseFault};
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::settings::NatsSettings;
use mkube_nats_client::{Connection, connect};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::jetstream::publish::{Publication, Word, publish};
use crate::jetstream::session::bucket;

/// The bucket.
const BUCKET: &str = "LEASES";
/// Pause before NATS is looked for again: the first one; doubles up to the longest.
const FIRST: Duration = Duration::from_millis(100);
/// The longest such pause: whoever stands by must notice in time.
const LONGEST: Duration = Duration::from_secs(2);
/// A change is heard of before the stream has it; it is told a little later.
const SETTLE: Duration = Duration::from_millis(50);

/// What the book is opened with.
pub struct LeaseOptions {
    /// Where NATS is, as whom it is spoken to, how many copies it keeps.
    pub nats: NatsSettings,
    /// The device's node.
    pub node: String,
    /// What NATS lists us as.
    pub name: String,
}

/// The book of one device's lease, in NATS. It is there at once, also while NATS is not.
pub struct NatsLeases {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    options: LeaseOptions,
    clock: Arc<dyn WallClock>,
    /// A connection to a server that has the bucket, or why there is none.
    connection: watch::Sender<Result<Connection, String>>,
    changed: Notify,
}

impl NatsLeases {
    /// Begins to look for NATS.
    pub fn open(options: LeaseOptions, clock: Arc<dyn WallClock>) -> Self {
        let connection = watch::Sender::new(Err("NATS was not reached yet".to_owned()));
        let inner = Arc::new(Inner { options, clock, connection, changed: Notify::new() });
        Self { task: tokio::spawn(keep_there(inner.clone())), inner }
    }
}

impl Drop for NatsLeases {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Never returns.
async fn keep_there(inner: Arc<Inner>) {
    let mut pause = FIRST;
    loop {
        let why = match attach(&inner).await {
            Ok(connection) => {
                pause = FIRST;
                follow(&inner, &connection).await
            }
            Err(why) => why,
        };
        inner.set(Err(why));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

async fn attach(inner: &Inner) -> Result<Connection, String> {
    let connection = connect(&inner.options.nats, &inner.options.name).await.map_err(|fault| fault.to_string())?;
    let context = jetstream::new(connection.client.clone());
    let missing = match context.get_stream(format!("KV_{BUCKET}")).await {
        Ok(_) => false,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(fault) if fault.error_code() == ErrorCode::STREAM_NOT_FOUND => true,
            _ => return Err(format!("JetStream does not say what is in bucket {BUCKET}: {error}")),
        },
    };
    if missing {
        let config = bucket(BUCKET, &inner.options.nats);
        context.create_stream(config).await.map_err(|error| format!("bucket {BUCKET} cannot be made: {error}"))?;
    }
    inner.set(Ok(connection.clone()));
    Ok(connection)
}

/// Tells of changes until the connection ends: why.
async fn follow(inner: &Inner, connection: &Connection) -> String {
    inner.changed.notify_one();
    // What is published is heard, without a consumer that JetStream would have to keep; what is missed is found by reading.
    let heard = connection.client.subscribe(inner.subject()).await;
    let telling = async {
        if let Ok(mut heard) = heard {
            while heard.next().await.is_some() {
                tokio::time::sleep(SETTLE).await;
                inner.changed.notify_one();
            }
        }
        std::future::pending::<()>().await;
    };
    let mut here = inner.connection.subscribe();
    let given_up = async { here.wait_for(Result::is_err).await.ok().and_then(|why| why.clone().err()) };
    tokio::select! {
        biased;
        why = connection.ended() => why,
        why = given_up => why.unwrap_or_default(),
        () = telling => String::new(),
    }
}

/// The bucket, whatever is in it.
async fn stream(connection: &Connection) -> Result<Stream<()>, LeaseFault> {
    let context = jetstream::new(connection.client.clone());
    let stream = context.get_stream_no_info(format!("KV_{BUCKET}")).await;
    stream.map_err(|error| LeaseFault::Unknown(error.to_string()))
}

impl Inner {
    fn key(&self) -> String {
        LeaseRecord::key(&self.options.node)
    }

    fn subject(&self) -> String {
        format!("$KV.{BUCKET}.{}", self.key())
    }

    fn set(&self, now: Result<Connection, String>) {
        self.connection.send_modify(|connection| *connection = now);
    }

    fn connection(&self) -> Result<Connection, LeaseFault> {
        let connection = self.connection.borrow().clone().map_err(LeaseFault::Away)?;
        if connection.has_ended() {
            return Err(LeaseFault::Away("the connection to NATS was lost".to_owned()));
        }
        Ok(connection)
    }

    /// The last change of the record, as the leader of its stream has it.
    async fn last(&self, connection: &Connection) -> Result<Option<StreamMessage>, LeaseFault> {
        match stream(connection).await?.get_last_raw_message_by_subject(&self.subject()).await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(fault) if fault.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    self.begin_anew("bucket LEASES was removed");
                    Err(LeaseFault::Away("bucket LEASES was removed".to_owned()))
                }
                _ => Err(LeaseFault::Unknown(error.to_string())),
            },
        }
    }

    /// What was acknowledged counts when it is found again. nats-server 2.9 may be wrong about a record when it starts after a
    /// `kill -9`; then it acknowledges whatever is written over it, and drops it: two who took the lease would both believe that they
    /// have it.
    async fn found_again(&self, connection: &Connection, revision: u64) -> Result<u64, LeaseFault> {
        if self.last(connection).await?.is_some_and(|last| last.sequence >= revision) {
            return Ok(revision);
        }
        tracing::warn!(key = %self.key(), "NATS drops what it is told of the lease; what is in the way is taken away");
        // Up to what was dropped and no further.
        let purging = stream(connection).await?.purge().filter(self.subject()).sequence(revision + 1);
        let unknown = |why: &str| LeaseFault::Unknown(format!("NATS dropped what it had acknowledged{why}"));
        purging.await.map_err(|error| unknown(&format!(", and goes on doing so: {error}")))?;
        Err(unknown(""))
    }

    /// The bucket is not there any more: another connection makes another.
    fn begin_anew(&self, why: &str) {
        self.set(Err(why.to_owned()));
    }
}

#[async_trait]
impl LeaseBook for NatsLeases {
    async fn read(&self) -> Result<LeaseEntry, LeaseFault> {
        let connection = self.inner.connection()?;
        let Some(message) = self.inner.last(&connection).await? else { return Ok(LeaseEntry::default()) };
        let revision = message.sequence;
        if message.headers.get("KV-Operation").is_some() {
            return Ok(LeaseEntry { record: None, revision });
        }
        let said = |error: String| LeaseFault::Unreadable(format!("{}: {error}", self.inner.key()));
        let object = serde_json::from_slice(&message.payload).map_err(|error| said(error.to_string()))?;
        let record = LeaseRecord::from_object(&object).map_err(said)?;
        Ok(LeaseEntry { record: Some(record), revision })
    }

    async fn write(&self, record: &LeaseRecord, expected: u64) -> Result<u64, LeaseFault> {
        let connection = self.inner.connection()?;
        let object = record.to_object(&self.inner.options.node, self.inner.clock.now());
        let change = Publication {
            at: StoreKey { bucket: BUCKET.to_owned(), key: self.inner.key() },
            value: Some(Bytes::from(object.to_string())),
            expected: Some(expected),
        };
        match publish(&connection.client, vec![change]).await.pop() {
            Some(Word::Made(revision)) => self.inner.found_again(&connection, revision).await,
            Some(Word::Mismatch(_)) => Err(LeaseFault::Conflict),
            Some(Word::Refused(why)) => Err(LeaseFault::Away(why)),
            Some(Word::NobodyListens) => {
                self.inner.begin_anew("JetStream is not there");
                Err(LeaseFault::Away("JetStream is not there".to_owned()))
            }
            Some(Word::Unknown(why)) => Err(LeaseFault::Unknown(why)),
            None => Err(LeaseFault::Unknown("nothing was said".to_owned())),
        }
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}
