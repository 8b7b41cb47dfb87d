//! A command in a container: the runtime runs it and ends as it does; we pass its streams on.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mkube_model::neighbours::container_exec::{ExecInput, ExecOrder, ExecOutput, ExecSession};
use mkube_router_machine::engine::EngineFault;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::places::Places;
use crate::process::Process;
use crate::runtime::{NO_SUCH_FILE, Runtime, refused};
use crate::terminal::Terminal;

/// Pieces of input or output that wait.
const WAITING: usize = 16;
/// Bytes read at a time.
const PIECE: usize = 16 << 10;
/// Bytes that are kept of what is said on standard error.
const SAID: usize = 4 << 10;
/// How long the output of a command that has ended may be silent: what it left running keeps its pipes open.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long the runtime may take to say which process it has begun.
const BEGINNING: Duration = Duration::from_secs(2);
/// Pause between two looks for that.
const PAUSE: Duration = Duration::from_millis(20);

/// What makes the names of files different.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Begins a command. `place` is given back when it has ended.
pub fn begin(
    runtime: &Runtime,
    places: &Places,
    order: ExecOrder,
    place: OwnedSemaphorePermit,
) -> Result<ExecSession, EngineFault> {
    let failed = |error: std::io::Error| EngineFault::Failed(format!("the command cannot be run: {error}"));
    let pid_file = places.persist.join(format!("exec-{}.pid", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let mut command = runtime.exec(&places.id, &pid_file, order.tty, &order.command);
    let mut terminal = None;
    if order.tty {
        let (ours, theirs) = Terminal::open().map_err(failed)?;
        let [stdin, stdout, stderr] = Terminal::streams(&theirs).map_err(failed)?;
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        terminal = Some(Arc::new(ours));
    } else {
        command.stdin(if order.stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let child = command.spawn().map_err(failed)?;
    // With the other end of the terminal, whose last holder must be the command.
    drop(command);
    let (input, inputs) = mpsc::channel(WAITING);
    let (outputs, output) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _place = place;
        run(child, terminal, inputs, outputs, &pid_file).await;
        // None when the command never began.
        let _ = std::fs::remove_file(&pid_file);
    });
    Ok(ExecSession { input, output })
}

async fn run(
    mut child: Child,
    terminal: Option<Arc<Terminal>>,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
    pid_file: &Path,
) {
    let (ended, over) = watch::channel(false);
    let runtime = child.id();
    let typing = type_in(child.stdin.take(), terminal.clone(), inputs, runtime);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // What the runtime says itself comes where the command's own errors would.
    let said = Mutex::new(Vec::new());
    let to_stderr = |bytes: Bytes| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SAID.saturating_sub(said.len()).min(bytes.len());
        said.extend_from_slice(&bytes[..room]);
        ExecOutput::Stderr(bytes)
    };
    let showing = async {
        match &terminal {
            Some(terminal) => show(terminal, &outputs, over.clone()).await,
            None => {
                let out = tell(stdout, &outputs, ExecOutput::Stdout, over.clone());
                let err = tell(stderr, &outputs, &to_stderr, over.clone());
                tokio::join!(out, err);
            }
        }
    };
    let ending = async {
        let status = child.wait().await;
        ended.send_replace(true);
        status
    };
    let worked = async { tokio::join!(ending, showing).0 };
    let gone = outputs.clone();
    let status = tokio::select! {
        biased;
        () = gone.closed() => None,
        // Whoever sends no more has left; the end of input is told in so many words.
        () = typing => None,
        status = worked => Some(status),
    };
    match status {
        Some(status) => {
            let end = match status {
                // The file is there from when the command has begun.
                Ok(status) if !status.success() && !pid_file.exists() => {
                    ExecOutput::Exited(never_began(&said.lock().unwrap_or_else(PoisonError::into_inner)))
                }
                Ok(status) => ExecOutput::Exited(code_of(status)),
                Err(error) => ExecOutput::Failed(format!("what became of the command is not known: {error}")),
            };
            // Whether anybody is there to read it makes no difference.
            let _ = outputs.send(end).await;
        }
        None => end(&mut child, pid_file.to_owned()).await,
    }
}

/// The end of a command as a shell would say it.
fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// The end of a command that the runtime could not begin, as a shell would say it: 127 for one that is not there.
fn never_began(said: &[u8]) -> i32 {
    match refused(&String::from_utf8_lossy(said)) {
        EngineFault::CannotExecute { cause, .. } if cause == NO_SUCH_FILE => 127,
        _ => 126,
    }
}

/// Passes input on until nobody sends any more.
async fn type_in(
    mut stdin: Option<ChildStdin>,
    terminal: Option<Arc<Terminal>>,
    mut inputs: mpsc::Receiver<ExecInput>,
    runtime: Option<u32>,
) {
    while let Some(input) = inputs.recv().await {
        match (input, &terminal) {
            (ExecInput::Stdin(bytes), Some(terminal)) => drop(terminal.write(&bytes).await),
            (ExecInput::Stdin(bytes), None) => {
                // A command that reads no more is no error, as in a shell.
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            // What a terminal takes for the end of input.
            (ExecInput::EndOfStdin, Some(terminal)) => drop(terminal.write(&[4]).await),
            (ExecInput::EndOfStdin, None) => stdin = None,
            (ExecInput::Resize { width, height }, Some(terminal)) => terminal.resize(width, height, runtime),
            (ExecInput::Resize { .. }, None) => {}
        }
    }
}

/// Returns a while after the command has ended.
async fn silence(mut over: watch::Receiver<bool>) {
    let _ = over.wait_for(|over| *over).await;
    tokio::time::sleep(LAST_WORDS).await;
}

async fn tell(
    reader: Option<impl AsyncRead + Unpin>,
    outputs: &mpsc::Sender<ExecOutput>,
    as_output: impl Fn(Bytes) -> ExecOutput,
    over: watch::Receiver<bool>,
) {
    let Some(mut reader) = reader else { return };
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        let read = tokio::select! {
            biased;
            read = reader.read_buf(&mut buffer) => read.unwrap_or(0),
            () = silence(over.clone()) => 0,
        };
        if read == 0 || outputs.send(as_output(buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

async fn show(terminal: &Terminal, outputs: &mpsc::Sender<ExecOutput>, over: watch::Receiver<bool>) {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            biased;
            read = terminal.read(&mut buffer) => read,
            () = silence(over.clone()) => 0,
        };
        let shown = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
        if read == 0 || outputs.send(ExecOutput::Stdout(shown)).await.is_err() {
            return;
        }
    }
}

/// Ends a command whose client has left, in the container too: the runtime's own end would not reach it.
async fn end(child: &mut Child, pid_file: PathBuf) {
    let begun = async {
        loop {
            let text = tokio::fs::read_to_string(&pid_file).await.unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<u32>() {
                return pid;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let pid = tokio::select! {
        biased;
        _ = child.wait() => return,
        pid = tokio::time::timeout(BEGINNING, begun) => pid.ok(),
    };
    if let Some(process) = pid.and_then(Process::open) {
        process.kill();
    }
    // It may have ended by itself, now that its process has.
    let _ = tokio::time::timeout(BEGINNING, child.wait()).await;
    let _ = child.kill().await;
}
