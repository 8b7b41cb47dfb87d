//! Where image archives come from: registries on one side, a directory of archives on the other.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::secret::Secret;

/// When a registry is asked, `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// The registry decides which image a tag means; what is cached under its digest is not pulled again.
    Always,
    /// What is cached under the reference will do.
    IfNotPresent,
    /// Only what is cached.
    Never,
}

/// A user and password for a registry, as pull secrets name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryCredential {
    /// `host[:port]`, or that and the beginning of a repository.
    pub registry: String,
    /// User.
    pub user: String,
    /// Password or token.
    pub password: Secret,
}

/// Which image is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Reference as the pod wrote it.
    pub image: String,
    /// The manifest to run whatever the tag means today, `sha256:…`: set by rollouts and when one is put back.
    pub digest: Option<String>,
    /// When the registry is asked.
    pub policy: PullPolicy,
    /// The pod's own credentials, tried before those of the configuration.
    pub credentials: Vec<RegistryCredential>,
}

/// An image archive as mkube sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Path as mkube spells it.
    pub path: PathBuf,
    /// Digest (`sha256:…`) of the platform's manifest the archive was made from, when known.
    pub digest: Option<String>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Why the archive may not be what the registry has now, when it could not be asked.
    pub stale: Option<String>,
}

/// An image archive lying where the device can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tarball {
    /// Path as the device spells it, for the `file` property of `/container`.
    pub device_path: String,
    /// Digest (`sha256:…`) of the platform's manifest the archive was made from, when known.
    pub digest: Option<String>,
    /// See [`Archive::stale`].
    pub stale: Option<String>,
    /// Size of the archive in bytes; 0 when it is not known.
    pub bytes: u64,
    /// Whether it was downloaded for this request; it was there already otherwise.
    pub pulled: bool,
}

/// Why there is no archive to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarballFault {
    /// Nothing is cached under that reference, and nothing may fetch it.
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
    /// The registry has no such image.
    #[error("{registry} has no image {image}")]
    NotFound {
        /// The reference as the pod wrote it.
        image: String,
        /// Who was asked.
        registry: String,
    },
    /// The image is not made for the device.
    #[error("image {image} is not made for {wanted}, only for {available}")]
    WrongPlatform {
        /// The reference as the pod wrote it.
        image: String,
        /// `os/architecture` of the device.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// The registry refuses to give it to us.
    #[error("{registry} does not give out image {image}: {why}")]
    Denied {
        /// The reference as the pod wrote it.
        image: String,
        /// Who was asked.
        registry: String,
        /// Its words.
        why: String,
    },
    /// The registry cannot be reached, is overloaded or broke off. Worth another try.
    #[error("{registry} cannot be asked for image {image}: {why}")]
    Unreachable {
        /// The reference as the pod wrote it.
        image: String,
        /// Who was asked.
        registry: String,
        /// What happened.
        why: String,
    },
    /// What came is not what was promised, or is harmful: a wrong digest, a damaged layer, a bomb, a path that leads out.
    #[error("image {image} is not usable: {why}")]
    Unusable {
        /// The reference as the pod wrote it.
        image: String,
        /// What is wrong with it, naming layer and entry.
        why: String,
    },
    /// There is no room for it.
    #[error("no room for image {image}: {why}")]
    NoRoom {
        /// The reference as the pod wrote it.
        image: String,
        /// How much is wanted, and how much there is.
        why: String,
    },
    /// The archive is there and could not be brought to the device.
    #[error("image {image} could not be brought to the device: {why}")]
    NotDelivered {
        /// The reference as the pod wrote it.
        image: String,
        /// The device's words.
        why: String,
    },
    /// The cache could not be read or written.
    #[error("image cache cannot be used: {0}")]
    Unreadable(String),
}

/// How far a pull has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The reference as the pod wrote it.
    pub image: String,
    /// The manifest, once it is known.
    pub digest: Option<String>,
    /// What is being done.
    pub phase: PullPhase,
    /// Bytes of layers that are here.
    pub done_bytes: u64,
    /// Bytes of all layers, once they are known.
    pub total_bytes: Option<u64>,
}

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPhase {
    /// Asks the registry what the reference means.
    Resolving,
    /// Downloads layers.
    Downloading,
    /// Writes the archive.
    Converting,
}

/// Who is told how far pulls have come. Must return at once.
pub type ProgressSink = Arc<dyn Fn(PullProgress) + Send + Sync>;

/// An archive of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedImage {
    /// References that mean it, as pods wrote them, sorted; empty when only its digest is known.
    pub references: Vec<String>,
    /// Digest of its manifest, when known.
    pub digest: Option<String>,
    /// Path as mkube spells it.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was pulled, if known.
    pub pulled_at: Option<Timestamp>,
    /// When it was last asked for, if known.
    pub last_used: Option<Timestamp>,
}

/// What must not be collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Archives that containers name as their file, as mkube spells them.
    pub paths: BTreeSet<PathBuf>,
    /// Digests that pods run, should run, or would be put back to.
    pub digests: BTreeSet<String>,
    /// References that pods name.
    pub references: BTreeSet<String>,
}

/// Finds, or fetches, archives of images; keeps them, and lets go of those nobody needs.
#[async_trait]
pub trait TarballSource: Send + Sync {
    /// The archive of an image, whole and checked. Equal requests share the work. `progress` hears of it while it is pulled.
    async fn ensure(&self, request: &ImageRequest, progress: ProgressSink) -> Result<Archive, TarballFault>;

    /// The digest of the platform's manifest that the registry has for the reference now. Downloads no layer.
    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault>;

    /// Everything that is cached.
    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault>;

    /// Deletes what is not in use and falls under the rules of the configuration; what was deleted (or would be, in a dry run).
    async fn collect(&self, in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault>;
}
