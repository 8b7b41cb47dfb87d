//! Receiving content: sessions that survive a restart, each byte written and hashed as it comes, the name given at the end.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::fault::Fault;
use crate::names::RepositoryName;
use crate::store::blobs::digest_of_file;
use crate::store::index::Standing;
use crate::store::layout::Holder;
use crate::store::locks::Held;
use crate::store::session::{EarlySync, Session};
use crate::store::{Inner, Store, blocking, durable};

/// Bytes that are written at once, while the next ones are received.
const BATCH: usize = 1 << 20;

/// Sessions between their requests.
pub type Waiting = HashMap<Uuid, Wait>;

/// A session that waits.
pub struct Wait {
    since: Instant,
    /// Bytes that went by, and their hash; none after a restart.
    hashed: Option<(u64, Hasher)>,
}

impl Wait {
    fn now(hashed: Option<(u64, Hasher)>) -> Self {
        Self { since: Instant::now(), hashed }
    }
}

/// Which bytes of the whole a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
}

/// A session that is being written to. Whatever happens to the request, the session is whole: what is written was counted.
struct Writer {
    session: Arc<Session>,
    file: File,
    /// Bytes before this request.
    before: u64,
    offset: u64,
    /// Of all bytes so far; none after a restart.
    hasher: Option<Hasher>,
}

impl Store {
    /// Begins a session.
    pub async fn start_upload(&self, repository: &RepositoryName) -> Result<Uuid, Fault> {
        let inner = self.0.clone();
        inner.room.check(0)?;
        if inner.uploads.fetch_add(1, Ordering::Relaxed) >= inner.options.uploads {
            inner.uploads.fetch_sub(1, Ordering::Relaxed);
            return Err(Fault::TooMany("uploads"));
        }
        let id = Uuid::new_v4();
        let path = inner.session(repository, id);
        let made = blocking(move || {
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            made.map(drop).map_err(Fault::disk(format!("cannot make {}", path.display())))
        });
        if let Err(fault) = made.await {
            inner.uploads.fetch_sub(1, Ordering::Relaxed);
            return Err(fault);
        }
        self.0.waiting().insert(id, Wait::now(None));
        Ok(id)
    }

    /// Bytes that a session has.
    pub async fn upload_offset(&self, repository: &RepositoryName, id: Uuid) -> Result<u64, Fault> {
        let path = self.0.session(repository, id);
        blocking(move || match fs::metadata(&path) {
            Ok(about) => Ok(about.len()),
            Err(error) => Err(lost(id, &path, error)),
        })
        .await
    }

