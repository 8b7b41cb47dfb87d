//! The seams: who decides, who is told, who is asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::fault::Fault;
use mkube_oci_registry::manifest::OCI_INDEX;
use mkube_oci_registry::names::{Reference, RepositoryName};
use mkube_oci_registry::parts::{
    Access, AccessPolicy, AccessRequest, Action, ContentSource, ManifestNotice, ManifestSink,
};
use mkube_oci_registry::store::{Checks, PushedManifest, Store};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::world::{REPO1, REPO2, Registry, blob, manifest, unique, until};

/// Reads for everybody, except in `secret`; the rest for whoever says so.
struct Policy(Mutex<Vec<Action>>);

#[async_trait]
impl AccessPolicy for Policy {
    async fn decide(&self, request: &AccessRequest<'_>) -> Access {
        self.0.lock().expect("whole").push(request.action);
        let secret = request.repository.is_some_and(|name| name.as_str().starts_with("secret"));
        match (request.action, request.authorization) {
            (_, Some("Bearer wrong")) => Access::Deny("not you".to_owned()),
            (_, Some("Bearer right")) => Access::Allow,
            (Action::Ping | Action::Pull | Action::Catalog, _) if !secret => Access::Allow,
            _ => Access::Challenge(format!("Bearer realm=\"http://{}/token\"", request.host)),
        }
    }
}

#[tokio::test]
async fn access_is_decided_before_anything_is_done() {
    let policy = Arc::new(Policy(Mutex::default()));
    let registry = Registry::start_with(|_| {}, |parts| parts.access = policy.clone()).await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    for (method, path) in [
        (Method::POST, format!("/v2/{REPO1}/blobs/uploads/?digest={digest}")),
        (Method::PUT, manifest(REPO1, "x")),
        (Method::DELETE, manifest(REPO1, "x")),
        (Method::DELETE, blob(REPO1, &digest)),
        (Method::GET, blob("secret/a", &digest)),
        (Method::GET, format!("/v2/{REPO1}/blobs/uploads/{}", uuid::Uuid::new_v4())),
    ] {
        let answer = registry.send(registry.request(method.clone(), &path).body("x")).await.is(401);
        let challenge = format!("Bearer realm=\"http://{}/token\"", registry.address());
        assert_eq!(answer.has("www-authenticate", &challenge).code(), "UNAUTHORIZED");
        let wrong = registry.request(method, &path).header("authorization", "Bearer wrong").body("x");
        assert_eq!(registry.send(wrong).await.is(403).code(), "DENIED");
    }
    assert!(registry.leftovers().is_empty());
    registry.get("/v2/").await.is(200);
    registry.get(&blob(REPO1, &digest)).await.is(404);
    let request = registry.request(Method::POST, &format!("/v2/{REPO1}/blobs/uploads/?digest={digest}"));
    registry.send(request.header("authorization", "Bearer right").body("x")).await.is(201);
    let seen = policy.0.lock().expect("whole").clone();
    for action in [Action::Ping, Action::Pull, Action::Push, Action::Delete] {
        assert!(seen.contains(&action), "{action:?}");
    }
}

/// Everybody pushes anywhere, and nobody reads `secret`.
struct ReadNoSecrets;

#[async_trait]
impl AccessPolicy for ReadNoSecrets {
    async fn decide(&self, request: &AccessRequest<'_>) -> Access {
        let secret = request.repository.is_some_and(|name| name.as_str() == "secret");
        if secret && request.action == Action::Pull { Access::Deny("a secret".to_owned()) } else { Access::Allow }
    }
}

#[tokio::test]
async fn nothing_is_mounted_from_where_the_client_may_not_read() {
    let registry = Registry::start_with(|_| {}, |parts| parts.access = Arc::new(ReadNoSecrets)).await;
    let digest = registry.push_blob("secret", &unique(100)).await;
    for from in ["&from=secret", "", "&from=../secret", "&from="] {
        let path = format!("/v2/{REPO1}/blobs/uploads/?mount={digest}{from}");
        registry.post(&path, "").await.is(202);
        registry.get(&blob(REPO1, &digest)).await.is(404);
    }
}

/// Notes everything down, or fails.
#[derive(Default)]
struct Sink {
    told: Mutex<Vec<ManifestNotice>>,
    broken: Mutex<bool>,
}

#[async_trait]
impl ManifestSink for Sink {
    async fn stored(&self, notice: &ManifestNotice) -> Result<(), String> {
        if *self.broken.lock().expect("whole") {
            return Err("the disk is gone".to_owned());
        }
        self.told.lock().expect("whole").push(notice.clone());
        Ok(())
    }
}

