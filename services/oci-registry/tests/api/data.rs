//! The suite's kinds of content: each is pushed, listed, asked for, pulled, and deleted in its parts. Named after its cases.

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use reqwest::Method;
use serde_json::{Value, json};

use crate::content::{Data, EMPTY_JSON, EXAMPLE1, EXAMPLE2, Shape, annotated, artifact, image};
use crate::world::{Answer, REPO1, Registry, blob, manifest};

/// Whether tags are set with the push by digest.
#[derive(Clone, Copy, PartialEq)]
enum Tagging {
    OneByOne,
    WithDigest,
}

/// Checks the answer to a push, and its location.
async fn pushed(registry: &Registry, answer: Answer, digest: &Digest, bytes: &[u8]) {
    let answer = answer.is(201).has("docker-content-digest", digest.as_str());
    let subject =
        serde_json::from_slice::<Value>(bytes).expect("JSON")["subject"]["digest"].as_str().map(str::to_owned);
    assert_eq!(answer.header("oci-subject"), subject.as_deref());
    assert_eq!(registry.get(&answer.location()).await.is(200).body, bytes);
}

async fn pulled(registry: &Registry, reference: &str, digest: &Digest, kind: &str, bytes: &[u8]) {
    let path = manifest(REPO1, reference);
    let length = bytes.len().to_string();
    for answer in [registry.get(&path).await, registry.head(&path).await] {
        let answer = answer.is(200).has("content-type", kind).has("content-length", &length);
        let answer = answer.has("docker-content-digest", digest.as_str());
        assert!(answer.body.is_empty() || answer.body == bytes);
    }
    assert_eq!(registry.get(&path).await.body, bytes);
}

async fn check_tags(registry: &Registry, data: &Data) {
    let path = format!("/v2/{REPO1}/tags/list");
    let list = registry.get(&path).await.is(200).json();
    let listed: Vec<&str> = list["tags"].as_array().expect("tags").iter().filter_map(Value::as_str).collect();
    assert_eq!(listed, data.tags.keys().map(String::as_str).collect::<Vec<_>>());
    if listed.len() > 1 {
        let last = listed[listed.len() / 2 - 1];
        let rest = registry.get(&format!("{path}?last={last}")).await.is(200).json();
        assert_eq!(rest["tags"], json!(listed[listed.len() / 2..]));
    }
}

async fn check_referrers(registry: &Registry, data: &Data) {
    for (subject, expected) in &data.referrers {
        let path = format!("/v2/{REPO1}/referrers/{subject}");
        let list = async |path: &str| {
            let answer = registry.get(path).await.is(200).has("content-type", OCI_INDEX);
            let index = answer.json();
            assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
            (answer, index["manifests"].as_array().expect("a list").clone())
        };
        let (_, all) = list(&path).await;
        assert_eq!(all.len(), expected.len());
        for one in expected {
            assert!(all.contains(one), "{one} is missing in {all:?}");
            let Some(kind) = one["artifactType"].as_str() else { continue };
            let (answer, filtered) = list(&format!("{path}?artifactType={}", kind.replace('+', "%2B"))).await;
            answer.has("oci-filters-applied", "artifactType");
            let same: Vec<&Value> = expected.iter().filter(|other| other["artifactType"] == kind).collect();
            assert_eq!(filtered.len(), same.len(), "{kind}");
            assert!(same.iter().all(|other| filtered.contains(other)));
        }
    }
}

