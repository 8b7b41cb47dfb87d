//! The actor: takes orders, runs them through `hands`, folds what was learnt into the picture, publishes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, SpawnHandle, WrapFuture};
use mkube_messages::request::RequestContext;
use mkube_messages::router::{
    DescribeContainerLog, DescribeFile, DescribeNeighbours, DescribeNetworks, DescribeRoom, DeviceReader,
    DeviceSnapshot, EnsureBridge, EnsureContainer, EnsureEnvs, EnsureMounts, EnsureVeth, FetchFile, MarkContainer,
    PlaceFile, ReleaseBridge, RemoveContainer, RemoveFile, RemoveVeth, RenameFile, SetStartOnBoot, StartContainer,
    StopContainer,
};
use mkube_messages::watch;
use mkube_model::neighbours::router::{ContainerRow, EnvRow, LogRow, MountRow, Router, RouterFault};
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::ChildSpecBuilder;
use tokio::time::Instant;

use crate::hands::{self, Done, Move};
use crate::picture::{Age, Doubt, Learned, Picture};
use crate::reading::Reading;
use crate::turns::Turns;

/// Pause between readings while a row moves: the first one.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Pause between readings while a row moves: the longest.
const LONGEST_LOOK: Duration = Duration::from_secs(1);
/// How long after a command the readings stay frequent, should the device not show yet that something moves; and long enough to
/// see a container that was just started settle, or not.
const ALERT: Duration = Duration::from_secs(5);
/// Pause after a reading that failed: the first one; doubles up to a tick.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// While something moves, all containers are read at least this often.
const ALL_AGAIN: Duration = Duration::from_secs(1);
/// Asking for one container costs about as much as this many rows of a list.
const MANY: usize = 32;

/// What is strange is believed when so many readings in a row show it.
const BELIEVED_AT: u32 = 3;

/// Mount and environment lists are read at every so many ticks.
const LISTS_EVERY: u64 = 6;
/// At which of them: not at the first, which everybody waits for.
const LISTS_AT: u64 = 3;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct RouterParts {
    /// The device.
    pub router: Arc<dyn Router>,
    /// Where the picture is published; outlives the actor.
    pub picture: Arc<watch::Sender<Arc<DeviceSnapshot>>>,
    /// Dates the start of the device.
    pub clock: Arc<dyn WallClock>,
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
        .answers::<ReleaseBridge>()
        .answers::<DescribeNeighbours>()
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
        .answers::<SetStartOnBoot>()
        .answers::<DescribeContainerLog>()
        .answers::<DescribeFile>()
        .answers::<DescribeRoom>()
        .answers::<FetchFile>()
        .answers::<RenameFile>()
        .answers::<RemoveFile>()
        .answers::<PlaceFile>()
}

/// See the room's card.
pub struct RouterActor {
    pub(crate) parts: RouterParts,
    picture: Picture,
    /// Orders about containers; remembered is whether an outcome is in doubt.
    containers: Turns<bool>,
    /// Orders about interfaces; remembered is whether an outcome is in doubt.
    veths: Turns<bool>,
    /// Orders about mount lists; remembered is what they hold, as far as we have read or written them.
    mounts: Turns<Option<Vec<MountRow>>>,
    /// Orders about environment lists; remembered is what they hold.
    envs: Turns<Option<Vec<EnvRow>>>,
    /// Orders about files, by path; downloads follow one another.
    pub(crate) files: Turns<()>,
    /// When the next full reading is due.
    next_tick: Instant,
    /// Pause before the next look while something moves.
    look_pause: Duration,
    /// Readings stay frequent until then.
    alert_until: Instant,
    /// Containers a command was accepted about, each for so long.
    commanded: BTreeMap<String, Instant>,
    /// When all containers were read last.
    listed: Option<Instant>,
    /// Pause before the next try while the device is away.
    retry_pause: Duration,
    /// The timer of the next reading, when none is in flight.
    timer: Option<(SpawnHandle, Instant)>,
    /// A reading is in flight; there is never a second one.
    reading: bool,
    /// Counts full readings: bridge ports and figures take turns.
    ticks: u64,
    /// For what the last readings were too strange to be believed, and how many in a row.
    doubted: BTreeMap<Doubt, u32>,
}

