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

/// A directory of the device that a container mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDirectory {
    /// The volume's own directory, as the device spells it.
    pub path: String,
    /// Path inside it, empty for all of it.
    pub inside: String,
    /// It is made when it is missing; else it must be there.
    pub make: bool,
    /// It goes with its pod.
    pub scratch: bool,
}

/// A directory found where plain volumes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVolume {
    /// Name of the container's row.
    pub container: String,
    /// Name of the volume.
    pub volume: String,
    /// As the device spells it.
    pub path: String,
    /// Bytes of the files in it; `None` when there are too many to count.
    pub bytes: Option<u64>,
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

    /// Where `write_volume`, or for secrets `write_secret_volume`, puts a volume, as the device spells it.
    fn made_path(&self, container: &str, volume: &str, secret: bool) -> String;

    /// Deletes what `write_volume` and `write_secret_volume` made for a container.
    async fn remove_volumes(&self, container: &str) -> Result<(), SharedDiskFault>;

    /// Whether a path of the device exists; `None` when mkube cannot see that part of the device.
    async fn exists(&self, device_path: &str) -> Option<bool>;

    /// The source of a mount is there and lies inside its volume, links followed; false when mkube cannot see that part of the
    /// device.
    async fn ensure_source(&self, source: &SourceDirectory) -> Result<bool, SharedDiskFault>;

    /// Deletes a directory that `ensure_source` made as one that goes with its pod. Any other stays: false.
    async fn remove_scratch(&self, path: &str) -> Result<bool, SharedDiskFault>;

    /// The directories `<base>/<container>/<volume>`; `None` when mkube cannot see that part of the device. Slow.
    async fn found_volumes(&self, base: &str) -> Result<Option<Vec<FoundVolume>>, SharedDiskFault>;
}
