//! A machine for stories: real mkube processes on a directory, ports and a network of their own, all gone at the end, also when
//! the story fails.
//!
//! `MKUBE_BINARY` names another build to try, such as a release.

#![allow(dead_code, reason = "each story uses a part of it")]

pub mod http;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod sharing;
pub mod site;
pub mod wire;

use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tokio::time::Instant;

use serde_json::{Value, json};

use http::Http;
pub use mkube_free_ports::free_address;
use process::Running;

/// Longest wait for something that takes a moment.
pub const SOON: Duration = Duration::from_secs(30);

/// The program under test.
pub fn binary() -> PathBuf {
    std::env::var_os("MKUBE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_mkube").into(), PathBuf::from)
}

/// Whether real containers can be run here; says loudly when not.
pub fn real_containers(story: &str) -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let missing = ["runc", "conmon", "ip"].into_iter().find(|name| {
        !["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"].iter().any(|at| Path::new(at).join(name).exists())
    });
    let why = match (root, missing) {
        (false, _) => "it needs root".to_owned(),
        (true, Some(program)) => format!("{program} is not installed"),
        (true, None) => return true,
    };
    // Written past the test harness, which hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: {why}\n");
    false
}

/// Waits until `look` finds something; fails the story, with what was last seen, when it does not.
#[track_caller]
pub fn eventually<T>(what: &str, longest: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > longest => {
                panic!("{what}: not within {longest:?}; last seen: {seen}")
            }
            Err(_) => pause(Duration::from_millis(20)),
        }
    }
}

/// Waits. Only between two looks, or to let a crash strike at another moment; never in hope.
#[allow(clippy::disallowed_methods, reason = "a story has its thread to itself, no actor waits on it")]
pub fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks after boot at which it started.
    pub started: String,
}

/// Who has this number now.
pub fn identity(pid: u32) -> Option<Identity> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some(Identity { pid, started: (*fields.get(19)?).to_owned() })
}

/// What a story runs on.
pub struct Machine {
    /// Everything lies below.
    pub dir: PathBuf,
    /// The API.
    pub listen: String,
    /// First three numbers of the pods' network.
    pub prefix: String,
    /// Where the host alone listens.
    pub host_listen: String,
    _network: UdpSocket,
}

impl Machine {
    /// A new directory, two free ports and a network nobody uses.
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mkube-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the story");
        let (prefix, network) = free_network();
        Self { dir, listen: free_address(), prefix, host_listen: free_address(), _network: network }
    }

    /// The pods' network.
    pub fn cidr(&self) -> String {
        format!("{}.0/24", self.prefix)
    }

    /// Data directory of `mkube dev`.
    pub fn data(&self) -> PathBuf {
        self.dir.join("dev")
    }

    /// Starts `mkube dev` and waits until pods can be created.
    pub fn dev(&self, more: &[&str]) -> Running {
        let running = self.dev_unready(more);
        running.wait_for("ready", SOON);
        running
    }

    /// Starts `mkube dev`.
    pub fn dev_unready(&self, more: &[&str]) -> Running {
        let (data, cidr) = (self.data(), self.cidr());
        let mut command = Command::new(binary());
        command.args(["dev", "--allow-chaos", "--listen", &self.listen, "--cidr", &cidr, "--data-dir"]).arg(data);
        if !more.contains(&"--registry") {
            command.args(["--registry", "127.0.0.1:0"]);
        }
        if !more.contains(&"--dns") {
            command.args(["--dns", "127.0.0.1:0"]);
        }
        command.args(more);
        Running::start(command)
    }

    /// The API.
    pub fn api(&self) -> Http {
        Http::new(&format!("http://{}", self.listen), None)
    }

    /// The host inside a running `mkube dev`.
    pub fn dev_host(&self, dev: &Running) -> Http {
        let output = dev.output();
        let line = output.lines().find(|line| line.trim_start().starts_with("host ")).expect("dev names its host");
        let base = line.split_whitespace().nth(1).expect("an address");
        let password = std::fs::read_to_string(self.data().join("host-password")).expect("the host's password");
        Http::new(base, Some(("mkube", password.trim())))
    }

    /// Directory of the engine's state, of `mkube dev` or of the host alone.
    pub fn engine(&self) -> PathBuf {
        let dev = self.data().join("host/engine");
        if dev.exists() { dev } else { self.dir.join("host/engine") }
    }

    /// The main process of a pod's container.
    #[track_caller]
    pub fn process(&self, pod: &Value, container: &str) -> Identity {
        let status = container_status(pod, container);
        let id = status["containerID"].as_str().and_then(|id| id.strip_prefix("routeros://")).expect("a container id");
        self.process_of_row(id)
    }

    /// The main process of a row of `/container`.
    #[track_caller]
    pub fn process_of_row(&self, id: &str) -> Identity {
        let key = format!("c{}", id.trim_start_matches('*').to_ascii_lowercase());
        let file = self.engine().join("persist").join(key).join("pid");
        let pid = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        identity(pid.trim().parse().expect("a process id")).expect("the container's process is there")
    }

    /// Writes a file below the machine's directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("a directory");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Everything of this machine's containers that the kernel or the disk still has: namespaces, interfaces with our alias, mounts,
    /// cgroups, bundles, root directories.
    pub fn leftovers(&self) -> Vec<String> {
        let engine = self.engine();
        let mut found = Vec::new();
        let scope = self.scope();
        for (directory, what) in
            [("/run/netns", "namespace"), ("/sys/fs/cgroup/memory/mkube", "cgroup"), ("/sys/fs/cgroup/mkube", "cgroup")]
        {
            for name in names_in(Path::new(directory)) {
                if name.starts_with(&format!("mk{scope}-")) {
                    found.push(format!("{what} {name}"));
                }
            }
        }
        let links = text_of(Command::new("ip").args(["link", "show"]).output());
        found.extend(
            links
                .lines()
                .filter(|line| line.contains(&format!("alias mkube {scope} veth ")))
                .map(|line| line.trim().to_owned()),
        );
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let here = self.dir.display().to_string();
        found.extend(mounts.lines().filter(|line| line.contains(&here)).map(|line| format!("mount {line}")));
        for directory in ["bundles", "persist", "runtime"] {
            found.extend(names_in(&engine.join(directory)).into_iter().map(|name| format!("{directory}/{name}")));
        }
        let images = engine.parent().expect("has a parent").join("disk1/images");
        found.extend(names_in(&images).into_iter().map(|name| format!("root-dir {name}")));
        found
    }

    /// What the engine's names start with on this machine: read off what is there.
    fn scope(&self) -> String {
        let path = self.engine();
        let path = path.canonicalize().unwrap_or(path).display().to_string();
        scope_of(&path)
    }
}

