//! The download of `/tool/fetch`: into a file of the device, all or nothing.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mkube_router_machine::{FetchOrder, FetchOutput, Fetched, Refusal, USER_OUTPUT};
use reqwest::{Client, Response};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::disks::Disks;
use crate::faults::FetchFault;
use crate::files;

/// Bytes of the disk that no download takes.
const KEPT_FREE: u64 = 16 << 20;
/// How long nothing may come, unless the command says otherwise.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Downloads.
pub async fn fetch(disks: &Disks, order: &FetchOrder, fault: FetchFault) -> Result<Fetched, Refusal> {
    let work = download(disks, order, fault);
    match order.longest {
        None => work.await,
        Some(longest) => {
            let timeout = || Refusal::failure("Fetch failed: timeout");
            tokio::time::timeout(longest, work).await.unwrap_or_else(|_| Err(timeout()))
        }
    }
}

async fn download(disks: &Disks, order: &FetchOrder, fault: FetchFault) -> Result<Fetched, Refusal> {
    let started = Instant::now();
    let target = match &order.output {
        FetchOutput::File(name) => Some(Target::new(disks, name)?),
        _ => None,
    };
    let mut answer = ask(order).await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(Refusal::failure(format!("Fetch failed with status {}", status.as_u16())));
    }
    let mut fetched = Fetched { total: answer.content_length(), headers: headers(&answer), ..Fetched::default() };
    if let (Some(target), Some(total)) = (&target, fetched.total) {
        target.check_room(total)?;
    }
    match target {
        Some(target) => {
            let mut partial = target.begin().await?;
            let body = Body { answer: &mut answer, idle: order.idle.unwrap_or(IDLE), fault, total: fetched.total };
            fetched.bytes = body.write_to(&mut partial).await?;
            target.finish(partial).await?;
        }
        None => {
            while let Some(chunk) = next(&mut answer, order.idle.unwrap_or(IDLE)).await? {
                fetched.bytes += chunk.len() as u64;
                if matches!(order.output, FetchOutput::User { .. }) {
                    if fetched.bytes > USER_OUTPUT {
                        return Err(Refusal::failure("Fetch failed: too much data for output=user"));
                    }
                    fetched.data.push_str(&String::from_utf8_lossy(&chunk));
                }
            }
        }
    }
    fetched.took = started.elapsed();
    Ok(fetched)
}

fn headers(answer: &Response) -> Vec<String> {
    let line = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    answer.headers().iter().map(line).collect()
}

/// Sends the request; the answer has begun.
async fn ask(order: &FetchOrder) -> Result<Response, Refusal> {
    let failed = |error: reqwest::Error| Refusal::failure(words(&error));
    // The HTTP client insists on knowing which library does TLS, even without TLS. Whoever said it first is right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = match order.redirects {
        0 => reqwest::redirect::Policy::none(),
        limit => reqwest::redirect::Policy::limited(limit),
    };
    // A device trusts nobody until certificates are imported, and this one has no menu for them.
    let client = Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT)
        .redirect(redirects)
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(!order.check_certificate)
        .build()
        .map_err(failed)?;
    let method = order.method.parse().map_err(|_| Refusal::failure("unsupported http-method"))?;
    let mut request = client.request(method, &order.url);
    if let Some((user, password)) = &order.login {
        request = request.basic_auth(user, Some(password));
    }
    for (name, value) in &order.headers {
        request = request.header(name, value);
    }
    if !order.data.is_empty() {
        request = request.body(order.data.clone());
    }
    let answer = tokio::time::timeout(order.idle.unwrap_or(IDLE), request.send()).await;
    answer.map_err(|_| Refusal::failure("Fetch failed: connection timeout"))?.map_err(failed)
}

/// An error as a router words it. The address is left out: it may hold a token.
fn words(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(one) = cause {
        causes.push(one.to_string());
        cause = one.source();
    }
    let text = causes.join(": ");
    if text.contains("certificate") || text.contains("UnknownIssuer") {
        return "SSL: ssl: no trusted CA certificate found (6)".to_owned();
    }
    let what = if error.is_builder() || error.is_request() && causes.is_empty() {
        "invalid url"
    } else if text.contains("dns") || text.contains("lookup") {
        "resolving error"
    } else if error.is_connect() {
        "could not connect"
    } else if error.is_timeout() {
        "connection timeout"
    } else {
        "connection closed"
    };
    match causes.last() {
        Some(cause) => format!("Fetch failed: {what}: {cause}"),
        None => format!("Fetch failed: {what}"),
    }
}

