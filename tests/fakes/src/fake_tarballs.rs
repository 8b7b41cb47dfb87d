//! A registry and a cache of archives. Archives that are added are simply there, under the name of their image; images that
//! are pushed are pulled, lie under the name of their digest, and can be pushed again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::names;
use mkube_model::neighbours::tarballs::{
    Archive, CachedImage, ImageRequest, InUse, ProgressSink, PullPhase, PullPolicy, PullProgress, TarballFault,
    TarballSource,
};

use crate::fake_router::FakeRouter;
use crate::relay::Crossings;

/// Bytes of every image.
const BYTES: u64 = 1000;

#[derive(Default)]
struct Inner {
    /// Digest by image, of archives that are there under their image's name.
    images: BTreeMap<String, String>,
    /// Digest by image, as the registry has it now.
    registry: BTreeMap<String, String>,
    /// Every digest the registry ever had.
    pushed: BTreeSet<String>,
    /// Digests that are in the cache.
    cached: BTreeSet<String>,
    /// What references meant when they were last pulled.
    references: BTreeMap<String, String>,
    /// The registry does not answer.
    away: bool,
    delay: Duration,
    requests: Vec<ImageRequest>,
    pulls: Vec<String>,
    pulling: usize,
    most_pulling: usize,
    collections: Vec<InUse>,
    crossings: Option<Crossings>,
}

/// A cache beside a fake device: an image that is added or pulled lies on the device too.
pub struct FakeTarballs {
    inner: Mutex<Inner>,
    device: FakeRouter,
}

