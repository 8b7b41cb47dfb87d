//! Reading, sharing and removing blobs.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use crate::digest::{Digest, Hasher};
use crate::fault::Fault;
use crate::names::RepositoryName;
use crate::store::index::Standing;
use crate::store::layout::Holder;
use crate::store::locks::Held;
use crate::store::{Inner, Store, blocking, durable};

/// A blob that can be read to its end, also when it is removed meanwhile.
pub struct OpenBlob {
    /// Its file, at the start.
    pub file: File,
    /// Bytes.
    pub size: u64,
}

impl Store {
    /// Bytes of a blob that the repository holds; none when it does not. Whoever asks may count on it for the grace time.
    pub async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, Fault> {
        loop {
            {
                let index = self.0.read();
                match index.standing(repository, digest) {
                    Standing::Unknown => return Ok(None),
                    Standing::Held(size) => {
                        index.touch(digest, self.0.now());
                        return Ok(Some(size));
                    }
                    Standing::Unverified => {}
                }
            }
            let lock = self.0.digests.hold(digest).await;
            let (inner, digest) = (self.0.clone(), digest.clone());
            blocking(move || inner.verify(&digest, &lock)).await?;
        }
    }

    /// Opens a blob that the repository holds.
    pub async fn open_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<OpenBlob>, Fault> {
        let Some(size) = self.blob(repository, digest).await? else { return Ok(None) };
        let path = self.0.layout.blob(digest);
        blocking(move || match File::open(&path) {
            Ok(file) => Ok(Some(OpenBlob { file, size })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::disk(format!("cannot open {}", path.display()))(error)),
        })
        .await
    }

    /// Other repositories that hold a blob; all of them when a Go registry left it.
    pub fn holders(&self, digest: &Digest) -> Vec<RepositoryName> {
        let index = self.0.read();
        match index.blob(digest) {
            Some(blob) if blob.everywhere => index.repositories_after(None).cloned().collect(),
            Some(blob) => blob.repositories.clone(),
            None => Vec::new(),
        }
    }

    /// Lets a repository hold what another one holds; says whether it does now. Lasting when this returns.
    pub async fn mount(&self, to: &RepositoryName, from: &RepositoryName, digest: &Digest) -> Result<bool, Fault> {
        if self.blob(from, digest).await?.is_none() {
            return Ok(false);
        }
        let lock = self.0.digests.hold(digest).await;
        let (inner, to, from, digest) = (self.0.clone(), to.clone(), from.clone(), digest.clone());
        blocking(move || {
            // Between the question and the lock it may have gone.
            if inner.read().standing(&from, &digest) == Standing::Unknown {
                return Ok(false);
            }
            inner.mark(&Holder::Repository(to), &digest, &lock)?;
            inner.read().touch(&digest, inner.now());
            Ok(true)
        })
        .await
    }

    /// Takes a blob from a repository, and from the disk when no other holds it. Refused while a manifest of the repository names it.
    pub async fn delete_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Fault> {
        if self.blob(repository, digest).await?.is_none() {
            return Err(Fault::BlobUnknown(digest.clone()));
        }
        let lock = self.0.digests.hold(digest).await;
        let gate = self.0.gate.clone().write_owned().await;
        let (inner, repository, digest) = (self.0.clone(), repository.clone(), digest.clone());
        blocking(move || {
            let named_by = {
                let index = inner.read();
                if index.standing(&repository, &digest) == Standing::Unknown {
                    return Err(Fault::BlobUnknown(digest));
                }
                index.named_by(&digest)
            };
            if named_by.contains(&repository) {
                return Err(Fault::BlobInUse(digest));
            }
            if inner.read().blob(&digest).is_some_and(|blob| blob.everywhere) {
                // Those that need it become its holders, in place of everybody.
                for other in named_by {
                    inner.mark_held(&Holder::Repository(other), &digest)?;
                }
                inner.unmark(&Holder::Everywhere, &digest)?;
            }
            let holder = Holder::Repository(repository);
            let last = {
                let mut index = inner.write();
                index.remove_holder(&digest, &holder);
                index.blob(&digest).is_some_and(|blob| blob.repositories.is_empty() && !blob.everywhere)
            };
            if last {
                inner.write().remove_blob(&digest);
                drop(gate);
                inner.remove_files(&digest, &[holder], &lock)
            } else {
                drop(gate);
                inner.unmark(&holder, &digest)
            }
        })
        .await
    }
}

