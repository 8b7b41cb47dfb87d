//! Layers and images made entry by entry: no library corrects what a test wants wrong.

use std::io::Write;
use std::path::{Path, PathBuf};

use mkube_image_pull::convert::{
    BlobSource, BlobTrust, ConvertFault, Converted, LayerBlob, Limits, Progress, SourceImage, convert,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::EntryType;

/// One entry, written as it stands.
#[derive(Debug, Clone)]
pub struct Raw {
    pub name: Vec<u8>,
    pub kind: EntryType,
    pub link: Vec<u8>,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub data: Vec<u8>,
    /// What the header says, where that is not the length of the data.
    pub says: Option<u64>,
    /// PAX records in front of it.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn raw(kind: EntryType, name: &str) -> Raw {
    Raw {
        name: name.into(),
        kind,
        link: Vec::new(),
        mode: 0o644,
        owner: (0, 0),
        mtime: 1_000_000_000,
        data: Vec::new(),
        says: None,
        pax: Vec::new(),
    }
}

pub fn file(name: &str, data: &[u8]) -> Raw {
    Raw { data: data.to_vec(), ..raw(EntryType::Regular, name) }
}

pub fn directory(name: &str) -> Raw {
    Raw { mode: 0o755, ..raw(EntryType::Directory, name) }
}

pub fn symlink(name: &str, target: &str) -> Raw {
    Raw { link: target.into(), mode: 0o777, ..raw(EntryType::Symlink, name) }
}

pub fn hard_link(name: &str, target: &str) -> Raw {
    Raw { link: target.into(), ..raw(EntryType::Link, name) }
}

/// Appends an entry to a tar that has no end yet.
pub fn put(out: &mut Vec<u8>, entry: &Raw) {
    if !entry.pax.is_empty() {
        let mut records = Vec::new();
        for (key, value) in &entry.pax {
            let rest = key.len() + value.len() + 3;
            let length = (1..).find(|length| (rest + length.to_string().len()) == *length).expect("a length");
            records.extend_from_slice(format!("{length} ").as_bytes());
            records.extend_from_slice(&[key.as_slice(), b"=", value, b"\n"].concat());
        }
        put(out, &Raw { data: records, ..raw(EntryType::XHeader, "PaxHeaders.0/x") });
    }
    let long = |kind: u8, text: &[u8], out: &mut Vec<u8>| {
        let data = [text, b"\0"].concat();
        put(out, &Raw { data, ..raw(EntryType::new(kind), "././@LongLink") });
    };
    if entry.name.len() > 100 {
        long(b'L', &entry.name, out);
    }
    if entry.link.len() > 100 {
        long(b'K', &entry.link, out);
    }
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    let most = entry.name.len().min(100);
    old.name[..most].copy_from_slice(&entry.name[..most]);
    let most = entry.link.len().min(100);
    old.linkname[..most].copy_from_slice(&entry.link[..most]);
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0);
    header.set_gid(entry.owner.1);
    header.set_mtime(entry.mtime);
    header.set_size(entry.says.unwrap_or(entry.data.len() as u64));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn layer(entries: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| put(&mut out, entry));
    out.resize(out.len() + 1024, 0);
    out
}

pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).expect("zipped");
    out.finish().expect("zipped")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A blob in memory, to be checked while it is read.
pub fn blob(bytes: Vec<u8>) -> LayerBlob {
    let digest = sha256(&bytes);
    let open =
        move || -> std::io::Result<Box<dyn std::io::Read + Send>> { Ok(Box::new(std::io::Cursor::new(bytes.clone()))) };
    LayerBlob { digest, source: BlobSource::Stream(Box::new(open)), trust: BlobTrust::Unverified }
}

/// An image of layers as they are, the lowest first.
pub fn image(layers: &[Vec<u8>]) -> SourceImage {
    image_of(layers, |bytes| bytes.to_vec())
}

/// An image whose blobs are the layers after `compress`.
pub fn image_of(layers: &[Vec<u8>], compress: impl Fn(&[u8]) -> Vec<u8>) -> SourceImage {
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = json!({
        "architecture": "arm64", "os": "linux", "config": {"Cmd": ["/bin/app"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    SourceImage {
        name: "team/app:edge".into(),
        config: config.to_string().into_bytes(),
        layers: layers.iter().map(|layer| blob(compress(layer))).collect(),
    }
}

/// A directory for archives.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    /// For many small images, each of which is synced: in memory where that is possible.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { directory: directory.expect("a directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn target(&self) -> PathBuf {
        self.path().join("image.tar")
    }

    pub fn convert(&self, image: &SourceImage, limits: &Limits) -> Result<Converted, ConvertFault> {
        convert(image, &self.target(), limits, &Progress::default())
    }

    /// Converted with the usual limits; the archive's bytes too.
    pub fn converted(&self, image: &SourceImage) -> (Converted, Vec<u8>) {
        let converted = self.convert(image, &Limits::default()).expect("converted");
        assert_eq!(self.listing(), ["image.tar"]);
        let bytes = std::fs::read(self.target()).expect("readable");
        assert_eq!(converted.bytes, bytes.len() as u64);
        (converted, bytes)
    }

    /// Refused, and nothing of it is on the disk.
    pub fn refused(&self, image: &SourceImage, limits: &Limits) -> ConvertFault {
        let fault = self.convert(image, limits).expect_err("refused");
        assert_eq!(self.listing(), Vec::<String>::new(), "{fault}");
        fault
    }

    pub fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("readable");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// The members of an archive in their order: name, mode, contents.
pub fn members(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut contents = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut contents).expect("contents");
        let mode = entry.header().mode().expect("a mode");
        (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), mode, contents)
    });
    entries.collect()
}

/// The flattened layer of an archive.
pub fn layer_of(archive: &[u8]) -> Vec<u8> {
    members(archive).pop().expect("a member").2
}

/// The config of an archive.
pub fn config_of(archive: &[u8]) -> Value {
    serde_json::from_slice(&members(archive)[2].2).expect("json")
}
