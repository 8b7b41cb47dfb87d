//! What a registry has under a reference: manifests and indexes, of Docker and of OCI, and the choice of a platform.

use mkube_model::settings::Architecture;
use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, ImageIndexEntry, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageIndex, OciImageManifest,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::trouble::Trouble;

/// What the registry is told we understand.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Bytes of a manifest or of an index, as registries limit them.
pub(crate) const MANIFEST_BYTES: usize = 4 << 20;
/// Bytes of an image config.
pub(crate) const CONFIG_BYTES: usize = 4 << 20;
/// Layers of an image; Docker itself makes 127 at most.
const LAYERS: usize = 512;
/// zstd came after the crate's list of media types.
const ZSTD_LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"];
const LAYER_TYPES: [&str; 4] = [
    IMAGE_LAYER_MEDIA_TYPE,
    IMAGE_LAYER_GZIP_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_TAR_MEDIA_TYPE,
    IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE,
];

/// A blob as a manifest promises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// One image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

impl Manifest {
    /// Bytes of all layers, each counted once.
    pub(crate) fn layer_bytes(&self) -> u64 {
        let mut seen: Vec<&Digest> = Vec::new();
        let mut bytes = 0u64;
        for layer in &self.layers {
            if !seen.contains(&&layer.digest) {
                seen.push(&layer.digest);
                bytes = bytes.saturating_add(layer.bytes);
            }
        }
        bytes
    }
}

/// What a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// An image.
    Image(Manifest),
    /// A choice of images: digest of the one for the device.
    Index { chosen: Digest },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<i64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

/// Reads a manifest or index and, from an index, chooses.
pub(crate) fn read(body: &[u8], wanted: Architecture) -> Result<Document, Trouble> {
    let unusable = |why: &str| Err(Trouble::Unusable(why.to_owned()));
    if body.trim_ascii_start().first() == Some(&b'<') {
        return unusable("a web page came where a manifest is wanted");
    }
    let not_json = |error: serde_json::Error| Trouble::Unusable(format!("the manifest cannot be read: {error}"));
    let outline: Outline = serde_json::from_slice(body).map_err(not_json)?;
    match outline.schema_version {
        Some(2) => {}
        Some(1) => {
            return unusable("the manifest is of the first Docker schema, which is too old; push the image anew");
        }
        _ => return unusable("the manifest has no schema version that is known"),
    }
    let is_index = match (outline.media_type.as_deref(), outline.manifests.is_some()) {
        (Some(IMAGE_MANIFEST_LIST_MEDIA_TYPE | OCI_IMAGE_INDEX_MEDIA_TYPE), _) => true,
        (Some(IMAGE_MANIFEST_MEDIA_TYPE | OCI_IMAGE_MEDIA_TYPE), _) => false,
        (Some(other), _) => return unusable(&format!("the manifest is of a type that is no image: {}", short(other))),
        (None, has_manifests) => has_manifests,
    };
    // A document that can be read both ways means two things to two readers.
    if outline.manifests.is_some() && (outline.config.is_some() || outline.layers.is_some()) {
        return unusable("the manifest is an index as well, so it does not say which image it is");
    }
    if is_index {
        let index: OciImageIndex = serde_json::from_slice(body).map_err(not_json)?;
        return choose(&index.manifests, wanted).map(|chosen| Document::Index { chosen });
    }
    let image: OciImageManifest = serde_json::from_slice(body).map_err(not_json)?;
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&image.config.media_type.as_str()) {
        let found = short(&image.config.media_type);
        return unusable(&format!("it is an artifact and no image: its config is of type {found}"));
    }
    if image.layers.len() > LAYERS {
        return unusable(&format!("the manifest lists more than {LAYERS} layers"));
    }
    let mut layers = Vec::with_capacity(image.layers.len());
    for layer in &image.layers {
        let kind = layer.media_type.as_str();
        if kind.contains("nondistributable") || kind.contains("foreign") {
            return unusable(&format!("layer {} is not given out by registries", short(&layer.digest)));
        }
        if !LAYER_TYPES.contains(&kind) && !ZSTD_LAYERS.contains(&kind) {
            return unusable(&format!("layer {} is of an unknown type: {}", short(&layer.digest), short(kind)));
        }
        layers.push(blob(layer)?);
    }
    let config = blob(&image.config)?;
    if config.bytes > CONFIG_BYTES as u64 {
        return unusable(&format!("the config has more than {CONFIG_BYTES} bytes"));
    }
    Ok(Document::Image(Manifest { config, layers }))
}

