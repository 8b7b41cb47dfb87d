//! `mkube dev` as a process, with the simulated host.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Context;
use mkube_linux_containers::assemble;
use tempfile::TempDir;

/// Time until pods can be created.
const START: Duration = Duration::from_secs(60);

/// A running server; ends with the value.
pub struct Server {
    directory: TempDir,
    child: Child,
    pub url: String,
}

impl Server {
    /// Starts one with the archives of some images; returns when pods can be created.
    pub fn start(images: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("mkube");
        let cache = data.join("host/disk1/cache");
        std::fs::create_dir_all(&cache)?;
        for image in images {
            let archive = cache.join(format!("{}.tar", mkube_model::names::archive_name(image)));
            assemble::write(&assemble::busybox(image, Path::new("/bin/true"), &["true"])?, &archive)?;
        }
        let address = mkube_free_ports::free_address();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mkube"))
            .args(["dev", "--log-level", "warn", "--host", "simulated", "--listen", &address, "--data-dir"])
            .arg(&data)
            .args(["--registry", "127.0.0.1:0", "--dns", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("mkube does not start")?;
        let output = child.stdout.take().context("its output")?;
        let server = Self { directory, child, url: format!("http://{address}") };
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in BufReader::new(output).lines().map_while(Result::ok) {
                // The test goes on without us once it has read `ready`; the output must be read all the same.
                let _ = line.send(text);
            }
        });
        while !lines.recv_timeout(START).context("mkube is not ready")?.starts_with("ready") {}
        Ok(server)
    }

    /// The kubeconfig it wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("mkube/kubeconfig")
    }

    /// A place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; simulated containers leave nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
