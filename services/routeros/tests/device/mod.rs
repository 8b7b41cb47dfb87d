//! A device played by hand: each request is shown to the test, which says what happens to the connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mkube_routeros::{Password, RestOptions, RestRouter};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub method: String,
    /// Below `/rest`, without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    /// Null when there is none.
    pub body: Value,
}

impl Asked {
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Status and body.
    Reply(u16, Vec<u8>),
    /// The connection ends without a word.
    Cut,
    /// These bytes, whatever they are, and then the end.
    Raw(Vec<u8>),
    /// The same, after a while.
    Late(Duration, Box<Act>),
    /// A body that goes on and on.
    Endless,
}

impl Act {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Reply(status, body.to_string().into_bytes())
    }

    pub fn refusal(status: u16, detail: &str) -> Self {
        Self::json(status, &json!({"error": status, "message": "Bad Request", "detail": detail}))
    }
}

type Script = dyn Fn(&Asked) -> Option<Act> + Send + Sync;

/// What was seen.
#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Asked>>,
    present: AtomicUsize,
    most: AtomicUsize,
    connections: AtomicUsize,
}

pub struct Device {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Device {
    /// A device of a release that does what the script says, and otherwise answers what a quiet device answers.
    pub async fn start(version: &str, script: impl Fn(&Asked) -> Option<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let script: Arc<Script> = Arc::new(script);
        let (version, noted) = (version.to_owned(), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, version.clone(), script.clone(), noted.clone()));
            }
        });
        Self { address, seen, task }
    }

    pub fn options(&self) -> RestOptions {
        RestOptions {
            base_url: format!("http://{}/rest", self.address),
            user: "admin".to_owned(),
            password: Password::new("s3cret"),
            timeout: Duration::from_secs(5),
            long_timeout: Duration::from_secs(5),
            ..RestOptions::default()
        }
    }

    pub fn router(&self) -> RestRouter {
        RestRouter::new(self.options()).expect("a client")
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().expect("nobody panics").clone()
    }

    /// The most requests there were at the same time.
    pub fn most_at_once(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// Connections opened so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn quiet(version: &str, asked: &Asked) -> Act {
    let body = match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/system/resource") => json!({"version": format!("{version} (stable)"), "uptime": "1d2h"}),
        ("POST", path) if path.ends_with("/add") => json!({"ret": "*1"}),
        _ => json!([]),
    };
    Act::json(200, &body)
}

async fn serve(mut stream: TcpStream, version: String, script: Arc<Script>, seen: Arc<Seen>) {
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut stream, &mut buffer).await {
        let present = seen.present.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(present, Ordering::SeqCst);
        seen.asked.lock().expect("nobody panics").push(asked.clone());
        let mut act = script(&asked).unwrap_or_else(|| quiet(&version, &asked));
        if let Act::Late(time, then) = act {
            tokio::time::sleep(time).await;
            act = *then;
        }
        seen.present.fetch_sub(1, Ordering::SeqCst);
        let sent = match act {
            Act::Reply(status, body) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                );
                stream.write_all(&[head.as_bytes(), &body].concat()).await
            }
            Act::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Endless => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[\"";
                let mut sent = stream.write_all(head).await;
                let block = vec![b'x'; 1 << 20];
                while sent.is_ok() {
                    sent = stream.write_all(&block).await;
                }
                sent
            }
            Act::Cut | Act::Late(..) => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The next request, or nothing when the client went away.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Asked> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            // What is not text is no HTTP.
            break String::from_utf8(buffer.drain(..end + 4).collect()).ok()?;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |text| text.parse().expect("a length"));
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let bytes: Vec<u8> = buffer.drain(..length).collect();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("a JSON body") };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (plain(k), plain(v))).collect();
    Some(Asked { method, path: path.strip_prefix("/rest")?.to_owned(), query, headers, body })
}

/// Percent signs resolved, as far as tests need it.
fn plain(text: &str) -> String {
    text.replace("%2C", ",").replace("%2A", "*").replace("%3A", ":").replace('+', " ")
}
