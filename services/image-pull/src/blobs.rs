//! Blobs on their way: `<cache>/blobs/<algorithm>-<hex>.part` while one comes, without `.part` once it is what its digest
//! says, deleted when nobody needs it any more.
//!
//! What was received outlives the process, and is hashed once when it is picked up again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::digest::{Digest, Hasher};
use crate::manifest::Blob;
use crate::trouble::Trouble;

/// Bytes read at once while hashing.
const READ_BYTES: usize = 256 << 10;

/// The directory of blobs.
#[derive(Clone)]
pub(crate) struct Blobs {
    directory: PathBuf,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// How many pulls need each.
    needed: HashMap<Digest, usize>,
    /// Whole ones that were hashed by this process.
    checked: HashSet<Digest>,
}

/// Keeps blobs from being deleted.
pub(crate) struct Hold {
    blobs: Blobs,
    digests: Vec<Digest>,
    /// What becomes of what is no longer needed by anybody.
    pub(crate) rest: Rest,
}

/// What becomes of blobs nobody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// They stay, so that the next attempt goes on from there.
    Stays,
    /// They are of no further use.
    Goes,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut known = self.blobs.lock();
        for digest in std::mem::take(&mut self.digests) {
            let left = known.needed.get(&digest).map_or(0, |count| count - 1);
            if left > 0 {
                known.needed.insert(digest, left);
                continue;
            }
            known.needed.remove(&digest);
            if self.rest == Rest::Goes {
                known.checked.remove(&digest);
                // Gone already, or swept later.
                let _ = std::fs::remove_file(self.blobs.whole(&digest));
                let _ = std::fs::remove_file(self.blobs.part(&digest));
            }
        }
    }
}

impl Blobs {
    pub(crate) fn new(cache: &Path) -> Self {
        Self { directory: cache.join("blobs"), known: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the whole blob is.
    pub(crate) fn whole(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.file_stem())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.part", digest.file_stem()))
    }

    /// Where an archive is written before it is shown.
    pub(crate) fn workbench(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.tar", digest.file_stem()))
    }

    /// These blobs are needed until the hold is dropped.
    pub(crate) fn hold<'b>(&self, blobs: impl Iterator<Item = &'b Blob>) -> Hold {
        let mut digests: Vec<Digest> = blobs.map(|blob| blob.digest.clone()).collect();
        digests.sort_unstable();
        digests.dedup();
        let mut known = self.lock();
        for digest in &digests {
            *known.needed.entry(digest.clone()).or_default() += 1;
        }
        Hold { blobs: self.clone(), digests, rest: Rest::Stays }
    }

