//! A machine to run real containers on: one engine with its own directory, its own bridge and its own network.
#![allow(dead_code, reason = "each of the tests needs a part of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mkube_linux_containers::{LinuxEngine, LinuxOptions, assemble};
use mkube_router_machine::engine::{Bind, Engine, EngineEvent, EngineVeth, Launch};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps a container alive until it is told to end with code 143.
pub const OBEDIENT: &str = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done";

const APPLETS: [&str; 20] = [
    "sh", "sleep", "echo", "cat", "httpd", "hostname", "env", "id", "pwd", "ls", "touch", "mkdir", "route", "tail",
    "wget", "printf", "kill", "stat", "true", "yes",
];

pub struct Machine {
    pub directory: PathBuf,
    pub engine: LinuxEngine,
    pub seen: Vec<EngineEvent>,
    events: mpsc::Receiver<EngineEvent>,
    network: u8,
    owner: Option<Owner>,
}

/// A directory whose containers and networks end with it.
struct Owner(tempfile::TempDir);

/// A machine whose host is gone.
pub struct Away {
    directory: PathBuf,
    network: u8,
    owner: Option<Owner>,
}

impl Away {
    pub fn come_back(self) -> Machine {
        let mut machine = Machine::at(&self.directory, self.network);
        machine.owner = self.owner;
        machine
    }
}

/// Why real containers cannot run here, if they cannot.
fn obstacle() -> Option<String> {
    if !std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        return Some("not root".to_owned());
    }
    let there = |name: &&&str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
            .iter()
            .any(|place| Path::new(place).join(name).exists())
    };
    let missing: Vec<&&str> = ["conmon", "ip", "busybox"].iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        return Some(format!("{missing:?} not installed"));
    }
    (!["runc", "crun"].iter().any(|name| there(&name))).then(|| "neither runc nor crun installed".to_owned())
}

impl Machine {
    /// A machine with the network `10.213.<network>.0/24`, or loudly none. Each test has a number of its own.
    pub async fn new(test: &str, network: u8) -> Option<Self> {
        if let Some(why) = obstacle() {
            // Not through the macro: what that prints is hidden when a test passes.
            let said = format!("\n==== SKIPPED {test}: {why}. Real containers were NOT tested. ====\n\n");
            let _ = std::io::stderr().write_all(said.as_bytes());
            return None;
        }
        let owner = tempfile::tempdir().expect("a directory");
        let mut machine = Self::at(owner.path(), network);
        machine.owner = Some(Owner(owner));
        machine.engine.ensure_bridge("gt").await.expect("a bridge");
        let gateway = format!("10.213.{network}.1/24").parse().expect("an address");
        machine.engine.ensure_address("gt", gateway).await.expect("an address");
        machine.image("image", &[]).await;
        Some(machine)
    }

    /// The machine of a directory, as a host that has come back sees it.
    pub fn at(directory: &Path, network: u8) -> Self {
        let (sender, events) = mpsc::channel(64);
        let options = LinuxOptions::new(directory.join("engine"));
        let engine = LinuxEngine::new(options, sender).expect("an engine");
        Self { directory: directory.to_owned(), engine, seen: Vec::new(), events, network, owner: None }
    }

    /// The host dies; nothing is told to the engine.
    pub fn die(self) -> Away {
        let Self { directory, network, owner, .. } = self;
        Away { directory, network, owner }
    }

    async fn image(&self, name: &str, more: &[(&str, u32, &str)]) {
        let mut spec = assemble::busybox("test/busybox:1", Path::new("/bin/busybox"), &APPLETS).expect("busybox");
        spec.files.extend(more.iter().map(|(path, mode, text)| assemble::ImageFile {
            path: (*path).to_owned(),
            mode: *mode,
            bytes: text.as_bytes().to_vec(),
        }));
        spec.files.push(assemble::ImageFile {
            path: "etc/passwd".into(),
            mode: 0o644,
            bytes: b"root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n".to_vec(),
        });
        spec.files.push(assemble::ImageFile { path: "etc/plain".into(), mode: 0o644, bytes: b"no program".to_vec() });
        let archive = self.directory.join(format!("{name}.tar"));
        assemble::write(&spec, &archive).expect("an archive");
        let config = self.engine.extract(&"x".to_owned(), archive, self.directory.join(name)).await.expect("unpacked");
        assert_eq!(config.tag, "test/busybox:1");
    }

    pub fn address(&self, host: u8) -> IpAddr {
        format!("10.213.{}.{host}", self.network).parse().expect("an address")
    }

    /// A launch with the address `.host` and the key `c<host>`.
    pub fn launch(&self, host: u8, argv: &[&str]) -> Launch {
        let address = self.address(host);
        Launch {
            key: format!("c{host}"),
            name: format!("test-{host}"),
            root_dir: self.directory.join("image"),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::from([
                ("PATH".to_owned(), "/bin".to_owned()),
                ("GREETING".to_owned(), "good day".to_owned()),
            ]),
            workdir: "/".into(),
            user: String::new(),
            hostname: format!("test-{host}"),
            dns: vec![self.address(1)],
            mounts: vec![],
            veths: vec![EngineVeth {
                name: format!("veth_gt_test-{host}_0"),
                addresses: vec![format!("{address}/24").parse().expect("an address")],
                gateway: Some(self.address(1)),
                bridge: Some("gt".into()),
                inside_name: "eth0".into(),
            }],
            memory_high: None,
            memory_max: None,
            cpus: vec![],
        }
    }

