//! The image of the example: assembled on the spot from the machine's own static busybox, since `mkube dev` downloads nothing.

use std::path::{Path, PathBuf};

use mkube_linux_containers::assemble::{self, ImageFile};

/// Name of the image.
pub const NAME: &str = "hello:latest";
/// Where Debian puts it.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// Commands of the image.
const APPLETS: [&str; 22] = [
    "sh", "httpd", "cat", "date", "echo", "env", "hostname", "id", "ip", "ls", "mkdir", "nc", "nslookup", "ping", "ps",
    "rm", "sleep", "tar", "true", "false", "uname", "wget",
];
/// What it runs when a pod says nothing else, so that a pod that only names the image answers.
const SERVE: [&str; 8] = ["busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www"];
/// What it serves when nothing is mounted there.
const PAGE: &str = "<!doctype html>\n<title>hello</title>\n<h1>Hello from mkube</h1>\n<p>This page came with the image. Mount another one over /www.</p>\n";

/// Writes the archive into the cache when it is not there yet; `None` when there is no busybox to make it from.
pub fn ensure(cache: &Path) -> std::io::Result<Option<PathBuf>> {
    let archive = cache.join(format!("{}.tar", mkube_model::names::archive_name(NAME)));
    if archive.exists() {
        return Ok(Some(archive));
    }
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.is_file()) else { return Ok(None) };
    std::fs::create_dir_all(cache)?;
    let mut image = assemble::busybox(NAME, busybox, &APPLETS)?;
    image.cmd = SERVE.map(str::to_owned).into();
    image.files.push(ImageFile { path: "www/index.html".into(), mode: 0o644, bytes: PAGE.into() });
    assemble::write(&image, &archive)?;
    Ok(Some(archive))
}
