//! The actor: stays attached, tells one parcel at a time, and hears each subject at its pace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use mkube_messages::bus::{BusPublisher, BusView, Hearing};
use mkube_messages::door::Door;
use mkube_messages::objects::{KindView, ObjectsReader};
use mkube_messages::rollouts::ImagePushed;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::bus::{Bus, BusFault, BusMessage, BusSession, BusSubscription};
use mkube_model::secret::Secret;
use mkube_supervision::follow;
use tokio::time::Instant;

use crate::hearing::{EARS, Ear, Heard, read};
use crate::news::{News, between};
use crate::outbox::{Outbox, Room};
use crate::pace::Pace;
use crate::telling::{is_ours, messages};

/// Changes that wait for a bus that is slow or away.
const WAITING: Room = Room { changes: 2048, bytes: 8 << 20 };
/// Changes that are told together.
const PARCEL: Room = Room { changes: 64, bytes: 512 << 10 };
/// Pause before the bus is tried again: the first one; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long nothing is heard of a subject on which there was too much.
const DEAF: Duration = Duration::from_secs(10);
/// What stands around an object in a message, at most: subject and headers.
const AROUND: usize = 4096;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct BusParts {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// What is at home on this node, or everybody's.
    pub objects: ObjectsReader,
    /// To tell that an image was pushed.
    pub pushed: Door<ImagePushed>,
    /// What notices of pushes must be signed with, if anything.
    pub notify_secret: Option<Secret>,
    /// This node, where controllers of others share the store.
    pub shared_by: Option<String>,
    /// Where the figures go; outlives the actor.
    pub publish: BusPublisher,
}

/// See the room's card.
pub struct NatsEdge {
    parts: BusParts,
    session: Option<Arc<dyn BusSession>>,
    /// Waits for the end of the connection.
    watching: Option<SpawnHandle>,
    pause: Duration,
    /// What was looked at last, complete; none: nothing so far.
    seen: Option<BTreeMap<KindId, Arc<KindView>>>,
    outbox: Outbox,
    /// A parcel is on its way.
    telling: bool,
    /// Who listens to what, or waits to do so again.
    listening: BTreeMap<Ear, SpawnHandle>,
    paces: BTreeMap<Ear, Pace>,
    figures: BusView,
}

impl NatsEdge {
    /// A new incarnation; the figures go on.
    pub fn new(parts: BusParts) -> Self {
        let before = parts.publish.borrow().clone();
        let figures = BusView { wanted: true, attached: false, waiting: 0, ..(*before).clone() };
        Self {
            parts,
            session: None,
            watching: None,
            pause: FIRST_PAUSE,
            seen: None,
            outbox: Outbox::new(WAITING),
            telling: false,
            listening: BTreeMap::new(),
            paces: BTreeMap::new(),
            figures,
        }
    }

    fn publish(&mut self) {
        self.figures.waiting = self.outbox.len();
        self.figures.dropped += self.outbox.take_dropped();
        self.parts.publish.send_replace(Arc::new(self.figures.clone()));
    }

    // The connection.

    fn attach(&mut self, ctx: &mut Context<Self>) {
        let bus = self.parts.bus.clone();
        let attaching = async move { bus.attach().await };
        ctx.spawn(attaching.into_actor(self).map(|attached, actor, ctx| match attached {
            Ok(session) => actor.attached(session, ctx),
            Err(fault) => actor.away(&fault, ctx),
        }));
    }

    fn attached(&mut self, session: Arc<dyn BusSession>, ctx: &mut Context<Self>) {
        tracing::info!("attached to the bus");
        self.pause = FIRST_PAUSE;
        self.figures.attached = true;
        self.figures.why = None;
        self.session = Some(session.clone());
        let ended = async move { session.ended().await };
        self.watching = Some(ctx.spawn(ended.into_actor(self).map(|why, actor, ctx| {
            actor.watching = None;
            actor.away(&BusFault::Away(why), ctx);
        })));
        for ear in EARS {
            self.listen(ear, ctx);
        }
        self.tell(ctx);
        self.publish();
    }

    /// There is no connection, or none any more: another is tried after a pause.
    fn away(&mut self, fault: &BusFault, ctx: &mut Context<Self>) {
        self.session = None;
        for (_, listening) in std::mem::take(&mut self.listening) {
            ctx.cancel_future(listening);
        }
        if let Some(watching) = self.watching.take() {
            ctx.cancel_future(watching);
        }
        let why = fault.to_string();
        // Said once, not with each try.
        if self.figures.why.as_ref() != Some(&why) {
            tracing::warn!(%why, "there is no bus; what happens waits for it, and control goes on without");
        }
        self.figures.attached = false;
        self.figures.why = Some(why);
        self.publish();
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        ctx.run_later(pause, Self::attach);
    }

