//! The actor: works at the desk.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, WrapFuture};
use mkube_messages::router::DeviceReader;

use crate::desk::LeaseDesk;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct LeaseParts {
    /// Where what is known lies; outlives the actor.
    pub desk: Arc<LeaseDesk>,
    /// What the device looks like.
    pub device: DeviceReader,
}

/// See the room's card.
pub struct LeaseActor {
    parts: LeaseParts,
}

impl LeaseActor {
    /// A new incarnation.
    pub fn new(parts: LeaseParts) -> Self {
        Self { parts }
    }
}

impl Actor for LeaseActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let LeaseParts { desk, device } = self.parts.clone();
        ctx.spawn(async move { desk.work(Some(&device)).await }.into_actor(self));
    }
}
