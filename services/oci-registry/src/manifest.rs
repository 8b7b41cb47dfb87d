//! What a manifest says: its kind, and what it needs, points to and is about.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::Digest;
use crate::fault::Fault;

/// Bytes of the largest manifest that is taken.
pub const LARGEST: u64 = 4 << 20;

/// An OCI image.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Several of them.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A Docker image.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Several of them.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An artifact as drafts of OCI 1.1 had it; still pushed by older tools.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// Layers that a registry need not have.
const ELSEWHERE: [&str; 4] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What one manifest says, as far as a registry cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its kind.
    pub media_type: String,
    /// Blobs that must be there.
    pub blobs: Vec<Digest>,
    /// Manifests, or blobs, that an index lists.
    pub children: Vec<Digest>,
    /// Blobs that may be there.
    pub optional: Vec<Digest>,
    /// What it is about; need not exist.
    pub subject: Option<Digest>,
    /// What it is, as lists of referrers say.
    pub artifact_type: Option<String>,
    /// Its own annotations.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<i64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: Option<i64>,
}

impl Manifest {
    /// Reads a pushed manifest and checks that it is what its header says. Nothing is looked up.
    pub fn check(bytes: &[u8], content_type: Option<&str>) -> Result<Self, Fault> {
        let invalid = |why: String| Err(Fault::ManifestInvalid(why));
        let raw: Raw = match serde_json::from_slice(bytes) {
            Ok(raw) => raw,
            Err(error) => return invalid(format!("the manifest cannot be read: {error}")),
        };
        let said = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let said = said.filter(|text| !text.is_empty());
        if let (Some(said), Some(inside)) = (&said, &raw.media_type)
            && said != inside
        {
            return invalid(format!("Content-Type says {said:?} and the manifest {inside:?}"));
        }
        let Some(media_type) = said.or_else(|| raw.media_type.clone()).or_else(|| raw.shape().map(str::to_owned))
        else {
            return invalid("the kind of the manifest is not said: send a Content-Type".to_owned());
        };
        if raw.schema_version.is_some_and(|version| version != 2) || raw.fs_layers.is_some() {
            return invalid("schema version 2 only; push the image with a newer client".to_owned());
        }
        let fits = match media_type.as_str() {
            OCI_MANIFEST | DOCKER_MANIFEST => {
                raw.schema_version.is_some() && raw.config.is_some() && raw.manifests.is_none() && raw.blobs.is_none()
            }
            OCI_INDEX | DOCKER_LIST => {
                raw.schema_version.is_some() && raw.config.is_none() && raw.layers.is_none() && raw.blobs.is_none()
            }
            OCI_ARTIFACT => raw.config.is_none() && raw.layers.is_none() && raw.manifests.is_none(),
            other => return invalid(format!("{other:?} is not a kind of manifest that is stored here")),
        };
        if !fits {
            return invalid(format!("the manifest does not have the fields of {media_type}"));
        }
        let all = [&raw.layers, &raw.blobs, &raw.manifests].into_iter().flatten().flatten();
        for one in all.chain(&raw.config).chain(&raw.subject) {
            if Digest::parse(&one.digest).is_none() {
                return invalid(format!("{:?} is not a digest of sha256 or sha512", one.digest));
            }
            if one.size.is_some_and(|size| size < 0) {
                return invalid(format!("the size of {} is negative", one.digest));
            }
        }
        Ok(raw.understood(media_type))
    }

    /// Reads what an older registry stored, as far as it can be: none when it is no JSON object at all.
    pub fn adopt(bytes: &[u8], stored_type: Option<&str>) -> Option<Self> {
        let stored = stored_type.map(str::trim).filter(|text| !text.is_empty());
        let fallback = stored.unwrap_or(DOCKER_MANIFEST);
        match serde_json::from_slice::<Raw>(bytes) {
            Ok(raw) => {
                let inside = raw.media_type.clone();
                let shape = if stored.is_none() { raw.shape() } else { None };
                let media_type = inside.unwrap_or_else(|| shape.unwrap_or(fallback).to_owned());
                Some(raw.understood(media_type))
            }
            // Of a kind we know nothing of.
            Err(_) => serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).ok().map(|_| Self {
                media_type: fallback.to_owned(),
                blobs: Vec::new(),
                children: Vec::new(),
                optional: Vec::new(),
                subject: None,
                artifact_type: None,
                annotations: BTreeMap::new(),
            }),
        }
    }

    /// All content it names; what is named by a stored manifest is not garbage.
    pub fn named(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().chain(&self.children).chain(&self.optional)
    }
}