async fn whole_life(data: Data, tagging: Tagging) {
    let registry = Registry::start().await;
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    for (digest, kind, bytes) in &data.manifests {
        let tags: Vec<&String> = data.tags.iter().filter(|(_, to)| *to == digest).map(|(tag, _)| tag).collect();
        let mut path = manifest(REPO1, digest);
        if tagging == Tagging::WithDigest {
            let parameters: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
            path = format!("{path}?{}", parameters.join("&"));
        }
        let request = registry.request(Method::PUT, &path).header("content-type", *kind).body(bytes.clone());
        let answer = registry.send(request).await;
        if tagging == Tagging::WithDigest {
            let set: Vec<&str> =
                answer.headers.get_all("oci-tag").iter().map(|value| value.to_str().expect("text")).collect();
            assert_eq!(set, tags);
        }
        pushed(&registry, answer, digest, bytes).await;
    }
    let find = |digest: &Digest| data.manifests.iter().find(|(one, ..)| one == digest).expect("known");
    if tagging == Tagging::OneByOne {
        for (tag, digest) in &data.tags {
            let (_, kind, bytes) = find(digest);
            pushed(&registry, registry.put_manifest(REPO1, tag, kind, bytes).await, digest, bytes).await;
        }
    }
    // What is on the disk says the same as what was in memory.
    let registry = registry.restart().await;
    check_tags(&registry, &data).await;
    for (tag, digest) in &data.tags {
        let (_, kind, bytes) = find(digest);
        pulled(&registry, tag, digest, kind, bytes).await;
    }
    for (digest, kind, bytes) in &data.manifests {
        pulled(&registry, digest.as_str(), digest, kind, bytes).await;
    }
    for (digest, bytes) in &data.blobs {
        assert_eq!(registry.get(&blob(REPO1, digest)).await.is(200).body, *bytes);
    }
    check_referrers(&registry, &data).await;
    for (tag, digest) in &data.tags {
        registry.delete(&manifest(REPO1, tag)).await.is(202);
        registry.head(&manifest(REPO1, tag)).await.is(404);
        registry.head(&manifest(REPO1, digest)).await.is(200);
    }
    for (digest, ..) in data.manifests.iter().rev() {
        registry.delete(&manifest(REPO1, digest)).await.is(202);
        assert_eq!(registry.get(&manifest(REPO1, digest)).await.is(404).code(), "MANIFEST_UNKNOWN");
    }
    for digest in data.blobs.keys() {
        registry.delete(&blob(REPO1, digest)).await.is(202);
        registry.head(&blob(REPO1, digest)).await.is(404);
    }
    for subject in data.referrers.keys() {
        let list = registry.get(&format!("/v2/{REPO1}/referrers/{subject}")).await.is(200).json();
        assert_eq!(list["manifests"], json!([]));
    }
    assert_eq!(registry.store.usage().used, 0, "everything was given back");
    assert_eq!(registry.store.locks(), 0);
    let registry = registry.restart().await;
    assert_eq!(registry.store.usage().used, 0, "nothing came back");
}

fn one(shape: &Shape, tag: &str) -> Data {
    let mut data = Data::new(Algorithm::Sha256);
    data.image(shape);
    data.tag(tag)
}

