//! The suite's "sha256 blobs" and "sha512 blobs": every way of pushing, mounting, ranges, wrong digests. Named after its cases.

use mkube_oci_registry::digest::{Algorithm, Digest};
use reqwest::Method;

use crate::world::{Answer, REPO1, REPO2, Registry, blob, unique};

/// The suite's smallest chunk.
const CHUNK: usize = 1024;

struct Case {
    registry: Registry,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Case {
    async fn new(algorithm: Algorithm, length: usize) -> Self {
        let bytes = unique(length);
        let digest = Digest::of(algorithm, &bytes);
        Self { registry: Registry::start().await, bytes, digest }
    }

    async fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self { registry: Registry::start().await, bytes: bytes.to_vec(), digest: Digest::of(algorithm, bytes) }
    }

    /// Bytes that do not have the digest.
    async fn corrupt(algorithm: Algorithm) -> Self {
        let mut case = Self::new(algorithm, 3 * CHUNK - 5).await;
        case.bytes.extend_from_slice(b"oh no");
        case
    }

    fn with_digest(&self, location: &str) -> String {
        format!("{location}?digest={}", self.digest)
    }

    /// What the suite asks after each push: the location answers the bytes, HEAD and GET know them, and after DELETE nobody does.
    async fn stored(&self, created: Answer) {
        let created = created.is(201).has("docker-content-digest", self.digest.as_str());
        let location = self.registry.get(&created.location()).await.is(200);
        assert_eq!(location.body, self.bytes);
        self.there_and_deleted(REPO1).await;
    }

    async fn there_and_deleted(&self, repository: &str) {
        let path = blob(repository, &self.digest);
        let length = self.bytes.len().to_string();
        let head = self.registry.head(&path).await.is(200).has("content-length", &length);
        assert!(head.body.is_empty());
        let got = self.registry.get(&path).await.is(200).has("content-length", &length);
        assert_eq!(got.has("docker-content-digest", self.digest.as_str()).body, self.bytes);
        self.registry.delete(&path).await.is(202);
        self.registry.head(&path).await.is(404);
        assert_eq!(self.registry.get(&path).await.is(404).code(), "BLOB_UNKNOWN");
    }

    /// Nothing was stored, and nothing is left.
    async fn refused(&self, answer: Answer) {
        assert_eq!(answer.is(400).code(), "DIGEST_INVALID");
        self.registry.get(&blob(REPO1, &self.digest)).await.is(404);
        assert!(self.registry.leftovers().is_empty(), "{:?}", self.registry.leftovers());
        assert_eq!(self.registry.store.usage().used, 0);
    }

    /// Sends chunk after chunk; the last one with PUT if asked. Out of order, each is preceded by one from elsewhere.
    async fn chunked(&self, last_with_put: bool, out_of_order: bool) -> Answer {
        let registry = &self.registry;
        let mut location = registry.begin(REPO1).await;
        let chunks: Vec<&[u8]> = self.bytes.chunks(CHUNK).collect();
        let mut first = 0;
        for (number, chunk) in chunks.iter().enumerate() {
            let last = first + chunk.len() - 1;
            let put = last_with_put && number + 1 == chunks.len();
            if out_of_order {
                let wrong = if first + CHUNK < self.bytes.len() { first + CHUNK } else { 0 };
                let refused = registry.patch(&location, Some((wrong, wrong + chunk.len() - 1)), chunk.to_vec()).await;
                assert_eq!(refused.is(416).code(), "BLOB_UPLOAD_INVALID");
                let status = registry.get(&location).await.is(204);
                assert_eq!(status.header("range"), Some(format!("0-{}", first.saturating_sub(1)).as_str()));
                location = status.location();
            }
            let answer = if put {
                let request = registry.request(Method::PUT, &self.with_digest(&location));
                let request = request.header("content-range", format!("{first}-{last}"));
                return registry.send(request.body(chunk.to_vec())).await;
            } else {
                registry.patch(&location, Some((first, last)), chunk.to_vec()).await
            };
            let answer = answer.is(202).has("range", &format!("0-{last}"));
            location = answer.location();
            first = last + 1;
        }
        registry.put(&self.with_digest(&location), "").await
    }

    /// A body without a length.
    fn streamed(&self) -> reqwest::Body {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            self.bytes.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    }

    async fn stream(&self) -> Answer {
        let location = self.registry.begin(REPO1).await;
        let patched = self.registry.patch(&location, None, self.streamed()).await.is(202);
        self.registry.put(&self.with_digest(&patched.location()), "").await
    }

    async fn post_put(&self) -> Answer {
        let location = self.registry.begin(REPO1).await;
        self.registry.put(&self.with_digest(&location), self.bytes.clone()).await
    }

