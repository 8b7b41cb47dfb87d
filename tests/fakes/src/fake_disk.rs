//! Volumes in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use mkube_model::neighbours::shared_disk::{SharedDisk, SharedDiskFault, VolumeFile};

use crate::fake_router::FakeRouter;
use crate::relay::Crossings;

#[derive(Default)]
struct Inner {
    /// Files by container and volume.
    volumes: HashMap<(String, String), Vec<VolumeFile>>,
    failing: Option<String>,
    crossings: Option<Crossings>,
}

/// A disk shared with a fake device.
pub struct FakeDisk {
    inner: Mutex<Inner>,
    /// `None`: this disk cannot see the device's directories.
    device: Option<FakeRouter>,
}

impl FakeDisk {
    /// A disk that sees what the device has.
    pub fn shared_with(device: &FakeRouter) -> Self {
        Self { inner: Mutex::default(), device: Some(device.clone()) }
    }

    /// A disk that cannot see the device's directories.
    pub fn blind() -> Self {
        Self { inner: Mutex::default(), device: None }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call passes these crossings too.
    pub fn set_crossings(&self, crossings: Crossings) {
        self.inner().crossings = Some(crossings);
    }

    /// Every write fails with this cause until `None` is set.
    pub fn set_failing(&self, cause: Option<&str>) {
        self.inner().failing = cause.map(str::to_owned);
    }

    /// The text of a file of a volume.
    pub fn text(&self, container: &str, volume: &str, file: &str) -> Option<String> {
        let inner = self.inner();
        let files = inner.volumes.get(&(container.to_owned(), volume.to_owned()))?;
        let found = files.iter().find(|one| one.path == file)?;
        String::from_utf8(found.bytes.clone()).ok()
    }

    /// Containers that have files.
    pub fn containers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.inner().volumes.keys().map(|(container, _)| container.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    async fn pass(&self, what: &str) {
        let crossings = self.inner().crossings.clone();
        if let Some(crossings) = crossings {
            crossings.pass(what).await;
        }
    }
}

#[async_trait]
impl SharedDisk for FakeDisk {
    async fn write_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        self.pass("before write_volume").await;
        let path = format!("/files/{container}/{volume}");
        {
            let mut inner = self.inner();
            if let Some(cause) = inner.failing.clone() {
                return Err(SharedDiskFault { path, cause });
            }
            inner.volumes.insert((container.to_owned(), volume.to_owned()), files);
        }
        self.pass("after write_volume").await;
        Ok(path)
    }

    async fn write_secret_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        self.write_volume(container, volume, files).await
    }

    async fn remove_volumes(&self, container: &str) -> Result<(), SharedDiskFault> {
        self.pass("before remove_volumes").await;
        self.inner().volumes.retain(|(owner, _), _| owner != container);
        self.pass("after remove_volumes").await;
        Ok(())
    }

    async fn exists(&self, device_path: &str) -> Option<bool> {
        self.device.as_ref().map(|device| device.has_file(device_path))
    }
}
