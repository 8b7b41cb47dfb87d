//! Starting and stopping a host.

use std::collections::HashSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use mkube_router_machine::engine::{Engine, EngineEvent};
use mkube_router_machine::{Change, Device, Phase, Release};
use tokio::sync::{mpsc, watch};

use crate::disks::Disks;
use crate::faults::{FaultRule, Faults};
use crate::http::{Power, Site, dispatch, remember_wire};
use crate::keep::{self, Keeper, Kept, Source};
use crate::simulated::{SimulatedEngine, Timings};
use crate::world::World;

/// Events an engine may be ahead by.
const EVENTS: usize = 4096;

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Real ones.
    Linux,
    /// None.
    Simulated,
}

/// How to start a host.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// Self-signed HTTPS beside it.
    pub tls_listen: Option<SocketAddr>,
    /// Disks and state.
    pub data_dir: PathBuf,
    /// What runs the containers.
    pub engine: EngineKind,
    /// Such as `7.23.2`.
    pub ros_version: String,
    /// The first user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Added to each request.
    pub latency: Duration,
    /// Rules in force from the start.
    pub faults: Vec<FaultRule>,
    /// How long things take with the simulated engine.
    pub timings: Timings,
}

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostFault {
    /// Not a release this host can imitate.
    #[error("RouterOS release {0:?} is not known; 7.19 to 7.24 are")]
    Release(String),
    /// The directory cannot be used.
    #[error("data directory: {0}")]
    DataDir(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Cause in words.
        cause: String,
    },
    /// The engine cannot run here.
    #[error("{0}")]
    Engine(String),
    /// A fault rule is wrong.
    #[error("fault rules: {0}")]
    Faults(String),
    /// The certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(String),
}

/// A running host.
pub struct RunningHost {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    server: ServerHandle,
    world: Arc<World>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Held as long as the host is there.
    _lock: File,
}

impl RunningHost {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for HTTPS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Stops serving. Containers go on.
    pub async fn stop(self) {
        self.server.stop(true).await;
        self.world.keep().await;
    }
}

impl Drop for RunningHost {
    /// Ends at once, as if killed; what was answered before is on disk.
    fn drop(&mut self) {
        drop(self.server.stop(false));
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// What the writer sees of the world.
struct KeptWorld {
    world: Weak<World>,
    boot: String,
}

impl Source for KeptWorld {
    fn changes(&self) -> Option<(Vec<Change>, u64)> {
        let world = self.world.upgrade()?;
        let mut device = world.device();
        Some((device.take_changes(), device.version()))
    }

    fn everything(&self) -> Option<(Kept, u64)> {
        let world = self.world.upgrade()?;
        let mut device = world.device();
        device.take_changes();
        Some((Kept { boot: self.boot.clone(), device: device.state().clone() }, device.version()))
    }
}

/// How long a new host waits for the lock: a program that one killed a moment ago was just starting still has it, until it runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// A data directory has one host.
async fn lock(data_dir: &Path) -> Result<File, HostFault> {
    let refused = |error: &dyn std::fmt::Display| HostFault::DataDir(format!("{}: {error}", data_dir.display()));
    let file = File::create(data_dir.join("lock")).map_err(|error| refused(&error))?;
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(refused(&"another host is using it")),
            Err(error) => return Err(refused(&error)),
        }
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::from_secs_f64(seconds.max(0.0))
}

#[cfg(target_os = "linux")]
fn linux_engine(data_dir: &Path, events: mpsc::Sender<EngineEvent>) -> Result<Arc<dyn Engine>, HostFault> {
    let options = mkube_linux_containers::LinuxOptions::new(Disks::engine_dir(data_dir));
    mkube_linux_containers::LinuxEngine::new(options, events)
        .map(|engine| Arc::new(engine) as Arc<dyn Engine>)
        .map_err(|fault| HostFault::Engine(fault.to_string()))
}

#[cfg(not(target_os = "linux"))]
fn linux_engine(_data_dir: &Path, _events: mpsc::Sender<EngineEvent>) -> Result<Arc<dyn Engine>, HostFault> {
    Err(HostFault::Engine("the linux engine needs Linux; use the simulated one".to_owned()))
}

/// Removes everything an earlier host left: containers, networks, files.
pub async fn clean(data_dir: &Path, engine: EngineKind) -> Result<(), HostFault> {
    if !data_dir.exists() {
        return Ok(());
    }
    // Not under the feet of a host that is there.
    let _lock = lock(data_dir).await?;
    if engine == EngineKind::Linux {
        let (events, _nobody) = mpsc::channel(1);
        let engine = linux_engine(data_dir, events)?;
        engine.sweep(&[]).await.map_err(|fault| HostFault::Engine(fault.to_string()))?;
        if let Some(kept) = keep::read(&data_dir.join("device.json")).map_err(HostFault::DataDir)?
            && let Some(release) = Release::parse("7.23.2")
        {
            for effect in Device::restore(release, kept.device).networks() {
                if let mkube_router_machine::Effect::EnsureBridge { bridge } = effect {
                    engine.remove_bridge(&bridge).await.map_err(|fault| HostFault::Engine(fault.to_string()))?;
                }
            }
        }
    }
    match std::fs::remove_dir_all(data_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HostFault::DataDir(error.to_string())),
        _ => Ok(()),
    }
}

