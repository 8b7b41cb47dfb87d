//! The device and its engine together: effects are carried out, what comes of them is told to the device.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, EngineKey, Usage};
use mkube_router_machine::{Answer, Circumstances, Device, Effect, Happened, Phase, Refusal, Request, RowNumber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cpu_load::CpuLoad;
use crate::disks::Disks;
use crate::faults::Faults;
use crate::keep::Keeper;

/// How long a reboot waits for containers to end, beyond what each of them may take.
const GRACE: Duration = Duration::from_secs(15);
/// Pause between two looks at what containers use.
const USAGE: Duration = Duration::from_secs(10);

pub struct World {
    device: Mutex<Device>,
    engine: Arc<dyn Engine>,
    disks: Disks,
    booted: Mutex<Instant>,
    cpu_load: Mutex<CpuLoad>,
    keeper: Mutex<Option<Keeper>>,
    work: Mutex<HashMap<RowNumber, JoinHandle<()>>>,
    /// The last network command; the next one waits for it.
    network: Mutex<Option<JoinHandle<()>>>,
    random: RandomState,
    /// The last step of each container's process; the next one waits for it.
    processes: Mutex<HashMap<EngineKey, JoinHandle<()>>>,
    pub faults: Faults,
}

impl World {
    pub fn new(device: Device, engine: Arc<dyn Engine>, disks: Disks, uptime: Duration, faults: Faults) -> Arc<Self> {
        let booted = Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now);
        Arc::new(Self {
            device: Mutex::new(device),
            engine,
            disks,
            booted: Mutex::new(booted),
            cpu_load: Mutex::new(CpuLoad::new()),
            keeper: Mutex::new(None),
            work: Mutex::new(HashMap::new()),
            network: Mutex::new(None),
            random: RandomState::new(),
            processes: Mutex::new(HashMap::new()),
            faults,
        })
    }

    pub fn set_keeper(&self, keeper: Keeper) {
        *lock(&self.keeper) = Some(keeper);
    }

    pub fn device(&self) -> MutexGuard<'_, Device> {
        lock(&self.device)
    }

    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub fn disks(&self) -> &Disks {
        &self.disks
    }

    fn with<R>(&self, look: impl FnOnce(&mut Device, &Circumstances<'_>) -> R) -> R {
        let local = |path: &str| self.disks.local(path);
        let exists = |path: &str| self.disks.local(path).exists();
        let uptime = lock(&self.booted).elapsed();
        let here = Circumstances {
            stamp: stamp(),
            uptime,
            exists: &exists,
            local: &local,
            sizes: sizes(self.disks.data_dir()),
            cpus: cpus(),
            cpu_load: lock(&self.cpu_load).percent(),
        };
        look(&mut self.device(), &here)
    }

    /// Answers a request; returns when its changes are on disk.
    pub async fn request(self: &Arc<Self>, request: &Request) -> Answer {
        if request.segments.starts_with(&["ip".to_owned(), "arp".to_owned()]) {
            let bridges = self.device().bridges();
            let heard = self.engine.neighbours(&bridges).await;
            self.device().hear(heard);
        }
        let (answer, effects, changed) = self.with(|device, here| {
            let before = device.version();
            let (answer, effects) = device.request(request, here);
            (answer, effects, device.version() > before)
        });
        self.carry_out(effects);
        if changed && !self.keep().await {
            // Done, and lost if the host dies now: nobody may rely on it.
            return Refusal { status: 500, detail: Some("the device's state could not be written".into()) }.to_answer();
        }
        answer
    }

    /// Returns when everything that is true now is on disk, or with false when it cannot be written.
    pub async fn keep(&self) -> bool {
        let version = self.device().version();
        let keeper = lock(&self.keeper).clone();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.kept(version).await
        {
            tracing::error!(%error, "the device's state could not be written");
            return false;
        }
        true
    }

    pub fn happened(self: &Arc<Self>, what: Happened) {
        let effects = self.with(|device, here| device.happened(what, here));
        self.carry_out(effects);
        let keeper = lock(&self.keeper).clone();
        if let Some(keeper) = keeper {
            keeper.wake();
        }
    }

    /// Looks for what became of every container, then starts what should run.
    pub async fn recover(self: &Arc<Self>, machine_rebooted: bool) {
        let known: Vec<_> = self.device().containers();
        let keys: Vec<String> = known.iter().map(|(key, ..)| key.clone()).collect();
        if let Err(fault) = self.engine.sweep(&keys).await {
            tracing::warn!(%fault, "leftovers could not be swept");
        }
        let networks = self.device().networks();
        for effect in networks {
            self.network(effect).await;
        }
        for (key, number, _) in known {
            let found = self.engine.find(&key).await;
            let effects = self.with(|device, here| device.recover(number, found, here));
            self.carry_out(effects);
        }
        if machine_rebooted {
            let effects = self.with(|device, here| device.booted(here));
            self.carry_out(effects);
        }
        self.keep().await;
    }

    /// The device goes down: every process ends, in order or at once.
    pub async fn go_down(self: &Arc<Self>, power_cut: bool) {
        let effects = self.device().shut_down(power_cut);
        let patience = effects.iter().map(|effect| match effect {
            Effect::Stop { patience, .. } => *patience,
            _ => Duration::ZERO,
        });
        let until = Instant::now() + patience.max().unwrap_or_default() + GRACE;
        self.carry_out(effects);
        loop {
            let left: Vec<RowNumber> = self
                .device()
                .containers()
                .iter()
                .filter(|(.., phase)| *phase == Phase::Stopping)
                .map(|one| one.1)
                .collect();
            if left.is_empty() {
                break;
            }
            if Instant::now() >= until {
                // The machine would not wait any longer either.
                left.into_iter()
                    .for_each(|number| self.happened(Happened::Exited { number, code: 137, out_of_memory: false }));
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.keep().await;
    }

    /// It comes back: what starts on boot starts.
    pub async fn come_up(self: &Arc<Self>) {
        *lock(&self.booted) = Instant::now();
        let effects = self.with(|device, here| device.booted(here));
        self.carry_out(effects);
        self.keep().await;
    }

    fn carry_out(self: &Arc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            let world = self.clone();
            match &effect {
                // Network commands keep their order: an address follows its bridge.
                Effect::EnsureBridge { .. }
                | Effect::RemoveBridge { .. }
                | Effect::EnsureAddress { .. }
                | Effect::RemoveAddress { .. }
                | Effect::Attach { .. }
                | Effect::RemoveVeth { .. } => {
                    let mut last = lock(&self.network);
                    let before = last.take();
                    *last = Some(tokio::spawn(async move {
                        if let Some(before) = before {
                            let _ = before.await;
                        }
                        world.network(effect).await;
                    }));
                }
                Effect::RemoveFiles { number, .. } | Effect::Extract { number, .. } => {
                    let number = *number;
                    let before = lock(&self.work).remove(&number);
                    let task = tokio::spawn(async move {
                        if let Some(before) = before {
                            // Unpacking that was interrupted by a removal leaves nothing behind once it is dropped.
                            before.abort();
                            let _ = before.await;
                        }
                        world.one(effect).await;
                    });
                    lock(&self.work).insert(number, task);
                }
                Effect::Start { .. } | Effect::CleanUp { .. } | Effect::Forget { .. } => self.in_turn(effect),
                _ => drop(tokio::spawn(async move { world.one(effect).await })),
            }
        }
    }

    /// One step of a container's process after the other: tidying up after one run must not meet the next run.
    fn in_turn(self: &Arc<Self>, effect: Effect) {
        let (key, last) = match &effect {
            Effect::Start { launch, .. } => (launch.key.clone(), false),
            Effect::CleanUp { key } => (key.clone(), false),
            Effect::Forget { key } => (key.clone(), true),
            _ => return,
        };
        let mut processes = lock(&self.processes);
        let before = processes.remove(&key);
        let (world, own) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // A step that failed is no reason to leave out the next.
                let _ = before.await;
            }
            world.one(effect).await;
            if last {
                lock(&world.processes).remove(&own);
            }
        });
        processes.insert(key, task);
    }

    async fn network(&self, effect: Effect) {
        let done = match &effect {
            Effect::EnsureBridge { bridge } => self.engine.ensure_bridge(bridge).await,
            Effect::RemoveBridge { bridge } => self.engine.remove_bridge(bridge).await,
            Effect::EnsureAddress { bridge, address } => self.engine.ensure_address(bridge, *address).await,
            Effect::RemoveAddress { bridge, address } => self.engine.remove_address(bridge, *address).await,
            Effect::Attach { veth, bridge } => self.engine.attach(veth, bridge.as_deref()).await,
            Effect::RemoveVeth { veth } => self.engine.remove_veth(veth).await,
            _ => Ok(()),
        };
        if let Err(fault) = done {
            tracing::error!(%fault, ?effect, "the network could not be changed");
        }
    }

    async fn one(self: &Arc<Self>, effect: Effect) {
        let told = |done: Result<(), EngineFault>, what: &str| {
            if let Err(fault) = done {
                tracing::warn!(%fault, what, "engine");
            }
        };
        match effect {
            Effect::Extract { number, key, archive, root_dir, aside } => {
                let moved = if aside { move_aside(&root_dir).await } else { Ok(()) };
                let chance = || (self.random.hash_one((number, &key)) % 10_000) as f64 / 10_000.0;
                let result = match (moved, self.faults.extract(chance).await) {
                    (Err(error), _) => Err(EngineFault::Failed(error.to_string())),
                    (Ok(()), Some(why)) => Err(EngineFault::Failed(why)),
                    (Ok(()), None) => self.engine.extract(&key, archive, root_dir).await,
                };
                self.happened(Happened::Extracted { number, result: result.map_err(|fault| fault.to_string()) });
            }
            Effect::Start { number, start, launch } => {
                let result = self.engine.start(&launch).await;
                let result = result.map(drop).map_err(|fault| fault.to_string());
                self.happened(Happened::Started { number, start, result });
            }
            Effect::Stop { number, start, key, signal, patience } => {
                if self.engine.ignores_signal(&key, signal).await {
                    self.happened(Happened::NotCaught { number, signal });
                    return told(self.engine.signal(&key, 9).await, "kill");
                }
                told(self.engine.signal(&key, signal).await, "stop");
                let until = Instant::now() + patience;
                while Instant::now() < until {
                    let stopping =
                        self.device().runtime(number).is_some_and(|r| r.phase == Phase::Stopping && r.start == start);
                    if !stopping {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(50).min(patience)).await;
                }
                told(self.engine.signal(&key, 9).await, "kill");
            }
            Effect::Kill { key, signal } => told(self.engine.signal(&key, signal).await, "kill"),
            Effect::CleanUp { key } => told(self.engine.clean_up(&key).await, "clean up"),
            Effect::Forget { key } => told(self.engine.forget(&key).await, "forget"),
            Effect::RemoveFiles { number, root_dir } => {
                told(self.engine.remove_files(root_dir).await, "remove files");
                self.happened(Happened::FilesRemoved { number });
                lock(&self.work).remove(&number);
            }
            Effect::RestartLater { number, start, after } => {
                tokio::time::sleep(after).await;
                self.happened(Happened::RestartDue { number, start });
            }
            network => self.network(network).await,
        }
    }

    /// Passes on what the engine tells by itself.
    pub async fn listen(self: Arc<Self>, mut events: mpsc::Receiver<EngineEvent>) {
        while let Some(event) = events.recv().await {
            let (EngineEvent::Output { key, .. } | EngineEvent::Exited { key, .. }) = &event;
            let Some(number) = self.device().container_of(key) else { continue };
            self.happened(match event {
                EngineEvent::Output { line, .. } => Happened::Output { number, line },
                EngineEvent::Exited { code, out_of_memory, .. } => Happened::Exited { number, code, out_of_memory },
            });
        }
    }

    /// Looks now and then at what containers use.
    pub async fn watch_usage(self: Arc<Self>) {
        let mut before: HashMap<RowNumber, Usage> = HashMap::new();
        loop {
            tokio::time::sleep(USAGE).await;
            let all = self.device().containers();
            for (key, number, phase) in all {
                if phase != Phase::Running {
                    before.remove(&number);
                    continue;
                }
                let Some(usage) = self.engine.usage(&key).await else { continue };
                let last = before.insert(number, usage).unwrap_or(usage);
                let spent = usage.cpu_time.saturating_sub(last.cpu_time);
                self.device().note_usage(number, usage, spent.as_secs_f64() / USAGE.as_secs_f64() * 100.0);
            }
        }
    }
}

/// What lies in the way of unpacking gets another name; an older one of that name goes.
async fn move_aside(root_dir: &Path) -> std::io::Result<()> {
    let mut name = root_dir.as_os_str().to_owned();
    name.push(".backup");
    match tokio::fs::remove_dir_all(&name).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tokio::fs::rename(root_dir, &name).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device's own clock, as its log shows it.
#[allow(clippy::disallowed_methods, reason = "the host is a device: it has a clock of its own")]
pub(crate) fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Free and total memory, free and total bytes of the disk the data lies on.
fn sizes(data_dir: &Path) -> [u64; 4] {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let [free, total] = rustix::fs::statvfs(data_dir)
        .map_or([0, 0], |disk| [disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize]);
    [kib("MemAvailable:") << 10, kib("MemTotal:") << 10, free, total]
}
