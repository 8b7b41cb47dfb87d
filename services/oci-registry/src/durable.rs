//! How a small file gets onto the disk whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file under a passing name beside the target, syncs it, renames it and syncs the directory. A reader sees the old
/// content or the new, and after a crash either is there. `mode` such as `0o600`.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let passing = directory.join(format!(".{name}.{}.tmp", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = File::options().create_new(true).write(true).mode(mode).open(&passing)?;
        // The process's mask may have taken bits away.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&passing, path)?;
        sync_directory(directory)
    })();
    if written.is_err() {
        // What was not renamed is nobody's; that it cannot be removed changes nothing of the fault told.
        let _ = std::fs::remove_file(&passing);
    }
    written
}

/// Makes names that appeared in a directory or went from it last.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether a name is one that [`write_file`] uses in passing.
pub(crate) fn is_passing(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}
