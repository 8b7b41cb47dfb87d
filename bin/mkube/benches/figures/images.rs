//! Images of known size that the sections push: what is in their layers, and how the layers are compressed.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::registry_client::{Blob, RegistryClient, Way, random_blobs, sha256};

/// Layers of an image.
const LAYERS: usize = 4;
/// Bytes of one file in a layer.
const FILE: usize = 4 << 20;

/// This machine's, as images name it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// What the files hold.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// No compressor shortens it.
    Random,
    /// About a third remains, as of programs and libraries.
    Compressible,
}

/// How layers lie in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Tar,
    Gzip,
}

/// An image, ready to be pushed.
pub struct Image {
    config: Blob,
    layers: Vec<Blob>,
    descriptors: Vec<Value>,
}

impl Image {
    /// Four layers of equal parts of `bytes`, other bytes for each seed.
    pub fn new(seed: u64, bytes: usize, content: Content, packing: Packing) -> anyhow::Result<Self> {
        let files = (bytes / LAYERS / FILE).max(1);
        let (mut layers, mut diff_ids, mut descriptors) = (Vec::new(), Vec::new(), Vec::new());
        for layer in 0..LAYERS {
            let tar = tar(seed + layer as u64, layer, files, FILE.min(bytes / LAYERS), content)?;
            diff_ids.push(format!("sha256:{}", sha256(&tar)));
            let (bytes, media_type) = match packing {
                Packing::Tar => (tar, "application/vnd.oci.image.layer.v1.tar"),
                Packing::Gzip => (gzip(&tar)?, "application/vnd.oci.image.layer.v1.tar+gzip"),
            };
            let blob = Blob::new(Bytes::from(bytes));
            descriptors.push(blob.descriptor(media_type));
            layers.push(blob);
        }
        let config = config(&json!({}), &diff_ids);
        Ok(Self { config, layers, descriptors })
    }

    /// Pushes everything and tags it; answers the digest of the manifest.
    pub async fn push(&self, registry: &RegistryClient, repository: &str, tag: &str) -> anyhow::Result<String> {
        for blob in self.layers.iter().chain([&self.config]) {
            registry.push(repository, blob, Way::Monolithic).await?;
        }
        registry.tag(repository, tag, &self.config, &self.descriptors).await
    }

    /// Bytes of the layers as the registry holds them.
    pub fn packed_bytes(&self) -> usize {
        self.layers.iter().map(|blob| blob.bytes.len()).sum()
    }
}

/// A config of this machine's architecture.
pub fn config(settings: &Value, diff_ids: &[String]) -> Blob {
    let config = json!({
        "architecture": ARCHITECTURE, "os": "linux", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Blob::new(Bytes::from(config.to_string()))
}

fn tar(seed: u64, layer: usize, files: usize, size: usize, content: Content) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::with_capacity(files * (size + 1024)));
    for file in 0..files {
        let bytes = random_blobs(seed * 1000 + file as u64, 1, size).remove(0).bytes;
        let bytes = match content {
            Content::Random => bytes,
            Content::Compressible => compressible(&bytes),
        };
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("data/{layer}/{file}"), bytes.as_ref())?;
    }
    Ok(tar.into_inner()?)
}

/// Random words out of a short list: as long as the given bytes.
fn compressible(random: &[u8]) -> Bytes {
    let words: Vec<&[u8]> = random[..4096].chunks(16).collect();
    let mut text = Vec::with_capacity(random.len() + 16);
    for byte in random {
        if text.len() >= random.len() {
            break;
        }
        let word = words[usize::from(*byte)];
        text.extend_from_slice(&word[..4 + usize::from(*byte % 8)]);
        text.push(*byte);
    }
    text.truncate(random.len());
    Bytes::from(text)
}

fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len()), flate2::Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
