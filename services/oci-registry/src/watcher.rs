//! Images of upstreams that are kept fresh here: looked at every so often, brought here when they changed, and told like a push.
//!
//! What was last seen is on the disk, so an update while this registry was down is told too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mkube_model::settings::{RegistryServerSettings, WatchedImage};
use tokio::sync::Notify;

use crate::digest::Digest;
use crate::fault::Fault;
use crate::names::{Reference, RepositoryName};
use crate::notices::Notices;
use crate::store::Store;
use crate::upstream::Upstreams;
use crate::upstream::place::{Place, read_image};
use crate::upstream::records::{Record, Records};

/// An image that is watched.
struct Watched {
    place: Place,
    reference: Reference,
    repository: RepositoryName,
}

/// Keeps images fresh.
pub struct Watcher {
    images: Vec<Watched>,
    upstreams: Upstreams,
    store: Store,
    notices: Arc<Notices>,
    seen: Records,
    pause: Duration,
    poke: Arc<Notify>,
}

/// Makes a watcher look at once.
#[derive(Clone)]
pub struct WatcherPoke(Arc<Notify>);

impl WatcherPoke {
    /// Looks now, or once more when it is looking.
    pub fn poke(&self) {
        self.0.notify_one();
    }
}

impl Watcher {
    /// Keeps what it saw below `directory`; `None` when nothing is watched.
    ///
    /// # Errors
    /// In words: the directory cannot be used, or an image's name cannot be read.
    pub fn open(
        settings: &RegistryServerSettings,
        upstreams: Upstreams,
        store: Store,
        notices: Arc<Notices>,
        directory: &Path,
    ) -> Result<Option<Self>, String> {
        if settings.watch_images.is_empty() {
            return Ok(None);
        }
        let images = settings.watch_images.iter().map(watched).collect::<Result<_, _>>()?;
        let seen =
            Records::open(&directory.join("watched")).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Some(Self { images, upstreams, store, notices, seen, pause: settings.watch_poll, poke: Arc::default() }))
    }

    /// For those who cannot wait.
    pub fn handle(&self) -> WatcherPoke {
        WatcherPoke(self.poke.clone())
    }

    /// Looks for ever; the first time at once.
    pub async fn run(self) {
        let mut told: Vec<String> = vec![String::new(); self.images.len()];
        loop {
            for (image, told) in self.images.iter().zip(&mut told) {
                match self.look(image).await {
                    Ok(()) => told.clear(),
                    Err(fault) => {
                        let text = fault.to_string();
                        // A fault that lasts is one line.
                        if *told != text {
                            tracing::warn!(image = %image.place, cause = %text, "a watched image could not be brought up to date");
                            *told = text;
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause) => {}
                () = self.poke.notified() => {}
            }
        }
    }

    async fn look(&self, image: &Watched) -> Result<(), Fault> {
        let Watched { place, reference, repository } = image;
        let there = self.upstreams.digest(place, reference).await?;
        let key = reference.to_string();
        let seen = self.seen.find(repository.as_str(), &key).await;
        let seen = seen.filter(|seen| seen.host == place.host && seen.upstream == place.repository);
        if seen.as_ref().is_some_and(|seen| seen.digest == there.as_str()) {
            return Ok(());
        }
        let here = self.store.find_manifest(repository, reference).map(|stored| stored.digest);
        if here.as_ref() != Some(&there) {
            let mirrored = self.upstreams.mirror(place, reference, repository, true).await?;
            tracing::info!(%repository, %reference, digest = %mirrored.digest, upstream = %place, "a watched image was brought here");
            if mirrored.digest != there {
                // It moved while it was fetched: the next look sees that.
                return Ok(());
            }
        }
        // An image nobody had before is no update of anything.
        if seen.is_some() || here.is_some_and(|here| here != there) {
            self.tell(repository, reference, &there).await?;
        }
        let record = Record {
            repository: repository.to_string(),
            tag: key,
            host: place.host.clone(),
            upstream: place.repository.clone(),
            digest: there.to_string(),
        };
        self.seen.keep(record).await.map_err(Fault::disk("cannot keep what was seen of a watched image"))
    }

    async fn tell(&self, repository: &RepositoryName, reference: &Reference, digest: &Digest) -> Result<(), Fault> {
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(_) => None,
        };
        let told = self.notices.pushed(repository.as_str(), tag, digest.as_str()).await;
        told.map_err(|fault| Fault::NotNoted(fault.to_string()))
    }
}

fn watched(image: &WatchedImage) -> Result<Watched, String> {
    let bad = || format!("watchImages: {:?} is not an image such as \"ghcr.io/owner/app:edge\"", image.upstream);
    let (place, reference) = read_image(&image.upstream).ok_or_else(bad)?;
    let reference = Reference::parse(&reference).ok_or_else(bad)?;
    let repository = RepositoryName::parse(&image.local_repo)
        .ok_or_else(|| format!("watchImages: {:?} is not the name of a repository", image.local_repo))?;
    Ok(Watched { place, reference, repository })
}

#[cfg(test)]
mod tests;
