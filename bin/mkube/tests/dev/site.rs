//! Host and controller as separate processes, as on a router.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mkube_linux_containers::assemble;
use serde_json::{Value, json};

use super::http::Http;
use super::process::Running;
use super::{Machine, SOON, binary};

/// User of the host.
pub const USER: &str = "admin";
/// The host's password.
pub const PASSWORD: &str = "secret of the story";

impl Machine {
    /// Starts `mkube host` with this engine and waits until it serves.
    pub fn host(&self, engine: &str, more: &[&str]) -> Running {
        let running = self.host_unready(engine, more);
        running.wait_for("ready", SOON);
        running
    }

    /// Starts `mkube host` with this engine.
    pub fn host_unready(&self, engine: &str, more: &[&str]) -> Running {
        let mut command = Command::new(binary());
        command.args(["host", "--engine", engine, "--listen", &self.host_listen]);
        command.args(["--user", USER, "--password", PASSWORD, "--data-dir"]).arg(self.dir.join("host")).args(more);
        Running::start(command)
    }

    /// The host alone.
    pub fn host_api(&self) -> Http {
        Http::new(&format!("http://{}/rest", self.host_listen), Some((USER, PASSWORD)))
    }

    /// Puts fault rules in force on the host alone.
    #[track_caller]
    pub fn faults(&self, rules: &Value) {
        self.host_api().good("PUT", "/_mkube/faults", Some(rules));
    }

    /// Starts `mkube serve` on the configuration of this machine, changed by `change`.
    pub fn serve_unready(&self, change: impl FnOnce(&mut Value)) -> Running {
        let mut config = self.config();
        change(&mut config);
        // JSON is YAML.
        let path = self.write("config.yaml", &config.to_string());
        let mut command = Command::new(binary());
        command.args(["serve", "--allow-chaos", "--config"]).arg(path);
        Running::start(command)
    }

    /// Starts `mkube serve` and waits until all is well.
    #[track_caller]
    pub fn serve(&self) -> Running {
        let running = self.serve_unready(|_| {});
        self.api().wait_ready();
        running
    }

    /// The configuration of a controller for the host alone.
    pub fn config(&self) -> Value {
        let disk = self.dir.join("host/disk1");
        json!({
            "nodeName": "mkube", "standalone": true,
            "routeros": {"restUrl": format!("http://{}/rest", self.host_listen), "user": USER, "password": PASSWORD},
            "networks": [{
                "name": "gt", "cidr": self.cidr(), "gateway": format!("{}.1", self.prefix), "bridge": "bridge-gt",
                "managed": true, "dns": {"zone": "gt.lo"},
            }],
            "storage": {
                "basePath": "/disk1/images", "tarballCache": disk.join("cache"),
                "persistentMounts": [{"containerPath": disk, "hostPath": "disk1"}],
            },
            "lifecycle": {"bootManifestPath": self.dir.join("boot-order.yaml")},
            "store": {"kind": "embedded", "path": self.dir.join("state.redb")},
            "api": {"listen": self.listen},
        })
    }

    /// Puts the busybox image into the host's archive cache under this name.
    pub fn image(&self, name: &str) {
        self.image_in(&self.dir.join("host/disk1/cache"), name);
    }

    /// Puts the busybox image into a directory of archives; where it lies.
    pub fn image_in(&self, directory: &Path, name: &str) -> PathBuf {
        let applets = [
            "sh", "httpd", "cat", "echo", "env", "hostname", "ls", "sleep", "true", "false", "stat", "id", "pwd",
            "tar", "test", "stty", "wc", "head",
        ];
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.is_file()).expect("busybox-static is installed");
        let archive = format!("{}.tar", mkube_model::names::archive_name(name));
        let path = directory.join(archive);
        std::fs::create_dir_all(directory).expect("a directory");
        let image = assemble::busybox(name, busybox, &applets).expect("an image");
        assemble::write(&image, &path).expect("written");
        path
    }

    /// How many rows of a menu of the host have this name.
    pub fn rows(&self, menu: &str, key: &str, name: &str) -> usize {
        let all = self.host_api().get(menu);
        all.as_array().map_or(0, |all| all.iter().filter(|row| row[key] == name).count())
    }

    /// Calls the host counted for a route such as `POST /container/start`.
    pub fn calls(&self, route: &str) -> u64 {
        self.host_api().get("/_mkube/calls")["routes"][route].as_u64().unwrap_or(0)
    }
}

/// A wait that covers the longest tick and a retry.
pub const LATER: Duration = Duration::from_secs(45);
