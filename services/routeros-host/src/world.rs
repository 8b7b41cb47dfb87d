//! The device and its engine together: effects are carried out, what comes of them is told to the device.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, Usage};
use mkube_router_machine::{Answer, Circumstances, Device, Effect, Happened, Phase, Request, RowNumber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::faults::Faults;
use crate::keep::Keeper;

/// Pause between two looks at what containers use.
const USAGE: Duration = Duration::from_secs(10);

pub struct World {
    device: Mutex<Device>,
    engine: Arc<dyn Engine>,
    data_dir: PathBuf,
    booted: Mutex<Instant>,
    keeper: Mutex<Option<Keeper>>,
    work: Mutex<HashMap<RowNumber, JoinHandle<()>>>,
    pub faults: Faults,
}

impl World {
    pub fn new(
        device: Device,
        engine: Arc<dyn Engine>,
        data_dir: PathBuf,
        uptime: Duration,
        faults: Faults,
    ) -> Arc<Self> {
        let booted = Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now);
        Arc::new(Self {
            device: Mutex::new(device),
            engine,
            data_dir,
            booted: Mutex::new(booted),
            keeper: Mutex::new(None),
            work: Mutex::new(HashMap::new()),
            faults,
        })
    }

    pub fn set_keeper(&self, keeper: Keeper) {
        *lock(&self.keeper) = Some(keeper);
    }

    pub fn device(&self) -> MutexGuard<'_, Device> {
        lock(&self.device)
    }

    /// A path of the device as one of this machine: under a disk, or the machine's own.
    pub fn local(data_dir: &Path, path: &str) -> PathBuf {
        let bare = path.trim_start_matches('/');
        let on_disk = bare == "disk1" || bare.starts_with("disk1/") || !path.starts_with('/');
        // No step upward: a path of the device stays inside its disk.
        let clean: PathBuf =
            Path::new(bare).components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
        if on_disk { data_dir.join(clean) } else { Path::new("/").join(clean) }
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn with<R>(&self, look: impl FnOnce(&mut Device, &Circumstances<'_>) -> R) -> R {
        let local = |path: &str| Self::local(&self.data_dir, path);
        let exists = |path: &str| Self::local(&self.data_dir, path).exists();
        let uptime = lock(&self.booted).elapsed();
        let here =
            Circumstances { stamp: stamp(), uptime, exists: &exists, local: &local, sizes: sizes(), cpus: cpus() };
        look(&mut self.device(), &here)
    }

    /// Answers a request; returns when its changes are on disk.
    pub async fn request(self: &Arc<Self>, request: &Request) -> Answer {
        let (answer, effects) = self.with(|device, here| device.request(request, here));
        self.carry_out(effects);
        self.keep().await;
        answer
    }

    pub async fn keep(&self) {
        if !self.device().take_changed() {
            return;
        }
        let keeper = lock(&self.keeper).clone();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.kept().await
        {
            tracing::error!(%error, "the device's state could not be written");
        }
    }

    pub fn happened(self: &Arc<Self>, what: Happened) {
        let effects = self.with(|device, here| device.happened(what, here));
        self.carry_out(effects);
        let world = self.clone();
        tokio::spawn(async move { world.keep().await });
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

    /// The device goes down and comes back: every process ends, what starts on boot starts.
    pub async fn reboot(self: &Arc<Self>) {
        let all = self.device().containers();
        for (key, number, phase) in all {
            if matches!(phase, Phase::Running | Phase::Stopping | Phase::Starting) {
                if let Err(fault) = self.engine.signal(&key, 9).await {
                    tracing::debug!(%fault, "signal at reboot");
                }
                self.happened(Happened::Exited { number, code: 137, out_of_memory: false });
            }
        }
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
                | Effect::RemoveAddress { .. } => {
                    tokio::spawn(async move {
                        let _order = NETWORK.lock().await;
                        world.network(effect).await;
                    });
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
                _ => drop(tokio::spawn(async move { world.one(effect).await })),
            }
        }
    }

    async fn network(&self, effect: Effect) {
        let done = match &effect {
            Effect::EnsureBridge { bridge } => self.engine.ensure_bridge(bridge).await,
            Effect::RemoveBridge { bridge } => self.engine.remove_bridge(bridge).await,
            Effect::EnsureAddress { bridge, address } => self.engine.ensure_address(bridge, *address).await,
            Effect::RemoveAddress { bridge, address } => self.engine.remove_address(bridge, *address).await,
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
            Effect::Extract { number, key, archive, root_dir } => {
                let result = match self.faults.extract().await {
                    Some(why) => Err(EngineFault::Failed(why)),
                    None => self.engine.extract(&key, archive, root_dir).await,
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
            }
            Effect::RestartLater { number, start, after } => {
                tokio::time::sleep(after).await;
                self.happened(Happened::RestartDue { number, start });
            }
            Effect::Attach { veth, bridge } => told(self.engine.attach(&veth, bridge.as_deref()).await, "attach"),
            Effect::RemoveVeth { veth } => told(self.engine.remove_veth(&veth).await, "remove veth"),
            Effect::EnsureBridge { .. }
            | Effect::RemoveBridge { .. }
            | Effect::EnsureAddress { .. }
            | Effect::RemoveAddress { .. } => {}
        }
    }

    /// Passes on what the engine tells by itself.
    pub async fn listen(self: Arc<Self>, mut events: mpsc::Receiver<EngineEvent>) {
        while let Some(event) = events.recv().await {
            let numbers: HashMap<String, RowNumber> =
                self.device().containers().into_iter().map(|(key, number, _)| (key, number)).collect();
            match event {
                EngineEvent::Output { key, line, .. } => {
                    if let Some(number) = numbers.get(&key) {
                        self.happened(Happened::Output { number: *number, line });
                    }
                }
                EngineEvent::Exited { key, code, out_of_memory, .. } => {
                    if let Some(number) = numbers.get(&key) {
                        self.happened(Happened::Exited { number: *number, code, out_of_memory });
                    }
                }
            }
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

/// One network command at a time.
static NETWORK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

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

/// Free and total memory as the machine says; disks are the machine's own affair.
fn sizes() -> [u64; 4] {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    [kib("MemAvailable:") << 10, kib("MemTotal:") << 10, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_device_stay_inside_its_disk() {
        let local = |path: &str| World::local(Path::new("/data"), path).display().to_string();
        assert_eq!(local("disk1/a/b.tar"), "/data/disk1/a/b.tar");
        assert_eq!(local("/disk1/a"), "/data/disk1/a");
        assert_eq!(local("/srv/x"), "/srv/x");
        assert_eq!(local("disk1/../../etc/passwd"), "/data/disk1/etc/passwd");
    }
}
