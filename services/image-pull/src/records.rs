//! The small files beside archives: what was made, and which reference meant what.
//!
//! `<archive>.tar.sum` says how large the archive is and when it was made; its time of change is when it was last used.
//! `<reference>.<hash>.digest` says which manifest a reference means: the digest first, as the Go controller has it, then the
//! reference itself, since the name of the file is poorer than the reference, then what the reference stands for.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use mkube_model::names::archive_name;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Bytes of such a file; more is none of ours.
const RECORD_BYTES: u64 = 4096;

/// What is recorded of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// Bytes of the archive.
    pub(crate) bytes: u64,
    /// When the archive was last changed, nanoseconds since 1970.
    pub(crate) changed: i128,
    /// When it was pulled, or first seen.
    pub(crate) made: Option<Timestamp>,
}

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The reference, in its one spelling.
    pub(crate) reference: String,
    /// The platform's manifest.
    pub(crate) digest: Digest,
    /// What the reference itself stands for: an index, or the same.
    pub(crate) top: Digest,
    /// For which architecture it was chosen.
    pub(crate) architecture: String,
}

impl Tag {
    /// Name of its file.
    pub(crate) fn file_name(&self) -> String {
        tag_file_name(&self.reference)
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n{}\n", self.digest, self.reference, self.top, self.architecture)
    }

    /// Reads a file of ours; those of the Go controller have one line.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = read_small(path)?;
        let mut lines = text.lines();
        Some(Self {
            digest: Digest::parse(lines.next()?.trim())?,
            reference: lines.next()?.to_owned(),
            top: Digest::parse(lines.next()?.trim())?,
            architecture: lines.next()?.to_owned(),
        })
    }

    /// Writes its file, durable when this returns.
    pub(crate) fn write(&self, cache: &Path) -> io::Result<()> {
        replace(&cache.join(self.file_name()), self.text().as_bytes())
    }
}

/// Name of the file for a reference. A hash keeps apart what looks the same without dots and slashes.
pub(crate) fn tag_file_name(reference: &str) -> String {
    let hash = Digest::sha256(reference.as_bytes());
    let stem: String = archive_name(reference).chars().take(180).collect();
    format!("{stem}.{}.digest", &hash.as_str()[7..19])
}

impl Sum {
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&read_small(path)?).ok()
    }

    /// Writes its file, durable when this returns.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        replace(path, &text)
    }
}

/// The digest in a file of the Go controller beside an archive.
pub(crate) fn go_digest(archive: &Path) -> Option<Digest> {
    let mut beside = archive.as_os_str().to_owned();
    beside.push(".digest");
    let text = read_small(Path::new(&beside)).or_else(|| read_small(&archive.with_extension("digest")))?;
    Digest::parse(text.trim())
}

fn read_small(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= RECORD_BYTES);
    if small { std::fs::read_to_string(path).ok() } else { None }
}

/// Puts a file in its place as a whole. The name is durable after the directory is, see [`sync_directory`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut beside = path.as_os_str().to_owned();
    // Two who write the same at the same time do not write into the same file.
    beside.push(format!(".{}.new", NEXT.fetch_add(1, Ordering::Relaxed)));
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // Swept at the next start where it cannot go now.
        let _ = std::fs::remove_file(&beside);
    })
}

/// Makes names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
