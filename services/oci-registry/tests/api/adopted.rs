//! A directory that the Go registry left: everything in it is there, as it lies; and what becomes garbage.

use std::path::Path;
use std::time::Duration;

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::fault::Fault;
use mkube_oci_registry::manifest::{DOCKER_MANIFEST, OCI_INDEX};
use mkube_oci_registry::names::RepositoryName;
use mkube_oci_registry::store::{Store, StoreOptions};
use serde_json::json;

use crate::content::{Data, image};
use crate::world::{REPO1, REPO2, Registry, blob, manifest, unique};

/// Writes as the Go registry did: blobs in one namespace, a manifest under what it was pushed by and nothing else.
struct GoRegistry<'a>(&'a Path);

impl GoRegistry<'_> {
    fn blob(&self, digest: &Digest, bytes: &[u8]) {
        let folder = self.0.join("blobs/sha256");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(digest.hex()), bytes).expect("written");
    }

    fn manifest(&self, repository: &str, reference: &str, kind: Option<&str>, bytes: &[u8]) {
        let folder = self.0.join("manifests").join(repository);
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{}.json", reference.replace(':', "-")));
        std::fs::write(&path, bytes).expect("written");
        if let Some(kind) = kind {
            std::fs::write(path.with_extension("json.type"), kind).expect("written");
        }
    }
}

fn push(go: &GoRegistry<'_>, data: &Data, repository: &str, tag: &str) -> (Digest, Vec<u8>) {
    for (digest, bytes) in &data.blobs {
        go.blob(digest, bytes);
    }
    let (digest, kind, bytes) = &data.manifests[0];
    go.manifest(repository, tag, Some(kind), bytes);
    (digest.clone(), bytes.clone())
}

fn one() -> Data {
    let mut data = Data::new(Algorithm::Sha256);
    data.image(&image());
    data
}

#[tokio::test]
async fn what_the_go_registry_stored_is_served_by_tag_and_by_digest() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = GoRegistry(directory.path());
    let data = one();
    let (digest, bytes) = push(&go, &data, "gt/app", "edge");
    // As its pull-through left children, and as a client that sent no type did.
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": digest.as_str(), "size": 1}]});
    let index = index.to_string().into_bytes();
    let of_index = Digest::of(Algorithm::Sha256, &index);
    go.manifest("gt/app", of_index.as_str(), Some(OCI_INDEX), &index);
    go.manifest("old", "latest", None, br#"{"schemaVersion": 2, "layers": [], "config": 5}"#);
    go.manifest("html", "latest", Some("text/html"), b"<html>not found</html>");
    std::fs::create_dir_all(directory.path().join("uploads")).expect("a folder");
    std::fs::write(directory.path().join("uploads/0193b2c4-0000-7000-8000-000000000000"), "x").expect("written");

    let registry = Registry::start_on(directory, |_| {}, |_| {}).await;
    for reference in ["edge", digest.as_str()] {
        let got = registry.get(&manifest("gt/app", reference)).await.is(200);
        assert_eq!(got.has("docker-content-digest", digest.as_str()).body, bytes);
    }
    registry.get(&manifest("gt/app", &of_index)).await.is(200).has("content-type", OCI_INDEX);
    registry.get(&manifest("old", "latest")).await.is(200).has("content-type", DOCKER_MANIFEST);
    registry.get(&manifest("html", "latest")).await.is(404);
    assert!(registry.directory.path().join("manifests/html/latest.json").exists(), "left alone");
    let catalog = registry.get("/v2/_catalog").await.is(200).json();
    assert_eq!(catalog["repositories"], json!(["gt/app", "old"]));
    // Its blobs had no repositories: they are in all of them.
    for (digest, bytes) in &data.blobs {
        for repository in ["gt/app", "somewhere/else"] {
            assert_eq!(registry.get(&blob(repository, digest)).await.is(200).body, *bytes);
        }
    }
    let (_, kind, bytes) = &data.manifests[0];
    registry.put_manifest("somewhere/else", "latest", kind, bytes).await.is(201);
}

#[tokio::test]
async fn an_adopted_manifest_outlives_the_tag_it_lay_under() {
    for moved in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let (digest, bytes) = push(&GoRegistry(directory.path()), &one(), REPO1, "edge");
        let registry = Registry::start_on(directory, |_| {}, |_| {}).await;
        if moved {
            let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
            registry.put_manifest(REPO1, "edge", OCI_INDEX, index.as_bytes()).await.is(201);
        } else {
            registry.delete(&manifest(REPO1, "edge")).await.is(202);
        }
        let registry = registry.restart().await;
        assert_eq!(registry.get(&manifest(REPO1, &digest)).await.is(200).body, bytes);
        let edge = registry.get(&manifest(REPO1, "edge")).await;
        assert_eq!(edge.status == 200, moved);
    }
}

