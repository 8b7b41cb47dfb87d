//! The actor: looks at what is published, asks the pure parts what is next, and carries it out, at each server by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::dns::{NamesFault, NamesPublisher, WithdrawNames};
use mkube_messages::door::Door;
use mkube_messages::ipam::{NetworksReader, NetworksView};
use mkube_messages::objects::{ObjectsReader, RecordEvent, WriteObject};
use mkube_model::kinds::{KindId, NETWORKS};
use mkube_model::neighbours::name_servers::NameServers;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::{Alarm, follow};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::carry_out::{Hands, carry_out};
use crate::desired::{Remark, ZoneWish};
use crate::ledger::Ledger;
use crate::server::{Server, Work};
use crate::sights::Mode;
use crate::sources::Sources;
use crate::waiting::{Waiter, Withdrawn, answer};
use crate::wishes::{Changes, Sights, Wishes};
use crate::zone_state::Eyes;

/// Longest pause between two looks; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Shortest pause: what is due and waits for something under way is looked at when that is done.
const SOONEST: Duration = Duration::from_millis(1);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct DnsParts {
    /// The kind of pods.
    pub pods: KindId,
    /// The kind of namespaces.
    pub namespaces: KindId,
    /// The kind of entries of what was put into servers.
    pub entries: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// Networks.
    pub networks: NetworksReader,
    /// The servers.
    pub servers: Arc<dyn NameServers>,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Where it is published what is wanted and what is there; outlives the actor.
    pub publish: NamesPublisher,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// What this mkube calls itself at the servers: different for each that shares one.
    pub origin: String,
    /// The mode of namespaces that say none; none: they have no zone of their own.
    pub mode: Option<Mode>,
}

/// The kind of Services, whether or not there is one.
const SERVICES: KindId = KindId { group: "", plural: "services" };

/// See the room's card.
pub struct DnsActor {
    pub(crate) parts: DnsParts,
    sources: Sources,
    networks: Option<Arc<NetworksView>>,
    ledger: Ledger,
    pub(crate) wishes: Wishes,
    /// By endpoint.
    pub(crate) servers: BTreeMap<String, Server>,
    withdrawn: Withdrawn,
    waiters: Vec<Waiter>,
    /// What was told already.
    pub(crate) told: BTreeSet<Remark>,
    timer: Alarm,
}

impl DnsActor {
    /// A new incarnation.
    pub fn new(parts: DnsParts) -> Self {
        Self {
            sources: Sources::new(parts.pods, SERVICES, parts.namespaces),
            parts,
            networks: None,
            ledger: Ledger::default(),
            wishes: Wishes::default(),
            servers: BTreeMap::new(),
            withdrawn: Withdrawn::default(),
            waiters: Vec::new(),
            told: BTreeSet::new(),
            timer: Alarm::after(SOONEST),
        }
    }

