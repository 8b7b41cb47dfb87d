//! The registry driver: one client for every registry, so that what differs is the registry.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Response, Url};
use serde_json::{Value, json};

/// Bytes of one request of a push in ranges.
const RANGE: usize = 16 << 20;
/// Bytes of one piece of a streamed body, as Go's clients send them.
const PIECE: usize = 32 << 10;

/// Media type of the manifests that are pushed.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Content and its name.
#[derive(Clone)]
pub struct Blob {
    pub bytes: Bytes,
    pub digest: String,
}

impl Blob {
    /// Names content.
    pub fn new(bytes: Bytes) -> Self {
        let digest = format!("sha256:{}", sha256(&bytes));
        Self { bytes, digest }
    }

    /// As a manifest names it.
    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Blobs of bytes that no compressor shortens, others for each seed.
pub fn random_blobs(seed: u64, count: usize, size: usize) -> Vec<Blob> {
    // xorshift64*: quick, and nothing here is secret.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let mut blob = || {
        let mut bytes = vec![0; size];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&next().to_le_bytes()[..piece.len()]);
        }
        Blob::new(Bytes::from(bytes))
    };
    (0..count).map(|_| blob()).collect()
}

/// How a blob is pushed.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// POST, then one PUT with everything.
    Monolithic,
    /// POST, one PATCH without a length, PUT without a body: what skopeo and podman do.
    Streamed,
    /// POST, PATCHes of 16 MiB with `Content-Range`, PUT without a body.
    Ranges,
}

/// A client of one registry.
#[derive(Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    base: Url,
}

impl RegistryClient {
    /// Talks plain HTTP to `address`.
    pub fn new(address: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, base: Url::parse(&format!("http://{address}/"))? })
    }

    /// A client of the same registry with connections of its own.
    pub fn another(&self) -> anyhow::Result<Self> {
        Ok(Self { http: reqwest::Client::builder().no_proxy().build()?, base: self.base.clone() })
    }

    fn url(&self, path: &str) -> anyhow::Result<Url> {
        Ok(self.base.join(path)?)
    }

    /// `GET /v2/`.
    pub async fn ping(&self) -> anyhow::Result<()> {
        self.http.get(self.url("v2/")?).send().await?.error_for_status()?.bytes().await?;
        Ok(())
    }

    /// Pushes one blob, without asking whether it is there.
    pub async fn push(&self, repository: &str, blob: &Blob, way: Way) -> anyhow::Result<()> {
        let start = self.http.post(self.url(&format!("v2/{repository}/blobs/uploads/"))?).header(CONTENT_LENGTH, 0);
        let mut session = self.session(start.send().await?, 202).await?;
        let body = match way {
            Way::Monolithic => blob.bytes.clone(),
            Way::Streamed => {
                let bytes = blob.bytes.clone();
                let pieces = (0..bytes.len())
                    .step_by(PIECE)
                    .map(move |at| Ok::<_, std::io::Error>(bytes.slice(at..bytes.len().min(at + PIECE))));
                let body = Body::wrap_stream(futures_util::stream::iter(pieces));
                session = self.session(self.patch(session).body(body).send().await?, 202).await?;
                Bytes::new()
            }
            Way::Ranges => {
                for at in (0..blob.bytes.len()).step_by(RANGE) {
                    let piece = blob.bytes.slice(at..blob.bytes.len().min(at + RANGE));
                    let range = format!("{at}-{}", at + piece.len() - 1);
                    let sent = self.patch(session).header(CONTENT_RANGE, range).body(piece).send().await?;
                    session = self.session(sent, 202).await?;
                }
                Bytes::new()
            }
        };
        session.query_pairs_mut().append_pair("digest", &blob.digest);
        let put = self.http.put(session).header(CONTENT_LENGTH, body.len());
        let put = put.header(CONTENT_TYPE, "application/octet-stream").body(body);
        self.session(put.send().await?, 201).await?;
        Ok(())
    }

    fn patch(&self, session: Url) -> reqwest::RequestBuilder {
        self.http.patch(session).header(CONTENT_TYPE, "application/octet-stream")
    }

    /// Where to go on after an answer.
    async fn session(&self, answer: Response, wanted: u16) -> anyhow::Result<Url> {
        let code = answer.status();
        let location = answer.headers().get(LOCATION).cloned();
        let body = answer.bytes().await?;
        ensure!(code.as_u16() == wanted, "{code}: {}", String::from_utf8_lossy(&body));
        Ok(self.base.join(location.context("no Location")?.to_str()?)?)
    }

    /// Puts a manifest of these blobs, the first of which is the config; answers its digest.
    pub async fn tag(&self, repository: &str, tag: &str, config: &Blob, layers: &[Value]) -> anyhow::Result<String> {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"), "layers": layers,
        });
        let blob = Blob::new(Bytes::from(manifest.to_string()));
        let put = self.http.put(self.url(&format!("v2/{repository}/manifests/{tag}"))?);
        let answer = put.header(CONTENT_TYPE, MANIFEST).body(blob.bytes.clone()).send().await?;
        let code = answer.status();
        let body = answer.bytes().await?;
        ensure!(code.as_u16() == 201, "{code}: {}", String::from_utf8_lossy(&body));
        Ok(blob.digest)
    }

    /// Reads a manifest whole.
    pub async fn manifest(&self, repository: &str, tag: &str) -> anyhow::Result<Bytes> {
        let get = self.http.get(self.url(&format!("v2/{repository}/manifests/{tag}"))?);
        let answer = get.header(reqwest::header::ACCEPT, MANIFEST).send().await?.error_for_status()?;
        Ok(answer.bytes().await?)
    }

    /// Reads a blob and counts it; the hash too when asked for.
    pub async fn pull(&self, repository: &str, blob: &Blob, verify: bool) -> anyhow::Result<()> {
        let get = self.http.get(self.url(&format!("v2/{repository}/blobs/{}", blob.digest))?);
        let mut answer = get.send().await?.error_for_status()?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut came = 0;
        while let Some(piece) = answer.chunk().await? {
            came += piece.len();
            if verify {
                hash.update(&piece);
            }
        }
        ensure!(came == blob.bytes.len(), "{came} bytes of {}", blob.bytes.len());
        if verify {
            let found: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if !blob.digest.ends_with(&found) {
                bail!("{} came as sha256:{found}", blob.digest);
            }
        }
        Ok(())
    }
}
