//! One image from its manifest to its archive: config, layers, conversion, and the archive shown in the cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use mkube_model::neighbours::tarballs::{ProgressSink, PullPhase, PullProgress};
use mkube_model::settings::Architecture;
use tokio::sync::Semaphore;

use crate::blobs::{Blobs, Rest};
use crate::cache::{Cache, Found};
use crate::convert::{BlobSource, BlobTrust, ConvertFault, LayerBlob, Limits, Progress, SourceImage, convert};
use crate::credentials::Place;
use crate::digest::Digest;
use crate::download::{Downloads, Hear, blocking};
use crate::flights::Flights;
use crate::manifest::{Blob, Manifest, check_platform};
use crate::trouble::Trouble;

/// Bytes between two reports of a download.
const REPORT_BYTES: i64 = 1 << 20;
/// Pause between two looks at the room that is left while an archive is written.
const ROOM_PAUSE: Duration = Duration::from_millis(200);

/// What a pull is to bring.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    /// What the archive calls itself.
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    /// Whom to ask, the one that gave the manifest first.
    pub(crate) places: Vec<Place>,
}

/// Pulls images.
#[derive(Clone)]
pub(crate) struct Puller {
    pub(crate) downloads: Downloads,
    pub(crate) blobs: Blobs,
    pub(crate) cache: Arc<Cache>,
    pub(crate) audience: Audience,
    pub(crate) blob_flights: Arc<Flights<()>>,
    /// Conversions at the same time: one, since it wants the whole disk.
    pub(crate) converting: Arc<Semaphore>,
    pub(crate) limits: Limits,
    /// Bytes of the file system left free.
    pub(crate) keep_free: u64,
}

impl Puller {
    /// Brings the image; what is left behind when it fails is only what the next attempt can use.
    pub(crate) async fn pull(self, order: Order) -> Result<Found, Trouble> {
        let manifest = &order.manifest;
        let mut hold = self.blobs.hold(manifest.layers.iter());
        let outcome = self.bring(&order).await;
        let of_use = matches!(&outcome, Err(Trouble::Away { .. } | Trouble::Denied { .. } | Trouble::NotFound { .. }));
        hold.rest = if of_use { Rest::Stays } else { Rest::Goes };
        blocking(move || {
            drop(hold);
            Ok(())
        })
        .await?;
        outcome
    }

    async fn bring(&self, order: &Order) -> Result<Found, Trouble> {
        let manifest = &order.manifest;
        if manifest.layers.is_empty() {
            return Err(Trouble::Unusable(ConvertFault::NoLayers.to_string()));
        }
        let config = self.config(order).await?;
        check_platform(&config, order.architecture)?;
        let (blobs, layers) = (self.blobs.clone(), manifest.layers.clone());
        let here = blocking(move || Ok(distinct(&layers).map(|layer| blobs.bytes_here(layer)).sum::<u64>())).await?;
        let total = manifest.layer_bytes();
        self.check_room(total.saturating_sub(here), "its layers").await?;
        let report = Report { audience: self.audience.clone(), digest: order.digest.clone(), total };
        self.layers(order, here, &report).await?;
        let _turn = self.converting.acquire().await.map_err(|_| Trouble::Unreadable("pulls have ended".to_owned()))?;
        report.tell(PullPhase::Converting, total);
        self.convert(order, config).await
    }

    async fn config(&self, order: &Order) -> Result<Vec<u8>, Trouble> {
        let mut last = None;
        for place in &order.places {
            match self.downloads.registries.small_blob(place, &order.manifest.config).await {
                Ok(config) => return Ok(config),
                Err(trouble) => last = Some(last.unwrap_or(trouble)),
            }
        }
        Err(last.unwrap_or_else(|| Trouble::Unreadable("there is no registry to ask".to_owned())))
    }

    async fn layers(&self, order: &Order, here: u64, report: &Report) -> Result<(), Trouble> {
        let done = Arc::new(AtomicI64::new(i64::try_from(here).unwrap_or(i64::MAX)));
        report.tell(PullPhase::Downloading, here);
        let told = Arc::new(AtomicI64::new(0));
        let (hear_report, hear_done) = (report.clone(), done.clone());
        let hear: Hear = Arc::new(move |bytes| {
            let now = hear_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let last = told.load(Ordering::Relaxed);
            if (now - last).abs() >= REPORT_BYTES || now as u64 == hear_report.total {
                told.store(now, Ordering::Relaxed);
                hear_report.tell(PullPhase::Downloading, now.max(0) as u64);
            }
        });
        try_join_all(distinct(&order.manifest.layers).map(|layer| self.layer(layer, order, &hear))).await?;
        Ok(())
    }

    async fn layer(&self, layer: &Blob, order: &Order, hear: &Hear) -> Result<(), Trouble> {
        loop {
            let begin = || {
                let (downloads, layer, places, hear) =
                    (self.downloads.clone(), layer.clone(), order.places.clone(), hear.clone());
                async move { downloads.fetch(&layer, &places, hear).await }
            };
            match self.blob_flights.join(layer.digest.as_str(), begin).await {
                // Whoever began it may not have been allowed what we are, or was given up in the same moment.
                (Err(Trouble::Denied { .. } | Trouble::NotFound { .. } | Trouble::Away { .. }), false) => {}
                (outcome, _) => return outcome,
            }
        }
    }

