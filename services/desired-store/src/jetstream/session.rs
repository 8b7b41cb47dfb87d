//! From nothing to a connection over which everything was read and each change is heard of.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::context::{GetStreamErrorKind, RequestError, RequestErrorKind};
use async_nats::jetstream::stream::{self, DiscardPolicy, RawMessageErrorKind, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use futures_util::stream::SelectAll;
use mkube_model::settings::NatsSettings;
use mkube_nats_client::{Connection, NatsFault, connect};
use tokio::sync::watch;

use super::JetStreamOptions;
use super::compare::{Found, Stream};
use super::delivery::{Delivered, Deliveries, Gap, Meaning};

/// How long reading everything may take, as long as something comes in.
const READING: Duration = Duration::from_secs(30);
/// Pause between two signs of life of a consumer that has nothing to send.
const LIFE: Duration = Duration::from_secs(2);
/// How long a consumer is kept by the server when its connection is gone.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How long a stream remembers ids of messages.
const DUPLICATES: Duration = Duration::from_secs(120);

/// A connection over which changes are told and heard of, until it fails.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    failed: watch::Sender<Option<String>>,
}

impl Session {
    fn new(connection: Connection) -> Self {
        Self { connection, failed: watch::Sender::new(None) }
    }

    /// It is good for nothing any more.
    pub(crate) fn fail(&self, why: &str) {
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(why.to_owned()).is_none());
    }

    /// Whether it is known to be over.
    pub(crate) fn is_over(&self) -> bool {
        self.connection.has_ended() || self.failed.borrow().is_some()
    }

    /// Returns when it is over: why.
    pub(crate) async fn over(&self) -> String {
        let mut failed = self.failed.subscribe();
        let failing = async {
            // Its other end is in here, it cannot go away.
            failed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()).unwrap_or_default()
        };
        tokio::select! {
            biased;
            why = failing => why,
            why = self.connection.ended() => why,
        }
    }
}

/// Where a consumer's messages come in.
pub(crate) struct Incoming {
    subscribers: SelectAll<Subscriber>,
    pub(crate) deliveries: Deliveries,
    /// What came in and was not handed on yet.
    held: Option<(Meaning, Option<Gap>)>,
}

impl Incoming {
    /// The next change; answers what wants an answer. Whoever gives up waiting for it gets it the next time.
    pub(crate) async fn next(&mut self, session: &Session) -> Result<Option<Delivered>, String> {
        if self.held.is_none() {
            let message = self.subscribers.next().await.ok_or("the connection to NATS was lost")?;
            self.held = Some(self.deliveries.read(message)?);
        }
        if let Some((_, Some(gap))) = &self.held {
            is_empty(session, gap).await?;
        }
        match self.held.take().map_or(Meaning::Life(None), |(meaning, _)| meaning) {
            Meaning::Change(delivered) => Ok(Some(delivered)),
            Meaning::Life(None) => Ok(None),
            Meaning::Life(Some(answer)) => {
                let answered = session.connection.client.publish(answer, Bytes::new()).await;
                answered.map(|()| None).map_err(|error| error.to_string())
            }
        }
    }
}

/// Makes sure that a consumer passed over nothing. nats-server 2.9 lets one that is behind go on at the end of the stream as soon as
/// somebody takes away the last message of a key, such as what marks its deletion.
async fn is_empty(session: &Session, gap: &Gap) -> Result<(), String> {
    let context = jetstream::new(session.connection.client.clone());
    let unknown =
        |error: &dyn Display| format!("JetStream does not say what it passed over in bucket {}: {error}", gap.bucket);
    let stream = context.get_stream_no_info(format!("KV_{}", gap.bucket)).await.map_err(|error| unknown(&error))?;
    match stream.get_first_raw_message_by_subject(format!("$KV.{}.>", gap.bucket), gap.from).await {
        Ok(next) if next.sequence < gap.to => Err(format!("changes of bucket {} were passed over", gap.bucket)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
        Err(error) => Err(unknown(&error)),
    }
}

/// A connection to servers, before anything was read.
pub(crate) async fn open(options: &JetStreamOptions) -> Result<Session, String> {
    match connect(&options.nats, &options.name).await {
        Ok(connection) => Ok(Session::new(connection)),
        Err(NatsFault::Unreachable(why) | NatsFault::Refused(why) | NatsFault::Settings(why)) => Err(why),
    }
}

/// Which of the buckets there are.
pub(crate) async fn look(session: &Session, buckets: &[String]) -> Result<BTreeMap<String, Option<Stream>>, String> {
    let context = jetstream::new(session.connection.client.clone());
    let looked = join_all(buckets.iter().map(|bucket| stream_of(&context, bucket))).await;
    buckets.iter().zip(looked).map(|(bucket, stream)| Ok((bucket.clone(), stream?))).collect()
}

async fn stream_of(context: &Context, bucket: &str) -> Result<Option<Stream>, String> {
    match context.get_stream(format!("KV_{bucket}")).await {
        Ok(stream) => Ok(Some(described(stream.cached_info()))),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(fault) if fault.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ if nobody_listens(&error) => Err("connected to NATS, but JetStream is not enabled there".to_owned()),
            _ => Err(format!(
                "connected to NATS, but JetStream does not say what is in bucket {bucket}: {}",
                caused_by(&error)
            )),
        },
    }
}

