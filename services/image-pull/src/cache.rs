//! The directory of archives: what is there, what each reference means, and whether an archive is still what was put there.
//!
//! Archives of ours are named by the digest of their manifest, so that references that mean the same share one. Archives of
//! the Go controller, and those somebody put there by hand, are named by their reference and are used as they lie.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mkube_model::neighbours::tarballs::CachedImage;
use mkube_model::neighbours::wall_clock::WallClock;

use crate::digest::Digest;
use crate::image_name::ImageName;
use crate::outline::{outline, verify};
use crate::records::{Sum, Tag, go_digest, sync_directory};
use crate::trouble::Trouble;

/// A use is recorded once in this time: the flash of a router is not worn by every look.
const USED_EVERY: Duration = Duration::from_secs(60);

/// The cache. Every method that touches the disk blocks.
pub(crate) struct Cache {
    pub(crate) directory: PathBuf,
    clock: Arc<dyn WallClock>,
    state: Mutex<State>,
    /// Whether the directory was read.
    read: Mutex<bool>,
    /// Records are written one after the other, so that the disk and this process agree on the last.
    recording: Mutex<()>,
    /// Nothing is handed out while it is being deleted.
    deleting: Mutex<()>,
}

#[derive(Default)]
struct State {
    archives: BTreeMap<PathBuf, Held>,
    tags: BTreeMap<String, Tag>,
    /// Archives without a digest, by the reference they were found for.
    found: BTreeMap<String, PathBuf>,
}

/// What is known of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) digest: Option<Digest>,
    pub(crate) sum: Sum,
    pub(crate) last_used: Option<Timestamp>,
    /// Reading it found it damaged: it is not used any more, and stays until another takes its place.
    damaged: bool,
    /// Read whole, or just written, by this process.
    checked: bool,
}

/// An archive that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) digest: Option<Digest>,
    pub(crate) bytes: u64,
}

impl Cache {
    /// A cache in that directory, which is read when it is needed first.
    pub(crate) fn new(directory: &Path, clock: Arc<dyn WallClock>) -> Self {
        Self {
            directory: directory.to_owned(),
            clock,
            state: Mutex::default(),
            read: Mutex::default(),
            recording: Mutex::default(),
            deleting: Mutex::default(),
        }
    }

