//! What stands around the layer in an archive for RouterOS, and where.
//!
//! The layer comes last, and what comes before it names the layer's digest. Its length does not depend on that digest, so room is
//! left for it, and it is written when the layer is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::fault::ConvertFault;
use super::image::SourceImage;
use super::sha256_text;

/// Bytes of an image config; honest ones have some ten thousand.
const CONFIG_BYTES: usize = 4 << 20;
/// Digits of a digest.
const DIGITS: usize = 64;

/// What an archive says about its image, beside the layer.
pub struct Wrapping {
    repository: String,
    tag: String,
    config: Source,
    /// `sha256:…` of each layer unpacked, the lowest first.
    pub diff_ids: Vec<String>,
}

/// The members in front of the layer's contents, and the digest of the image's config.
pub struct Front {
    /// From the first byte to where the layer's contents begin.
    pub bytes: Vec<u8>,
    /// `sha256:…`.
    pub config_digest: String,
}

/// An image config as registries hold it.
#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(default)]
    os: String,
    config: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// How an image wants to be run. What is not here says nothing to a device: history, build arguments, shells of builders.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<BTreeMap<String, Value>>,
}

/// The config in the archive.
#[derive(Serialize)]
struct Written<'a> {
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    config: &'a Settings,
    rootfs: WrittenRootFs<'a>,
}

/// The one image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest<'a> {
    config: &'a str,
    repo_tags: [String; 1],
    layers: [String; 1],
}

/// What stands beside a layer since the first form of these archives.
#[derive(Serialize)]
struct LayerNote<'a> {
    id: &'a str,
    created: &'a str,
    config: &'a Settings,
}

#[derive(Serialize)]
struct WrittenRootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: [String; 1],
}

impl Wrapping {
    /// Reads the image's config and checks that it belongs to the image's layers.
    pub fn of(image: &SourceImage) -> Result<Self, ConvertFault> {
        let bad = |why: String| ConvertFault::BadConfig { why };
        if image.layers.is_empty() {
            return Err(ConvertFault::NoLayers);
        }
        if image.config.len() > CONFIG_BYTES {
            return Err(bad(format!("it is longer than {CONFIG_BYTES} bytes")));
        }
        let mut config: Source = serde_json::from_slice(&image.config).map_err(|error| bad(error.to_string()))?;
        if !matches!(config.os.as_str(), "" | "linux") {
            return Err(bad(format!("the image is for {}, not for linux", config.os)));
        }
        let diff_ids = std::mem::take(&mut config.rootfs.diff_ids);
        if diff_ids.len() != image.layers.len() {
            return Err(ConvertFault::LayerCount { layers: image.layers.len(), diff_ids: diff_ids.len() });
        }
        if let Some(other) = diff_ids.iter().find(|digest| !digest.starts_with("sha256:")) {
            return Err(bad(format!("{other:?} is no sha256 digest")));
        }
        let (repository, tag) = repository_and_tag(&image.name);
        Ok(Self { repository, tag, config, diff_ids })
    }

    /// The front of an archive whose layer has this digest, `sha256:…`, and length.
    pub fn front(&self, layer_digest: &str, layer_bytes: u64) -> Result<Front, ConvertFault> {
        let id = layer_digest.trim_start_matches("sha256:");
        let bad = |error: serde_json::Error| ConvertFault::BadConfig { why: error.to_string() };
        let settings = self.config.config.clone().unwrap_or_default();
        let config = Written {
            architecture: &self.config.architecture,
            variant: self.config.variant.as_deref(),
            os: "linux",
            config: &settings,
            rootfs: WrittenRootFs { kind: "layers", diff_ids: [layer_digest.to_owned()] },
        };
        let config = serde_json::to_vec(&config).map_err(bad)?;
        let config_digest = sha256_text(ring::digest::digest(&ring::digest::SHA256, &config).as_ref());
        let config_name = format!("{}.json", config_digest.trim_start_matches("sha256:"));
        let repo_tags = [format!("{}:{}", self.repository, self.tag)];
        let manifest = [Manifest { config: &config_name, repo_tags, layers: [format!("{id}/layer.tar")] }];
        let manifest = serde_json::to_vec(&manifest).map_err(bad)?;
        let repositories = json!({self.repository.as_str(): {self.tag.as_str(): id}}).to_string();
        let note = LayerNote { id, created: "1970-01-01T00:00:00Z", config: &settings };
        let note = serde_json::to_vec(&note).map_err(bad)?;
        let mut bytes = Vec::new();
        for (name, contents) in [
            ("manifest.json", manifest.as_slice()),
            ("repositories", repositories.as_bytes()),
            (&config_name, &config),
            (&format!("{id}/VERSION"), b"1.0"),
            (&format!("{id}/json"), &note),
        ] {
            bytes.extend_from_slice(member(name, contents.len() as u64).as_bytes());
            bytes.extend_from_slice(contents);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(member(&format!("{id}/layer.tar"), layer_bytes).as_bytes());
        Ok(Front { bytes, config_digest })
    }

    /// Bytes in front of the layer's contents.
    pub fn front_bytes(&self) -> Result<u64, ConvertFault> {
        Ok(self.front(&format!("sha256:{}", "0".repeat(DIGITS)), 0)?.bytes.len() as u64)
    }
}

fn member(name: &str, bytes: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    // All names here are far shorter than the field.
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    header.set_cksum();
    header
}

/// Repository without its registry, and tag. What is no such name, or names a digest, becomes `mkube:latest`.
fn repository_and_tag(name: &str) -> (String, String) {
    let plain = |text: &str, also: &str, most: usize| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || also.contains(letter);
        !text.is_empty() && text.len() <= most && text.chars().all(fits)
    };
    let registry = |word: &str| word.contains(['.', ':']) || word == "localhost";
    let path = match name.split_once('/') {
        Some((first, rest)) if registry(first) => rest,
        _ => name,
    };
    let (repository, tag) = path.rsplit_once(':').unwrap_or((path, "latest"));
    match plain(repository, "._-/", 255) && plain(tag, "._-", 128) && !repository.starts_with('/') {
        true => (repository.to_owned(), tag.to_owned()),
        false => ("mkube".to_owned(), "latest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_an_archive_is_the_repository_without_its_registry() {
        for (name, repository, tag) in [
            ("app:edge", "app", "edge"),
            ("app", "app", "latest"),
            ("127.0.0.1:5000/team/app:1.2", "team/app", "1.2"),
            ("localhost/app", "app", "latest"),
            ("docker.io/library/nginx:1", "library/nginx", "1"),
            ("team/app", "team/app", "latest"),
            ("app@sha256:0011", "mkube", "latest"),
            ("", "mkube", "latest"),
            ("a b:c", "mkube", "latest"),
            ("app:", "mkube", "latest"),
        ] {
            assert_eq!(repository_and_tag(name), (repository.to_owned(), tag.to_owned()), "{name:?}");
        }
    }
}