#[tokio::test]
async fn a_truncated_adopted_blob_is_never_served_and_can_be_pushed_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = GoRegistry(directory.path());
    let data = one();
    push(&go, &data, REPO1, "edge");
    let (digest, bytes) = data.blobs.iter().next().expect("a blob");
    go.blob(digest, &bytes[..bytes.len() / 2]);
    let other = unique(100);
    let half = Digest::of(Algorithm::Sha256, &other);
    go.blob(&half, &other[..50]);
    let registry = Registry::start_on(directory, |_| {}, |_| {}).await;
    registry.head(&blob(REPO1, digest)).await.is(404);
    registry.get(&blob(REPO1, digest)).await.is(404);
    let (_, kind, manifest) = &data.manifests[0];
    registry.put_manifest(REPO2, "x", kind, manifest).await.is(404);
    registry.push_blob_as(REPO1, digest, bytes).await;
    assert_eq!(registry.get(&blob(REPO1, digest)).await.is(200).body, *bytes);
    // Also without having been asked for before.
    registry.push_blob_as(REPO1, &half, &other).await;
    assert_eq!(registry.get(&blob(REPO1, &half)).await.is(200).body, other);
    let registry = registry.restart().await;
    assert_eq!(registry.get(&blob(REPO1, &half)).await.is(200).body, other);
    assert_eq!(registry.get(&blob(REPO1, digest)).await.is(200).body, *bytes);
}

#[tokio::test]
async fn an_adopted_blob_that_is_deleted_here_stays_where_a_manifest_needs_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = GoRegistry(directory.path());
    let data = one();
    push(&go, &data, REPO1, "edge");
    let loose = unique(100);
    let unneeded = Digest::of(Algorithm::Sha256, &loose);
    go.blob(&unneeded, &loose);
    let registry = Registry::start_on(directory, |_| {}, |_| {}).await;
    let digest = data.blobs.keys().next().expect("a blob");
    registry.delete(&blob(REPO1, digest)).await.is(405);
    registry.delete(&blob(REPO2, digest)).await.is(202);
    registry.delete(&blob(REPO2, &unneeded)).await.is(202);
    let registry = registry.restart().await;
    registry.get(&blob(REPO2, digest)).await.is(404);
    registry.get(&blob(REPO1, digest)).await.is(200);
    registry.get(&blob(REPO1, &unneeded)).await.is(404);
    assert!(!registry.directory.path().join("blobs/sha256").join(unneeded.hex()).exists());
}

#[tokio::test]
async fn what_is_stored_here_lies_where_the_go_registry_looks_for_it() {
    let registry = Registry::start().await;
    let data = one();
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    let (digest, kind, bytes) = &data.manifests[0];
    registry.put_manifest(REPO1, "edge", kind, bytes).await.is(201);
    let root = registry.directory.path();
    for (digest, bytes) in &data.blobs {
        assert_eq!(std::fs::read(root.join("blobs/sha256").join(digest.hex())).expect("there"), *bytes);
    }
    for name in ["edge".to_owned(), format!("sha256-{}", digest.hex())] {
        let path = root.join("manifests").join(REPO1).join(format!("{name}.json"));
        assert_eq!(std::fs::read(&path).expect("there"), *bytes);
        assert_eq!(std::fs::read_to_string(path.with_extension("json.type")).expect("there"), *kind);
    }
}

#[tokio::test]
async fn only_one_registry_at_a_time_has_a_directory() {
    let registry = Registry::start().await;
    let options = crate::world::options(registry.directory.path());
    let second = mkube_oci_registry::store::Store::open(options).await.err();
    assert!(second.is_some_and(|fault| fault.to_string().contains("another registry")));
}