impl RouterActor {
    /// A new incarnation; it shows what was last published until it has read the device itself.
    pub fn new(parts: RouterParts) -> Self {
        let last = (**parts.picture.borrow()).clone();
        let now = Instant::now();
        Self {
            parts,
            picture: Picture::resume(last),
            containers: Turns::default(),
            veths: Turns::default(),
            mounts: Turns::default(),
            envs: Turns::default(),
            files: Turns::default(),
            next_tick: now,
            look_pause: FIRST_LOOK,
            alert_until: now,
            commanded: BTreeMap::new(),
            listed: None,
            retry_pause: FIRST_RETRY,
            timer: None,
            reading: false,
            ticks: 0,
            doubted: BTreeMap::new(),
        }
    }

    fn publish(&mut self) {
        let snapshot = self.picture.number(self.parts.clock.now());
        self.parts.picture.send_replace(Arc::new(snapshot));
    }

    /// Arms the timer for the next reading.
    fn schedule(&mut self, ctx: &mut Context<Self>, pause: Duration) {
        if let Some((timer, _)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(pause, |actor, ctx| {
            actor.timer = None;
            actor.read(ctx);
        });
        self.timer = Some((timer, Instant::now() + pause));
    }

    /// A command was accepted: look soon. A look that is due sooner stays, or a stream of commands would put it off for ever.
    fn look_soon(&mut self, name: String, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.commanded.insert(name, now + ALERT);
        self.look_pause = FIRST_LOOK;
        self.alert_until = now + ALERT;
        let sooner = self.timer.as_ref().is_some_and(|(_, due)| *due <= now + FIRST_LOOK);
        if !self.reading && !sooner {
            self.schedule(ctx, FIRST_LOOK);
        }
    }

    /// The containers something is expected of, where asking for each of them costs less than reading all there are.
    fn worth_asking(&mut self, now: Instant) -> Option<Vec<ContainerRow>> {
        self.commanded.retain(|_, until| *until > now);
        let all = &self.picture.snapshot().containers;
        let fresh = self.listed.is_some_and(|listed| now.duration_since(listed) < ALL_AGAIN);
        if !fresh || all.len() < MANY {
            return None;
        }
        let commanded = self.commanded.keys().filter_map(|name| all.get(name));
        let concerned: BTreeMap<_, _> = self.picture.movers().chain(commanded).map(|row| (&row.name, row)).collect();
        (concerned.len() * MANY <= all.len()).then(|| concerned.into_values().map(|row| (**row).clone()).collect())
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        if self.reading {
            return;
        }
        self.reading = true;
        let full = Instant::now() >= self.next_tick || !self.picture.snapshot().complete;
        let first = !self.picture.snapshot().complete;
        // A device that comes back may have been rebooted: that is known before anything is concluded from its lists.
        let back = self.picture.snapshot().fault.is_some();
        let figures = first || back || (full && self.ticks % 2 == 1);
        let ports = first || (full && self.ticks.is_multiple_of(2));
        let lists = !first && full && self.ticks % LISTS_EVERY == LISTS_AT;
        let age = self.picture.next_age();
        let begun = Instant::now();
        let router = self.parts.router.clone();
        let before = self.picture.snapshot().containers.clone();
        let rows = if full || back { None } else { self.worth_asking(begun) };
        let reading = Reading { figures, rows, veths: full, ports, lists, before };
        let all = reading.is_of_all();
        let folded = reading.take(router, begun).into_actor(self).map(move |(learned, result, lists), actor, ctx| {
            actor.reading = false;
            let pause = match actor.believe(result, &learned) {
                Ok(()) => {
                    if actor.picture.snapshot().fault.is_some() {
                        tracing::info!("the device answers again");
                    }
                    for one in learned {
                        actor.picture.learn(age, one);
                    }
                    if let Some((mounts, envs)) = lists {
                        actor.picture.lists(begun, mounts, envs);
                    }
                    if all {
                        actor.listed = Some(begun);
                        actor.picture.worked(begun);
                    } else {
                        actor.picture.answered();
                    }
                    actor.retry_pause = FIRST_RETRY;
                    actor.pause_after_success(full)
                }
                // Half a reading is none: what was read before the failure is not looked at.
                Err(fault) => {
                    tracing::warn!(%fault, "the device could not be read");
                    actor.picture.failed(fault);
                    let pause = actor.retry_pause;
                    actor.retry_pause = (pause * 2).min(actor.parts.tick);
                    pause
                }
            };
            actor.publish();
            actor.tidy();
            actor.schedule(ctx, pause);
        });
        ctx.spawn(folded);
    }

    /// Whether a reading may be learnt from. A strange one only when each of its doubts has stood long enough without a gap:
    /// readings that go wrong one after the other, each in its own way, say nothing.
    fn believe(&mut self, reading: Result<(), RouterFault>, learned: &[Learned]) -> Result<(), String> {
        let before = std::mem::take(&mut self.doubted);
        reading.map_err(|fault| fault.to_string())?;
        let mut first = None;
        for (doubt, why) in self.picture.doubts(learned) {
            let times = before.get(&doubt).map_or(1, |times| times + 1);
            if times < BELIEVED_AT {
                first.get_or_insert(why);
            }
            self.doubted.insert(doubt, times);
        }
        first.map_or(Ok(()), Err)
    }

    fn tidy(&mut self) {
        let holds_rows = |rows: Option<usize>| rows.is_some_and(|rows| rows > 0);
        self.containers.tidy(|doubt| *doubt);
        self.veths.tidy(|doubt| *doubt);
        self.mounts.tidy(|known| holds_rows(known.as_ref().map(Vec::len)));
        self.files.tidy(|()| false);
        self.envs.tidy(|known| holds_rows(known.as_ref().map(Vec::len)));
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

    /// Runs a step about `name` when it is its turn, and folds what it taught us before the next one begins. The step gets and
    /// leaves whether an outcome is in doubt. `moves`: a container will change by it.
    fn carry_out<W>(
        &mut self,
        context: RequestContext,
        turns: fn(&mut Self) -> &mut Turns<bool>,
        name: String,
        step: impl FnOnce(Arc<dyn Router>, Arc<DeviceSnapshot>, bool) -> W + 'static,
        moves: bool,
    ) -> ResponseActFuture<Self, Result<(), RouterFault>>
    where
        W: Future<Output = (Done, bool)> + 'static,
    {
        let waiting = turns(self).take(&name).into_actor(self).then(move |turn, actor: &mut Self, _ctx| {
            let age: Age = actor.picture.next_age();
            let seen = Arc::new(actor.picture.snapshot().clone());
            // What an earlier incarnation saw is not enough to conclude that something is missing.
            let doubt = *turns(actor).kept(&name) || !seen.complete;
            let work = context.answered_by("router", step(actor.parts.router.clone(), seen, doubt));
            work.into_actor(actor).map(move |(done, doubt), actor: &mut Self, ctx| {
                *turns(actor).kept(&name) = doubt;
                if !done.learned.is_empty() {
                    for one in done.learned {
                        // Lists are as old as the step; single rows are news.
                        actor.picture.learn(age, one);
                    }
                    actor.publish();
                }
                if moves && done.result.is_ok() {
                    actor.look_soon(name, ctx);
                }
                drop(turn);
                done.result
            })
        });
        Box::pin(waiting)
    }

    fn move_to(
        &mut self,
        context: RequestContext,
        name: String,
        to: Move,
    ) -> ResponseActFuture<Self, Result<(), RouterFault>> {
        let about = name.clone();
        let step = async move |router, seen, mut doubt: bool| {
            (hands::move_container(router, seen, name, to, &mut doubt).await, doubt)
        };
        self.carry_out(context, |actor| &mut actor.containers, about, step, true)
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What became of orders whose answers died with the one before is not in what it published: nobody concludes anything from it
        // before the device was read again.
        self.publish();
        self.read(ctx);
    }
}

pub(crate) type Reply<T> = ResponseActFuture<RouterActor, Result<T, RouterFault>>;

impl Handler<EnsureVeth> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureVeth, _ctx: &mut Self::Context) -> Self::Result {
        let context = order.context.clone();
        let name = order.veth.name.clone();
        let step = async move |router, seen, mut doubt: bool| {
            (hands::ensure_veth(router, seen, order.veth, order.bridge, &mut doubt).await, doubt)
        };
        self.carry_out(context, |actor| &mut actor.veths, name, step, false)
    }
}