/// As the engine names its things: two hosts on one machine do not meet.
fn scope_of(path: &str) -> String {
    let fold = |seed: u64| {
        format!("host/{path}").bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:011x}", fold(0xcbf2_9ce4_8422_2325) & 0xfff_ffff_ffff)[..6].to_owned()
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what {} had", self.dir.display());
            for leftover in self.leftovers() {
                eprintln!("    {leftover}");
            }
            for device in [self.data().join("host/device.json"), self.dir.join("host/device.json")] {
                if let Ok(text) = std::fs::read_to_string(device) {
                    eprintln!("--- its device\n{text}");
                }
            }
        }
        for (directory, command) in [(self.data(), "dev"), (self.dir.join("host"), "host")] {
            if directory.exists() {
                clean(command, &directory);
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{} could not be removed: {error}", self.dir.display());
        }
    }
}

fn clean(command: &str, directory: &Path) {
    let simulated = !directory.join("engine").exists() && !directory.join("host/engine").exists();
    let engine = match (command, simulated) {
        ("dev", true) => vec!["--host", "simulated"],
        ("host", true) => vec!["--engine", "simulated"],
        _ => vec![],
    };
    let cleaned =
        Command::new(binary()).arg(command).arg("--clean").arg("--data-dir").arg(directory).args(engine).output();
    match cleaned {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!("cleaning {}: {}", directory.display(), String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("cleaning {}: {error}", directory.display()),
    }
}

/// Names of what lies in a directory; of one that is not there none.
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

pub fn text_of(output: std::io::Result<Output>) -> String {
    String::from_utf8_lossy(&output.expect("the program runs").stdout).into_owned()
}

/// A network of 10.97.0.0/16 that no other story and no route has; kept for as long as the socket is open.
fn free_network() -> (String, UdpSocket) {
    let routes = text_of(Command::new("ip").args(["-4", "route", "show"]).output());
    let first = std::process::id() % 200;
    for step in 0..200 {
        let number = 20 + (first + step * 7) % 200;
        let prefix = format!("10.97.{number}");
        // Nothing is sent: a port is a lock that vanishes with its process.
        let port = 21_000 + u16::try_from(number).expect("a small number");
        if let Ok(taken) = UdpSocket::bind(("127.0.0.1", port))
            && !routes.contains(&format!("{prefix}."))
        {
            return (prefix, taken);
        }
    }
    panic!("no free network");
}

/// Whether a log has a line. A device that shares no disk has words of its own around it, such as `started`, which may come after
/// the first lines of the container.
pub fn has_line(log: &str, line: &str) -> bool {
    log.lines().any(|one| one == line)
}

/// The status of one container; null while there is none.
pub fn container_status(pod: &Value, container: &str) -> Value {
    let all = pod["status"]["containerStatuses"].as_array();
    all.and_then(|all| all.iter().find(|status| status["name"] == container)).cloned().unwrap_or(Value::Null)
}

/// A pod with one busybox container that serves `/www`, or whatever `container` says instead.
pub fn pod(name: &str, container: Value, spec: Value) -> Value {
    let mut one = json!({"name": "main", "image": "hello:latest", "command": ["/bin/sleep", "100000"]});
    merge(&mut one, &container);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [one]},
    });
    merge(&mut pod["spec"], &spec);
    pod
}

/// A pod whose container runs this shell line.
pub fn shell(name: &str, line: &str, spec: Value) -> Value {
    pod(name, json!({"command": ["/bin/sh", "-c", line]}), spec)
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        into.extend(from.clone());
    }
}
