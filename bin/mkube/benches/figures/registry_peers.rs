//! The registries that are compared, each a process of its own on a directory of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::machine::{BINARY, Running, scratch_on_disk, text};
use crate::registry_client::RegistryClient;
use mkube_free_ports::free_address;

/// Which registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `mkube registry`.
    Ours,
    /// Debian's docker-registry, with the in-memory descriptor cache of Debian's configuration.
    Docker,
}

/// A registry that runs, empty at the start.
pub struct RunningRegistry {
    pub process: Running,
    pub client: RegistryClient,
    /// Host and port.
    pub address: String,
    _directory: tempfile::TempDir,
}

/// Where docker-registry is; `scripts/bench` puts it on PATH.
pub fn docker_registry() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("docker-registry"))
        .find(|path| path.is_file())
}

impl Peer {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "mkube",
            Self::Docker => "docker-registry",
        }
    }

    /// Starts it on a free port and waits until it answers.
    pub async fn start(self) -> anyhow::Result<RunningRegistry> {
        let directory = scratch_on_disk()?;
        let address = free_address();
        let data = directory.path().join("data");
        let mut process = match self {
            Self::Ours => {
                let words = ["registry", "--listen", &address, "--data-dir", &text(&data)];
                Running::other(Path::new(BINARY), &words)?
            }
            Self::Docker => {
                let config = directory.path().join("config.yml");
                std::fs::write(&config, docker_config(&address, &data))?;
                let program = docker_registry().context("docker-registry is not installed")?;
                Running::other(&program, &["serve", &text(&config)])?
            }
        };
        let client = RegistryClient::new(&address)?;
        let end = Instant::now() + Duration::from_secs(20);
        while client.ping().await.is_err() {
            if !process.is_alive() || Instant::now() > end {
                bail!("{} does not answer on {address}", self.name());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(RunningRegistry { process, client, address, _directory: directory })
    }
}

fn docker_config(address: &str, data: &Path) -> String {
    let config = serde_json::json!({
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": true}},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "filesystem": {"rootdirectory": text(data)},
            "delete": {"enabled": true},
        },
        "http": {"addr": address},
    });
    config.to_string()
}
