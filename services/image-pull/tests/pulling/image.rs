//! Images for tests: real layers, a config that fits them, manifests and indexes of either kind.

use std::io::Write;

use serde_json::{Value, json};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image with all its parts.
#[derive(Debug, Clone)]
pub struct Image {
    pub media_type: &'static str,
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

impl Image {
    pub fn digest(&self) -> String {
        digest_of(&self.manifest)
    }

    pub fn layer(&self, nth: usize) -> String {
        digest_of(&self.layers[nth])
    }

    /// The same image with another manifest.
    pub fn with(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        change(&mut manifest);
        Self { manifest: manifest.to_string().into_bytes(), ..self.clone() }
    }
}

pub fn digest_of(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("sha256:{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A layer's tar with these files.
pub fn layer_tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        builder.append_data(&mut header, name, *contents).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// An OCI image of gzip layers, one for each set of files, for an architecture.
pub fn oci(architecture: &str, layers: &[&[(&str, &[u8])]]) -> Image {
    image(architecture, layers, OCI_MANIFEST)
}

/// The same as Docker writes it.
pub fn docker(architecture: &str, layers: &[&[(&str, &[u8])]]) -> Image {
    image(architecture, layers, DOCKER_MANIFEST)
}

fn image(architecture: &str, layers: &[&[(&str, &[u8])]], media_type: &'static str) -> Image {
    let tars: Vec<Vec<u8>> = layers.iter().map(|files| layer_tar(files)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/hello"]},
        "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|tar| digest_of(tar)).collect::<Vec<_>>()},
    });
    let config = config.to_string().into_bytes();
    let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
    let (config_type, layer_type) = if media_type == OCI_MANIFEST {
        ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
    } else {
        ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    };
    let descriptor =
        |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest_of(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": descriptor(config_type, &config),
        "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
    });
    Image { media_type, config, layers, manifest: manifest.to_string().into_bytes() }
}

/// An index of images by architecture and variant.
pub fn index(media_type: &str, images: &[(&str, &str, &Image)]) -> Vec<u8> {
    let entry = |(architecture, variant, image): &(&str, &str, &Image)| {
        let mut platform = json!({"os": "linux", "architecture": architecture});
        if !variant.is_empty() {
            platform["variant"] = json!(variant);
        }
        json!({"mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(), "platform": platform})
    };
    let manifests: Vec<Value> = images.iter().map(entry).collect();
    json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).to_string().into_bytes()
}

/// Names and contents of the one layer of an archive, and what the archive calls itself.
pub fn unpack(archive: &std::path::Path) -> (Vec<(String, Vec<u8>)>, String) {
    use std::io::Read;
    let mut members = std::collections::HashMap::new();
    let mut reader = tar::Archive::new(std::fs::File::open(archive).expect("the archive"));
    for entry in reader.entries().expect("a tar") {
        let mut entry = entry.expect("whole");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("whole");
        members.insert(name, bytes);
    }
    let manifest: Value = serde_json::from_slice(&members["manifest.json"]).expect("JSON");
    let layers = manifest[0]["Layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 1, "one flattened layer");
    let layer = &members[layers[0].as_str().expect("a name")];
    let mut files = Vec::new();
    for entry in tar::Archive::new(layer.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("whole");
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("whole");
        files.push((name.trim_start_matches("./").to_owned(), bytes));
    }
    files.sort_unstable();
    (files, manifest[0]["RepoTags"][0].as_str().unwrap_or_default().to_owned())
}
