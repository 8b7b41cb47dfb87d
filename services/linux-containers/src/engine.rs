//! The engine: one directory of state, one runtime, one network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ipnet::IpNet;
use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, EngineKey, Found, ImageConfig, Launch, Usage};
use tokio::sync::{Semaphore, mpsc};

use crate::archive::io_fault;
use crate::network::{self, Names};
use crate::runtime::{Places, Runtime};
use crate::unpack::{self, Busy, Limits};
use crate::{bundle, watch};

/// Archives unpacked at the same time.
const UNPACKING: usize = 2;

/// How to make an engine.
#[derive(Debug, Clone)]
pub struct LinuxOptions {
    /// Directory of the engine's state.
    pub state_dir: PathBuf,
    /// What an image may be at most.
    pub limits: Limits,
}

impl LinuxOptions {
    /// With the usual limits.
    pub fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, limits: Limits::default() }
    }
}

/// Runs containers on this machine.
pub struct LinuxEngine {
    state_dir: PathBuf,
    limits: Limits,
    runtime: Runtime,
    names: Names,
    events: mpsc::Sender<EngineEvent>,
    unpacking: Arc<Semaphore>,
    busy: Arc<Busy>,
}

impl LinuxEngine {
    /// An engine on `options.state_dir`; needs root, an OCI runtime, conmon and ip.
    pub fn new(options: LinuxOptions, events: mpsc::Sender<EngineEvent>) -> Result<Self, EngineFault> {
        if !rustix::process::geteuid().is_root() {
            return Err(EngineFault::Failed("the linux engine needs root (or use the simulated one)".into()));
        }
        let state_dir = options.state_dir;
        for directory in ["bundles", "exits", "persist", "logs", "runtime"] {
            std::fs::create_dir_all(state_dir.join(directory)).map_err(io_fault)?;
        }
        let state_dir = state_dir.canonicalize().map_err(io_fault)?;
        let runtime = Runtime::choose(&state_dir, state_dir.join("runtime"))?;
        let names = Names::new(&state_dir.display().to_string());
        let unpacking = Arc::new(Semaphore::new(UNPACKING));
        Ok(Self { state_dir, limits: options.limits, runtime, names, events, unpacking, busy: Arc::default() })
    }

    /// Id of a container in the runtime and in cgroups: unique on this machine.
    fn id(&self, key: &str) -> String {
        self.names.namespace(key)
    }

    fn places(&self, key: &str) -> Places {
        let id = self.id(key);
        let exits = self.state_dir.join("exits");
        Places {
            bundle: self.state_dir.join("bundles").join(key),
            log: self.state_dir.join("logs").join(format!("{key}.log")),
            exit: exits.join(&id),
            exits,
            persist: self.state_dir.join("persist").join(key),
            pid: self.state_dir.join("persist").join(key).join("pid"),
        }
    }

    fn follow(&self, key: &str) {
        let task = watch::follow(key.to_owned(), self.places(key), self.events.clone());
        tokio::spawn(task);
    }

    /// The main process, if it is alive: not a zombie, and the one that was started.
    fn process(&self, key: &str) -> Option<(u32, SystemTime)> {
        let places = self.places(key);
        let pid: u32 = std::fs::read_to_string(&places.pid).ok()?.trim().parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let after = stat.rsplit_once(')')?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        // Another process may have the number by now.
        if !cgroup.contains(&self.id(key)) {
            return None;
        }
        let since = std::fs::metadata(&places.pid).and_then(|meta| meta.modified()).ok()?;
        Some((pid, since))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineFault> + Send + 'static,
) -> Result<T, EngineFault> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(EngineFault::Failed(error.to_string())))
}

fn remove_file(path: &Path) -> Result<(), EngineFault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_fault(error)),
        _ => Ok(()),
    }
}

