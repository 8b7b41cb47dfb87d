//! What ImageActor answers and publishes.

use std::sync::Arc;

use crate::watch;
use actix::Message;
use mkube_model::neighbours::tarballs::{CachedImage, ImageRequest, PullProgress, Tarball, TarballFault};

use crate::request::{Floor, Request, RequestContext};

/// The archive of an image lies where the device can read it. Sent by PodActor. Safe to repeat; equal requests share the work.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Tarball, TarballFault>")]
pub struct EnsureTarball {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Which image.
    pub request: ImageRequest,
}

impl Request for EnsureTarball {
    type Reply = Tarball;
    type Fault = TarballFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// The digest the registry has for an image now. Sent by RolloutActor. Changes nothing; safe to repeat.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<String, TarballFault>")]
pub struct ResolveImage {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Which image.
    pub request: ImageRequest,
}

impl Request for ResolveImage {
    type Reply = String;
    type Fault = TarballFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// What ImageActor publishes.
#[derive(Debug, Clone, Default)]
pub struct ImagesView {
    /// Archives of the cache.
    pub cached: Vec<CachedImage>,
    /// Pulls going on, sorted by image.
    pub pulling: Vec<PullProgress>,
}

/// Reads what ImageActor publishes.
pub type ImagesReader = watch::Receiver<Arc<ImagesView>>;

/// The writing end; kept outside the actor so that readers survive its restarts.
pub type ImagesPublisher = Arc<watch::Sender<Arc<ImagesView>>>;

/// A connected pair, empty.
pub fn images_view() -> (ImagesPublisher, ImagesReader) {
    let (sender, reader) = watch::channel(Arc::default());
    (Arc::new(sender), reader)
}
