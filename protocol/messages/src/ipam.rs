//! What IpamActor answers and publishes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::watch;
use actix::Message;
use imbl::OrdMap;
use mkube_model::IpNet;
use mkube_model::network::Network;

use crate::objects::ObjectKey;
use crate::request::{Floor, Request, RequestContext};

/// Leases an address to one container's interface. Sent by PodActor before it makes the veth. Safe to repeat: the same veth
/// gets the same address.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<AddressLease, IpamFault>")]
pub struct LeaseAddress {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The interface the address is for; the lease's key.
    pub veth: String,
    /// The pod it belongs to, for messages.
    pub pod: ObjectKey,
    /// Network name; `None` is the first one configured.
    pub network: Option<String>,
    /// The address asked for (`vkube.io/static-ip`), or any.
    pub wanted: Option<Ipv4Addr>,
    /// The address it had before, taken again when free.
    pub previous: Option<Ipv4Addr>,
}

/// An address, and what an interface needs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLease {
    /// Name of the network.
    pub network: String,
    /// Address with the network's prefix length.
    pub address: IpNet,
    /// Default route.
    pub gateway: Ipv4Addr,
    /// Bridge the veth becomes a port of.
    pub bridge: String,
    /// Name servers for the container.
    pub dns: Vec<IpAddr>,
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamFault {
    /// No such network.
    #[error("network {network:?} is not configured; known: {known}")]
    UnknownNetwork {
        /// As asked for.
        network: String,
        /// Those there are, comma separated.
        known: String,
    },
    /// It is known and takes no pods.
    #[error("network {network} cannot be used: {why}")]
    Unusable {
        /// The network.
        network: String,
        /// Why.
        why: String,
    },
    /// Not an address of the network.
    #[error("{address} is outside network {network} ({cidr})")]
    OutOfRange {
        /// As asked for.
        address: Ipv4Addr,
        /// The network.
        network: String,
        /// Its range.
        cidr: String,
    },
    /// The network needs it for itself.
    #[error("{address} is reserved in network {network}: {why}")]
    Reserved {
        /// As asked for.
        address: Ipv4Addr,
        /// The network.
        network: String,
        /// What for.
        why: String,
    },
    /// Somebody has it.
    #[error("{address} is already allocated to {holder}")]
    Taken {
        /// As asked for.
        address: Ipv4Addr,
        /// The veth that has it.
        holder: String,
    },
    /// No free address.
    #[error("network {network} has no free address: {used} of {size} in use, by {holders}")]
    Exhausted {
        /// The network.
        network: String,
        /// Addresses in use.
        used: usize,
        /// Addresses in the dynamic range.
        size: usize,
        /// Who has them, as far as they can be named.
        holders: String,
    },
    /// The device was not read completely yet, so nobody knows which addresses are free.
    #[error("addresses in use are not known yet: {0}")]
    NotReady(String),
    /// The network's bridge or gateway address does not exist, and mkube may not make it.
    #[error("network {network}: {missing} does not exist on the device; create it or set `managed: true`")]
    NoBridge {
        /// The network.
        network: String,
        /// What is missing.
        missing: String,
    },
}

impl Request for LeaseAddress {
    type Reply = AddressLease;
    type Fault = IpamFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Gives an address back. Sent by PodActor after the veth is gone; refused while the device still has it. Safe to repeat.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), IpamFault>")]
pub struct ReleaseAddress {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The interface.
    pub veth: String,
}

impl Request for ReleaseAddress {
    type Reply = ();
    type Fault = IpamFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// An address that is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The pod that asked for it; none for what was only seen on the device.
    pub pod: Option<ObjectKey>,
}

/// What IpamActor publishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeasesView {
    /// False until device and store were read.
    pub loaded: bool,
    /// Addresses by interface.
    pub by_veth: OrdMap<String, HeldAddress>,
}

/// Reads what IpamActor publishes.
pub type LeasesReader = watch::Receiver<Arc<LeasesView>>;

/// The writing end; kept outside the actor so that readers survive its restarts.
pub type LeasesPublisher = Arc<watch::Sender<Arc<LeasesView>>>;

/// A connected pair, with nothing known.
pub fn leases_view() -> (LeasesPublisher, LeasesReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}

/// The networks there are: those of the configuration file and those of the API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworksView {
    /// False until the store was read: there may be more than those of the configuration file.
    pub loaded: bool,
    /// The one for whoever names none.
    pub default: String,
    /// By name.
    pub by_name: OrdMap<String, Arc<Network>>,
}

/// Reads which networks there are.
pub type NetworksReader = watch::Receiver<Arc<NetworksView>>;

/// The writing end; kept outside the actor so that readers survive its restarts.
pub type NetworksPublisher = Arc<watch::Sender<Arc<NetworksView>>>;

/// A connected pair that knows the networks of the configuration file, of which the first is the default.
pub fn networks_view(configured: &[Network]) -> (NetworksPublisher, NetworksReader) {
    let view = NetworksView {
        loaded: false,
        default: configured.first().map(|network| network.name.clone()).unwrap_or_default(),
        by_name: configured.iter().map(|network| (network.name.clone(), Arc::new(network.clone()))).collect(),
    };
    let (sender, reader) = watch::channel(Arc::new(view));
    (Arc::new(sender), reader)
}
