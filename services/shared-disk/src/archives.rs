//! Image archives by reference: `<cache>/<sanitised reference>.tar`, with the digest in a `.digest` beside it.

use std::path::PathBuf;

use async_trait::async_trait;
use mkube_model::names;
use mkube_model::neighbours::tarballs::{
    Archive, CachedImage, ImageRequest, InUse, ProgressSink, TarballFault, TarballSource,
};

/// Bytes of a reference; longer ones are no references.
const REFERENCE_BYTES: usize = 512;

/// A directory of archives.
#[derive(Debug, Clone)]
pub struct ArchiveCache {
    directory: PathBuf,
}

impl ArchiveCache {
    /// Archives in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
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
    async fn ensure(&self, request: &ImageRequest, _progress: ProgressSink) -> Result<Archive, TarballFault> {
        let image = &request.image;
        check(image)?;
        let path = self.directory.join(format!("{}.tar", names::archive_name(image)));
        let bytes = match tokio::fs::metadata(&path).await {
            Ok(found) if found.is_file() && found.len() > 0 => found.len(),
            Ok(_) => return Err(TarballFault::Unreadable(format!("{} is not an archive", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TarballFault::Missing { image: image.to_owned(), path: path.display().to_string() });
            }
            Err(error) => return Err(TarballFault::Unreadable(format!("{}: {error}", path.display()))),
        };
        let mut sidecar = path.clone().into_os_string();
        sidecar.push(".digest");
        let digest = tokio::fs::read_to_string(&sidecar).await.ok().map(|text| text.trim().to_owned());
        let digest = digest.filter(|digest| digest.starts_with("sha256:"));
        Ok(Archive { path, digest, bytes, stale: None })
    }

    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault> {
        Err(TarballFault::Missing { image: request.image.clone(), path: self.directory.display().to_string() })
    }

    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault> {
        Ok(Vec::new())
    }

    async fn collect(&self, _in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::neighbours::tarballs::PullPolicy;

    #[tokio::test]
    async fn an_archive_is_found_by_its_reference_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("hello-latest.tar"), b"x").expect("written");
        std::fs::write(directory.path().join("hello-latest.tar.digest"), b"sha256:abc\n").expect("written");
        let cache = ArchiveCache::new(directory.path().to_owned());
        let ensure = async |image: &str| {
            let request =
                ImageRequest { image: image.into(), digest: None, policy: PullPolicy::Never, credentials: vec![] };
            cache.ensure(&request, std::sync::Arc::new(|_| {})).await
        };
        let found = ensure("hello:latest").await.expect("there");
        let digest = found.digest.as_deref();
        assert_eq!((found.path, digest), (directory.path().join("hello-latest.tar"), Some("sha256:abc")));
        let missing = ensure("nope").await.expect_err("not there").to_string();
        assert!(missing.contains("nope") && missing.contains("nope.tar"), "{missing}");
        assert!(matches!(ensure("bad image").await, Err(TarballFault::BadReference { .. })));
    }
}
