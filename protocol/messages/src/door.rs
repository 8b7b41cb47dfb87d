//! The only handle for talking to an actor.
//!
//! An actix mailbox does not bound what is queued, does not say that an actor died with the message, and knows no deadline. A
//! door does: it holds room for a fixed number of messages, refuses the next at once, waits no longer than the request's
//! deadline, and stays the same when the actor behind it is replaced. A place is given back when the work ends, not when
//! the caller leaves.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::watch;
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::request::{Event, Floor, Request};

/// Why a message was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// No room: it never started, repeat freely.
    #[error("busy")]
    Busy,
    /// Nobody is there now: it never started, repeat freely.
    #[error("away")]
    Away,
    /// The actor died with it: the outcome is unknown.
    #[error("gone while working on it")]
    Gone,
    /// The deadline passed: the outcome is unknown, the work may still end.
    #[error("late")]
    Late,
}

/// How an ask ended without a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<F> {
    /// Nobody answered.
    #[error("{0}")]
    NotAnswered(NotAnswered),
    /// The answer is a fault.
    #[error("{0}")]
    Fault(F),
}

impl<F> From<NotAnswered> for CallError<F> {
    fn from(reason: NotAnswered) -> Self {
        Self::NotAnswered(reason)
    }
}

/// Figures of one actor's doors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoorCounters {
    /// Messages being worked on or waiting.
    pub in_flight: u64,
    /// Room.
    pub bound: u64,
    /// Messages whose work ended.
    pub handled: u64,
    /// Messages refused for lack of room.
    pub refused: u64,
}

/// Time from acceptance to end of work, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Median, rounded up to the histogram's step.
    pub p50: u64,
    /// 99th percentile, rounded up to the histogram's step.
    pub p99: u64,
    /// Longest.
    pub max: u64,
}

/// Four steps for each doubling, from 1 µs to about 70 min: at most 19 % off, no lock, 1 KiB.
const STEPS: usize = 128;

struct Figures {
    handled: AtomicU64,
    refused: AtomicU64,
    longest: AtomicU64,
    histogram: [AtomicU64; STEPS],
}

impl Figures {
    fn new() -> Self {
        Self {
            handled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            histogram: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn record(&self, micros: u64) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(micros, Ordering::Relaxed);
        self.histogram[step_of(micros)].fetch_add(1, Ordering::Relaxed);
    }

    fn latency(&self) -> Latency {
        let counts: Vec<u64> = self.histogram.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let max = self.longest.load(Ordering::Relaxed);
        let at = |share: f64| {
            let rank = (total as f64 * share).ceil() as u64;
            let mut seen = 0;
            for (step, count) in counts.iter().enumerate() {
                seen += count;
                if seen >= rank && rank > 0 {
                    return upper_bound(step).min(max);
                }
            }
            0
        };
        Latency { p50: at(0.5), p99: at(0.99), max }
    }
}

fn step_of(micros: u64) -> usize {
    let micros = micros.max(1);
    let doubling = micros.ilog2() as usize;
    let quarter = if doubling >= 2 { ((micros >> (doubling - 2)) & 3) as usize } else { 0 };
    (doubling * 4 + quarter).min(STEPS - 1)
}

fn upper_bound(step: usize) -> u64 {
    let (doubling, quarter) = (step / 4, (step % 4) as u64);
    let base = 1u64 << doubling;
    base + (base * (quarter + 1)) / 4
}

type Slot = Box<dyn Any + Send>;

struct DoorwayInner {
    name: String,
    bound: usize,
    room: Arc<Semaphore>,
    figures: Figures,
    /// One `watch::Sender<Option<Recipient<M>>>` for each message type, by type.
    slots: Mutex<HashMap<std::any::TypeId, Slot>>,
}

/// All doors of one actor: its bound, its figures, and who is behind them now.
#[derive(Clone)]
pub struct Doorway {
    inner: Arc<DoorwayInner>,
}

type Opening<M> = watch::Sender<Option<Recipient<M>>>;

impl Doorway {
    /// A doorway with room for `bound` messages, nobody behind it.
    pub fn new(name: impl Into<String>, bound: usize) -> Self {
        Self {
            inner: Arc::new(DoorwayInner {
                name: name.into(),
                bound,
                room: Arc::new(Semaphore::new(bound)),
                figures: Figures::new(),
                slots: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Name of the actor.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Room.
    pub fn bound(&self) -> usize {
        self.inner.bound
    }

    /// A door for one kind of message. Works for life, whoever is behind it.
    pub fn door<M>(&self) -> Door<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let current = self.opening::<M, _>(|opening| opening.subscribe());
        Door { current, doorway: self.clone() }
    }

    /// Puts `actor` behind the door for `M`. Called by the supervisor after each start.
    pub fn open<M, A>(&self, actor: &Addr<A>)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let recipient = actor.clone().recipient::<M>();
        self.opening::<M, _>(|opening| opening.send_replace(Some(recipient)));
    }

    /// Nobody is behind the door for `M` any more.
    pub fn close<M>(&self)
    where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.opening::<M, _>(|opening| opening.send_replace(None));
    }

    /// Figures for the status tree.
    pub fn counters(&self) -> DoorCounters {
        let inner = &self.inner;
        DoorCounters {
            in_flight: (inner.bound - inner.room.available_permits().min(inner.bound)) as u64,
            bound: inner.bound as u64,
            handled: inner.figures.handled.load(Ordering::Relaxed),
            refused: inner.figures.refused.load(Ordering::Relaxed),
        }
    }

    /// Time from acceptance to end of work.
    pub fn latency(&self) -> Latency {
        self.inner.figures.latency()
    }

    fn opening<M, R>(&self, look: impl FnOnce(&Opening<M>) -> R) -> R
    where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots
            .entry(std::any::TypeId::of::<M>())
            .or_insert_with(|| Box::new(watch::channel::<Option<Recipient<M>>>(None).0));
        let opening = slot.downcast_ref::<Opening<M>>().expect("the slot was made for this type");
        look(opening)
    }

