//! The actor: brings the table up to date with device and store, then lets it decide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use imbl::OrdMap;
use mkube_messages::door::Door;
use mkube_messages::ipam::{AddressLease, IpamFault, LeaseAddress, LeasesPublisher, LeasesView, ReleaseAddress};
use mkube_messages::objects::ObjectsReader;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DescribeNetworks, DeviceReader, EnsureBridge};
use mkube_messages::watch;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::router::VethRow;
use mkube_model::network::Network;
use mkube_supervision::{ChildSpecBuilder, follow};
use serde_json::Value;

use crate::lease_table::{LeaseTable, Wish};

/// Pause between two sweeps of forgotten leases.
const SWEEP: Duration = Duration::from_secs(30);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct IpamParts {
    /// The networks there are.
    pub networks: Vec<Network>,
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
    /// Where leases are published; outlives the actor.
    pub publisher: LeasesPublisher,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<IpamActor>) -> ChildSpecBuilder<IpamActor> {
    spec.answers::<LeaseAddress>().answers::<ReleaseAddress>()
}

/// See the room's card.
pub struct IpamActor {
    parts: IpamParts,
    table: LeaseTable,
    /// The reading of the device the table knows.
    seen: u64,
    /// The interfaces that were last looked at.
    followed: OrdMap<String, Arc<VethRow>>,
    /// Addresses in the pods' status were claimed.
    claimed: bool,
    /// Networks whose bridge and gateway were found or made.
    ready: BTreeSet<String>,
    /// Networks being made ready: whoever asks meanwhile waits for the same outcome.
    preparing: BTreeMap<String, watch::Receiver<Option<Result<(), IpamFault>>>>,
}

impl IpamActor {
    /// A new incarnation.
    pub fn new(parts: IpamParts) -> Self {
        let table = LeaseTable::new(parts.networks.clone());
        let followed = OrdMap::new();
        Self { parts, table, seen: 0, followed, claimed: false, ready: BTreeSet::new(), preparing: BTreeMap::new() }
    }

    /// Learns what device and store hold; fails while either is not known completely.
    fn catch_up(&mut self) -> Result<(), IpamFault> {
        let device = self.parts.device.borrow().clone();
        if !device.complete {
            let why = device.fault.clone().unwrap_or_else(|| "the device is being read".into());
            return Err(IpamFault::NotReady(why));
        }
        if device.sequence != self.seen {
            self.table.see_device(device.veths.values().map(|row| (row.name.as_str(), row.addresses.as_slice())));
            self.seen = device.sequence;
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
        let lease = self.table.lease(Wish {
            veth: &order.veth,
            pod: &order.pod,
            network: order.network.as_deref(),
            wanted: order.wanted,
            previous: order.previous,
        });
        self.publish();
        lease
    }

    /// Tells the leases, if that is news. Only after both sides were read: what is missing before is not missing.
    fn publish(&self) {
        let told = self.table.told();
        let is_news = |view: &Arc<LeasesView>| !view.loaded || !view.by_veth.ptr_eq(&told) && view.by_veth != told;
        if is_news(&self.parts.publisher.borrow()) {
            self.parts.publisher.send_replace(Arc::new(LeasesView { loaded: true, by_veth: told }));
        }
    }

    /// Interfaces that come and go by themselves are noticed at once.
    fn device_changed(&mut self) {
        let veths = self.parts.device.borrow().veths.clone();
        let is_new = !self.followed.ptr_eq(&veths) || !self.claimed;
        self.followed = veths;
        if is_new && self.catch_up().is_ok() {
            self.publish();
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
        let forgotten =
            self.table.forget_pods(|pod| pods.objects.contains_key(pod), |veth| device.veths.contains_key(veth));
        for veth in forgotten {
            tracing::info!(%veth, "address lease without pod and interface given back");
        }
        self.publish();
    }

    /// Looks for, or makes, what the network needs on the device; once, however many ask.
    fn prepare(&mut self, network: Network, ctx: &mut Context<Self>) -> watch::Receiver<Option<Result<(), IpamFault>>> {
        if let Some(outcome) = self.preparing.get(&network.name) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        self.preparing.insert(network.name.clone(), outcome.clone());
        let name = network.name.clone();
        let (ensure, describe) = (self.parts.ensure_bridge.clone(), self.parts.describe_networks.clone());
        ctx.spawn(prepare(network, ensure, describe).into_actor(self).map(move |prepared, actor, _ctx| {
            actor.preparing.remove(&name);
            if prepared.is_ok() {
                actor.ready.insert(name);
            }
            tell.send_replace(Some(prepared));
        }));
        outcome
    }

    fn sweep_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(SWEEP, |actor, ctx| {
            actor.sweep();
            actor.sweep_later(ctx);
        });
    }
}

/// The addresses in a pod's status, in container order.
fn pod_addresses(pod: &Value) -> Vec<Ipv4Addr> {
    let ips = pod.pointer("/status/podIPs").and_then(Value::as_array);
    ips.into_iter().flatten().filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok()).collect()
}

async fn prepare(
    network: Network,
    ensure: Door<EnsureBridge>,
    describe: Door<DescribeNetworks>,
) -> Result<(), IpamFault> {
    let context = RequestContext::new("network", patience::LEASE);
    let away = |error: String| IpamFault::NotReady(format!("network {}: {error}", network.name));
    if network.managed {
        let address = mkube_model::IpNet::new(IpAddr::V4(network.gateway), network.cidr.prefix_len())
            .map_err(|error| away(error.to_string()))?;
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
        follow(self.parts.device.clone(), self, ctx, |actor, _| actor.device_changed());
        self.sweep_later(ctx);
    }
}

impl Handler<LeaseAddress> for IpamActor {
    type Result = ResponseActFuture<Self, Result<AddressLease, IpamFault>>;

    fn handle(&mut self, order: LeaseAddress, ctx: &mut Self::Context) -> Self::Result {
        let network = match self.table.network(order.network.as_deref()) {
            Ok(network) => network.clone(),
            Err(fault) => return Box::pin(actix::fut::ready(Err(fault))),
        };
        if self.ready.contains(&network.name) {
            return Box::pin(actix::fut::ready(self.lease(&order)));
        }
        let mut outcome = self.prepare(network, ctx);
        let waiting = async move {
            let prepared = outcome.wait_for(Option::is_some).await.map(|outcome| (*outcome).clone());
            prepared
                .ok()
                .flatten()
                .unwrap_or_else(|| Err(IpamFault::NotReady("the network is being looked for".into())))
        };
        Box::pin(waiting.into_actor(self).map(move |prepared, actor, _ctx| prepared.and_then(|()| actor.lease(&order))))
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
