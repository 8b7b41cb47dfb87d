//! Who a controller is, and its note on the lease: a small file beside the store's, which only one process uses at a time.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mkube_model::lease_record::LeaseNote;
use mkube_model::neighbours::lease_book::LeaseNotes;
use serde::{Deserialize, Serialize};

/// Name of the file.
const FILE: &str = "controller.json";
/// The file whose lock says that a process uses it.
const LOCK: &str = "controller.lock";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    identity: String,
    #[serde(default)]
    lease: LeaseNote,
}

/// See the file's text.
pub struct OwnNote {
    directory: PathBuf,
    identity: String,
    note: LeaseNote,
    turns: Arc<Turns>,
    /// Held for as long as the process lives.
    _lock: File,
}

/// Notes are written one after the other: who asked for one may be gone while it is on its way, and the next one asks already.
#[derive(Default)]
struct Turns {
    asked: AtomicU64,
    /// The newest one that was begun.
    begun: Mutex<u64>,
}

impl OwnNote {
    /// Opens it in a directory; there is none yet: it is made, with the identity that `fresh` gives.
    pub fn open(directory: &Path, fresh: impl FnOnce() -> String) -> Result<Self, String> {
        let said = |what: &str, error: &dyn std::fmt::Display| format!("{}: {error}", directory.join(what).display());
        std::fs::create_dir_all(directory).map_err(|error| said("", &error))?;
        let lock = File::create(directory.join(LOCK)).map_err(|error| said(LOCK, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(said(LOCK, &"another mkube uses this directory")),
            Err(TryLockError::Error(error)) => return Err(said(LOCK, &error)),
        }
        let kept = match std::fs::read(directory.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| said(FILE, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let kept = Kept { identity: fresh(), lease: LeaseNote::default() };
                write(directory, &kept).map_err(|error| said(FILE, &error))?;
                kept
            }
            Err(error) => return Err(said(FILE, &error)),
        };
        Ok(Self {
            directory: directory.to_owned(),
            identity: kept.identity,
            note: kept.lease,
            turns: Arc::default(),
            _lock: lock,
        })
    }

    /// Who this is; the same at every start.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What was noted when it was opened.
    pub fn note(&self) -> &LeaseNote {
        &self.note
    }
}

#[async_trait]
impl LeaseNotes for OwnNote {
    async fn keep(&self, note: &LeaseNote) -> Result<(), String> {
        let (directory, kept) = (self.directory.clone(), Kept { identity: self.identity.clone(), lease: note.clone() });
        let turns = self.turns.clone();
        let turn = turns.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let writing = tokio::task::spawn_blocking(move || {
            let mut begun = turns.begun.lock().unwrap_or_else(PoisonError::into_inner);
            if *begun > turn {
                return Err("a newer note came first".to_owned());
            }
            *begun = turn;
            write(&directory, &kept).map_err(|error| format!("{}: {error}", directory.join(FILE).display()))
        });
        writing.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The whole file or the one before, whenever the power goes.
fn write(directory: &Path, kept: &Kept) -> std::io::Result<()> {
    let (path, new) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_one_is_and_what_was_noted_is_the_same_after_a_restart() {
        let place = tempfile::tempdir().expect("a directory");
        let own = OwnNote::open(place.path(), || "a-1".into()).expect("opened");
        assert_eq!((own.identity(), own.note()), ("a-1", &LeaseNote::default()));
        let note = LeaseNote { token: 7, sole: true, highest: 9 };
        own.keep(&note).await.expect("kept");
        assert!(OwnNote::open(place.path(), || "b".into()).is_err(), "two processes are not one controller");
        drop(own);
        let again = OwnNote::open(place.path(), || "b".into()).expect("opened");
        assert_eq!((again.identity(), again.note()), ("a-1", &note));
    }

    #[test]
    fn a_note_whose_writer_is_gone_never_comes_after_the_next_one() {
        for _ in 0..5 {
            let place = tempfile::tempdir().expect("a directory");
            let own = OwnNote::open(place.path(), || "a".into()).expect("opened");
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
            runtime.block_on(async {
                for token in 0..10 {
                    for sole in [true, false] {
                        let note = LeaseNote { token, sole, highest: token };
                        if sole {
                            // Begun, and nobody waits for it any more.
                            assert!(own.keep(&note).now_or_never().is_none());
                        } else {
                            own.keep(&note).await.expect("kept");
                        }
                    }
                }
            });
            // Waits for whatever is still being written.
            drop(runtime);
            drop(own);
            let again = OwnNote::open(place.path(), || "a".into()).expect("opened");
            assert_eq!(again.note(), &LeaseNote { token: 9, sole: false, highest: 9 });
        }
    }

    #[test]
    fn a_note_that_cannot_be_read_is_not_taken_for_none() {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::write(place.path().join(FILE), "{").expect("written");
        let why = OwnNote::open(place.path(), || "a".into()).err().expect("refused");
        assert!(why.contains("controller.json"), "{why}");
    }
}