    fn enter(&self) -> Result<Place, NotAnswered> {
        match self.inner.room.clone().try_acquire_owned() {
            Ok(permit) => Ok(Place { doorway: self.clone(), since: Instant::now(), _permit: permit }),
            Err(_) => {
                self.inner.figures.refused.fetch_add(1, Ordering::Relaxed);
                Err(NotAnswered::Busy)
            }
        }
    }
}

/// A place in the doorway; given back, and the time counted, when dropped.
struct Place {
    doorway: Doorway,
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.doorway.inner.figures.record(micros);
    }
}

/// Talks to one actor about one kind of message.
pub struct Door<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    current: watch::Receiver<Option<Recipient<M>>>,
    doorway: Doorway,
}

impl<M> Clone for Door<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { current: self.current.clone(), doorway: self.doorway.clone() }
    }
}

impl<M> Door<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Name of the actor behind it.
    pub fn name(&self) -> &str {
        self.doorway.name()
    }

    /// Hands the message over. The returned receiver gets the answer; it is dropped unanswered when the actor dies.
    // The only place where messages leave for a mailbox.
    #[allow(clippy::disallowed_methods, reason = "what the ban sends everybody to")]
    fn hand_over(&self, message: M) -> Result<oneshot::Receiver<M::Result>, NotAnswered> {
        let recipient = self.current.borrow().clone().ok_or(NotAnswered::Away)?;
        if !recipient.connected() {
            return Err(NotAnswered::Away);
        }
        let place = self.doorway.enter()?;
        let (answer, answered) = oneshot::channel();
        // The mailbox is as large as the doorway, so this enqueues at once and in order.
        let sending = recipient.send(message);
        tokio::spawn(async move {
            let result = sending.await;
            // The place is free before the caller hears, so that asking again at once finds room.
            drop(place);
            if let Ok(result) = result {
                // A caller that left does not matter: the work was done.
                drop(answer.send(result));
            }
        });
        Ok(answered)
    }
}

impl<M: Request> Door<M> {
    /// Asks and waits, at most until the request's deadline. Never queues beyond the room.
    pub async fn ask(&self, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        let deadline = message.context().deadline;
        let answered = self.hand_over(message)?;
        match tokio::time::timeout_at(deadline, answered).await {
            Err(_) => Err(NotAnswered::Late.into()),
            Ok(Err(_)) => Err(NotAnswered::Gone.into()),
            Ok(Ok(result)) => result.map_err(CallError::Fault),
        }
    }