    /// Whether this is the connection we have.
    fn is_current(&self, session: &Arc<dyn BusSession>) -> bool {
        self.session.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, session))
    }

    // Out.

    /// Objects may have changed.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        // What is not complete proves nothing; what it hides is found when it is.
        if !view.is_complete() {
            return;
        }
        let Some(mut seen) = self.seen.take() else {
            // What was there before us is no news.
            self.seen = Some(view.kinds.clone());
            return;
        };
        for (kind, now) in &view.kinds {
            let before = seen.entry(*kind).or_default();
            for news in between(before, now) {
                if is_ours(&news.object, self.parts.shared_by.as_deref()) {
                    self.outbox.put(news);
                }
            }
            before.clone_from(now);
        }
        self.seen = Some(seen);
        self.tell(ctx);
        self.publish();
    }

    /// Sends the next parcel off, if none is on its way.
    fn tell(&mut self, ctx: &mut Context<Self>) {
        let Some(session) = self.session.clone().filter(|_| !self.telling && self.outbox.len() > 0) else { return };
        let parcel = self.outbox.take(PARCEL);
        let longest = session.longest().saturating_sub(AROUND);
        let told: Vec<BusMessage> = parcel.iter().flat_map(|news| messages(news, longest)).collect();
        let count = told.len() as u64;
        self.telling = true;
        let teller = session.clone();
        let telling = async move { teller.publish(told).await };
        ctx.spawn(
            telling.into_actor(self).map(move |result, actor, ctx| actor.told(&session, parcel, count, result, ctx)),
        );
    }

    fn told(
        &mut self,
        session: &Arc<dyn BusSession>,
        parcel: Vec<News>,
        count: u64,
        result: Result<(), BusFault>,
        ctx: &mut Context<Self>,
    ) {
        self.telling = false;
        match result {
            Ok(()) => self.figures.told += count,
            Err(fault) => {
                // Perhaps some of it was taken: it is told again, which harms nobody who looks at versions.
                self.outbox.give_back(parcel);
                if self.is_current(session) {
                    return self.away(&fault, ctx);
                }
            }
        }
        self.tell(ctx);
        self.publish();
    }

    // In.

    fn listen(&mut self, ear: Ear, ctx: &mut Context<Self>) {
        let Some(session) = self.session.clone() else { return };
        let teller = session.clone();
        let subscribing = async move { teller.subscribe(ear.subject()).await };
        let listening = ctx.spawn(subscribing.into_actor(self).map(move |subscribed, actor, ctx| match subscribed {
            Ok(subscription) => actor.hear(ear, subscription, ctx),
            Err(fault) if actor.is_current(&session) => actor.away(&fault, ctx),
            Err(_) => {}
        }));
        self.listening.insert(ear, listening);
    }

    fn hear(&mut self, ear: Ear, mut subscription: Box<dyn BusSubscription>, ctx: &mut Context<Self>) {
        let hearing = async move {
            let message = subscription.next().await;
            (subscription, message)
        };
        let listening = ctx.spawn(hearing.into_actor(self).map(move |(subscription, message), actor, ctx| {
            // Without a message the connection has ended, which is noticed elsewhere.
            let Some(message) = message else { return };
            if actor.has_room(ear) {
                actor.heard(ear, &message);
                actor.hear(ear, subscription, ctx);
            } else {
                // Without a subscription the server sends nothing, and a flood costs nobody anything.
                drop(subscription);
                actor.be_deaf(ear, ctx);
            }
        }));
        self.listening.insert(ear, listening);
    }

    fn has_room(&mut self, ear: Ear) -> bool {
        let now = Instant::now();
        let (burst, each) = ear.pace();
        self.paces.entry(ear).or_insert_with(|| Pace::new(burst, each, now)).take(now)
    }

    fn be_deaf(&mut self, ear: Ear, ctx: &mut Context<Self>) {
        let about = ear.label();
        tracing::warn!(about, "too much is told on the bus; nothing more of it is heard for a while");
        self.hearing(ear).floods += 1;
        self.publish();
        let waiting = ctx.run_later(DEAF, move |actor, ctx| actor.listen(ear, ctx));
        self.listening.insert(ear, waiting);
    }

    fn hearing(&mut self, ear: Ear) -> &mut Hearing {
        self.figures.heard.entry(ear.label()).or_default()
    }

    fn heard(&mut self, ear: Ear, message: &BusMessage) {
        let passed_on = match read(ear, message, self.parts.notify_secret.as_ref()) {
            Ok(Heard::Pushed(pushed)) => self.parts.pushed.tell(pushed).map_err(|why| why.to_string()),
            Ok(Heard::Noted) => Ok(()),
            Err(why) => Err(why),
        };
        match passed_on {
            Ok(()) => self.hearing(ear).taken += 1,
            Err(why) => {
                tracing::debug!(subject = message.subject, %why, "a message on the bus is passed over");
                self.hearing(ear).refused += 1;
            }
        }
        self.publish();
    }
}

impl Actor for NatsEdge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.publish();
        self.attach(ctx);
        follow(self.parts.objects.notices(), self, ctx, Self::look);
    }
}