    pub fn shell(&self, host: u8, script: &str) -> Launch {
        self.launch(host, &["sh", "-c", script])
    }

    pub fn mount(&self, name: &str, destination: &str, read_only: bool) -> Bind {
        Bind { source: self.directory.join(name), destination: destination.into(), read_only, no_exec: false }
    }

    /// Takes events until one is the one waited for.
    async fn until<T>(&mut self, what: &str, mut found: impl FnMut(&EngineEvent) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&mut found) {
            return found;
        }
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("{what} never came; seen {:?}", self.seen));
            let event = event.expect("the engine is there");
            let hit = found(&event);
            self.seen.push(event);
            if let Some(hit) = hit {
                return hit;
            }
        }
    }

    /// Exit code and whether memory was short.
    pub async fn exit(&mut self, of: &str) -> (i32, bool) {
        self.until(&format!("the exit of {of}"), |event| match event {
            EngineEvent::Exited { key, code, out_of_memory, .. } if key == of => Some((*code, *out_of_memory)),
            _ => None,
        })
        .await
    }

    pub async fn line(&mut self, of: &str, wanted: &str) {
        self.until(&format!("line {wanted:?} of {of}"), |event| match event {
            EngineEvent::Output { key, line, .. } if key == of && line == wanted => Some(()),
            _ => None,
        })
        .await;
    }

    /// What a container wrote so far, on standard error or not.
    pub fn lines(&self, of: &str, on_stderr: bool) -> Vec<String> {
        let lines = self.seen.iter().filter_map(|event| match event {
            EngineEvent::Output { key, line, stderr, .. } if key == of && *stderr == on_stderr => Some(line.clone()),
            _ => None,
        });
        lines.collect()
    }

    /// Runs a launch to its end: its code and what it wrote.
    pub async fn run(&mut self, launch: &Launch) -> (i32, Vec<String>) {
        self.seen.clear();
        self.engine.start(launch).await.expect("started");
        let (code, _) = self.exit(&launch.key).await;
        let lines = self.lines(&launch.key, false);
        (code, lines)
    }

    /// Fetches a page; waits until somebody answers.
    pub async fn fetch(&self, address: IpAddr, port: u16) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match fetch_once(SocketAddr::new(address, port)) {
                Ok(text) => return text,
                Err(error) => assert!(Instant::now() < until, "{address}:{port}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Name of a running container in the runtime and in control groups.
    pub fn id(&self, pid: u32) -> String {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it is alive");
        let place = text.lines().find_map(|line| line.split("/mkube/").nth(1)).expect("a group under /mkube");
        place.trim().to_owned()
    }

    /// A file of a container's control group, whichever version there is.
    pub fn group_file(&self, id: &str, controller: &str, old: &str, new: &str) -> String {
        let root = Path::new("/sys/fs/cgroup");
        let old = root.join(controller).join("mkube").join(id).join(old);
        let path = if old.exists() { old } else { root.join("mkube").join(id).join(new) };
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// Everything of this machine that exists outside and inside of its directory, where `prefix` begins its names.
    pub fn leftovers(&self, prefix: &str) -> Vec<String> {
        let scope = prefix.trim_start_matches("mk").trim_end_matches('-');
        let names = |directory: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
        };
        let ours = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        let mut left: Vec<PathBuf> = names(Path::new("/run/netns")).into_iter().filter(|path| ours(path)).collect();
        let alias = format!("mkube {scope} ");
        left.extend(
            names(Path::new("/sys/class/net")).into_iter().filter(|link| {
                std::fs::read_to_string(link.join("ifalias")).is_ok_and(|text| text.starts_with(&alias))
            }),
        );
        for hierarchy in names(Path::new("/sys/fs/cgroup")) {
            let inner = if hierarchy.ends_with("mkube") { hierarchy } else { hierarchy.join("mkube") };
            left.extend(names(&inner).into_iter().filter(|path| ours(path)));
        }
        for directory in ["bundles", "exits", "persist", "logs", "read", "runtime"] {
            left.extend(names(&self.directory.join("engine").join(directory)));
        }
        let mut left: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let inside = self.directory.display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&inside) || line.contains(prefix)).map(str::to_owned));
        left.extend(processes(prefix).into_iter().map(|pid| format!("process {pid}")));
        left
    }
}

/// Processes that have `word` in their command line.
pub fn processes(word: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    })
    .collect()
}

fn fetch_once(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.") && head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(text)),
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn kill(pid: u32) {
    let done = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
    assert!(done.success(), "process {pid} can be killed");
}

impl Drop for Owner {
    /// Ends and removes everything, also when a test failed.
    fn drop(&mut self) {
        let state = self.0.path().join("engine");
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (sender, _nobody) = mpsc::channel(1);
                let engine = LinuxEngine::new(LinuxOptions::new(state), sender).expect("an engine");
                engine.sweep(&[]).await.expect("swept");
                engine.remove_bridge("gt").await.expect("no bridge");
            });
        });
        if cleaning.join().is_err() {
            eprintln!("{} could not be cleaned", self.0.path().display());
        }
    }
}
