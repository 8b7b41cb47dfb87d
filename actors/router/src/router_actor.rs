//! The actor: takes orders, runs them through `hands`, folds what was learnt into the picture, publishes it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, SpawnHandle, WrapFuture};
use mkube_messages::router::{
    DescribeContainerLog, DescribeNetworks, DeviceReader, DeviceSnapshot, EnsureBridge, EnsureContainer, EnsureEnvs,
    EnsureMounts, EnsureVeth, MarkContainer, RemoveContainer, RemoveVeth, StartContainer, StopContainer,
};
use mkube_model::neighbours::router::{AddressRow, EnvRow, LogRow, MountRow, Router, RouterFault};
use mkube_supervision::ChildSpecBuilder;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::hands::{self, Done, Move};
use crate::picture::{Age, Learned, Picture};

/// Pause between readings while a row moves: the first one.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Pause between readings while a row moves: the longest.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// How long after a command the readings stay frequent, should the device not show yet that something moves.
const ALERT: Duration = Duration::from_secs(3);
/// Pause after a reading that failed: the first one; doubles up to a tick.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct RouterParts {
    /// The device.
    pub router: Arc<dyn Router>,
    /// Where the picture is published; outlives the actor.
    pub picture: Arc<watch::Sender<Arc<DeviceSnapshot>>>,
    /// Pause between readings when nothing moves.
    pub tick: Duration,
}

/// A publisher and a reader of the picture, empty and incomplete.
pub fn device_picture() -> (Arc<watch::Sender<Arc<DeviceSnapshot>>>, DeviceReader) {
    let (sender, reader) = watch::channel(Arc::new(DeviceSnapshot::default()));
    (Arc::new(sender), reader)
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<RouterActor>) -> ChildSpecBuilder<RouterActor> {
    spec.answers::<EnsureBridge>()
        .answers::<DescribeNetworks>()
        .answers::<EnsureVeth>()
        .answers::<RemoveVeth>()
        .answers::<EnsureMounts>()
        .answers::<EnsureEnvs>()
        .answers::<EnsureContainer>()
        .answers::<StartContainer>()
        .answers::<StopContainer>()
        .answers::<RemoveContainer>()
        .answers::<MarkContainer>()
        .answers::<DescribeContainerLog>()
}

/// See the room's card.
pub struct RouterActor {
    parts: RouterParts,
    picture: Picture,
    /// What the mount lists hold, by list; only those we have read or written.
    mounts: HashMap<String, Vec<MountRow>>,
    /// What the environment lists hold, by list; only those we have read or written.
    envs: HashMap<String, Vec<EnvRow>>,
    /// When the next full reading is due.
    next_tick: Instant,
    /// Pause before the next look while something moves.
    look_pause: Duration,
    /// Readings stay frequent until then.
    alert_until: Instant,
    /// Pause before the next try while the device is away.
    retry_pause: Duration,
    /// The timer of the next reading, when none is in flight.
    timer: Option<SpawnHandle>,
    /// A reading is in flight; there is never a second one.
    reading: bool,
    /// Counts full readings: bridge ports and figures take turns.
    ticks: u64,
}

impl RouterActor {
    /// A new incarnation; it shows what was last published until it has read the device itself.
    pub fn new(parts: RouterParts) -> Self {
        let last = (**parts.picture.borrow()).clone();
        let now = Instant::now();
        Self {
            parts,
            picture: Picture::resume(last),
            mounts: HashMap::new(),
            envs: HashMap::new(),
            next_tick: now,
            look_pause: FIRST_LOOK,
            alert_until: now,
            retry_pause: FIRST_RETRY,
            timer: None,
            reading: false,
            ticks: 0,
        }
    }

    fn publish(&mut self) {
        let snapshot = self.picture.number();
        self.parts.picture.send_replace(Arc::new(snapshot));
    }

    fn seen(&self) -> Arc<DeviceSnapshot> {
        Arc::new(self.picture.snapshot().clone())
    }

