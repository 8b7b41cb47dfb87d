//! Counts what passes between neighbours, and lets something happen at one crossing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::dev::MessageResponse;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use futures_util::future::LocalBoxFuture;
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::request::Request;
use tokio::sync::oneshot;

/// Room of a relay: the bound that counts is the one behind it.
const BOUND: usize = 4096;

type Action = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

#[derive(Default)]
struct Inner {
    names: Vec<String>,
    counting: bool,
    at: Option<(usize, Action)>,
}

/// The crossings of one run, numbered from 0 in the order they happen.
#[derive(Clone, Default)]
pub struct Crossings(Arc<Mutex<Inner>>);

impl Crossings {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to count; what happened before is not of interest.
    pub fn start(&self) {
        self.inner().counting = true;
    }

    /// Ends counting.
    pub fn stop(&self) {
        self.inner().counting = false;
    }

    /// Does `action` at the crossing of that number; whoever crosses waits for it.
    pub fn at(&self, number: usize, action: impl FnOnce() -> LocalBoxFuture<'static, ()> + Send + 'static) {
        self.inner().at = Some((number, Box::new(action)));
    }

    /// Names of the crossings so far.
    pub fn names(&self) -> Vec<String> {
        self.inner().names.clone()
    }

    /// Whether the action was done.
    pub fn done(&self) -> bool {
        self.inner().at.is_none()
    }

    /// Crosses.
    // The action is not `Send` while the futures it is awaited in must be: it runs beside them.
    pub async fn pass(&self, name: impl Into<String>) {
        let action = {
            let mut inner = self.inner();
            if !inner.counting {
                return;
            }
            inner.names.push(name.into());
            let number = inner.names.len() - 1;
            match inner.at.take() {
                Some((wanted, action)) if wanted == number => Some(action),
                other => {
                    inner.at = other;
                    None
                }
            }
        };
        if let Some(action) = action {
            let (done, finished) = oneshot::channel();
            tokio::task::spawn_local(async move {
                action().await;
                let _ = done.send(());
            });
            let _ = finished.await;
            // Whoever was ended by it is gone before this goes on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Relay<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    target: Door<M>,
    crossings: Crossings,
    name: &'static str,
}

impl<M> Actor for Relay<M>
where
    M: Message + Unpin + Send + 'static,
    M::Result: Send,
{
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(BOUND);
    }
}

/// Passes the answer on; what was not answered stays unanswered, and the asker hears `Gone`.
struct Passed<M: Request>(LocalBoxFuture<'static, Result<M::Reply, CallError<M::Fault>>>);

impl<M: Request + Unpin> MessageResponse<Relay<M>, M> for Passed<M> {
    fn handle(self, ctx: &mut Context<Relay<M>>, answer: Option<oneshot::Sender<M::Result>>) {
        let passing = async move {
            let result = match self.0.await {
                Ok(reply) => Ok(reply),
                Err(CallError::Fault(fault)) => Err(fault),
                Err(CallError::NotAnswered(_)) => return,
            };
            if let Some(answer) = answer {
                let _ = answer.send(result);
            }
        };
        ctx.spawn(actix::fut::wrap_future::<_, Relay<M>>(passing));
    }
}

impl<M: Request + Unpin> Handler<M> for Relay<M> {
    type Result = Passed<M>;

    fn handle(&mut self, message: M, _ctx: &mut Self::Context) -> Self::Result {
        let (target, crossings, name) = (self.target.clone(), self.crossings.clone(), self.name);
        Passed(Box::pin(async move {
            crossings.pass(format!("before {name}")).await;
            let result = target.ask(message).await;
            crossings.pass(format!("after {name}")).await;
            result
        }))
    }
}

/// A door that leads to `target` by way of the crossings.
pub fn relay<M: Request + Unpin>(target: Door<M>, name: &'static str, crossings: &Crossings) -> Door<M> {
    let doorway = Doorway::new(name, BOUND);
    doorway.open::<M, _>(&Relay { target, crossings: crossings.clone(), name }.start());
    doorway.door()
}
