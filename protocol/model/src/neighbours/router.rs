//! The device: a RouterOS router, or anything that answers like one.
//!
//! Rows are what the device reports, normalised: paths have a leading slash, lists are split, absent flags are false,
//! both state encodings (status text up to 7.19, booleans from 7.20) become one [`ContainerState`].

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// A RouterOS `.id` such as `*1A`. Valid for the life of the row only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowId(pub String);

impl std::fmt::Display for RowId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// The image is being fetched or unpacked.
    Extracting,
    /// Fetching or unpacking failed; the row cannot start.
    Failed,
    /// Ready to start, or ended.
    Stopped,
    /// Start was accepted, the process is not there yet.
    Starting,
    /// The main process is there (healthy, unhealthy and health-starting included).
    Running,
    /// Stop was accepted, the process is still there.
    Stopping,
    /// Remove was accepted, the row is still there.
    Deleting,
    /// The device said nothing we know. Never to be read as stopped.
    #[default]
    Unknown,
}

/// One row of `/container`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerRow {
    /// Handle for start, stop and remove.
    pub id: RowId,
    /// Unique name.
    pub name: String,
    /// What it is doing.
    pub state: ContainerState,
    /// The archive it was made from, when the device tells.
    pub file: String,
    /// Interfaces (veth names), usually one.
    pub interfaces: Vec<String>,
    /// Root directory, with a leading slash.
    pub root_dir: String,
    /// Mount lists referred to.
    pub mount_lists: Vec<String>,
    /// Environment lists referred to.
    pub env_lists: Vec<String>,
    /// Command override, as one RouterOS command line; empty when the image's applies.
    pub cmd: String,
    /// Entrypoint override, as one RouterOS command line; empty when the image's applies.
    pub entrypoint: String,
    /// Working directory override.
    pub workdir: String,
    /// User override.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Whether output goes to `/log`.
    pub logging: bool,
    /// Whether the device starts it at boot.
    pub start_on_boot: bool,
    /// Free text of the owner.
    pub comment: String,
    /// The device's own warning about the row (`.about`), empty when there is none.
    pub about: String,
    /// Memory in use, bytes, when reported.
    pub memory_current: Option<u64>,
    /// CPU use in percent of one core, when reported.
    pub cpu_percent: Option<f64>,
}

/// What to write for a new `/container` row. Empty or `None` means the property is not sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewContainer {
    /// Unique name.
    pub name: String,
    /// Archive path as the device spells it.
    pub file: String,
    /// veth name.
    pub interface: String,
    /// Root directory; must not exist yet.
    pub root_dir: String,
    /// Mount list, when there are mounts.
    pub mount_list: Option<String>,
    /// Environment list, when there are rows.
    pub env_list: Option<String>,
    /// Command override as one RouterOS command line.
    pub cmd: String,
    /// Entrypoint override as one RouterOS command line.
    pub entrypoint: String,
    /// Working directory.
    pub workdir: String,
    /// `uid` or `uid:gid`.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Send output to `/log`.
    pub logging: bool,
    /// Start at device boot.
    pub start_on_boot: bool,
    /// Memory limit in bytes: `memory-max` where the release has it, else `memory-high`.
    pub memory_limit: Option<u64>,
    /// How long a stop may take before the process is killed; sent where the release has `stop-time`.
    pub stop_time: Option<Duration>,
    /// Free text.
    pub comment: String,
}

/// One row of `/interface/veth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethRow {
    /// Handle.
    pub id: RowId,
    /// Name, unique over all interfaces.
    pub name: String,
    /// Addresses with prefix length; unparsable ones are left out.
    pub addresses: Vec<IpNet>,
    /// IPv4 gateway.
    pub gateway: Option<IpAddr>,
    /// Free text.
    pub comment: String,
    /// Whether a container uses it now.
    pub running: bool,
}

