//! A mount whose source does not exist yet begins with what the image has at its destination, as on a device.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mkube_router_machine::engine::EngineFault;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::archive::io_fault;
use crate::layer::{directory_at, names_in, open_inside};
use crate::unpack;

fn os(error: Errno) -> EngineFault {
    io_fault(error.into())
}

/// Makes the directory `source` with what lies at `destination` in the image at `root`: as a whole or not at all.
pub fn populate(root: &Path, destination: &str, source: &Path) -> Result<(), EngineFault> {
    let parent = source.parent().ok_or_else(|| EngineFault::Failed("a mount of the root directory".into()))?;
    std::fs::create_dir_all(parent).map_err(io_fault)?;
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = parent.join(format!(".{name}.populating"));
    unpack::remove(&new)?;
    std::fs::create_dir(&new).map_err(io_fault)?;
    let filled = fill(root, destination, &new);
    let done = filled.and_then(|()| std::fs::rename(&new, source).map_err(io_fault));
    if done.is_err() {
        unpack::remove(&new)?;
    }
    done
}

fn open(path: &Path) -> Result<OwnedFd, EngineFault> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(os)
}

fn fill(root: &Path, destination: &str, new: &Path) -> Result<(), EngineFault> {
    let inside = destination.trim_start_matches('/');
    match open_inside(&open(root)?, Path::new(if inside.is_empty() { "." } else { inside })) {
        Ok(from) => {
            let to = open(new)?;
            copy_all(from.as_fd(), to.as_fd())?;
            let stat = rustix::fs::fstat(&from).map_err(os)?;
            rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))).map_err(os)?;
            rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode)).map_err(os)
        }
        // The image has no such directory: there is nothing to begin with.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(()),
        Err(error) => Err(os(error)),
    }
}

fn copy_all(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), EngineFault> {
    let listed = directory_at(from, OsStr::new(".")).map_err(os)?;
    names_in(&listed)?.iter().try_for_each(|name| copy(from, to, name))
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &PathBuf) -> Result<(), EngineFault> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(os)?;
            let (inner, outer) = (directory_at(from, name.as_os_str()), directory_at(to, name.as_os_str()));
            copy_all(inner.map_err(os)?.as_fd(), outer.map_err(os)?.as_fd())?;
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let reader = rustix::fs::openat(from, name, OFlags::RDONLY | flags, Mode::empty()).map_err(os)?;
            let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
            let writer = rustix::fs::openat(to, name, new, Mode::RUSR).map_err(os)?;
            let (mut reader, mut writer) = (std::fs::File::from(reader), std::fs::File::from(writer));
            std::io::copy(&mut reader, &mut writer).map_err(io_fault)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(os)?;
            rustix::fs::symlinkat(OsStr::from_bytes(target.to_bytes()), to, name).map_err(os)?;
            return own(to, name, &stat);
        }
        _ => return Ok(()),
    }
    own(to, name, &stat)?;
    // After the owner: changing it takes set-user-id bits away.
    rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty()).map_err(os)
}

fn own(directory: BorrowedFd<'_>, name: &PathBuf, stat: &Stat) -> Result<(), EngineFault> {
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(os)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_new_source_begins_with_what_the_image_has_there_and_nothing_from_outside() {
        let place = tempfile::tempdir().expect("a directory");
        let at = |path: &str| place.path().join(path);
        std::fs::create_dir_all(at("outside")).expect("made");
        std::fs::write(at("outside/secret"), "1").expect("written");
        std::fs::create_dir_all(at("root/data/sub")).expect("made");
        std::fs::write(at("root/data/sub/file"), "from the image").expect("written");
        std::fs::set_permissions(at("root/data"), PermissionsExt::from_mode(0o1777)).expect("set");
        std::fs::set_permissions(at("root/data/sub/file"), PermissionsExt::from_mode(0o640)).expect("set");
        symlink(at("outside"), at("root/data/link")).expect("made");
        symlink(at("outside"), at("root/way-out")).expect("made");
        symlink("/data/sub", at("root/way-in")).expect("made");

        populate(&at("root"), "/data", &at("volumes/a")).expect("made");
        let mode = |path: &str| at(path).metadata().expect("there").permissions().mode() & 0o7777;
        assert_eq!(std::fs::read_to_string(at("volumes/a/sub/file")).expect("there"), "from the image");
        assert_eq!((mode("volumes/a"), mode("volumes/a/sub/file")), (0o1777, 0o640));
        assert_eq!(std::fs::read_link(at("volumes/a/link")).expect("a link"), at("outside"), "a link stays a link");
        populate(&at("root"), "/way-in", &at("volumes/b")).expect("made");
        assert!(at("volumes/b/file").exists());
        for (destination, source) in [("/way-out", "volumes/c"), ("/none", "volumes/d"), ("/../outside", "volumes/e")] {
            populate(&at("root"), destination, &at(source)).expect("made");
            assert_eq!(std::fs::read_dir(at(source)).expect("a directory").count(), 0, "{destination}");
        }
        let left = std::fs::read_dir(at("volumes")).expect("a directory").count();
        assert_eq!(left, 5, "nothing half done is left");
    }
}