    async fn convert(&self, order: &Order, config: Vec<u8>) -> Result<Found, Trouble> {
        self.check_room(0, "its archive").await?;
        let layer = |blob: &Blob| LayerBlob {
            digest: blob.digest.to_string(),
            source: BlobSource::File(self.blobs.whole(&blob.digest)),
            trust: BlobTrust::Verified,
        };
        let image =
            SourceImage { name: order.name.clone(), config, layers: order.manifest.layers.iter().map(layer).collect() };
        let progress = Arc::new(Progress::default());
        let _cancel = CancelOnDrop(progress.clone());
        let (target, limits, own) = (self.blobs.workbench(&order.digest), self.limits.clone(), progress.clone());
        let (cache, digest) = (self.cache.clone(), order.digest.clone());
        let work = blocking(move || {
            convert(&image, &target, &limits, &own).map_err(trouble_of)?;
            cache.show(&target, &digest).inspect_err(|_| {
                // Swept at the next start where it cannot go now.
                let _ = std::fs::remove_file(&target);
            })
        });
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(ROOM_PAUSE) => {}
            }
            if let Err(no_room) = self.check_room(0, "its archive").await {
                progress.cancel();
                let done = work.await;
                return if done.is_ok() { done } else { Err(no_room) };
            }
        }
    }

    /// Whether so many bytes more leave as much free as shall be.
    async fn check_room(&self, bytes: u64, what: &str) -> Result<(), Trouble> {
        let (directory, keep) = (self.cache.directory.clone(), self.keep_free);
        let free = blocking(move || free_bytes(&directory)).await?;
        if free >= bytes.saturating_add(keep) {
            return Ok(());
        }
        Err(Trouble::NoRoom(format!("{what} want {bytes} bytes, {free} are free, and {keep} of them stay free")))
    }
}

/// Each blob once; an image may list a layer twice.
fn distinct(layers: &[Blob]) -> impl Iterator<Item = &Blob> {
    layers.iter().enumerate().filter(|(nth, layer)| !layers[..*nth].contains(layer)).map(|(_, layer)| layer)
}

/// Bytes that are free where the cache lies. Blocks.
pub(crate) fn free_bytes(directory: &std::path::Path) -> Result<u64, Trouble> {
    let found = rustix::fs::statvfs(directory).map_err(|error| Trouble::disk(directory, &error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn trouble_of(fault: ConvertFault) -> Trouble {
    use std::error::Error;
    let mut text = fault.to_string();
    if let Some(cause) = fault.source() {
        text = format!("{text}: {cause}");
    }
    match fault {
        ConvertFault::DiskFull { .. } => Trouble::NoRoom(text),
        ConvertFault::Unwritable { .. } | ConvertFault::Busy { .. } | ConvertFault::Unreadable { .. } => {
            Trouble::Unreadable(text)
        }
        ConvertFault::Cancelled => Trouble::Unreadable("the conversion was given up".to_owned()),
        _ => Trouble::Unusable(text),
    }
}

/// A conversion ends soon after nobody waits for it: the process may be stopping.
struct CancelOnDrop(Arc<Progress>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Who hears how far pulls have come.
#[derive(Clone, Default)]
pub(crate) struct Audience(Arc<Mutex<Listeners>>);

#[derive(Default)]
struct Listeners {
    next: u64,
    by_digest: HashMap<Digest, Vec<(u64, String, ProgressSink)>>,
}

/// A place in the audience; given up when dropped.
pub(crate) struct Seat {
    audience: Audience,
    digest: Digest,
    number: u64,
}

impl Audience {
    fn lock(&self) -> std::sync::MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `sink` hears of the pull of that manifest, by the name its pod gave the image.
    pub(crate) fn join(&self, digest: &Digest, image: &str, sink: ProgressSink) -> Seat {
        let mut listeners = self.lock();
        listeners.next += 1;
        let number = listeners.next;
        listeners.by_digest.entry(digest.clone()).or_default().push((number, image.to_owned(), sink));
        Seat { audience: self.clone(), digest: digest.clone(), number }
    }

    fn tell(&self, digest: &Digest, phase: PullPhase, done_bytes: u64, total_bytes: u64) {
        let listeners = self.lock().by_digest.get(digest).cloned().unwrap_or_default();
        for (_, image, sink) in listeners {
            sink(PullProgress {
                image,
                digest: Some(digest.to_string()),
                phase,
                done_bytes,
                total_bytes: Some(total_bytes),
            });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut listeners = self.audience.lock();
        if let Some(seats) = listeners.by_digest.get_mut(&self.digest) {
            seats.retain(|(number, ..)| *number != self.number);
            if seats.is_empty() {
                listeners.by_digest.remove(&self.digest);
            }
        }
    }
}

/// Tells the audience of one pull.
#[derive(Clone)]
struct Report {
    audience: Audience,
    digest: Digest,
    total: u64,
}

impl Report {
    fn tell(&self, phase: PullPhase, done: u64) {
        self.audience.tell(&self.digest, phase, done.min(self.total), self.total);
    }
}