/// What to write for a new veth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVeth {
    /// Name.
    pub name: String,
    /// Address with prefix length.
    pub address: IpNet,
    /// Gateway.
    pub gateway: Option<IpAddr>,
    /// Free text.
    pub comment: String,
}

/// One row of `/interface/bridge/port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePortRow {
    /// Handle.
    pub id: RowId,
    /// Bridge name.
    pub bridge: String,
    /// Interface name; `*XX` when the interface is gone.
    pub interface: String,
    /// Added by the device itself; cannot be removed.
    pub dynamic: bool,
    /// Free text.
    pub comment: String,
}

/// One row of `/ip/address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRow {
    /// Handle.
    pub id: RowId,
    /// Address with prefix length.
    pub address: IpNet,
    /// Interface it is on.
    pub interface: String,
    /// Free text.
    pub comment: String,
}

/// One row of `/interface/bridge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeRow {
    /// Handle.
    pub id: RowId,
    /// Name, unique over all interfaces.
    pub name: String,
    /// Free text.
    pub comment: String,
}

/// One row of `/ip/arp`: somebody who was heard, or is said to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourRow {
    /// Address.
    pub address: IpAddr,
    /// Interface it is behind.
    pub interface: String,
}

/// One row of `/container/mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRow {
    /// Handle.
    pub id: RowId,
    /// List it belongs to.
    pub list: String,
    /// Directory or file on the device, with a leading slash.
    pub src: String,
    /// Path inside the container.
    pub dst: String,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// What to write for a new mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NewMount {
    /// List it joins.
    pub list: String,
    /// Directory or file on the device.
    pub src: String,
    /// Path inside the container.
    pub dst: String,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// One row of `/container/envs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvRow {
    /// Handle.
    pub id: RowId,
    /// List it belongs to.
    pub list: String,
    /// Variable name.
    pub key: String,
    /// Value.
    pub value: String,
}

/// One row of `/log` or `/container/log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Handle; grows with time.
    pub id: RowId,
    /// As the device printed it.
    pub time: String,
    /// Topics, split.
    pub topics: Vec<String>,
    /// The text.
    pub message: String,
}

/// `/system/resource`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemResource {
    /// Such as `7.23.2 (stable)`.
    pub version: String,
    /// Such as `arm64`.
    pub architecture: String,
    /// Such as `RDS2216`.
    pub board: String,
    /// Time since the device started.
    pub uptime: Duration,
    /// Number of CPUs.
    pub cpu_count: u32,
    /// Load of all CPUs, percent.
    pub cpu_load: u32,
    /// Bytes.
    pub memory_free: u64,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes.
    pub disk_free: u64,
    /// Bytes.
    pub disk_total: u64,
}

/// Bytes of text that fit into a file over REST, in every release.
pub const SMALL_FILE: usize = 61_440;

/// What a device fault means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The device did nothing. Repeating the same request cannot help before something else changes.
    Refused,
    /// The device did nothing (could not be reached, too many sessions). Repeating later can help.
    NotDone,
    /// The reply was lost: the device may or may not have done it. Look before repeating.
    Unknown,
}

