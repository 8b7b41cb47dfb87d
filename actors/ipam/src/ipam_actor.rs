//! The actor: brings the table up to date with device and store, then lets it decide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mkube_messages::door::{CallError, Door};
use mkube_messages::ipam::{
    AddressLease, IpamFault, LeaseAddress, LeasesPublisher, LeasesView, NetworksPublisher, ReleaseAddress,
};
use mkube_messages::objects::{FinishDeletion, ObjectKey, ObjectsReader, ReportStatus, StoredObject, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{
    DescribeNeighbours, DescribeNetworks, DeviceReader, DeviceSnapshot, EnsureBridge, ReleaseBridge,
};
use mkube_messages::watch;
use mkube_model::IpNet;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::router::{NeighbourRow, Outcome, RouterFault, VethRow};
use mkube_model::network::Network;
use mkube_supervision::{ChildSpecBuilder, follow};
use serde_json::Value;
use tokio::time::Instant;

use crate::care::PAUSE;
use crate::known_networks::KnownNetworks;
use crate::lease_table::{LeaseTable, Wish};

/// Pause between two sweeps of forgotten leases.
const SWEEP: Duration = Duration::from_secs(30);
/// How long what was heard of other people's addresses is good enough.
const FRESH: Duration = Duration::from_secs(30);
/// Pause between two looks for a bridge that was there.
const RECHECK: Duration = Duration::from_secs(600);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct IpamParts {
    /// The networks of the configuration file; the first is the default.
    pub networks: Vec<Arc<Network>>,
    /// The file they stand in.
    pub config_file: String,
    /// The kind whose objects hold addresses (pods).
    pub pods: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// To make bridges of managed networks.
    pub ensure_bridge: Door<EnsureBridge>,
    /// To look for bridges of the others.
    pub describe_networks: Door<DescribeNetworks>,
    /// To take away what was made for a network.
    pub release_bridge: Door<ReleaseBridge>,
    /// To hear who uses addresses that nobody gave out.
    pub describe_neighbours: Door<DescribeNeighbours>,
    /// To show configured networks as objects.
    pub write: Door<WriteObject>,
    /// To say whether networks can be used.
    pub report: Door<ReportStatus>,
    /// To end the deletion of a network.
    pub finish: Door<FinishDeletion>,
    /// Where leases are published; outlives the actor.
    pub publisher: LeasesPublisher,
    /// Where networks are published; outlives the actor.
    pub networks_publisher: NetworksPublisher,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<IpamActor>) -> ChildSpecBuilder<IpamActor> {
    spec.answers::<LeaseAddress>().answers::<ReleaseAddress>()
}

/// See the room's card.
pub struct IpamActor {
    pub(crate) parts: IpamParts,
    pub(crate) table: LeaseTable,
    /// The interfaces the table knows.
    seen: OrdMap<String, Arc<VethRow>>,
    /// The interfaces that were last looked at.
    followed: OrdMap<String, Arc<VethRow>>,
    /// Addresses in the pods' status were claimed.
    pub(crate) claimed: bool,
    /// Which networks there are.
    pub(crate) known: KnownNetworks,
    /// The objects they were read from.
    pub(crate) networks_seen: Option<OrdMap<ObjectKey, Arc<StoredObject>>>,
    /// What came of looking for their bridges, and when that is worth another look.
    ready: BTreeMap<String, Readiness>,
    /// Networks being made ready: whoever asks meanwhile waits for the same outcome.
    preparing: BTreeMap<String, Outcomes>,
    /// The device is being asked whom it hears.
    listening: Option<Outcomes>,
    /// Something is being done about a network.
    pub(crate) caring: bool,
    /// At the last look there was nothing to do about networks.
    pub(crate) content: bool,
    /// The store was read completely and is followed.
    pub(crate) complete: bool,
    /// Nothing is done about networks before this moment.
    pub(crate) care_after: Option<Instant>,
    /// Networks whose objects were written since the last sweep.
    pub(crate) written: BTreeSet<String>,
    /// What was told of networks since the last sweep, and of which object.
    pub(crate) reported: BTreeMap<String, (String, Value)>,
    /// When it was last heard who uses which address.
    heard: Option<Instant>,
}

/// What came of looking for a network's bridge.
struct Readiness {
    network: Arc<Network>,
    outcome: Result<(), IpamFault>,
    again: Instant,
}

/// What several may wait for together: nothing until it is known.
type Outcomes = watch::Receiver<Option<Result<(), IpamFault>>>;

async fn outcome_of(mut outcome: Outcomes) -> Result<(), IpamFault> {
    let known = outcome.wait_for(Option::is_some).await.map(|outcome| (*outcome).clone());
    known.ok().flatten().unwrap_or_else(|| Err(IpamFault::NotReady("the network is being looked for".into())))
}

impl IpamActor {
    /// A new incarnation.
    pub fn new(parts: IpamParts) -> Self {
        let table = LeaseTable::new(parts.networks.clone());
        let known = KnownNetworks { usable: parts.networks.clone(), ..KnownNetworks::default() };
        Self {
            parts,
            table,
            seen: OrdMap::new(),
            followed: OrdMap::new(),
            claimed: false,
            known,
            networks_seen: None,
            ready: BTreeMap::new(),
            preparing: BTreeMap::new(),
            listening: None,
            caring: false,
            content: false,
            complete: false,
            care_after: None,
            written: BTreeSet::new(),
            reported: BTreeMap::new(),
            heard: None,
        }
    }

    /// What came of the last look for this network's bridge, and when to look again.
    pub(crate) fn readiness_of(&self, network: &Arc<Network>) -> Option<(Result<(), String>, Instant)> {
        let known = self.ready.get(&network.name).filter(|known| known.network == *network)?;
        Some((known.outcome.clone().map_err(|fault| fault.to_string()), known.again))
    }

    fn is_ready(&self, network: &Arc<Network>) -> bool {
        self.ready.get(&network.name).is_some_and(|known| known.network == *network && known.outcome.is_ok())
    }

    /// Learns what device and store hold; fails while either is not known completely.
    fn catch_up(&mut self) -> Result<(), IpamFault> {
        let device = self.parts.device.borrow().clone();
        if !device.complete {
            let why = device.fault.clone().unwrap_or_else(|| "the device is being read".into());
            return Err(IpamFault::NotReady(why));
        }
        let before = std::mem::replace(&mut self.seen, device.veths.clone());
        if !before.ptr_eq(&device.veths) {
            self.table.see_device(before.diff(&device.veths).map(seen));
        }
        if !self.claimed {
            let view = self.parts.objects.view();
            if !view.loaded {
                return Err(IpamFault::NotReady("the store is being read".into()));
            }
            for (key, pod) in view.kind(&self.parts.pods).objects.iter() {
                for address in pod_addresses(&pod.value()) {
                    self.table.claim(key, address);
                }
            }
            self.claimed = true;
        }
        Ok(())
    }

    fn lease(&mut self, order: &LeaseAddress) -> Result<AddressLease, IpamFault> {
        self.catch_up()?;
        let lease = self.table.lease(wish_of(order));
        self.publish();
        lease
    }

    /// Whether it has to be heard first who uses which address.
    fn must_listen(&mut self, order: &LeaseAddress) -> bool {
        let fresh = self.heard.is_some_and(|at| at.elapsed() < FRESH);
        !fresh && self.catch_up().is_ok() && self.table.searches(wish_of(order))
    }

    /// Tells the leases, if that is news. Only after both sides were read: what is missing before is not missing.
    fn publish(&self) {
        let told = self.table.told();
        let is_news = |view: &Arc<LeasesView>| !view.loaded || view.by_veth.diff(&told).next().is_some();
        if is_news(&self.parts.publisher.borrow()) {
            self.parts.publisher.send_replace(Arc::new(LeasesView { loaded: true, by_veth: told }));
        }
    }

    /// Interfaces that come and go by themselves are noticed at once.
    fn device_changed(&mut self, ctx: &mut Context<Self>) {
        let veths = self.parts.device.borrow().veths.clone();
        let is_new = !self.followed.ptr_eq(&veths) || !self.claimed;
        self.followed = veths;
        if is_new && self.catch_up().is_ok() {
            self.publish();
            self.care_again(ctx);
        }
    }

    /// Leases without a pod in the store and without a veth on the device are leftovers of a crash between two steps.
    fn sweep(&mut self) {
        if self.catch_up().is_err() {
            return;
        }
        let view = self.parts.objects.view();
        let pods = view.kind(&self.parts.pods);
        let device = self.parts.device.borrow().clone();
        // Who is missing in what was last known, or cannot be read, may be there.
        if !view.is_whole(|kind| *kind == self.parts.pods) {
            return self.doubt_bridges(&device);
        }
        let forgotten =
            self.table.forget_pods(|pod| pods.objects.contains_key(pod), |veth| device.veths.contains_key(veth));
        for veth in forgotten {
            tracing::info!(%veth, "address lease without pod and interface given back");
        }
        self.publish();
        self.doubt_bridges(&device);
    }

    /// An interface with a lease that is no port of its network's bridge: perhaps there is no such bridge any more.
    fn doubt_bridges(&mut self, device: &DeviceSnapshot) {
        let told = self.table.told();
        let Self { known, ready, .. } = self;
        for network in &known.usable {
            let strays = |veth: &String| device.ports.get(veth).is_none_or(|port| port.bridge != network.bridge);
            let inside = told.iter().filter(|(_, held)| held.pod.is_some() && network.cidr.contains(&held.address));
            if inside.map(|(veth, _)| veth).filter(|veth| device.veths.contains_key(*veth)).any(strays) {
                ready.remove(&network.name);
            }
        }
    }

    /// Looks for, or makes, what the network needs on the device; once, however many ask.
    pub(crate) fn prepare(&mut self, network: Arc<Network>, ctx: &mut Context<Self>) -> Outcomes {
        if let Some(outcome) = self.preparing.get(&network.name) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        self.preparing.insert(network.name.clone(), outcome.clone());
        let name = network.name.clone();
        let (ensure, describe) = (self.parts.ensure_bridge.clone(), self.parts.describe_networks.clone());
        let about = network.clone();
        ctx.spawn(prepare(network, ensure, describe).into_actor(self).map(move |prepared, actor, ctx| {
            actor.preparing.remove(&name);
            let pause = if prepared.is_ok() { RECHECK } else { PAUSE };
            let again = Instant::now() + pause;
            actor.ready.insert(name, Readiness { network: about, outcome: prepared.clone(), again });
            ctx.run_later(pause, |actor, ctx| actor.care_again(ctx));
            tell.send_replace(Some(prepared));
            actor.care_again(ctx);
        }));
        outcome
    }

    /// Who is heard now; once, however many ask. A device that cannot tell keeps nobody from getting an address.
    fn listen(&mut self, ctx: &mut Context<Self>) -> Outcomes {
        if let Some(outcome) = &self.listening {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        self.listening = Some(outcome.clone());
        let door = self.parts.describe_neighbours.clone();
        let context = RequestContext::new("neighbours", patience::LEASE);
        let asked = async move { door.ask(DescribeNeighbours { context }).await };
        ctx.spawn(asked.into_actor(self).map(move |heard, actor, _ctx| {
            actor.listening = None;
            tell.send_replace(Some(actor.hear(heard)));
        }));
        outcome
    }

    fn hear(&mut self, heard: Result<Vec<NeighbourRow>, CallError<RouterFault>>) -> Result<(), IpamFault> {
        let rows = match heard {
            Ok(rows) => rows,
            Err(CallError::Fault(fault)) if fault.outcome() == Outcome::Refused => {
                tracing::debug!(%fault, "the device does not tell whom it hears");
                Vec::new()
            }
            Err(error) => return Err(IpamFault::NotReady(error.to_string())),
        };
        let of_v4 = |row: NeighbourRow| match row.address {
            IpAddr::V4(address) => Some((address, row.interface)),
            IpAddr::V6(_) => None,
        };
        self.table.hear(rows.into_iter().filter_map(of_v4));
        self.heard = Some(Instant::now());
        Ok(())
    }

    /// The network a lease is asked for; one that is known and cannot be used says why.
    fn network_for(&self, order: &LeaseAddress) -> Result<Arc<Network>, IpamFault> {
        let unusable = order.network.as_deref().and_then(|name| {
            let leaves = self.known.leaving.iter().any(|leaving| leaving.name == name);
            let why = leaves.then(|| "it is being deleted".to_owned());
            why.or_else(|| self.known.refused.get(name).cloned()).map(|why| (name.to_owned(), why))
        });
        match unusable {
            Some((network, why)) => Err(IpamFault::Unusable { network, why }),
            // Before the store was read there may be more than are known.
            None if self.networks_seen.is_none() && self.table.network(order.network.as_deref()).is_err() => {
                Err(IpamFault::NotReady("the store is being read".into()))
            }
            None => self.table.network(order.network.as_deref()).cloned(),
        }
    }

    fn lease_when_heard(
        &mut self,
        order: LeaseAddress,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<AddressLease, IpamFault>> {
        if !self.must_listen(&order) {
            return Box::pin(actix::fut::ready(self.lease(&order)));
        }
        let listening = outcome_of(self.listen(ctx)).into_actor(self);
        Box::pin(listening.map(move |heard, actor, _ctx| heard.and_then(|()| actor.lease(&order))))
    }

    fn sweep_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(SWEEP, |actor, ctx| {
            actor.sweep();
            actor.reported.clear();
            actor.written.clear();
            actor.care_again(ctx);
            actor.sweep_later(ctx);
        });
    }
}

/// An interface that came, changed or went, and what it has now.
fn seen<'a>(change: DiffItem<'a, 'a, String, Arc<VethRow>>) -> (&'a str, &'a [IpNet]) {
    match change {
        DiffItem::Add(name, row) | DiffItem::Update { new: (name, row), .. } => (name, &row.addresses),
        DiffItem::Remove(name, _) => (name, &[]),
    }
}

/// The addresses in a pod's status, in container order.
fn pod_addresses(pod: &Value) -> Vec<Ipv4Addr> {
    let ips = pod.pointer("/status/podIPs").and_then(Value::as_array);
    ips.into_iter().flatten().filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok()).collect()
}