impl Inner {
    /// Looks whether what the Go registry left is what its name says: that registry's writes could be torn.
    fn verify(&self, digest: &Digest, lock: &Held<Digest>) -> Result<(), Fault> {
        let unverified = |blob: &super::index::Blob| blob.repositories.is_empty() && !blob.everywhere;
        if !self.read().blob(digest).is_some_and(unverified) {
            return Ok(());
        }
        let path = self.layout.blob(digest);
        match digest_of_file(&path, digest) {
            Ok(found) if found == *digest => self.mark(&Holder::Everywhere, digest, lock),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Fault::disk(format!("cannot read {}", path.display()))(error))
            }
            damaged => {
                if let Some(blob) = self.write().remove_blob(digest) {
                    self.room.give_back(blob.size);
                }
                if damaged.is_ok() {
                    let aside = self.layout.damaged().join(format!("{}-{}", digest.algorithm().name(), digest.hex()));
                    tracing::warn!(blob = %digest, to = %aside.display(), "adopted blob is not what its name says: put aside");
                    fs::rename(&path, &aside).map_err(Fault::disk(format!("cannot put {} aside", path.display())))?;
                }
                Ok(())
            }
        }
    }

    /// Writes down that somebody holds a blob, so that it lasts.
    pub(super) fn mark(&self, holder: &Holder, digest: &Digest, _lock: &Held<Digest>) -> Result<(), Fault> {
        self.mark_held(holder, digest)
    }

    fn mark_held(&self, holder: &Holder, digest: &Digest) -> Result<(), Fault> {
        self.write_mark(holder, digest)?;
        self.sync_marks(holder, digest)?;
        self.write().add_holder(digest, holder);
        Ok(())
    }

    /// Writes the mark only.
    pub(super) fn write_mark(&self, holder: &Holder, digest: &Digest) -> Result<(), Fault> {
        let folder = self.layout.marks(holder, digest.algorithm());
        let path = self.layout.mark(holder, digest);
        durable::make_folders(self.layout.root(), &folder)
            .and_then(|()| File::create(&path).map(drop))
            .map_err(Fault::disk(format!("cannot write {}", path.display())))
    }

    /// Makes marks last.
    pub(super) fn sync_marks(&self, holder: &Holder, digest: &Digest) -> Result<(), Fault> {
        let folder = self.layout.marks(holder, digest.algorithm());
        durable::sync_folder(&folder).map_err(Fault::disk(format!("cannot sync {}", folder.display())))
    }

    fn unmark(&self, holder: &Holder, digest: &Digest) -> Result<(), Fault> {
        let path = self.layout.mark(holder, digest);
        let there = durable::remove_if_there(&path);
        if there.map_err(Fault::disk(format!("cannot remove {}", path.display())))? {
            self.sync_marks(holder, digest)?;
        }
        self.write().remove_holder(digest, holder);
        Ok(())
    }

    /// Removes a blob that is out of the index, then its marks: a mark without a blob means nothing.
    pub(super) fn remove_files(&self, digest: &Digest, holders: &[Holder], _lock: &Held<Digest>) -> Result<(), Fault> {
        let path = self.layout.blob(digest);
        let size = fs::metadata(&path).map_or(0, |about| about.len());
        let folder = self.layout.blobs(digest.algorithm());
        durable::remove_if_there(&path)
            .and_then(|_| durable::sync_folder(&folder))
            .map_err(Fault::disk(format!("cannot remove {}", path.display())))?;
        self.room.give_back(size);
        for holder in holders {
            let mark = self.layout.mark(holder, digest);
            durable::remove_if_there(&mark).map_err(Fault::disk(format!("cannot remove {}", mark.display())))?;
        }
        Ok(())
    }

    /// Whether a repository holds all of these; else those it does not.
    pub(super) async fn missing(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digests: impl Iterator<Item = &Digest>,
    ) -> Result<Vec<Digest>, Fault> {
        let store = Store(self.clone());
        let mut missing = Vec::new();
        for digest in digests {
            if store.blob(repository, digest).await?.is_none() && !missing.contains(digest) {
                missing.push(digest.clone());
            }
        }
        Ok(missing)
    }
}

/// Reads a file once.
pub fn digest_of_file(path: &Path, like: &Digest) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new(like.algorithm());
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&piece[..read]),
        }
    }
}
