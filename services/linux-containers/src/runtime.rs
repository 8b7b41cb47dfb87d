//! The OCI runtime and `conmon`, as processes.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mkube_router_machine::engine::EngineFault;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Runtimes to try, the one with the fewest conditions first.
const CANDIDATES: [&str; 2] = ["runc", "crun"];
/// Longest wait for a container to be made.
const CREATE: Duration = Duration::from_secs(20);

/// A runtime that works here.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    conmon: PathBuf,
    /// Where the runtime keeps its state.
    root: PathBuf,
}

/// Where everything of one container lies.
#[derive(Debug, Clone)]
pub struct Places {
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Output, as conmon writes it.
    pub log: PathBuf,
    /// Exit code, as conmon writes it.
    pub exit: PathBuf,
    /// Directory of all exit codes.
    pub exits: PathBuf,
    /// Conmon's own directory.
    pub persist: PathBuf,
    /// Process id.
    pub pid: PathBuf,
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/libexec/podman"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|directory| directory.join(program)).find(|file| file.is_file())
}

impl Runtime {
    /// Finds the first runtime that really runs a container here. `scratch` is a directory for the trial.
    pub fn choose(scratch: &Path, root: PathBuf) -> Result<Self, EngineFault> {
        let missing =
            |what: &str| EngineFault::Failed(format!("{what} is not installed (apt-get install runc conmon iproute2)"));
        let conmon = find("conmon").ok_or_else(|| missing("conmon"))?;
        find("ip").ok_or_else(|| missing("ip"))?;
        let mut tried = Vec::new();
        for name in CANDIDATES {
            let Some(program) = find(name) else { continue };
            match trial(&program, scratch) {
                Ok(()) => return Ok(Self { program, conmon, root }),
                Err(why) => tried.push(format!("{name}: {why}")),
            }
        }
        if tried.is_empty() {
            Err(missing("an OCI runtime (runc or crun)"))
        } else {
            Err(EngineFault::Failed(tried.join("; ")))
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Makes and starts a container held by conmon; its process id.
    pub async fn run(&self, key: &str, places: &Places) -> Result<u32, EngineFault> {
        let failed = |error: std::io::Error| EngineFault::Failed(error.to_string());
        let (answers, to_us) = rustix::pipe::pipe().map_err(|error| EngineFault::Failed(error.to_string()))?;
        // The writing end is inherited; conmon is told its number.
        rustix::io::fcntl_setfd(&answers, rustix::io::FdFlags::CLOEXEC)
            .map_err(|error| EngineFault::Failed(error.to_string()))?;
        let mut conmon = Command::new(&self.conmon);
        conmon
            .args(["--api-version", "1", "-c", key, "-u", key, "-n", key, "-r"])
            .arg(&self.program)
            .arg("-b")
            .arg(&places.bundle)
            .arg("-p")
            .arg(&places.pid)
            .arg("-P")
            .arg(places.persist.join("conmon.pid"))
            .arg("-l")
            .arg(format!("k8s-file:{}", places.log.display()))
            .arg("--exit-dir")
            .arg(&places.exits)
            .arg("--persist-dir")
            .arg(&places.persist)
            .arg("--socket-dir-path")
            .arg(&places.persist)
            .arg("--runtime-arg")
            .arg(format!("--root={}", self.root.display()))
            .arg("--full-attach")
            .env("_OCI_SYNCPIPE", to_us.as_raw_fd().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = conmon.spawn().map_err(failed)?;
        drop(to_us);
        let answer = tokio::time::timeout(CREATE, read_answer(answers)).await;
        let mut said = String::new();
        let status = tokio::time::timeout(CREATE, child.wait()).await;
        if let Some(mut stderr) = child.stderr.take() {
            // Conmon's child keeps the pipe: take what is there and no more.
            let _ = tokio::time::timeout(Duration::from_millis(20), stderr.read_to_string(&mut said)).await;
        }
        let answer = answer.map_err(|_| EngineFault::Failed("the runtime does not answer".into()))?;
        if !matches!(status, Ok(Ok(status)) if status.success()) && answer.is_none() {
            return Err(EngineFault::Failed(format!("conmon: {}", said.trim())));
        }
        let answer = answer.unwrap_or_default();
        match answer["data"].as_i64() {
            Some(pid) if pid > 0 => {}
            _ => return Err(refused(answer["message"].as_str().unwrap_or(said.trim()))),
        }
        let output = self.command().arg("start").arg(key).output().await.map_err(failed)?;
        if !output.status.success() {
            return Err(refused(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok(answer["data"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0))
    }

    /// Sends a signal to the main process.
    pub async fn kill(&self, key: &str, signal: i32) -> Result<(), EngineFault> {
        let output = self.command().args(["kill", key, &signal.to_string()]).output().await;
        let output = output.map_err(|error| EngineFault::Failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let gone = ["does not exist", "not running", "process already finished", "no such process"];
        if output.status.success() || gone.iter().any(|word| said.contains(word)) {
            return Ok(());
        }
        Err(EngineFault::Failed(said.trim().to_owned()))
    }

    /// Forgets a container, killing what is left of it.
    pub async fn delete(&self, key: &str) -> Result<(), EngineFault> {
        let output = self.command().args(["delete", "-f", key]).output().await;
        let output = output.map_err(|error| EngineFault::Failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(EngineFault::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Containers the runtime knows.
    pub async fn list(&self) -> Result<Vec<String>, EngineFault> {
        let output = self.command().args(["list", "-q"]).output().await;
        let output = output.map_err(|error| EngineFault::Failed(error.to_string()))?;
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
    }
}

async fn read_answer(pipe: std::os::fd::OwnedFd) -> Option<Value> {
    let mut file = tokio::fs::File::from_std(std::fs::File::from(pipe));
    let mut text = String::new();
    let mut buffer = [0u8; 4096];
    // One line is the answer; conmon keeps the pipe open afterwards.
    loop {
        match file.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                text += &String::from_utf8_lossy(&buffer[..read]);
                if text.contains('\n') {
                    break;
                }
            }
        }
    }
    serde_json::from_str(text.lines().next()?).ok()
}

/// What a runtime's refusal means.
fn refused(text: &str) -> EngineFault {
    let text = text.trim();
    for marker in [
        "executable file not found",
        "no such file or directory",
        "No such file or directory",
        "permission denied",
        "exec format error",
    ] {
        if text.contains(marker) && (text.contains("exec") || text.contains("starting container process")) {
            let program =
                text.split('"').nth(1).map_or("", |rest| rest.trim_end_matches([':', '\\'])).trim_end_matches(':');
            let program = program.strip_prefix("exec: ").unwrap_or(program);
            let cause = if marker.contains("not found") { "No such file or directory" } else { marker };
            return EngineFault::CannotExecute { program: program.replace(['\\', '"'], ""), cause: cause.to_owned() };
        }
    }
    EngineFault::Failed(text.to_owned())
}

/// Runs a container that does nothing, to see that the runtime can.
fn trial(program: &Path, scratch: &Path) -> Result<(), String> {
    let stamp = scratch.join(format!("trial-{}", program.file_name().unwrap_or_default().to_string_lossy()));
    let identity = trial_identity(program);
    if std::fs::read_to_string(&stamp).is_ok_and(|seen| seen == identity) {
        return Ok(());
    }
    let bundle = scratch.join("trial");
    let root = bundle.join("rootfs");
    let text = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(&root).map_err(text)?;
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        // A program that is not there: everything up to executing it must work.
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/mkube-trial"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"cgroupsPath": "/mkube-trial", "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}]},
    });
    std::fs::write(bundle.join("config.json"), config.to_string()).map_err(text)?;
    let id = format!("mkube-trial-{}", std::process::id());
    let output = std::process::Command::new(program)
        .arg("--root")
        .arg(bundle.join("state"))
        .arg("run")
        .arg("-b")
        .arg(&bundle)
        .arg(&id)
        .stdin(Stdio::null())
        .output()
        .map_err(text)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let _ = std::process::Command::new(program)
        .arg("--root")
        .arg(bundle.join("state"))
        .args(["delete", "-f", &id])
        .output();
    let reached_the_program = said.contains("/mkube-trial")
        && (said.contains("no such file") || said.contains("not found") || said.contains("No such file"));
    std::fs::remove_dir_all(&bundle).map_err(text)?;
    if !reached_the_program {
        return Err(said.trim().to_owned());
    }
    std::fs::write(&stamp, identity).map_err(text)
}

/// The trial holds for this program on this boot.
fn trial_identity(program: &Path) -> String {
    let modified = std::fs::metadata(program).and_then(|meta| meta.modified()).ok();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {modified:?} {}", program.display(), boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_told_apart_from_other_refusals() {
        let text = "runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory";
        assert!(matches!(refused(text), EngineFault::CannotExecute { program, .. } if program == "/nope"));
        assert!(matches!(refused("cgroups in hybrid mode not supported"), EngineFault::Failed(_)));
    }
}
