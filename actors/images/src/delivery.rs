//! How an archive comes to the device: it lies there already, on a disk both see; or the device fetches it from us.
//!
//! What is fetched gets its name when it is whole: first `<name>.part`, then, if the size is right, `<name>`. The name says what is in
//! it (the digest), so an archive of that name and size is never fetched again.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mkube_messages::door::{CallError, Door, NotAnswered};
use mkube_messages::offers::{Offered, Offers};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::router::{DescribeFile, DescribeRoom, FetchFile, RemoveFile, RenameFile};
use mkube_model::disk_map::DiskMap;
use mkube_model::names;
use mkube_model::neighbours::router::{Outcome, RouterFault};
use mkube_model::neighbours::tarballs::{Archive, CachedImage, TarballFault};
use mkube_model::secret::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

/// How long one offer stands at most; it ends sooner with the delivery.
const OFFER: Duration = Duration::from_secs(3600);
/// Pause between two looks for a file that comes without an answer: the first, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// A device that has not read for so long does not read any more.
const GIVEN_UP: Duration = Duration::from_secs(20);

/// How archives come to the device.
#[derive(Clone)]
pub enum Delivery {
    /// The device sees the cache's directory.
    Shared(DiskMap),
    /// The device fetches them.
    Fetch(Arc<FetchDelivery>),
}

/// What fetching needs.
pub struct FetchParts {
    /// Directory on the device; ours alone.
    pub directory: String,
    /// Address under which the device reaches our API.
    pub base_url: String,
    /// Where files are offered.
    pub offers: Offers,
    /// Asks for the size of a file.
    pub describe: Door<DescribeFile>,
    /// Asks for free space.
    pub room: Door<DescribeRoom>,
    /// Orders a download.
    pub fetch: Door<FetchFile>,
    /// Names what came.
    pub rename: Door<RenameFile>,
    /// Removes what came wrong, and what is not needed any more.
    pub remove: Door<RemoveFile>,
}

/// Delivery by the device's own download.
pub struct FetchDelivery {
    parts: FetchParts,
    /// One after the other: two pods may want the same archive, and the device fetches one at a time anyway.
    turn: Semaphore,
}

/// Why it did not come, in words.
#[derive(Debug)]
struct NotCome(String);

impl<T: fmt::Display> From<T> for NotCome {
    fn from(cause: T) -> Self {
        Self(cause.to_string())
    }
}

impl Delivery {
    /// Delivery by download.
    pub fn fetch(parts: FetchParts) -> Self {
        Self::Fetch(Arc::new(FetchDelivery { parts, turn: Semaphore::new(1) }))
    }

    /// Brings an archive to the device; the path under which the device has it. Safe to repeat; leaving it ends a download under way.
    pub async fn deliver(
        &self,
        image: &str,
        archive: &Archive,
        context: &RequestContext,
    ) -> Result<String, TarballFault> {
        match self {
            Self::Shared(map) => Ok(map.to_device(&archive.path)),
            Self::Fetch(fetch) => {
                let brought = fetch.bring(archive, context).await;
                brought.map_err(|NotCome(why)| TarballFault::NotDelivered { image: image.to_owned(), why })
            }
        }
    }

    /// The device's copies of archives that are gone here go too, where they are copies.
    pub async fn forget(&self, gone: &[CachedImage]) {
        let Self::Fetch(fetch) = self else { return };
        for archive in gone {
            // What was only said to go is still here; and a copy without a digest in its name cannot be told from another.
            let here = tokio::fs::try_exists(&archive.path).await.unwrap_or(true);
            let (false, Some(name)) = (here, archive.digest.as_deref().and_then(digest_name)) else { continue };
            let path = fetch.path(&name);
            let context = RequestContext::new("forget archive", patience::DEVICE);
            if let Err(error) = fetch.parts.remove.ask(RemoveFile { context, path: path.clone() }).await {
                tracing::info!(%error, path, "the device's copy of a collected archive stays");
            }
        }
    }
}

fn digest_name(digest: &str) -> Option<String> {
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| format!("sha256-{hex}.tar"))
}

/// A name that says what is in it: the digest, or what tells one file from another.
fn name_of(archive: &Archive, modified: Option<Duration>) -> String {
    if let Some(name) = archive.digest.as_deref().and_then(digest_name) {
        return name;
    }
    let stem = archive.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let written = modified.unwrap_or_default().as_nanos();
    let path = archive.path.display();
    format!("{}-{:08x}.tar", names::archive_name(&stem), names::fnv1a(&format!("{path} {} {written}", archive.bytes)))
}