    async fn post_only(&self) -> Answer {
        let path = format!("/v2/{REPO1}/blobs/uploads/?digest={}", self.digest);
        self.registry.post(&path, self.bytes.clone()).await
    }

    async fn mount(&self, from: Option<&str>) -> Answer {
        let from = from.map(|from| format!("&from={from}")).unwrap_or_default();
        self.registry.post(&format!("/v2/{REPO1}/blobs/uploads/?mount={}{from}", self.digest), "").await
    }

    async fn range(&self, range: &str) -> Answer {
        let request = self.registry.request(Method::GET, &blob(REPO1, &self.digest));
        self.registry.send(request.header("range", range)).await
    }
}

macro_rules! cases_for_each_algorithm {
    ($module:ident, $algorithm:expr) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn get_missing() {
                let case = Case::new($algorithm, 512).await;
                assert_eq!(case.registry.get(&blob(REPO1, &case.digest)).await.is(404).code(), "BLOB_UNKNOWN");
                case.registry.head(&blob(REPO1, &case.digest)).await.is(404);
                case.registry.delete(&blob(REPO1, &case.digest)).await.is(404);
            }

            #[tokio::test]
            async fn post_only() {
                let case = Case::new($algorithm, 512).await;
                case.stored(case.post_only().await).await;
            }

            #[tokio::test]
            async fn post_put() {
                let case = Case::new($algorithm, 512).await;
                case.stored(case.post_put().await).await;
            }

            #[tokio::test]
            async fn chunked_single() {
                let case = Case::new($algorithm, 512).await;
                case.stored(case.chunked(false, false).await).await;
            }

            #[tokio::test]
            async fn stream() {
                let case = Case::new($algorithm, 512).await;
                case.stored(case.stream().await).await;
            }

            #[tokio::test]
            async fn mount() {
                let case = Case::new($algorithm, 512).await;
                case.registry.push_blob_as(REPO2, &case.digest, &case.bytes).await;
                case.registry.get(&blob(REPO1, &case.digest)).await.is(404);
                case.stored(case.mount(Some(REPO2)).await).await;
                case.there_and_deleted(REPO2).await;
            }

            #[tokio::test]
            async fn mount_anonymous() {
                let case = Case::new($algorithm, 512).await;
                case.registry.push_blob_as(REPO2, &case.digest, &case.bytes).await;
                case.stored(case.mount(None).await).await;
                case.there_and_deleted(REPO2).await;
            }

            #[tokio::test]
            async fn mount_missing() {
                let case = Case::new($algorithm, 512).await;
                let location = case.mount(Some(REPO2)).await.is(202).location();
                case.stored(case.registry.put(&case.with_digest(&location), case.bytes.clone()).await).await;
            }

            #[tokio::test]
            async fn post_cancel() {
                let case = Case::new($algorithm, 512).await;
                let location = case.registry.begin(REPO1).await;
                case.registry.patch(&location, None, case.bytes.clone()).await.is(202);
                case.registry.delete(&location).await.is(204);
                assert_eq!(case.registry.get(&location).await.is(404).code(), "BLOB_UPLOAD_UNKNOWN");
                let late = case.registry.put(&case.with_digest(&location), case.bytes.clone()).await;
                assert_eq!(late.is(404).code(), "BLOB_UPLOAD_UNKNOWN");
                assert!(case.registry.leftovers().is_empty());
            }

            #[tokio::test]
            async fn chunked_multi() {
                let case = Case::new($algorithm, 3 * CHUNK - 5).await;
                case.stored(case.chunked(false, false).await).await;
            }

            #[tokio::test]
            async fn chunked_multi_and_put_chunk() {
                let case = Case::new($algorithm, 3 * CHUNK - 5).await;
                case.stored(case.chunked(true, false).await).await;
            }

            #[tokio::test]
            async fn chunked_out_of_order() {
                let case = Case::new($algorithm, 3 * CHUNK - 5).await;
                case.stored(case.chunked(false, true).await).await;
            }

            #[tokio::test]
            async fn chunked_out_of_order_and_put_chunk() {
                let case = Case::new($algorithm, 3 * CHUNK - 5).await;
                case.stored(case.chunked(true, true).await).await;
            }

            #[tokio::test]
            async fn range_requests() {
                let case = Case::new($algorithm, 2048).await;
                case.registry.push_blob_as(REPO1, &case.digest, &case.bytes).await;
                for (range, first, last) in [
                    ("bytes=500-1499", 500, 1499),
                    ("bytes=500-", 500, 2047),
                    ("bytes=-500", 1548, 2047),
                    ("bytes=2000-5000", 2000, 2047),
                ] {
                    let answer = case.range(range).await.is(206);
                    let answer = answer.has("content-range", &format!("bytes {first}-{last}/2048"));
                    let length = (last - first + 1).to_string();
                    assert_eq!(answer.has("content-length", &length).body, case.bytes[first..=last], "{range}");
                }
                for range in ["bytes=500-0", "bytes=5000-10000"] {
                    case.range(range).await.is(416).has("content-range", "bytes */2048");
                }
            }

            #[tokio::test]
            async fn empty() {
                let case = Case::of($algorithm, b"").await;
                case.stored(case.post_only().await).await;
                case.stored(case.post_put().await).await;
                case.stored(case.stream().await).await;
                case.stored(case.chunked(false, false).await).await;
            }

            #[tokio::test]
            async fn empty_json() {
                let case = Case::of($algorithm, b"{}").await;
                case.stored(case.post_only().await).await;
            }

            #[tokio::test]
            async fn bad_digest_post_only() {
                let case = Case::corrupt($algorithm).await;
                case.refused(case.post_only().await).await;
            }

            #[tokio::test]
            async fn bad_digest_post_put() {
                let case = Case::corrupt($algorithm).await;
                case.refused(case.post_put().await).await;
            }

            #[tokio::test]
            async fn bad_digest_chunked() {
                let case = Case::corrupt($algorithm).await;
                case.refused(case.chunked(false, false).await).await;
            }

            #[tokio::test]
            async fn bad_digest_chunked_and_put_chunk() {
                let case = Case::corrupt($algorithm).await;
                case.refused(case.chunked(true, false).await).await;
            }

            #[tokio::test]
            async fn bad_digest_stream() {
                let case = Case::corrupt($algorithm).await;
                case.refused(case.stream().await).await;
            }
        }
    };
}