fn wish_of(order: &LeaseAddress) -> Wish<'_> {
    Wish {
        veth: &order.veth,
        pod: &order.pod,
        network: order.network.as_deref(),
        wanted: order.wanted,
        previous: order.previous,
    }
}

/// The address of the device itself.
pub(crate) fn gateway_of(network: &Network) -> Result<IpNet, String> {
    IpNet::new(IpAddr::V4(network.gateway), network.cidr.prefix_len()).map_err(|error| error.to_string())
}

async fn prepare(
    network: Arc<Network>,
    ensure: Door<EnsureBridge>,
    describe: Door<DescribeNetworks>,
) -> Result<(), IpamFault> {
    let context = RequestContext::new("network", patience::LEASE);
    let away = |error: String| IpamFault::NotReady(format!("network {}: {error}", network.name));
    if network.managed {
        let address = gateway_of(&network).map_err(&away)?;
        let order = EnsureBridge { context, bridge: network.bridge.clone(), address };
        return ensure.ask(order).await.map_err(|error| away(error.to_string()));
    }
    let (bridges, addresses) =
        describe.ask(DescribeNetworks { context }).await.map_err(|error| away(error.to_string()))?;
    let missing = if !bridges.contains(&network.bridge) {
        format!("bridge {:?}", network.bridge)
    } else if !addresses.iter().any(|row| row.address.addr() == IpAddr::V4(network.gateway)) {
        format!("gateway address {}", network.gateway)
    } else {
        return Ok(());
    };
    Err(IpamFault::NoBridge { network: network.name.clone(), missing })
}