impl FakeTarballs {
    /// An empty cache.
    pub fn beside(device: &FakeRouter) -> Self {
        Self { inner: Mutex::default(), device: device.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every request passes these crossings too.
    pub fn set_crossings(&self, crossings: Crossings) {
        self.inner().crossings = Some(crossings);
    }

    /// Where the archive of an image that was added lies on the device.
    pub fn path(image: &str) -> String {
        format!("/cache/{}.tar", names::archive_name(image))
    }

    /// Where the archive of a digest lies on the device.
    pub fn path_of_digest(digest: &str) -> String {
        format!("/cache/{}.tar", digest.replace(':', "-"))
    }

    /// A digest, for tests to tell one from another.
    pub fn digest(number: u8) -> String {
        format!("sha256:{number:064x}")
    }

    /// An image is there from now on.
    pub fn add(&self, image: &str) {
        self.device.add_file(&Self::path(image));
        let digest = format!("sha256:{:064x}", names::fnv1a(image));
        self.inner().images.insert(image.to_owned(), digest);
    }

    /// The registry has this digest for an image from now on.
    pub fn push(&self, image: &str, digest: &str) {
        let mut inner = self.inner();
        inner.registry.insert(image.to_owned(), digest.to_owned());
        inner.pushed.insert(digest.to_owned());
    }

    /// The registry does not answer from now on, or does again.
    pub fn set_away(&self, away: bool) {
        self.inner().away = away;
    }

    /// The archive of a digest is gone, from the cache and from the device.
    pub fn lose(&self, digest: &str) {
        self.inner().cached.remove(digest);
        self.device.remove_file(&Self::path_of_digest(digest));
    }

    /// Answers take so long from now on, and pulls as long again.
    pub fn set_delay(&self, delay: Duration) {
        self.inner().delay = delay;
    }

    /// What was asked for, in order.
    pub fn requests(&self) -> Vec<ImageRequest> {
        self.inner().requests.clone()
    }

    /// Digests that were pulled, in order.
    pub fn pulls(&self) -> Vec<String> {
        self.inner().pulls.clone()
    }

    /// How many pulls there were at the same time, at most.
    pub fn most_pulling(&self) -> usize {
        self.inner().most_pulling
    }

    /// What was said to be in use at each collection.
    pub fn collections(&self) -> Vec<InUse> {
        self.inner().collections.clone()
    }

    fn archive(digest: &str, stale: Option<String>) -> Archive {
        let path = PathBuf::from(Self::path_of_digest(digest));
        Archive { path, digest: Some(digest.to_owned()), bytes: BYTES, stale }
    }

    fn missing(image: &str) -> TarballFault {
        TarballFault::Missing { image: image.to_owned(), path: Self::path(image) }
    }

    fn unreachable(image: &str) -> TarballFault {
        TarballFault::Unreachable {
            image: image.to_owned(),
            registry: "the fake".into(),
            why: "connection refused".into(),
        }
    }

    /// The digest to run and whether it may be old, or the digest to pull first.
    fn choose(&self, request: &ImageRequest) -> Result<Choice, TarballFault> {
        let inner = self.inner();
        let image = &request.image;
        let here = |digest: &String| inner.cached.contains(digest).then(|| digest.clone());
        let cached = match &request.digest {
            Some(digest) => here(digest),
            None => inner.references.get(image).and_then(here),
        };
        let asks = request.policy == PullPolicy::Always && request.digest.is_none();
        match cached {
            Some(digest) if asks && inner.away => {
                return Ok(Choice::Run(digest, Some("the fake does not answer".into())));
            }
            Some(digest) if !asks => return Ok(Choice::Run(digest, None)),
            None if request.policy == PullPolicy::Never => return Err(Self::missing(image)),
            _ if inner.away => return Err(Self::unreachable(image)),
            _ => {}
        }
        let wanted = match &request.digest {
            Some(digest) => inner.pushed.get(digest),
            None => inner.registry.get(image),
        };
        match wanted {
            None if inner.pushed.is_empty() => Err(Self::missing(image)),
            None => Err(TarballFault::NotFound { image: image.clone(), registry: "the fake".into() }),
            Some(digest) if inner.cached.contains(digest) => Ok(Choice::Run(digest.clone(), None)),
            Some(digest) => Ok(Choice::Pull(digest.clone())),
        }
    }

    async fn pull(&self, request: &ImageRequest, digest: &str, delay: Duration, progress: &ProgressSink) {
        {
            let mut inner = self.inner();
            inner.pulls.push(digest.to_owned());
            inner.pulling += 1;
            inner.most_pulling = inner.most_pulling.max(inner.pulling);
        }
        for done_bytes in [0, BYTES / 2] {
            progress(PullProgress {
                image: request.image.clone(),
                digest: Some(digest.to_owned()),
                phase: PullPhase::Downloading,
                done_bytes,
                total_bytes: Some(BYTES),
            });
            tokio::time::sleep(delay).await;
        }
        self.device.add_file(&Self::path_of_digest(digest));
        let mut inner = self.inner();
        inner.pulling -= 1;
        inner.cached.insert(digest.to_owned());
    }
}

enum Choice {
    Run(String, Option<String>),
    Pull(String),
}

#[async_trait]
impl TarballSource for FakeTarballs {
    async fn ensure(&self, request: &ImageRequest, progress: ProgressSink) -> Result<Archive, TarballFault> {
        let image = &request.image;
        let delay = {
            let mut inner = self.inner();
            inner.requests.push(request.clone());
            inner.delay
        };
        tokio::time::sleep(delay).await;
        let crossings = self.inner().crossings.clone();
        if let Some(crossings) = crossings {
            crossings.pass("in the middle of ensure").await;
        }
        if let Some(digest) = self.inner().images.get(image).filter(|_| request.digest.is_none()) {
            let path = Self::path(image).into();
            return Ok(Archive { path, digest: Some(digest.clone()), bytes: BYTES, stale: None });
        }
        let (digest, stale) = match self.choose(request)? {
            Choice::Run(digest, stale) => (digest, stale),
            Choice::Pull(digest) => {
                self.pull(request, &digest, delay, &progress).await;
                (digest, None)
            }
        };
        if request.digest.is_none() {
            self.inner().references.insert(image.clone(), digest.clone());
        }
        Ok(Self::archive(&digest, stale))
    }

    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault> {
        let image = &request.image;
        let inner = self.inner();
        if inner.away {
            return Err(Self::unreachable(image));
        }
        let digest = inner.registry.get(image).or_else(|| inner.images.get(image)).cloned();
        digest.ok_or_else(|| TarballFault::NotFound { image: image.clone(), registry: "the fake".into() })
    }

    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault> {
        let inner = self.inner();
        let references = |digest: &String| {
            let of_digest = inner.references.iter().filter(|(_, known)| *known == digest);
            of_digest.map(|(image, _)| image.clone()).collect()
        };
        let found = inner.cached.iter().map(|digest| CachedImage {
            references: references(digest),
            digest: Some(digest.clone()),
            path: Self::path_of_digest(digest).into(),
            bytes: BYTES,
            pulled_at: None,
            last_used: None,
        });
        Ok(found.collect())
    }

    async fn collect(&self, in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault> {
        self.inner().collections.push(in_use.clone());
        Ok(Vec::new())
    }
}