    /// Arms the timer for the next reading.
    fn schedule(&mut self, ctx: &mut Context<Self>, pause: Duration) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(pause, |actor, ctx| {
            actor.timer = None;
            actor.read(ctx);
        }));
    }

    /// A command was accepted: look soon.
    fn look_soon(&mut self, ctx: &mut Context<Self>) {
        self.look_pause = FIRST_LOOK;
        self.alert_until = Instant::now() + ALERT;
        if !self.reading {
            self.schedule(ctx, FIRST_LOOK);
        }
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        if self.reading {
            return;
        }
        self.reading = true;
        let full = Instant::now() >= self.next_tick || !self.picture.snapshot().complete;
        let first = !self.picture.snapshot().complete;
        let figures = first || (full && self.ticks % 2 == 1);
        let ports = first || (full && !figures);
        let age = self.picture.next_age();
        let router = self.parts.router.clone();
        let reading = async move {
            let mut learned = Vec::new();
            let result = async {
                if figures {
                    learned.push(Learned::Resource(router.resource().await?));
                }
                learned.push(Learned::Containers(router.containers().await?));
                if full {
                    learned.push(Learned::Veths(router.veths().await?));
                }
                if ports {
                    learned.push(Learned::Ports(router.bridge_ports().await?));
                }
                Ok::<(), RouterFault>(())
            }
            .await;
            (learned, result)
        };
        let folded = reading.into_actor(self).map(move |(learned, result), actor, ctx| {
            actor.reading = false;
            for one in learned {
                actor.picture.learn(age, one);
            }
            let pause = match result {
                Ok(()) => {
                    if actor.picture.snapshot().fault.is_some() {
                        tracing::info!("the device answers again");
                    }
                    actor.picture.worked();
                    actor.retry_pause = FIRST_RETRY;
                    actor.pause_after_success(full)
                }
                Err(fault) => {
                    tracing::warn!(%fault, "the device could not be read");
                    actor.picture.failed(fault.to_string());
                    let pause = actor.retry_pause;
                    actor.retry_pause = (pause * 2).min(actor.parts.tick);
                    pause
                }
            };
            actor.publish();
            actor.schedule(ctx, pause);
        });
        ctx.spawn(folded);
    }

    fn pause_after_success(&mut self, full: bool) -> Duration {
        let now = Instant::now();
        if full {
            self.ticks += 1;
            self.next_tick = now + self.parts.tick;
        }
        let until_tick = self.next_tick.saturating_duration_since(now);
        if self.picture.moving() || now < self.alert_until {
            let pause = self.look_pause;
            self.look_pause = (pause * 3 / 2).min(LONGEST_LOOK);
            pause.min(until_tick)
        } else {
            self.look_pause = FIRST_LOOK;
            until_tick
        }
    }

    /// Runs a step and folds what it taught us. `moves`: a container will change by it.
    fn carry_out(
        &mut self,
        work: impl Future<Output = Done> + 'static,
        moves: bool,
    ) -> ResponseActFuture<Self, Result<(), RouterFault>> {
        let age: Age = self.picture.next_age();
        Box::pin(work.into_actor(self).map(move |done, actor, ctx| {
            if !done.learned.is_empty() {
                for one in done.learned {
                    // Lists are as old as the step; single rows are news.
                    actor.picture.learn(age, one);
                }
                actor.publish();
            }
            if moves && done.result.is_ok() {
                actor.look_soon(ctx);
            }
            done.result
        }))
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.read(ctx);
    }
}

type Reply<T> = ResponseActFuture<RouterActor, Result<T, RouterFault>>;

impl Handler<EnsureBridge> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureBridge, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(hands::ensure_bridge(self.parts.router.clone(), order.bridge, order.address).into_actor(self))
    }
}

impl Handler<DescribeNetworks> for RouterActor {
    type Result = Reply<(Vec<String>, Vec<AddressRow>)>;
    fn handle(&mut self, _question: DescribeNetworks, _ctx: &mut Self::Context) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { Ok((router.bridges().await?, router.addresses().await?)) }.into_actor(self))
    }
}

impl Handler<EnsureVeth> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureVeth, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::ensure_veth(self.parts.router.clone(), self.seen(), order.veth, order.bridge), false)
    }
}

impl Handler<RemoveVeth> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RemoveVeth, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::remove_veth(self.parts.router.clone(), self.seen(), order.name), false)
    }
}

impl Handler<EnsureMounts> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureMounts, _ctx: &mut Self::Context) -> Self::Result {
        let list = order.list.clone();
        let known = self.mounts.remove(&list);
        let work = hands::ensure_mounts(self.parts.router.clone(), known, order.list, order.mounts);
        Box::pin(work.into_actor(self).map(move |(rows, result), actor, _ctx| {
            if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
                actor.mounts.insert(list, rows);
            }
            result
        }))
    }
}

impl Handler<EnsureEnvs> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureEnvs, _ctx: &mut Self::Context) -> Self::Result {
        let list = order.list.clone();
        let known = self.envs.remove(&list);
        let work = hands::ensure_envs(self.parts.router.clone(), known, order.list, order.envs);
        Box::pin(work.into_actor(self).map(move |(rows, result), actor, _ctx| {
            if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
                actor.envs.insert(list, rows);
            }
            result
        }))
    }
}

impl Handler<EnsureContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::ensure_container(self.parts.router.clone(), self.seen(), order.container), true)
    }
}

impl Handler<StartContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: StartContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::move_container(self.parts.router.clone(), self.seen(), order.name, Move::Start), true)
    }
}

impl Handler<StopContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: StopContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::move_container(self.parts.router.clone(), self.seen(), order.name, Move::Stop), true)
    }
}

impl Handler<RemoveContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RemoveContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::move_container(self.parts.router.clone(), self.seen(), order.name, Move::Remove), true)
    }
}

impl Handler<MarkContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: MarkContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.carry_out(hands::mark_container(self.parts.router.clone(), self.seen(), order.name, order.comment), false)
    }
}

impl Handler<DescribeContainerLog> for RouterActor {
    type Result = Reply<Vec<LogRow>>;
    fn handle(&mut self, question: DescribeContainerLog, _ctx: &mut Self::Context) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { router.container_log(&question.name).await }.into_actor(self))
    }
}
