//! Content of the kinds the suite pushes: images, indexes, artifacts, subjects.

use std::collections::BTreeMap;

use mkube_oci_registry::digest::{Algorithm, Digest};
use mkube_oci_registry::manifest::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Map, Value, json};

use crate::world::unique;

pub const EXAMPLE1: &str = "application/vnd.example.oci.conformance.v1";
pub const EXAMPLE2: &str = "application/vnd.example.oci.conformance.v2";
pub const EMPTY_JSON: &str = "application/vnd.oci.empty.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What one case pushes, in the order it can be pushed in.
pub struct Data {
    pub algorithm: Algorithm,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub manifests: Vec<(Digest, &'static str, Vec<u8>)>,
    pub tags: BTreeMap<String, Digest>,
    /// Subject → descriptors that a list of referrers must have.
    pub referrers: BTreeMap<Digest, Vec<Value>>,
}

/// How an image differs from a plain one.
#[derive(Clone)]
pub struct Shape {
    pub artifact_type: Option<&'static str>,
    pub config: Option<Vec<u8>>,
    pub config_type: &'static str,
    pub layers: Vec<Vec<u8>>,
    pub layer_type: &'static str,
    pub subject: Option<Value>,
    pub annotations: Map<String, Value>,
    /// Descriptors carry their content.
    pub data: bool,
    /// Fields nobody specified.
    pub extra: bool,
}

pub fn image() -> Shape {
    Shape {
        artifact_type: None,
        config: None,
        config_type: CONFIG,
        layers: (0..2).map(|_| unique(300)).collect(),
        layer_type: LAYER,
        subject: None,
        annotations: Map::new(),
        data: false,
        extra: false,
    }
}

pub fn artifact(kind: &'static str) -> Shape {
    Shape {
        artifact_type: Some(kind),
        config: Some(b"{}".to_vec()),
        config_type: EMPTY_JSON,
        layers: vec![unique(100)],
        layer_type: kind,
        ..image()
    }
}

/// An annotation that is looked for, and one that makes the manifest unlike any other.
pub fn annotated(mut shape: Shape) -> Shape {
    shape.annotations.insert("org.opencontainers.conformance".to_owned(), json!("hello conformance test"));
    shape.annotations.insert("org.example.unique".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    shape
}

impl Data {
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            blobs: BTreeMap::new(),
            manifests: Vec::new(),
            tags: BTreeMap::new(),
            referrers: BTreeMap::new(),
        }
    }

    fn blob(&mut self, kind: &str, bytes: &[u8], data: bool) -> Value {
        use base64::Engine as _;
        let digest = Digest::of(self.algorithm, bytes);
        self.blobs.insert(digest.clone(), bytes.to_vec());
        let mut descriptor = json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()});
        if data {
            descriptor["data"] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        descriptor
    }

    fn add(&mut self, kind: &'static str, mut manifest: Value, shape: &Shape, artifact_type: Option<&str>) -> Value {
        if let Some(kind) = shape.artifact_type {
            manifest["artifactType"] = json!(kind);
        }
        if !shape.annotations.is_empty() {
            manifest["annotations"] = json!(shape.annotations);
        }
        if let Some(subject) = &shape.subject {
            manifest["subject"] = subject.clone();
        }
        if shape.extra {
            manifest["org.example.custom"] = json!({"a": [1, "two", null]});
        }
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::of(self.algorithm, &bytes);
        let descriptor = json!({"mediaType": kind, "digest": digest.as_str(), "size": bytes.len()});
        if let Some(subject) = &shape.subject {
            let subject = Digest::parse(subject["digest"].as_str().expect("text")).expect("a digest");
            let mut referrer = descriptor.clone();
            if let Some(artifact_type) = artifact_type {
                referrer["artifactType"] = json!(artifact_type);
            }
            if !shape.annotations.is_empty() {
                referrer["annotations"] = json!(shape.annotations);
            }
            self.referrers.entry(subject).or_default().push(referrer);
        }
        self.manifests.push((digest, kind, bytes));
        descriptor
    }

    /// Adds an image; answers its descriptor.
    pub fn image(&mut self, shape: &Shape) -> Value {
        let default = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}, "id": uuid::Uuid::new_v4().to_string()});
        let config = shape.config.clone().unwrap_or_else(|| default.to_string().into_bytes());
        let config = self.blob(shape.config_type, &config, shape.data);
        let layers: Vec<Value> =
            shape.layers.iter().map(|layer| self.blob(shape.layer_type, layer, shape.data)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        let kind = shape.artifact_type.unwrap_or(shape.config_type);
        self.add(OCI_MANIFEST, manifest, shape, Some(kind))
    }

    /// Adds an index of these; answers its descriptor.
    pub fn index(&mut self, shape: &Shape, manifests: &[Value]) -> Value {
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.add(OCI_INDEX, manifest, shape, shape.artifact_type)
    }

    /// An index of two images of that shape.
    pub fn index_of_images(&mut self, shape: &Shape) -> Value {
        let images: Vec<Value> = ["amd64", "arm64"]
            .iter()
            .map(|architecture| {
                let layers = vec![unique(200)];
                let inner = Shape { layers, subject: None, annotations: Map::new(), ..shape.clone() };
                let mut image = self.image(&inner);
                image["platform"] = json!({"os": "linux", "architecture": architecture});
                image
            })
            .collect();
        self.index(shape, &images)
    }

    /// Tags the manifest added last.
    pub fn tag(mut self, tag: &str) -> Self {
        let (digest, ..) = self.manifests.last().expect("a manifest");
        self.tags.insert(tag.to_owned(), digest.clone());
        self
    }
}
