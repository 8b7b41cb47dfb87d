//! Unpacks layers into a directory nobody can climb out of: every parent is resolved with the directory as the root, by the
//! kernel, so neither `..` nor absolute paths nor links made by the image itself lead outside.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mkube_router_machine::engine::{EngineFault, ImageConfig};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::archive::{Archive, io_fault};

/// What an image may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 2_000_000 }
    }
}

/// Unpacks `archive` into `root`, which must not exist: all or nothing. Stops early when `cancelled`.
pub fn unpack(
    archive: &Path,
    root: &Path,
    limits: Limits,
    cancelled: &Arc<AtomicBool>,
) -> Result<ImageConfig, EngineFault> {
    let parent = root.parent().ok_or_else(|| EngineFault::Failed("the root directory has no parent".into()))?;
    std::fs::create_dir_all(parent).map_err(io_fault)?;
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = Remover(parent.join(format!(".{name}.unpacking")));
    remove(&temporary.0)?;
    std::fs::create_dir(&temporary.0).map_err(io_fault)?;
    let mut archive = Archive::open(archive, parent)?;
    let (mut config, layers) = archive.image()?;
    let mut unpacker = Unpacker::new(&temporary.0, limits, cancelled.clone())?;
    for layer in &layers {
        unpacker.layer(archive.layer(layer)?)?;
    }
    config.size = unpacker.bytes;
    if root.exists() {
        return Err(EngineFault::Failed("root-dir already exists".into()));
    }
    std::fs::rename(&temporary.0, root).map_err(io_fault)?;
    Ok(config)
}

/// Deletes a tree; nothing there is success.
pub fn remove(path: &Path) -> Result<(), EngineFault> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_fault(error)),
        _ => Ok(()),
    }
}

/// Deletes what is half done.
struct Remover(PathBuf);

impl Drop for Remover {
    fn drop(&mut self) {
        if let Err(fault) = remove(&self.0) {
            tracing::warn!(%fault, path = %self.0.display(), "half an image could not be deleted");
        }
    }
}

struct Unpacker {
    root: OwnedFd,
    limits: Limits,
    bytes: u64,
    entries: u64,
    cancelled: Arc<AtomicBool>,
}

fn os(error: Errno) -> EngineFault {
    io_fault(std::io::Error::from(error))
}

fn bad(why: impl std::fmt::Display) -> EngineFault {
    EngineFault::BadArchive(why.to_string())
}

impl Unpacker {
    fn new(root: &Path, limits: Limits, cancelled: Arc<AtomicBool>) -> Result<Self, EngineFault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(os)?;
        Ok(Self { root, limits, bytes: 0, entries: 0, cancelled })
    }

    fn layer(&mut self, stream: Box<dyn Read + '_>) -> Result<(), EngineFault> {
        let mut tar = tar::Archive::new(stream);
        // What this layer itself brought: an opaque directory hides only what lay below it before.
        let mut own: HashSet<PathBuf> = HashSet::new();
        let entries = tar.entries().map_err(|error| bad(format!("a layer cannot be read: {error}")))?;
        for entry in entries {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(EngineFault::Failed("cancelled".into()));
            }
            let mut entry = entry.map_err(|error| bad(format!("a layer is damaged: {error}")))?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(bad(format!("the image has more than {} entries", self.limits.entries)));
            }
            let path = entry.path_bytes();
            let path = clean(Path::new(OsStr::from_bytes(&path)))?;
            let Some(name) = path.file_name().map(OsStr::to_owned) else { continue };
            let parent = self.parent(&path)?;
            let text = name.to_string_lossy();
            if text == ".wh..wh..opq" {
                self.make_opaque(path.parent().unwrap_or(Path::new("")), &own)?;
                continue;
            }
            if let Some(hidden) = text.strip_prefix(".wh.") {
                if hidden.is_empty() || hidden == "." || hidden == ".." {
                    return Err(bad("a whiteout without a name"));
                }
                remove_at(parent.as_fd(), OsStr::new(hidden))?;
                continue;
            }
            self.entry(&mut entry, &parent, &name)?;
            own.insert(path);
        }
        Ok(())
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
                let mut so_far = PathBuf::new();
                for part in directory.components() {
                    let inside = if so_far.as_os_str().is_empty() {
                        self.root.try_clone().map_err(io_fault)?
                    } else {
                        self.open_inside(&so_far).map_err(os)?
                    };
                    match rustix::fs::mkdirat(&inside, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(os(error)),
                    }
                    so_far.push(part);
                }
                self.open_inside(directory).map_err(os)
            }
            Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => {
                Err(bad(format!("{} does not lead to a directory of the image", directory.display())))
            }
            Err(error) => Err(os(error)),
        }
    }

    fn open_inside(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), inside)
    }

    fn entry(
        &mut self,
        entry: &mut tar::Entry<'_, Box<dyn Read + '_>>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), EngineFault> {
        let header = entry.header();
        let kind = header.entry_type();
        let mode = Mode::from_raw_mode(header.mode().map_err(bad)? & 0o7777);
        let owner = (header.uid().map_err(bad)? as u32, header.gid().map_err(bad)? as u32);
        if kind.is_dir() {
            match rustix::fs::mkdirat(parent, name, mode) {
                Ok(()) => {}
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
        remove_at(parent.as_fd(), name)?;
        match kind {
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| bad("a symbolic link without a target"))?;
                rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name).map_err(os)?;
                own(parent, name, owner)
            }
            tar::EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| bad("a hard link without a target"))?;
                let target = clean(Path::new(OsStr::from_bytes(&target)))?;
                let file = target.file_name().ok_or_else(|| bad("a hard link to nothing"))?.to_owned();
                let directory = self.parent(&target)?;
                rustix::fs::linkat(&directory, &file, parent, name, AtFlags::empty())
                    .map_err(|error| bad(format!("hard link to {}: {error}", target.display())))
            }
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(os)?;
                let mut file = std::fs::File::from(file);
                let room = self.limits.bytes.saturating_sub(self.bytes);
                let written = std::io::copy(&mut entry.take(room + 1), &mut file).map_err(io_fault)?;
                if written > room {
                    return Err(bad(format!("the image is larger than {} bytes", self.limits.bytes)));
                }
                self.bytes += written;
                rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).map_err(os)?;
                // After the owner: changing it takes set-user-id bits away.
                rustix::fs::fchmod(&file, mode).map_err(os)
            }
            // Device nodes are made by the runtime, not by images; the rest says nothing to a directory.
            _ => Ok(()),
        }
    }

    /// Removes what lower layers put into a directory.
    fn make_opaque(&self, directory: &Path, own: &HashSet<PathBuf>) -> Result<(), EngineFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let opened = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), inside).map_err(os)?;
        let listing = rustix::fs::Dir::read_from(&opened).map_err(os)?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(os)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        for name in names.iter().filter(|name| !own.contains(&directory.join(name))) {
            remove_at(opened.as_fd(), name)?;
        }
        Ok(())
    }
}

fn own(parent: &OwnedFd, name: &OsStr, owner: (u32, u32)) -> Result<(), EngineFault> {
    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::chownat(parent, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(os)
}

/// Removes a name and everything below it, following no link.
fn remove_at(parent: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> Result<(), EngineFault> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(os(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(os)?;
    let listing = rustix::fs::Dir::read_from(&opened).map_err(os)?;
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(os)?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            names.push(OsStr::from_bytes(bytes).to_owned());
        }
    }
    for name in names {
        remove_at(opened.as_fd(), &name)?;
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
