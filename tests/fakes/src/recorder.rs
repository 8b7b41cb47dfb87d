//! A peer that answers as told and remembers what it was sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use mkube_messages::door::{Door, Doorway};
use tokio::time::Instant;

/// Room of a recorder: more than any test sends at once.
const BOUND: usize = 4096;

type Answer<M> = Box<dyn FnMut(&M) -> <M as Message>::Result + Send>;
type Seen<M> = Arc<Mutex<Vec<(Instant, M)>>>;

struct Desk<M: Message> {
    answer: Answer<M>,
    delay: Duration,
    seen: Seen<M>,
}

impl<M: Message + Unpin + 'static> Actor for Desk<M> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(BOUND);
    }
}

impl<M> Handler<M> for Desk<M>
where
    M: Message + Clone + Unpin + Send + 'static,
    M::Result: Send + 'static,
{
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, message: M, _ctx: &mut Self::Context) -> Self::Result {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), message.clone()));
        let (result, delay) = ((self.answer)(&message), self.delay);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            result
        })
    }
}

/// Stands in for a peer actor, for one kind of message.
pub struct Recorder<M: Message> {
    doorway: Doorway,
    seen: Seen<M>,
    started: Instant,
}

impl<M> Recorder<M>
where
    M: Message + Clone + Unpin + Send + 'static,
    M::Result: Send + 'static,
{
    /// Answers at once what the closure says.
    pub fn answering(answer: impl FnMut(&M) -> M::Result + Send + 'static) -> Self {
        Self::answering_after(Duration::ZERO, answer)
    }

    /// Answers what the closure says, after a while.
    pub fn answering_after(delay: Duration, answer: impl FnMut(&M) -> M::Result + Send + 'static) -> Self {
        let seen = Seen::default();
        let desk = Desk { answer: Box::new(answer), delay, seen: seen.clone() };
        let doorway = Doorway::new("recorder", BOUND);
        doorway.open::<M, _>(&desk.start());
        Self { doorway, seen, started: Instant::now() }
    }

    /// A door to it.
    pub fn door(&self) -> Door<M> {
        self.doorway.door()
    }

    /// What it was sent, in order.
    pub fn seen(&self) -> Vec<M> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(_, message)| message.clone()).collect()
    }

    /// When it was sent something, in whole seconds since it was made.
    pub fn seen_at_seconds(&self) -> Vec<u64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(at, _)| at.duration_since(self.started).as_secs()).collect()
    }
}
