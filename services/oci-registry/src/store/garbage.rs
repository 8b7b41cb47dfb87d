//! Which blobs nobody needs any more, and removing them while everybody goes on working.

use crate::digest::Digest;
use crate::fault::Fault;
use crate::store::index::Blob;
use crate::store::layout::Holder;
use crate::store::{Inner, Store, blocking};

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs that were removed.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that no manifest names and that are still young.
    pub young: usize,
}

impl Store {
    /// Removes blobs that no manifest of any repository names and that nobody pushed, mounted or asked for within the grace time.
    /// Does nothing when a manifest could not be read at start: what it names is not known.
    pub async fn collect_garbage(&self) -> Result<Collected, Fault> {
        let mut collected = Collected::default();
        if !self.0.complete {
            tracing::warn!("no garbage is collected: a manifest could not be read");
            return Ok(collected);
        }
        let candidates: Vec<Digest> = {
            let index = self.0.read();
            let unnamed = index.blobs().filter(|(digest, _)| !index.is_named(digest));
            unnamed.map(|(digest, _)| digest.clone()).collect()
        };
        for digest in candidates {
            let lock = self.0.digests.hold(&digest).await;
            let gate = self.0.gate.clone().write_owned().await;
            let inner = self.0.clone();
            let removed = blocking(move || {
                // Asked again, now that no manifest is being stored.
                let Some(blob) = inner.take_garbage(&digest) else { return Ok(None) };
                drop(gate);
                let everywhere = blob.everywhere.then_some(Holder::Everywhere);
                let holders: Vec<Holder> =
                    blob.repositories.into_iter().map(Holder::Repository).chain(everywhere).collect();
                inner.remove_files(&digest, &holders, &lock)?;
                Ok(Some(blob.size))
            });
            match removed.await? {
                Some(bytes) => {
                    collected.blobs += 1;
                    collected.bytes += bytes;
                }
                None => collected.young += 1,
            }
        }
        Ok(collected)
    }
}

impl Inner {
    fn take_garbage(&self, digest: &Digest) -> Option<Blob> {
        let mut index = self.write();
        let grace = u64::try_from(self.options.grace.as_millis()).unwrap_or(u64::MAX);
        let touched = index.blob(digest)?.touched.load(std::sync::atomic::Ordering::Relaxed);
        let old = self.now().saturating_sub(touched) >= grace;
        if index.is_named(digest) || !old { None } else { index.remove_blob(digest) }
    }
}
