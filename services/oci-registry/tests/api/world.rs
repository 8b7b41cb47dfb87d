//! A registry of its own for each test, and the requests of a client.

use std::time::Duration;

use actix_web::dev::ServerHandle;
use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::parts::RegistryParts;
use mkube_oci_registry::serve::{Listening, serve};
use mkube_oci_registry::store::{Store, StoreOptions};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

/// The suite's two repositories.
pub const REPO1: &str = "conformance/repo1";
pub const REPO2: &str = "conformance/repo2";

/// A registry on a directory that goes away with it.
pub struct Registry {
    pub directory: tempfile::TempDir,
    pub store: Store,
    address: String,
    handle: ServerHandle,
    client: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("a body").to_vec();
        Self { status, headers, body }
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?}: {}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[track_caller]
    pub fn has(self, name: &str, value: &str) -> Self {
        assert_eq!(self.header(name), Some(value), "{name}: {:?}", self.headers);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The specification's code of an error.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().expect("a code").to_owned()
    }

    #[track_caller]
    pub fn location(&self) -> String {
        self.header("location").expect("a location").to_owned()
    }
}

pub fn options(directory: &std::path::Path) -> StoreOptions {
    StoreOptions { keep_free: 0, ..StoreOptions::new(directory) }
}

impl Registry {
    pub async fn start() -> Self {
        Self::start_with(|_| {}, |_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut StoreOptions), parts: impl FnOnce(&mut RegistryParts)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::start_on(directory, change, parts).await
    }

    pub async fn start_on(
        directory: tempfile::TempDir,
        change: impl FnOnce(&mut StoreOptions),
        change_parts: impl FnOnce(&mut RegistryParts),
    ) -> Self {
        let mut options = options(directory.path());
        change(&mut options);
        let store = Store::open(options).await.expect("a store");
        let mut parts = RegistryParts::new(store.clone());
        parts.limits.workers = 2;
        change_parts(&mut parts);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (server, handle) = serve(vec![Listening::plain(listener)], parts, |_| {}).expect("a server");
        tokio::spawn(server);
        // Which library does TLS is said once for the process; whoever was first is right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        Self { directory, store, address, handle, client }
    }

    /// Stops in order and starts again on the same directory.
    pub async fn restart(self) -> Self {
        let directory = self.stop().await;
        Self::start_on(directory, |_| {}, |_| {}).await
    }

    pub async fn stop(self) -> tempfile::TempDir {
        self.handle.stop(false).await;
        let Self { directory, store, client, .. } = self;
        drop((store, client));
        // Work that a request left behind lets go of the directory when it ends.
        let lock = std::fs::File::open(directory.path().join("registry.lock")).expect("a lock");
        until("the directory is free", async || lock.try_lock().is_ok()).await;
        directory
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.expect("an answer")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.send(self.request(Method::HEAD, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/octet-stream");
        self.send(request.body(body)).await
    }

    pub async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::PUT, path).header("content-type", "application/octet-stream");
        self.send(request.body(body)).await
    }

    /// Begins a session; answers where it goes on.
    pub async fn begin(&self, repository: &str) -> String {
        self.post(&format!("/v2/{repository}/blobs/uploads/"), "").await.is(202).location()
    }

    pub async fn patch(&self, location: &str, range: Option<(usize, usize)>, body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.request(Method::PATCH, location).header("content-type", "application/octet-stream");
        if let Some((first, last)) = range {
            request = request.header("content-range", format!("{first}-{last}"));
        }
        self.send(request.body(body)).await
    }

    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, bytes);
        self.push_blob_as(repository, &digest, bytes).await;
        digest
    }

    pub async fn push_blob_as(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.post(&path, bytes.to_vec()).await.is(201);
    }

    pub async fn put_manifest(&self, repository: &str, reference: &str, kind: &str, bytes: &[u8]) -> Answer {
        let request = self.request(Method::PUT, &format!("/v2/{repository}/manifests/{reference}"));
        self.send(request.header("content-type", kind).body(bytes.to_vec())).await
    }

    /// Files that an upload or a push left behind.
    pub fn leftovers(&self) -> Vec<String> {
        let folder = self.directory.path().join("uploads");
        let names = std::fs::read_dir(folder).expect("a folder");
        names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Waits for a condition, with an end.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// Bytes that no other test has.
pub fn unique(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn blob(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

pub fn manifest(repository: &str, reference: impl std::fmt::Display) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

impl Registry {
    /// As `post`, for many at once.
    pub async fn post_owned(&self, path: String, body: Vec<u8>) -> Answer {
        self.post(&path, body).await
    }
}
