//! Where image archives come from.

use async_trait::async_trait;

/// An image archive lying where the device can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// Path as the device spells it, for the `file` property of `/container`.
    pub device_path: String,
    /// Digest (`sha256:…`) of the manifest the archive was made from, when known.
    pub digest: Option<String>,
}

/// Why there is no archive to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarballFault {
    /// Nothing is cached under that reference, and nothing can fetch it.
    #[error("no archive for image {image} at {path}")]
    Missing {
        /// The reference as the pod wrote it.
        image: String,
        /// Where it was looked for.
        path: String,
    },
    /// The reference cannot be parsed.
    #[error("image reference {image:?} is not valid: {why}")]
    BadReference {
        /// The reference as the pod wrote it.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cache could not be read.
    #[error("image cache cannot be read: {0}")]
    Unreadable(String),
}

/// Finds, or fetches, the archive of an image.
#[async_trait]
pub trait TarballSource: Send + Sync {
    /// The archive of `image`, ready for the device to read.
    async fn ensure(&self, image: &str) -> Result<Tarball, TarballFault>;
}
