//! What goes wrong: hostile names, huge manifests, bodies cut off, no room, several at one thing.

use std::time::Duration;

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::manifest::{LARGEST, OCI_INDEX};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::content::{Data, image};
use crate::world::{REPO1, REPO2, Registry, blob, manifest, unique, until};

/// Sends bytes as they are, without a client that would tidy them up; answers what comes back until the other side closes.
async fn raw(registry: &Registry, text: &str) -> String {
    let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_path_that_leads_out_of_the_directory_is_refused_and_touches_nothing() {
    let registry = Registry::start().await;
    let outside = registry.directory.path().parent().expect("a parent").join("escaped.json");
    for path in [
        "/v2/../../escaped/manifests/x",
        "/v2/a/../../../manifests/escaped",
        "/v2/%2e%2e/%2e%2e/manifests/escaped",
        "/v2/a%2f..%2f..%2f..%2fescaped/manifests/x",
        "/v2/a/manifests/..%2f..%2f..%2fescaped",
        "/v2/a/manifests/%2e%2e",
        "/v2/a/blobs/sha256:..%2f..%2f..%2fescaped",
        "/v2/a/blobs/uploads/..%2f..%2fescaped?digest=sha256:0",
        "/v2/_everywhere/sha256/manifests/x",
        "/v2/a/_blobs/manifests/x",
        "/v2/a\\..\\b/manifests/x",
        "/v2/a/manifests/x%00.json",
    ] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "POST"] {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
            let answer = raw(&registry, &head).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{method} {path}: {answer}");
        }
    }
    assert!(!outside.exists());
    assert!(registry.leftovers().is_empty());
    let manifests = registry.directory.path().join("manifests");
    assert_eq!(std::fs::read_dir(manifests).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_manifest_of_10_mib_is_refused_with_413_and_one_of_4_mib_is_not() {
    let registry = Registry::start().await;
    let with = |length: usize| {
        let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"a": ""}});
        let filler = "A".repeat(length - empty.to_string().len());
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"a": filler}}).to_string()
    };
    let largest = usize::try_from(LARGEST).expect("small");
    for length in [10 << 20, largest + 1] {
        let refused = registry.put_manifest(REPO1, "large", OCI_INDEX, with(length).as_bytes()).await;
        assert_eq!(refused.is(413).code(), "SIZE_INVALID");
        // Without a length beforehand as well.
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            with(length).into_bytes().chunks(65_536).map(|piece| Ok(piece.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let request = registry.request(Method::PUT, &manifest(REPO1, "large")).header("content-type", OCI_INDEX);
        registry.send(request.body(body)).await.is(413);
    }
    registry.get(&manifest(REPO1, "large")).await.is(404);
    registry.put_manifest(REPO1, "large", OCI_INDEX, with(largest).as_bytes()).await.is(201);
}

#[tokio::test]
async fn a_body_that_is_cut_off_leaves_nothing_or_what_a_session_can_go_on_from() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, &[b'x'; 1000]);
    let cut = async |method: &str, path: &str| {
        let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(400));
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("cut");
        drop(stream);
    };
    cut("POST", &format!("/v2/{REPO1}/blobs/uploads/?digest={digest}")).await;
    until("nothing is left", async || registry.leftovers().is_empty() && registry.store.usage().used == 0).await;
    registry.get(&blob(REPO1, &digest)).await.is(404);

    let location = registry.begin(REPO1).await;
    cut("PATCH", &location).await;
    until("the session has what came", async || {
        registry.get(&location).await.header("range") == Some("0-399") && registry.store.locks() == 0
    })
    .await;
    registry.patch(&location, Some((400, 999)), vec![b'x'; 600]).await.is(202);
    registry.put(&format!("{location}?digest={digest}"), "").await.is(201);
    assert_eq!(registry.get(&blob(REPO1, &digest)).await.is(200).body, [b'x'; 1000]);
}

#[tokio::test]
async fn a_client_that_stops_sending_loses_its_connection_and_not_the_session() {
    let idle = Duration::from_millis(200);
    let registry = Registry::start_with(|_| {}, |parts| parts.limits.idle = idle).await;
    let location = registry.begin(REPO1).await;
    let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 400");
    registry.get(&location).await.is(204).has("range", "0-9");
}

