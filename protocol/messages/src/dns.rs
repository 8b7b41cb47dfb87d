//! What DnsActor answers and publishes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::watch;
use actix::Message;
use imbl::OrdMap;

use crate::objects::ObjectKey;
use crate::request::{Floor, Request, RequestContext};

/// Takes a pod's names out of every zone. Sent by PodActor before it stops a container, so that nobody is sent to one that is
/// about to go. They come back when the pod is seen ready again after it was not, or when nobody asked again for a minute: then
/// the container was not stopped after all. Answered when the names are gone from every server that can be reached. Safe to
/// repeat; a name server that is away is no reason to wait: the names are taken out when it is back.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), NamesFault>")]
pub struct WithdrawNames {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// The pod.
    pub pod: ObjectKey,
    /// Its uid: another pod of the name keeps its own.
    pub uid: String,
}

impl Request for WithdrawNames {
    type Reply = ();
    type Fault = NamesFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// Why names could not be taken out now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesFault {
    /// The store was not read yet.
    #[error("names are not known yet: {0}")]
    NotReady(String),
}

/// What DnsActor publishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamesView {
    /// False until objects and networks were read.
    pub loaded: bool,
    /// By name, such as `gt.lo`, without a final dot.
    pub zones: OrdMap<String, Arc<ZoneSight>>,
}

/// A zone, what is to be in it and what is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ZoneSight {
    /// The network whose name server has it.
    pub network: String,
    /// REST address of that server; empty: none is managed.
    pub endpoint: String,
    /// Address of that server.
    pub server: Option<IpAddr>,
    /// The server belongs to somebody else.
    pub external: bool,
    /// The zone it was made inside of, or empty.
    pub parent: String,
    /// The namespace it is the zone of, if it is that of one.
    pub namespace: Option<String>,
    /// Id at the server, as far as known.
    pub id: Option<String>,
    /// Why what is wanted could not be compared with what is there, or made so; none when all is as wanted.
    pub fault: Option<String>,
    /// What was wanted was compared with what is there at least once since the server was last away.
    pub compared: bool,
    /// Wanted and found, by name inside the zone (`@` for the zone itself) and type; foreign records are not among them.
    pub records: OrdMap<(String, RecordType), RecordSight>,
    /// Records of others in the zone.
    pub foreign: usize,
    /// Names of ours with the same data more than once.
    pub duplicates: BTreeSet<String>,
}

/// Types mkube writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Name of an address.
    Ptr,
}

impl RecordType {
    /// As in zone files.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Ptr => "PTR",
        }
    }
}

/// One set of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSight {
    /// Data that is to be there.
    pub wanted: BTreeSet<String>,
    /// Data that is there: ours, and what somebody else put there that is wanted.
    pub found: BTreeSet<String>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a name is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Nobody wants it any more.
    #[default]
    Leftover,
    /// Pods that are ready.
    Pods(BTreeSet<ObjectKey>),
    /// A Service.
    Service(ObjectKey),
    /// A static record of the network.
    Static,
    /// A machine with a reserved address.
    Reservation,
    /// `rose1` and `dns` of the network.
    Infra,
    /// The name of an address.
    Reverse,
}

/// Reads what DnsActor publishes.
pub type NamesReader = watch::Receiver<Arc<NamesView>>;

/// The writing end; kept outside the actor so that readers survive its restarts.
pub type NamesPublisher = Arc<watch::Sender<Arc<NamesView>>>;

/// A connected pair, with nothing known.
pub fn names_view() -> (NamesPublisher, NamesReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