#[tokio::test]
async fn image_() {
    whole_life(one(&image(), "image"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn image_uncompressed() {
    let shape = Shape { layer_type: "application/vnd.oci.image.layer.v1.tar", ..image() };
    whole_life(one(&shape, "image-uncompressed"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn large_manifest() {
    let annotations =
        (0..390).map(|number| (format!("large-annotation-{number}"), json!("A".repeat(10_000)))).collect();
    whole_life(one(&Shape { annotations, ..image() }, "large-manifest"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn index() {
    let mut data = Data::new(Algorithm::Sha256);
    data.index_of_images(&image());
    whole_life(data.tag("index"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn nested_index() {
    let mut data = Data::new(Algorithm::Sha256);
    let inner = [data.index_of_images(&image()), data.index_of_images(&image())];
    data.index(&image(), &inner);
    whole_life(data.tag("index-of-index"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn empty_index() {
    let mut data = Data::new(Algorithm::Sha256);
    data.index(&image(), &[]);
    whole_life(data.tag("index"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn artifact_() {
    whole_life(one(&artifact(EXAMPLE1), "artifact"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn artifact_index() {
    let mut data = Data::new(Algorithm::Sha256);
    data.index_of_images(&artifact(EXAMPLE1));
    whole_life(data.tag("artifact-index"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn artifact_without_layers() {
    let shape = Shape { layers: vec![b"{}".to_vec()], layer_type: EMPTY_JSON, ..artifact(EXAMPLE1) };
    whole_life(one(&shape, "artifact-without-layers"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn artifacts_with_subject() {
    let mut data = Data::new(Algorithm::Sha256);
    let subject = Some(data.image(&image()));
    let mut data = data.tag("image");
    data.image(&Shape { subject: subject.clone(), ..image() });
    data.image(&annotated(Shape { subject: subject.clone(), ..artifact(EXAMPLE1) }));
    let mut data = data.tag("tagged-artifact1");
    data.image(&annotated(Shape { subject, ..artifact(EXAMPLE2) }));
    whole_life(data.tag("tagged-artifact2"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn index_with_subject() {
    let mut data = Data::new(Algorithm::Sha256);
    let subject = Some(data.index_of_images(&image()));
    let mut data = data.tag("index");
    data.index_of_images(&annotated(Shape { subject: subject.clone(), ..artifact(EXAMPLE1) }));
    let mut data = data.tag("tagged-artifact");
    data.index(&annotated(Shape { subject, ..image() }), &[]);
    whole_life(data, Tagging::OneByOne).await;
}

#[tokio::test]
async fn missing_subject() {
    let digest = Digest::of(Algorithm::Sha256, b"missing content");
    let subject = Some(json!({"mediaType": OCI_MANIFEST, "size": 123, "digest": digest.as_str()}));
    whole_life(one(&annotated(Shape { subject, ..artifact(EXAMPLE1) }), "tagged-artifact"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn data_field() {
    whole_life(one(&Shape { data: true, ..image() }, "data-field"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn non_distributable_layers() {
    let mut data = Data::new(Algorithm::Sha256);
    data.image(&image());
    let (_, kind, bytes) = data.manifests.pop().expect("an image");
    let mut changed: Value = serde_json::from_slice(&bytes).expect("JSON");
    for (number, kind) in ["tar+gzip", "tar"].iter().enumerate() {
        let digest = Digest::of(Algorithm::Sha256, kind.as_bytes());
        let layer = json!({"mediaType": format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}"),
            "digest": digest.as_str(), "size": 12345, "urls": ["https://store.example.com/x"]});
        changed["layers"].as_array_mut().expect("layers").insert(number, layer);
    }
    let bytes = changed.to_string().into_bytes();
    data.manifests.push((Digest::of(Algorithm::Sha256, &bytes), kind, bytes));
    whole_life(data.tag("non-distributable-image"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn custom_fields() {
    let mut data = Data::new(Algorithm::Sha256);
    data.index_of_images(&Shape { extra: true, ..image() });
    whole_life(data.tag("custom-fields"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn no_layers() {
    whole_life(one(&Shape { layers: Vec::new(), ..image() }, "no-layers"), Tagging::OneByOne).await;
}

#[tokio::test]
async fn sha512() {
    let mut data = Data::new(Algorithm::Sha512);
    data.index_of_images(&image());
    whole_life(data, Tagging::OneByOne).await;
}

#[tokio::test]
async fn tag_param_sha256() {
    let mut data = Data::new(Algorithm::Sha256);
    data.index_of_images(&image());
    whole_life(data.tag("a").tag("tag-param-sha256"), Tagging::WithDigest).await;
}

#[tokio::test]
async fn tag_param_sha512() {
    let mut data = Data::new(Algorithm::Sha512);
    data.index_of_images(&image());
    whole_life(data.tag("a").tag("tag-param-sha512"), Tagging::WithDigest).await;
}

/// The suite asks for the opposite only where it is told to; a manifest whose parts are missing here cannot be pulled from here.
#[tokio::test]
async fn sparse_is_refused() {
    let mut data = Data::new(Algorithm::Sha256);
    let listed = data.image(&image());
    data.index(&image(), &[listed]);
    let registry = Registry::start().await;
    let (_, kind, bytes) = &data.manifests[1];
    assert_eq!(registry.put_manifest(REPO1, "sparse", kind, bytes).await.is(404).code(), "MANIFEST_BLOB_UNKNOWN");
    let blobs: Vec<_> = data.blobs.iter().collect();
    for (digest, bytes) in &blobs[1..] {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    let (_, kind, bytes) = &data.manifests[0];
    let refused = registry.put_manifest(REPO1, "sparse", kind, bytes).await.is(404);
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(refused.json()["errors"][0]["detail"]["digests"], json!([blobs[0].0.as_str()]));
    registry.get(&manifest(REPO1, "sparse")).await.is(404);
}

#[tokio::test]
async fn bad_digest_image() {
    let data = one(&image(), "image");
    let registry = Registry::start().await;
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    let (digest, kind, bytes) = &data.manifests[0];
    let other = [bytes.as_slice(), b"  "].concat();
    let refused = registry.put_manifest(REPO1, digest.as_str(), kind, &other).await;
    assert_eq!(refused.is(400).code(), "DIGEST_INVALID");
    registry.get(&manifest(REPO1, digest)).await.is(404);
}

#[tokio::test]
async fn missing_manifest_by_digest_and_by_tag() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    for reference in [digest.as_str(), "missing-tag"] {
        assert_eq!(registry.get(&manifest(REPO1, reference)).await.is(404).code(), "MANIFEST_UNKNOWN");
        registry.head(&manifest(REPO1, reference)).await.is(404);
        registry.delete(&manifest(REPO1, reference)).await.is(404);
    }
}

#[tokio::test]
async fn invalid_digest_format() {
    let data = one(&image(), "image");
    let registry = Registry::start().await;
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    let (_, kind, bytes) = &data.manifests[0];
    let refused = registry.put_manifest(REPO1, "sha256:baddigeststring", kind, bytes).await;
    assert_eq!(refused.is(400).code(), "DIGEST_INVALID");
    registry.get(&manifest(REPO1, "sha256:baddigeststring")).await.is(400);
}
