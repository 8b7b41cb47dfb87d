//! A host to ask, and how to ask it.

use std::future::Future;
use std::time::Duration;

use mkube_routeros_host::{EngineKind, HostOptions, RunningHost, Timings, start};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(10);

/// Quick, and slow enough for states in between to be seen.
pub fn timings() -> Timings {
    Timings {
        extract: Duration::from_millis(30),
        start: Duration::from_millis(30),
        stop: Duration::from_millis(150),
        remove: Duration::from_millis(150),
        ..Timings::default()
    }
}

/// A host of its own for one test.
pub struct Router {
    pub host: RunningHost,
    pub client: reqwest::Client,
    #[allow(dead_code, reason = "only some tests look at the disk itself")]
    pub directory: TempDir,
    user: (String, String),
}

/// An answer taken apart.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    pub body: Value,
}

impl Reply {
    pub async fn of(response: Response) -> Self {
        assert!(response.headers().get("set-cookie").is_none(), "8: no answer sets a cookie");
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = response.text().await.expect("a whole answer");
        if !text.is_empty() {
            assert_eq!(kind.as_deref(), Some("application/json"), "{status} {text}");
        }
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        if status >= 400 {
            assert_eq!(body["error"], status, "an error says its own number: {text}");
        }
        Self { status, text, body }
    }

    /// `err(status, words)` of the reference.
    #[track_caller]
    pub fn refuses(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        let detail = self.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    }

    /// `err(status, -)` of the reference.
    #[track_caller]
    pub fn is_exactly(&self, status: u16, text: &str) {
        assert_eq!((self.status, self.text.as_str()), (status, text));
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if !self.text.is_empty() {
            assert_leaves_are_strings(&self.body);
        }
        self.body
    }

    /// The body of a success below `/_mkube`, where numbers are numbers.
    #[track_caller]
    pub fn ok_numbers(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body
    }
}

fn assert_leaves_are_strings(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(assert_leaves_are_strings),
        Value::Object(fields) => fields.values().for_each(assert_leaves_are_strings),
        Value::String(_) => {}
        other => panic!("12: {other} is not a string"),
    }
}

pub const NOT_FOUND: &str = r#"{"error":404,"message":"Not Found"}"#;
pub const UNAUTHORIZED: &str = r#"{"error":401,"message":"Unauthorized"}"#;

impl Router {
    pub async fn new() -> Self {
        Self::of("7.23.2").await
    }

    pub async fn of(version: &str) -> Self {
        Self::with(version, timings()).await
    }

    pub async fn with(version: &str, timings: Timings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = HostOptions {
            listen: "127.0.0.1:0".parse().expect("an address"),
            tls_listen: Some("127.0.0.1:0".parse().expect("an address")),
            data_dir: directory.path().to_owned(),
            engine: EngineKind::Simulated,
            ros_version: version.to_owned(),
            user: "admin".to_owned(),
            password: String::new(),
            latency: Duration::ZERO,
            faults: Vec::new(),
            timings,
        };
        // Which library does TLS is said once for the process; a second time changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = start(options).await.expect("a host");
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Self { host, client, directory, user: ("admin".to_owned(), String::new()) }
    }

    /// The same router, asked by somebody else.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.user = (user.to_owned(), password.to_owned());
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/rest{path}", self.host.address())
    }

    pub async fn try_send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Response> {
        let mut request = self.client.request(method, self.url(path)).basic_auth(&self.user.0, Some(&self.user.1));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        Reply::of(self.try_send(method, path, body).await.expect("an answer")).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Rows of a menu.
    pub async fn rows(&self, path: &str) -> Vec<Value> {
        self.get(path).await.ok(200).as_array().expect("an array").clone()
    }

    /// The bridge `br-t` of the reference; its id.
    pub async fn bridge(&self) -> String {
        id_of(&self.put("/interface/bridge", json!({"name": "br-t"})).await.ok(201))
    }

    /// The veth `veth-a` of the reference; its id.
    pub async fn veth(&self) -> String {
        let veth = json!({"name": "veth-a", "address": "172.17.0.2/24", "gateway": "172.17.0.1"});
        id_of(&self.put("/interface/veth", veth).await.ok(201))
    }

    /// An archive of an image without a command of its own, and one with.
    pub async fn archives(&self) {
        for (name, contents) in [("disk1/img.tar", "an archive"), ("disk1/empty.tar", r#"{"cmd": []}"#)] {
            self.put("/file", json!({"name": name, "contents": contents})).await.ok(201);
        }
    }

    /// A container `c` on `veth-a`, unpacked, with these properties beside the usual ones; its id.
    pub async fn container(&self, more: Value) -> String {
        self.veth().await;
        self.archives().await;
        self.another_container(more).await
    }

    /// The same where interface and archives are there already.
    pub async fn another_container(&self, more: Value) -> String {
        let mut body = json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1", "name": "c"});
        for (name, value) in more.as_object().expect("properties") {
            body[name] = value.clone();
        }
        let row = self.put("/container", body).await.ok(201);
        let id = id_of(&row);
        self.reaches(&id, "stopped").await;
        id
    }

    /// Starts a container and waits until it runs.
    pub async fn run(&self, id: &str) {
        assert_eq!(self.post("/container/start", json!({".id": id})).await.ok(200), json!([]));
        self.reaches(id, "running").await;
    }

    /// Waits for a flag of a container; the row.
    pub async fn reaches(&self, id: &str, flag: &str) -> Value {
        let path = format!("/container/{id}");
        until(&format!("{id} is {flag}"), || async {
            let row = self.get(&path).await.body;
            (row[flag] == "true").then_some(row)
        })
        .await
    }

    /// Waits for a log line; its row.
    pub async fn logs(&self, words: &str) -> Value {
        until(&format!("a log line says {words:?}"), || async {
            let rows = self.rows("/log").await;
            rows.into_iter().find(|row| row["message"].as_str().is_some_and(|text| text.contains(words)))
        })
        .await
    }

    /// Waits until the device answers again.
    pub async fn comes_back(&self) {
        until("the device is back", || async {
            let answer = self.try_send(Method::GET, "/system/resource", None).await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    /// Puts fault rules in force.
    pub async fn faults(&self, rules: Value) {
        self.put("/_mkube/faults", rules).await.ok_numbers();
    }
}

/// `.id` of a row.
pub fn id_of(row: &Value) -> String {
    row[".id"].as_str().expect("an id").to_owned()
}

/// Looks again and again until there is something to see.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "in {PATIENCE:?} it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