    /// The floor it is answered on.
    pub fn floor(&self) -> Floor {
        M::FLOOR
    }
}

impl<M: Event> Door<M> {
    /// Tells. Refused with `Busy` when full: the sender decides whether to drop, count or repeat. Order is kept.
    pub fn tell(&self, message: M) -> Result<(), NotAnswered> {
        self.hand_over(message).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestContext;
    use actix::{Context, ResponseActFuture, WrapFuture};
    use std::time::Duration;

    struct Slow;

    impl Actor for Slow {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(64);
        }
    }

    #[derive(Message)]
    #[rtype(result = "Result<u64, ()>")]
    struct Sleep(RequestContext, u64);

    impl Request for Sleep {
        type Reply = u64;
        type Fault = ();
        const FLOOR: Floor = Floor::Gate;
        fn context(&self) -> &RequestContext {
            &self.0
        }
    }

    impl Handler<Sleep> for Slow {
        type Result = ResponseActFuture<Self, Result<u64, ()>>;
        fn handle(&mut self, sleep: Sleep, _ctx: &mut Self::Context) -> Self::Result {
            assert!(sleep.1 != 13, "thirteen");
            Box::pin(
                async move {
                    tokio::time::sleep(Duration::from_secs(sleep.1)).await;
                    Ok(sleep.1)
                }
                .into_actor(self),
            )
        }
    }

    fn sleep(seconds: u64, patience: u64) -> Sleep {
        Sleep(RequestContext::new("sleep", Duration::from_secs(patience)), seconds)
    }

    #[actix::test]
    async fn the_one_too_many_is_refused_at_once_and_a_place_is_free_when_the_work_ends() {
        tokio::time::pause();
        let doorway = Doorway::new("slow", 2);
        let door = doorway.door::<Sleep>();
        doorway.open::<Sleep, _>(&Slow.start());
        let (one, other) = (door.clone(), door.clone());
        let first = tokio::spawn(async move { one.ask(sleep(5, 60)).await });
        // This caller gives up early; its place stays taken until the work ends.
        let second = tokio::spawn(async move { other.ask(sleep(10, 1)).await });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(second.await.expect("joined"), Err(CallError::NotAnswered(NotAnswered::Late)));
        assert_eq!(door.ask(sleep(0, 1)).await, Err(CallError::NotAnswered(NotAnswered::Busy)));
        assert_eq!(first.await.expect("joined"), Ok(5));
        assert_eq!(door.ask(sleep(1, 5)).await, Ok(1));
        let counters = doorway.counters();
        assert_eq!((counters.in_flight, counters.handled, counters.refused), (1, 2, 1));
    }

    #[actix::test]
    async fn a_closed_door_is_away_and_a_death_at_work_is_gone() {
        let doorway = Doorway::new("slow", 2);
        let door = doorway.door::<Sleep>();
        assert_eq!(door.ask(sleep(0, 1)).await, Err(CallError::NotAnswered(NotAnswered::Away)));
        doorway.open::<Sleep, _>(&Slow.start());
        assert_eq!(door.ask(sleep(13, 5)).await, Err(CallError::NotAnswered(NotAnswered::Gone)));
        assert_eq!(doorway.counters().in_flight, 0);
        doorway.open::<Sleep, _>(&Slow.start());
        assert_eq!(door.ask(sleep(0, 5)).await, Ok(0));
        doorway.close::<Sleep>();
        assert_eq!(door.ask(sleep(0, 1)).await, Err(CallError::NotAnswered(NotAnswered::Away)));
    }

    #[test]
    fn the_histogram_is_at_most_a_quarter_step_off() {
        let figures = Figures::new();
        for micros in 1..=1000 {
            figures.record(micros);
        }
        let latency = figures.latency();
        assert!((500..=640).contains(&latency.p50), "{latency:?}");
        assert!((990..=1000).contains(&latency.p99), "{latency:?}");
        assert_eq!(latency.max, 1000);
    }
}
