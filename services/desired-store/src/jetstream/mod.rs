//! The store in NATS JetStream: one key-value bucket per kind, as the Go controller keeps them.
//!
//! | question | file |
//! |---|---|
//! | what is known, and what is told of it | `state` |
//! | what survives here | `snapshot` |
//! | how everything is read, and each change heard of | `session`, `delivery` |
//! | whether the store is older than what it acknowledged | `compare` |
//! | what it lacks then, and how it is taken as it is | `older`, `accepting` |
//! | how the store comes back, and what waits is told | `keeper`, `attach` |
//! | what becomes of a batch | `committing`, `publish` |
//! | what became of it, where somebody died in between | `asked` |
//! | what is there, for whoever moves it elsewhere | `reading` |
//! | when what marks deletions goes | `cleaning` |
//!
//! A bucket is a stream that counts by itself; revisions are its sequences, and what a writer believes is checked by JetStream. A
//! change is acknowledged when JetStream has it and the local file was synced, which happens at the same time: JetStream syncs only
//! now and then, and what it loses by that is put back from the file.

mod accepting;
mod asked;
mod attach;
mod cleaning;
mod committing;
mod compare;
mod delivery;
mod keeper;
mod older;
pub(crate) mod publish;
mod reading;
pub(crate) mod session;
mod snapshot;
mod state;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use mkube_model::neighbours::desired_store::{
    DesiredStore, Outcome, Revision, StoreChange, StoreContents, StoreFault, StoreNews,
};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, OlderStore};
use mkube_model::settings::NatsSettings;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::copy::CopyText;
use crate::file::blocking;
use accepting::Order;
pub use reading::read_buckets;
use snapshot::{Batch, Snapshot};
pub(crate) use snapshot::{Values, values};
use state::State;
pub(crate) use state::with_values;

/// How long a reading waits for the store to be there, before it answers what was last known.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the store is to be.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// Where NATS is, as whom it is spoken to, how many copies it keeps.
    pub nats: NatsSettings,
    /// Names of all buckets.
    pub buckets: Vec<String>,
    /// The local file.
    pub path: PathBuf,
    /// While NATS is away changes are kept in the file that would be refused otherwise.
    pub write_behind: bool,
    /// What NATS lists us as.
    pub name: String,
    /// How what is known is copied before an older store is taken as it is.
    pub copy: CopyText,
}

/// A store in NATS, with a file of what is known of it. It is there at once, also while NATS is not.
pub struct JetStreamStore {
    inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) struct Inner {
    options: JetStreamOptions,
    snapshot: Arc<Snapshot>,
    state: Mutex<State>,
    /// A number that grows whenever the state changes.
    moved: watch::Sender<u64>,
    /// Commits, loads and the taking over follow one another.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Too much is not in the file yet.
    full: Notify,
    /// Somebody accepts the store as it is.
    ordered: Notify,
}

