//! The engine: one directory of state, one runtime, one network.

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ipnet::IpNet;
use mkube_model::neighbours::container_exec::{ExecOrder, ExecSession};
use mkube_router_machine::Neighbour;
use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, EngineKey, Found, ImageConfig, Launch, Usage};
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tokio::time::Instant;

use crate::archive::io_fault;
use crate::exec;
use crate::held::Held;
use crate::network::{self, Names};
use crate::places::{self, DIRECTORIES, Places};
use crate::process::{self, Process};
use crate::runtime::{Created, Runtime, held_by};
use crate::unpack::{self, Busy, Limits};
use crate::watch::{self, Followed, NOTES_EXIT, Watcher};
use crate::{bundle, cgroup};

/// Archives unpacked at the same time.
const UNPACKING: usize = 2;
/// How long a process that is said to have ended may take to be gone.
const ENDING: Duration = Duration::from_millis(500);
/// Commands in containers at the same time.
const COMMANDS: usize = 64;

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
    watcher: Watcher,
    unpacking: Arc<Semaphore>,
    busy: Arc<Busy>,
    /// Who works on a container has its turn: starting and cleaning up do not meet.
    turns: Mutex<HashMap<EngineKey, Arc<tokio::sync::Mutex<()>>>>,
    /// One at a time decides who shares a network.
    network: tokio::sync::Mutex<()>,
    commands: Arc<Semaphore>,
}

impl LinuxEngine {
    /// An engine on `options.state_dir`; needs root, an OCI runtime, conmon and ip, and to be called on a tokio runtime.
    pub fn new(options: LinuxOptions, events: mpsc::Sender<EngineEvent>) -> Result<Self, EngineFault> {
        if !rustix::process::geteuid().is_root() {
            return Err(EngineFault::Failed("the linux engine needs root (or use the simulated one)".into()));
        }
        let state_dir = options.state_dir;
        for directory in DIRECTORIES {
            std::fs::create_dir_all(state_dir.join(directory)).map_err(io_fault)?;
        }
        let state_dir = state_dir.canonicalize().map_err(io_fault)?;
        // Launches hold environments, and those hold passwords.
        std::fs::set_permissions(&state_dir, Permissions::from_mode(0o700)).map_err(io_fault)?;
        let runtime = Runtime::choose(&state_dir, state_dir.join("runtime"))?;
        let watcher = Watcher::start(&state_dir.join("logs"), events)?;
        Ok(Self {
            names: Names::new(&state_dir.display().to_string()),
            state_dir,
            limits: options.limits,
            runtime,
            watcher,
            unpacking: Arc::new(Semaphore::new(UNPACKING)),
            busy: Arc::default(),
            turns: Mutex::default(),
            network: tokio::sync::Mutex::default(),
            commands: Arc::new(Semaphore::new(COMMANDS)),
        })
    }

    fn places(&self, key: &str) -> Places {
        Places::new(&self.state_dir, key, &self.names.namespace(key))
    }

