//! Unpacks layers into a directory nobody can climb out of: every parent is resolved with the directory as the root, by the
//! kernel, so neither `..` nor absolute paths nor links made by the image itself lead outside.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use mkube_router_machine::engine::EngineFault;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::archive::io_fault;
use crate::metered::{self, Meter, Metered};
use crate::unpack::Limits;

/// Directories inside one another. More could not be deleted again: each level costs an open file.
const DEPTH: usize = 200;
/// Bytes of all names of one layer.
const NAMES: usize = 256 << 20;

type Entry<'a, 'b> = tar::Entry<'a, Metered<Box<dyn Read + 'b>>>;

pub struct Unpacker<'a> {
    root: OwnedFd,
    limits: Limits,
    bytes: u64,
    entries: u64,
    cancelled: &'a AtomicBool,
}

fn os(error: Errno) -> EngineFault {
    io_fault(std::io::Error::from(error))
}

fn bad(why: impl std::fmt::Display) -> EngineFault {
    EngineFault::BadArchive(why.to_string())
}

/// An error of walking a path the image chose.
fn leads_nowhere(path: &Path, error: Errno) -> EngineFault {
    match error {
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NOENT | Errno::EXIST | Errno::ACCESS => {
            bad(format!("{} does not lead to a directory of the image", path.display()))
        }
        error => os(error),
    }
}

impl<'a> Unpacker<'a> {
    /// Unpacks into `root`, an empty directory.
    pub fn new(root: &Path, limits: Limits, cancelled: &'a AtomicBool) -> Result<Self, EngineFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(os)?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(os)?;
        Ok(Self { root, limits, bytes: 0, entries: 0, cancelled })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts a layer over what is there.
    pub fn layer(&mut self, stream: Box<dyn Read + '_>) -> Result<(), EngineFault> {
        let meter = Meter::new();
        let mut tar = tar::Archive::new(Metered::new(stream, meter.clone()));
        // What this layer itself brought: its whiteouts hide only what lay below it.
        let mut own: BTreeSet<PathBuf> = BTreeSet::new();
        let mut names = 0;
        let damaged = |error: std::io::Error| bad(format!("a layer is damaged: {error}"));
        let mut entries = tar.entries().map_err(damaged)?;
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(EngineFault::Failed("cancelled".into()));
            }
            meter.expect_headers();
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry.map_err(damaged)?;
            meter.expect_contents();
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(bad(format!("the image has more than {} entries", self.limits.entries)));
            }
            if let Some(path) = self.place(&mut entry, &own)? {
                names += path.as_os_str().len();
                if names > NAMES {
                    return Err(bad("the names of a layer are too long"));
                }
                own.insert(path);
            }
            // Whatever else an entry holds is read here, so that what follows is the next header.
            metered::copy(&mut entry, &mut std::io::sink(), self.limits.bytes, "an entry", self.cancelled)?;
        }
    }

    /// Puts one entry where it belongs; its path, if it is something that is there now.
    fn place(&mut self, entry: &mut Entry<'_, '_>, own: &BTreeSet<PathBuf>) -> Result<Option<PathBuf>, EngineFault> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(None);
        }
        let path = clean(Path::new(OsStr::from_bytes(&entry.path_bytes())))?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else { return Ok(None) };
        let parent = self.parent(&path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        if name == ".wh..wh..opq" {
            hide_below(parent.as_fd(), directory, own)?;
            return Ok(None);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(bad("a whiteout without a name"));
            }
            let hidden = OsStr::from_bytes(hidden);
            hide(parent.as_fd(), hidden, &directory.join(hidden), own)?;
            return Ok(None);
        }
        self.entry(entry, &parent, &name)?;
        Ok(Some(path))
    }

    /// The directory an entry lies in, made if missing, found without leaving the root.
    fn parent(&self, path: &Path) -> Result<OwnedFd, EngineFault> {
        let directory = path.parent().unwrap_or(Path::new(""));
        if directory.as_os_str().is_empty() {
            return self.root.try_clone().map_err(io_fault);
        }
        match self.open_inside(directory) {
            Ok(found) => Ok(found),
            Err(Errno::NOENT) => {
                let mut inside = self.root.try_clone().map_err(io_fault)?;
                let mut so_far = PathBuf::new();
                for part in directory.components() {
                    match rustix::fs::mkdirat(&inside, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                        Ok(()) => not_too_deep(inside.as_fd())?,
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(os(error)),
                    }
                    so_far.push(part);
                    inside = self.open_inside(&so_far).map_err(|error| leads_nowhere(&so_far, error))?;
                }
                Ok(inside)
            }
            Err(error) => Err(leads_nowhere(directory, error)),
        }
    }

    fn open_inside(&self, path: &Path) -> Result<OwnedFd, Errno> {
        open_inside(&self.root, path)
    }

    fn entry(&mut self, entry: &mut Entry<'_, '_>, parent: &OwnedFd, name: &OsStr) -> Result<(), EngineFault> {
        let header = entry.header();
        let kind = header.entry_type();
        let mode = Mode::from_raw_mode(header.mode().map_err(bad)? & 0o7777);
        let number = |id: std::io::Result<u64>| {
            let id = id.map_err(bad)?;
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| bad(format!("{id} is no user or group")))
        };
        let owner = (number(header.uid())?, number(header.gid())?);
        let modified = header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok());
        let times = Timespec { tv_sec: modified.unwrap_or(0).min(MAX_TIME), tv_nsec: 0 };
        let times = Timestamps { last_access: times, last_modification: times };
        if kind.is_dir() {
            match rustix::fs::mkdirat(parent, name, mode) {
                Ok(()) => not_too_deep(parent.as_fd())?,
                Err(Errno::EXIST) => {
                    // A directory over a directory keeps its contents; over anything else it replaces it.
                    let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
                    if !rustix::fs::FileType::from_raw_mode(there.st_mode).is_dir() {
                        remove_at(parent.as_fd(), name)?;
                        rustix::fs::mkdirat(parent, name, mode).map_err(os)?;
                    }
                }
                Err(error) => return Err(os(error)),
            }
            own(parent, name, owner)?;
            return rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).map_err(os);
        }
        match kind {
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| bad("a symbolic link without a target"))?;
                remove_at(parent.as_fd(), name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name).map_err(os)?;
                own(parent, name, owner)?;
                rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(os)
            }
            tar::EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| bad("a hard link without a target"))?;
                let target = clean(Path::new(OsStr::from_bytes(&target)))?;
                let file = target.file_name().ok_or_else(|| bad("a hard link to nothing"))?.to_owned();
                let directory = self.parent(&target)?;
                let refused = |error| bad(format!("hard link to {}: {error}", target.display()));
                // The target first: a link to itself must not take away what it names.
                rustix::fs::statat(&directory, &file, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
                remove_at(parent.as_fd(), name)?;
                rustix::fs::linkat(&directory, &file, parent, name, AtFlags::empty()).map_err(refused)
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let room = self.limits.bytes.saturating_sub(self.bytes);
                let too_large = format!("the image is larger than {} bytes", self.limits.bytes);
                if entry.size() > room {
                    return Err(bad(too_large));
                }
                remove_at(parent.as_fd(), name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(os)?;
                let mut file = std::fs::File::from(file);
                let size = entry.size();
                let written = metered::copy(entry, &mut file, room, "the image", self.cancelled)?;
                if written < size {
                    return Err(bad("a layer is damaged: a file ends too early"));
                }
                self.bytes += written;
                rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).map_err(os)?;
                // After the owner: changing it takes set-user-id bits and capabilities away.
                rustix::fs::fchmod(&file, mode).map_err(os)?;
                if let Some(capability) = capability(entry)? {
                    let set = rustix::fs::fsetxattr(&file, CAPABILITY, &capability, XattrFlags::empty());
                    if let Err(error) = set {
                        tracing::warn!(%error, "the disk keeps no file capabilities: a program of an image goes without");
                    }
                }
                rustix::fs::futimens(&file, &times).map_err(os)
            }
            // Device nodes are made by the runtime, not by images; the rest says nothing to a directory.
            _ => Ok(()),
        }
    }
}

