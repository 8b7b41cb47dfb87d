//! Lists and their pages: tags, repositories, referrers. The suite's "empty" as well.

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::content::{Data, EXAMPLE1, EXAMPLE2, Shape, annotated, artifact, image};
use crate::world::{Answer, REPO1, REPO2, Registry, manifest};

/// Pushes an index without manifests, which needs nothing.
async fn push_empty(registry: &Registry, repository: &str, tag: &str) {
    let bytes = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    registry.put_manifest(repository, tag, OCI_INDEX, bytes.as_bytes()).await.is(201);
}

/// The path of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?;
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(rest, "; rel=\"next\"");
    Some(path.to_owned())
}

/// All pages, each as a list.
async fn pages(registry: &Registry, path: &str, field: &str) -> Vec<Vec<String>> {
    let (mut pages, mut path) = (Vec::new(), Some(path.to_owned()));
    while let Some(at) = path.take() {
        let answer = registry.get(&at).await.is(200);
        let names = answer.json()[field].as_array().expect("a list").clone();
        pages.push(names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        path = next(&answer);
        assert!(pages.len() < 20, "it ends");
    }
    pages
}

#[tokio::test]
async fn empty_tag_list() {
    let registry = Registry::start().await;
    assert_eq!(registry.get(&format!("/v2/{REPO1}/tags/list")).await.is(404).code(), "NAME_UNKNOWN");
}

#[tokio::test]
async fn empty_referrers() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let answer = registry.get(&format!("/v2/{REPO1}/referrers/{digest}")).await.is(200).has("content-type", OCI_INDEX);
    assert_eq!(answer.json(), json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}));
}

#[tokio::test]
async fn tags_come_in_pages_in_order_and_every_one_once() {
    let registry = Registry::start().await;
    for tag in ["c", "B", "a", "d", "E"] {
        push_empty(&registry, REPO1, tag).await;
    }
    push_empty(&registry, REPO2, "other").await;
    let path = format!("/v2/{REPO1}/tags/list");
    assert_eq!(pages(&registry, &path, "tags").await, [["a", "B", "c", "d", "E"].map(str::to_owned).to_vec()]);
    let twos = pages(&registry, &format!("{path}?n=2"), "tags").await;
    assert_eq!(twos, [vec!["a", "B"], vec!["c", "d"], vec!["E"]]);
    let exact = pages(&registry, &format!("{path}?n=5"), "tags").await;
    assert_eq!(exact.len(), 1);
    let none = registry.get(&format!("{path}?n=0")).await.is(200);
    assert_eq!((&none.json()["tags"], none.header("link")), (&json!([]), None));
    let between = pages(&registry, &format!("{path}?last=bb"), "tags").await;
    assert_eq!(between, [["c", "d", "E"].map(str::to_owned).to_vec()]);
    registry.get(&format!("{path}?n=x")).await.is(400);
    registry.get(&format!("{path}?n=-1")).await.is(400);
    registry.get(&format!("{path}?last=../x")).await.is(400);
}

#[tokio::test]
async fn repositories_come_in_pages_and_leave_the_list_with_their_last_manifest() {
    let registry = Registry::start().await;
    assert_eq!(pages(&registry, "/v2/_catalog", "repositories").await, [Vec::<String>::new()]);
    for repository in ["b", "a/b", "a", "c.json/d.type"] {
        push_empty(&registry, repository, "latest").await;
    }
    let twos = pages(&registry, "/v2/_catalog?n=2", "repositories").await;
    assert_eq!(twos, [vec!["a", "a/b"], vec!["b", "c.json/d.type"]]);
    let registry = registry.restart().await;
    assert_eq!(pages(&registry, "/v2/_catalog?n=2", "repositories").await, twos);
    let digest = registry.head("/v2/a/manifests/latest").await.is(200);
    let digest = digest.header("docker-content-digest").expect("a digest").to_owned();
    registry.delete(&manifest("a", digest)).await.is(202);
    let all = pages(&registry, "/v2/_catalog", "repositories").await;
    assert_eq!(all, [vec!["a/b", "b", "c.json/d.type"]]);
}