    /// Looks at everything and does what is due. Called whenever something may have changed. Before everything was read nothing is
    /// decided.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        let networks = self.parts.networks.borrow().clone();
        if !view.loaded || !networks.loaded {
            return;
        }
        let now = Instant::now();
        self.read_ledger(now);
        let mut changes = self.sources.read(&view);
        changes.pods.extend(self.withdrawn.review(&self.sources, now));
        if self.networks.as_ref() != Some(&networks) {
            self.networks = Some(networks);
            changes.frame = true;
        }
        self.decide(&changes, now);
        self.work(now, ctx);
        answer(&mut self.waiters, &self.servers);
        self.publish();
        self.arm(now, ctx);
    }

    /// Reads what is stored of names. It may come after the records it speaks of: a store can come back later than it was asked for.
    fn read_ledger(&mut self, now: Instant) {
        let view = self.parts.objects.view();
        let learnt = self.ledger.read(&view.kind(&self.parts.entries));
        let pods_known = self.knows_pods();
        let Self { servers, ledger, parts, .. } = self;
        let eyes = Eyes { now, ledger, origin: &parts.origin, pods_known };
        let mut is_frame = false;
        for key in learnt {
            let Some(set) = key.set() else {
                is_frame = true;
                continue;
            };
            let state = servers.get_mut(&key.endpoint).and_then(|server| server.zones.get_mut(&key.zone));
            if let Some(state) = state {
                state.recognise(&set, eyes);
            }
        }
        // A zone may be one that nobody wants, and that has something of ours.
        if is_frame && self.networks.is_some() {
            self.distribute(now);
        }
    }

    /// What is wanted now, told to each server.
    fn decide(&mut self, changes: &Changes, now: Instant) {
        let Some(networks) = self.networks.as_ref().filter(|_| !changes.is_empty()) else { return };
        let withdrawn = |uid: &str| self.withdrawn.has(uid);
        let sights = Sights { pods: self.sources.pods(), services: self.sources.services(), withdrawn: &withdrawn };
        if changes.frame {
            self.wishes = Wishes::new(networks.clone(), &self.sources.namespaces(), self.parts.mode);
            self.wishes.see_all(sights);
        } else {
            self.wishes.see(changes, sights);
        }
        if self.wishes.settle() {
            self.distribute(now);
            self.tell_remarks();
        }
    }

    fn distribute(&mut self, now: Instant) {
        let mut wishes: BTreeMap<String, BTreeMap<String, ZoneWish>> = BTreeMap::new();
        let desired = self.wishes.desired();
        for ((endpoint, zone), wish) in desired.zones.iter().filter(|((endpoint, _), _)| !endpoint.is_empty()) {
            wishes.entry(endpoint.clone()).or_default().insert(zone.clone(), wish.clone());
        }
        let mut kept: BTreeMap<String, BTreeMap<String, ZoneWish>> = BTreeMap::new();
        for (endpoint, zone) in self.ledger.zones() {
            if !desired.zones.contains_key(&(endpoint.to_owned(), zone.to_owned())) {
                kept.entry(endpoint.to_owned()).or_default().insert(zone.to_owned(), nobodys());
            }
        }
        let endpoints: BTreeSet<String> =
            wishes.keys().chain(kept.keys()).chain(self.servers.keys()).cloned().collect();
        for endpoint in endpoints {
            let server = self.servers.entry(endpoint.clone()).or_insert_with(|| Server::new(&endpoint, now));
            let forwarders = desired.forwarders.get(&endpoint).cloned().unwrap_or_default();
            let kept = kept.remove(&endpoint).unwrap_or_default();
            server.want(wishes.remove(&endpoint).unwrap_or_default(), forwarders, &kept, now);
        }
    }

    /// Starts every call that may be made now.
    fn work(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let pods_known = self.knows_pods();
        let Self { servers, ledger, parts, .. } = self;
        let eyes = Eyes { now, ledger, origin: &parts.origin, pods_known };
        let mut calls: Vec<(String, Work)> = Vec::new();
        for (endpoint, server) in servers.iter_mut() {
            while let Some(work) = server.next(eyes) {
                calls.push((endpoint.clone(), work));
            }
        }
        servers.retain(|_, server| !server.is_idle());
        for (endpoint, work) in calls {
            self.call(endpoint, work, ctx);
        }
    }

    /// Whether a name that nobody wants is one that nobody wants any more.
    fn knows_pods(&self) -> bool {
        let matters = [self.parts.pods, SERVICES, self.parts.namespaces, NETWORKS];
        self.sources.has_pods() && self.parts.objects.view().is_whole(|kind| matters.contains(kind))
    }

    fn call(&mut self, endpoint: String, work: Work, ctx: &mut Context<Self>) {
        let parts = &self.parts;
        let hands = Hands { servers: parts.servers.clone(), write: parts.write.clone(), entries: parts.entries };
        let calling = carry_out(hands, endpoint.clone(), work.clone(), parts.clock.now());
        ctx.spawn(calling.into_actor(self).map(move |result, actor, ctx| {
            // What was written down is published by now.
            actor.read_ledger(Instant::now());
            let pods_known = actor.knows_pods();
            let Self { servers, ledger, parts, .. } = actor;
            let eyes = Eyes { now: Instant::now(), ledger, origin: &parts.origin, pods_known };
            if let Some(server) = servers.get_mut(&endpoint) {
                server.done(&work, result, eyes);
            }
            actor.look(ctx);
        }));
    }

    fn arm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let dues = self.servers.values().map(|server| server.due(now)).chain(self.withdrawn.due(now));
        let at = dues.min().unwrap_or(now + LONGEST_PAUSE).min(now + LONGEST_PAUSE);
        self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
    }
}

/// A zone that only has to lose what is ours.
fn nobodys() -> ZoneWish {
    ZoneWish::default()
}

impl Actor for DnsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::look);
        follow(self.parts.networks.clone(), self, ctx, Self::look);
    }
}

impl Handler<WithdrawNames> for DnsActor {
    type Result = ResponseActFuture<Self, Result<(), NamesFault>>;

    fn handle(&mut self, order: WithdrawNames, ctx: &mut Self::Context) -> Self::Result {
        if !self.parts.objects.view().loaded || !self.parts.networks.borrow().loaded {
            let fault = NamesFault::NotReady("store and networks are being read".into());
            return Box::pin(actix::fut::ready(Err(fault)));
        }
        let now = Instant::now();
        // What the pod was a moment ago is known before it is taken back.
        self.look(ctx);
        let patience = order.context.remaining();
        if self.withdrawn.add(&order.pod, &order.uid, &self.sources, now + patience) {
            self.decide(&Changes { pods: [order.pod.clone()].into(), ..Changes::default() }, now);
        }
        if let Some(pod) = self.sources.pod(&order.pod).filter(|pod| pod.uid == order.uid) {
            let addresses = pod.addresses.values().map(ToString::to_string).collect();
            let states = self.servers.values_mut().flat_map(|server| server.zones.values_mut());
            states.for_each(|state| state.hurry(&addresses));
        }
        let (reply, answered) = oneshot::channel();
        self.waiters.push(Waiter::new(&self.servers, reply));
        self.look(ctx);
        let waiting = async move {
            // Whoever asks waits no longer; the names go when the server can be reached.
            let _ = tokio::time::timeout(patience, answered).await;
            Ok(())
        };
        Box::pin(waiting.into_actor(self).map(move |answer, actor, _| {
            actor.withdrawn.stops_now(&order.uid, Instant::now());
            answer
        }))
    }
}
