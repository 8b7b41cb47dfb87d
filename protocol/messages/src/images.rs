//! What ImageActor answers and publishes, and what is told and asked of rollouts.

use std::sync::Arc;

use actix::Message;
use mkube_model::neighbours::tarballs::{CachedImage, ImageRequest, PullProgress, Tarball, TarballFault};
use tokio::sync::watch;

use crate::objects::ObjectKey;
use crate::request::{Event, Floor, Request, RequestContext};

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

/// An image was pushed to a registry. Told by the HTTP edge, later by the NATS edge, to RolloutActor.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ImagePushed {
    /// Repository, without the registry.
    pub repository: String,
    /// Tag.
    pub tag: String,
    /// Digest of what was pushed, when the notice says; an index's for images of several platforms.
    pub digest: Option<String>,
    /// `host[:port]` of the registry, when the notice says.
    pub registry: Option<String>,
}

impl Event for ImagePushed {}

/// Roll an image out now, also to a digest that was refused before. Sent by the HTTP edge.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Redeploying, TarballFault>")]
pub struct RedeployImage {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Reference, or the end of one, as the request has it.
    pub image: String,
}

impl Request for RedeployImage {
    type Reply = Redeploying;
    type Fault = TarballFault;
    const FLOOR: Floor = Floor::Decider;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// What a redeployment is about to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redeploying {
    /// Digest the registry has now.
    pub digest: String,
    /// Pods that will be replaced, in order.
    pub queued: Vec<ObjectKey>,
    /// Pods of the image that run this digest already.
    pub current: Vec<ObjectKey>,
}
