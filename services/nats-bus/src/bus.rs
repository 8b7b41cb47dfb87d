//! Attaching, telling, hearing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use async_trait::async_trait;
use futures_util::StreamExt;
use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession, BusSubscription};
use mkube_model::settings::NatsSettings;
use mkube_nats_client::{Connection, NatsFault, connect_with_room};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Mutex;

/// Messages of one subscription that may wait to be taken. Each may be as long as the server allows.
const ROOM: usize = 64;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server may take to say that it has taken everything.
const TAKEN: Duration = Duration::from_secs(5);

/// The bus of a NATS server or cluster.
pub struct NatsBus {
    settings: NatsSettings,
    name: String,
    thread: Thread,
}

/// A runtime that may be dropped anywhere.
struct Thread(Option<Runtime>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl NatsBus {
    /// A bus that nobody is attached to yet. `name` is what the server lists connections as.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn new(settings: NatsSettings, name: &str) -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("nats-bus").enable_all().build();
        let runtime = runtime.map_err(|error| format!("no thread for the bus: {error}"))?;
        Ok(Self { settings, name: name.to_owned(), thread: Thread(Some(runtime)) })
    }

    fn handle(&self) -> Handle {
        self.thread.0.as_ref().map(|runtime| runtime.handle().clone()).unwrap_or_else(Handle::current)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn attach(&self) -> Result<Arc<dyn BusSession>, BusFault> {
        let (settings, name) = (self.settings.clone(), self.name.clone());
        // What a connection does later it does where it was made.
        let attached =
            self.handle().spawn(async move { tokio::time::timeout(PATIENCE, session(&settings, &name)).await });
        match attached.await {
            Ok(Ok(session)) => Ok(Arc::new(session?)),
            Ok(Err(_)) => Err(BusFault::Away(format!("NATS did not answer within {} s", PATIENCE.as_secs()))),
            Err(error) => Err(BusFault::Away(format!("the thread of the bus: {error}"))),
        }
    }
}

async fn session(settings: &NatsSettings, name: &str) -> Result<Session, BusFault> {
    let connection = connect_with_room(settings, name, ROOM).await.map_err(|fault| match fault {
        NatsFault::Unreachable(why) => BusFault::Away(why),
        NatsFault::Refused(why) | NatsFault::Settings(why) => BusFault::Refused(why),
    })?;
    let echo = connection.client.new_inbox();
    let echoes = connection.client.subscribe(echo.clone()).await.map_err(away)?;
    Ok(Session { connection, echo, echoes: Mutex::new(Echoes { heard: echoes, sent: 0 }) })
}

struct Session {
    connection: Connection,
    /// A subject of our own: what is told there comes back.
    echo: String,
    echoes: Mutex<Echoes>,
}

struct Echoes {
    heard: Subscriber,
    sent: u64,
}

#[async_trait]
impl BusSession for Session {
    async fn publish(&self, messages: Vec<BusMessage>) -> Result<(), BusFault> {
        let publishing = async {
            let mut echoes = self.echoes.lock().await;
            for message in messages {
                tell(&self.connection.client, message).await?;
            }
            // A server works off a connection in order: when this comes back it had all that was told before.
            echoes.sent += 1;
            let mark = echoes.sent.to_string();
            self.connection.client.publish(self.echo.clone(), mark.clone().into()).await.map_err(away)?;
            loop {
                match echoes.heard.next().await {
                    Some(echo) if echo.payload == mark.as_bytes() => return Ok(()),
                    Some(_) => {}
                    None => return Err(BusFault::Away("the connection to NATS was lost".to_owned())),
                }
            }
        };
        tokio::select! {
            biased;
            told = tokio::time::timeout(TAKEN, publishing) => told.unwrap_or_else(|_| {
                Err(BusFault::Away(format!("NATS did not take what was told within {} s", TAKEN.as_secs())))
            }),
            why = self.connection.ended() => Err(BusFault::Away(why)),
        }
    }

    async fn subscribe(&self, subject: &str) -> Result<Box<dyn BusSubscription>, BusFault> {
        let subscribing = self.connection.client.subscribe(subject.to_owned());
        match tokio::time::timeout(PATIENCE, subscribing).await {
            Ok(heard) => Ok(Box::new(Subscription(heard.map_err(away)?))),
            Err(_) => Err(BusFault::Away("NATS does not take a subscription".to_owned())),
        }
    }

    async fn ended(&self) -> String {
        self.connection.ended().await
    }

    fn longest(&self) -> usize {
        self.connection.client.server_info().max_payload
    }
}

struct Subscription(Subscriber);

#[async_trait]
impl BusSubscription for Subscription {
    async fn next(&mut self) -> Option<BusMessage> {
        let heard = self.0.next().await?;
        let mut headers = std::collections::BTreeMap::new();
        for (name, values) in heard.headers.iter().flat_map(HeaderMap::iter) {
            if let Some(value) = values.first() {
                headers.insert(name.to_string(), value.as_str().to_owned());
            }
        }
        Some(BusMessage { subject: heard.subject.to_string(), headers, payload: heard.payload })
    }
}

async fn tell(client: &Client, message: BusMessage) -> Result<(), BusFault> {
    let BusMessage { subject, headers, payload } = message;
    if headers.is_empty() {
        return client.publish(subject, payload).await.map_err(away);
    }
    let mut beside = HeaderMap::new();
    for (name, value) in &headers {
        beside.insert(name.as_str(), value.as_str());
    }
    client.publish_with_headers(subject, beside, payload).await.map_err(away)
}

fn away(error: impl std::fmt::Display) -> BusFault {
    BusFault::Away(error.to_string())
}