impl Inner {
    /// Looks at the state, or changes it.
    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let result = look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.send_modify(|moved| *moved += 1);
        result
    }

    /// Looks at the state without a word to those who wait for it to change.
    fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns as soon as it is so.
    async fn until(&self, mut is_so: impl FnMut(&State) -> bool) {
        let mut moved = self.moved.subscribe();
        while !self.peek(&mut is_so) {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }

    /// How the store is, while it is not there.
    fn say(&self, why: &str) {
        self.with(|state| state.set_stale(Some(why.to_owned())));
    }

    /// Whether everything up to these revisions was heard of in time.
    async fn heard_up_to(&self, until: &BTreeMap<&str, Revision>, patience: Duration) -> bool {
        let heard = self.until(|state| {
            until.iter().all(|(bucket, revision)| state.mark(bucket).is_some_and(|mark| mark.last >= *revision))
        });
        tokio::time::timeout(patience, heard).await.is_ok()
    }

    async fn values(&self) -> Result<Values, StoreFault> {
        let snapshot = self.snapshot.clone();
        blocking(move || snapshot.values()).await
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreFault> {
        let snapshot = self.snapshot.clone();
        blocking(move || snapshot.write(&batch)).await
    }

    /// Writes everything into the file that is not in it yet. The turn is the caller's.
    async fn flush(&self) -> Result<(), StoreFault> {
        let batch = self.with(State::take_batch);
        self.write_or_return(batch).await
    }

    /// Writes what was taken from the state, which gets it back when that fails.
    async fn write_or_return(&self, batch: Batch) -> Result<(), StoreFault> {
        let snapshot = self.snapshot.clone();
        let (batch, written) = blocking(move || {
            let written = snapshot.write(&batch);
            Ok((batch, written))
        })
        .await?;
        if written.is_err() {
            self.with(|state| state.return_batch(batch));
        }
        written
    }

    async fn load(&self) -> Result<StoreContents, StoreFault> {
        let there = self.until(|state| match &state.session {
            Some(session) => !session.is_over(),
            None => state.tried,
        });
        // Whether it is there is said by what is answered.
        let _ = tokio::time::timeout(PATIENCE, there).await;
        let _turn = self.turn.clone().lock_owned().await;
        let contents = self.with(State::begin_contents);
        let read = match self.flush().await {
            Ok(()) => self.values().await,
            Err(fault) => Err(fault),
        };
        match read {
            Ok(values) => Ok(state::with_values(contents, values)),
            Err(fault) => {
                self.with(State::reload);
                Err(fault)
            }
        }
    }
}

impl JetStreamStore {
    /// Opens the local file, making it (and its directory) when there is none, and begins to look for NATS.
    pub async fn open(options: JetStreamOptions) -> Result<Self, StoreFault> {
        let path = options.path.clone();
        let (snapshot, index) = blocking(move || {
            let snapshot = Snapshot::open(path)?;
            let index = snapshot.index()?;
            Ok((snapshot, index))
        })
        .await?;
        let inner = Arc::new(Inner {
            options,
            snapshot: Arc::new(snapshot),
            state: Mutex::new(State::new(index, "NATS was not reached yet")),
            moved: watch::Sender::new(0),
            turn: Arc::default(),
            full: Notify::new(),
            ordered: Notify::new(),
        });
        let tasks =
            vec![tokio::spawn(keeper::keep_there(inner.clone())), tokio::spawn(keeper::keep_written(inner.clone()))];
        Ok(Self { inner, tasks })
    }

    /// Ends everything it does by itself; the file can be opened again when this returns.
    pub async fn close(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
        // What somebody asked for before is done to its end.
        let _turn = self.inner.turn.clone().lock_owned().await;
        if let Err(fault) = self.inner.flush().await {
            tracing::warn!(%fault, "what NATS has is found out at the next start");
        }
    }
}

impl Drop for JetStreamStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Work that goes on when its caller leaves: it holds the turn until it is done. While the caller waits it is done in its place, as
/// two hand-overs from thread to thread take as long as a change takes otherwise.
struct Owned<W: Future + Send + 'static>(Option<Pin<Box<CatchUnwind<AssertUnwindSafe<W>>>>>);

fn owned<T, W: Future<Output = Result<T, StoreFault>> + Send + 'static>(work: W) -> Owned<W> {
    Owned(Some(Box::pin(AssertUnwindSafe(work).catch_unwind())))
}

impl<T, W: Future<Output = Result<T, StoreFault>> + Send + 'static> Future for Owned<W> {
    type Output = Result<T, StoreFault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(done.unwrap_or_else(|_| Err(StoreFault::Away("the store's worker died".to_owned()))))
    }
}

impl<W: Future + Send + 'static> Drop for Owned<W> {
    fn drop(&mut self) {
        if let (Some(work), Ok(here)) = (self.0.take(), Handle::try_current()) {
            here.spawn(async { drop(work.await) });
        }
    }
}

#[async_trait]
impl DesiredStore for JetStreamStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        let inner = self.inner.clone();
        owned(async move { inner.load().await }).await
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        let inner = self.inner.clone();
        owned(async move {
            let _turn = inner.turn.clone().lock_owned().await;
            committing::commit(&inner, changes).await
        })
        .await
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        let inner = self.inner.clone();
        owned(async move {
            let _turn = inner.turn.clone().lock_owned().await;
            cleaning::clean(&inner).await
        })
        .await?;
        let snapshot = self.inner.snapshot.clone();
        blocking(move || snapshot.compact()).await
    }

    async fn changed(&self) {
        self.inner.until(State::has_news).await;
    }

    fn take_news(&self) -> StoreNews {
        self.inner.with(State::take_news)
    }

    fn older(&self) -> Option<Arc<OlderStore>> {
        self.inner.peek(State::older)
    }

    async fn accept(&self, digest: &str) -> Result<Accepted, AcceptFault> {
        let (answer, answered) = oneshot::channel();
        self.inner.with(|state| state.order(Order { digest: digest.to_owned(), answer }))?;
        self.inner.ordered.notify_one();
        answered
            .await
            .unwrap_or_else(|_| Err(AcceptFault::Away("the store is closed, or was asked once more".to_owned())))
    }
}
