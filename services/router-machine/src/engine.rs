//! What the host needs from whatever really runs containers: the `linux` engine, or the `simulated` one.
//!
//! The state machine decides; an engine does. Every call may be repeated with the same result (*ensure*), so that a host
//! that died half-way simply asks again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ipnet::IpNet;
use mkube_model::neighbours::container_exec::{ExecOrder, ExecSession};
use serde::{Deserialize, Serialize};

use crate::printing::Neighbour;

/// Stable key of a container inside an engine: the row's `.id` without the star, made a safe file name by the host.
pub type EngineKey = String;

/// What an image archive says about running it (OCI image config, the parts RouterOS honours).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// `CMD`.
    pub cmd: Vec<String>,
    /// `KEY=value` pairs.
    pub env: Vec<String>,
    /// `WORKDIR`.
    pub workdir: String,
    /// `USER`.
    pub user: String,
    /// `STOPSIGNAL`, as written.
    pub stop_signal: String,
    /// GOARCH name.
    pub architecture: String,
    /// `sha256:…` of the config.
    pub image_id: String,
    /// `repo:tag`, when the archive names one.
    pub tag: String,
    /// Bytes unpacked.
    pub size: u64,
}

/// One bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on this machine; created (as a directory) when missing.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub destination: String,
    /// Read-only.
    pub read_only: bool,
    /// No execution.
    pub no_exec: bool,
}

/// One network interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineVeth {
    /// RouterOS name; the kernel name is `mk` + hash of it, this one becomes the `ifalias`.
    pub name: String,
    /// Addresses with prefix length, container side.
    pub addresses: Vec<IpNet>,
    /// Default route.
    pub gateway: Option<IpAddr>,
    /// RouterOS name of the bridge it is a port of, if any.
    pub bridge: Option<String>,
    /// Name of the interface inside the container.
    pub inside_name: String,
}

/// Everything needed to start a process, overrides already applied by the state machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Which container.
    pub key: EngineKey,
    /// RouterOS name, for messages.
    pub name: String,
    /// Where the image was unpacked, on this machine.
    pub root_dir: PathBuf,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, `/` if nothing says otherwise.
    pub workdir: String,
    /// `uid`, `uid:gid` or a name of the image's `/etc/passwd`; empty is root.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Contents of `/etc/resolv.conf`.
    pub dns: Vec<IpAddr>,
    /// Bind mounts, in order.
    pub mounts: Vec<Bind>,
    /// Interfaces; the first carries the default route.
    pub veths: Vec<EngineVeth>,
    /// Bytes, soft.
    pub memory_high: Option<u64>,
    /// Bytes, hard.
    pub memory_max: Option<u64>,
    /// CPU indexes, empty means all.
    pub cpus: Vec<u32>,
}

/// What an engine reports by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum EngineEvent {
    /// A line of output.
    Output {
        /// Which container.
        key: EngineKey,
        /// When it was written.
        at: SystemTime,
        /// True for standard error.
        stderr: bool,
        /// Without the line end.
        line: String,
    },
    /// The main process ended.
    Exited {
        /// Which container.
        key: EngineKey,
        /// Exit code; 128 + signal when killed; 255 when nothing recorded it.
        code: i32,
        /// Ended by the kernel for lack of memory.
        out_of_memory: bool,
        /// When it ended.
        at: SystemTime,
    },
}

/// How a container was found when the host came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Its main process is alive.
    Running {
        /// Process id on this machine.
        pid: u32,
        /// When it started.
        since: SystemTime,
    },
    /// It ended while nobody looked.
    Exited {
        /// Exit code, `None` when nothing recorded it.
        code: Option<i32>,
        /// When it ended.
        at: SystemTime,
    },
    /// No process and no record of one.
    Nothing,
}

/// Figures of a running container.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Bytes.
    pub memory: u64,
    /// CPU time used since start.
    pub cpu_time: Duration,
}

