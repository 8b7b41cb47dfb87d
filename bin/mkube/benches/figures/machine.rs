//! What the sections share: processes that end, a client, and statistics.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_mkube");

/// Prints what the figures were taken on.
pub fn describe() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo").lines().find_map(|line| line.strip_prefix("model name\t: ")).map(str::to_owned);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let size = std::fs::metadata(BINARY).map(|meta| meta.len()).unwrap_or(0);
    println!("machine: {cores} cores, {}, kernel {}", model.unwrap_or_default(), kernel.trim());
    println!("load before: {}", read("/proc/loadavg").trim());
    println!("binary: {:.1} MB ({BINARY})\n", size as f64 / 1e6);
}

/// A process of the binary; ended when dropped.
pub struct Running {
    child: Child,
    /// From start to the `ready` line.
    pub ready_after: Duration,
    /// What it printed up to the `ready` line.
    pub printed: Vec<String>,
}

impl Running {
    /// Starts the binary and waits for its `ready` line.
    pub fn start(words: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(BINARY);
        command.args(words);
        Self::until_ready(command, words)
    }

    /// The same on one core only.
    pub fn on_core(core: usize, words: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core.to_string()).arg(BINARY).args(words);
        Self::until_ready(command, words)
    }

    fn until_ready(mut command: Command, words: &[&str]) -> anyhow::Result<Self> {
        let started = Instant::now();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.with_context(|| format!("{BINARY} {words:?}"))?;
        let lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let mut printed = Vec::new();
        for line in lines {
            let line = line?;
            let ready = line.starts_with("ready");
            printed.push(line);
            if ready {
                return Ok(Self { child, ready_after: started.elapsed(), printed });
            }
        }
        let _ = child.kill();
        bail!("{words:?} ended before it was ready: {printed:?}")
    }

    /// Starts one that prints no `ready` line.
    pub fn quiet(words: &[&str]) -> anyhow::Result<Self> {
        Self::other(Path::new(BINARY), words)
    }

    /// Starts another program.
    pub fn other(program: &Path, words: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{} {words:?}", program.display()))?;
        Ok(Self { child, ready_after: Duration::ZERO, printed: Vec::new() })
    }

    /// Resident memory, MiB.
    pub fn resident(&self) -> f64 {
        self.status_mib("VmRSS:")
    }

    /// The most that was resident since the start, or since [`Self::forget_peak`], MiB.
    pub fn peak(&self) -> f64 {
        self.status_mib("VmHWM:")
    }

    /// Lets the peak begin again at what is resident now.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    fn status_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time used so far.
    pub fn processor(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        // The kernel counts in hundredths of a second wherever this runs.
        Duration::from_millis(ticks * 10)
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whatever is left after an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of a process, KiB.
pub fn resident_kib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0)
}

/// A client of the API and of the host.
#[derive(Clone)]
pub struct Http(reqwest::Client);

impl Http {
    /// One pool.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(reqwest::Client::builder().no_proxy().build()?))
    }

    /// GET.
    pub async fn get(&self, url: &str) -> anyhow::Result<Value> {
        Ok(self.0.get(url).basic_auth("admin", Some("")).send().await?.error_for_status()?.json().await?)
    }

    /// GET, the bytes alone.
    pub async fn size(&self, url: &str) -> anyhow::Result<usize> {
        Ok(self.0.get(url).send().await?.error_for_status()?.bytes().await?.len())
    }

    /// POST of JSON.
    pub async fn post(&self, url: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.0.post(url).json(body).send().await?;
        let code = answer.status();
        let body: Value = answer.json().await?;
        if code.is_success() { Ok(body) } else { bail!("{code}: {}", body["message"]) }
    }

    /// PUT of JSON.
    pub async fn put(&self, url: &str, body: &Value) -> anyhow::Result<()> {
        self.0.put(url).basic_auth("admin", Some("")).json(body).send().await?.error_for_status()?;
        Ok(())
    }

    /// DELETE.
    pub async fn delete(&self, url: &str) -> anyhow::Result<()> {
        self.0.delete(url).basic_auth("admin", Some("")).send().await?.error_for_status()?;
        Ok(())
    }

    /// Waits until `done` holds for what `url` answers.
    pub async fn until(&self, url: &str, patience: Duration, done: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let end = Instant::now() + patience;
        loop {
            if let Ok(value) = self.get(url).await
                && done(&value)
            {
                return Ok(value);
            }
            if Instant::now() > end {
                bail!("{url} did not come to the state waited for within {patience:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A directory that is removed at the end.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir()?)
}

/// The same on the disk of the source tree, where a temporary directory may be in memory.
pub fn scratch_on_disk() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// Lets the disk finish what is under way, so that nobody pays for what came before.
pub fn settle_disk() {
    let _ = Command::new("sync").status();
}

/// A path as text.
pub fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

/// The value that `share` of the values are not above.
pub fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort();
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or_default()
}

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => (sorted[middle - 1] + sorted[middle]) / 2.0,
        (middle, _) => sorted[middle],
    }
}

/// MiB a second.
pub fn mebibytes_per_second(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / took.as_secs_f64()
}

/// Milliseconds with one digit.
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Whether a program is on PATH.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether real containers can run here.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// A pod.
pub fn pod(name: &str, image: &str, command: &[&str]) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image, "command": command}]},
    })
}

/// Whether a pod runs.
pub fn runs(pod: &Value) -> bool {
    pod.pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// The archive of an image whose name is in the cache of a host's data directory.
pub fn archive(cache: &Path, image: &str) -> PathBuf {
    cache.join(format!("{}.tar", mkube_model::names::archive_name(image)))
}
