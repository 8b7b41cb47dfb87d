//! Finds manifest, config and layers in an image archive: docker-save, or OCI layout, plain or gzipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use mkube_router_machine::engine::{EngineFault, ImageConfig};
use serde_json::Value;

/// Bytes of a manifest or config.
const JSON_LIMIT: u64 = 8 << 20;
/// Members of an archive.
const MEMBERS: usize = 100_000;

/// An opened archive.
pub struct Archive {
    file: File,
    /// Offset and length of each regular member, by name.
    members: HashMap<String, (u64, u64)>,
}

fn bad(why: impl std::fmt::Display) -> EngineFault {
    EngineFault::BadArchive(why.to_string())
}

impl Archive {
    /// Opens and indexes an archive. `scratch` is a directory for an unzipped copy of a gzipped one.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, EngineFault> {
        let mut file = File::open(path).map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let mut magic = [0u8; 2];
        let read = file.read(&mut magic).map_err(bad)?;
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        if read == 2 && magic == [0x1f, 0x8b] {
            let mut plain = tempfile(scratch)?;
            let mut zipped = flate2::read::MultiGzDecoder::new(BufReader::new(file));
            std::io::copy(&mut zipped, &mut plain).map_err(io_fault)?;
            file = plain;
        }
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        let mut members = HashMap::new();
        {
            let mut tar = tar::Archive::new(&file);
            let entries =
                tar.entries_with_seek().map_err(|error| bad(format!("the archive cannot be read: {error}")))?;
            for entry in entries {
                let entry = entry.map_err(|error| bad(format!("the archive is damaged: {error}")))?;
                if members.len() >= MEMBERS {
                    return Err(bad(format!("the archive has more than {MEMBERS} members")));
                }
                if entry.header().entry_type().is_file() {
                    let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
                    members.insert(name, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        Ok(Self { file, members })
    }

    fn json(&mut self, name: &str) -> Result<Option<Value>, EngineFault> {
        let Some((offset, length)) = self.members.get(name).copied() else { return Ok(None) };
        if length > JSON_LIMIT {
            return Err(bad(format!("{name} is too large")));
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        let mut bytes = Vec::new();
        (&self.file).take(length).read_to_end(&mut bytes).map_err(bad)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(format!("{name}: {error}")))
    }

    /// Config, `repo:tag`, and the names of the layers from the lowest to the highest.
    pub fn image(&mut self) -> Result<(ImageConfig, Vec<String>), EngineFault> {
        if let Some(manifest) = self.json("manifest.json")? {
            let image = manifest.get(0).ok_or_else(|| bad("could not find image manifest in archive"))?;
            let config_name = image["Config"].as_str().unwrap_or_default().to_owned();
            let layers = strings(&image["Layers"]);
            let tag = image["RepoTags"][0].as_str().unwrap_or_default().to_owned();
            let config =
                self.json(&config_name)?.ok_or_else(|| bad(format!("the config {config_name:?} is missing")))?;
            return Ok((config_of(&config, config_name.trim_end_matches(".json"), tag), layers));
        }
        let index = self.json("index.json")?.ok_or_else(|| bad("could not find image manifest in archive"))?;
        let blob = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        let digest = index["manifests"][0]["digest"].as_str().unwrap_or_default().to_owned();
        let tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let manifest = self.json(&blob(&digest))?.ok_or_else(|| bad("could not find image manifest in archive"))?;
        let config_digest = manifest["config"]["digest"].as_str().unwrap_or_default().to_owned();
        let config = self.json(&blob(&config_digest))?.ok_or_else(|| bad("the config is missing"))?;
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let layers = layers.filter_map(|layer| layer["digest"].as_str()).map(blob).collect();
        Ok((config_of(&config, config_digest.trim_start_matches("sha256:"), tag), layers))
    }

    /// A layer as a plain tar stream, whatever it is compressed with.
    pub fn layer(&mut self, name: &str) -> Result<Box<dyn Read + '_>, EngineFault> {
        let (offset, length) =
            self.members.get(name).copied().ok_or_else(|| bad(format!("layer {name} is missing")))?;
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        let mut magic = Vec::new();
        (&self.file).take(length.min(4)).read_to_end(&mut magic).map_err(bad)?;
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        let raw = BufReader::with_capacity(256 << 10, (&self.file).take(length));
        if magic.starts_with(&[0x1f, 0x8b]) {
            return Ok(Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(raw))));
        }
        if magic == [0x28, 0xb5, 0x2f, 0xfd] {
            let decoder = ruzstd::decoding::StreamingDecoder::new(raw);
            return decoder
                .map(|decoder| Box::new(decoder) as Box<dyn Read>)
                .map_err(|error| bad(format!("layer {name}: {error}")));
        }
        Ok(Box::new(raw))
    }
}

/// A file without a name.
fn tempfile(directory: &Path) -> Result<File, EngineFault> {
    std::fs::create_dir_all(directory).map_err(io_fault)?;
    let path = directory.join(format!("unzip-{}", uuid::Uuid::new_v4()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io_fault)?;
    std::fs::remove_file(&path).map_err(io_fault)?;
    Ok(file)
}

/// What an I/O error means for unpacking.
pub fn io_fault(error: std::io::Error) -> EngineFault {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => EngineFault::DiskFull,
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
            EngineFault::BadArchive(format!("the archive is damaged: {error}"))
        }
        _ => EngineFault::Failed(error.to_string()),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn config_of(config: &Value, id: &str, tag: String) -> ImageConfig {
    let inner = &config["config"];
    let text = |name: &str| inner[name].as_str().unwrap_or_default().to_owned();
    ImageConfig {
        entrypoint: strings(&inner["Entrypoint"]),
        cmd: strings(&inner["Cmd"]),
        env: strings(&inner["Env"]),
        workdir: text("WorkingDir"),
        user: text("User"),
        stop_signal: text("StopSignal"),
        architecture: config["architecture"].as_str().unwrap_or_default().to_owned(),
        image_id: format!("sha256:{}", id.rsplit('/').next().unwrap_or(id)),
        tag,
        size: 0,
    }
}
