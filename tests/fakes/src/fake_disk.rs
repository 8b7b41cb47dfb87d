//! Volumes in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use mkube_model::neighbours::shared_disk::{FoundVolume, SharedDisk, SharedDiskFault, SourceDirectory, VolumeFile};

use crate::fake_router::FakeRouter;
use crate::relay::Crossings;

#[derive(Default)]
struct Inner {
    /// Files by container and volume.
    volumes: BTreeMap<(String, String), Vec<VolumeFile>>,
    /// Directories that were mounted, and whether they go with their pod.
    sources: BTreeMap<String, bool>,
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

    /// Directories that were mounted and are there.
    pub fn directories(&self) -> Vec<String> {
        self.inner().sources.keys().cloned().collect()
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

    fn made_path(&self, container: &str, volume: &str, _secret: bool) -> String {
        format!("/files/{container}/{volume}")
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

    async fn ensure_source(&self, source: &SourceDirectory) -> Result<bool, SharedDiskFault> {
        self.pass("before ensure_source").await;
        let mut inner = self.inner();
        let known = inner.sources.contains_key(&source.path);
        if !source.make && !known {
            return Err(SharedDiskFault { path: source.path.clone(), cause: "is not there".into() });
        }
        if !known {
            inner.sources.insert(source.path.clone(), source.scratch);
        }
        Ok(self.device.is_some())
    }

    async fn remove_scratch(&self, path: &str) -> Result<bool, SharedDiskFault> {
        self.pass("before remove_scratch").await;
        let mut inner = self.inner();
        let made = inner.sources.get(path) == Some(&true);
        if made {
            inner.sources.remove(path);
        }
        Ok(made)
    }

    async fn found_volumes(&self, base: &str) -> Result<Option<Vec<FoundVolume>>, SharedDiskFault> {
        let inner = self.inner();
        let found = inner.sources.keys().filter_map(|path| {
            let (container, volume) = path.strip_prefix(base)?.trim_matches('/').split_once('/')?;
            let (container, volume) = (container.to_owned(), volume.to_owned());
            Some(FoundVolume { container, volume, path: path.clone(), bytes: Some(0) })
        });
        Ok(self.device.is_some().then(|| found.collect()))
    }
}
