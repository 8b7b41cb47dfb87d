//! What was seen at upstreams, on the disk: which tags came from there, and which digests the watched images had.

use std::io;
use std::path::{Path, PathBuf};

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::durable;

/// A tag of ours as it was last seen at an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Repository here.
    pub(crate) repository: String,
    /// Tag, here and there.
    pub(crate) tag: String,
    /// Host of the upstream.
    pub(crate) host: String,
    /// Repository there.
    pub(crate) upstream: String,
    /// Digest of the manifest.
    pub(crate) digest: String,
}

/// One folder of records.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

impl Records {
    /// The folder is made when missing.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if durable::is_passing(&entry.file_name().to_string_lossy()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self(directory.to_owned()))
    }

    /// What is known of a tag. A record that cannot be read counts as none: the worst is that something is fetched again.
    pub(crate) async fn find(&self, repository: &str, tag: &str) -> Option<Record> {
        let path = self.path(repository, tag);
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let record: Record = serde_json::from_slice(&read.ok()?.ok()?).ok()?;
        (record.repository == repository && record.tag == tag).then_some(record)
    }

    /// Lasting when it returns.
    pub(crate) async fn keep(&self, record: Record) -> io::Result<()> {
        let path = self.path(&record.repository, &record.tag);
        let write = move || durable::write_file(&path, &serde_json::to_vec(&record).map_err(io::Error::other)?, 0o644);
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    fn path(&self, repository: &str, tag: &str) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, format!("{repository}\n{tag}").as_bytes());
        let name: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.join(format!("{name}.json"))
    }
}
