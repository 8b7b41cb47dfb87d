//! A network namespace without a name: it is gone with the process that made it, however that ends.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::dev::{SOON, eventually};

/// See the file's text.
#[derive(Clone)]
pub struct Namespace {
    door: Arc<File>,
    keeper: Arc<Keeper>,
}

/// A process that does nothing in there. Its input is a pipe of ours: when we end, it ends.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Namespace {
    /// A new one, in which nothing is but a loopback that is up.
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = Keeper(command.spawn().expect("unshare is part of every Linux"));
        let path = format!("/proc/{}/ns/net", keeper.0.id());
        let ours = std::fs::read_link("/proc/self/ns/net").expect("we are in one");
        eventually("a namespace of its own", SOON, || match std::fs::read_link(&path) {
            Ok(theirs) if theirs != ours => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let door = File::open(&path).expect("it is there");
        let made = Self { door: Arc::new(door), keeper: Arc::new(keeper) };
        made.command("ip link set lo up");
        made
    }

    /// What `ip` calls it.
    pub fn id(&self) -> u32 {
        self.keeper.0.id()
    }

    /// The calling thread is in there from now on, and so is whatever it starts.
    pub fn enter(&self) {
        move_into_link_name_space(self.door.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
    }

    /// Does something in there. Sockets and processes that come of it stay in there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                self.enter();
                work()
            });
            working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program in there that must succeed.
    #[track_caller]
    pub fn command(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = self.run(|| Command::new(words[0]).args(&words[1..]).output());
        match done {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("{line}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("{line}: {error}"),
        }
    }
}
