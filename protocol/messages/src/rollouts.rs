//! What RolloutActor is told, answers and publishes.

use std::sync::Arc;

use crate::watch;
use actix::Message;
use jiff::Timestamp;
use mkube_model::neighbours::tarballs::TarballFault;

use crate::objects::ObjectKey;
use crate::request::{Event, Floor, Request, RequestContext};

/// An image was pushed to a registry. Told by HttpEdge and NatsEdge. A hint to ask the registry sooner: what it says is not taken on trust,
/// and a lost one costs time until the next periodic check.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ImagePushed {
    /// Repository, without the registry.
    pub repository: String,
    /// Tag.
    pub tag: String,
    /// Digest of what was pushed, when the notice says; an index's for images of several platforms.
    pub digest: Option<String>,
    /// `host[:port]` of the registry, when the notice says. It may go by other names here.
    pub registry: Option<String>,
}

impl Event for ImagePushed {}

/// Roll an image out now, also to a digest that was refused before. Sent by HttpEdge. Safe to repeat: what runs the digest
/// already is left alone. Answered when the registry said what it has and the order is stored, not when it is carried out.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Redeploying, RedeployFault>")]
pub struct RedeployImage {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Reference, the end of one after a slash, or the last part of one with or without its tag.
    pub image: String,
}

impl Request for RedeployImage {
    type Reply = Redeploying;
    type Fault = RedeployFault;
    const FLOOR: Floor = Floor::Decider;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}

/// What a redeployment is about to do: one entry for each image that matched, sorted by reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redeploying {
    /// Never empty.
    pub images: Vec<RedeployedImage>,
}

/// One image of a redeployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedeployedImage {
    /// Reference as the pods write it.
    pub image: String,
    /// Digest (`sha256:…`) the registry has now.
    pub digest: String,
    /// Pods that will be replaced, in order.
    pub queued: Vec<ObjectKey>,
    /// Pods of the image that run this digest already.
    pub current: Vec<ObjectKey>,
}

/// Why nothing is redeployed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedeployFault {
    /// No pod that follows its image uses it.
    #[error("no pod with vkube.io/image-policy: auto uses image {image}")]
    NoPods {
        /// The image asked for.
        image: String,
    },
    /// The very same is being done.
    #[error("image {image} is being rolled out to {digest} already, {pod} is at it")]
    UnderWay {
        /// Reference as the pods write it.
        image: String,
        /// Where to.
        digest: String,
        /// Which pod is being replaced.
        pod: ObjectKey,
    },
    /// Objects or device were not read yet: nothing is decided before.
    #[error("the store or the device was not read yet")]
    NotYet,
    /// The registry does not say what it has.
    #[error("{0}")]
    Image(#[from] TarballFault),
    /// The order could not be stored.
    #[error("the order could not be stored: {0}")]
    NotStored(String),
}

/// What RolloutActor publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutsView {
    /// Images of pods that follow their image (`vkube.io/image-policy: auto`), sorted by reference.
    pub images: Vec<ImageRollout>,
}

/// What is known of an image that pods follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRollout {
    /// Reference as the pods write it.
    pub image: String,
    /// Digest the registry had when it was last asked.
    pub digest: Option<String>,
    /// What is being done.
    pub state: RolloutState,
    /// Pods that follow it.
    pub pods: usize,
    /// Those of them that run `digest`.
    pub current: usize,
    /// When the registry last said what it has.
    pub last_checked: Option<Timestamp>,
    /// Why it does not say, or why its image could not be fetched.
    pub error: Option<String>,
}

/// What is being done about an image that pods follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolloutState {
    /// The registry was not asked yet.
    Unchecked,
    /// The registry is being asked.
    Checking,
    /// Every pod runs what the registry has, as far as is known.
    Current,
    /// The archive is being fetched, before any pod is touched.
    Fetching,
    /// Pods wait for other rollouts.
    Waiting,
    /// A pod is being replaced.
    Rolling {
        /// Where to.
        digest: String,
        /// Which pod.
        pod: ObjectKey,
    },
    /// The digest the registry has failed on a pod; it is not tried again until somebody asks, or another one appears.
    Refused,
}

/// Reads what RolloutActor publishes.
pub type RolloutsReader = watch::Receiver<Arc<RolloutsView>>;

/// The writing end; outlives the actor.
pub type RolloutsPublisher = Arc<watch::Sender<Arc<RolloutsView>>>;

/// A connected pair, empty.
pub fn rollouts_view() -> (RolloutsPublisher, RolloutsReader) {
    let (sender, reader) = watch::channel(Arc::new(RolloutsView::default()));
    (Arc::new(sender), reader)
}
