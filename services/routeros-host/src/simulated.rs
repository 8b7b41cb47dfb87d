//! An engine without processes: containers that only look alive. For scale, for faults, for machines without root.
//!
//! A container runs until it is stopped. A command line that begins with `exit` or `sleep` ends by itself: `exit 3` at once with
//! code 3, `sleep 2 exit 1` after two seconds with code 1.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, EngineKey, Found, ImageConfig, Launch, Usage};
use tokio::sync::mpsc;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// Unpacking an archive.
    pub extract: Duration,
    /// Starting.
    pub start: Duration,
    /// Ending after a signal.
    pub stop: Duration,
    /// Removing files.
    pub remove: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            extract: Duration::from_millis(100),
            start: Duration::from_millis(50),
            stop: Duration::from_millis(50),
            remove: Duration::from_millis(50),
        }
    }
}

pub struct SimulatedEngine {
    timings: Timings,
    events: mpsc::Sender<EngineEvent>,
    running: Mutex<HashMap<EngineKey, SystemTime>>,
}

impl SimulatedEngine {
    /// `alive`: keys of containers that ran when the host was last there; nothing else could know.
    pub fn new(timings: Timings, events: mpsc::Sender<EngineEvent>, alive: HashSet<EngineKey>) -> Self {
        let now = now();
        Self { timings, events, running: Mutex::new(alive.into_iter().map(|key| (key, now)).collect()) }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<EngineKey, SystemTime>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exit(&self, key: &EngineKey, code: i32) {
        if self.running().remove(key).is_some() {
            let event = EngineEvent::Exited { key: key.clone(), code, out_of_memory: false, at: now() };
            // The host is gone: so is whoever would want to know.
            let _ = self.events.send(event).await;
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "stamps of the imitated device")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// When and how a command line ends by itself.
fn own_end(argv: &[String]) -> Option<(Duration, i32)> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => Some((Duration::ZERO, code.parse().ok()?)),
        ["sleep", seconds, "exit", code] => Some((Duration::from_secs_f64(seconds.parse().ok()?), code.parse().ok()?)),
        _ => None,
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn extract(&self, _key: &EngineKey, archive: PathBuf, root_dir: PathBuf) -> Result<ImageConfig, EngineFault> {
        tokio::time::sleep(self.timings.extract).await;
        let failed = |error: std::io::Error| EngineFault::Failed(error.to_string());
        let name = archive.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let size = tokio::fs::metadata(&archive).await.map_err(failed)?.len();
        tokio::fs::create_dir_all(&root_dir).await.map_err(failed)?;
        Ok(ImageConfig {
            entrypoint: vec![],
            cmd: vec!["/simulated".into()],
            architecture: "amd64".into(),
            image_id: format!("sha256:{name}"),
            tag: format!("{name}:latest"),
            size,
            ..ImageConfig::default()
        })
    }

    async fn start(&self, launch: &Launch) -> Result<u32, EngineFault> {
        tokio::time::sleep(self.timings.start).await;
        self.running().insert(launch.key.clone(), now());
        if let Some((after, code)) = own_end(&launch.argv) {
            let (events, key) = (self.events.clone(), launch.key.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let _ = events.send(EngineEvent::Exited { key, code, out_of_memory: false, at: now() }).await;
            });
        }
        Ok(1)
    }

    async fn ignores_signal(&self, _key: &EngineKey, _signal: i32) -> bool {
        false
    }

    async fn signal(&self, key: &EngineKey, signal: i32) -> Result<(), EngineFault> {
        tokio::time::sleep(self.timings.stop).await;
        self.exit(key, 128 + signal).await;
        Ok(())
    }

    async fn clean_up(&self, key: &EngineKey) -> Result<(), EngineFault> {
        self.running().remove(key);
        Ok(())
    }

    async fn forget(&self, key: &EngineKey) -> Result<(), EngineFault> {
        self.clean_up(key).await
    }

    async fn remove_files(&self, root_dir: PathBuf) -> Result<(), EngineFault> {
        tokio::time::sleep(self.timings.remove).await;
        match tokio::fs::remove_dir_all(&root_dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineFault::Failed(error.to_string())),
            _ => Ok(()),
        }
    }

    async fn find(&self, key: &EngineKey) -> Found {
        match self.running().get(key) {
            Some(since) => Found::Running { pid: 1, since: *since },
            None => Found::Nothing,
        }
    }

    async fn sweep(&self, known: &[EngineKey]) -> Result<(), EngineFault> {
        self.running().retain(|key, _| known.contains(key));
        Ok(())
    }

    async fn usage(&self, key: &EngineKey) -> Option<Usage> {
        self.running().contains_key(key).then(|| Usage { memory: 1 << 20, cpu_time: Duration::ZERO })
    }

    async fn ensure_bridge(&self, _bridge: &str) -> Result<(), EngineFault> {
        Ok(())
    }

    async fn remove_bridge(&self, _bridge: &str) -> Result<(), EngineFault> {
        Ok(())
    }

    async fn ensure_address(&self, _bridge: &str, _address: ipnet::IpNet) -> Result<(), EngineFault> {
        Ok(())
    }

    async fn remove_address(&self, _bridge: &str, _address: ipnet::IpNet) -> Result<(), EngineFault> {
        Ok(())
    }

    async fn attach(&self, _veth: &str, _bridge: Option<&str>) -> Result<(), EngineFault> {
        Ok(())
    }

    async fn remove_veth(&self, _veth: &str) -> Result<(), EngineFault> {
        Ok(())
    }
}