#[tokio::test]
async fn two_writers_of_one_blob_both_succeed_and_one_file_is_there() {
    let registry = Registry::start().await;
    let bytes = unique(3 << 20);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let path = |repository: &str| format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let pushes = (0..8).map(|number| {
        let repository = if number % 2 == 0 { REPO1 } else { REPO2 };
        registry.post_owned(path(repository), bytes.clone())
    });
    for answer in futures_util::future::join_all(pushes).await {
        answer.is(201);
    }
    for repository in [REPO1, REPO2] {
        assert_eq!(registry.get(&blob(repository, &digest)).await.is(200).body, bytes);
    }
    assert!(registry.leftovers().is_empty());
    assert_eq!(registry.store.usage().used, bytes.len() as u64);
    assert_eq!(registry.store.locks(), 0);
}

#[tokio::test]
async fn two_requests_for_one_session_do_not_mix() {
    let registry = Registry::start().await;
    let location = registry.begin(REPO1).await;
    let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n0123456789");
    stream.write_all(head.as_bytes()).await.expect("sent");
    until("the first one writes", async || registry.store.locks() > 0).await;
    let busy = registry.patch(&location, None, "other").await;
    assert_eq!(busy.is(409).code(), "BLOB_UPLOAD_INVALID");
    registry.delete(&location).await.is(409);
    stream.write_all(b"0123456789").await.expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 202");
    let digest = Digest::of(Algorithm::Sha256, b"01234567890123456789");
    registry.put(&format!("{location}?digest={digest}"), "").await.is(201);
}

#[tokio::test]
async fn a_blob_that_is_deleted_while_it_is_pulled_still_arrives_whole() {
    let registry = Registry::start().await;
    let bytes = unique(24 << 20);
    let digest = registry.push_blob(REPO1, &bytes).await;
    let mut response = registry.request(Method::GET, &blob(REPO1, &digest)).send().await.expect("an answer");
    let mut got = response.chunk().await.expect("a piece").expect("some").to_vec();
    registry.delete(&blob(REPO1, &digest)).await.is(202);
    registry.get(&blob(REPO1, &digest)).await.is(404);
    while let Some(piece) = response.chunk().await.expect("a piece") {
        got.extend_from_slice(&piece);
    }
    assert_eq!(Digest::of(Algorithm::Sha256, &got), digest);
}

#[tokio::test]
async fn a_blob_of_a_manifest_is_deleted_only_after_the_manifest() {
    let registry = Registry::start().await;
    let mut data = Data::new(Algorithm::Sha256);
    data.image(&image());
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
        registry.push_blob_as(REPO2, digest, bytes).await;
    }
    let (of_image, kind, bytes) = &data.manifests[0];
    registry.put_manifest(REPO1, "latest", kind, bytes).await.is(201);
    let digest = data.blobs.keys().next().expect("a blob");
    assert_eq!(registry.delete(&blob(REPO1, digest)).await.is(405).code(), "DENIED");
    registry.get(&blob(REPO1, digest)).await.is(200);
    // No manifest of the other repository names it.
    registry.delete(&blob(REPO2, digest)).await.is(202);
    registry.get(&blob(REPO2, digest)).await.is(404);
    registry.get(&blob(REPO1, digest)).await.is(200);
    registry.delete(&manifest(REPO1, of_image)).await.is(202);
    registry.delete(&blob(REPO1, digest)).await.is(202);
    registry.get(&blob(REPO1, digest)).await.is(404);
}

#[tokio::test]
async fn what_does_not_fit_into_the_quota_is_refused_with_507_and_leaves_nothing() {
    let registry = Registry::start_with(|options| options.quota = Some(100_000), |_| {}).await;
    let kept = registry.push_blob(REPO1, &unique(60_000)).await;
    let bytes = unique(50_000);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let path = format!("/v2/{REPO1}/blobs/uploads/?digest={digest}");
    assert_eq!(registry.post(&path, bytes.clone()).await.is(507).code(), "DENIED");
    // Where the length is not said beforehand, it shows in the middle.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = bytes.chunks(1000).map(|piece| Ok(piece.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    registry.post(&path, body).await.is(507);
    let location = registry.begin(REPO1).await;
    registry.patch(&location, None, bytes.clone()).await.is(507);
    registry.delete(&location).await.is(204);
    assert!(registry.leftovers().is_empty(), "{:?}", registry.leftovers());
    assert_eq!(registry.store.usage().used, 60_000);
    let annotations = json!({"a": "A".repeat(50_000)});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": annotations});
    registry.put_manifest(REPO1, "x", OCI_INDEX, index.to_string().as_bytes()).await.is(507);
    registry.get(&manifest(REPO1, "x")).await.is(404);
    registry.delete(&blob(REPO1, &kept)).await.is(202);
    registry.post(&path, bytes).await.is(201);
}

