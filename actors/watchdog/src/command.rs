//! A probe that is a command in the container: run, waited for, and ended when it takes too long.

use std::sync::Arc;
use std::time::Duration;

use mkube_model::neighbours::container_exec::{ContainerExec, ExecOrder, ExecOutput, ExecSession};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::neighbours::prober::Verdict;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Commands that run at the same time. Each is a process on the device, and people's own commands need room there too.
pub const AT_ONCE: usize = 8;
/// Longest wait for a turn.
const TURN: Duration = Duration::from_secs(60);
/// Longest wait for the device to begin. That is no fault of the command.
const BEGINNING: Duration = Duration::from_secs(20);
/// What is kept of a command's output.
const OUTPUT: usize = 10 << 10;

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Somebody answered, or should have.
    Answer(Verdict),
    /// It is not known whether there would be an answer; why, where somebody should know. It says nothing about the container.
    Unknown(Option<String>),
    /// This device asks no such thing: why.
    Never(String),
}

/// Runs commands in containers, a few at a time.
#[derive(Clone)]
pub struct Commands {
    exec: Arc<dyn ContainerExec>,
    places: Arc<Semaphore>,
}

impl Commands {
    /// Runs them by means of `exec`.
    pub fn new(exec: Arc<dyn ContainerExec>) -> Self {
        Self { exec, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Runs one. Exit code 0 within `patience` is a good answer; the time begins when the command does.
    pub async fn run(self, container: ContainerRef, command: Vec<String>, patience: Duration) -> Said {
        let Ok(Ok(_place)) = timeout(TURN, self.places.acquire()).await else {
            return Said::Unknown(Some("too many commands of probes wait for their turn".to_owned()));
        };
        let order = ExecOrder { command, stdin: false, tty: false };
        let session = match timeout(BEGINNING, self.exec.exec(&container, order)).await {
            Ok(Ok(session)) => session,
            Ok(Err(status)) if status.code == 501 => return Said::Never(status.message),
            // It is on its way from one state to another; its pod's status will say so.
            Ok(Err(status)) if status.code == 400 => return Said::Unknown(None),
            Ok(Err(status)) => return Said::Unknown(Some(status.message)),
            Err(_) => return Said::Unknown(Some("the device does not begin the command in time".to_owned())),
        };
        match timeout(patience, end_of(session)).await {
            Ok(said) => said,
            // Nobody listens any more, which ends the command.
            Err(_) => Said::Answer(Verdict::Bad(format!("command timed out after {} s", patience.as_secs_f64()))),
        }
    }
}

/// Waits for the end of a command. What it writes beyond the bound is read, so that it does not wait for us, and dropped.
async fn end_of(session: ExecSession) -> Said {
    let ExecSession { input: _input, mut output } = session;
    let mut written: Vec<u8> = Vec::new();
    while let Some(one) = output.recv().await {
        match one {
            ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => {
                let room = OUTPUT - written.len();
                written.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            ExecOutput::Exited(0) => return Said::Answer(Verdict::Good),
            ExecOutput::Exited(code) => {
                let text = String::from_utf8_lossy(&written);
                let text = text.trim();
                let colon = if text.is_empty() { "" } else { ": " };
                return Said::Answer(Verdict::Bad(format!("command exited with code {code}{colon}{text}")));
            }
            ExecOutput::Failed(why) => return Said::Unknown(Some(why)),
        }
    }
    Said::Unknown(Some("what became of the command is not known".to_owned()))
}