/// Why the device did not answer as hoped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterFault {
    /// Could not be reached: refused, unresolved, TLS mismatch.
    #[error("{operation}: the device cannot be reached: {cause}")]
    Unreachable {
        /// Verb and path.
        operation: String,
        /// Cause in words.
        cause: String,
    },
    /// The reply was lost (timeout, connection cut, `Session closed`, 5xx after the request was sent).
    #[error("{operation}: the reply was lost: {cause}")]
    ReplyLost {
        /// Verb and path.
        operation: String,
        /// Cause in words.
        cause: String,
    },
    /// User or password is wrong, or the user lacks a policy.
    #[error("{operation}: the device refuses the user or password")]
    Unauthorized {
        /// Verb and path.
        operation: String,
    },
    /// The row does not exist.
    #[error("{operation}: no such item")]
    NotFound {
        /// Verb and path.
        operation: String,
    },
    /// Something of that name, address or destination exists.
    #[error("{operation}: exists already: {detail}")]
    AlreadyExists {
        /// Verb and path.
        operation: String,
        /// The device's words.
        detail: String,
    },
    /// Refused because of the row's present state (running, stopping, held by another row); passes with time.
    #[error("{operation}: not now: {detail}")]
    WrongState {
        /// Verb and path.
        operation: String,
        /// The device's words.
        detail: String,
    },
    /// Refused for good: bad value, missing package, device-mode.
    #[error("{operation}: refused: {detail}")]
    Refused {
        /// Verb and path.
        operation: String,
        /// The device's words.
        detail: String,
    },
    /// Too many sessions or requests.
    #[error("{operation}: the device is overloaded: {detail}")]
    Overloaded {
        /// Verb and path.
        operation: String,
        /// The device's words.
        detail: String,
    },
    /// Another controller may be driving the device; nothing was sent.
    #[error("{operation}: not sent: {why}")]
    NotDriving {
        /// Verb and path.
        operation: String,
        /// Who drives, in words.
        why: String,
    },
    /// The answer is not what RouterOS sends.
    #[error("{operation}: the answer is not understood: {detail}")]
    Gibberish {
        /// Verb and path.
        operation: String,
        /// What was wrong with it.
        detail: String,
    },
}

impl RouterFault {
    /// Whether the device did the work, as far as one can tell.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::ReplyLost { .. } | Self::Gibberish { .. } => Outcome::Unknown,
            Self::Unreachable { .. } | Self::Overloaded { .. } | Self::WrongState { .. } | Self::NotDriving { .. } => {
                Outcome::NotDone
            }
            Self::Unauthorized { .. } | Self::NotFound { .. } | Self::AlreadyExists { .. } | Self::Refused { .. } => {
                Outcome::Refused
            }
        }
    }
}

/// The device's REST surface, as far as mkube uses it. One call is one request, unless said otherwise.
#[async_trait]
pub trait Router: Send + Sync {
    /// `GET /system/resource`; also learns the release, which decides the shape of later requests.
    async fn resource(&self) -> Result<SystemResource, RouterFault>;
    /// All containers.
    async fn containers(&self) -> Result<Vec<ContainerRow>, RouterFault>;
    /// One container; none: the device has no row of that id.
    async fn container(&self, id: &RowId) -> Result<Option<ContainerRow>, RouterFault>;
    /// All veths.
    async fn veths(&self) -> Result<Vec<VethRow>, RouterFault>;
    /// All bridge ports whose interface is not a hardware port we never touch (server-side filter where possible).
    async fn bridge_ports(&self) -> Result<Vec<BridgePortRow>, RouterFault>;
    /// All bridges.
    async fn bridges(&self) -> Result<Vec<BridgeRow>, RouterFault>;
    /// Who is heard on the device's networks; rows without a hardware address are left out: nobody answered there.
    async fn neighbours(&self) -> Result<Vec<NeighbourRow>, RouterFault>;
    /// All IP addresses of the device itself.
    async fn addresses(&self) -> Result<Vec<AddressRow>, RouterFault>;
    /// Mounts of one list.
    async fn mounts(&self, list: &str) -> Result<Vec<MountRow>, RouterFault>;
    /// Variables of one list.
    async fn envs(&self, list: &str) -> Result<Vec<EnvRow>, RouterFault>;
    /// Mounts of all lists.
    async fn all_mounts(&self) -> Result<Vec<MountRow>, RouterFault>;
    /// Variables of all lists.
    async fn all_envs(&self) -> Result<Vec<EnvRow>, RouterFault>;
    /// The device log, oldest first.
    async fn log(&self) -> Result<Vec<LogRow>, RouterFault>;
    /// The last messages of one container (7.20 and later; empty before).
    async fn container_log(&self, container: &str) -> Result<Vec<LogRow>, RouterFault>;

