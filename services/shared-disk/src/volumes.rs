//! Files of volumes that mkube makes, from ConfigMaps and Secrets: one directory for each container and volume.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use mkube_model::disk_map::DiskMap;
use mkube_model::neighbours::shared_disk::{FoundVolume, SharedDisk, SharedDiskFault, SourceDirectory, VolumeFile};

use crate::directories;

/// Directories of volumes.
#[derive(Debug, Clone)]
pub struct VolumeFiles {
    directory: PathBuf,
    /// Of secret ones; the directories of containers in it are closed to everybody else.
    secrets: PathBuf,
    map: DiskMap,
}

impl VolumeFiles {
    /// Volumes below `directory`, secret ones in `secrets` beside it; the device sees both through `map`.
    pub fn new(directory: PathBuf, map: DiskMap) -> Self {
        let secrets = directory.with_file_name("secrets");
        Self { directory, secrets, map }
    }
}

pub(crate) fn fault(path: &Path, cause: impl std::fmt::Display) -> SharedDiskFault {
    SharedDiskFault { path: path.display().to_string(), cause: cause.to_string() }
}

fn write_all(directory: &Path, files: &[VolumeFile]) -> Result<(), SharedDiskFault> {
    std::fs::create_dir_all(directory).map_err(|error| fault(directory, error))?;
    let mut kept = HashSet::new();
    for file in files {
        let relative = Path::new(&file.path);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(fault(relative, "leads outside of the volume"));
        }
        let path = directory.join(relative);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| fault(parent, error))?;
        }
        // Replaced as a whole: a container never reads half a file.
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let written = std::fs::write(&temporary, &file.bytes)
            .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(file.mode)))
            .and_then(|()| std::fs::rename(&temporary, &path));
        written.map_err(|error| fault(&path, error))?;
        kept.insert(path);
    }
    remove_others(directory, &kept)
}

/// A directory that only its owner enters.
fn make_private(directory: &Path) -> Result<(), SharedDiskFault> {
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)))
        .map_err(|error| fault(directory, error))
}

fn remove_all(directory: &Path) -> Result<(), SharedDiskFault> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(directory, error)),
        _ => Ok(()),
    }
}

fn remove_others(directory: &Path, kept: &HashSet<PathBuf>) -> Result<(), SharedDiskFault> {
    let entries = std::fs::read_dir(directory).map_err(|error| fault(directory, error))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if kept.contains(&path) {
            continue;
        }
        let removed = if path.is_dir() {
            if kept.iter().any(|file| file.starts_with(&path)) {
                remove_others(&path, kept)?;
                continue;
            }
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|error| fault(&path, error))?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SharedDiskFault> + Send + 'static,
) -> Result<T, SharedDiskFault> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(fault(Path::new(""), error)))
}

#[async_trait]
impl SharedDisk for VolumeFiles {
    async fn write_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        let directory = self.directory.join(container).join(volume);
        let device = self.map.to_device(&directory);
        blocking(move || write_all(&directory, &files)).await?;
        Ok(device)
    }

    async fn write_secret_volume(
        &self,
        container: &str,
        volume: &str,
        files: Vec<VolumeFile>,
    ) -> Result<String, SharedDiskFault> {
        // What is mounted is the directory inside: a process in the container that is not root reads it all the same.
        let (top, private) = (self.secrets.clone(), self.secrets.join(container));
        let directory = private.join(volume);
        let device = self.map.to_device(&directory);
        blocking(move || {
            make_private(&top)?;
            make_private(&private)?;
            write_all(&directory, &files)
        })
        .await?;
        Ok(device)
    }

    fn made_path(&self, container: &str, volume: &str, secret: bool) -> String {
        let top = if secret { &self.secrets } else { &self.directory };
        self.map.to_device(&top.join(container).join(volume))
    }

    async fn remove_volumes(&self, container: &str) -> Result<(), SharedDiskFault> {
        let (plain, secret) = (self.directory.join(container), self.secrets.join(container));
        blocking(move || remove_all(&plain).and_then(|()| remove_all(&secret))).await
    }

    async fn exists(&self, device_path: &str) -> Option<bool> {
        let local = self.map.to_local(device_path)?;
        tokio::fs::try_exists(local).await.ok()
    }

    async fn ensure_source(&self, source: &SourceDirectory) -> Result<bool, SharedDiskFault> {
        let Some(local) = self.map.to_local(&source.path) else { return Ok(false) };
        let source = source.clone();
        blocking(move || directories::ensure(&local, &source)).await?;
        Ok(true)
    }

    async fn remove_scratch(&self, path: &str) -> Result<bool, SharedDiskFault> {
        let Some(local) = self.map.to_local(path) else { return Ok(false) };
        blocking(move || directories::remove_scratch(&local)).await
    }

    async fn found_volumes(&self, base: &str) -> Result<Option<Vec<FoundVolume>>, SharedDiskFault> {
        let Some(local) = self.map.to_local(base) else { return Ok(None) };
        let map = self.map.clone();
        let mut found = blocking({
            let map = map.clone();
            move || directories::found(&local, &|path| map.to_device(path))
        })
        .await?;
        // What is mounted into mkube itself is no volume of a pod, and not unused either.
        found.retain(|one| !map.is_ours(&one.path));
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> VolumeFile {
        VolumeFile { path: path.into(), mode: 0o640, bytes: text.into() }
    }

    #[tokio::test]
    async fn secret_files_lie_apart_where_nobody_else_comes() {
        let root = tempfile::tempdir().expect("a directory");
        let map = DiskMap::new(vec![(root.path().to_owned(), "disk1".into())], None);
        let disk = VolumeFiles::new(root.path().join("configmaps"), map);
        let written = disk.write_secret_volume("c", "v", vec![file("key", "hunter2")]).await;
        assert_eq!(written, Ok("/disk1/secrets/c/v".into()));
        let mode = |path: &str| std::fs::metadata(root.path().join(path)).expect("there").permissions().mode() & 0o777;
        assert_eq!([mode("secrets"), mode("secrets/c"), mode("secrets/c/v/key")], [0o700, 0o700, 0o640]);
        disk.remove_volumes("c").await.expect("removed");
        assert!(!root.path().join("secrets/c").exists());
    }

    #[tokio::test]
    async fn a_volume_holds_exactly_its_files() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = VolumeFiles::new(
            root.path().to_owned(),
            DiskMap::new(vec![(root.path().to_owned(), "disk1/cm".into())], None),
        );
        let write = |files: Vec<VolumeFile>| disk.write_volume("c", "v", files);
        assert_eq!(write(vec![file("a", "1"), file("d/b", "2")]).await, Ok("/disk1/cm/c/v".into()));
        write(vec![file("d/c", "3")]).await.expect("written");
        let volume = root.path().join("c/v");
        assert!(!volume.join("a").exists() && !volume.join("d/b").exists());
        let mode = std::fs::metadata(volume.join("d/c")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(write(vec![file("../x", "evil")]).await.is_err());
        assert_eq!(disk.exists("disk1/cm/c/v").await, Some(true));
        assert_eq!(disk.exists("elsewhere").await, None);
        disk.remove_volumes("c").await.expect("removed");
        assert_eq!(disk.exists("disk1/cm/c").await, Some(false));
    }
}