async fn next(answer: &mut Response, idle: Duration) -> Result<Option<bytes::Bytes>, Refusal> {
    let chunk = tokio::time::timeout(idle, answer.chunk()).await;
    let chunk = chunk.map_err(|_| Refusal::failure("Fetch failed: idle timeout"))?;
    chunk.map_err(|error| Refusal::failure(words(&error)))
}

/// What comes, and what is to go wrong with it.
struct Body<'a> {
    answer: &'a mut Response,
    idle: Duration,
    fault: FetchFault,
    total: Option<u64>,
}

impl Body<'_> {
    async fn write_to(self, partial: &mut Partial) -> Result<u64, Refusal> {
        let full = || Refusal::failure("no space left on disk");
        let half = self.total.map_or(1, |total| total / 2);
        let mut bytes = 0u64;
        while let Some(mut chunk) = next(self.answer, self.idle).await? {
            if let FetchFault { cut: true, .. } | FetchFault { short: true, .. } | FetchFault { disk_full: true, .. } =
                self.fault
                && bytes + chunk.len() as u64 > half
            {
                chunk.truncate(usize::try_from(half.saturating_sub(bytes)).unwrap_or(0));
                partial.write(&chunk).await?;
                return match self.fault {
                    FetchFault { short: true, .. } => Ok(half),
                    FetchFault { disk_full: true, .. } => Err(full()),
                    _ => Err(Refusal::failure("Fetch failed: connection closed")),
                };
            }
            bytes += chunk.len() as u64;
            if bytes > partial.room {
                return Err(full());
            }
            partial.write(&chunk).await?;
        }
        Ok(bytes)
    }
}

/// The file that is to be there afterwards.
struct Target {
    path: PathBuf,
    partial: PathBuf,
    /// Bytes it may have.
    room: u64,
}

/// The file while it comes.
struct Partial {
    file: File,
    path: Temporary,
    room: u64,
}

/// A file that goes with this value, unless it has got another name.
struct Temporary(PathBuf);

impl Target {
    fn new(disks: &Disks, name: &str) -> Result<Self, Refusal> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let bare = name.trim_matches('/');
        if bare.is_empty() || Path::new(bare).components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Refusal::failure("invalid dst-path"));
        }
        let path = files::place(disks, bare)?;
        if path.is_dir() {
            return Err(Refusal::failure("can not create file: it is a directory"));
        }
        let directory = disks.fetching_dir();
        let partial = directory.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir_all(&directory).map_err(files::failed)?;
        let free = rustix::fs::statvfs(&directory).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(Self { path, partial, room: free.saturating_sub(KEPT_FREE) })
    }

    fn check_room(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.room { Err(Refusal::failure("no space left on disk")) } else { Ok(()) }
    }

    async fn begin(&self) -> Result<Partial, Refusal> {
        let file = File::create(&self.partial).await.map_err(files::failed)?;
        Ok(Partial { file, path: Temporary(self.partial.clone()), room: self.room })
    }

    /// The name is given when all is there and synced.
    async fn finish(&self, mut partial: Partial) -> Result<(), Refusal> {
        partial.file.flush().await.map_err(files::failed)?;
        partial.file.sync_all().await.map_err(files::failed)?;
        if let Some(parent) = self.path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(files::failed)?;
        }
        match tokio::fs::rename(&partial.path.0, &self.path).await {
            // The disk is a file system of its own.
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                let mut beside = self.path.clone().into_os_string();
                beside.push(".fetching");
                let beside = Temporary(beside.into());
                tokio::fs::copy(&partial.path.0, &beside.0).await.map_err(files::failed)?;
                tokio::fs::rename(&beside.0, &self.path).await.map_err(files::failed)
            }
            renamed => renamed.map_err(files::failed),
        }
    }
}

impl Partial {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.file.write_all(bytes).await.map_err(files::failed)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what was left of a download could not be removed");
        }
    }
}