    /// `POST /container/add`.
    async fn add_container(&self, new: &NewContainer) -> Result<RowId, RouterFault>;
    /// `POST /container/start`; returns when accepted, not when running.
    async fn start_container(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /container/stop`; returns when accepted, not when stopped.
    async fn stop_container(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /container/remove`; returns before files are gone.
    async fn remove_container(&self, id: &RowId) -> Result<(), RouterFault>;
    /// Sets `start-on-boot` of an existing row.
    async fn set_start_on_boot(&self, id: &RowId, on: bool) -> Result<(), RouterFault>;
    /// Sets the owner's mark on an existing container.
    async fn set_container_comment(&self, id: &RowId, comment: &str) -> Result<(), RouterFault> {
        let _ = comment;
        Err(RouterFault::Refused { operation: format!("comment {id}"), detail: "not supported".into() })
    }
    /// Binds an existing container to a (re-created) veth.
    async fn set_container_interface(&self, id: &RowId, interface: &str) -> Result<(), RouterFault>;

    /// `POST /interface/veth/add`.
    async fn add_veth(&self, new: &NewVeth) -> Result<RowId, RouterFault>;
    /// Changes address and gateway of an existing veth.
    async fn set_veth(&self, id: &RowId, new: &NewVeth) -> Result<(), RouterFault>;
    /// `POST /interface/veth/remove`.
    async fn remove_veth(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /interface/bridge/add`.
    async fn add_bridge(&self, name: &str, comment: &str) -> Result<RowId, RouterFault>;
    /// `POST /interface/bridge/remove`.
    async fn remove_bridge(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /ip/address/remove`.
    async fn remove_address(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /ip/address/add`.
    async fn add_address(&self, address: IpNet, interface: &str, comment: &str) -> Result<RowId, RouterFault>;
    /// `POST /interface/bridge/port/add`.
    async fn add_bridge_port(&self, bridge: &str, interface: &str, comment: &str) -> Result<RowId, RouterFault>;
    /// `POST /interface/bridge/port/remove`.
    async fn remove_bridge_port(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /container/mounts/add`.
    async fn add_mount(&self, new: &NewMount) -> Result<RowId, RouterFault>;
    /// `POST /container/mounts/remove`.
    async fn remove_mount(&self, id: &RowId) -> Result<(), RouterFault>;
    /// `POST /container/envs/add`.
    async fn add_env(&self, list: &str, key: &str, value: &str) -> Result<RowId, RouterFault>;
    /// `POST /container/envs/remove`.
    async fn remove_env(&self, id: &RowId) -> Result<(), RouterFault>;

    /// Bytes of a file of the device; `None` when there is no such file, or it has no size.
    async fn file_size(&self, path: &str) -> Result<Option<u64>, RouterFault>;
    /// Bytes free where a path lies, if the device says so of that disk.
    async fn disk_free(&self, path: &str) -> Result<Option<u64>, RouterFault>;
    /// `POST /tool/fetch`; returns when the file is there, or after about 60 s with `ReplyLost`, and then the device may go on.
    async fn fetch_file(&self, url: &Secret, path: &str) -> Result<(), RouterFault>;
    /// The same as a job of the device, which no session ends; returns when it was begun, and says nothing of how it went.
    async fn fetch_file_as_job(&self, url: &Secret, path: &str) -> Result<(), RouterFault>;
    /// `POST /file/set` of the name. Something of the new name is not replaced.
    async fn rename_file(&self, from: &str, to: &str) -> Result<(), RouterFault>;
    /// `POST /file/remove`.
    async fn remove_file(&self, path: &str) -> Result<(), RouterFault>;
    /// `POST /file/add`: a small text file and its directories.
    async fn add_file(&self, path: &str, contents: &str) -> Result<(), RouterFault>;
    /// `POST /file/set` of the contents of one that is there.
    async fn set_file(&self, path: &str, contents: &str) -> Result<(), RouterFault>;
}
