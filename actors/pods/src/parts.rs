//! What pod actors need from outside, and what they are told.

use std::sync::Arc;

use mkube_messages::dns::WithdrawNames;
use mkube_messages::door::Door;
use mkube_messages::gates::GatesReader;
use mkube_messages::health::HealthReader;
use mkube_messages::images::EnsureTarball;
use mkube_messages::ipam::{LeaseAddress, LeasesReader, NetworksReader, ReleaseAddress};
use mkube_messages::objects::{FinishDeletion, ObjectsReader, RecordEvent, ReportStatus, StoredObject, WriteObject};
use mkube_messages::router::{
    DescribeContainerLog, DeviceReader, EnsureContainer, EnsureEnvs, EnsureMounts, EnsureVeth, MarkContainer,
    RemoveContainer, RemoveVeth, SetStartOnBoot, StartContainer, StopContainer,
};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::wall_clock::WallClock;
use tokio::sync::Semaphore;

use crate::ladder::RestartRules;
use crate::plan::{ContainerNames, PlanSettings};

/// Pods that work on the device at the same time: enough to keep its few connections busy.
const PODS_AT_WORK: usize = 16;

/// The doors a pod knocks at.
#[derive(Clone)]
#[allow(missing_docs, reason = "each door is named by its message")]
pub struct PodDoors {
    pub lease: Door<LeaseAddress>,
    pub release: Door<ReleaseAddress>,
    pub withdraw: Door<WithdrawNames>,
    pub tarball: Door<EnsureTarball>,
    pub ensure_veth: Door<EnsureVeth>,
    pub remove_veth: Door<RemoveVeth>,
    pub mounts: Door<EnsureMounts>,
    pub envs: Door<EnsureEnvs>,
    pub container: Door<EnsureContainer>,
    pub start: Door<StartContainer>,
    pub stop: Door<StopContainer>,
    pub remove: Door<RemoveContainer>,
    pub mark: Door<MarkContainer>,
    pub on_boot: Door<SetStartOnBoot>,
    pub log: Door<DescribeContainerLog>,
    pub report: Door<ReportStatus>,
    pub finish: Door<FinishDeletion>,
    pub write: Door<WriteObject>,
    pub event: Door<RecordEvent>,
}

/// How many pods may work on the device at the same time. The others wait in line, instead of asking again and again: after
/// a restart a thousand pods have something to do at once.
#[derive(Clone)]
pub struct Turns(pub(crate) Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PODS_AT_WORK)))
    }
}

/// What all pod actors need from outside.
#[derive(Clone)]
pub struct PodParts {
    /// Neighbouring actors.
    pub doors: PodDoors,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Which addresses are given out.
    pub leases: LeasesReader,
    /// Which networks there are.
    pub networks: NetworksReader,
    /// Whether pods may start.
    pub gates: GatesReader,
    /// Files for volumes.
    pub disk: Arc<dyn SharedDisk>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Whose turn it is.
    pub turns: Turns,
    /// What their probes say.
    pub health: HealthReader,
    /// How restarts are paced and bounded.
    pub restarts: RestartRules,
    /// Settings that shape every pod.
    pub settings: Arc<PlanSettings>,
    /// The kind of pods.
    pub kind: KindId,
    /// The kind of nodes.
    pub nodes: KindId,
    /// The kind of ConfigMaps.
    pub config_maps: KindId,
    /// The kind of Secrets.
    pub secrets: KindId,
}

/// What a pod should be: published by PodsActor, read by its pod actor at every look.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The pod as stored.
    pub pod: Arc<StoredObject>,
    /// Device names, one for each container.
    pub names: Vec<ContainerNames>,
    /// The names were compared with the device; before that nothing is done to it under them.
    pub settled: bool,
}
