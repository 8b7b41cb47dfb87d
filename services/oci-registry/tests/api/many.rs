//! Many clients at once.

use mkube_oci_registry::digest::{Algorithm, Digest};

use crate::content::{Data, image};
use crate::world::{REPO1, Registry, blob, manifest, unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_pullers_at_once_get_everything_without_an_error() {
    let registry = Registry::start().await;
    let mut data = Data::new(Algorithm::Sha256);
    let mut shape = image();
    shape.layers = vec![unique(1 << 20), unique(300_000)];
    data.image(&shape);
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    let (_, kind, bytes) = &data.manifests[0];
    registry.put_manifest(REPO1, "latest", kind, bytes).await.is(201);
    let pull = async || {
        assert_eq!(registry.get(&manifest(REPO1, "latest")).await.is(200).body, *bytes);
        for digest in data.blobs.keys() {
            let got = registry.get(&blob(REPO1, digest)).await.is(200);
            assert_eq!(Digest::of(digest.algorithm(), &got.body), *digest);
        }
    };
    futures_util::future::join_all((0..200).map(|_| pull())).await;
    assert_eq!(registry.store.locks(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushing_deleting_and_collecting_at_once_never_leaves_a_manifest_without_its_blobs() {
    let registry = Registry::start_with(|options| options.grace = std::time::Duration::ZERO, |_| {}).await;
    let mut data = Data::new(Algorithm::Sha256);
    data.image(&image());
    let (of_image, kind, bytes) = &data.manifests[0];
    let writer = async |repository: &str| {
        for _ in 0..15 {
            for (digest, bytes) in &data.blobs {
                registry.push_blob_as(repository, digest, bytes).await;
            }
            let answer = registry.put_manifest(repository, "latest", kind, bytes).await;
            // Without a grace time a blob may be collected before its manifest comes: refused then, never half stored.
            assert!(matches!(answer.status.as_u16(), 201 | 404), "{answer:?}");
            if answer.status == 201 {
                for digest in data.blobs.keys() {
                    registry.head(&blob(repository, digest)).await.is(200);
                }
                registry.delete(&manifest(repository, of_image)).await.is(202);
            }
        }
    };
    let collector = async {
        for _ in 0..100 {
            registry.store.collect_garbage().await.expect("collected");
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer("a"), writer("b"), writer("c"), collector);
    assert_eq!(registry.store.locks(), 0);
}