impl Handler<RemoveVeth> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RemoveVeth, _ctx: &mut Self::Context) -> Self::Result {
        let context = order.context.clone();
        let name = order.name.clone();
        let step = async move |router, seen, mut doubt: bool| {
            (hands::remove_veth(router, seen, order.name, order.owner, &mut doubt).await, doubt)
        };
        self.carry_out(context, |actor| &mut actor.veths, name, step, false)
    }
}

impl Handler<EnsureMounts> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureMounts, _ctx: &mut Self::Context) -> Self::Result {
        let waiting = self.mounts.take(&order.list).into_actor(self).then(move |turn, actor: &mut Self, _ctx| {
            let (router, list) = (actor.parts.router.clone(), order.list.clone());
            let mut known = actor.mounts.kept(&list).take();
            let context = order.context.clone();
            let work = async move {
                let result = hands::ensure_mounts(router, &mut known, order.list, order.mounts).await;
                (known, result)
            };
            context.answered_by("router", work).into_actor(actor).map(move |(known, result), actor: &mut Self, _ctx| {
                *actor.mounts.kept(&list) = known;
                drop(turn);
                result
            })
        });
        Box::pin(waiting)
    }
}

impl Handler<EnsureEnvs> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureEnvs, _ctx: &mut Self::Context) -> Self::Result {
        let waiting = self.envs.take(&order.list).into_actor(self).then(move |turn, actor: &mut Self, _ctx| {
            let (router, list) = (actor.parts.router.clone(), order.list.clone());
            let mut known = actor.envs.kept(&list).take();
            let context = order.context.clone();
            let work = async move {
                let result = hands::ensure_envs(router, &mut known, order.list, order.envs).await;
                (known, result)
            };
            context.answered_by("router", work).into_actor(actor).map(move |(known, result), actor: &mut Self, _ctx| {
                *actor.envs.kept(&list) = known;
                drop(turn);
                result
            })
        });
        Box::pin(waiting)
    }
}