/// Why an engine could not do it. The text is what RouterOS would log, as closely as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    /// The archive is not one RouterOS accepts, or is hostile.
    #[error("{0}")]
    BadArchive(String),
    /// No space left.
    #[error("no space left on disk")]
    DiskFull,
    /// The program of the image cannot be executed.
    #[error("execvp {program}: {cause}")]
    CannotExecute {
        /// First word of the command line.
        program: String,
        /// Cause in words.
        cause: String,
    },
    /// The interface is missing or cannot be set up.
    #[error("could not acquire interface: {0}")]
    Interface(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Runs containers. One instance serves one host; events go to the sender given at construction.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Unpacks `archive` into `root_dir` (which does not exist), all or nothing; cancelled by dropping the future, which
    /// leaves nothing behind. Blocking work happens on a blocking thread.
    async fn extract(&self, key: &EngineKey, archive: PathBuf, root_dir: PathBuf) -> Result<ImageConfig, EngineFault>;
    /// Starts the process; returns its pid when it is running.
    async fn start(&self, launch: &Launch) -> Result<u32, EngineFault>;
    /// Whether the main process would die of this signal for lack of a handler (PID 1 rule).
    async fn ignores_signal(&self, key: &EngineKey, signal: i32) -> bool;
    /// Sends a signal to the main process. Nothing to do when it is gone.
    async fn signal(&self, key: &EngineKey, signal: i32) -> Result<(), EngineFault>;
    /// After an exit: frees runtime state, namespace and cgroup. Root directory and kept output stay. Nothing to do when it runs
    /// again.
    async fn clean_up(&self, key: &EngineKey) -> Result<(), EngineFault>;
    /// After the row is gone: frees what `clean_up` leaves, such as kept output.
    async fn forget(&self, key: &EngineKey) -> Result<(), EngineFault>;
    /// Deletes a root directory and everything under it; slow, returns when gone.
    async fn remove_files(&self, root_dir: PathBuf) -> Result<(), EngineFault>;
    /// What became of a container while the host was away. Attaches to its output and exit when it runs.
    async fn find(&self, key: &EngineKey) -> Found;
    /// Ends and cleans whatever the engine still holds that is not in `known` (left by a host that died half-way).
    async fn sweep(&self, known: &[EngineKey]) -> Result<(), EngineFault>;
    /// Memory and CPU of a running container.
    async fn usage(&self, key: &EngineKey) -> Option<Usage>;

    /// Whether [`Engine::exec`] can be asked.
    fn runs_commands(&self) -> bool {
        false
    }
    /// Runs a command in a running container.
    async fn exec(&self, _key: &EngineKey, _order: ExecOrder) -> Result<ExecSession, EngineFault> {
        Err(EngineFault::Failed("this engine runs no commands in containers".into()))
    }

    /// Creates the bridge if missing.
    async fn ensure_bridge(&self, bridge: &str) -> Result<(), EngineFault>;
    /// Removes a bridge the engine made.
    async fn remove_bridge(&self, bridge: &str) -> Result<(), EngineFault>;
    /// Puts an address on a bridge the engine made.
    async fn ensure_address(&self, bridge: &str, address: IpNet) -> Result<(), EngineFault>;
    /// Takes an address off a bridge the engine made.
    async fn remove_address(&self, bridge: &str, address: IpNet) -> Result<(), EngineFault>;
    /// Makes a running container's interface a port of `bridge`, or of none.
    async fn attach(&self, veth: &str, bridge: Option<&str>) -> Result<(), EngineFault>;
    /// Who is heard on these bridges. An engine without a wire hears nobody.
    async fn neighbours(&self, _bridges: &[String]) -> Vec<Neighbour> {
        Vec::new()
    }
    /// Removes a veth (and so cuts a running container off).
    async fn remove_veth(&self, veth: &str) -> Result<(), EngineFault>;
}