    /// Reads the directory unless that was done, making it if it is missing, and deletes what an earlier process left half
    /// done. A disk that is not there yet is tried again by whoever asks next.
    pub(crate) fn ready(&self, sweep: impl FnOnce()) -> Result<(), Trouble> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !*read {
            self.read_directory()?;
            sweep();
            *read = true;
        }
        Ok(())
    }

    fn read_directory(&self) -> Result<(), Trouble> {
        let directory = self.directory.as_path();
        let failed = |error: std::io::Error| Trouble::disk(directory, &error);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut tags = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)?.filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_orphan = |of: &str| !directory.join(of).exists();
            if name.ends_with(".tar") {
                self.take_in(&path)?;
            } else if name.ends_with(".new") || name.strip_suffix(".sum").is_some_and(is_orphan) {
                // Half written, or of an archive that is gone.
                let _ = std::fs::remove_file(&path);
            } else if name.ends_with(".digest") {
                tags.extend(Tag::read(&path).filter(|tag| tag.file_name() == name));
            }
        }
        let mut state = self.lock();
        for tag in tags {
            if state.archives.values().any(|held| held.digest.as_ref() == Some(&tag.digest)) {
                state.tags.insert(tag.reference.clone(), tag);
            } else {
                let _ = std::fs::remove_file(directory.join(tag.file_name()));
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where the archive of a manifest goes.
    pub(crate) fn place_of(&self, digest: &Digest) -> PathBuf {
        self.directory.join(format!("{}.tar", digest.file_stem()))
    }

    /// Looks at an archive that is there and remembers it.
    fn take_in(&self, path: &Path) -> Result<Option<Held>, Trouble> {
        let found = match std::fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() > 0 => found,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.lock().archives.remove(path);
                return Ok(None);
            }
            Err(error) => return Err(Trouble::disk(path, &error)),
        };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let own = Digest::of_file_stem(&stem);
        let sum_path = sum_path(path);
        let used = std::fs::metadata(&sum_path).and_then(|sum| sum.modified()).ok();
        let (sum, damaged) = match Sum::read(&sum_path) {
            // Another size is another file, whatever it was before.
            Some(sum) if own.is_some() => {
                let damaged = sum.bytes != found.len();
                (sum, damaged)
            }
            Some(sum) if sum.bytes == found.len() && sum.changed == changed(&found) => (sum, false),
            // Ours without a record of its own is read before it is used.
            None if own.is_some() => (Sum { bytes: found.len(), changed: -1, made: Some(self.now()) }, false),
            _ => {
                let sum = Sum { bytes: found.len(), changed: changed(&found), made: Some(self.now()) };
                // Without it the archive counts as first seen at the next start again.
                let _ = sum.write(&sum_path);
                (sum, false)
            }
        };
        let held = Held {
            digest: own.or_else(|| go_digest(path)),
            last_used: used.and_then(|at| Timestamp::try_from(at).ok()).or(sum.made),
            sum,
            damaged,
            checked: false,
        };
        self.lock().archives.insert(path.to_owned(), held.clone());
        Ok(Some(held))
    }

    /// What a reference is recorded to mean, as far as it was chosen for that architecture.
    pub(crate) fn tag(&self, reference: &str, architecture: &str) -> Option<Tag> {
        self.lock().tags.get(reference).filter(|tag| tag.architecture == architecture).cloned()
    }

    /// The archive of a manifest, if it is here and sound.
    pub(crate) fn by_digest(&self, digest: &Digest) -> Result<Option<Found>, Trouble> {
        let mut paths = vec![self.place_of(digest)];
        let has = |held: &Held| held.digest.as_ref() == Some(digest);
        paths.extend(self.lock().archives.iter().filter(|(_, held)| has(held)).map(|(path, _)| path.clone()));
        for path in paths {
            if let Some(found) = self.use_of(&path)?
                && found.digest.as_ref() == Some(digest)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// An archive the Go controller made for the reference, or somebody put there under its name; or why it is of no use.
    pub(crate) fn by_name(
        &self,
        name: &ImageName,
        file_names: &[String],
    ) -> Result<Result<Found, Option<String>>, Trouble> {
        let mut why = None;
        for file_name in file_names {
            let path = self.directory.join(format!("{file_name}.tar"));
            if !path.exists() {
                continue;
            }
            match outline(&path) {
                Err(damage) => why = Some(format!("{}: {damage}", path.display())),
                Ok(outline) if outline.names.iter().any(|inside| name.is_mistaken_for(inside)) => {}
                Ok(_) => match self.use_of(&path)? {
                    Some(found) => {
                        self.lock().found.insert(name.to_string(), path);
                        return Ok(Ok(found));
                    }
                    None => why = Some(format!("{} is damaged", path.display())),
                },
            }
        }
        Ok(Err(why))
    }

    /// The archive, if it is what was put there; its use is recorded.
    fn use_of(&self, path: &Path) -> Result<Option<Found>, Trouble> {
        let known = self.lock().archives.get(path).cloned();
        let own = path.file_stem().and_then(|stem| Digest::of_file_stem(&stem.to_string_lossy())).is_some();
        let found = match std::fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.lock().archives.remove(path);
                return Ok(None);
            }
            Err(error) => return Err(Trouble::disk(path, &error)),
        };
        let same = |held: &Held| held.sum.bytes == found.len() && held.sum.changed == changed(&found);
        let held = match known {
            Some(held) if same(&held) => held,
            // Put there by hand, or touched: it is another file now, or has to be read.
            Some(held) if own => {
                Held { damaged: held.damaged || held.sum.bytes != found.len(), checked: false, ..held }
            }
            _ => match self.take_in(path)? {
                Some(held) => held,
                None => return Ok(None),
            },
        };
        let mut held = held;
        if own && !held.damaged && !held.checked && !same(&held) {
            held = self.read_whole(path, held, &|| false)?;
        }
        if held.damaged {
            tracing::warn!(archive = %path.display(), "is damaged; it is not used");
            self.lock().archives.insert(path.to_owned(), held);
            return Ok(None);
        }
        let _not_deleted_meanwhile = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            self.lock().archives.remove(path);
            return Ok(None);
        }
        self.record_use(path, &mut held);
        let found = Found { path: path.to_owned(), digest: held.digest.clone(), bytes: held.sum.bytes };
        self.lock().archives.insert(path.to_owned(), held);
        Ok(Some(found))
    }

    fn record_use(&self, path: &Path, held: &mut Held) {
        let now = self.now();
        let recently = held.last_used.is_some_and(|at| now.duration_since(at).unsigned_abs() < USED_EVERY);
        if recently {
            return;
        }
        held.last_used = Some(now);
        let touched =
            std::fs::File::options().write(true).open(sum_path(path)).and_then(|file| file.set_modified(now.into()));
        if let Err(error) = touched {
            tracing::debug!(archive = %path.display(), %error, "its use is not recorded");
        }
    }

    /// Reads an archive whole and records what was found.
    fn read_whole(&self, path: &Path, mut held: Held, stop: &dyn Fn() -> bool) -> Result<Held, Trouble> {
        let before = std::fs::metadata(path).map_err(|error| Trouble::disk(path, &error))?;
        let verdict = verify(path, stop);
        if stop() {
            return Ok(held);
        }
        match verdict {
            Ok(()) => {
                held.checked = true;
                let sum = Sum { bytes: before.len(), changed: changed(&before), ..held.sum.clone() };
                if sum != held.sum && sum.write(&sum_path(path)).is_ok() {
                    held.sum = sum;
                }
            }
            Err(why) => {
                tracing::warn!(archive = %path.display(), %why, "is damaged; it is pulled again when it is asked for");
                held.damaged = true;
            }
        }
        Ok(held)
    }

    /// Archives this process has not read yet.
    pub(crate) fn unread(&self) -> Vec<PathBuf> {
        let state = self.lock();
        state.archives.iter().filter(|(_, held)| !held.checked && !held.damaged).map(|(path, _)| path.clone()).collect()
    }

    /// Reads one archive whole, if it is still there.
    pub(crate) fn read_one(&self, path: &Path, stop: &dyn Fn() -> bool) -> Result<(), Trouble> {
        let Some(held) = self.lock().archives.get(path).cloned().filter(|held| !held.checked) else { return Ok(()) };
        let read = self.read_whole(path, held, stop)?;
        let mut state = self.lock();
        if let Some(now) = state.archives.get_mut(path).filter(|now| !now.checked) {
            (now.checked, now.damaged) = (read.checked, now.damaged || read.damaged);
            now.sum = read.sum;
        }
        Ok(())
    }

    /// Shows an archive that was written aside: from here on it is served.
    pub(crate) fn show(&self, written: &Path, digest: &Digest) -> Result<Found, Trouble> {
        let path = self.place_of(digest);
        let failed = |error: std::io::Error| Trouble::disk(&path, &error);
        let file = std::fs::File::open(written).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let now = self.now();
        let sum = Sum { bytes: meta.len(), changed: changed(&meta), made: Some(now) };
        sum.write(&sum_path(&path)).map_err(failed)?;
        std::fs::rename(written, &path).map_err(failed)?;
        sync_directory(&self.directory).map_err(failed)?;
        let held = Held { digest: Some(digest.clone()), sum, last_used: Some(now), damaged: false, checked: true };
        self.lock().archives.insert(path.clone(), held);
        Ok(Found { path, digest: Some(digest.clone()), bytes: meta.len() })
    }

    /// Records what a reference means, where that is news.
    pub(crate) fn record(&self, tag: Tag) -> Result<(), Trouble> {
        let _one_after_the_other = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock().tags.get(&tag.reference) == Some(&tag) {
            return Ok(());
        }
        let written = tag.write(&self.directory).and_then(|()| sync_directory(&self.directory));
        written.map_err(|error| Trouble::disk(&self.directory, &error))?;
        self.lock().tags.insert(tag.reference.clone(), tag);
        Ok(())
    }

    /// Everything that can be used.
    pub(crate) fn all(&self) -> Vec<CachedImage> {
        let state = self.lock();
        let of = |path: &Path, held: &Held| {
            let by_tag = state.tags.values().filter(|tag| Some(&tag.digest) == held.digest.as_ref());
            let by_name = state.found.iter().filter(|(_, file)| file.as_path() == path).map(|(name, _)| name);
            let mut references: Vec<String> = by_tag.map(|tag| &tag.reference).chain(by_name).cloned().collect();
            references.sort_unstable();
            references.dedup();
            CachedImage {
                references,
                digest: held.digest.as_ref().map(ToString::to_string),
                path: path.to_owned(),
                bytes: held.sum.bytes,
                pulled_at: held.sum.made,
                last_used: held.last_used,
            }
        };
        state.archives.iter().map(|(path, held)| of(path, held)).collect()
    }

    /// Deletes an archive and everything that is recorded of it, unless it was used since it was looked at.
    pub(crate) fn delete(&self, image: &CachedImage) -> Result<(), Trouble> {
        let path = image.path.as_path();
        let _not_handed_out_meanwhile = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.archives.get(path).is_none_or(|held| held.last_used != image.last_used) {
            return Ok(());
        }
        let Some(held) = state.archives.remove(path) else { return Ok(()) };
        drop(state);
        let mut files = vec![path.to_owned()];
        {
            let mut state = self.lock();
            let others = state.archives.values().any(|other| other.digest.is_some() && other.digest == held.digest);
            state.found.retain(|_, file| file != path);
            if !others {
                let dead = |tag: &Tag| Some(&tag.digest) == held.digest.as_ref();
                files.extend(
                    state.tags.values().filter(|tag| dead(tag)).map(|tag| self.directory.join(tag.file_name())),
                );
                state.tags.retain(|_, tag| !dead(tag));
            }
        }
        files.push(sum_path(path));
        let mut beside = path.as_os_str().to_owned();
        beside.push(".digest");
        files.push(beside.into());
        files.push(path.with_extension("digest"));
        for file in &files {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Trouble::disk(file, &error)),
                _ => {}
            }
        }
        sync_directory(&self.directory).map_err(|error| Trouble::disk(&self.directory, &error))
    }
}

fn sum_path(archive: &Path) -> PathBuf {
    let mut beside = archive.as_os_str().to_owned();
    beside.push(".sum");
    beside.into()
}

fn changed(found: &Metadata) -> i128 {
    use std::os::unix::fs::MetadataExt;
    i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec())
}
