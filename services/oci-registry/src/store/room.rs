//! How much may still be written: the quota, and what of the disk must stay free.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::Fault;
use crate::store::StoreOptions;

/// Bytes used, and the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of blobs, manifests and uploads.
    pub used: u64,
    /// That may be used.
    pub quota: Option<u64>,
}

/// Counts what is written.
pub struct Room {
    root: PathBuf,
    quota: Option<u64>,
    keep_free: u64,
    used: AtomicU64,
}

impl Room {
    pub fn new(options: &StoreOptions, used: u64) -> Self {
        let StoreOptions { root, quota, keep_free, .. } = options.clone();
        Self { root, quota, keep_free, used: AtomicU64::new(used) }
    }

    pub fn usage(&self) -> Usage {
        Usage { used: self.used.load(Ordering::Relaxed), quota: self.quota }
    }

    /// Whether so many bytes more would fit. Asks the disk.
    pub fn check(&self, bytes: u64) -> Result<(), Fault> {
        let used = self.used.load(Ordering::Relaxed);
        self.fits(used.saturating_add(bytes))?;
        let disk = rustix::fs::statvfs(&self.root)
            .map_err(|error| Fault::disk(format!("cannot ask how full {} is", self.root.display()))(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(self.keep_free) {
            return Err(Fault::NoRoom(format!("{free} bytes of the disk are free and {} stay so", self.keep_free)));
        }
        Ok(())
    }

    fn fits(&self, used: u64) -> Result<(), Fault> {
        match self.quota {
            Some(quota) if used > quota => Err(Fault::NoRoom(format!("the registry may use {quota} bytes"))),
            _ => Ok(()),
        }
    }

    /// Counts bytes that are about to be written.
    pub fn take(&self, bytes: u64) -> Result<(), Fault> {
        self.check(bytes)?;
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        // Another writer may have been quicker.
        self.fits(before.saturating_add(bytes)).inspect_err(|_| self.give_back(bytes))
    }

    /// These bytes are gone.
    pub fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // Cannot fail: the closure always has a value.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
