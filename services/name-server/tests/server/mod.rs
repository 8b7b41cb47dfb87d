//! A name server of a test: a file in a directory of its own, ports the kernel chooses, a client of each kind.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use mkube_name_server::{NameServer, Options, Running};
use serde_json::{Value, json};

/// Longest wait for anything.
pub const SOON: Duration = Duration::from_secs(20);

/// A server and its directory.
pub struct Server {
    pub running: Running,
    pub rest: SocketAddr,
    pub dns: SocketAddr,
    pub directory: tempfile::TempDir,
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Starts one.
pub async fn start(change: impl FnOnce(&mut Options)) -> Server {
    start_in(tempfile::tempdir().expect("a directory"), change).await
}

/// Starts one on a directory that may hold a file already.
pub async fn start_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Options)) -> Server {
    let mut options = Options::new(directory.path().join("names.redb"), loopback());
    options.dns = vec![loopback()];
    change(&mut options);
    let running = NameServer::start(options).await.expect("it starts");
    let (rest, dns) = (running.rest_addr(), running.dns_addr().expect("it listens"));
    Server { running, rest, dns, directory }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

/// One request on a connection of its own.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a deadline");
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    // A server that refuses a body may close before it read all of it.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {method} {path}: {answer:?}"));
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Reply { status, head: head.to_owned(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

impl Server {
    /// A request with JSON, run where it keeps no task waiting.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let (to, method, path) = (self.rest, method.to_owned(), format!("/api/v1{path}"));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let work = move || request(to, &method, &path, &[("Content-Type", "application/json")], &body);
        tokio::task::spawn_blocking(work).await.expect("the request ends")
    }

    /// Makes something; its JSON.
    pub async fn made(&self, path: &str, body: Value) -> Value {
        let reply = self.call("POST", path, body).await;
        assert_eq!(reply.status, 201, "{path}: {reply:?}");
        reply.json()
    }

    /// Makes a zone; its id.
    pub async fn zone(&self, name: &str) -> String {
        text(&self.made("/zones", json!({"name": name})).await["id"])
    }

    /// Makes a record; its JSON.
    pub async fn record(&self, zone: &str, name: &str, kind: &str, data: Value) -> Value {
        let body = json!({"name": name, "data": {"type": kind, "data": data}});
        self.made(&format!("/zones/{zone}/records"), body).await
    }

    /// All records of the zone of this name, as `name type data`.
    pub async fn rows(&self, zone: &str) -> Vec<String> {
        let zones = self.call("GET", "/zones?limit=1000", Value::Null).await.json();
        let found = zones.as_array().expect("a list").iter().find(|one| one["name"] == zone).cloned();
        let Some(found) = found else { return Vec::new() };
        let id = text(&found["id"]);
        let rows = self.call("GET", &format!("/zones/{id}/records?limit=1000"), Value::Null).await.json();
        let row = |row: &Value| format!("{} {} {}", text(&row["name"]), text(&row["type"]), text(&row["data"]["data"]));
        rows.as_array().expect("a list").iter().map(row).collect()
    }

    /// Runs dig or kdig against it.
    pub async fn dig(&self, program: &'static str, words: &str) -> String {
        dig(program, self.dns, words).await
    }

    /// Short answers of dig, sorted.
    pub async fn short(&self, words: &str) -> Vec<String> {
        let mut lines: Vec<String> =
            self.dig("dig", &format!("+short {words}")).await.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The status dig tells.
    pub async fn status(&self, words: &str) -> String {
        let told = self.dig("dig", words).await;
        let status = told.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        status.unwrap_or(&told).to_owned()
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Runs dig or kdig.
pub async fn dig(program: &'static str, at: SocketAddr, words: &str) -> String {
    let (at, port) = (format!("@{}", at.ip()), at.port().to_string());
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let run = move || {
        let output = Command::new(program).arg(at).args(["-p", &port, "+time=5"]).args(words).output();
        String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned()
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// Whether dig and kdig are there; says loudly when not.
pub fn has_dig(story: &str) -> bool {
    let there = |program: &&str| Command::new(program).arg("-V").output().is_ok();
    let missing = ["dig", "kdig"].into_iter().find(|program| !there(program));
    if let Some(program) = missing {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: {program} is not installed\n");
    }
    missing.is_none()
}

/// Waits until something holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = tokio::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
