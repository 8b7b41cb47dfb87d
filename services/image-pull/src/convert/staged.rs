//! A file that appears under its name as a whole, or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::fault::ConvertFault;

/// Times a temporary file may vanish while it is being opened.
const TRIES: usize = 100;

/// A file under a temporary name beside its target; removed unless it is finished.
pub struct Staged {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    finished: bool,
}

/// What an error of writing means.
pub fn write_fault(target: &Path, source: io::Error) -> ConvertFault {
    let path = target.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ConvertFault::DiskFull { path },
        _ => ConvertFault::Unwritable { path, source },
    }
}

impl Staged {
    /// Makes the temporary file. One that a killed process left is taken over; one that is being written is left alone.
    pub fn create(target: &Path) -> Result<Self, ConvertFault> {
        let fault = |error| write_fault(target, error);
        let name = target.file_name().ok_or_else(|| fault(ErrorKind::IsADirectory.into()))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".part");
        let temporary = target.with_file_name(hidden);
        for _ in 0..TRIES {
            let mut open = File::options();
            open.read(true).write(true).create(true).truncate(false).custom_flags(OFlags::NOFOLLOW.bits() as i32);
            let file = open.open(&temporary).map_err(fault)?;
            // Some file systems of devices know no locks; then the caller's care has to do.
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
            if locked == Err(Errno::WOULDBLOCK) {
                return Err(ConvertFault::Busy { path: target.to_owned() });
            }
            // Whoever had the lock may have renamed or removed the file meanwhile.
            let same = std::fs::symlink_metadata(&temporary).is_ok_and(|there| {
                file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
            });
            if same {
                let staged = Self { file, temporary, target: target.to_owned(), finished: false };
                staged.file.set_len(0).map_err(fault)?;
                return Ok(staged);
            }
        }
        Err(ConvertFault::Busy { path: target.to_owned() })
    }

    /// The file, to be written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// An error of writing the file.
    pub fn fault(&self, source: io::Error) -> ConvertFault {
        write_fault(&self.target, source)
    }

    /// Brings the file to disk and gives it its name.
    pub fn finish(mut self) -> Result<(), ConvertFault> {
        self.file.sync_all().map_err(|error| self.fault(error))?;
        std::fs::rename(&self.temporary, &self.target).map_err(|error| self.fault(error))?;
        self.finished = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|error| {
            let _ = std::fs::remove_file(&self.target);
            self.fault(error)
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.temporary) {
            tracing::warn!(%error, path = %self.temporary.display(), "half an archive could not be removed");
        }
    }
}