cases_for_each_algorithm!(sha256_blobs, Algorithm::Sha256);
cases_for_each_algorithm!(sha512_blobs, Algorithm::Sha512);

#[tokio::test]
async fn ping() {
    let registry = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        registry.get(path).await.is(200).has("docker-distribution-api-version", "registry/2.0");
    }
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart_where_it_was() {
    let (first, second) = (unique(3000), unique(2000));
    let whole = [first.clone(), second.clone()].concat();
    let registry = Registry::start().await;
    let location = registry.begin(REPO1).await;
    registry.patch(&location, Some((0, 2999)), first).await.is(202);
    let registry = registry.restart().await;
    registry.get(&location).await.is(204).has("range", "0-2999");
    assert_eq!(registry.store.usage().used, 3000);
    registry.patch(&location, Some((0, 1999)), second.clone()).await.is(416).has("range", "0-2999");
    registry.patch(&location, Some((3000, 4999)), second).await.is(202).has("range", "0-4999");
    let digest = Digest::of(Algorithm::Sha256, &whole);
    registry.put(&format!("{location}?digest={digest}"), "").await.is(201);
    let registry = registry.restart().await;
    assert_eq!(registry.get(&blob(REPO1, &digest)).await.is(200).body, whole);
    assert_eq!(registry.store.usage().used, 5000);
    assert_eq!(registry.store.locks(), 0);
}

#[tokio::test]
async fn a_session_belongs_to_its_repository() {
    let registry = Registry::start().await;
    let location = registry.begin(REPO1).await;
    registry.get(&location).await.is(204);
    let elsewhere = location.replace(REPO1, REPO2);
    assert_eq!(registry.get(&elsewhere).await.is(404).code(), "BLOB_UPLOAD_UNKNOWN");
    registry.patch(&elsewhere, None, "x").await.is(404);
    registry.delete(&elsewhere).await.is(404);
    registry.get(&location).await.is(204);
}

#[tokio::test]
async fn a_chunk_of_another_length_than_its_range_is_refused_and_leaves_the_session_as_it_was() {
    let registry = Registry::start().await;
    let location = registry.begin(REPO1).await;
    registry.patch(&location, Some((0, 99)), unique(100)).await.is(202);
    assert_eq!(registry.patch(&location, Some((100, 149)), unique(49)).await.is(400).code(), "SIZE_INVALID");
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(unique(51))]));
    assert_eq!(registry.patch(&location, Some((100, 149)), streamed).await.is(400).code(), "SIZE_INVALID");
    registry.get(&location).await.is(204).has("range", "0-99");
    assert_eq!(registry.store.usage().used, 100);
    for range in ["x", "5", "9-3", "0-18446744073709551616", "-5"] {
        let request = registry.request(Method::PATCH, &location).header("content-range", range);
        registry.send(request.body("x")).await.is(400);
    }
}