impl Handler<EnsureContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: EnsureContainer, _ctx: &mut Self::Context) -> Self::Result {
        let context = order.context.clone();
        let name = order.container.name.clone();
        let (mounts, envs) = (order.container.mount_list.clone(), order.container.env_list.clone());
        let step = async move |router, seen, mut doubt: bool| {
            (hands::ensure_container(router, seen, order.container, &mut doubt).await, doubt)
        };
        let made = self.carry_out(context, |actor| &mut actor.containers, name, step, true);
        Box::pin(made.map(move |result, actor: &mut Self, _ctx| {
            if result.is_err() {
                // It may have been refused for lists that are no longer as we know them.
                mounts.iter().for_each(|list| *actor.mounts.kept(list) = None);
                envs.iter().for_each(|list| *actor.envs.kept(list) = None);
            }
            result
        }))
    }
}

impl Handler<StartContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: StartContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.move_to(order.context, order.name, Move::Start)
    }
}

impl Handler<StopContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: StopContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.move_to(order.context, order.name, Move::Stop)
    }
}

impl Handler<RemoveContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: RemoveContainer, _ctx: &mut Self::Context) -> Self::Result {
        self.move_to(order.context, order.name, Move::Remove)
    }
}

impl Handler<MarkContainer> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: MarkContainer, _ctx: &mut Self::Context) -> Self::Result {
        let context = order.context.clone();
        let name = order.name.clone();
        let step = async move |router, seen, doubt: bool| {
            (hands::mark_container(router, seen, order.name, order.comment).await, doubt)
        };
        self.carry_out(context, |actor| &mut actor.containers, name, step, false)
    }
}

impl Handler<SetStartOnBoot> for RouterActor {
    type Result = Reply<()>;
    fn handle(&mut self, order: SetStartOnBoot, _ctx: &mut Self::Context) -> Self::Result {
        let context = order.context.clone();
        let name = order.name.clone();
        let step = async move |router, seen, doubt: bool| {
            (hands::set_start_on_boot(router, seen, order.name, order.on).await, doubt)
        };
        self.carry_out(context, |actor| &mut actor.containers, name, step, false)
    }
}

impl Handler<DescribeContainerLog> for RouterActor {
    type Result = Reply<Vec<LogRow>>;
    fn handle(&mut self, question: DescribeContainerLog, _ctx: &mut Self::Context) -> Self::Result {
        let router = self.parts.router.clone();
        Box::pin(async move { router.container_log(&question.name).await }.into_actor(self))
    }
}