    /// Adds a body to a session; answers the bytes it has then. A body that is cut off leaves what came of it.
    pub async fn append<E: std::fmt::Display>(
        &self,
        repository: &RepositoryName,
        id: Uuid,
        range: Option<ContentRange>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, Fault> {
        let writer = self.writer(repository, id, Algorithm::Sha256).await?;
        let writer = writer.receive(range, body).await?;
        let offset = writer.offset;
        blocking(move || {
            writer.keep();
            Ok(())
        })
        .await?;
        Ok(offset)
    }

    /// Adds a last body, which may be empty, and makes the session a blob that the repository holds. Lasting when this returns. With
    /// another digest than the given one the session is gone.
    pub async fn finish_upload<E: std::fmt::Display>(
        &self,
        repository: &RepositoryName,
        id: Uuid,
        digest: &Digest,
        range: Option<ContentRange>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Fault> {
        let writer = self.writer(repository, id, digest.algorithm()).await?;
        self.finish(repository, writer, digest, range, body).await
    }

    /// Takes a whole blob in one go. Nothing is left of one that does not arrive whole.
    pub async fn receive_blob<E: std::fmt::Display>(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Fault> {
        let id = self.start_upload(repository).await?;
        let writer = self.writer(repository, id, digest.algorithm()).await?;
        // It ends with the request, come what may.
        writer.session.ended.store(true, Ordering::Relaxed);
        self.finish(repository, writer, digest, None, body).await
    }

    async fn finish<E: std::fmt::Display>(
        &self,
        repository: &RepositoryName,
        writer: Writer,
        digest: &Digest,
        range: Option<ContentRange>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Fault> {
        let mut writer = writer.receive(range, body).await?;
        let wanted = digest.clone();
        let writer = blocking(move || {
            let found = match writer.hasher.take() {
                Some(hasher) if hasher.algorithm() == wanted.algorithm() => hasher.finish(),
                _ => digest_of_file(&writer.session.path, &wanted)
                    .map_err(Fault::disk(format!("cannot read {}", writer.session.path.display())))?,
            };
            if found != wanted {
                writer.discard();
                return Err(Fault::DigestMismatch { wanted, found });
            }
            if let Err(error) = writer.file.sync_all() {
                let fault = Fault::disk(format!("cannot sync {}", writer.session.path.display()))(error);
                // What the disk has of it is not known any more.
                writer.discard();
                return Err(fault);
            }
            Ok(writer)
        })
        .await?;
        let lock = self.0.digests.hold(digest).await;
        let (inner, repository, digest) = (self.0.clone(), repository.clone(), digest.clone());
        blocking(move || inner.publish(writer, &repository, &digest, &lock)).await
    }

    /// Ends a session.
    pub async fn cancel_upload(&self, repository: &RepositoryName, id: Uuid) -> Result<(), Fault> {
        let writer = self.writer(repository, id, Algorithm::Sha256).await?;
        blocking(move || {
            writer.discard();
            Ok(())
        })
        .await
    }

    /// Ends the sessions that nobody wrote to for their lifetime; says how many.
    pub async fn expire_uploads(&self) -> Result<usize, Fault> {
        let inner = self.0.clone();
        blocking(move || inner.expire()).await
    }

    async fn writer(&self, repository: &RepositoryName, id: Uuid, algorithm: Algorithm) -> Result<Writer, Fault> {
        let inner = self.0.clone();
        let path = inner.session(repository, id);
        let Some(held) = inner.sessions.try_hold(&id) else { return Err(Fault::UploadBusy(id.to_string())) };
        blocking(move || {
            let opened = OpenOptions::new().write(true).open(&path).and_then(|mut file| {
                let offset = file.seek(SeekFrom::End(0))?;
                Ok((file, offset))
            });
            let (file, offset) = opened.map_err(|error| lost(id, &path, error))?;
            let kept = inner.waiting().remove(&id).and_then(|wait| wait.hashed);
            let hasher = match kept {
                _ if offset == 0 => Some(Hasher::new(algorithm)),
                Some((at, hasher)) if at == offset => Some(hasher),
                _ => None,
            };
            let session = Session::new(inner, id, path, offset, held);
            Ok(Writer { session, file, before: offset, offset, hasher })
        })
        .await
    }
}

/// A session that is not there, told from a disk that fails.
fn lost(id: Uuid, path: &Path, error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound => Fault::UploadUnknown(id.to_string()),
        _ => Fault::disk(format!("cannot open {}", path.display()))(error),
    }
}

impl Writer {
    /// Receives a body.
    async fn receive<E: std::fmt::Display>(
        self,
        range: Option<ContentRange>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Self, Fault> {
        let path = self.session.path.clone();
        let mut early = EarlySync::new(self.offset);
        let received = self.take_in(range, body, &mut early).await;
        // Also when that came to nothing: what is removed is gone before the answer.
        early.end().await.map_err(Fault::disk(format!("cannot sync {}", path.display())))?;
        received
    }

    /// While one batch is written and hashed, the next comes in, and what was written before goes to the disk.
    async fn take_in<E: std::fmt::Display>(
        self,
        range: Option<ContentRange>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        early: &mut EarlySync,
    ) -> Result<Self, Fault> {
        // Asked once more after its end.
        let mut body = body.fuse();
        if let Some(range) = range
            && range.first != self.offset
        {
            let offset = self.offset;
            self.keep();
            return Err(Fault::UploadOutOfOrder { offset });
        }
        let mut idle = Some(self);
        let mut writing: Option<JoinHandle<Result<Self, Fault>>> = None;
        let fault = loop {
            let (batch, broken) = gather(&mut body).await;
            if let Some(job) = writing.take() {
                match job.await {
                    Ok(Ok(writer)) => idle = Some(writer),
                    Ok(Err(fault)) => return Err(fault),
                    Err(error) => return Err(Fault::disk("the work was cut off")(io::Error::other(error))),
                }
            }
            let Some(mut writer) = idle.take() else { break None };
            if early.is_due(writer.offset) {
                let begun = early.begin(writer.file.try_clone(), writer.offset, writer.session.clone()).await;
                begun.map_err(Fault::disk(format!("cannot sync {}", writer.session.path.display())))?;
            }
            if batch.is_empty() {
                idle = Some(writer);
                break broken;
            }
            let job = tokio::task::spawn_blocking(move || match writer.write(&batch) {
                Ok(()) => Ok(writer),
                Err(fault) => {
                    // Half a blob helps nobody when there is no room for the other half.
                    writer.discard();
                    Err(fault)
                }
            });
            if let Some(fault) = broken {
                let writer =
                    job.await.map_err(|error| Fault::disk("the work was cut off")(io::Error::other(error)))??;
                idle = Some(writer);
                break Some(fault);
            }
            writing = Some(job);
        };
        let Some(mut writer) = idle else { return Err(Fault::UploadBroken("it ended".to_owned())) };
        let came = writer.offset - writer.before;
        let fault = fault.or_else(|| {
            let said = range.map(|range| range.last.saturating_sub(range.first).saturating_add(1))?;
            (said != came).then(|| {
                writer.rewind();
                Fault::SizeInvalid { said, came }
            })
        });
        match fault {
            None => Ok(writer),
            Some(fault) => {
                let kept = blocking(move || {
                    writer.keep();
                    Ok(())
                });
                kept.await?;
                Err(fault)
            }
        }
    }

    fn write(&mut self, batch: &[Bytes]) -> Result<(), Fault> {
        let bytes: u64 = batch.iter().map(|piece| piece.len() as u64).sum();
        let room = &self.session.inner.room;
        room.take(bytes)?;
        let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
        if let Err(error) = write_all(&mut self.file, &mut slices) {
            room.give_back(bytes);
            return Err(Fault::disk(format!("cannot write {}", self.session.path.display()))(error));
        }
        self.offset += bytes;
        self.session.bytes.store(self.offset, Ordering::Relaxed);
        if let Some(hasher) = &mut self.hasher {
            batch.iter().for_each(|piece| hasher.update(piece));
        }
        Ok(())
    }

    /// Back to what was there before this request.
    fn rewind(&mut self) {
        if self.file.set_len(self.before).is_ok() {
            self.session.inner.room.give_back(self.offset - self.before);
            self.offset = self.before;
            self.session.bytes.store(self.offset, Ordering::Relaxed);
            self.hasher = None;
        }
    }

    /// Lets the session wait for its next request.
    fn keep(mut self) {
        if !self.session.ended.load(Ordering::Relaxed) {
            let hashed = self.hasher.take().map(|hasher| (self.offset, hasher));
            self.session.inner.waiting().insert(self.session.id, Wait::now(hashed));
        }
    }

    /// Ends the session.
    fn discard(self) {
        self.session.ended.store(true, Ordering::Relaxed);
    }
}

/// The next batch; empty at the end. A body that breaks still brings what came before.
async fn gather<E: std::fmt::Display>(
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> (Vec<Bytes>, Option<Fault>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH {
        match body.next().await {
            Some(Ok(piece)) => {
                bytes += piece.len();
                if !piece.is_empty() {
                    batch.push(piece);
                }
            }
            Some(Err(error)) => return (batch, Some(Fault::UploadBroken(error.to_string()))),
            None => break,
        }
    }
    (batch, None)
}

fn write_all(file: &mut File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Inner {
    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// File of a session. The mark in its name ties it to its repository without a second file.
    pub(super) fn session(&self, repository: &RepositoryName, id: Uuid) -> PathBuf {
        let mark = Digest::of(Algorithm::Sha256, repository.as_str().as_bytes());
        self.layout.uploads().join(format!("{id}.{}", &mark.hex()[..16]))
    }

    /// Gives verified and synced content its name.
    fn publish(
        &self,
        writer: Writer,
        repository: &RepositoryName,
        digest: &Digest,
        lock: &Held<Digest>,
    ) -> Result<(), Fault> {
        let holder = Holder::Repository(repository.clone());
        let (standing, there) = {
            let index = self.read();
            let there = index.blob(digest).map(|blob| !blob.repositories.is_empty() || blob.everywhere);
            (index.standing(repository, digest), there)
        };
        if there == Some(true) {
            // Somebody was quicker, with the same bytes.
            writer.discard();
            if matches!(standing, Standing::Unknown) {
                self.mark(&holder, digest, lock)?;
            }
            self.read().touch(digest, self.now());
            return Ok(());
        }
        let path = self.layout.blob(digest);
        // The mark comes first: a blob without one would count as adopted.
        self.write_mark(&holder, digest)?;
        fs::rename(&writer.session.path, &path).map_err(Fault::disk(format!("cannot name {}", path.display())))?;
        self.uploads.fetch_sub(1, Ordering::Relaxed);
        writer.session.ended.store(false, Ordering::Relaxed);
        self.sync_marks(&holder, digest)?;
        let folder = self.layout.blobs(digest.algorithm());
        durable::sync_folder(&folder).map_err(Fault::disk(format!("cannot sync {}", folder.display())))?;
        let mut index = self.write();
        if let Some(adopted) = index.remove_blob(digest) {
            // It was never looked at, and is replaced.
            self.room.give_back(adopted.size);
        }
        index.add_blob(digest, writer.offset, self.now());
        index.add_holder(digest, &holder);
        Ok(())
    }

    fn expire(self: &Arc<Self>) -> Result<usize, Fault> {
        let folder = self.layout.uploads();
        let entries = fs::read_dir(&folder).map_err(Fault::disk(format!("cannot read {}", folder.display())))?;
        let mut ended = 0;
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            // A Go registry's sessions have no mark. Files that are being written are gone at the next start at the latest.
            let id = name.split('.').next().and_then(|id| Uuid::try_parse(id).ok());
            let (Some(id), Ok(about)) = (id, entry.metadata()) else { continue };
            let Some(_session) = self.sessions.try_hold(&id) else { continue };
            // One that was there at start begins to wait when it is first seen.
            let waits = self.waiting().entry(id).or_insert_with(|| Wait::now(None)).since.elapsed();
            if waits < self.options.upload_life {
                continue;
            }
            if durable::remove_if_there(&path).map_err(Fault::disk(format!("cannot remove {}", path.display())))? {
                self.waiting().remove(&id);
                self.room.give_back(about.len());
                self.uploads.fetch_sub(1, Ordering::Relaxed);
                ended += 1;
            }
        }
        Ok(ended)
    }
}
