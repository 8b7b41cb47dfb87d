//! Image archives by reference: `<cache>/<sanitised reference>.tar`, with the digest in a `.digest` beside it.

use std::path::PathBuf;

use async_trait::async_trait;
use mkube_model::names;
use mkube_model::neighbours::tarballs::{Tarball, TarballFault, TarballSource};

use crate::paths::DiskMap;

/// Bytes of a reference; longer ones are no references.
const REFERENCE_BYTES: usize = 512;

/// A directory of archives.
#[derive(Debug, Clone)]
pub struct ArchiveCache {
    directory: PathBuf,
    map: DiskMap,
}

impl ArchiveCache {
    /// Archives in `directory`, which the device sees through `map`.
    pub fn new(directory: PathBuf, map: DiskMap) -> Self {
        Self { directory, map }
    }
}

fn check(image: &str) -> Result<(), TarballFault> {
    let bad = |why: &str| Err(TarballFault::BadReference { image: image.to_owned(), why: why.to_owned() });
    if image.is_empty() {
        return bad("it is empty");
    }
    if image.len() > REFERENCE_BYTES {
        return bad("it is too long");
    }
    match image.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-/:@".contains(*c))) {
        Some(c) => bad(&format!("{c:?} may not occur in it")),
        None => Ok(()),
    }
}

#[async_trait]
impl TarballSource for ArchiveCache {
    async fn ensure(&self, image: &str) -> Result<Tarball, TarballFault> {
        check(image)?;
        let path = self.directory.join(format!("{}.tar", names::archive_name(image)));
        match tokio::fs::metadata(&path).await {
            Ok(found) if found.is_file() && found.len() > 0 => {}
            Ok(_) => return Err(TarballFault::Unreadable(format!("{} is not an archive", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TarballFault::Missing { image: image.to_owned(), path: path.display().to_string() });
            }
            Err(error) => return Err(TarballFault::Unreadable(format!("{}: {error}", path.display()))),
        }
        let mut sidecar = path.clone().into_os_string();
        sidecar.push(".digest");
        let digest = tokio::fs::read_to_string(&sidecar).await.ok().map(|text| text.trim().to_owned());
        let digest = digest.filter(|digest| digest.starts_with("sha256:"));
        Ok(Tarball { device_path: self.map.to_device(&path), digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_archive_is_found_by_its_reference_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("hello-latest.tar"), b"x").expect("written");
        std::fs::write(directory.path().join("hello-latest.tar.digest"), b"sha256:abc\n").expect("written");
        let map = DiskMap::new(vec![(directory.path().to_owned(), "disk1/cache".into())], None);
        let cache = ArchiveCache::new(directory.path().to_owned(), map);
        let found = cache.ensure("hello:latest").await;
        assert_eq!(
            found,
            Ok(Tarball { device_path: "/disk1/cache/hello-latest.tar".into(), digest: Some("sha256:abc".into()) })
        );
        let missing = cache.ensure("nope").await.expect_err("not there").to_string();
        assert!(missing.contains("nope") && missing.contains("nope.tar"), "{missing}");
        assert!(matches!(cache.ensure("bad image").await, Err(TarballFault::BadReference { .. })));
    }
}
