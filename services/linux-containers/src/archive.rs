//! Finds manifest, config and layers in an image archive: docker-save as RouterOS takes it, as it is or gzipped as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use mkube_router_machine::engine::{EngineFault, ImageConfig};
use serde_json::Value;

use crate::metered::{self, Meter, Metered};

/// Bytes of a manifest or config.
const JSON_LIMIT: u64 = 8 << 20;
/// Members of an archive: a few for each layer.
const MEMBERS: usize = 20_000;
/// Bytes of a member's name.
const NAME_BYTES: usize = 4096;
/// Links followed to find a member.
const HOPS: usize = 8;

/// What a member of the archive is.
enum Member {
    File {
        offset: u64,
        length: u64,
    },
    /// Layers that are alike are stored once by some writers; the others are links.
    Link(String),
}

/// An opened archive.
pub struct Archive {
    file: File,
    members: HashMap<String, Member>,
}

fn bad(why: impl std::fmt::Display) -> EngineFault {
    EngineFault::BadArchive(why.to_string())
}

impl Archive {
    /// Opens and indexes an archive. `scratch` is a directory for an unzipped copy of a gzipped one, `limit` its bytes.
    pub fn open(path: &Path, scratch: &Path, limit: u64, cancelled: &AtomicBool) -> Result<Self, EngineFault> {
        let mut file = File::open(path).map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let mut magic = Vec::new();
        (&file).take(2).read_to_end(&mut magic).map_err(bad)?;
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        if magic == [0x1f, 0x8b] {
            let mut plain = tempfile(scratch)?;
            let mut zipped = flate2::read::MultiGzDecoder::new(BufReader::new(file));
            metered::copy(&mut zipped, &mut plain, limit, "the unzipped archive", cancelled)?;
            file = plain;
        }
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        let members = index(&file)?;
        Ok(Self { file, members })
    }

    fn find(&self, name: &str) -> Result<Option<(u64, u64)>, EngineFault> {
        let mut name = plain(name);
        for _ in 0..HOPS {
            match self.members.get(&name) {
                None => return Ok(None),
                Some(Member::File { offset, length }) => return Ok(Some((*offset, *length))),
                Some(Member::Link(target)) => name.clone_from(target),
            }
        }
        Err(bad(format!("{name} is a link without an end")))
    }

    fn json(&mut self, name: &str) -> Result<Option<Value>, EngineFault> {
        let Some((offset, length)) = self.find(name)? else { return Ok(None) };
        if length > JSON_LIMIT {
            return Err(bad(format!("{name} is too large")));
        }
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        let mut bytes = Vec::new();
        (&self.file).take(length).read_to_end(&mut bytes).map_err(bad)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(format!("{name}: {error}")))
    }

    /// Config, `repo:tag`, and the names of the layers from the lowest to the highest, all of them there.
    pub fn image(&mut self) -> Result<(ImageConfig, Vec<String>), EngineFault> {
        let manifest = self.json("manifest.json")?;
        // The two texts devices were seen to log.
        let missing = || bad("could not find image manifest in archive: no manifest.json in archive");
        let manifest = manifest.ok_or_else(missing)?;
        let image = manifest.get(0).filter(|image| image.is_object()).ok_or_else(missing)?;
        let config_name = image["Config"].as_str().unwrap_or_default().to_owned();
        let layers = strings(&image["Layers"]);
        let tag = image["RepoTags"][0].as_str().unwrap_or_default().to_owned();
        let config = self.json(&config_name)?.ok_or_else(|| bad(format!("config {config_name:?} is missing")))?;
        if let Some(layer) = layers.iter().find(|layer| !matches!(self.find(layer), Ok(Some(_)))) {
            return Err(bad(format!("layer {layer} is missing")));
        }
        Ok((config_of(&config, config_name.trim_end_matches(".json"), tag), layers))
    }

    /// A layer as a tar stream.
    pub fn layer(&mut self, name: &str) -> Result<Box<dyn Read + '_>, EngineFault> {
        let (offset, length) = self.find(name)?.ok_or_else(|| bad(format!("layer {name} is missing")))?;
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        let mut magic = Vec::new();
        (&self.file).take(length.min(6)).read_to_end(&mut magic).map_err(bad)?;
        self.file.seek(SeekFrom::Start(offset)).map_err(bad)?;
        if let Some(how) = compression(&magic) {
            return Err(bad(format!("layer {name} is compressed with {how}: layers of an archive must be plain tar")));
        }
        Ok(Box::new(BufReader::with_capacity(256 << 10, (&self.file).take(length))))
    }
}

/// Where each member lies, by name.
fn index(file: &File) -> Result<HashMap<String, Member>, EngineFault> {
    let total = file.metadata().map_err(bad)?.len();
    let meter = Meter::new();
    let mut tar = tar::Archive::new(Metered::new(file, meter.clone()));
    let unreadable = |error: std::io::Error| bad(format!("the archive is damaged: {error}"));
    let mut members = HashMap::new();
    meter.expect_headers();
    let entries = tar.entries_with_seek().map_err(unreadable)?;
    for (number, entry) in entries.enumerate() {
        let entry = entry.map_err(unreadable)?;
        if number >= MEMBERS {
            return Err(bad(format!("the archive has more than {MEMBERS} members")));
        }
        let name = entry.path_bytes();
        if name.len() > NAME_BYTES {
            return Err(bad(format!("a name in the archive is longer than {NAME_BYTES} bytes")));
        }
        let name = plain(&String::from_utf8_lossy(&name));
        let (offset, length) = (entry.raw_file_position(), entry.size());
        let kind = entry.header().entry_type();
        if kind.is_file() {
            // Walking by seeking does not notice an end that comes too early.
            if offset.checked_add(length).is_none_or(|end| end > total) {
                return Err(bad(format!("the archive is truncated: {name} is not all there")));
            }
            members.insert(name, Member::File { offset, length });
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = String::from_utf8_lossy(&target);
            let target = match name.rsplit_once('/') {
                Some((directory, _)) if kind.is_symlink() => format!("{directory}/{target}"),
                _ => target.into_owned(),
            };
            members.insert(name, Member::Link(plain(&target)));
        }
        meter.expect_headers();
    }
    Ok(members)
}

/// A name of a member without `.`, `..` and leading slashes.
fn plain(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn compression(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        _ => None,
    }
}

/// A file without a name.
fn tempfile(directory: &Path) -> Result<File, EngineFault> {
    let path = directory.join(format!(".unzip-{}", uuid::Uuid::new_v4()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io_fault)?;
    std::fs::remove_file(&path).map_err(io_fault)?;
    Ok(file)
}

/// What an I/O error means for unpacking.
pub fn io_fault(error: std::io::Error) -> EngineFault {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => EngineFault::DiskFull,
        Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput | Kind::InvalidFilename | Kind::FileTooLarge => {
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