/// Attribute of a program that may do more than its user.
const CAPABILITY: &str = "security.capability";

/// File capabilities, as archives carry them.
fn capability(entry: &mut Entry<'_, '_>) -> Result<Option<Vec<u8>>, EngineFault> {
    let Some(extensions) = entry.pax_extensions().map_err(bad)? else { return Ok(None) };
    for extension in extensions {
        let extension = extension.map_err(bad)?;
        if extension.key_bytes() == b"SCHILY.xattr.security.capability" {
            return Ok(Some(extension.value_bytes().to_vec()));
        }
    }
    Ok(None)
}

/// Opens a directory with `root` as the root of everything, links included.
pub fn open_inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), inside)
}

/// Times a file system of 32 bits can still hold.
const MAX_TIME: i64 = 0x7fff_ffff;

/// Refuses a directory in `parent` when it would lie too deep below the root.
fn not_too_deep(parent: BorrowedFd<'_>) -> Result<(), EngineFault> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", parent.as_raw_fd()));
    let deep = path.as_ref().map_or(usize::MAX, |path| path.components().count());
    if deep > DEPTH { Err(bad(format!("directories lie more than {DEPTH} deep"))) } else { Ok(()) }
}

fn own(parent: &OwnedFd, name: &OsStr, owner: (u32, u32)) -> Result<(), EngineFault> {
    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(os)
}

/// The names in a directory.
pub fn names_in(directory: &OwnedFd) -> Result<Vec<PathBuf>, EngineFault> {
    let listing = rustix::fs::Dir::read_from(directory).map_err(os)?;
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(os)?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            names.push(PathBuf::from(OsStr::from_bytes(bytes)));
        }
    }
    Ok(names)
}

/// Opens a directory by its name, following no link.
pub fn directory_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes what lower layers put into a directory; what this layer put there stays.
fn hide_below(directory: BorrowedFd<'_>, path: &Path, own: &BTreeSet<PathBuf>) -> Result<(), EngineFault> {
    let opened = directory_at(directory, OsStr::new(".")).map_err(os)?;
    for name in names_in(&opened)? {
        hide(opened.as_fd(), name.as_os_str(), &path.join(&name), own)?;
    }
    Ok(())
}

/// Removes what lower layers put at a name.
fn hide(parent: BorrowedFd<'_>, name: &OsStr, path: &Path, own: &BTreeSet<PathBuf>) -> Result<(), EngineFault> {
    let first = own.range(path.to_owned()..).next();
    if !first.is_some_and(|one| one.starts_with(path)) {
        return remove_at(parent, name);
    }
    match directory_at(parent, name) {
        Ok(inside) => hide_below(inside.as_fd(), path, own),
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Ok(()),
        Err(error) => Err(os(error)),
    }
}

/// Removes a name and everything below it, following no link.
fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), EngineFault> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(os(error)),
    }
    let opened = directory_at(parent, name).map_err(os)?;
    for inside in names_in(&opened)? {
        remove_at(opened.as_fd(), inside.as_os_str())?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(os)
}

/// A path below the root: absolute ones are taken from the root, `..` is refused.
fn clean(path: &Path) -> Result<PathBuf, EngineFault> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(bad(format!("path {} leads outside of the image", path.display()))),
        }
    }
    Ok(clean)
}
