//! Whether an archive is whole, and whether it is what it says it is.
//!
//! An archive of docker-save names its config by the config's digest, and the config lists the digest of each layer: no second
//! record is needed to find a byte that has changed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::digest::Digest;

const BLOCK: u64 = 512;
/// Members of an archive; docker-save has three for each layer.
const MEMBERS: usize = 4096;
/// Bytes of a document in it.
const DOCUMENT_BYTES: u64 = 4 << 20;

/// A member's place in the archive.
struct Member {
    name: String,
    at: u64,
    bytes: u64,
}

/// What an archive holds.
pub(crate) struct Outline {
    members: Vec<Member>,
    /// What it calls itself, `repository:tag`.
    pub(crate) names: Vec<String>,
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: Option<RootFs>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Walks the archive from header to header, reads what it says of itself, and says what is wrong. Blocks, but for a moment
/// only.
pub(crate) fn outline(path: &Path) -> Result<Outline, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let members = members(&mut file, length)?;
    let manifest = document(&mut file, find(&members, "manifest.json")?)?;
    let entries: Vec<Entry> =
        serde_json::from_slice(&manifest).map_err(|error| format!("its manifest.json cannot be read: {error}"))?;
    let entry = entries.into_iter().next().ok_or("its manifest.json lists no image")?;
    find(&members, &entry.config)?;
    for layer in &entry.layers {
        find(&members, layer)?;
    }
    Ok(Outline { members, names: entry.repo_tags.unwrap_or_default(), config: entry.config, layers: entry.layers })
}

/// Reads the whole archive and compares it with its own digests. `stop` is asked from time to time. Blocks.
pub(crate) fn verify(path: &Path, stop: &dyn Fn() -> bool) -> Result<(), String> {
    let outline = outline(path)?;
    let failed = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(failed)?;
    let config = document(&mut file, find(&outline.members, &outline.config)?)?;
    let stem = outline.config.trim_end_matches(".json").rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(digest) = Digest::parse(&format!("sha256:{stem}"))
        && !digest.fits(&config)
    {
        return Err("its config is not what its name says".to_owned());
    }
    let config: Config =
        serde_json::from_slice(&config).map_err(|error| format!("its config cannot be read: {error}"))?;
    let expected = config.rootfs.map(|rootfs| rootfs.diff_ids).unwrap_or_default();
    if expected.len() != outline.layers.len() {
        return Err("its config lists other layers than its manifest.json".to_owned());
    }
    for (layer, expected) in outline.layers.iter().zip(expected) {
        let Some(expected) = Digest::parse(&expected) else { return Err(format!("{expected:?} is no digest")) };
        let member = find(&outline.members, layer)?;
        file.seek(SeekFrom::Start(member.at)).map_err(failed)?;
        let mut hasher = expected.hasher();
        let mut left = member.bytes;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            if stop() {
                return Err("it was not read to its end".to_owned());
            }
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = file.read(&mut buffer[..room]).map_err(failed)?;
            if read == 0 {
                return Err("it ends too early".to_owned());
            }
            hasher.update(&buffer[..read]);
            left -= read as u64;
        }
        if hasher.finish() != expected {
            return Err(format!("layer {layer} is not what the config says"));
        }
    }
    Ok(())
}

fn find<'m>(members: &'m [Member], name: &str) -> Result<&'m Member, String> {
    members.iter().find(|member| member.name == name).ok_or_else(|| format!("no {name} in archive"))
}

fn document(file: &mut File, member: &Member) -> Result<Vec<u8>, String> {
    if member.bytes > DOCUMENT_BYTES {
        return Err(format!("its {} has more than {DOCUMENT_BYTES} bytes", member.name));
    }
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(member.at)).and_then(|_| file.take(member.bytes).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn members(file: &mut File, length: u64) -> Result<Vec<Member>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut members = Vec::new();
    let mut at = 0u64;
    loop {
        if at + BLOCK > length {
            return Err(format!("it ends too early, after {length} bytes"));
        }
        let mut header = tar::Header::new_old();
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        file.read_exact(header.as_mut_bytes()).map_err(failed)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(members);
        }
        let sum: u32 =
            header.as_bytes()[..148].iter().chain(&header.as_bytes()[156..]).map(|byte| u32::from(*byte)).sum();
        if header.cksum().map_err(|_| "it is no tar".to_owned())? != sum + 8 * u32::from(b' ') {
            return Err(format!("it is no tar, or damaged at byte {at}"));
        }
        let bytes = header.entry_size().map_err(failed)?;
        let name = String::from_utf8_lossy(&header.path_bytes()).trim_start_matches("./").to_owned();
        let end = bytes.checked_add(at + BLOCK).and_then(|end| end.checked_next_multiple_of(BLOCK));
        let Some(end) = end.filter(|end| *end <= length) else {
            return Err(format!("it ends too early: {name} goes on after its {length} bytes"));
        };
        members.push(Member { name, at: at + BLOCK, bytes });
        if members.len() > MEMBERS {
            return Err(format!("it has more than {MEMBERS} members"));
        }
        at = end;
    }
}
