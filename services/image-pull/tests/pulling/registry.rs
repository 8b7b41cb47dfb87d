//! A registry that says what it is told to say: honest by default, lying where a test wants it.
//!
//! One thread for each connection, one answer for each connection: what is cut is cut exactly where the test says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::image::{Image, digest_of};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What is answered instead of the truth.
#[derive(Debug, Clone)]
pub enum Lie {
    /// This status with these headers and this body.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// Another body, as if it were the right one.
    Body(Vec<u8>),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// A body without a length that ends after so many bytes.
    End(usize),
    /// The connection is cut before any answer.
    Silence,
    /// No byte comes until the test lets it.
    Hang,
    /// The truth, but from the first byte on, whatever was asked for.
    NoRange,
    /// The truth, a kilobyte at a time with this pause between.
    Slow(Duration),
    /// The truth, with another `Docker-Content-Digest`.
    DigestHeader(String),
}

pub type Rule = Box<dyn FnMut(&Seen) -> Option<Lie> + Send>;

#[derive(Default)]
struct Shelf {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository and tag or digest.
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
}

struct State {
    shelf: Mutex<Shelf>,
    let_go: Mutex<bool>,
    woken: Condvar,
    stopping: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// A registry on a port of its own; gone when dropped.
pub struct Registry {
    address: SocketAddr,
    state: Arc<State>,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    pub fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            shelf: Mutex::default(),
            let_go: Mutex::new(false),
            woken: Condvar::new(),
            stopping: AtomicBool::new(false),
            tls,
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let state = accepting.clone();
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Self { address, state }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Puts an image under a tag, and under its digest.
    pub fn put(&self, repository: &str, tag: &str, image: &Image) {
        let mut shelf = self.state.shelf.lock().expect("not poisoned");
        for blob in image.layers.iter().chain([&image.config]) {
            shelf.blobs.insert(digest_of(blob), blob.clone());
        }
        drop(shelf);
        self.put_manifest(repository, tag, image.media_type, &image.manifest);
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, body: &[u8]) {
        let mut shelf = self.state.shelf.lock().expect("not poisoned");
        for reference in [tag.to_owned(), digest_of(body)] {
            let key = (repository.to_owned(), reference);
            shelf.manifests.insert(key, (media_type.to_owned(), body.to_vec()));
        }
    }

    pub fn put_blob(&self, digest: &str, bytes: &[u8]) {
        self.state.shelf.lock().expect("not poisoned").blobs.insert(digest.to_owned(), bytes.to_vec());
    }

    /// From now on this rule is asked first.
    pub fn lie(&self, rule: impl FnMut(&Seen) -> Option<Lie> + Send + 'static) {
        self.state.shelf.lock().expect("not poisoned").rules.insert(0, Box::new(rule));
    }

    pub fn be_honest(&self) {
        self.state.shelf.lock().expect("not poisoned").rules.clear();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.shelf.lock().expect("not poisoned").seen.clone()
    }

    pub fn forget(&self) {
        self.state.shelf.lock().expect("not poisoned").seen.clear();
    }

    /// How many requests had this in their path.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }

    /// What hangs goes on.
    pub fn let_go(&self) {
        *self.state.let_go.lock().expect("not poisoned") = true;
        self.state.woken.notify_all();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        self.let_go();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(state: &State, stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let raw = stream.try_clone().expect("a second handle");
    match &state.tls {
        None => answer(state, stream),
        Some(config) => {
            let Ok(connection) = rustls::ServerConnection::new(config.clone()) else { return };
            answer(state, rustls::StreamOwned::new(connection, stream));
        }
    }
    let _ = raw.shutdown(Shutdown::Both);
}

fn answer(state: &State, mut stream: impl Read + Write) {
    let Some(seen) = read_request(&mut stream) else { return };
    let (lie, truth) = {
        let mut shelf = state.shelf.lock().expect("not poisoned");
        shelf.seen.push(seen.clone());
        let lie = shelf.rules.iter_mut().find_map(|rule| rule(&seen));
        (lie, truth(&shelf, &seen))
    };
    // Whoever was talked to may be gone.
    let _ = write_answer(state, &mut stream, &seen, lie, truth);
}

fn read_request(stream: &mut impl Read) -> Option<Seen> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut seen = Seen { method, path, authorization: None, range: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { return Some(seen) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.trim().to_owned()),
            "range" => seen.range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

/// Media type, digest and body; none for what is not there.
fn truth(shelf: &Shelf, seen: &Seen) -> Option<(String, String, Vec<u8>)> {
    let path = seen.path.split('?').next()?.strip_prefix("/v2/")?;
    if let Some((repository, reference)) = path.split_once("/manifests/") {
        let (kind, body) = shelf.manifests.get(&(repository.to_owned(), reference.to_owned()))?;
        return Some((kind.clone(), digest_of(body), body.clone()));
    }
    let (_, digest) = path.split_once("/blobs/")?;
    Some(("application/octet-stream".to_owned(), digest.to_owned(), shelf.blobs.get(digest)?.clone()))
}

fn write_answer(
    state: &State,
    stream: &mut impl Write,
    seen: &Seen,
    lie: Option<Lie>,
    truth: Option<(String, String, Vec<u8>)>,
) -> std::io::Result<()> {
    if let Some(Lie::Silence) = lie {
        return Ok(());
    }
    if let Some(Lie::Hang) = lie {
        let mut let_go = state.let_go.lock().expect("not poisoned");
        while !*let_go {
            let_go = state.woken.wait(let_go).expect("not poisoned");
        }
    }
    if let Some(Lie::Status(status, headers, body)) = &lie {
        write!(stream, "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
        for (name, value) in headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        if seen.method != "HEAD" {
            stream.write_all(body)?;
        }
        return stream.flush();
    }
    let Some((kind, digest, body)) = truth else {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        write!(stream, "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)?;
        return stream.flush();
    };
    let (body, digest) = match &lie {
        Some(Lie::Body(other)) => (other.clone(), digest),
        Some(Lie::DigestHeader(other)) => (body, other.clone()),
        _ => (body, digest),
    };
    let from = seen.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = if matches!(lie, Some(Lie::NoRange)) { 0 } else { from.unwrap_or(0) };
    if from > 0 && from >= body.len() {
        return write!(stream, "HTTP/1.1 416 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n"
    )?;
    if from > 0 {
        write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len())?;
    }
    let body = &body[from..];
    let shown = match &lie {
        Some(Lie::Cut(at)) | Some(Lie::End(at)) => &body[..(*at).min(body.len())],
        _ => body,
    };
    if !matches!(lie, Some(Lie::End(_))) {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    stream.write_all(b"\r\n")?;
    if seen.method != "HEAD" {
        match &lie {
            Some(Lie::Slow(pause)) => {
                for piece in shown.chunks(1024) {
                    stream.write_all(piece)?;
                    stream.flush()?;
                    let until_stopped = state.let_go.lock().expect("not poisoned");
                    let _ = state.woken.wait_timeout(until_stopped, *pause).expect("not poisoned");
                }
            }
            _ => stream.write_all(shown)?,
        }
    }
    stream.flush()
}
