//! What is not here and can be had elsewhere: fetched from upstreams when it is asked for, verified, kept.
//!
//! An index is kept whole and its children come when they are asked for. Tags that came from an upstream are looked at again there;
//! one that was pushed here since is left alone.

mod challenge;
mod client;
mod mirror;
pub(crate) mod place;
pub(crate) mod records;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::settings::RegistryServerSettings;
use tokio::time::Instant;

pub use client::UpstreamFault;
use client::{Fetched, UpstreamClient};
pub use mirror::Mirrored;
use place::{Place, Places};
use records::{Record, Records};

use crate::digest::Digest;
use crate::fault::Fault;
use crate::names::{Reference, RepositoryName, Tag};
use crate::parts::ContentSource;
use crate::store::{Checks, PushedManifest, Store};

/// How long a tag is taken for fresh after it was compared with its upstream.
const FRESH: Duration = Duration::from_secs(60);
/// What comparing may take: somebody waits for the tag, and there is one to give.
const COMPARE: Duration = Duration::from_secs(5);
/// Fetches from upstreams at once.
const AT_ONCE: usize = 16;
/// Tags whose freshness is remembered.
const REMEMBERED: usize = 10_000;

/// Fetches what is missing. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    store: Store,
    client: UpstreamClient,
    places: Places,
    /// Whether what clients ask for is fetched; the watcher and `_pull` work in any case.
    pull_through: bool,
    tags: Records,
    fresh_for: Duration,
    /// When a tag was compared last.
    compared: Mutex<HashMap<(RepositoryName, Tag), Instant>>,
    /// One fetch of one thing at a time.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    at_once: tokio::sync::Semaphore,
    /// Fetches go on when whoever asked has left, so they live on the runtime that started us and not on a worker's.
    runtime: tokio::runtime::Handle,
}

impl Upstreams {
    /// Keeps its records below `directory`. Needs a runtime.
    ///
    /// # Errors
    /// In words: the directory or a certificate file cannot be used.
    pub fn open(settings: &RegistryServerSettings, store: Store, directory: &Path) -> Result<Self, String> {
        Self::open_with(settings, store, directory, FRESH)
    }

    pub(crate) fn open_with(
        settings: &RegistryServerSettings,
        store: Store,
        directory: &Path,
        fresh_for: Duration,
    ) -> Result<Self, String> {
        let tags =
            Records::open(&directory.join("tags")).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Self(Arc::new(Inner {
            store,
            client: UpstreamClient::new(&settings.upstream)?,
            places: Places::new(settings),
            pull_through: settings.pull_through,
            tags,
            fresh_for,
            compared: Mutex::default(),
            flights: Mutex::default(),
            at_once: tokio::sync::Semaphore::new(AT_ONCE),
            runtime: tokio::runtime::Handle::current(),
        })))
    }

    /// What a watched image is at its upstream now.
    pub(crate) async fn digest(&self, place: &Place, reference: &Reference) -> Result<Digest, Fault> {
        let found = self.0.client.digest(place, &reference.to_string()).await.map_err(upstream)?;
        found.ok_or_else(|| Fault::Upstream(format!("{place}:{reference} is not there")))
    }

    /// Runs a fetch to its end, also when whoever asked leaves.
    async fn go_on_alone<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        match self.0.runtime.spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Upstream("the fetch was cut off".to_owned())),
        }
    }
}

#[async_trait]
impl ContentSource for Upstreams {
    async fn fetch_manifest(
        &self,
        _store: &Store,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool, Fault> {
        if !self.0.pull_through {
            return Ok(false);
        }
        let (inner, repository, reference) = (self.0.clone(), repository.clone(), reference.clone());
        self.go_on_alone(async move { inner.fetch_manifest(&repository, &reference).await }).await
    }

    async fn refresh_tag(&self, _store: &Store, repository: &RepositoryName, tag: &Tag, here: &Digest) {
        if self.0.pull_through {
            self.0.compare(repository, tag, here).await;
        }
    }

    async fn fetch_blob(&self, _store: &Store, repository: &RepositoryName, digest: &Digest) -> Result<bool, Fault> {
        if !self.0.pull_through {
            return Ok(false);
        }
        let (inner, repository, digest) = (self.0.clone(), repository.clone(), digest.clone());
        let places = inner.places.of(repository.as_str());
        self.go_on_alone(async move { inner.fetch_blob(&repository, &digest, &places).await }).await
    }
}

impl Inner {
    /// The lock of one fetch; two that want the same thing get the same.
    fn flight(&self, what: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&what).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(what, Arc::downgrade(&flight));
        flight
    }

