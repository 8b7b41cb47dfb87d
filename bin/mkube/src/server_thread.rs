//! A server on a thread of its own beside the controller, as `mkube dev` has them, so that nothing the controller does delays it.

use std::net::SocketAddr;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::failure::{Failure, INTERNAL};

/// A server that runs on its own thread.
pub struct ServerThread {
    /// Where it listens.
    pub address: SocketAddr,
    name: &'static str,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl ServerThread {
    /// Starts it on a runtime of its own; returns when it answers. `start` gives its address and itself, `end` stops it.
    ///
    /// # Errors
    /// What `runtime` and `start` say.
    pub fn start<S>(
        name: &'static str,
        runtime: impl FnOnce() -> Result<Runtime, Failure> + Send + 'static,
        start: impl AsyncFnOnce() -> Result<(SocketAddr, S), Failure> + Send + 'static,
        end: impl AsyncFnOnce(S) + Send + 'static,
    ) -> Result<Self, Failure> {
        let (stop, stopped) = oneshot::channel();
        let (started, answer) = std::sync::mpsc::channel();
        let work = move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(failure) => return drop(started.send(Err(failure))),
            };
            runtime.block_on(async {
                match start().await {
                    Ok((address, server)) => {
                        let _ = started.send(Ok(address));
                        // An error means that the sender is gone: stop as well.
                        let _ = stopped.await;
                        end(server).await;
                    }
                    // Nobody listens only when the whole process is ending.
                    Err(failure) => drop(started.send(Err(failure))),
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|error| Failure::new(INTERNAL, error))?;
        let ended = |_| Failure::text(INTERNAL, format!("the thread of the {name} ended"));
        let address = answer.recv().map_err(ended)??;
        Ok(Self { address, name, stop, thread })
    }

    /// Lets requests in flight end, then stops. What the server started elsewhere goes on.
    pub fn stop(self) {
        // A thread that is gone needs no telling.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!(name = self.name, "a server's thread panicked");
        }
    }
}
