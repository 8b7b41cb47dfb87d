//! What is answered to those who want an image: from the cache where the policy allows it, else pulled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mkube_model::neighbours::tarballs::{
    Archive, CachedImage, ImageRequest, InUse, ProgressSink, PullPhase, PullPolicy, PullProgress, TarballFault,
    TarballSource,
};
use mkube_model::settings::Architecture;
use tokio::sync::Semaphore;

use crate::asking::Registries;
use crate::blobs::Blobs;
use crate::cache::{Cache, Found};
use crate::collect::{Rules, to_delete};
use crate::convert::Limits;
use crate::credentials::{Place, places};
use crate::digest::Digest;
use crate::download::{Downloads, blocking};
use crate::flights::Flights;
use crate::image_name::ImageName;
use crate::options::{KnowArchitecture, PullOptions, PullParts};
use crate::pull::{Audience, Order, Puller, free_bytes};
use crate::records::Tag;
use crate::resolve::{Known, Resolved, within};
use crate::trouble::Trouble;

/// Blobs of a pull that nobody took up again are deleted after this time.
const STALE_BLOBS: std::time::Duration = std::time::Duration::from_secs(86_400);
/// Between two archives that are read only to see whether they are sound: others want the disk, too.
const READING_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Meanings of tags remembered beside those recorded with archives.
const SEEN: usize = 1024;

/// Images by reference: pulled, converted, cached.
pub struct ImageSource {
    options: PullOptions,
    architecture: KnowArchitecture,
    registries: Arc<Registries>,
    cache: Arc<Cache>,
    blobs: Blobs,
    puller: Puller,
    pulls: Flights<Found>,
    resolves: Flights<(Resolved, Vec<Place>)>,
    /// What tags meant at the last look, also where nothing was pulled for it.
    seen: Arc<Mutex<HashMap<(String, &'static str), Known>>>,
    /// Reads archives from earlier runs; ended with this.
    reading: tokio::task::AbortHandle,
}

impl Drop for ImageSource {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A request that was understood.
struct Wanted {
    name: ImageName,
    architecture: Architecture,
    /// As the pod wrote it.
    image: String,
    /// Held at a digest that is not part of the reference: what lies under the reference's name may be another.
    pinned: bool,
}

impl ImageSource {
    /// Starts to read what earlier runs left in the cache; a cache that cannot be read is a fault of each request, not of the
    /// start. Needs a tokio runtime.
    pub fn start(parts: PullParts) -> Self {
        let PullParts { options, architecture, clock } = parts;
        let blobs = Blobs::new(&options.cache);
        let cache = Arc::new(Cache::new(&options.cache, clock));
        let registries = Arc::new(Registries::new(&options));
        let downloads = Downloads {
            registries: registries.clone(),
            blobs: blobs.clone(),
            room: Arc::new(Semaphore::new(options.parallel_downloads.max(1))),
        };
        let puller = Puller {
            downloads,
            blobs: blobs.clone(),
            cache: cache.clone(),
            audience: Audience::default(),
            blob_flights: Arc::new(Flights::for_waiters()),
            converting: Arc::new(Semaphore::new(1)),
            limits: Limits { bytes: options.max_unpacked_bytes, ..Limits::default() },
            keep_free: options.keep_free_bytes,
        };
        let reading = tokio::spawn(read_all(cache.clone(), blobs.clone())).abort_handle();
        Self {
            options,
            architecture,
            registries,
            cache,
            blobs,
            puller,
            pulls: Flights::to_the_end(),
            resolves: Flights::for_waiters(),
            seen: Arc::default(),
            reading,
        }
    }

    /// The cache is read.
    async fn ready(&self) -> Result<(), Trouble> {
        let (cache, blobs) = (self.cache.clone(), self.blobs.clone());
        blocking(move || read_cache(&cache, &blobs)).await
    }

