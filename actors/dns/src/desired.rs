//! What is to be in every zone: the words for it. `frame` says what networks and namespaces give, `pieces` what a pod adds, and
//! `wishes` keeps all of it together while they change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use imbl::{OrdMap, OrdSet};
use mkube_messages::dns::{Purpose, RecordType};
use mkube_messages::objects::ObjectKey;

/// Name inside a zone and type: what the answers to one question are.
pub type SetKey = (String, RecordType);

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSet {
    /// Seconds.
    pub ttl: u32,
    /// Data, as it compares.
    pub data: BTreeSet<String>,
    /// What it is for, the weightiest.
    pub purpose: Purpose,
}

/// A zone at a server. A copy shares what it holds, and what changed between two copies is found without looking at the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneWish {
    /// The network it belongs to, the first by name.
    pub network: String,
    /// Address of the server.
    pub server: Option<IpAddr>,
    /// The server belongs to somebody else.
    pub external: bool,
    /// The zone it lies in, for those of namespaces.
    pub parent: String,
    /// The namespace it is the zone of.
    pub namespace: Option<String>,
    /// Names of addresses: only kept where the server does not do so itself.
    pub reverse: bool,
    /// Names pods are called by. Servers that keep names of addresses by themselves take the one written last: these are.
    pub callings: OrdSet<String>,
    /// What is to be there.
    pub sets: OrdMap<SetKey, WantedSet>,
    /// Names that some object there is has a right to, whether or not it has an address for them now.
    pub claimed: OrdSet<String>,
    /// Data and names that will be wanted when somebody is ready.
    pub awaited: OrdSet<(String, String)>,
}

/// Endpoint and zone. An empty endpoint: nobody's server is spoken to.
pub type ZoneKey = (String, String);

/// Something a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// `Pod`, `Namespace`.
    pub kind: &'static str,
    /// Of what.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Everything that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Zones.
    pub zones: BTreeMap<ZoneKey, ZoneWish>,
    /// By endpoint: zone and whom to ask.
    pub forwarders: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// What cannot be done as it is written.
    pub remarks: BTreeSet<Remark>,
}
