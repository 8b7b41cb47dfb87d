//! One server.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mkube_free_ports::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to be ready. Three of them elect a leader meanwhile.
const READY: Duration = Duration::from_secs(30);

/// A server as a child process.
pub struct NatsServer {
    child: Option<Child>,
    directory: PathBuf,
    /// Removed with the handle.
    _own: Option<TempDir>,
    port: u16,
    monitor: u16,
    name: String,
    config: String,
}

impl NatsServer {
    /// A server with JetStream and nothing in it.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A server with more lines of configuration, such as `authorization { token: "x" }`.
    pub fn start_with(config: &str) -> Self {
        let own = tempfile::tempdir().expect("a directory");
        let directory = own.path().to_owned();
        Self::begin(directory, Some(own), "one", config)
    }

    /// A server that keeps nothing.
    pub fn start_without_jetstream() -> Self {
        // Its configuration ends with what counts.
        Self::start_with("jetstream: false")
    }

    /// A server that keeps everything in a directory of the caller.
    pub fn start_in(directory: impl Into<PathBuf>) -> Self {
        Self::begin(directory.into(), None, "one", "")
    }

    fn begin(directory: PathBuf, own: Option<TempDir>, name: &str, config: &str) -> Self {
        let mut server = Self::prepared(directory, own, name, config, [free_port(), free_port()]);
        assert!(server.try_start(), "nats-server does not start:\n{}", server.log());
        server
    }

    /// One that is not started yet.
    pub(crate) fn prepared(
        directory: PathBuf,
        own: Option<TempDir>,
        name: &str,
        config: &str,
        [port, monitor]: [u16; 2],
    ) -> Self {
        std::fs::create_dir_all(&directory).expect("a directory");
        Self { child: None, directory, _own: own, port, monitor, name: name.to_owned(), config: config.to_owned() }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its streams.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        log_of(&self.directory)
    }

    /// Other lines of configuration from the next start on.
    pub fn set_config(&mut self, config: &str) {
        config.clone_into(&mut self.config);
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// It answers nobody from now on and keeps its connections, as a machine that hangs.
    pub fn freeze(&mut self) {
        self.send(Signal::STOP);
        let Some(child) = &self.child else { return };
        // Its threads stop one after the other.
        let threads = PathBuf::from(format!("/proc/{}/task", child.id()));
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
        };
        while !std::fs::read_dir(&threads).expect("it runs").all(is_stopped) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// It goes on.
    pub fn thaw(&mut self) {
        self.send(Signal::CONT);
    }

    /// Starts it again after it ended, with the same address and directory.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        assert!(self.try_start(), "nats-server does not start again:\n{}", self.log());
    }

    /// Copies what it keeps elsewhere. It must not run.
    pub fn copy_data_to(&self, to: &Path) {
        assert!(self.child.is_none(), "it runs, a copy would be torn");
        copy(&self.data(), to);
    }

    /// Puts back what was copied, or nothing at all: then everything it kept is gone. It must not run.
    pub fn replace_data(&self, from: Option<&Path>) {
        assert!(self.child.is_none(), "it runs");
        let _ = std::fs::remove_dir_all(self.data());
        if let Some(from) = from {
            copy(from, &self.data());
        }
    }

    fn send(&mut self, signal: Signal) {
        let Some(child) = &mut self.child else { return };
        // Once it has ended and was waited for, its id may be another's.
        if child.try_wait().expect("ours").is_none() {
            let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
            kill_process(id, signal).expect("ours");
        }
    }

    fn end(&mut self, signal: Signal) {
        self.send(signal);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("ours");
        }
    }

    /// Starts the process and no more.
    pub(crate) fn launch(&mut self) {
        let config = self.directory.join("server.conf");
        let text = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?} }}\n{}\n",
            self.name,
            self.port,
            self.monitor,
            self.data(),
            self.config
        );
        std::fs::write(&config, text).expect("written");
        let log = File::options().create(true).append(true).open(log_path(&self.directory)).expect("a file");
        let child = Command::new(program())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("nats-server runs");
        self.child = Some(child);
    }

    fn try_start(&mut self) -> bool {
        self.launch();
        self.wait_until_ready()
    }

    /// Whether it came to be ready; it has ended when not.
    pub(crate) fn wait_until_ready(&mut self) -> bool {
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if is_healthy(self.monitor) {
                return true;
            }
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => std::thread::sleep(Duration::from_millis(10)),
                _ => break,
            }
        }
        self.kill();
        false
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.thaw();
        self.kill();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts it where not everybody's PATH looks.
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places
        .map(|place: PathBuf| place.join("nats-server"))
        .find(|program| program.is_file())
        .expect("nats-server is needed for this test; `scripts/need nats-server=nats-server` installs it")
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(Duration::from_secs(2)))?;
        connection.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(log_path(directory)).unwrap_or_default()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
