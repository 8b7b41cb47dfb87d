//! An engine without processes: containers that only look alive. For scale, for faults, for machines without root.
//!
//! A container runs until it is stopped. A command line `sh -c "…"` of the words below, separated by `;`, is followed: `echo TEXT`,
//! `sleep SECONDS`, `exit CODE`, `trap '' TERM` (signals but 9 do nothing from then on). So are `exit CODE` and
//! `sleep SECONDS exit CODE` without a shell. An archive that is a JSON document is read as the image's configuration.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// What a request may take before it is answered with `Session closed`, with any engine.
    pub longest: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            extract: Duration::from_millis(100),
            start: Duration::from_millis(50),
            stop: Duration::from_millis(50),
            remove: Duration::from_millis(50),
            longest: Duration::from_secs(60),
        }
    }
}

/// A process that is not there.
struct Alive {
    since: SystemTime,
    /// Counts starts: the end of an earlier one does not concern a later one.
    run: u64,
    deaf: bool,
}

pub struct SimulatedEngine {
    timings: Timings,
    events: mpsc::Sender<EngineEvent>,
    running: Arc<Mutex<HashMap<EngineKey, Alive>>>,
    runs: AtomicU64,
}

impl SimulatedEngine {
    /// `alive`: keys of containers that ran when the host was last there; nothing else could know.
    pub fn new(timings: Timings, events: mpsc::Sender<EngineEvent>, alive: HashSet<EngineKey>) -> Self {
        let since = now();
        let running = alive.into_iter().map(|key| (key, Alive { since, run: 0, deaf: false })).collect();
        Self { timings, events, running: Arc::new(Mutex::new(running)), runs: AtomicU64::new(1) }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<EngineKey, Alive>> {
        lock(&self.running)
    }
}

fn lock(running: &Mutex<HashMap<EngineKey, Alive>>) -> MutexGuard<'_, HashMap<EngineKey, Alive>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows a script for one run of a container.
async fn follow(
    steps: Vec<Step>,
    key: EngineKey,
    run: u64,
    events: mpsc::Sender<EngineEvent>,
    running: Arc<Mutex<HashMap<EngineKey, Alive>>>,
) {
    for step in steps {
        match step {
            Step::Wait => return,
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Ignore => {
                if let Some(alive) = lock(&running).get_mut(&key).filter(|alive| alive.run == run) {
                    alive.deaf = true;
                }
            }
            Step::Say(line) => {
                let event = EngineEvent::Output { key: key.clone(), at: now(), stderr: false, line };
                // The host is gone: so is whoever would want to know.
                let _ = events.send(event).await;
            }
            Step::Exit(code) => {
                let mine = lock(&running).get(&key).is_some_and(|alive| alive.run == run);
                if mine && lock(&running).remove(&key).is_some() {
                    let _ = events.send(EngineEvent::Exited { key, code, out_of_memory: false, at: now() }).await;
                }
                return;
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "stamps of the imitated device")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Say(String),
    Sleep(Duration),
    Ignore,
    Exit(i32),
    /// Runs until it is stopped.
    Wait,
}

/// What a command line does.
fn steps_of(argv: &[String]) -> Vec<Step> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut steps = match words.as_slice() {
        ["sh" | "/bin/sh", "-c", script] => script.split(';').map(|part| step_of(part.trim())).collect(),
        ["exit", _] => vec![step_of(&words.join(" "))],
        ["sleep", seconds, "exit", code] => {
            vec![step_of(&format!("sleep {seconds}")), step_of(&format!("exit {code}"))]
        }
        _ => vec![Step::Wait],
    };
    // A script that is through ends well.
    steps.push(Step::Exit(0));
    steps
}

fn step_of(text: &str) -> Step {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = rest.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    match (word, number) {
        ("echo", _) => Step::Say(rest.to_owned()),
        ("trap", _) if rest == "'' TERM" => Step::Ignore,
        ("sleep", Some(seconds)) => Duration::try_from_secs_f64(seconds).map_or(Step::Wait, Step::Sleep),
        ("exit", Some(_)) => rest.parse().map_or(Step::Wait, Step::Exit),
        _ => Step::Wait,
    }
}

/// An archive that is a JSON document says what the image is; any other is an image of one command.
fn image_of(archive: &Path) -> std::io::Result<ImageConfig> {
    let name = archive.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let size = std::fs::metadata(archive)?.len();
    let written = if size <= 1 << 16 { std::fs::read(archive)? } else { Vec::new() };
    let image = if written.first() == Some(&b'{') {
        serde_json::from_slice(&written).map_err(std::io::Error::other)?
    } else {
        ImageConfig { cmd: vec!["/simulated".into()], ..ImageConfig::default() }
    };
    let given = |text: String, default: String| if text.is_empty() { default } else { text };
    Ok(ImageConfig {
        architecture: given(image.architecture, "amd64".to_owned()),
        image_id: given(image.image_id, format!("sha256:{name}")),
        tag: given(image.tag, format!("{name}:latest")),
        size,
        ..image
    })
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn extract(&self, _key: &EngineKey, archive: PathBuf, root_dir: PathBuf) -> Result<ImageConfig, EngineFault> {
        tokio::time::sleep(self.timings.extract).await;
        let failed = |error: std::io::Error| EngineFault::Failed(error.to_string());
        let image = image_of(&archive).map_err(failed)?;
        tokio::fs::create_dir_all(&root_dir).await.map_err(failed)?;
        Ok(image)
    }

    async fn start(&self, launch: &Launch) -> Result<u32, EngineFault> {
        for mount in &launch.mounts {
            if !mount.source.exists() {
                let made = tokio::fs::create_dir_all(&mount.source).await;
                made.map_err(|error| EngineFault::Failed(error.to_string()))?;
            }
        }
        tokio::time::sleep(self.timings.start).await;
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.running().insert(launch.key.clone(), Alive { since: now(), run, deaf: false });
        let steps = steps_of(&launch.argv);
        if steps.first() != Some(&Step::Wait) {
            tokio::spawn(follow(steps, launch.key.clone(), run, self.events.clone(), self.running.clone()));
        }
        Ok(1)
    }

    async fn ignores_signal(&self, _key: &EngineKey, _signal: i32) -> bool {
        false
    }

    async fn signal(&self, key: &EngineKey, signal: i32) -> Result<(), EngineFault> {
        tokio::time::sleep(self.timings.stop).await;
        let hears = self.running().get(key).is_some_and(|alive| signal == 9 || !alive.deaf);
        if hears && self.running().remove(key).is_some() {
            let event = EngineEvent::Exited { key: key.clone(), code: 128 + signal, out_of_memory: false, at: now() };
            let _ = self.events.send(event).await;
        }
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
            Some(alive) => Found::Running { pid: 1, since: alive.since },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_followed_and_anything_else_runs_until_stopped() {
        let steps = |argv: &[&str]| steps_of(&argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let second = Step::Sleep(Duration::from_secs(1));
        assert_eq!(steps(&["sh", "-c", "sleep 1; exit 3"])[..2], [second, Step::Exit(3)]);
        assert_eq!(
            steps(&["sh", "-c", "trap '' TERM; echo a b"]),
            [Step::Ignore, Step::Say("a b".into()), Step::Exit(0)]
        );
        assert_eq!(steps(&["sh", "-c", "sleep", "1;", "exit", "3"])[0], Step::Wait, "not three words");
        assert_eq!(steps(&["/simulated"])[0], Step::Wait);
    }
}