#[tokio::test]
async fn what_would_fill_the_disk_is_refused_before_it_is_full() {
    let registry = Registry::start_with(|options| options.keep_free = u64::MAX / 2, |_| {}).await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let refused = registry.post(&format!("/v2/{REPO1}/blobs/uploads/?digest={digest}"), "x").await;
    assert_eq!(refused.is(507).code(), "DENIED");
    registry.post(&format!("/v2/{REPO1}/blobs/uploads/"), "").await.is(507);
    // Reading goes on.
    registry.get("/v2/").await.is(200);
    registry.get(&blob(REPO1, &digest)).await.is(404);
}

#[tokio::test]
async fn a_full_disk_in_the_middle_of_a_push_is_a_clean_507_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(directory.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        crate::real_clients::skipped("a full disk", "this user may not mount a tmpfs");
        return;
    }
    let unmount = Unmount(directory.path().to_owned());
    let registry = Registry::start_on(directory, |_| {}, |_| {}).await;
    let kept = registry.push_blob(REPO1, &unique(1 << 20)).await;
    let bytes = unique(8 << 20);
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let path = format!("/v2/{REPO1}/blobs/uploads/?digest={digest}");
    let streamed = |bytes: &[u8]| {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            bytes.chunks(65_536).map(|piece| Ok(piece.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };
    registry.post(&path, bytes.clone()).await.is(507);
    assert_eq!(registry.post(&path, streamed(&bytes)).await.is(507).code(), "DENIED");
    let location = registry.begin(REPO1).await;
    registry.patch(&location, None, streamed(&bytes)).await.is(507);
    assert!(registry.leftovers().is_empty(), "{:?}", registry.leftovers());
    registry.get(&blob(REPO1, &digest)).await.is(404);
    registry.get(&blob(REPO1, &kept)).await.is(200);
    // There is room again for what fits.
    registry.push_blob(REPO1, &unique(1 << 20)).await;
    let directory = registry.stop().await;
    drop(unmount);
    drop(directory);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let ended = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(std::thread::panicking() || ended.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn more_requests_than_the_limit_are_answered_429_and_served_later() {
    let registry = Registry::start_with(|_| {}, |parts| parts.limits.requests = 1).await;
    let location = registry.begin(REPO1).await;
    let mut stream = TcpStream::connect(registry.address()).await.expect("a connection");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx");
    stream.write_all(head.as_bytes()).await.expect("sent");
    until("the first one writes", async || registry.store.locks() > 0).await;
    let refused = registry.get("/v2/").await.is(429).has("retry-after", "1");
    assert_eq!(refused.code(), "TOOMANYREQUESTS");
    stream.write_all(b"x").await.expect("sent");
    until("the next one is served", async || registry.get("/v2/").await.status == 200).await;
}

#[tokio::test]
async fn more_sessions_than_the_limit_are_answered_429() {
    let registry = Registry::start_with(|options| options.uploads = 2, |_| {}).await;
    let first = registry.begin(REPO1).await;
    registry.begin(REPO1).await;
    let path = format!("/v2/{REPO1}/blobs/uploads/");
    assert_eq!(registry.post(&path, "").await.is(429).code(), "TOOMANYREQUESTS");
    registry.delete(&first).await.is(204);
    registry.post(&path, "").await.is(202);
}

#[tokio::test]
async fn methods_that_mean_nothing_are_refused() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    for (method, path) in [
        (Method::POST, manifest(REPO1, "latest")),
        (Method::PUT, blob(REPO1, &digest)),
        (Method::DELETE, format!("/v2/{REPO1}/tags/list")),
        (Method::PUT, "/v2/_catalog".to_owned()),
        (Method::GET, format!("/v2/{REPO1}/blobs/uploads/")),
        (Method::OPTIONS, manifest(REPO1, "latest")),
    ] {
        let answer = registry.send(registry.request(method, &path)).await.is(405);
        assert_eq!(answer.code(), "UNSUPPORTED", "{path}");
    }
}