    async fn understand(&self, request: &ImageRequest) -> Result<Wanted, TarballFault> {
        let name = ImageName::parse(&request.image, &self.options.local_addresses)?;
        let name = match &request.digest {
            None => name,
            Some(text) => {
                let digest = Digest::parse(text).ok_or_else(|| TarballFault::BadReference {
                    image: request.image.clone(),
                    why: "the digest it is held at is none".to_owned(),
                })?;
                name.at(digest)
            }
        };
        let architecture = (self.architecture)().await.ok_or_else(|| TarballFault::Unreachable {
            image: request.image.clone(),
            registry: name.host.clone(),
            why: "the device has not said yet which architecture it has".to_owned(),
        })?;
        Ok(Wanted { name, architecture, image: request.image.clone(), pinned: request.digest.is_some() })
    }

    fn is_made_here(&self, name: &ImageName) -> bool {
        let own = |image: &String| ImageName::parse(image, &self.options.local_addresses).is_ok_and(|own| own == *name);
        self.options.made_here.iter().any(own)
    }

    /// What is cached under the reference; beside it why something that lies there is of no use.
    async fn cached_as(&self, wanted: &Wanted) -> Result<(Option<Found>, Option<String>), Trouble> {
        let (cache, name, architecture) = (self.cache.clone(), wanted.name.clone(), wanted.architecture);
        let file_names =
            if wanted.pinned { Vec::new() } else { name.go_names(&wanted.image, &self.options.local_addresses) };
        blocking(move || {
            let tag = cache.tag(&name.to_string(), architecture.name());
            let is_recorded = tag.is_some();
            for digest in tag.map(|tag| tag.digest).into_iter().chain(name.digest.clone()) {
                if let Some(found) = cache.by_digest(&digest)? {
                    return Ok((Some(found), None));
                }
            }
            if is_recorded {
                // What lies there under the reference's name is what it meant before.
                return Ok((None, None));
            }
            match cache.by_name(&name, &file_names)? {
                Ok(found) => Ok((Some(found), None)),
                Err(why) => Ok((None, why)),
            }
        })
        .await
    }

    /// Asks, one after the other, whoever may know. Those who ask the same as the same share the answer.
    async fn ask(&self, wanted: &Wanted, request: &ImageRequest) -> Result<(Resolved, Vec<Place>), Trouble> {
        let all = places(&wanted.name, &request.credentials, &self.options.registries, &self.options.local_addresses);
        let whole = wanted.name.to_string();
        let known = self.known(wanted);
        let mut as_whom = String::new();
        for credential in all.iter().filter_map(|place| place.credential.as_ref()) {
            as_whom += &format!("\0{}\0{}", credential.user, credential.password.expose());
        }
        let key = format!("{whole} {} {}", wanted.architecture.name(), Digest::sha256(as_whom.as_bytes()));
        let (registries, reference, architecture) =
            (self.registries.clone(), wanted.name.wanted().to_owned(), wanted.architecture);
        let (host, limit) = (wanted.name.host.clone(), self.options.pace.resolve);
        let begin = || async move {
            within(limit, &host, ask_each(&registries, &all, &reference, architecture, known.as_ref())).await
        };
        let (outcome, _) = self.resolves.join(&key, begin).await;
        let (resolved, from) = outcome?;
        self.remember(wanted, &resolved);
        Ok((resolved, from))
    }

    /// What the reference meant at the last look, in this run or in an earlier one.
    fn known(&self, wanted: &Wanted) -> Option<Known> {
        let (reference, architecture) = (wanted.name.to_string(), wanted.architecture.name());
        let tag = self.cache.tag(&reference, architecture);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(&(reference, architecture)).cloned();
        seen.or_else(|| tag.map(|tag| Known { digest: tag.digest, top: tag.top }))
    }

    fn remember(&self, wanted: &Wanted, resolved: &Resolved) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN {
            seen.clear();
        }
        let known = Known { digest: resolved.digest.clone(), top: resolved.top.clone() };
        seen.insert((wanted.name.to_string(), wanted.architecture.name()), known);
    }

    async fn record(&self, wanted: &Wanted, digest: &Digest, top: &Digest) -> Result<(), Trouble> {
        let tag = Tag {
            reference: wanted.name.to_string(),
            digest: digest.clone(),
            top: top.clone(),
            architecture: wanted.architecture.name().to_owned(),
        };
        let cache = self.cache.clone();
        blocking(move || cache.record(tag)).await
    }

