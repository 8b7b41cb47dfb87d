//! The newest kubectl of this machine, run against one server.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::time::Instant;

use crate::server::Server;
use crate::skip;

/// Older ones validate with documents mkube does not serve.
const OLDEST: (u64, u64) = (1, 27);
/// Time a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// kubectl, and the server it talks to.
pub struct Kubectl {
    program: PathBuf,
    pub server: Server,
}

/// What a command printed, and how it ended.
pub struct Printed {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Kubectl {
    /// A fresh server and the newest kubectl on PATH; `None`, said loudly, when there is none new enough.
    pub fn start(images: &[&str]) -> anyhow::Result<Option<Self>> {
        let Some(program) = newest() else {
            skip("kubectl", "none of 1.27 or newer is on PATH");
            return Ok(None);
        };
        Ok(Some(Self { program, server: Server::start(images)? }))
    }

    /// The same server with an older kubectl, which some machines have beside the newest one as `kubectl.1.28`. It writes its
    /// caches apart. `None`, said loudly, when there is none.
    pub fn older(&self, minor: u64) -> Option<Older<'_>> {
        let name = format!("kubectl.1.{minor}");
        let path = std::env::var_os("PATH")?;
        let mut all = std::env::split_paths(&path).map(|directory| directory.join(&name));
        let Some(program) = all.find(|file| file.is_file()) else {
            skip(&name, "it is not on PATH");
            return None;
        };
        Some(Older { program, server: &self.server })
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", self.server.kubeconfig()).env("HOME", self.server.path("home"));
        command.arg("--cache-dir").arg(self.server.path("cache")).args(line);
        command
    }

    /// Runs a command to its end; `input` becomes its standard input.
    pub fn run_with(&self, line: &[&str], input: &str) -> anyhow::Result<Printed> {
        ended(self.command(line), line, input)
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.ok_with(line, "")
    }

    /// The same with standard input.
    #[track_caller]
    pub fn ok_with(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match self.run_with(&words, input) {
            Ok(printed) if printed.code == 0 => printed.out,
            Ok(printed) => panic!("kubectl {line}: {}\n{}\n{}", printed.code, printed.out, printed.err),
            Err(error) => panic!("kubectl {line}: {error:#}"),
        }
    }

    /// Runs a command that must fail; its standard error.
    #[track_caller]
    pub fn fails(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match self.run_with(&words, input) {
            Ok(printed) if printed.code != 0 => printed.err,
            Ok(printed) => panic!("kubectl {line} succeeded:\n{}\n{}", printed.out, printed.err),
            Err(error) => panic!("kubectl {line}: {error:#}"),
        }
    }

    /// Edits an object by a shell line, which finds the file's name as its first argument; what is printed.
    pub fn edit(&self, object: &str, line: &str) -> anyhow::Result<Printed> {
        let script = self.server.path("editor");
        std::fs::write(&script, format!("#!/bin/sh\n{line}\n"))?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let words: Vec<&str> = ["edit"].into_iter().chain(object.split_whitespace()).collect();
        let mut command = self.command(&words);
        command.env("KUBE_EDITOR", &script);
        ended(command, &words, "")
    }

    /// An object as JSON.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).expect("kubectl prints JSON")
    }

    /// A command that goes on, such as `get -w`.
    pub fn follow(&self, line: &str) -> anyhow::Result<Following> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut child = self.command(&words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output")?;
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in BufReader::new(output).lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        Ok(Following { child, lines, seen: VecDeque::new() })
    }
}

/// Runs a command to its end; `input` becomes its standard input.
fn ended(mut command: Command, line: &[&str], input: &str) -> anyhow::Result<Printed> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that does not read its input is fine.
        let _ = pipe.write_all(input.as_bytes());
    }
    let id = child.id();
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = match ended.recv_timeout(PATIENCE) {
        Ok(output) => output?,
        Err(_) => {
            Command::new("kill").arg(id.to_string()).status()?;
            anyhow::bail!("kubectl {} did not end", line.join(" "));
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(Printed { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) })
}

/// An older kubectl, run against the same server.
pub struct Older<'a> {
    program: PathBuf,
    server: &'a Server,
}

impl Older<'_> {
    /// Runs a command to its end.
    pub fn run(&self, line: &str, input: &str) -> anyhow::Result<Printed> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", self.server.kubeconfig()).env("HOME", self.server.path("home"));
        command.arg("--cache-dir").arg(self.server.path("cache-of-older")).args(&words);
        ended(command, &words, input)
    }
}

/// A command that goes on; ends with the value.
pub struct Following {
    child: Child,
    lines: Receiver<String>,
    seen: VecDeque<String>,
}

impl Following {
    /// Reads until a line holds all of these words.
    pub fn until(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.with_context(|| format!("no line with {words:?} among {:?}", self.seen))?;
            let found = words.iter().all(|word| line.contains(word));
            self.seen.push_back(line);
            if found {
                return Ok(());
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn newest() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let all = std::env::split_paths(&path).map(|directory| directory.join("kubectl")).filter(|file| file.is_file());
    let versions = all.filter_map(|program| Some((version(&program)?, program)));
    let (found, program) = versions.max()?;
    (found >= OLDEST).then_some(program)
}

pub fn version(program: &Path) -> Option<(u64, u64)> {
    let output = Command::new(program).args(["version", "--client", "-o", "json"]).output().ok()?;
    let found: Value = serde_json::from_slice(&output.stdout).ok()?;
    let number = |field: &str| {
        let text = found["clientVersion"][field].as_str()?;
        text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    };
    Some((number("major")?, number("minor")?))
}