    /// Bytes of the blob that are here, whole or in part.
    pub(crate) fn bytes_here(&self, blob: &Blob) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map(|found| found.len()).ok();
        length(&self.whole(&blob.digest)).or_else(|| length(&self.part(&blob.digest))).unwrap_or(0).min(blob.bytes)
    }

    /// Whether the blob is here and is what its digest says; reads one that an earlier process left, once. Blocks.
    pub(crate) fn is_here(&self, blob: &Blob) -> Result<bool, Trouble> {
        let path = self.whole(&blob.digest);
        let length = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Trouble::disk(&path, &error)),
        };
        if length == blob.bytes && self.lock().checked.contains(&blob.digest) {
            return Ok(true);
        }
        let hash = || -> io::Result<Digest> {
            let mut hasher = blob.digest.hasher();
            hash_into(&mut File::open(&path)?, &mut hasher, u64::MAX)?;
            Ok(hasher.finish())
        };
        if length == blob.bytes && hash().map_err(|error| Trouble::disk(&path, &error))? == blob.digest {
            self.lock().checked.insert(blob.digest.clone());
            return Ok(true);
        }
        std::fs::remove_file(&path).map_err(|error| Trouble::disk(&path, &error))?;
        Ok(false)
    }

    /// Opens what there is of a blob, to be gone on with. Blocks, also while somebody else still writes it.
    pub(crate) fn open(&self, blob: &Blob) -> Result<Part, Trouble> {
        let path = self.part(&blob.digest);
        let open = || -> io::Result<Part> {
            std::fs::create_dir_all(&self.directory)?;
            let mut file = locked(&path)?;
            // Whoever wanted it may have left, and cleaned up, before it was made here.
            let known = self.lock();
            if !known.needed.contains_key(&blob.digest) {
                std::fs::remove_file(&path)?;
                return Err(io::Error::other("nobody wants it any more"));
            }
            drop(known);
            let mut hasher = blob.digest.hasher();
            let received = hash_into(&mut file, &mut hasher, blob.bytes)?;
            file.set_len(received)?;
            file.seek(SeekFrom::Start(received))?;
            Ok(Part { file, hasher, received, path: path.clone() })
        };
        open().map_err(|error| Trouble::disk(&path, &error))
    }

    /// Makes a part that holds every byte the whole blob, if it is what its digest says; otherwise it is deleted. Blocks.
    pub(crate) fn finish(&self, part: Part, blob: &Blob) -> Result<bool, Trouble> {
        let Part { file, hasher, path, .. } = part;
        let right = hasher.finish() == blob.digest;
        let moved = if right { std::fs::rename(&path, self.whole(&blob.digest)) } else { std::fs::remove_file(&path) };
        drop(file);
        moved.map_err(|error| Trouble::disk(&path, &error))?;
        if right {
            self.lock().checked.insert(blob.digest.clone());
        }
        Ok(right)
    }

    /// Deletes what nobody needs: archives half written, and blobs whose last byte came longer ago than `older_than`.
    /// Blocks.
    pub(crate) fn sweep(&self, now: jiff::Timestamp, older_than: std::time::Duration) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = Digest::of_file_stem(name.trim_end_matches(".part"));
            // Held under the lock, so that no pull begins to need it in between.
            let mut known = self.lock();
            if let Some(digest) = &digest
                && (known.needed.contains_key(digest) || !is_older(&entry.path(), now, older_than))
            {
                continue;
            }
            if digest.is_none() && !known.needed.is_empty() {
                continue;
            }
            if let Some(digest) = &digest {
                known.checked.remove(digest);
            }
            // Not possible today is tried again tomorrow.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Opens the file for one writer alone: the one that has this name now, not one that was deleted while it was waited for.
fn locked(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::MetadataExt;
    loop {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let own = file.metadata()?.ino();
        if std::fs::metadata(path).is_ok_and(|named| named.ino() == own) {
            return Ok(file);
        }
    }
}

fn is_older(path: &Path, now: jiff::Timestamp, than: std::time::Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let Some(modified) = modified.and_then(|at| jiff::Timestamp::try_from(at).ok()) else { return false };
    now.duration_since(modified) >= jiff::SignedDuration::try_from(than).unwrap_or(jiff::SignedDuration::MAX)
}

/// Reads up to `limit` bytes into the hasher; how many there were.
fn hash_into(file: &mut File, hasher: &mut Hasher, limit: u64) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut total = 0u64;
    loop {
        let room = usize::try_from(limit - total).unwrap_or(usize::MAX).min(buffer.len());
        let read = if room == 0 { 0 } else { file.read(&mut buffer[..room])? };
        if read == 0 {
            return Ok(total);
        }
        hasher.update(&buffer[..read]);
        total += read as u64;
    }
}

/// A blob that is being received. The file is locked: an abandoned write still under way is waited for.
pub(crate) struct Part {
    file: File,
    hasher: Hasher,
    received: u64,
    path: PathBuf,
}

impl Part {
    /// Bytes that are here.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes. Blocks.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.file.write_all(bytes).map_err(|error| Trouble::disk(&self.path, &error))?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what was received. Blocks.
    pub(crate) fn restart(&mut self, blob: &Blob) -> Result<(), Trouble> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|error| Trouble::disk(&self.path, &error))?;
        self.hasher = blob.digest.hasher();
        self.received = 0;
        Ok(())
    }

    /// Deletes what was received. Blocks.
    pub(crate) fn discard(self) {
        // Swept later where it cannot be deleted now.
        let _ = std::fs::remove_file(&self.path);
    }
}