    /// Asks the registry, and pulls what it names unless that is here.
    async fn pull(&self, wanted: &Wanted, request: &ImageRequest, progress: &ProgressSink) -> Result<Found, Trouble> {
        progress(PullProgress {
            image: wanted.image.clone(),
            digest: None,
            phase: PullPhase::Resolving,
            done_bytes: 0,
            total_bytes: None,
        });
        let (resolved, from) = self.ask(wanted, request).await?;
        let (cache, digest) = (self.cache.clone(), resolved.digest.clone());
        let found = match blocking(move || cache.by_digest(&digest)).await? {
            Some(found) => found,
            None => self.fetch(wanted, &resolved, from, progress).await?,
        };
        self.record(wanted, &resolved.digest, &resolved.top).await?;
        Ok(found)
    }

    async fn fetch(
        &self,
        wanted: &Wanted,
        resolved: &Resolved,
        from: Vec<Place>,
        progress: &ProgressSink,
    ) -> Result<Found, Trouble> {
        let _seat = self.puller.audience.join(&resolved.digest, &wanted.image, progress.clone());
        let manifest = match &resolved.manifest {
            Some(manifest) => manifest.clone(),
            // Nothing had changed, but the archive is gone.
            None => {
                let digest = resolved.digest.to_string();
                let asked = ask_each(&self.registries, &from, &digest, wanted.architecture, None).await?;
                asked.0.manifest.ok_or_else(|| Trouble::Unusable("its manifest leads to another".to_owned()))?
            }
        };
        let order = Order {
            digest: resolved.digest.clone(),
            manifest,
            name: wanted.name.name_inside(),
            architecture: wanted.architecture,
            places: from,
        };
        loop {
            let begin = || {
                let (puller, cache, order) = (self.puller.clone(), self.cache.clone(), order.clone());
                async move {
                    // It may have come while this was on its way.
                    let digest = order.digest.clone();
                    match blocking(move || cache.by_digest(&digest)).await? {
                        Some(found) => Ok(found),
                        None => puller.pull(order).await,
                    }
                }
            };
            match self.pulls.join(resolved.digest.as_str(), begin).await {
                // Whoever began it may not have been allowed what this one is.
                (Err(Trouble::Denied { .. } | Trouble::NotFound { .. }), false) => {}
                (outcome, _) => return outcome,
            }
        }
    }

