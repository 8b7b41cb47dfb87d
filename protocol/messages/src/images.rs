//! What ImageActor answers.

use actix::Message;
use mkube_model::neighbours::tarballs::{Tarball, TarballFault};

use crate::request::{Floor, Request, RequestContext};

/// The archive of an image lies where the device can read it. Sent by PodActor. Safe to repeat; equal requests share the work.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Tarball, TarballFault>")]
pub struct EnsureTarball {
    /// Id, deadline, span.
    pub context: RequestContext,
    /// Reference as the pod wrote it.
    pub image: String,
}

impl Request for EnsureTarball {
    type Reply = Tarball;
    type Fault = TarballFault;
    const FLOOR: Floor = Floor::Keeper;
    fn context(&self) -> &RequestContext {
        &self.context
    }
}