#[tokio::test]
async fn each_stored_manifest_is_told_before_the_answer() {
    let sink = Arc::new(Sink::default());
    let registry = Registry::start_with(|_| {}, |parts| parts.sink = sink.clone()).await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    let digest = Digest::of(Algorithm::Sha256, index.as_bytes());
    registry.put_manifest(REPO1, "edge", OCI_INDEX, index.as_bytes()).await.is(201);
    registry.put_manifest(REPO1, digest.as_str(), OCI_INDEX, index.as_bytes()).await.is(201);
    registry.put_manifest(REPO1, &format!("{digest}?tag=a&tag=b"), OCI_INDEX, index.as_bytes()).await.is(201);
    registry.put_manifest(REPO1, "bad", OCI_INDEX, b"{}").await.is(400);
    let told: Vec<(String, Option<String>)> = sink
        .told
        .lock()
        .expect("whole")
        .iter()
        .map(|notice| {
            assert_eq!((notice.repository.as_str(), &*notice.media_type), (REPO1, OCI_INDEX));
            (notice.digest.to_string(), notice.tag.as_ref().map(ToString::to_string))
        })
        .collect();
    let expected = [Some("edge"), None, Some("a"), Some("b")];
    assert_eq!(told, expected.map(|tag| (digest.to_string(), tag.map(str::to_owned))));
    // What could not be noted down is not acknowledged; the client repeats it.
    *sink.broken.lock().expect("whole") = true;
    registry.put_manifest(REPO1, "again", OCI_INDEX, index.as_bytes()).await.is(503);
    *sink.broken.lock().expect("whole") = false;
    registry.put_manifest(REPO1, "again", OCI_INDEX, index.as_bytes()).await.is(201);
    assert_eq!(sink.told.lock().expect("whole").len(), 5);
}

/// Takes its time.
#[derive(Default)]
struct SlowSink {
    asked: AtomicBool,
    go_on: Notify,
    told: AtomicBool,
}

#[async_trait]
impl ManifestSink for SlowSink {
    async fn stored(&self, _notice: &ManifestNotice) -> Result<(), String> {
        self.asked.store(true, Ordering::SeqCst);
        self.go_on.notified().await;
        self.told.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_push_is_told_also_when_its_client_leaves_before_the_answer() {
    let sink = Arc::new(SlowSink::default());
    let registry = Registry::start_with(|_| {}, |parts| parts.sink = sink.clone()).await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
    let head = format!("PUT /v2/{REPO1}/manifests/edge HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", index.len());
    stream.write_all(format!("{head}{index}").as_bytes()).await.expect("sent");
    until("the sink is asked", async || sink.asked.load(Ordering::SeqCst)).await;
    drop(stream);
    sink.go_on.notify_one();
    until("it is told", async || sink.told.load(Ordering::SeqCst)).await;
    registry.get(&manifest(REPO1, "edge")).await.is(200);
}

/// Has one manifest and one blob.
struct Source {
    index: Vec<u8>,
    blob: Vec<u8>,
}

#[async_trait]
impl ContentSource for Source {
    async fn fetch_manifest(
        &self,
        store: &Store,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool, Fault> {
        if repository.as_str() == "broken" {
            return Err(Fault::Upstream("it is away".to_owned()));
        }
        if repository.as_str() != REPO1 {
            return Ok(false);
        }
        let bytes = Bytes::from(self.index.clone());
        let pushed = PushedManifest { reference: reference.clone(), tags: Vec::new(), content_type: None, bytes };
        store.put_manifest(repository, pushed, Checks::Sparse).await.map(|_| true)
    }

    async fn fetch_blob(&self, store: &Store, repository: &RepositoryName, digest: &Digest) -> Result<bool, Fault> {
        if repository.as_str() != REPO1 {
            return Ok(false);
        }
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(self.blob.clone()))]);
        store.receive_blob(repository, digest, body).await.map(|()| true)
    }
}

#[tokio::test]
async fn what_is_missing_here_is_asked_for_elsewhere_and_kept() {
    let blob_bytes = unique(1000);
    let digest = Digest::of(Algorithm::Sha256, &blob_bytes);
    let child = json!({"mediaType": "x", "digest": digest.as_str(), "size": 1000});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).to_string().into_bytes();
    let source = Source { index: index.clone(), blob: blob_bytes.clone() };
    let registry = Registry::start_with(|_| {}, |parts| parts.source = Some(Arc::new(source))).await;
    registry.head(&manifest(REPO1, "latest")).await.is(200);
    assert_eq!(registry.get(&manifest(REPO1, "latest")).await.is(200).body, index);
    assert_eq!(registry.get(&blob(REPO1, &digest)).await.is(200).body, blob_bytes);
    registry.get(&manifest(REPO2, "latest")).await.is(404);
    registry.get(&blob(REPO2, &digest)).await.is(404);
    assert_eq!(registry.get(&manifest("broken", "latest")).await.is(502).code(), "UNKNOWN");
    // Something else than was asked for is neither kept nor served.
    let other = Digest::of(Algorithm::Sha256, b"other");
    registry.get(&blob(REPO1, &other)).await.is(400);
    assert!(registry.leftovers().is_empty());
    // Without the source it is still there.
    let registry = registry.restart().await;
    assert_eq!(registry.get(&manifest(REPO1, "latest")).await.is(200).body, index);
    assert_eq!(registry.get(&blob(REPO1, &digest)).await.is(200).body, blob_bytes);
}
