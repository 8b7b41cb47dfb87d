//! Follows what conmon writes: output lines, and the exit code.
//!
//! One task for all containers of an engine, and nothing to do while they are silent: the kernel says which log has grown
//! (inotify on one directory) and which process has ended (a pidfd each).

use std::collections::{HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mkube_router_machine::engine::{EngineEvent, EngineFault};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::cgroup;
use crate::places::Places;
use crate::process::{Process, readable};
use crate::tail::Tail;

/// Containers that may wait to be followed: more than a host has, since one that comes back asks for all of them before it
/// listens.
const WAITING: usize = 4096;
/// Bytes of file events taken at once.
const EVENTS: usize = 16 << 10;
/// How long conmon may take to note an exit: it first reads what is left of the output.
pub const NOTES_EXIT: Duration = Duration::from_secs(10);
/// Said of an exit that nothing recorded, as the device does.
const UNKNOWN: i32 = 255;

/// A container to follow.
pub struct Followed {
    /// Which container.
    pub key: String,
    /// Where its files lie.
    pub places: Places,
    /// The main process; nothing when it has ended already.
    pub process: Option<Process>,
    /// Conmon; nothing when it has ended already.
    pub conmon: Option<Process>,
}

enum Command {
    Follow(Followed),
    /// Passes on what is left of the output of one that has ended.
    Drain(String, Places),
    /// Tells nothing more of it.
    Leave(String),
}

/// Tells what containers write and how they end. Ends with its owner.
pub struct Watcher {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Watches the directory that holds all logs. Needs a runtime.
    pub fn start(logs: &Path, events: mpsc::Sender<EngineEvent>) -> Result<Self, EngineFault> {
        let failed = |error: std::io::Error| EngineFault::Failed(format!("logs cannot be watched: {error}"));
        let files =
            inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        inotify::add_watch(&files, logs, WatchFlags::MODIFY).map_err(|error| failed(error.into()))?;
        let files = readable(files).map_err(failed)?;
        let (commands, inbox) = mpsc::channel(WAITING);
        let watching =
            Watching { files, events, followed: HashMap::new(), grown: VecDeque::new(), ends: JoinSet::new(), runs: 0 };
        let task = tokio::spawn(watching.run(inbox));
        Ok(Self { commands, task })
    }

    async fn send(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("nobody watches the containers");
        }
    }

    /// Follows a container until its exit was told. Following it twice is following it once.
    pub async fn follow(&self, followed: Followed) {
        self.send(Command::Follow(followed)).await;
    }

    /// Tells what is left of the output of a container that has ended.
    pub async fn drain(&self, key: &str, places: Places) {
        self.send(Command::Drain(key.to_owned(), places)).await;
    }

    /// Tells nothing more of a container.
    pub async fn leave(&self, key: &str) {
        self.send(Command::Leave(key.to_owned())).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The exit code and its time, once conmon wrote it.
pub fn exit_of(places: &Places) -> Option<(i32, SystemTime)> {
    let code = std::fs::read_to_string(&places.exit).ok()?.trim().parse().ok()?;
    let at = std::fs::metadata(&places.exit).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Some((code, at))
}

/// One that is followed.
struct One {
    places: Places,
    tail: Tail,
    /// Tells this run from an earlier one of the same container.
    run: u64,
}

struct Watching {
    files: AsyncFd<OwnedFd>,
    events: mpsc::Sender<EngineEvent>,
    followed: HashMap<String, One>,
    /// Whose log has grown, each once, in turn.
    grown: VecDeque<String>,
    ends: JoinSet<(String, u64)>,
    runs: u64,
}

impl Watching {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let busy = !self.grown.is_empty();
            let ended = tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some(ended) = self.ends.join_next() => match ended {
                    Ok((key, run)) => self.ended(&key, run).await,
                    Err(_) => true,
                },
                ready = self.files.readable() => match ready {
                    Ok(mut ready) => {
                        ready.clear_ready();
                        self.note_grown();
                        true
                    }
                    Err(_) => return,
                },
                () = std::future::ready(()), if busy => true,
            };
            if !ended || !self.look().await {
                return;
            }
        }
    }

    /// False when nobody listens any more; so are all below.
    async fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Follow(Followed { key, places, process, conmon }) => {
                if self.followed.contains_key(&key) {
                    return true;
                }
                self.runs += 1;
                let run = self.runs;
                self.grown.push_back(key.clone());
                self.followed.insert(key.clone(), One { tail: Tail::new(&places), places, run });
                self.ends.spawn(async move {
                    if let Some(process) = process {
                        process.ended().await;
                    }
                    // Conmon ends when it has noted the exit. Without conmon nobody will.
                    if let Some(conmon) = conmon {
                        let _ = tokio::time::timeout(NOTES_EXIT, conmon.ended()).await;
                    }
                    (key, run)
                });
                true
            }
            Command::Drain(key, places) => {
                if self.followed.contains_key(&key) {
                    return true;
                }
                let mut tail = Tail::new(&places);
                self.all(&key, &mut tail).await
            }
            Command::Leave(key) => {
                self.followed.remove(&key);
                true
            }
        }
    }

    /// Takes from the kernel which logs have grown.
    fn note_grown(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); EVENTS];
        let mut reader = Reader::new(self.files.get_ref(), &mut buffer);
        let mut names = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    names.extend(self.followed.keys().cloned());
                }
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy());
                    names.extend(name.and_then(|name| name.strip_suffix(".log").map(str::to_owned)));
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        for key in names {
            if self.followed.contains_key(&key) && !self.grown.contains(&key) {
                self.grown.push_back(key);
            }
        }
    }

    /// One look at each log that has grown; one that has more comes again, after the others.
    async fn look(&mut self) -> bool {
        for _ in 0..self.grown.len() {
            let Some(key) = self.grown.pop_front() else { break };
            let Some(one) = self.followed.get_mut(&key) else { continue };
            let (lines, all) = one.tail.read();
            for line in lines {
                if !output(&self.events, &key, line).await {
                    return false;
                }
            }
            one.tail.passed_on();
            if !all {
                self.grown.push_back(key);
            }
        }
        true
    }

    async fn ended(&mut self, key: &str, run: u64) -> bool {
        if self.followed.get(key).is_none_or(|one| one.run != run) {
            return true;
        }
        let Some(mut one) = self.followed.remove(key) else { return true };
        // In this order: what was written before the end is told before the end.
        if !self.all(key, &mut one.tail).await {
            return false;
        }
        let out_of_memory = one.places.persist.join("oom").exists() || cgroup::was_out_of_memory(&one.places.id);
        let (code, at) = exit_of(&one.places).unwrap_or_else(|| (UNKNOWN, now()));
        let out_of_memory = out_of_memory && code != 0;
        let event = EngineEvent::Exited { key: key.to_owned(), code, out_of_memory, at };
        self.events.send(event).await.is_ok()
    }

    async fn all(&self, key: &str, tail: &mut Tail) -> bool {
        loop {
            let (mut lines, all) = tail.read();
            if all {
                lines.extend(tail.rest());
            }
            for line in lines {
                if !output(&self.events, key, line).await {
                    return false;
                }
            }
            tail.passed_on();
            if all {
                return true;
            }
        }
    }
}

async fn output(events: &mpsc::Sender<EngineEvent>, key: &str, line: crate::tail::Line) -> bool {
    let event = EngineEvent::Output { key: key.to_owned(), at: line.at, stderr: line.stderr, line: line.text };
    events.send(event).await.is_ok()
}

#[allow(clippy::disallowed_methods, reason = "the time of an exit nobody else noted")]
fn now() -> SystemTime {
    SystemTime::now()
}