/// Starts a host on the present runtime.
pub async fn start(options: HostOptions) -> Result<RunningHost, HostFault> {
    let release =
        Release::parse(&options.ros_version).ok_or_else(|| HostFault::Release(options.ros_version.clone()))?;
    let listener = listen(options.listen)?;
    let address = listener.local_addr().map_err(|error| refused(options.listen, &error))?;
    let disks = Disks::open(&options.data_dir).map_err(|error| HostFault::DataDir(error.to_string()))?;
    let data_dir = disks.data_dir().to_owned();
    let lock = lock(&data_dir).await?;
    let path = data_dir.join("device.json");
    let kept = keep::read(&path).map_err(HostFault::DataDir)?;
    let boot = boot_id();
    let machine_rebooted = kept.as_ref().is_some_and(|kept| kept.boot != boot);
    let mut device = match kept {
        Some(kept) => Device::restore(release, kept.device),
        None => Device::new(release, &options.user, &options.password),
    };
    device.set_first_user(&options.user, &options.password);
    device.set_disks(disks.names().to_vec());
    let (events, happenings) = mpsc::channel(EVENTS);
    let engine: Arc<dyn Engine> = match options.engine {
        EngineKind::Linux => linux_engine(&data_dir, events)?,
        EngineKind::Simulated => {
            let alive: HashSet<String> = device
                .containers()
                .into_iter()
                .filter(|(_, _, phase)| !machine_rebooted && matches!(phase, Phase::Running | Phase::Stopping))
                .map(|(key, ..)| key)
                .collect();
            Arc::new(SimulatedEngine::new(options.timings, events, alive))
        }
    };
    let faults = Faults::default();
    faults.set(options.faults).map_err(HostFault::Faults)?;
    let world = World::new(device, engine, disks, uptime(), faults);
    let source = KeptWorld { world: Arc::downgrade(&world), boot };
    // Simulated containers do not outlive the machine, so neither need what is written about them.
    let synced = options.engine == EngineKind::Linux;
    let (keeper, writer) = Keeper::start(path, synced, source).map_err(HostFault::DataDir)?;
    world.set_keeper(keeper);
    world.recover(machine_rebooted).await;
    let tasks = vec![writer, tokio::spawn(world.clone().listen(happenings)), tokio::spawn(world.clone().watch_usage())];
    let site = Site {
        world: world.clone(),
        latency: options.latency,
        longest: options.timings.longest,
        active: Arc::default(),
        power: watch::channel(Power::On).0,
        drawn: Arc::default(),
        random: std::hash::RandomState::new(),
    };
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(site.clone()))
            .app_data(web::PayloadConfig::new(usize::MAX))
            .default_service(web::to(dispatch))
    })
    .on_connect(remember_wire)
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals()
    .listen(listener)
    .map_err(|error| refused(address, &error))?;
    let mut tls_address = None;
    if let Some(tls) = options.tls_listen {
        let listener = listen(tls)?;
        tls_address = listener.local_addr().ok();
        server = server.listen_rustls_0_23(listener, self_signed()?).map_err(|error| refused(tls, &error))?;
    }
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the host's server ended");
        }
    });
    Ok(RunningHost { address, tls_address, server: handle, world, tasks, _lock: lock })
}

fn listen(address: SocketAddr) -> Result<TcpListener, HostFault> {
    TcpListener::bind(address).map_err(|error| refused(address, &error))
}

fn refused(address: SocketAddr, error: &std::io::Error) -> HostFault {
    HostFault::Listen { address, cause: error.to_string() }
}

fn self_signed() -> Result<rustls::ServerConfig, HostFault> {
    let failed = |error: &dyn std::fmt::Display| HostFault::Certificate(error.to_string());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .map_err(|error| failed(&error))?;
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| failed(&error))?;
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| failed(&error))
}