/// Nobody listens where JetStream does.
fn nobody_listens(error: &(dyn std::error::Error + 'static)) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RequestError>());
    cause.is_some_and(|cause| cause.kind() == RequestErrorKind::NoResponders)
}

/// An error with its causes.
fn caused_by(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn described(info: &stream::Info) -> Stream {
    let created = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX);
    Stream { created, last: info.state.last_sequence }
}

/// A bucket as every client makes one.
pub(crate) fn bucket(name: &str, nats: &NatsSettings) -> stream::Config {
    stream::Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_messages: -1,
        max_bytes: -1,
        max_message_size: -1,
        storage: StorageType::File,
        num_replicas: usize::try_from(nats.replicas).unwrap_or(1).max(1),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        duplicate_window: DUPLICATES,
        ..stream::Config::default()
    }
}

/// Makes the buckets that are not there.
pub(crate) async fn make(
    session: &Session,
    options: &JetStreamOptions,
    found: &mut BTreeMap<String, Option<Stream>>,
) -> Result<(), String> {
    let context = jetstream::new(session.connection.client.clone());
    let missing = found.iter_mut().filter(|(_, stream)| stream.is_none());
    let context = &context;
    try_join_all(missing.map(|(bucket, made)| async move {
        let stream = context
            .create_stream(self::bucket(bucket, &options.nats))
            .await
            .map_err(|error| format!("connected to NATS, but bucket {bucket} cannot be made: {error}"))?;
        *made = Some(described(stream.cached_info()));
        Ok(())
    }))
    .await
    .map(drop)
}

/// Begins to listen to every bucket, and reads all there is.
pub(crate) async fn read_all(
    session: &Session,
    buckets: &[String],
) -> Result<(Incoming, BTreeMap<String, Found>), String> {
    let client = &session.connection.client;
    let context = jetstream::new(client.clone());
    let mut deliveries = Deliveries::new(client.new_inbox());
    // One for each: servers do not take one with a wildcard for somebody who listens.
    let mut subscribers = SelectAll::new();
    for bucket in buckets {
        let subscriber = client.subscribe(deliveries.subject_of(bucket)).await;
        subscribers.push(subscriber.map_err(|error| error.to_string())?);
    }
    let consumers = buckets.iter().map(|bucket| {
        let config = push::Config {
            deliver_subject: deliveries.subject_of(bucket),
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("$KV.{bucket}.>"),
            ack_policy: AckPolicy::None,
            flow_control: true,
            idle_heartbeat: LIFE,
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        };
        let context = &context;
        async move {
            let unread =
                |error: &dyn Display| format!("connected to NATS, but bucket {bucket} cannot be read: {error}");
            let name = format!("KV_{bucket}");
            let made = context.create_consumer_on_stream(config, &name).await.map_err(|error| unread(&error))?;
            let stream = context.get_stream(&name).await.map_err(|error| unread(&error))?;
            let state = &stream.cached_info().state;
            Ok::<_, String>((bucket, made.cached_info().num_pending, state.last_sequence, state.subjects_count))
        }
    });
    let mut begun = Vec::new();
    for (bucket, expected, last, keys) in try_join_all(consumers).await? {
        deliveries.begin(bucket, expected, last);
        begun.push((bucket, keys));
    }
    let mut incoming = Incoming { subscribers, deliveries, held: None };
    let mut found: BTreeMap<String, Found> = buckets.iter().map(|bucket| (bucket.clone(), Found::new())).collect();
    while !incoming.deliveries.is_complete() {
        let next = tokio::time::timeout(READING, incoming.next(session)).await;
        if let Some(delivered) =
            next.map_err(|_| "connected to NATS, but JetStream stopped in the middle of a bucket")??
        {
            found
                .entry(delivered.at.bucket.clone())
                .or_default()
                .insert(delivered.at, (delivered.known, delivered.value));
        }
    }
    for (bucket, keys) in begun {
        let has_fewer = found.get(bucket).is_none_or(|found| (found.len() as u64) < keys);
        for gap in incoming.deliveries.take_doubts(bucket, has_fewer) {
            is_empty(session, &gap).await?;
        }
    }
    Ok((incoming, found))
}
