//! The OCI runtime and `conmon`, as processes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mkube_router_machine::engine::EngineFault;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::cgroup;
use crate::places::Places;
use crate::process::Process;

/// Runtimes to try, the one with the fewest conditions first.
const CANDIDATES: [&str; 2] = ["runc", "crun"];
/// Longest wait for the runtime to do one thing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for what conmon says when it fails.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Starts conmon in its own control groups: their files come first, then `--`, then the command line. The pipe conmon answers on
/// comes as standard output, since that is what only this one child inherits, and becomes number 3.
const HOLD: &str = r#"exec 3>&1 >/dev/null
while [ "$1" != -- ]; do echo $$ >"$1" || :; shift; done
shift
exec "$@""#;

/// A runtime that works here.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    conmon: PathBuf,
    /// Where the runtime keeps its state.
    root: PathBuf,
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

    /// Runs the runtime; what it says when it refuses.
    async fn ask(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the runtime does not answer".to_owned()),
        }
    }

    /// Makes a container held by conmon. Its process waits to be started.
    pub async fn create(&self, places: &Places) -> Result<Created, EngineFault> {
        let failed = |error: std::io::Error| EngineFault::Failed(format!("conmon: {error}"));
        let close = rustix::pipe::PipeFlags::CLOEXEC;
        let (answers, to_us) = rustix::pipe::pipe_with(close).map_err(|error| failed(error.into()))?;
        let mut conmon = Command::new("sh");
        conmon
            .args(["-c", HOLD, "sh"])
            // Where it notes that memory was short, besides its own directory.
            .current_dir(&places.bundle)
            .args(cgroup::make_for_conmon(&places.id))
            .arg("--")
            .arg(&self.conmon)
            .args(["--api-version", "1", "-c", &places.id, "-u", &places.id, "-n", &places.id, "-r"])
            .arg(&self.program)
            .arg("-b")
            .arg(&places.bundle)
            .arg("-p")
            .arg(&places.pid)
            .arg("-P")
            .arg(&places.conmon)
            .arg("-l")
            .arg(format!("k8s-file:{}", places.log.display()))
            .arg("--exit-dir")
            .arg(&places.exits)
            .arg("--persist-dir")
            .arg(&places.persist)
            .arg("--runtime-arg")
            .arg(format!("--root={}", self.root.display()))
            .args(["--full-attach", "--no-sync-log"])
            .env("_OCI_SYNCPIPE", "3")
            .stdin(Stdio::null())
            .stdout(to_us)
            .stderr(Stdio::piped())
            // What a terminal sends to the host's process group does not reach it.
            .process_group(0);
        let mut child = conmon.spawn().map_err(failed)?;
        // The command holds the writing end too: without it, the end of the pipe means that conmon is gone.
        drop(conmon);
        let answer = tokio::time::timeout(PATIENCE, read_answer(answers)).await;
        let answer = answer.map_err(|_| EngineFault::Failed("the runtime does not answer".into()))?;
        // It has put itself into the background by now, or failed.
        let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
        let pid =
            answer.as_ref().and_then(|answer| u32::try_from(answer["data"].as_i64()?).ok()).filter(|pid| *pid > 0);
        let Some(pid) = pid else {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                let _ = tokio::time::timeout(LAST_WORDS, stderr.read_to_string(&mut said)).await;
            }
            let answer = answer.unwrap_or_default();
            return Err(refused(answer["message"].as_str().unwrap_or(said.trim())));
        };
        let conmon = held_by(places);
        Ok(Created { pid, process: Process::open(pid), conmon })
    }

    /// Lets a container's process begin.
    pub async fn start(&self, id: &str) -> Result<(), EngineFault> {
        self.ask(&["start", id]).await.map_err(|said| refused(&said))
    }

    /// Whether a container was made and not started: the runtime keeps the pipe on which it waits until then.
    pub fn waits_to_start(&self, id: &str) -> bool {
        self.root.join(id).join("exec.fifo").exists()
    }

    /// The command that runs another process in a container, and ends as that does.
    pub fn exec(&self, id: &str, pid_file: &Path, tty: bool, command: &[String]) -> Command {
        let mut exec = Command::new(&self.program);
        exec.arg("--root").arg(&self.root).arg("exec").arg("--pid-file").arg(pid_file);
        if tty {
            exec.args(["--tty", "--env", "TERM=xterm"]);
        }
        exec.arg(id).args(command).kill_on_drop(true).process_group(0);
        exec
    }

    /// Sends a signal to the main process.
    pub async fn kill(&self, id: &str, signal: i32) -> Result<(), EngineFault> {
        let gone = ["does not exist", "not running", "process already finished", "no such process"];
        match self.ask(&["kill", id, &signal.to_string()]).await {
            Err(said) if !gone.iter().any(|words| said.contains(words)) => Err(EngineFault::Failed(said)),
            _ => Ok(()),
        }
    }

    /// Forgets a container, killing what is left of it.
    pub async fn delete(&self, id: &str) -> Result<(), EngineFault> {
        let Err(said) = self.ask(&["delete", "-f", id]).await else { return Ok(()) };
        // What the runtime noted may be damaged, such as by a loss of power: then it is done without it.
        tracing::warn!(%id, %said, "the runtime cannot delete a container, so it is done by hand");
        cgroup::remove(id).await.map_err(|left| EngineFault::Failed(format!("{said}; {left}")))?;
        match std::fs::remove_dir_all(self.root.join(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineFault::Failed(error.to_string())),
            _ => Ok(()),
        }
    }
}

