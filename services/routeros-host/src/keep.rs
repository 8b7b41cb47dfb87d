//! Keeps the device's state on disk: a request that changed something is answered after the change is there.
//!
//! The whole state is one file, replaced as a whole. Requests that come while one is being written share the next writing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mkube_router_machine::DeviceState;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The file's contents.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// Boot id of the machine the containers ran on.
    pub boot: String,
    /// The device.
    pub device: DeviceState,
}

/// Reads the file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<Kept>, String> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Asks for writings and waits for them.
#[derive(Clone)]
pub struct Keeper {
    wanted: Arc<watch::Sender<u64>>,
    done: watch::Receiver<(u64, Option<String>)>,
}

impl Keeper {
    /// Starts the writer. `state` gives the bytes to write, at the moment of writing.
    pub fn start(path: PathBuf, state: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        let (wanted, mut wishes) = watch::channel(0u64);
        let (finished, done) = watch::channel((0u64, None));
        let state = Arc::new(state);
        tokio::spawn(async move {
            while wishes.changed().await.is_ok() {
                let wish = *wishes.borrow_and_update();
                let (path, state) = (path.clone(), state.clone());
                let written = tokio::task::spawn_blocking(move || write(&path, &state())).await;
                let error = match written {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                finished.send_replace((wish, error));
            }
        });
        Self { wanted: Arc::new(wanted), done }
    }

    /// Returns when everything that was true at the call is on disk.
    pub async fn kept(&self) -> Result<(), String> {
        let mut mine = 0;
        self.wanted.send_modify(|wish| {
            *wish += 1;
            mine = *wish;
        });
        let mut done = self.done.clone();
        let result = done.wait_for(|(wish, _)| *wish >= mine).await;
        match result {
            Ok(state) => state.1.clone().map_or(Ok(()), Err),
            Err(_) => Err("the writer is gone".to_owned()),
        }
    }
}
