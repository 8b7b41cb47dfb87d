//! A source of images over a cache of its own, and the questions tests ask of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use mkube_image_pull::{ImageSource, Pace, PullOptions, PullParts};
use mkube_model::neighbours::tarballs::{
    Archive, ImageRequest, ProgressSink, PullPolicy, PullProgress, TarballFault, TarballSource,
};
use mkube_model::neighbours::wall_clock::{SystemClock, WallClock};
use mkube_model::secret::Secret;
use mkube_model::settings::{Architecture, ImageRegistry};

/// A clock that is ahead by as much as the test says.
#[derive(Default)]
pub struct Clock(Mutex<Duration>);

impl Clock {
    pub fn advance(&self, by: Duration) {
        *self.0.lock().expect("not poisoned") += by;
    }
}

impl WallClock for Clock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + *self.0.lock().expect("not poisoned")
    }
}

/// What a source is opened with.
pub struct World {
    pub directory: tempfile::TempDir,
    pub clock: Arc<Clock>,
    pub options: PullOptions,
    pub architecture: Architecture,
}

pub fn plain(host: &str) -> ImageRegistry {
    ImageRegistry {
        host: host.to_owned(),
        plain_http: true,
        ca_file: None,
        user: String::new(),
        password: Secret::default(),
        mirrors: Vec::new(),
    }
}

/// Waits for a condition, with a bound.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

impl World {
    /// A world in which these registries are spoken to without TLS.
    pub fn new(hosts: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = PullOptions {
            cache: directory.path().join("cache"),
            local_addresses: Vec::new(),
            local_authority: directory.path().join("no-authority.crt"),
            registries: hosts.iter().map(|host| plain(host)).collect(),
            made_here: Vec::new(),
            parallel_downloads: 3,
            max_unpacked_bytes: 1 << 30,
            keep_free_bytes: 0,
            keep_last: 5,
            max_age: Duration::from_secs(30 * 86_400),
            dry_run: false,
            pace: Pace {
                connect: Duration::from_secs(5),
                idle: Duration::from_secs(5),
                resolve: Duration::from_secs(15),
                document: Duration::from_secs(10),
                first_pause: Duration::from_millis(5),
                longest_pause: Duration::from_secs(2),
                attempts: 4,
            },
        };
        Self { directory, clock: Arc::default(), options, architecture: Architecture::Amd64 }
    }

    pub fn cache(&self) -> PathBuf {
        self.options.cache.clone()
    }

    pub async fn open(&self) -> Source {
        let architecture = self.architecture;
        let parts = PullParts {
            options: self.options.clone(),
            architecture: Arc::new(move || Box::pin(async move { Some(architecture) })),
            clock: self.clock.clone(),
        };
        let source = ImageSource::start(parts);
        source.cached().await.expect("the cache can be read");
        Source(Arc::new(source))
    }

    /// Files in the cache and in its directory of blobs, sorted.
    pub fn files(&self) -> Vec<String> {
        files_below(&self.cache())
    }
}

pub fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort_unstable();
    found
}

/// An open source.
#[derive(Clone)]
pub struct Source(pub Arc<ImageSource>);

pub fn request(image: &str, policy: PullPolicy) -> ImageRequest {
    ImageRequest { image: image.to_owned(), digest: None, policy, credentials: Vec::new() }
}

pub fn nobody() -> ProgressSink {
    Arc::new(|_| {})
}

impl Source {
    pub async fn ensure(&self, request: &ImageRequest) -> Result<Archive, TarballFault> {
        self.0.ensure(request, nobody()).await
    }

    pub async fn always(&self, image: &str) -> Result<Archive, TarballFault> {
        self.ensure(&request(image, PullPolicy::Always)).await
    }

    pub async fn if_not_present(&self, image: &str) -> Result<Archive, TarballFault> {
        self.ensure(&request(image, PullPolicy::IfNotPresent)).await
    }

    pub async fn never(&self, image: &str) -> Result<Archive, TarballFault> {
        self.ensure(&request(image, PullPolicy::Never)).await
    }

    pub async fn pinned(&self, image: &str, digest: &str) -> Result<Archive, TarballFault> {
        let digest = Some(digest.to_owned());
        self.ensure(&ImageRequest { digest, ..request(image, PullPolicy::Always) }).await
    }
}

/// Remembers what it was told.
pub fn listening() -> (ProgressSink, Arc<Mutex<Vec<PullProgress>>>) {
    let heard: Arc<Mutex<Vec<PullProgress>>> = Arc::default();
    let own = heard.clone();
    (Arc::new(move |progress| own.lock().expect("not poisoned").push(progress)), heard)
}