    async fn fetch_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<bool, Fault> {
        let flight = self.flight(format!("{repository} {reference}"));
        let _alone = flight.lock().await;
        if self.store.find_manifest(repository, reference).is_some() {
            return Ok(true);
        }
        let _turn = self.at_once.acquire().await;
        let mut first_fault = None;
        for place in self.places.of(repository.as_str()) {
            match self.take_manifest(repository, reference, &place).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(fault) => {
                    tracing::warn!(%repository, %reference, %fault, "a manifest could not be fetched");
                    first_fault.get_or_insert(fault);
                }
            }
        }
        first_fault.map_or(Ok(false), Err)
    }

    /// Fetches and keeps a manifest; says whether the upstream has it.
    async fn take_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        place: &Place,
    ) -> Result<bool, Fault> {
        let fetched = self.client.manifest(place, &reference.to_string()).await.map_err(upstream)?;
        let Some(fetched) = fetched else { return Ok(false) };
        self.keep_manifest(repository, reference, place, fetched).await.map(|_| true)
    }

    async fn keep_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        place: &Place,
        fetched: Fetched,
    ) -> Result<Digest, Fault> {
        let pushed = PushedManifest {
            reference: reference.clone(),
            tags: Vec::new(),
            content_type: Some(fetched.media_type),
            bytes: fetched.bytes,
        };
        let kept = self.store.put_manifest(repository, pushed, Checks::Sparse).await;
        let stored = kept.map_err(|fault| not_an_image(place, fault))?;
        if let Reference::Tag(tag) = reference {
            let record = Record {
                repository: repository.to_string(),
                tag: tag.to_string(),
                host: place.host.clone(),
                upstream: place.repository.clone(),
                digest: stored.digest.to_string(),
            };
            self.tags.keep(record).await.map_err(Fault::disk("cannot keep where a tag came from"))?;
            self.note_compared(repository, tag);
        }
        Ok(stored.digest)
    }

    fn note_compared(&self, repository: &RepositoryName, tag: &Tag) {
        let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if compared.len() >= REMEMBERED {
            compared.clear();
        }
        compared.insert((repository.clone(), tag.clone()), Instant::now());
    }

    fn is_fresh(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.get(&(repository.clone(), tag.clone())).is_some_and(|at| at.elapsed() < self.fresh_for)
    }

    /// Brings a tag up to date that came from an upstream and still is what came from there. Faults are logged only.
    async fn compare(&self, repository: &RepositoryName, tag: &Tag, here: &Digest) {
        if self.is_fresh(repository, tag) {
            return;
        }
        let Some(record) = self.tags.find(repository.as_str(), tag.as_str()).await else { return };
        if record.digest != here.as_str() {
            return;
        }
        let flight = self.flight(format!("{repository} {tag}"));
        let _alone = flight.lock().await;
        if self.is_fresh(repository, tag) {
            return;
        }
        // Whatever comes of it: an upstream that is away is not asked for every pull.
        self.note_compared(repository, tag);
        let place = Place { host: record.host, repository: record.upstream };
        let reference = Reference::Tag(tag.clone());
        let work = async {
            match self.client.digest(&place, tag.as_str()).await.map_err(upstream)? {
                Some(there) if there != *here => self.take_manifest(repository, &reference, &place).await.map(drop),
                _ => Ok(()),
            }
        };
        let cause = match tokio::time::timeout(COMPARE, work).await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no answer within {} s", COMPARE.as_secs()),
        };
        tracing::warn!(%repository, %tag, %cause, "a tag could not be compared with its upstream; the one here is served");
    }

    /// Fetches a blob unless it is here; says whether it is here now.
    async fn fetch_blob(&self, repository: &RepositoryName, digest: &Digest, places: &[Place]) -> Result<bool, Fault> {
        let flight = self.flight(digest.to_string());
        let _alone = flight.lock().await;
        if self.store.blob(repository, digest).await?.is_some() {
            return Ok(true);
        }
        let _turn = self.at_once.acquire().await;
        let mut first_fault = None;
        for place in places {
            match self.take_blob(repository, digest, place).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(fault) => {
                    tracing::warn!(%repository, %digest, %fault, "a blob could not be fetched");
                    first_fault.get_or_insert(fault);
                }
            }
        }
        first_fault.map_or(Ok(false), Err)
    }

    async fn take_blob(&self, repository: &RepositoryName, digest: &Digest, place: &Place) -> Result<bool, Fault> {
        // Another repository has it: then it is enough that the upstream would give it for this one too.
        if let Some(holder) = self.store.holders(digest).into_iter().find(|holder| holder != repository)
            && self.client.has_blob(place, digest).await.map_err(upstream)?
            && self.store.mount(repository, &holder, digest).await?
        {
            return Ok(true);
        }
        let Some(body) = self.client.blob(place, digest).await.map_err(upstream)? else { return Ok(false) };
        let received = self.store.receive_blob(repository, digest, Box::pin(body)).await;
        received.map(|()| true).map_err(|fault| not_an_image(place, fault))
    }
}

fn upstream(fault: UpstreamFault) -> Fault {
    Fault::Upstream(fault.to_string())
}

/// What the store says of bad content is the upstream's fault here and not the client's.
fn not_an_image(place: &Place, fault: Fault) -> Fault {
    match fault {
        ours @ (Fault::NoRoom(_) | Fault::Disk { .. } | Fault::TooMany(_)) => ours,
        content => Fault::Upstream(format!("{place} gave something else: {content}")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