impl Actor for IpamActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.device.clone(), self, ctx, |actor, ctx| actor.device_changed(ctx));
        follow(self.parts.objects.notices(), self, ctx, Self::care);
        self.sweep_later(ctx);
    }
}

impl Handler<LeaseAddress> for IpamActor {
    type Result = ResponseActFuture<Self, Result<AddressLease, IpamFault>>;

    fn handle(&mut self, order: LeaseAddress, ctx: &mut Self::Context) -> Self::Result {
        self.look_networks();
        let network = match self.network_for(&order) {
            Ok(network) => network,
            Err(fault) => return Box::pin(actix::fut::ready(Err(fault))),
        };
        if self.is_ready(&network) {
            return self.lease_when_heard(order, ctx);
        }
        let waiting = outcome_of(self.prepare(network, ctx));
        Box::pin(waiting.into_actor(self).then(move |prepared, actor, ctx| match prepared {
            Ok(()) => actor.lease_when_heard(order, ctx),
            Err(fault) => Box::pin(actix::fut::ready(Err(fault))),
        }))
    }
}

impl Handler<ReleaseAddress> for IpamActor {
    type Result = ResponseActFuture<Self, Result<(), IpamFault>>;

    fn handle(&mut self, order: ReleaseAddress, _ctx: &mut Self::Context) -> Self::Result {
        let released = self.catch_up().and_then(|()| {
            if self.parts.device.borrow().veths.contains_key(&order.veth) {
                return Err(IpamFault::NotReady(format!("{} is still on the device", order.veth)));
            }
            self.table.release(&order.veth);
            self.publish();
            Ok(())
        });
        Box::pin(actix::fut::ready(released))
    }
}