async fn modified(path: &Path) -> Option<Duration> {
    tokio::fs::metadata(path).await.ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()
}

/// 256 bits nobody can guess, in letters an address takes.
fn token() -> Result<String, NotCome> {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NotCome("the machine gives no random numbers".into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl FetchDelivery {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.parts.directory.trim_end_matches('/'))
    }

    async fn bring(&self, archive: &Archive, context: &RequestContext) -> Result<String, NotCome> {
        let path = self.path(&name_of(archive, modified(&archive.path).await));
        if self.size(&path, context).await? == Some(archive.bytes) {
            return Ok(path);
        }
        let _turn = self.turn.acquire().await?;
        // Whoever was before may have brought the same.
        if self.size(&path, context).await? == Some(archive.bytes) {
            return Ok(path);
        }
        let device = || context.within(patience::DEVICE);
        let free = self.parts.room.ask(DescribeRoom { context: device(), path: path.clone() }).await?;
        if let Some(free) = free.filter(|free| *free < archive.bytes) {
            return Err(NotCome(format!("the device has {free} bytes free and {} are needed", archive.bytes)));
        }
        let part = format!("{path}.part");
        if let Err(why) = self.fetch(archive, &part, context).await {
            // Half a file is of no use to anybody; a device that does not answer keeps it until the next try.
            let removed = self.parts.remove.ask(RemoveFile { context: device(), path: part.clone() }).await;
            if let Err(error) = removed {
                tracing::warn!(%error, path = part, "what came of a download stays on the device");
            }
            return Err(why);
        }
        self.parts.rename.ask(RenameFile { context: device(), from: part, to: path.clone() }).await?;
        Ok(path)
    }

    /// Has the device fetch it, by a request, and where that is cut before the end, by a job.
    async fn fetch(&self, archive: &Archive, part: &str, context: &RequestContext) -> Result<(), NotCome> {
        for in_background in [false, true] {
            // What an earlier offer began ends with it: nobody else writes to the file.
            let offer = self.parts.offers.offer(token()?, archive.path.clone(), archive.bytes, OFFER);
            let order = FetchFile {
                context: context.within(patience::FETCH),
                url: Secret::new(offer.url(&self.parts.base_url)),
                path: part.to_owned(),
                in_background,
            };
            let (open, size) = match self.parts.fetch.ask(order).await {
                Ok(()) if !in_background => (false, self.size(part, context).await?),
                Ok(()) => (true, self.comes(archive.bytes, part, &offer, context).await?),
                Err(error) if is_open(&error) => (true, self.comes(archive.bytes, part, &offer, context).await?),
                Err(error) => return Err(error.into()),
            };
            if size == Some(archive.bytes) {
                return Ok(());
            }
            // A session that was cut may have ended the download with it: a job has all the time it needs.
            if !open || in_background {
                let came = size.unwrap_or(0);
                return Err(NotCome(format!("{came} bytes of {} came to {part}", archive.bytes)));
            }
        }
        Err(NotCome(format!("nothing came to {part}")))
    }

    /// Looks for a file that comes without an answer, until it is whole or the device reads no more; its size then.
    async fn comes(
        &self,
        bytes: u64,
        part: &str,
        offer: &Offered,
        context: &RequestContext,
    ) -> Result<Option<u64>, NotCome> {
        let mut pause = LOOKS.0;
        loop {
            // A device that is away for a moment may go on all the same.
            let size = self.size(part, context).await;
            let given_up = offer.idle().is_some_and(|idle| idle >= GIVEN_UP);
            match size {
                Ok(size) if size == Some(bytes) || given_up => return Ok(size),
                Err(error) if given_up => return Err(error.into()),
                _ if context.remaining() < pause => return Err(NotCome(format!("{part} did not come in time"))),
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    async fn size(&self, path: &str, context: &RequestContext) -> Result<Option<u64>, CallError<RouterFault>> {
        let question = DescribeFile { context: context.within(patience::DEVICE), path: path.to_owned() };
        self.parts.describe.ask(question).await
    }
}

/// Whether an order may still be carried out.
fn is_open(error: &CallError<RouterFault>) -> bool {
    match error {
        CallError::Fault(fault) => fault.outcome() == Outcome::Unknown,
        CallError::NotAnswered(why) => matches!(why, NotAnswered::Gone | NotAnswered::Late),
    }
}
