//! The image of the example: assembled on the spot from the machine's own static busybox, since `mkube dev` downloads nothing.

use std::path::{Path, PathBuf};

use mkube_linux_containers::assemble;

/// Name of the image.
pub const NAME: &str = "hello:latest";
/// Where Debian puts it.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// Commands of the image.
const APPLETS: [&str; 16] = [
    "sh", "httpd", "cat", "echo", "env", "hostname", "id", "ip", "ls", "nc", "ping", "ps", "sleep", "true", "false",
    "wget",
];

/// Writes the archive into the cache when it is not there yet; `None` when there is no busybox to make it from.
pub fn ensure(cache: &Path) -> std::io::Result<Option<PathBuf>> {
    let archive = cache.join(format!("{}.tar", mkube_model::names::archive_name(NAME)));
    if archive.exists() {
        return Ok(Some(archive));
    }
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.is_file()) else { return Ok(None) };
    std::fs::create_dir_all(cache)?;
    assemble::write(&assemble::busybox(NAME, busybox, &APPLETS)?, &archive)?;
    Ok(Some(archive))
}
