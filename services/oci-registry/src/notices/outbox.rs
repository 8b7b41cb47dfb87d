//! What waits to be told: one small file for each tag.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Notice, NoticeFault};
use crate::durable;

/// A notice that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Grows with each push; tells a notice from the one that takes its place.
    pub(super) sequence: u64,
    /// Told with each try.
    pub(super) delivery: String,
    pub(super) notice: Notice,
}

/// Everything one target has not taken so far.
pub(super) struct Outbox {
    directory: PathBuf,
    most: usize,
    /// By file name without its ending.
    waiting: Mutex<BTreeMap<String, Waiting>>,
    /// Something was put in.
    pub(super) news: Notify,
}

impl Outbox {
    /// Reads what an earlier process left. A file that cannot be understood is put aside and logged.
    pub(super) fn open(directory: &Path, most: usize) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        durable::sync_directory(directory.parent().unwrap_or(directory))?;
        let mut waiting = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if durable::is_passing(&name) {
                std::fs::remove_file(&path)?;
                continue;
            }
            let Some(key) = name.strip_suffix(".json") else { continue };
            match serde_json::from_slice::<Waiting>(&std::fs::read(&path)?) {
                Ok(one) => drop(waiting.insert(key.to_owned(), one)),
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "a notice cannot be read and is put aside");
                    std::fs::rename(&path, path.with_extension("damaged"))?;
                }
            }
        }
        Ok(Self { directory: directory.to_owned(), most, waiting: Mutex::new(waiting), news: Notify::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().len()
    }

    /// Keeps a notice; one of the same tag that still waits gives way. Blocks until it is on the disk.
    pub(super) fn put(&self, notice: Notice) -> Result<(), NoticeFault> {
        let key = key(&notice);
        // Held while writing: two pushes of one tag reach the disk in the order of their numbers.
        let mut waiting = self.waiting();
        if waiting.len() >= self.most && !waiting.contains_key(&key) {
            let target = self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(NoticeFault::Full(target));
        }
        let sequence = waiting.values().map(|one| one.sequence).max().unwrap_or(0) + 1;
        let one = Waiting { sequence, delivery: uuid::Uuid::new_v4().to_string(), notice };
        let text = serde_json::to_vec(&one).map_err(io::Error::other)?;
        durable::write_file(&self.path(&key), &text, 0o600)?;
        waiting.insert(key, one);
        drop(waiting);
        self.news.notify_one();
        Ok(())
    }

    /// The oldest that passes.
    pub(super) fn oldest(&self, passes: impl Fn(&str, &Waiting) -> bool) -> Option<(String, Waiting)> {
        let waiting = self.waiting();
        let passing = waiting.iter().filter(|(key, one)| passes(key, one));
        passing.min_by_key(|(_, one)| one.sequence).map(|(key, one)| (key.clone(), one.clone()))
    }

    /// Whether this very notice still waits.
    pub(super) fn holds(&self, key: &str, delivery: &str) -> bool {
        self.waiting().get(key).is_some_and(|one| one.delivery == delivery)
    }

    /// Forgets one, unless a newer one has taken its place. Blocks on the disk.
    pub(super) fn forget(&self, key: &str, delivery: &str) -> io::Result<()> {
        let mut waiting = self.waiting();
        if waiting.get(key).is_none_or(|one| one.delivery != delivery) {
            return Ok(());
        }
        // Not synced: after a crash it may be told once more, which is allowed.
        match std::fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        waiting.remove(key);
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{key}.json"))
    }
}

/// A file name for a tag: a repository may be longer than a name on the disk.
fn key(notice: &Notice) -> String {
    let reference = if notice.tag.is_empty() { &notice.digest } else { &notice.tag };
    let hash = digest::digest(&digest::SHA256, format!("{}\n{reference}", notice.repository).as_bytes());
    hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
