//! How files come to be so that they are whole or not there, whatever happens to the process or the power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Makes what was renamed or removed in a folder last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder below another that exists, and every one between, to last.
pub fn make_folders(base: &Path, folder: &Path) -> io::Result<()> {
    if folder == base || folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    make_folders(base, parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent)
}

/// Writes a file under a passing name and gives it its own when it is whole. The caller syncs the folder. What was there under
/// the name is replaced in one step.
pub fn write_whole(passing: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(passing)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(passing, path)
    })();
    if written.is_err() {
        // The fault that counts is the first one.
        let _ = fs::remove_file(passing);
    }
    written
}

/// Removes a file that may not be there; says whether it was.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