    async fn bring(&self, request: &ImageRequest, progress: &ProgressSink) -> Result<Archive, TarballFault> {
        let wanted = self.understand(request).await?;
        let told = |trouble: Trouble| trouble.about(&request.image);
        self.ready().await.map_err(told)?;
        let (found, damage) = self.cached_as(&wanted).await.map_err(told)?;
        // What has a digest cannot mean something else tomorrow.
        let settled =
            wanted.name.digest.is_some() || request.policy != PullPolicy::Always || self.is_made_here(&wanted.name);
        match found {
            Some(found) if settled => Ok(archive(found, None)),
            found if request.policy != PullPolicy::Never => match self.pull(&wanted, request, progress).await {
                Ok(found) => Ok(archive(found, None)),
                Err(Trouble::Away { registry, why }) => match found {
                    Some(found) => Ok(archive(found, Some(format!("{registry} cannot be asked: {why}")))),
                    None => Err(told(Trouble::Away { registry, why: with(why, damage) })),
                },
                Err(trouble) => Err(told(trouble)),
            },
            _ => Err(match damage {
                Some(why) => told(Trouble::Unusable(why)),
                None => TarballFault::Missing {
                    image: request.image.clone(),
                    path: self.options.cache.display().to_string(),
                },
            }),
        }
    }
}

fn with(why: String, damage: Option<String>) -> String {
    damage.map_or_else(|| why.clone(), |damage| format!("{why}; and {damage}"))
}

fn archive(found: Found, stale: Option<String>) -> Archive {
    Archive { path: found.path, digest: found.digest.map(|digest| digest.to_string()), bytes: found.bytes, stale }
}

/// Asks one place after the other; with the answer come those that may be asked for blobs, whoever answered first.
async fn ask_each(
    registries: &Registries,
    places: &[Place],
    reference: &str,
    architecture: Architecture,
    known: Option<&Known>,
) -> Result<(Resolved, Vec<Place>), Trouble> {
    let mut last: Option<(&str, Trouble)> = None;
    for (nth, place) in places.iter().enumerate() {
        match registries.resolve(place, reference, architecture, known).await {
            Ok(resolved) => {
                let rest = places.iter().enumerate().filter(|(other, _)| *other != nth).map(|(_, other)| other);
                return Ok((resolved, [place].into_iter().chain(rest).cloned().collect()));
            }
            Err(trouble) => {
                tracing::debug!(registry = %place.host, reference, ?trouble, "not got here");
                // What the registry itself says counts, not its mirrors; and its first word, not that to nobody.
                if last.as_ref().is_none_or(|(host, _)| *host != place.host) {
                    last = Some((&place.host, trouble));
                }
            }
        }
    }
    Err(last.map_or_else(|| Trouble::Unreadable("there is no registry to ask".to_owned()), |(_, trouble)| trouble))
}

fn read_cache(cache: &Cache, blobs: &Blobs) -> Result<(), Trouble> {
    cache.ready(|| blobs.sweep(cache.now(), STALE_BLOBS))
}

/// Reads what earlier runs left, one archive after the other.
async fn read_all(cache: Arc<Cache>, blobs: Blobs) {
    let own = cache.clone();
    if let Err(trouble) = blocking(move || read_cache(&own, &blobs)).await {
        tracing::warn!(?trouble, "the cache of images cannot be read; it is tried again when an image is asked for");
    }
    for path in cache.unread() {
        let (own, stop) = (cache.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let _stop = StopOnDrop(stop.clone());
        let read = move || own.read_one(&path, &|| stop.load(std::sync::atomic::Ordering::Relaxed));
        if let Err(trouble) = blocking(read).await {
            tracing::debug!(?trouble, "an archive could not be read");
        }
        tokio::time::sleep(READING_PAUSE).await;
    }
}

struct StopOnDrop(Arc<std::sync::atomic::AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[async_trait]
impl TarballSource for ImageSource {
    async fn ensure(&self, request: &ImageRequest, progress: ProgressSink) -> Result<Archive, TarballFault> {
        self.bring(request, &progress).await
    }

    async fn resolve(&self, request: &ImageRequest) -> Result<String, TarballFault> {
        let wanted = self.understand(request).await?;
        // What tags meant before makes it cheaper, and is not needed.
        let _ = self.ready().await;
        let asked = self.ask(&wanted, request).await;
        asked.map(|(resolved, _)| resolved.digest.to_string()).map_err(|trouble| trouble.about(&request.image))
    }

    async fn cached(&self) -> Result<Vec<CachedImage>, TarballFault> {
        self.ready().await.map_err(|trouble| trouble.about(""))?;
        Ok(self.cache.all())
    }

    async fn collect(&self, in_use: &InUse) -> Result<Vec<CachedImage>, TarballFault> {
        self.ready().await.map_err(|trouble| trouble.about(""))?;
        let directory = self.options.cache.clone();
        let free = blocking(move || free_bytes(&directory)).await.map_err(|trouble| trouble.about(""))?;
        let rules = Rules {
            keep_last: self.options.keep_last,
            max_age: self.options.max_age,
            missing_bytes: self.options.keep_free_bytes.saturating_sub(free),
            now: self.cache.now(),
        };
        let aliases = &self.options.local_addresses;
        let canonical = |text: &str| ImageName::parse(text, aliases).ok().map(|name| name.to_string());
        let chosen = to_delete(self.cache.all(), in_use, canonical, &rules);
        if self.options.dry_run {
            return Ok(chosen);
        }
        let (cache, blobs, unused) = (self.cache.clone(), self.blobs.clone(), chosen.clone());
        let work = move || {
            blobs.sweep(cache.now(), STALE_BLOBS);
            unused.iter().try_for_each(|image| cache.delete(image))
        };
        blocking(work).await.map_err(|trouble| trouble.about(""))?;
        Ok(chosen)
    }
}