/// Tells the unpacking thread to stop when its caller has left.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Engine for LinuxEngine {
    async fn extract(&self, _key: &EngineKey, archive: PathBuf, root_dir: PathBuf) -> Result<ImageConfig, EngineFault> {
        let place =
            self.unpacking.clone().acquire_owned().await.map_err(|error| EngineFault::Failed(error.to_string()))?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = Cancel(cancelled.clone());
        let (limits, busy) = (self.limits, self.busy.clone());
        blocking(move || {
            // The thread may outlive its caller; its place is free when it has ended.
            let _place = place;
            busy.alone(&root_dir, || unpack::unpack(&archive, &root_dir, limits, &cancelled))
        })
        .await
    }

    async fn start(&self, launch: &Launch) -> Result<u32, EngineFault> {
        let key = &launch.key;
        let places = self.places(key);
        // What an earlier run left is in the way of this one.
        self.clean_up(key).await?;
        std::fs::create_dir_all(&places.persist).map_err(io_fault)?;
        // The output of the run before stays readable beside that of this one.
        if places.log.exists() {
            std::fs::rename(&places.log, places.log.with_extension("previous.log")).map_err(io_fault)?;
        }
        remove_file(&places.log.with_extension("read"))?;
        network::set_up(&self.names, key, &launch.veths).await?;
        let namespace = Path::new("/run/netns").join(self.names.namespace(key));
        let cgroup = format!("/mkube/{}", self.id(key));
        bundle::write(launch, &places.bundle, &namespace, &cgroup)?;
        let started = self.runtime.run(&self.id(key), &places).await;
        match started {
            Ok(pid) => {
                self.follow(key);
                Ok(pid)
            }
            Err(fault) => {
                if let Err(left) = self.clean_up(key).await {
                    tracing::warn!(%left, "a failed start left something behind");
                }
                Err(fault)
            }
        }
    }

    async fn ignores_signal(&self, key: &EngineKey, signal: i32) -> bool {
        let Some((pid, _)) = self.process(key) else { return false };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
        let caught = caught.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
        // The first process of a namespace is not killed by a signal it has no handler for.
        (1..=64).contains(&signal) && caught & (1 << (signal - 1)) == 0
    }

    async fn signal(&self, key: &EngineKey, signal: i32) -> Result<(), EngineFault> {
        self.runtime.kill(&self.id(key), signal).await
    }

    async fn clean_up(&self, key: &EngineKey) -> Result<(), EngineFault> {
        let places = self.places(key);
        if places.bundle.exists() {
            self.runtime.delete(&self.id(key)).await?;
        }
        network::tear_down(&self.names, key).await?;
        remove_file(&places.exit)?;
        let (bundle, persist) = (places.bundle, places.persist);
        blocking(move || {
            unpack::remove(&bundle)?;
            unpack::remove(&persist)
        })
        .await
    }

    async fn forget(&self, key: &EngineKey) -> Result<(), EngineFault> {
        self.clean_up(key).await?;
        let log = self.places(key).log;
        for extension in ["log", "previous.log", "read"] {
            remove_file(&log.with_extension(extension))?;
        }
        Ok(())
    }

    async fn remove_files(&self, root_dir: PathBuf) -> Result<(), EngineFault> {
        let busy = self.busy.clone();
        // Unpacking that was given up has left when this begins: nothing appears after the removal.
        blocking(move || busy.alone(&root_dir, || unpack::remove_root(&root_dir))).await
    }

    async fn find(&self, key: &EngineKey) -> Found {
        let places = self.places(key);
        if let Some((pid, since)) = self.process(key) {
            self.follow(key);
            return Found::Running { pid, since };
        }
        if let Some((code, at)) = watch::exit_of(&places) {
            return Found::Exited { code: Some(code), at };
        }
        if places.pid.exists() {
            // It was there, it is gone, and whoever should have noted the exit is gone too.
            let at = std::fs::metadata(&places.pid).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            return Found::Exited { code: None, at };
        }
        Found::Nothing
    }

    async fn sweep(&self, known: &[EngineKey]) -> Result<(), EngineFault> {
        let mut left: Vec<String> = network::namespaces(&self.names).await?;
        let prefix = self.names.namespace_prefix();
        let ids = self.runtime.list().await?;
        left.extend(ids.iter().filter_map(|id| id.strip_prefix(&prefix)).map(str::to_owned));
        for entry in std::fs::read_dir(self.state_dir.join("bundles")).map_err(io_fault)?.flatten() {
            left.push(entry.file_name().to_string_lossy().into_owned());
        }
        left.sort();
        left.dedup();
        for key in left.into_iter().filter(|key| !known.contains(key)) {
            tracing::info!(%key, "a container nobody knows is swept");
            self.runtime.delete(&self.id(&key)).await?;
            self.forget(&key).await?;
        }
        Ok(())
    }

    async fn usage(&self, key: &EngineKey) -> Option<Usage> {
        let id = self.id(key);
        let read = |path: String| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let memory = read(format!("/sys/fs/cgroup/memory/mkube/{id}/memory.usage_in_bytes"))
            .or_else(|| read(format!("/sys/fs/cgroup/mkube/{id}/memory.current")))?;
        let nanos = read(format!("/sys/fs/cgroup/cpuacct/mkube/{id}/cpuacct.usage")).or_else(|| {
            let stat = std::fs::read_to_string(format!("/sys/fs/cgroup/mkube/{id}/cpu.stat")).ok()?;
            let line = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            Some(line.trim().parse::<u64>().ok()? * 1000)
        });
        Some(Usage { memory, cpu_time: Duration::from_nanos(nanos.unwrap_or(0)) })
    }

    async fn ensure_bridge(&self, bridge: &str) -> Result<(), EngineFault> {
        network::ensure_bridge(&self.names, bridge).await
    }

    async fn remove_bridge(&self, bridge: &str) -> Result<(), EngineFault> {
        network::remove_bridge(&self.names, bridge).await
    }

    async fn ensure_address(&self, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
        network::ensure_address(&self.names, bridge, address).await
    }

    async fn remove_address(&self, bridge: &str, address: IpNet) -> Result<(), EngineFault> {
        network::remove_address(&self.names, bridge, address).await
    }

    async fn attach(&self, veth: &str, bridge: Option<&str>) -> Result<(), EngineFault> {
        network::attach(&self.names, veth, bridge).await
    }

    async fn remove_veth(&self, veth: &str) -> Result<(), EngineFault> {
        network::remove_veth(&self.names, veth).await
    }
}
