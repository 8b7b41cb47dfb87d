//! Archives, honest and hostile, and what they leave on disk.

mod damaged;
mod honest;
mod hostile;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mkube_router_machine::engine::{EngineFault, ImageConfig};
use serde_json::json;
use tar::EntryType;
use tokio::time::Instant;

use crate::unpack::{Busy, Limits, remove_root, unpack};

/// One entry, written as it stands: no library corrects it.
struct Raw<'a> {
    name: &'a str,
    kind: EntryType,
    link: &'a str,
    mode: u32,
    owner: (u64, u64),
    data: &'a [u8],
    /// What the header says, where that is not the length of the data.
    says: Option<u64>,
}

impl Default for Raw<'_> {
    fn default() -> Self {
        Self { name: "", kind: EntryType::Regular, link: "", mode: 0o644, owner: (0, 0), data: b"", says: None }
    }
}

fn file<'a>(name: &'a str, data: &'a [u8]) -> Raw<'a> {
    Raw { name, data, ..Raw::default() }
}

fn directory(name: &str) -> Raw<'_> {
    Raw { name, kind: EntryType::Directory, mode: 0o755, ..Raw::default() }
}

fn symlink<'a>(name: &'a str, link: &'a str) -> Raw<'a> {
    Raw { name, link, kind: EntryType::Symlink, mode: 0o777, ..Raw::default() }
}

fn hard_link<'a>(name: &'a str, link: &'a str) -> Raw<'a> {
    Raw { name, link, kind: EntryType::Link, ..Raw::default() }
}

fn put(out: &mut Vec<u8>, raw: &Raw<'_>) {
    let mut header = tar::Header::new_gnu();
    let long = |kind: u8, text: &str, out: &mut Vec<u8>| {
        let data = [text.as_bytes(), b"\0"].concat();
        put(out, &Raw { name: "././@LongLink", kind: EntryType::new(kind), data: &data, ..Raw::default() });
    };
    if raw.name.len() >= 100 {
        long(b'L', raw.name, out);
    }
    if raw.link.len() >= 100 {
        long(b'K', raw.link, out);
    }
    let old = header.as_old_mut();
    let most = raw.name.len().min(99);
    old.name[..most].copy_from_slice(&raw.name.as_bytes()[..most]);
    let most = raw.link.len().min(99);
    old.linkname[..most].copy_from_slice(&raw.link.as_bytes()[..most]);
    header.set_entry_type(raw.kind);
    header.set_mode(raw.mode);
    header.set_uid(raw.owner.0);
    header.set_gid(raw.owner.1);
    header.set_mtime(1_000_000_000);
    header.set_size(raw.says.unwrap_or(raw.data.len() as u64));
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(raw.data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn layer(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|raw| put(&mut out, raw));
    out.resize(out.len() + 1024, 0);
    out
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("disk")).expect("made");
        Self { directory }
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn root(&self) -> PathBuf {
        self.disk().join("root")
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("image.tar");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn unpack_bytes(&self, bytes: &[u8], limits: Limits) -> Result<ImageConfig, EngineFault> {
        unpack(&self.file(bytes), &self.root(), limits, &AtomicBool::new(false))
    }

    fn unpack(&self, layers: &[Vec<u8>]) -> Result<ImageConfig, EngineFault> {
        self.unpack_bytes(&image(layers), Limits::default())
    }

    /// Refused, and nothing of it is on the disk; why.
    fn refused(&self, bytes: &[u8], limits: Limits) -> String {
        let fault = self.unpack_bytes(bytes, limits).expect_err("refused");
        assert_eq!(listing(&self.disk()), Vec::<String>::new(), "{fault}");
        match fault {
            EngineFault::BadArchive(why) => why,
            other => panic!("{other:?} is not about the archive"),
        }
    }

    fn refused_layer(&self, entries: &[Raw<'_>]) -> String {
        self.refused(&image(&[layer(entries)]), Limits::default())
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("readable");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A docker-save archive of layers.
fn image(layers: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let config = json!({"architecture": "amd64", "config": {
        "Entrypoint": ["/bin/app"], "Cmd": ["serve"], "Env": ["A=1"], "WorkingDir": "/srv", "User": "web", "StopSignal": "SIGQUIT"}})
    .to_string();
    let manifest = json!([{"Config": "abc123.json", "RepoTags": ["example/app:edge"], "Layers": names}]).to_string();
    let mut all = vec![file("manifest.json", manifest.as_bytes()), file("abc123.json", config.as_bytes())];
    all.extend(names.iter().zip(layers).map(|(name, bytes)| file(name, bytes)));
    layer(&all)
}
