//! An archive becomes a directory, all or nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use mkube_router_machine::engine::{EngineFault, ImageConfig};

use crate::archive::{Archive, io_fault};
use crate::layer::Unpacker;

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
pub fn unpack(archive: &Path, root: &Path, limits: Limits, cancelled: &AtomicBool) -> Result<ImageConfig, EngineFault> {
    let parent = root.parent().ok_or_else(|| EngineFault::Failed("the root directory has no parent".into()))?;
    let there = || EngineFault::Failed("root-dir already exists".into());
    if root.symlink_metadata().is_ok() {
        return Err(there());
    }
    std::fs::create_dir_all(parent).map_err(io_fault)?;
    let mut archive = Archive::open(archive, parent, limits.bytes, cancelled)?;
    let (mut config, layers) = archive.image()?;
    let temporary = Remover(half_done(root));
    remove(&temporary.0)?;
    std::fs::create_dir(&temporary.0).map_err(io_fault)?;
    let mut unpacker = Unpacker::new(&temporary.0, limits, cancelled)?;
    for layer in &layers {
        unpacker.layer(archive.layer(layer)?)?;
    }
    config.size = unpacker.bytes();
    if root.symlink_metadata().is_ok() {
        return Err(there());
    }
    if cancelled.load(Ordering::Relaxed) {
        return Err(EngineFault::Failed("cancelled".into()));
    }
    std::fs::rename(&temporary.0, root).map_err(io_fault)?;
    Ok(config)
}

/// Where a root directory lies until it is complete.
fn half_done(root: &Path) -> PathBuf {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    root.with_file_name(format!(".{name}.unpacking"))
}

/// Deletes a root directory, and half of one that an earlier host left.
pub fn remove_root(root: &Path) -> Result<(), EngineFault> {
    remove(&half_done(root))?;
    remove(root)
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

/// Root directories somebody works on: one thread at a time for each, also when the caller of the first has left.
#[derive(Debug, Default)]
pub struct Busy {
    roots: Mutex<HashSet<PathBuf>>,
    left: Condvar,
}

impl Busy {
    /// Waits until nobody works on `root`, then works on it.
    pub fn alone<R>(&self, root: &Path, work: impl FnOnce() -> R) -> R {
        let mut roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        while !roots.insert(root.to_owned()) {
            roots = self.left.wait(roots).unwrap_or_else(PoisonError::into_inner);
        }
        drop(roots);
        let _turn = Turn { busy: self, root };
        work()
    }
}

struct Turn<'a> {
    busy: &'a Busy,
    root: &'a Path,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.busy.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(self.root);
        self.busy.left.notify_all();
    }
}
