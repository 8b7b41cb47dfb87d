//! One supervised actor: how it is made, started, stopped, crashed on purpose, and how its end is told.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use mkube_messages::door::Doorway;
use tokio::sync::oneshot;

use crate::spec::RestartRule;

/// How long a child may take to stop, unless its spec says otherwise.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);

/// How an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// By itself, its work done.
    Finished,
    /// Because it was asked to, by its supervisor or by somebody else; its work may be undone.
    Stopped,
    /// With a cause it told.
    Failed(String),
    /// By a panic with this text.
    Panicked(String),
    /// It did not stop in time and was cut off.
    Aborted,
}

impl ExitReason {
    /// Whether a transient child is restarted after it, unless its supervisor stopped it.
    pub fn is_bad(&self) -> bool {
        !matches!(self, Self::Finished)
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
            Self::Aborted => "aborted",
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Failed(text) | Self::Panicked(text) => text.clone(),
            _ => String::new(),
        }
    }
}

/// Handed to an actor's factory: lets the actor say why it ends.
#[derive(Clone, Default)]
pub struct Incarnation {
    cause: Arc<Mutex<Option<String>>>,
}

impl Incarnation {
    /// Notes the cause and stops the actor: its end counts as a failure.
    pub fn fail<A: Actor<Context = Context<A>>>(&self, ctx: &mut Context<A>, cause: impl Into<String>) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.into());
        ctx.stop();
    }

    fn take(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a running child can be told to do, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Stop,
    Panic,
    Fail,
}

/// A started child.
pub(crate) struct Running {
    pub(crate) order: Option<oneshot::Sender<Order>>,
    pub(crate) abort: tokio::task::AbortHandle,
    pub(crate) exit: Pin<Box<dyn Future<Output = ExitReason>>>,
    pub(crate) close: Arc<dyn Fn() + Send + Sync>,
}

type Starter = Arc<dyn Fn() -> Result<Running, ExitReason> + Send + Sync>;

/// A supervised actor as data.
#[derive(Clone)]
pub struct ChildSpec {
    /// Name in the tree.
    pub name: String,
    /// When it is restarted.
    pub rule: RestartRule,
    /// How long it may take to stop.
    pub patience: Duration,
    /// Its doors.
    pub doorway: Doorway,
    pub(crate) start: Starter,
}

impl ChildSpec {
    /// Describes an actor. `build` makes a new value for each incarnation.
    pub fn actor<A>(
        name: impl Into<String>,
        rule: RestartRule,
        doorway: Doorway,
        build: impl Fn(&Incarnation) -> A + Send + Sync + 'static,
    ) -> ChildSpecBuilder<A>
    where
        A: Actor<Context = Context<A>>,
    {
        ChildSpecBuilder {
            name: name.into(),
            rule,
            patience: DEFAULT_PATIENCE,
            doorway,
            build: Arc::new(build),
            open: Vec::new(),
            close: Vec::new(),
        }
    }
}

type Open<A> = Arc<dyn Fn(&Addr<A>) + Send + Sync>;
type Close = Arc<dyn Fn() + Send + Sync>;
type Build<A> = Arc<dyn Fn(&Incarnation) -> A + Send + Sync>;

/// Describes an actor step by step.
pub struct ChildSpecBuilder<A: Actor> {
    name: String,
    rule: RestartRule,
    patience: Duration,
    doorway: Doorway,
    build: Build<A>,
    open: Vec<Open<A>>,
    close: Vec<Close>,
}

impl<A: Actor<Context = Context<A>>> ChildSpecBuilder<A> {
    /// The actor answers (or is told) `M`.
    pub fn answers<M>(mut self) -> Self
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        Context<A>: ToEnvelope<A, M>,
    {
        let doorway = self.doorway.clone();
        self.open.push(Arc::new(move |addr| doorway.open::<M, A>(addr)));
        let doorway = self.doorway.clone();
        self.close.push(Arc::new(move || doorway.close::<M>()));
        self
    }

    /// How long it may take to stop.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The finished description.
    pub fn done(self) -> ChildSpec {
        let Self { name, rule, patience, doorway, build, open, close } = self;
        let capacity = doorway.bound();
        let start: Starter = Arc::new(move || start_actor(&build, capacity, &open, &close));
        ChildSpec { name, rule, patience, doorway, start }
    }
}

fn start_actor<A: Actor<Context = Context<A>>>(
    build: &Build<A>,
    capacity: usize,
    open: &[Open<A>],
    close: &[Close],
) -> Result<Running, ExitReason> {
    let incarnation = Incarnation::default();
    let actor = catch_unwind(AssertUnwindSafe(|| build(&incarnation)))
        .map_err(|payload| ExitReason::Panicked(panic_text(&*payload)))?;
    let mut ctx = Context::<A>::new();
    ctx.set_mailbox_capacity(capacity.max(1));
    let (order, ordered) = oneshot::channel::<Order>();
    let stopped = Arc::new(Mutex::new(false));
    let (noted, told) = (stopped.clone(), incarnation.clone());
    ctx.spawn(ordered.into_actor(&actor).map(move |order, _actor, ctx: &mut Context<A>| match order {
        Ok(Order::Stop) => {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ctx.stop();
        }
        Ok(Order::Panic) => panic!("crashed on request"),
        Ok(Order::Fail) => told.fail(ctx, "failed on request"),
        Err(_) => {}
    }));
    let addr = ctx.address();
    let task = actix_rt::spawn(ctx.into_future(actor));
    let abort = task.abort_handle();
    open.iter().for_each(|open| open(&addr));
    let close = close.to_vec();
    let close: Close = Arc::new(move || close.iter().for_each(|close| close()));
    let exit = Box::pin(async move {
        let ended = task.await;
        // Kept until now: without an address an actor without timers would end by itself.
        drop(addr);
        match ended {
            Ok(()) => match incarnation.take() {
                Some(cause) => ExitReason::Failed(cause),
                None if *stopped.lock().unwrap_or_else(PoisonError::into_inner) => ExitReason::Stopped,
                None => ExitReason::Finished,
            },
            Err(error) if error.is_panic() => ExitReason::Panicked(panic_text(&*error.into_panic())),
            Err(_) => ExitReason::Aborted,
        }
    });
    Ok(Running { order: Some(order), abort, exit, close })
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a text".to_owned())
}