#[tokio::test]
async fn referrers_come_in_pages_and_can_be_filtered_on_each() {
    let registry = Registry::start().await;
    let mut data = Data::new(Algorithm::Sha256);
    let subject = data.image(&image());
    let layers = vec![b"same".to_vec()];
    for number in 0..230 {
        let kind = if number % 2 == 0 { EXAMPLE1 } else { EXAMPLE2 };
        data.image(&annotated(Shape { subject: Some(subject.clone()), layers: layers.clone(), ..artifact(kind) }));
    }
    for (digest, bytes) in &data.blobs {
        registry.push_blob_as(REPO1, digest, bytes).await;
    }
    for (digest, kind, bytes) in &data.manifests {
        registry.put_manifest(REPO1, digest.as_str(), kind, bytes).await.is(201);
    }
    let (subject, expected) = data.referrers.iter().next().expect("one subject");
    for (filter, wanted) in [(None, 230_usize), (Some(EXAMPLE1), 115)] {
        let filter = filter.map(|kind| format!("?artifactType={kind}")).unwrap_or_default();
        let mut path = Some(format!("/v2/{REPO1}/referrers/{subject}{filter}"));
        let (mut found, mut pages): (Vec<Value>, usize) = (Vec::new(), 0);
        while let Some(at) = path.take() {
            let answer = registry.get(&at).await.is(200);
            assert_eq!(answer.header("oci-filters-applied").is_some(), !filter.is_empty());
            found.extend(answer.json()["manifests"].as_array().expect("a list").clone());
            path = next(&answer);
            pages += 1;
        }
        assert_eq!((found.len(), pages), (wanted, wanted.div_ceil(200)));
        assert!(found.iter().all(|one| expected.contains(one)));
    }
}

#[tokio::test]
async fn a_tag_that_is_moved_leaves_its_old_manifest_behind() {
    let registry = Registry::start().await;
    let push = async |note: &str| {
        let bytes = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"a": note}});
        let answer = registry.put_manifest(REPO1, "latest", OCI_INDEX, bytes.to_string().as_bytes()).await.is(201);
        answer.header("docker-content-digest").expect("a digest").to_owned()
    };
    let (first, second) = (push("one").await, push("two").await);
    assert_ne!(first, second);
    for digest in [&first, &second] {
        registry.get(&manifest(REPO1, digest)).await.is(200);
    }
    registry.head(&manifest(REPO1, "latest")).await.is(200).has("docker-content-digest", &second);
    // By digest, its tags go with it.
    registry.delete(&manifest(REPO1, &second)).await.is(202);
    registry.get(&manifest(REPO1, "latest")).await.is(404);
    registry.get(&manifest(REPO1, &first)).await.is(200);
}

#[tokio::test]
async fn a_tag_that_looks_like_a_digest_and_the_manifest_of_that_digest_are_two_things() {
    let registry = Registry::start().await;
    let bytes = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    let digest = Digest::of(Algorithm::Sha256, bytes.as_bytes());
    registry.put_manifest(REPO1, digest.as_str(), OCI_INDEX, bytes.as_bytes()).await.is(201);
    let other = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"a": "b"}});
    let tag = format!("sha256-{}", digest.hex());
    registry.put_manifest(REPO1, &tag, OCI_INDEX, other.to_string().as_bytes()).await.is(201);
    let registry = registry.restart().await;
    assert_eq!(registry.get(&manifest(REPO1, &digest)).await.is(200).body, bytes.as_bytes());
    assert_eq!(registry.get(&manifest(REPO1, &tag)).await.is(200).body, other.to_string().as_bytes());
    let tags = pages(&registry, &format!("/v2/{REPO1}/tags/list"), "tags").await;
    assert_eq!(tags, [vec![tag.clone()]]);
    registry.delete(&manifest(REPO1, &tag)).await.is(202);
    registry.get(&manifest(REPO1, &digest)).await.is(200);
}

#[tokio::test]
async fn a_manifest_of_a_kind_it_is_not_is_refused() {
    let registry = Registry::start().await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    for (kind, body) in [
        (OCI_MANIFEST, index.as_str()),
        ("text/html", "<html></html>"),
        (OCI_INDEX, "<html></html>"),
        (OCI_INDEX, ""),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#),
        ("application/x-unknown", index.as_str()),
    ] {
        let refused = registry.put_manifest(REPO1, "latest", kind, body.as_bytes()).await;
        assert_eq!(refused.is(400).code(), "MANIFEST_INVALID", "{kind}");
    }
    registry.get(&format!("/v2/{REPO1}/tags/list")).await.is(404);
}
