//! Who may go on at once and who waits in line. Pulls are few at a time: each takes the line, the disk and the processor of a
//! small device. Whatever is in the cache does not wait for them.

use mkube_messages::images::ImagesView;
use mkube_model::neighbours::tarballs::{Archive, ImageRequest, ProgressSink, PullPolicy, TarballFault, TarballSource};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Images that are pulled at the same time.
const PULLING: usize = 2;
/// Looks into the cache and short questions to registries at the same time.
const ASKING: usize = 16;

/// Two lines, each in order of arrival.
#[derive(Debug)]
pub struct Lanes {
    asking: Semaphore,
    pulling: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { asking: Semaphore::new(ASKING), pulling: Semaphore::new(PULLING) }
    }
}

impl Lanes {
    /// The archive of an image. `known`: what the cache is known to hold. Nobody waits in line longer than until `deadline`; a
    /// pull that was begun goes on.
    pub async fn ensure(
        &self,
        source: &dyn TarballSource,
        known: &ImagesView,
        request: &ImageRequest,
        progress: ProgressSink,
        deadline: Instant,
    ) -> Result<Archive, TarballFault> {
        if let Some(found) = self.without_pull(source, known, request, &progress, deadline).await {
            return found;
        }
        let _turn = turn(&self.pulling, request, deadline).await?;
        source.ensure(request, progress).await
    }

    /// What the registry has for an image now.
    pub async fn resolve(
        &self,
        source: &dyn TarballSource,
        request: &ImageRequest,
        deadline: Instant,
    ) -> Result<String, TarballFault> {
        let _turn = turn(&self.asking, request, deadline).await?;
        source.resolve(request).await
    }

    /// The answer, if none has to be pulled for it.
    async fn without_pull(
        &self,
        source: &dyn TarballSource,
        known: &ImagesView,
        request: &ImageRequest,
        progress: &ProgressSink,
        deadline: Instant,
    ) -> Option<Result<Archive, TarballFault>> {
        let _turn = match turn(&self.asking, request, deadline).await {
            Ok(turn) => turn,
            Err(fault) => return Some(Err(fault)),
        };
        if request.policy == PullPolicy::Always && request.digest.is_none() {
            let digest = known.cached.iter().find(|one| one.references.contains(&request.image))?.digest.as_ref()?;
            match source.resolve(request).await {
                Ok(now) if now == *digest => {}
                Ok(_) => return None,
                // The source knows what to do when its registry does not answer, and will not pull from it.
                Err(_) => return Some(source.ensure(request, progress.clone()).await),
            }
        }
        let cached = ImageRequest { policy: PullPolicy::Never, ..request.clone() };
        match source.ensure(&cached, progress.clone()).await {
            Err(TarballFault::BadReference { image, why }) => Some(Err(TarballFault::BadReference { image, why })),
            Err(fault) if request.policy == PullPolicy::Never => Some(Err(fault)),
            Err(_) => None,
            Ok(archive) => Some(Ok(archive)),
        }
    }
}

async fn turn<'a>(
    line: &'a Semaphore,
    request: &ImageRequest,
    deadline: Instant,
) -> Result<tokio::sync::SemaphorePermit<'a>, TarballFault> {
    match tokio::time::timeout_at(deadline, line.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        // Nobody closes it.
        Ok(Err(_)) | Err(_) => Err(TarballFault::Unreachable {
            image: request.image.clone(),
            registry: "its registry".into(),
            why: "other images are being pulled; it is asked for again".into(),
        }),
    }
}