/// A container that was made.
pub struct Created {
    /// Its main process.
    pub pid: u32,
    /// The same, held.
    pub process: Option<Process>,
    /// The conmon that holds it.
    pub conmon: Option<Process>,
}

/// The conmon of a container, if it is alive.
pub fn held_by(places: &Places) -> Option<Process> {
    let pid: u32 = std::fs::read_to_string(&places.conmon).ok()?.trim().parse().ok()?;
    // Held first, looked at then: the number cannot come to mean another process in between.
    let process = Process::open(pid)?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    line.split(|byte| *byte == 0).any(|word| word == places.id.as_bytes()).then_some(process)
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

/// What a program that is not there is called.
pub const NO_SUCH_FILE: &str = "No such file or directory";

/// What a runtime says of a program it cannot execute, and what that is called.
const CANNOT_EXECUTE: [(&str, &str); 5] = [
    ("executable file not found", NO_SUCH_FILE),
    ("no such file or directory", NO_SUCH_FILE),
    ("permission denied", "Permission denied"),
    ("exec format error", "Exec format error"),
    ("is a directory", "Permission denied"),
];

/// What a runtime's refusal means: it names the program as `exec: "/bin/app"`, or `exec /bin/app`.
pub fn refused(text: &str) -> EngineFault {
    let plain = text.trim().replace("\\\"", "\"");
    let lower = plain.to_lowercase();
    let cause = CANNOT_EXECUTE.iter().find(|(words, _)| lower.contains(words)).map(|(_, cause)| *cause);
    let quoted = plain.split_once("exec: \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    let bare = || plain.split_once(" exec ").and_then(|(_, rest)| rest.split([':', ' ']).next());
    match (cause, quoted.or_else(bare)) {
        (Some(cause), Some(program)) => {
            EngineFault::CannotExecute { program: program.trim_matches('"').to_owned(), cause: cause.to_owned() }
        }
        _ => EngineFault::Failed(plain),
    }
}

/// Runs a container that does nothing, to see that the runtime can.
fn trial(program: &Path, scratch: &Path) -> Result<(), String> {
    let stamp = scratch.join(format!("trial-{}", program.file_name().unwrap_or_default().to_string_lossy()));
    let identity = trial_identity(program);
    if std::fs::read_to_string(&stamp).is_ok_and(|seen| seen == identity) {
        return Ok(());
    }
    // Hosts that start at the same time try at the same time.
    let bundle_id = format!("mkube-trial-{}", uuid::Uuid::new_v4());
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
        "linux": {"cgroupsPath": format!("/mkube/{bundle_id}"), "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}]},
    });
    std::fs::write(bundle.join("config.json"), config.to_string()).map_err(text)?;
    let id = bundle_id.clone();
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
        let begin = "runc create failed: unable to start container process: ";
        let exec = |text: &str| refused(&format!("{begin}{text}")).to_string();
        let missing = "execvp /nope: No such file or directory";
        assert_eq!(exec(r#"exec: "/nope": stat /nope: no such file or directory"#), missing);
        assert_eq!(exec(r#"exec: "/nope": executable file not found in $PATH"#), missing);
        let logged = r#"time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory""#;
        assert_eq!(refused(logged).to_string(), missing);
        assert_eq!(exec("exec /app: exec format error"), "execvp /app: Exec format error");
        let other = r#"error mounting "/x" to rootfs at "/y": no such file or directory"#;
        assert!(matches!(refused(other), EngineFault::Failed(_)), "a mount is no program");
        assert!(matches!(refused("cgroups in hybrid mode not supported"), EngineFault::Failed(_)));
    }
}
