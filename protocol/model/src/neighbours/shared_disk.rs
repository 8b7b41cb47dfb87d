//! The disk that mkube and the device both see: how files get into containers.

use async_trait::async_trait;

/// One file of a volume made by mkube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Path inside the volume, without a leading slash and without `..`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Contents.
    pub bytes: Vec<u8>,
}

/// Why a file could not be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct SharedDiskFault {
    /// What was being written, as mkube sees it.
    pub path: String,
    /// Cause in words.
    pub cause: String,
}

/// Writes files where the device can mount them, and knows both spellings of a path.
#[async_trait]
pub trait SharedDisk: Send + Sync {
    /// Makes the directory of a volume hold exactly these files, and returns the directory as the device spells it. Each
    /// file is replaced as a whole; files that are not listed are deleted.
    async fn write_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault>;

    /// The same for files that nobody else on the machine may read.
    async fn write_secret_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault>;

    /// Deletes what `write_volume` and `write_secret_volume` made for a container.
    async fn remove_volumes(&self, container: &str) -> Result<(), SharedDiskFault>;

    /// Whether a path of the device exists; `None` when mkube cannot see that part of the device.
    async fn exists(&self, device_path: &str) -> Option<bool>;
}
