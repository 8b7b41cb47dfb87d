//! One blob from a registry to the disk: resumed where it broke off, checked while it comes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::asking::{Ask, Registries};
use crate::blobs::{Blobs, Part};
use crate::credentials::Place;
use crate::manifest::Blob;
use crate::trouble::{Hitch, Trouble};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes that count as progress: a registry that breaks off again and again is not asked for ever.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Hears of bytes that came, and of bytes that turned out to be of no use (negative).
pub(crate) type Hear = Arc<dyn Fn(i64) + Send + Sync>;

/// Everything a download needs.
#[derive(Clone)]
pub(crate) struct Downloads {
    pub(crate) registries: Arc<Registries>,
    pub(crate) blobs: Blobs,
    /// Downloads at the same time.
    pub(crate) room: Arc<Semaphore>,
}

impl Downloads {
    /// Brings a blob here, from the first of the places that has it.
    pub(crate) async fn fetch(&self, blob: &Blob, places: &[Place], hear: Hear) -> Result<(), Trouble> {
        let _room = self.room.acquire().await.map_err(|_| Trouble::Unreadable("downloads have ended".to_owned()))?;
        let (blobs, own) = (self.blobs.clone(), blob.clone());
        if blocking(move || blobs.is_here(&own)).await? {
            return Ok(());
        }
        let mut last = None;
        for place in places {
            match self.fetch_from(place, blob, &hear).await {
                Ok(()) => return Ok(()),
                Err(trouble) if trouble.is_of_one_registry() => {
                    tracing::debug!(registry = %place.host, blob = %blob.digest, ?trouble, "blob not got here");
                    // What the registry itself says counts, not its mirrors; and its first word, not that to nobody.
                    let same = last.as_ref().is_some_and(|(host, _)| *host == place.host);
                    if !same {
                        last = Some((place.host.clone(), trouble));
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Err(last.map_or_else(|| Trouble::Unreadable("there is no registry to ask".to_owned()), |(_, trouble)| trouble))
    }

    async fn fetch_from(&self, place: &Place, blob: &Blob, hear: &Hear) -> Result<(), Trouble> {
        let (blobs, own) = (self.blobs.clone(), blob.clone());
        let mut part = blocking(move || blobs.open(&own)).await?;
        let mut failed = 0;
        while part.received() < blob.bytes {
            let before = part.received();
            let (back, outcome) = self.receive(place, blob, part, hear).await?;
            part = back;
            let (after, why, too_short) = match outcome {
                Ok(()) if part.received() == blob.bytes => break,
                Ok(()) => {
                    let why = format!("blob {} ends after {} of {} bytes", blob.digest, part.received(), blob.bytes);
                    (None, why, true)
                }
                Err(Hitch::Later { after, why }) => (after, why, false),
                Err(Hitch::Final(trouble)) => {
                    if matches!(trouble, Trouble::Unusable(_) | Trouble::NoRoom(_)) {
                        hear(-(part.received() as i64));
                        blocking(move || part.discard_ok()).await?;
                    }
                    return Err(trouble);
                }
            };
            failed = if part.received() >= before + PROGRESS_BYTES { 1 } else { failed + 1 };
            if too_short && failed >= self.registries.pace.attempts {
                hear(-(part.received() as i64));
                blocking(move || part.discard_ok()).await?;
                return Err(Trouble::Unusable(why));
            }
            self.registries.rest(place, failed, after, why).await?;
        }
        let (blobs, own) = (self.blobs.clone(), blob.clone());
        if blocking(move || blobs.finish(part, &own)).await? {
            return Ok(());
        }
        hear(-(blob.bytes as i64));
        Err(Trouble::Unusable(format!("blob {} is not what its digest says", blob.digest)))
    }

    /// Receives what comes of one request. The part comes back unless the disk failed.
    async fn receive(
        &self,
        place: &Place,
        blob: &Blob,
        mut part: Part,
        hear: &Hear,
    ) -> Result<(Part, Result<(), Hitch>), Trouble> {
        let path = format!("blobs/{}", blob.digest);
        let ask = Ask { method: Method::GET, path: &path, accept: "", from: part.received() };
        let mut answer = match self.registries.once(place, &ask).await {
            Ok(answer) => answer,
            Err(hitch) => return Ok((part, Err(hitch))),
        };
        if answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
            let why = format!("a web page came where blob {} is wanted", blob.digest);
            return Ok((part, Err(Trouble::Unusable(why).into())));
        }
        if part.received() > 0 && !continues(&answer, part.received()) {
            // It begins at the beginning, whatever it was asked for.
            hear(-(part.received() as i64));
            let own = blob.clone();
            part = blocking(move || part.restart(&own).map(|()| part)).await?;
            if answer.status() == StatusCode::PARTIAL_CONTENT {
                return Ok((part, Err(Hitch::later("it sends another part than was asked for"))));
            }
        }
        let mut gathered = BytesMut::new();
        loop {
            let chunk = match answer.chunk().await {
                Ok(chunk) => chunk,
                Err(error) => {
                    part = keep(part, gathered.split().freeze(), hear).await?;
                    return Ok((part, Err(Hitch::later(self.registries.words(&place.host, &error)))));
                }
            };
            let ended = chunk.is_none();
            gathered.extend_from_slice(&chunk.unwrap_or_default());
            if part.received() + gathered.len() as u64 > blob.bytes {
                let why = format!("blob {} is longer than the {} bytes of its manifest", blob.digest, blob.bytes);
                return Ok((part, Err(Trouble::Unusable(why).into())));
            }
            if ended || gathered.len() >= WRITE_BYTES {
                part = keep(part, gathered.split().freeze(), hear).await?;
            }
            if ended {
                return Ok((part, Ok(())));
            }
        }
    }
}

/// Whether an answer goes on where the last one broke off.
fn continues(answer: &Response, from: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    answer.status() == StatusCode::PARTIAL_CONTENT && range.trim().starts_with(&format!("bytes {from}-"))
}

async fn keep(mut part: Part, bytes: Bytes, hear: &Hear) -> Result<Part, Trouble> {
    if bytes.is_empty() {
        return Ok(part);
    }
    let length = bytes.len() as i64;
    let part = blocking(move || match part.take(&bytes) {
        Ok(()) => Ok(part),
        Err(trouble) => {
            if matches!(trouble, Trouble::NoRoom(_)) {
                part.discard();
            }
            Err(trouble)
        }
    })
    .await?;
    hear(length);
    Ok(part)
}

impl Part {
    fn discard_ok(self) -> Result<(), Trouble> {
        self.discard();
        Ok(())
    }
}

/// Does what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Trouble::Unreadable(format!("work on the disk ended early: {error}"))),
    }
}
