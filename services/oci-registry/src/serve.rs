//! Serving a registry on listeners, and the work that comes round by itself.

use std::io;
use std::time::Duration;

use actix_web::App;
use actix_web::dev::{Server, ServerHandle};
use actix_web::web::ServiceConfig;

use crate::http::configure;
use crate::parts::RegistryParts;
use crate::store::Store;
use crate::wire;
pub use crate::wire::Listening;

/// Makes a server of the listeners; it serves while the returned future is polled, and its handle stops it. `more` adds routes beside
/// those of the registry, and is asked first.
pub fn serve(
    listeners: Vec<Listening>,
    parts: RegistryParts,
    more: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<(Server, ServerHandle)> {
    let limits = parts.limits;
    let registry = configure(parts);
    let server =
        wire::serve(listeners, limits, move || App::new().configure(more.clone()).configure(registry.clone()))?;
    let handle = server.handle();
    Ok((server, handle))
}

/// How often the store is looked after.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Ending uploads that nobody writes to.
    pub uploads: Duration,
    /// Collecting garbage.
    pub garbage: Duration,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { uploads: Duration::from_secs(600), garbage: Duration::from_secs(6 * 3600) }
    }
}

/// Looks after a store until the future is dropped.
pub async fn look_after(store: Store, rounds: Rounds) {
    let every = |period| {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    };
    let (mut uploads, mut garbage) = (every(rounds.uploads), every(rounds.garbage));
    loop {
        tokio::select! {
            _ = uploads.tick() => match store.expire_uploads().await {
                Ok(0) => {}
                Ok(ended) => tracing::info!(ended, "uploads expired"),
                Err(fault) => tracing::warn!(%fault, "uploads not looked after"),
            },
            _ = garbage.tick() => match store.collect_garbage().await {
                Ok(collected) if collected.blobs == 0 => {}
                Ok(collected) => tracing::info!(blobs = collected.blobs, bytes = collected.bytes, "garbage collected"),
                Err(fault) => tracing::warn!(%fault, "garbage not collected"),
            },
        }
    }
}