#[tokio::test]
async fn garbage_is_what_no_manifest_names_and_nobody_asked_for_lately() {
    let registry = Registry::start_with(|options| options.grace = Duration::ZERO, |_| {}).await;
    let data = one();
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
        registry.push_blob_as(REPO2, digest, bytes).await;
    }
    let (digest, kind, bytes) = &data.manifests[0];
    registry.put_manifest(REPO1, "latest", kind, bytes).await.is(201);
    let loose = registry.push_blob(REPO1, &unique(1000)).await;
    let location = registry.begin(REPO1).await;
    registry.patch(&location, None, "some").await.is(202);
    let collected = registry.store.collect_garbage().await.expect("collected");
    assert_eq!((collected.blobs, collected.bytes, collected.young), (1, 1000, 0));
    registry.get(&blob(REPO1, &loose)).await.is(404);
    for digest in data.blobs.keys() {
        registry.get(&blob(REPO1, digest)).await.is(200);
    }
    registry.get(&location).await.is(204);
    registry.delete(&manifest(REPO1, digest)).await.is(202);
    let collected = registry.store.collect_garbage().await.expect("collected");
    assert_eq!(collected.blobs, data.blobs.len());
    assert_eq!(registry.store.usage().used, 4, "the session's bytes");
    assert_eq!(registry.store.locks(), 0);
    let registry = registry.restart().await;
    for digest in data.blobs.keys() {
        registry.get(&blob(REPO1, digest)).await.is(404);
    }
}

#[tokio::test(start_paused = true)]
async fn a_young_blob_and_one_that_was_just_asked_for_are_no_garbage() {
    let hour = Duration::from_secs(3600);
    let directory = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { grace: 24 * hour, ..crate::world::options(directory.path()) };
    let open = async || Store::open(options.clone()).await.expect("a store");
    let name = RepositoryName::parse(REPO1).expect("a name");
    let push = async |store: &Store, text: &'static str| {
        let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(text))]);
        store.receive_blob(&name, &digest, body).await.expect("pushed");
        digest
    };
    let collect = async |store: &Store| {
        let collected = store.collect_garbage().await.expect("collected");
        (collected.blobs, collected.young)
    };
    let store = open().await;
    let (left, asked) = (push(&store, "left").await, push(&store, "asked").await);
    assert_eq!(collect(&store).await, (0, 2));
    tokio::time::advance(23 * hour).await;
    // Found by a client that is about to push a manifest of it.
    assert!(store.blob(&name, &asked).await.expect("an answer").is_some());
    tokio::time::advance(2 * hour).await;
    assert_eq!(collect(&store).await, (1, 1));
    assert!(store.blob(&name, &left).await.expect("an answer").is_none());
    // A store that was just opened knows nothing of what clients count on.
    drop(store);
    let store = open().await;
    assert_eq!(collect(&store).await, (0, 1));
    tokio::time::advance(25 * hour).await;
    assert_eq!(collect(&store).await, (1, 0));
}

#[tokio::test]
async fn nothing_is_garbage_while_a_manifest_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let go = GoRegistry(directory.path());
    push(&go, &one(), REPO1, "edge");
    // A file that is there and cannot be read, also by root.
    std::os::unix::fs::symlink("gone", directory.path().join("manifests").join(REPO1).join("lost.json")).expect("made");
    let registry = Registry::start_on(directory, |options| options.grace = Duration::ZERO, |_| {}).await;
    let loose = registry.push_blob(REPO1, &unique(10)).await;
    assert_eq!(registry.store.collect_garbage().await.expect("nothing to do").blobs, 0);
    registry.get(&blob(REPO1, &loose)).await.is(200);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_writes_to_expires() {
    let minute = Duration::from_secs(60);
    let directory = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { upload_life: 60 * minute, ..crate::world::options(directory.path()) };
    let open = async || Store::open(options.clone()).await.expect("a store");
    let name = RepositoryName::parse(REPO1).expect("a name");
    let write = async |store: &Store, id| {
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from("abc"))]);
        store.append(&name, id, None, body).await.expect("room");
    };
    let store = open().await;
    let (left, used) =
        (store.start_upload(&name).await.expect("begun"), store.start_upload(&name).await.expect("begun"));
    write(&store, left).await;
    tokio::time::advance(40 * minute).await;
    write(&store, used).await;
    assert_eq!(store.expire_uploads().await.expect("looked after"), 0);
    tokio::time::advance(30 * minute).await;
    assert_eq!(store.expire_uploads().await.expect("looked after"), 1);
    assert!(matches!(store.upload_offset(&name, left).await, Err(Fault::UploadUnknown(_))));
    assert_eq!(store.upload_offset(&name, used).await.expect("there"), 3);
    assert_eq!(store.usage().used, 3);
    // One from before a restart has its time as well, and what a Go registry left goes the same way.
    std::fs::write(directory.path().join("uploads/0193b2c4-0000-7000-8000-000000000000"), "x").expect("written");
    drop(store);
    let store = open().await;
    assert_eq!(store.expire_uploads().await.expect("looked after"), 0);
    tokio::time::advance(61 * minute).await;
    assert_eq!(store.expire_uploads().await.expect("looked after"), 2);
    assert_eq!(store.usage().used, 0);
}
