//! From signal to exit: the binary owns the signals, the tree stops in order.

use std::time::Duration;

use mkube_supervision::Tree;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Failure, INTERNAL};

/// Time everything together may take to stop.
const BUDGET: Duration = Duration::from_secs(20);

/// The signals that end mkube.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them over.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs `work` on an actix system of this thread.
pub fn system<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    open_as_many_files_as_we_may();
    actix_rt::System::new().block_on(work)
}

/// Each client of the API is a file, and what a process gets unasked is for programs that wait by `select`.
fn open_as_many_files_as_we_may() {
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}

/// Waits for a signal or for the tree to give up, then stops the tree. A second signal skips to the end.
pub async fn until_stopped(tree: &Tree, signals: &mut Signals) -> Result<(), Failure> {
    let gave_up = tokio::select! {
        () = signals.next() => None,
        cause = tree.gave_up() => Some(cause),
    };
    tracing::info!("stopping; containers go on");
    let stopping = tree.stop(BUDGET);
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        () = signals.next() => tree.stop(Duration::ZERO).await,
    }
    match gave_up {
        None => Ok(()),
        Some(cause) => Err(Failure::text(INTERNAL, format!("the supervisor tree gave up: {cause}"))),
    }
}
