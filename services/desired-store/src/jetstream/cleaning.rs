//! Deletions leave a mark in their bucket; one that everybody has long seen goes.

use std::sync::Arc;

use async_nats::jetstream;
use mkube_model::neighbours::desired_store::{Revision, StoreFault, StoreKey};

use super::Inner;

/// Marks that are taken away at once at most; the others have their turn next time.
const AT_ONCE: usize = 500;

/// Takes away the marks that were there when it was called last, an hour ago. The turn is ours.
pub(crate) async fn clean(inner: &Arc<Inner>) -> Result<(), StoreFault> {
    let Some(session) = inner.peek(|state| state.session.clone()).filter(|session| !session.is_over()) else {
        return Ok(());
    };
    let old = inner.with(|state| state.old_deletions());
    let context = jetstream::new(session.connection.client.clone());
    let mut cleaned: Vec<(StoreKey, Revision)> = Vec::new();
    for (at, revision) in old.into_iter().take(AT_ONCE) {
        let Ok(stream) = context.get_stream_no_info(format!("KV_{}", at.bucket)).await else { continue };
        // Up to the mark and no further: somebody may just be writing the key again.
        let purging = stream.purge().filter(format!("$KV.{}.{}", at.bucket, at.key)).sequence(revision + 1);
        if let Err(error) = purging.await {
            tracing::debug!(bucket = %at.bucket, key = %at.key, %error, "what marks a deletion stays for now");
            break;
        }
        cleaned.push((at, revision));
    }
    inner.with(|state| {
        for (at, revision) in cleaned {
            if state.known(&at).is_some_and(|known| known.revision == revision) {
                state.cleaned_up(&at);
            }
        }
    });
    inner.flush().await
}