impl Raw {
    /// The kind by its fields.
    fn shape(&self) -> Option<&'static str> {
        match (&self.config, &self.manifests) {
            (Some(_), None) => Some(OCI_MANIFEST),
            (None, Some(_)) => Some(OCI_INDEX),
            _ => None,
        }
    }

    fn understood(self, media_type: String) -> Manifest {
        let digests = |list: Option<Vec<Descriptor>>| -> (Vec<Digest>, Vec<Digest>) {
            let mut split = (Vec::new(), Vec::new());
            for one in list.into_iter().flatten() {
                let elsewhere = one.media_type.as_deref().is_some_and(|kind| ELSEWHERE.contains(&kind));
                let into = if elsewhere { &mut split.1 } else { &mut split.0 };
                into.extend(Digest::parse(&one.digest));
            }
            split
        };
        let config_type = self.config.as_ref().and_then(|config| config.media_type.clone());
        let artifact_type = self.artifact_type.filter(|text| !text.is_empty()).or(config_type);
        let (mut blobs, mut optional) = digests(self.layers);
        let (more, more_optional) = digests(self.blobs);
        blobs.extend(more);
        optional.extend(more_optional);
        blobs.extend(self.config.and_then(|config| Digest::parse(&config.digest)));
        let (children, _) = digests(self.manifests);
        Manifest {
            media_type,
            blobs,
            children,
            optional,
            subject: self.subject.and_then(|subject| Digest::parse(&subject.digest)),
            artifact_type,
            annotations: self.annotations.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    fn image(more: &str) -> String {
        let (config, layer, foreign) = (digest("c"), digest("l"), digest("f"));
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/x","digest":"{config}","size":1}},"layers":[
            {{"mediaType":"a","digest":"{layer}","size":1}},{{"mediaType":"{}","digest":"{foreign}","size":1}}]{more}}}"#,
            ELSEWHERE[1]
        )
    }

    #[test]
    fn what_an_image_needs_and_may_lack_is_told_apart() {
        let read =
            Manifest::check(image("").as_bytes(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"));
        let read = read.expect("an image");
        assert_eq!(read.media_type, OCI_MANIFEST);
        assert_eq!(read.blobs, [digest("l"), digest("c")]);
        assert_eq!(read.optional, [digest("f")]);
        assert_eq!(read.artifact_type.as_deref(), Some("application/x"));
        assert_eq!(Manifest::check(image("").as_bytes(), None).expect("by its fields").media_type, OCI_MANIFEST);
    }

    #[test]
    fn a_manifest_that_is_not_what_it_says_is_refused() {
        let both = format!(r#","manifests":[],"mediaType":"{OCI_MANIFEST}""#);
        let index_of_image = format!(r#","mediaType":"{OCI_INDEX}""#);
        let twice = format!(r#","mediaType":"{OCI_MANIFEST}","mediaType":"{OCI_INDEX}""#);
        for (text, kind) in [
            ("<html>".to_owned(), OCI_MANIFEST),
            ("[]".to_owned(), OCI_MANIFEST),
            ("{}".to_owned(), OCI_MANIFEST),
            (image(""), OCI_INDEX),
            (image(""), "application/json"),
            (image(""), "text/html"),
            (image(&both), OCI_MANIFEST),
            (image(&index_of_image), OCI_INDEX),
            (image(&twice), OCI_MANIFEST),
            (image(&format!(r#","mediaType":"{DOCKER_MANIFEST}""#)), OCI_MANIFEST),
            (image("").replace(digest("l").as_str(), "sha256:../../x"), OCI_MANIFEST),
            (image("").replace("\"size\":1", "\"size\":-1"), OCI_MANIFEST),
            (image("").replace("\"schemaVersion\":2", "\"schemaVersion\":1"), OCI_MANIFEST),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), DOCKER_MANIFEST),
        ] {
            let refused = Manifest::check(text.as_bytes(), Some(kind));
            assert!(matches!(refused, Err(Fault::ManifestInvalid(_))), "{kind}: {text}: {refused:?}");
        }
    }

    #[test]
    fn what_the_go_registry_stored_is_read_as_far_as_it_can_be() {
        assert_eq!(Manifest::adopt(b"<html>", Some(OCI_MANIFEST)), None);
        assert_eq!(Manifest::adopt(b"", None), None);
        let kind = |bytes: &[u8], stored| Manifest::adopt(bytes, stored).map(|one| one.media_type);
        assert_eq!(kind(image("").as_bytes(), None).as_deref(), Some(OCI_MANIFEST));
        assert_eq!(kind(image("").as_bytes(), Some(DOCKER_MANIFEST)).as_deref(), Some(DOCKER_MANIFEST));
        assert_eq!(kind(br#"{"config":7}"#, None).as_deref(), Some(DOCKER_MANIFEST));
    }
}
