//! A host in a process of its own, killed at any moment and started again on the same directory.
//!
//! This program is both: without arguments it is the test, with a directory it is the host.

#[path = "conformance/router.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which use more of it")]
mod router;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mkube_routeros_host::{EngineKind, HostFault, HostOptions, clean, start};
use router::{timings, until};
use serde_json::{Value, json};

fn options(directory: &Path) -> HostOptions {
    HostOptions {
        listen: "127.0.0.1:0".parse().expect("an address"),
        tls_listen: None,
        data_dir: directory.to_owned(),
        engine: EngineKind::Simulated,
        ros_version: "7.23.2".to_owned(),
        user: "admin".to_owned(),
        password: String::new(),
        latency: Duration::ZERO,
        faults: Vec::new(),
        timings: timings(),
    }
}

/// A host of its own process; killed when dropped.
struct Process {
    child: Child,
    address: String,
    client: reqwest::Client,
}

impl Process {
    fn start(directory: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program).arg(directory).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("its address");
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().expect("a client");
        Self { child, address: line.trim().to_owned(), client }
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> reqwest::Result<(u16, Value)> {
        let url = format!("http://{}/rest{path}", self.address);
        let request = self.client.request(method, url).basic_auth("admin", Some(""));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.send(reqwest::Method::POST, path, body).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn rows(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.send(reqwest::Method::GET, path, json!({})).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        body.as_array().expect("rows").clone()
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn rows_and_running_containers_survive() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut host = Process::start(directory.path());
    host.post("/file/add", json!({"name": "disk1/img.tar", "contents": "x"})).await;
    host.post("/interface/bridge/add", json!({"name": "br"})).await;
    for name in ["a", "b", "c"] {
        host.post("/interface/veth/add", json!({"name": format!("v-{name}")})).await;
        let root = format!("disk1/{name}");
        let body = json!({"file": "disk1/img.tar", "interface": format!("v-{name}"), "root-dir": root, "name": name});
        host.post("/container/add", body).await;
    }
    let count = async |host: &Process, flag: &str| host.rows(&format!("/container?{flag}=true")).await.len();
    until("all are unpacked", || async { (count(&host, "stopped").await == 3).then_some(()) }).await;
    for name in ["a", "b"] {
        host.post("/container/start", json!({"numbers": name})).await;
    }
    until("two run", || async { (count(&host, "running").await == 2).then_some(()) }).await;
    let look = async |host: &Process| {
        let names = ".proplist=name,running,stopped,interface,root-dir";
        (host.rows(&format!("/container?{names}")).await, host.rows("/interface?.proplist=name,type").await)
    };
    let before = look(&host).await;
    let refused = start(options(directory.path())).await.err();
    assert!(matches!(&refused, Some(HostFault::DataDir(why)) if why.contains("another host")), "{refused:?}");
    let refused = clean(directory.path(), EngineKind::Simulated).await.err();
    assert!(matches!(&refused, Some(HostFault::DataDir(why)) if why.contains("another host")), "{refused:?}");
    host.kill();
    let mut host = Process::start(directory.path());
    assert_eq!(look(&host).await, before, "no container was started, stopped or lost");
    host.post("/container/stop", json!({"numbers": "a"})).await;
    until("it is stopped", || async { (count(&host, "stopped").await == 2).then_some(()) }).await;
    host.kill();
    clean(directory.path(), EngineKind::Simulated).await.expect("nobody is there");
    assert!(!directory.path().exists());
}

async fn nothing_acknowledged_is_lost_however_often_it_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..8u64 {
        let mut host = Process::start(directory.path());
        let names: Vec<String> = host
            .rows("/interface/bridge?.proplist=name")
            .await
            .iter()
            .map(|row| row["name"].as_str().expect("a name").to_owned())
            .collect();
        for name in &acknowledged {
            assert!(names.contains(name), "round {round}: {name} was acknowledged and is lost");
        }
        let writing = async {
            let mut made = Vec::new();
            for count in 0.. {
                let name = format!("b-{round}-{count}");
                match host.send(reqwest::Method::POST, "/interface/bridge/add", json!({"name": name})).await {
                    Ok((200, _)) => made.push(name),
                    _ => break,
                }
            }
            made
        };
        let pid = host.child.id();
        let killing = async {
            tokio::time::sleep(Duration::from_millis(20 + 17 * round)).await;
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
            assert!(killed.success());
        };
        let (made, ()) = tokio::join!(writing, killing);
        acknowledged.extend(made);
        host.kill();
    }
    assert!(acknowledged.len() > 20, "only {} were made", acknowledged.len());
}

#[tokio::main]
async fn main() {
    // Which library does TLS is said once for the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    if let Some(directory) = arguments.next().filter(|word| Path::new(word).is_dir()) {
        let host = start(options(Path::new(&directory))).await.expect("a host");
        println!("{}", host.address());
        std::future::pending::<()>().await;
    }
    rows_and_running_containers_survive().await;
    println!("test rows_and_running_containers_survive ... ok");
    nothing_acknowledged_is_lost_however_often_it_is_killed().await;
    println!("test nothing_acknowledged_is_lost_however_often_it_is_killed ... ok");
}
