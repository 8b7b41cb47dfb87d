//! What ConsistencyActor answers, and the report it publishes.

use std::sync::Arc;

use crate::watch;
use actix::Message;
use jiff::Timestamp;

use crate::objects::ObjectKey;
use crate::request::{Floor, Request, RequestContext};

/// Which part of the report a check stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named by what is compared")]
pub enum Section {
    Containers,
    Dns,
    Manifest,
    Ipam,
    Network,
    Deployments,
    Mounts,
    Envs,
    Images,
    Volumes,
    Owners,
}

impl Section {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 11] = [
        Self::Containers,
        Self::Dns,
        Self::Manifest,
        Self::Ipam,
        Self::Network,
        Self::Deployments,
        Self::Mounts,
        Self::Envs,
        Self::Images,
        Self::Volumes,
        Self::Owners,
    ];

    /// As the report spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::Dns => "dns",
            Self::Manifest => "manifest",
            Self::Ipam => "ipam",
            Self::Network => "network",
            Self::Deployments => "deployments",
            Self::Mounts => "mounts",
            Self::Envs => "envs",
            Self::Images => "images",
            Self::Volumes => "volumes",
            Self::Owners => "owners",
        }
    }

    /// Whether it is there without checks too, as it always was.
    pub fn is_always_there(self) -> bool {
        matches!(self, Self::Containers | Self::Dns | Self::Manifest | Self::Ipam)
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckStatus {
    /// What is wanted is there.
    Pass,
    /// Worth a look, or on its way.
    Warn,
    /// What is wanted is not there.
    Fail,
}

impl CheckStatus {
    /// As the report spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is the matter.
    Info,
    /// Nobody is hurt yet.
    Warning,
    /// Something that is wanted does not work.
    Error,
    /// More than one is hurt, such as by an address given twice.
    Critical,
}

impl Severity {
    /// As the report spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// One comparison of what is wanted with what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Such as `container/nats/nats`.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// For people.
    pub message: String,
    /// More of it; may be empty.
    pub details: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether mkube mends it: a pod's actor what belongs to its pod, a repair what nobody owns.
    pub repairable: bool,
    /// Since when it ends like this, as far as this process knows.
    pub since: Timestamp,
    /// The object it is about, where the name does not say.
    pub object: Option<ObjectKey>,
}

/// What a repair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RepairAction {
    /// Stops and removes a container.
    RemoveContainer,
    /// Removes an interface and its bridge port, or a port whose interface is gone.
    RemoveInterface,
    /// Gives an address back.
    ReleaseAddress,
    /// Empties a mount list.
    RemoveMounts,
    /// Empties an environment list.
    RemoveEnvs,
    /// Deletes a pod whose Deployment is gone.
    DeletePod,
}

impl RepairAction {
    /// As the report spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RemoveContainer => "remove-container",
            Self::RemoveInterface => "remove-interface",
            Self::ReleaseAddress => "release-address",
            Self::RemoveMounts => "remove-mounts",
            Self::RemoveEnvs => "remove-envs",
            Self::DeletePod => "delete-pod",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairOutcome {
    /// It is done.
    Done,
    /// It is to be done, now or when `why` says.
    Planned,
    /// It is not done, and `why` says why not.
    Refused,
}

impl RepairOutcome {
    /// As the report spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Planned => "planned",
            Self::Refused => "refused",
        }
    }
}

/// One action of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionReport {
    /// Name of the check that found it.
    pub check: String,
    /// What is done.
    pub action: RepairAction,
    /// To what: the name of a row, or the key of a pod.
    pub object: String,
    /// What became of it.
    pub outcome: RepairOutcome,
    /// Why it waits or is not done; empty when it is done.
    pub why: String,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyReport {
    /// When it was made.
    pub timestamp: Timestamp,
    /// In the order of sections, then of names.
    pub checks: Vec<(Section, Check)>,
    /// What a repair would do, or why it does not.
    pub planned: Vec<ActionReport>,
    /// Whether removals are made without being asked for.
    pub automatic: bool,
    /// Why nothing is removed at all, if so.
    pub stopped: Option<String>,
}

impl ConsistencyReport {
    /// Checks that ended so.
    pub fn count(&self, status: CheckStatus) -> usize {
        self.checks.iter().filter(|(_, check)| check.status == status).count()
    }
}

/// Reads the last report; none before store and device were read.
pub type ConsistencyReader = watch::Receiver<Option<Arc<ConsistencyReport>>>;

/// The writing end; kept outside the actor so that readers survive its restarts.
pub type ConsistencyPublisher = Arc<watch::Sender<Option<Arc<ConsistencyReport>>>>;

/// A connected pair, with no report.
pub fn consistency_view() -> (ConsistencyPublisher, ConsistencyReader) {
    let (sender, reader) = watch::channel(None);
    (Arc::new(sender), reader)
}

/// Look anew, and take away what nobody owns. Sent by HttpEdge. Safe to repeat: what is gone is not removed again. One at a
/// time; what does not fit into the request's time is answered as planned.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Repaired, RepairFault>")]
pub struct RepairNow {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Say what would be done, change nothing.
    pub dry_run: bool,
}

impl Request for RepairNow {
    type Reply = Repaired;
    type Fault = RepairFault;
    const FLOOR: Floor = Floor::Decider;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Interfaces whose address was given back.
    pub released: Vec<String>,
    /// Everything that was done, or is to be done, or was refused.
    pub actions: Vec<ActionReport>,
}

/// Why nothing is repaired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairFault {
    /// Nothing is concluded before everything was read.
    #[error("the store or the device was not read yet")]
    NotYet,
    /// Never two at once.
    #[error("a repair is going on already")]
    UnderWay,
}