    async fn turn(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // One that nobody holds or waits for is not needed.
            turns.retain(|one, turn| one == key || Arc::strong_count(turn) > 1);
            turns.entry(key.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// The main process, if it is alive: not a zombie, and the one that was started.
    fn process(&self, places: &Places) -> Option<(u32, Process)> {
        let pid: u32 = std::fs::read_to_string(&places.pid).ok()?.trim().parse().ok()?;
        // Held first, looked at then: the number cannot come to mean another process in between.
        let process = Process::open(pid)?;
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        (process.is_alive() && cgroup::holds(&group, &places.id)).then_some((pid, process))
    }

    /// What other containers hold of the network: those that run or are about to.
    fn held_by_others(&self, key: &str) -> Vec<Held> {
        let Ok(entries) = std::fs::read_dir(self.state_dir.join("bundles")) else { return Vec::new() };
        let keys = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let places = keys.filter(|other| other != key).map(|other| self.places(&other));
        places
            .filter(|places| !places.pid.exists() || self.process(places).is_some())
            .filter_map(|places| Held::read(&places.bundle))
            .collect()
    }

    /// Makes the network of a launch, or finds the one it shares; whether its inside is still to be set up.
    async fn network(&self, launch: &Launch, places: &Places) -> Result<(Held, bool), EngineFault> {
        let _alone = self.network.lock().await;
        let links = network::links(&self.names, &launch.veths);
        let shared = self.held_by_others(&launch.key).into_iter().find(|held| held.meets(&links));
        match shared {
            Some(held) if held.links == links => {
                held.write(&places.bundle)?;
                Ok((held, false))
            }
            Some(_) => Err(EngineFault::Interface("another container has it among other interfaces".into())),
            None => {
                let held = Held { namespace: places.id.clone(), links };
                held.write(&places.bundle)?;
                network::set_up(&self.names, &held.namespace, &launch.veths).await?;
                Ok((held, true))
            }
        }
    }

    async fn leave_network(&self, key: &str, places: &Places) -> Result<(), EngineFault> {
        let _alone = self.network.lock().await;
        let held = Held::read(&places.bundle);
        let held = held.unwrap_or_else(|| Held { namespace: places.id.clone(), links: Vec::new() });
        if self.held_by_others(key).iter().any(|other| other.namespace == held.namespace) {
            return Ok(());
        }
        network::tear_down(&held.namespace, &held.links).await
    }

    /// Makes network, bundle and process of a launch.
    async fn launch(&self, launch: &Launch, places: &Places) -> Result<Created, EngineFault> {
        for directory in [&places.persist, &places.bundle] {
            std::fs::create_dir_all(directory).map_err(io_fault)?;
        }
        // The output of the run before stays readable beside that of this one.
        if places.log.exists() {
            std::fs::rename(&places.log, &places.previous_log).map_err(io_fault)?;
        }
        remove_file(&places.mark)?;
        let begun = Instant::now();
        let (held, own) = self.network(launch, places).await?;
        let network = begun.elapsed();
        let namespace = Path::new(network::NAMESPACES).join(&held.namespace);
        bundle::write(launch, &places.bundle, &namespace, &cgroup::path(&places.id))?;
        let inside = async { if own { network::set_up_inside(&held.namespace, &launch.veths).await } else { Ok(()) } };
        let (inside, created) = tokio::join!(inside, self.runtime.create(places));
        inside?;
        let created = created?;
        let made = begun.elapsed() - network;
        self.runtime.start(&places.id).await?;
        let started = begun.elapsed() - network - made;
        tracing::debug!(key = %launch.key, ?network, ?made, ?started, "a container runs");
        Ok(created)
    }

    /// Ends what runs, and frees all that a container holds besides its output.
    async fn free(&self, key: &str) -> Result<(), EngineFault> {
        let places = self.places(key);
        self.watcher.leave(key).await;
        if places.bundle.exists() {
            self.runtime.delete(&places.id).await?;
        }
        if let Some(conmon) = held_by(&places) {
            // It still writes the exit code down.
            if tokio::time::timeout(NOTES_EXIT, conmon.ended()).await.is_err() {
                conmon.kill();
                conmon.ended().await;
            }
        }
        cgroup::remove_of_conmon(&places.id).await.map_err(io_fault)?;
        self.leave_network(key, &places).await?;
        remove_file(&places.exit)?;
        blocking(move || {
            unpack::remove(&places.persist)?;
            unpack::remove(&places.bundle)
        })
        .await
    }

    async fn forget_all(&self, key: &str) -> Result<(), EngineFault> {
        self.free(key).await?;
        let places = self.places(key);
        [&places.log, &places.previous_log, &places.mark].into_iter().try_for_each(|path| remove_file(path))
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
        let _turn = self.turn(key).await;
        // What an earlier run left is in the way of this one.
        self.free(key).await?;
        let places = self.places(key);
        match self.launch(launch, &places).await {
            Ok(Created { pid, process, conmon }) => {
                self.watcher.follow(Followed { key: key.clone(), places, process, conmon }).await;
                Ok(pid)
            }
            Err(fault) => {
                if let Err(left) = self.free(key).await {
                    tracing::warn!(%left, "a failed start left something behind");
                }
                // Nothing ran that could have written.
                remove_file(&self.places(key).log)?;
                Err(fault)
            }
        }
    }

    async fn ignores_signal(&self, key: &EngineKey, signal: i32) -> bool {
        let Some((pid, _)) = self.process(&self.places(key)) else { return false };
        process::ignores(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), signal)
    }

    async fn signal(&self, key: &EngineKey, signal: i32) -> Result<(), EngineFault> {
        self.runtime.kill(&self.places(key).id, signal).await
    }

    async fn clean_up(&self, key: &EngineKey) -> Result<(), EngineFault> {
        let _turn = self.turn(key).await;
        if let Some((_, process)) = self.process(&self.places(key))
            && tokio::time::timeout(ENDING, process.ended()).await.is_err()
        {
            // Asked after an exit, but it was started again since: this belongs to the new run.
            tracing::debug!(%key, "nothing to clean up, it runs");
            return Ok(());
        }
        self.free(key).await
    }

    async fn forget(&self, key: &EngineKey) -> Result<(), EngineFault> {
        let _turn = self.turn(key).await;
        self.forget_all(key).await
    }

    async fn remove_files(&self, root_dir: PathBuf) -> Result<(), EngineFault> {
        let busy = self.busy.clone();
        // Unpacking that was given up has left when this begins: nothing appears after the removal.
        blocking(move || busy.alone(&root_dir, || unpack::remove_root(&root_dir))).await
    }

    async fn find(&self, key: &EngineKey) -> Found {
        let _turn = self.turn(key).await;
        let places = self.places(key);
        let written = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let since = written(&places.pid).unwrap_or(SystemTime::UNIX_EPOCH);
        if self.runtime.waits_to_start(&places.id) {
            // The host died between making and starting it: it would wait for ever.
            tracing::info!(%key, "a container that never started is removed");
            return match self.free(key).await {
                Ok(()) => Found::Nothing,
                Err(fault) => {
                    tracing::warn!(%key, %fault, "it could not be removed");
                    Found::Exited { code: None, at: since }
                }
            };
        }
        if let Some((pid, process)) = self.process(&places) {
            let conmon = held_by(&places);
            let process = Some(process);
            self.watcher.follow(Followed { key: key.clone(), places, process, conmon }).await;
            return Found::Running { pid, since };
        }
        if !places.pid.exists() {
            return Found::Nothing;
        }
        if let Some(conmon) = held_by(&places) {
            // It has just ended: the exit code is about to be written.
            let _ = tokio::time::timeout(NOTES_EXIT, conmon.ended()).await;
        }
        self.watcher.drain(key, places.clone()).await;
        match watch::exit_of(&places) {
            Some((code, at)) => Found::Exited { code: Some(code), at },
            // It was there, it is gone, and whoever should have noted the exit is gone too.
            None => Found::Exited { code: None, at: written(&places.log).unwrap_or(since).max(since) },
        }
    }

    async fn sweep(&self, known: &[EngineKey]) -> Result<(), EngineFault> {
        let mut left = network::namespaces(&self.names);
        left.extend(places::keys(&self.state_dir, &self.names.namespace_prefix()).map_err(io_fault)?);
        left.sort();
        left.dedup();
        let mut done = Ok(());
        for key in left.into_iter().filter(|key| !known.contains(key)) {
            tracing::info!(%key, "a container nobody knows is swept");
            let _turn = self.turn(&key).await;
            let swept = match self.runtime.delete(&self.places(&key).id).await {
                Ok(()) => self.forget_all(&key).await,
                failed => failed,
            };
            // One that cannot be swept is no reason to leave the others.
            done = done.and(swept);
        }
        done
    }

    async fn usage(&self, key: &EngineKey) -> Option<Usage> {
        cgroup::usage(&self.places(key).id)
    }

    fn runs_commands(&self) -> bool {
        true
    }

    async fn exec(&self, key: &EngineKey, order: ExecOrder) -> Result<ExecSession, EngineFault> {
        let place = self.commands.clone().try_acquire_owned();
        let place = place.map_err(|_| EngineFault::Failed(format!("{COMMANDS} commands run in containers already")))?;
        let places = self.places(key);
        if self.process(&places).is_none() {
            return Err(EngineFault::Failed("the container does not run".into()));
        }
        exec::begin(&self.runtime, &places, order, place)
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

    async fn neighbours(&self, bridges: &[String]) -> Vec<Neighbour> {
        network::neighbours(&self.names, bridges)
    }

    async fn remove_veth(&self, veth: &str) -> Result<(), EngineFault> {
        network::remove_veth(&self.names, veth).await
    }
}
