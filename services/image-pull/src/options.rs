//! What shapes pulling and the cache, and what of it comes from the settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::settings::{Architecture, ImageRegistry, Settings};

/// Tells the device's architecture; none while it cannot be asked.
pub type KnowArchitecture = Arc<dyn Fn() -> BoxFuture<'static, Option<Architecture>> + Send + Sync>;

/// Everything pulling is started with.
#[derive(Clone)]
pub struct PullParts {
    /// Settings.
    pub options: PullOptions,
    /// For which device images are chosen.
    pub architecture: KnowArchitecture,
    /// Time of day, for stamps.
    pub clock: Arc<dyn WallClock>,
}

/// Registries, limits and the cache.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Directory of archives; made when it is missing.
    pub cache: PathBuf,
    /// Names of the local registry, `host:port`; the first is its own.
    pub local_addresses: Vec<String>,
    /// Authority of the local registry, PEM; may be missing.
    pub local_authority: PathBuf,
    /// What is to know of registries.
    pub registries: Vec<ImageRegistry>,
    /// References of images that are made on this machine: no registry is asked for them while their archives are there.
    pub made_here: Vec<String>,
    /// Blobs downloaded at the same time, over all images.
    pub parallel_downloads: usize,
    /// Bytes an image may unpack to.
    pub max_unpacked_bytes: u64,
    /// Bytes of the file system left free.
    pub keep_free_bytes: u64,
    /// Unused archives kept.
    pub keep_last: usize,
    /// Age since its last use from which an unused archive goes.
    pub max_age: Duration,
    /// Only say what would be collected.
    pub dry_run: bool,
    /// How long is waited for what.
    pub pace: Pace,
}

impl PullOptions {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        let images = &settings.images;
        Self {
            cache: settings.storage.tarball_cache.clone(),
            local_addresses: settings.registry.local_addresses.clone(),
            local_authority: settings.registry.tls_ca_cert_file.clone(),
            registries: images.registries.clone(),
            made_here: Vec::new(),
            parallel_downloads: images.parallel_downloads as usize,
            max_unpacked_bytes: images.max_unpacked_bytes,
            keep_free_bytes: images.keep_free_bytes,
            keep_last: settings.storage.gc_keep_last_n as usize,
            max_age: images.max_age,
            dry_run: settings.storage.gc_dry_run,
            pace: Pace::default(),
        }
    }
}

/// How long is waited for what. No limit holds for a whole download: an image may be large and a line slow.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub idle: Duration,
    /// For the digest of a tag, retries included.
    pub resolve: Duration,
    /// For a manifest, a config or a token, one request.
    pub document: Duration,
    /// Before the second attempt; doubled before each further one.
    pub first_pause: Duration,
    /// Longest pause, and the longest a registry may ask for.
    pub longest_pause: Duration,
    /// Attempts without progress.
    pub attempts: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            resolve: Duration::from_secs(15),
            document: Duration::from_secs(60),
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            attempts: 5,
        }
    }
}

impl Pace {
    /// The pause before the attempt after `failed` ones in a row.
    pub(crate) fn pause(&self, failed: u32) -> Duration {
        self.first_pause.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.longest_pause)
    }
}
