//! ImageActor: turns image references into archives the device can read.
//!
//! Owns     nothing yet but the source of archives.  Asks  nobody.
//! Answers  EnsureTarball.  Tells  nobody.
//! Ticks    none.  Rebuilds  nothing: the cache on disk is the state.

use std::sync::Arc;

use actix::{Actor, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::images::EnsureTarball;
use mkube_model::disk_map::DiskMap;
use mkube_model::neighbours::tarballs::{Tarball, TarballFault, TarballSource};

/// See the room's card.
pub struct ImageActor {
    source: Arc<dyn TarballSource>,
    map: DiskMap,
}

impl ImageActor {
    /// A new incarnation; the device sees the archives of `source` through `map`.
    pub fn new(source: Arc<dyn TarballSource>, map: DiskMap) -> Self {
        Self { source, map }
    }
}

impl Actor for ImageActor {
    type Context = Context<Self>;
}

impl Handler<EnsureTarball> for ImageActor {
    type Result = ResponseActFuture<Self, Result<Tarball, TarballFault>>;
    fn handle(&mut self, order: EnsureTarball, _ctx: &mut Self::Context) -> Self::Result {
        let (source, map) = (self.source.clone(), self.map.clone());
        let context = order.context.clone();
        let work = async move {
            let archive = source.ensure(&order.request, Arc::new(|_| {})).await?;
            let device_path = map.to_device(&archive.path);
            Ok(Tarball {
                device_path,
                digest: archive.digest,
                stale: archive.stale,
                bytes: archive.bytes,
                pulled: false,
            })
        };
        Box::pin(context.answered_by("images", work).into_actor(self))
    }
}
