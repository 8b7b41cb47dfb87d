//! An upload while somebody works at it: whose it is, when its file goes, and how its bytes reach the disk while more come in.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::store::locks::Held;
use crate::store::{Inner, durable};

/// Bytes that come in before the disk is told again.
const SYNC_EVERY: u64 = 32 << 20;

/// A session that is held. With the last of those who work at it goes the file, if the session has ended.
pub struct Session {
    pub inner: Arc<Inner>,
    pub id: Uuid,
    pub path: PathBuf,
    /// Bytes that are written and counted.
    pub bytes: AtomicU64,
    /// Nobody goes on with it.
    pub ended: AtomicBool,
    _held: Held<Uuid>,
}

impl Session {
    /// Of a file that has so many bytes.
    pub fn new(inner: Arc<Inner>, id: Uuid, path: PathBuf, bytes: u64, held: Held<Uuid>) -> Arc<Self> {
        Arc::new(Self { inner, id, path, bytes: AtomicU64::new(bytes), ended: AtomicBool::new(false), _held: held })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if *self.ended.get_mut() && durable::remove_if_there(&self.path).unwrap_or(false) {
            self.inner.waiting().remove(&self.id);
            self.inner.room.give_back(*self.bytes.get_mut());
            self.inner.uploads.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Tells the disk what came in so far, beside the writing, so that little is left to wait for at the end. One at a time.
pub struct EarlySync {
    told: u64,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl EarlySync {
    /// Nothing is done for what was there before.
    pub fn new(offset: u64) -> Self {
        Self { told: offset, running: None }
    }

    /// Whether enough came in since, and the disk has done what it was told.
    pub fn is_due(&self, offset: u64) -> bool {
        offset.saturating_sub(self.told) >= SYNC_EVERY && self.running.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Begins another one, once the one before has ended well.
    pub async fn begin(&mut self, file: io::Result<File>, offset: u64, session: Arc<Session>) -> io::Result<()> {
        self.end().await?;
        self.told = offset;
        self.running = Some(tokio::task::spawn_blocking(move || {
            let synced = file.and_then(|file| file.sync_data());
            if synced.is_err() {
                // The system tells an error once, and it may be that nobody waits for it here any more. The session is held until
                // now: nobody else can have gone on with it.
                session.ended.store(true, Ordering::Relaxed);
            }
            drop(session);
            synced
        }));
        Ok(())
    }

    /// Waits for the one that runs.
    pub async fn end(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(running) => running.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream;

    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::fault::Fault;
    use crate::names::RepositoryName;
    use crate::store::{Store, StoreOptions};

    #[tokio::test]
    async fn an_upload_the_disk_lost_is_gone_also_when_its_client_has_left() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(directory.path())).await.unwrap();
        let repository = RepositoryName::parse("app").unwrap();
        let id = store.start_upload(&repository).await.unwrap();
        let held = store.0.sessions.try_hold(&id).unwrap();
        let path = store.0.session(&repository, id);
        assert!(path.exists());
        let session = Session::new(store.0.clone(), id, path.clone(), 0, held);
        let mut early = EarlySync::new(0);
        early.begin(Err(io::Error::other("the cable was pulled")), 0, session).await.unwrap();
        drop(early);
        let let_go = async {
            while store.0.sessions.try_hold(&id).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), let_go).await.expect("the session is let go");
        assert!(!path.exists());
        let asked = store.upload_offset(&repository, id).await;
        assert!(matches!(asked, Err(Fault::UploadUnknown(_))), "{asked:?}");
    }

    #[tokio::test]
    async fn what_the_disk_is_told_early_is_one_blob_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreOptions::new(directory.path())).await.unwrap();
        let repository = RepositoryName::parse("app").unwrap();
        let pieces: Vec<Bytes> = (0..80u8).map(|piece| Bytes::from(vec![piece; 1 << 20])).collect();
        let digest = Digest::of(Algorithm::Sha256, &pieces.concat());
        let body = stream::iter(pieces.iter().cloned().map(Ok::<_, io::Error>));
        store.receive_blob(&repository, &digest, body).await.unwrap();
        let path = store.0.layout.blob(&digest);
        assert_eq!(Digest::of(Algorithm::Sha256, &std::fs::read(path).unwrap()), digest);
        assert_eq!(store.locks(), 0);
        assert_eq!(store.usage().used, 80 << 20);
    }
}