fn blob(descriptor: &OciDescriptor) -> Result<Blob, Trouble> {
    let text = short(&descriptor.digest);
    let digest = Digest::parse(&descriptor.digest)
        .ok_or_else(|| Trouble::Unusable(format!("the manifest names a blob by {text:?}, which is no digest")))?;
    let bytes = u64::try_from(descriptor.size)
        .map_err(|_| Trouble::Unusable(format!("the manifest gives blob {text} a size below zero")))?;
    Ok(Blob { digest, bytes })
}

/// The entry for the device: of its architecture, and of the variants that run there the best.
fn choose(entries: &[ImageIndexEntry], wanted: Architecture) -> Result<Digest, Trouble> {
    let mut best: Option<(usize, &ImageIndexEntry)> = None;
    let mut available: Vec<String> = Vec::new();
    for entry in entries {
        let Some(platform) = &entry.platform else { continue };
        let (os, architecture) = (platform.os.to_string(), platform.architecture.to_string());
        let variant = platform.variant.as_deref().unwrap_or_default();
        let name = format!("{os}/{architecture}{}{variant}", if variant.is_empty() { "" } else { "/" });
        // Signatures and the like lie in an index under a platform that is none.
        if os != "unknown" && !available.contains(&name) {
            available.push(name);
        }
        if os != "linux" || architecture != wanted.name() {
            continue;
        }
        if let Some(rank) = variants(wanted).iter().position(|known| *known == variant)
            && best.is_none_or(|(so_far, _)| rank < so_far)
        {
            best = Some((rank, entry));
        }
    }
    let Some((_, entry)) = best else {
        available.sort_unstable();
        available.truncate(16);
        let available = if available.is_empty() { "no platform at all".to_owned() } else { available.join(", ") };
        return Err(Trouble::WrongPlatform {
            wanted: format!("linux/{}", wanted.name()),
            available: short(&available),
        });
    };
    Digest::parse(&entry.digest)
        .ok_or_else(|| Trouble::Unusable(format!("the index names {:?}, which is no digest", short(&entry.digest))))
}

/// Variants that run on such a device, the best first.
fn variants(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Amd64 => &["", "v1", "v2"],
        Architecture::Arm64 => &["v8", "", "v8.0"],
        Architecture::Arm => &["v7", "", "v6", "v5"],
    }
}

#[derive(Deserialize)]
struct Platform {
    architecture: Option<String>,
    os: Option<String>,
}

/// Whether a config is one for the device; an image without an index says it only there.
pub(crate) fn check_platform(config: &[u8], wanted: Architecture) -> Result<(), Trouble> {
    let said: Platform = serde_json::from_slice(config)
        .map_err(|error| Trouble::Unusable(format!("the image config cannot be read: {error}")))?;
    let os = said.os.filter(|os| !os.is_empty()).unwrap_or_else(|| "linux".to_owned());
    let architecture = said.architecture.filter(|name| !name.is_empty()).unwrap_or_else(|| wanted.name().to_owned());
    if os == "linux" && architecture == wanted.name() {
        return Ok(());
    }
    let available = short(&format!("{os}/{architecture}"));
    Err(Trouble::WrongPlatform { wanted: format!("linux/{}", wanted.name()), available })
}

/// A registry's words, not a page of them.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
