//! Storing, finding, listing and removing manifests and tags.

use std::fs;
use std::io::ErrorKind;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::digest::{Algorithm, Digest};
use crate::fault::Fault;
use crate::manifest::{LARGEST, Manifest};
use crate::names::{Reference, RepositoryName, Tag};
use crate::store::index::{Entry, Standing};
use crate::store::{Inner, Store, blocking, durable, layout};

/// Whether what a manifest names must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// All that is not marked as lying elsewhere.
    Full,
    /// It may come later, as through a cache of another registry.
    Sparse,
}

/// A manifest that is to be stored.
#[derive(Debug, Clone)]
pub struct PushedManifest {
    /// What it was pushed under: a tag, or its digest.
    pub reference: Reference,
    /// Further tags.
    pub tags: Vec<Tag>,
    /// Its kind as the client says.
    pub content_type: Option<String>,
    /// The manifest.
    pub bytes: Bytes,
}

/// A manifest that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Computed from its bytes.
    pub digest: Digest,
    /// Its kind.
    pub media_type: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// What it is about.
    pub subject: Option<Digest>,
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Whether there are more after the last of these.
    pub more: bool,
}

/// A manifest about another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// Which.
    pub digest: Digest,
    /// Its kind.
    pub media_type: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub artifact_type: Option<Arc<str>>,
    /// Its annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Store {
    /// Stores a manifest under its digest and its tags. Lasting when this returns.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        pushed: PushedManifest,
        checks: Checks,
    ) -> Result<StoredManifest, Fault> {
        let size = pushed.bytes.len() as u64;
        if size > LARGEST {
            return Err(Fault::ManifestTooLarge { limit: LARGEST });
        }
        let manifest = Manifest::check(&pushed.bytes, pushed.content_type.as_deref())?;
        let mut tags = pushed.tags;
        let digest = match pushed.reference {
            Reference::Digest(wanted) => {
                let found = Digest::of(wanted.algorithm(), &pushed.bytes);
                if found != wanted {
                    return Err(Fault::DigestMismatch { wanted, found });
                }
                wanted
            }
            Reference::Tag(tag) => {
                tags.insert(0, tag);
                Digest::of(Algorithm::Sha256, &pushed.bytes)
            }
        };
        self.0.room.check(size)?;
        if checks == Checks::Full {
            // Looks at what was adopted; the answer that counts comes below.
            self.0.missing(repository, manifest.blobs.iter().chain(&manifest.children)).await?;
        }
        let lock = self.0.repositories.hold(repository).await;
        let gate = self.0.gate.clone().read_owned().await;
        let (inner, repository, bytes) = (self.0.clone(), repository.clone(), pushed.bytes);
        blocking(move || {
            if checks == Checks::Full {
                inner.all_there(&repository, &manifest)?;
            }
            let entry = Entry::new(&manifest, size, Reference::Digest(digest.clone()));
            let stored = StoredManifest {
                digest: digest.clone(),
                media_type: entry.media_type.clone(),
                size,
                subject: entry.subject.clone(),
            };
            inner.write_manifest(&repository, &digest, entry, &tags, &bytes)?;
            drop((lock, gate));
            Ok(stored)
        })
        .await
    }

    /// What a reference means, without its bytes.
    pub fn find_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Option<StoredManifest> {
        let (digest, entry) = self.0.read().manifest(repository, reference)?;
        Some(StoredManifest { digest, media_type: entry.media_type, size: entry.size, subject: entry.subject })
    }

    /// A manifest and its bytes.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<(StoredManifest, Bytes)>, Fault> {
        let Some((digest, entry)) = self.0.read().manifest(repository, reference) else { return Ok(None) };
        let bytes = self.0.manifest_bytes(repository, &digest, &entry).await?;
        let Entry { media_type, size, subject, .. } = entry;
        Ok(bytes.map(|bytes| (StoredManifest { digest, media_type, size, subject }, bytes)))
    }

    /// Removes a tag alone, or a manifest with every tag that points to it.
    pub async fn delete_manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<(), Fault> {
        let lock = self.0.repositories.hold(repository).await;
        let (inner, repository, reference) = (self.0.clone(), repository.clone(), reference.clone());
        blocking(move || {
            let Some((digest, entry)) = inner.read().manifest(&repository, &reference) else {
                return Err(Fault::ManifestUnknown(reference.to_string()));
            };
            match &reference {
                Reference::Tag(tag) => inner.remove_tag(&repository, tag, &digest, &entry),
                Reference::Digest(digest) => inner.remove_manifest(&repository, digest),
            }?;
            drop(lock);
            Ok(())
        })
        .await
    }

    /// Tags after `last`, at most `most` of them; none when the repository is not known.
    pub fn tags(&self, repository: &RepositoryName, last: Option<&Tag>, most: usize) -> Option<Page<Tag>> {
        let index = self.0.read();
        let mut tags = index.repository(repository)?.tags_after(last);
        let items: Vec<Tag> = tags.by_ref().take(most).cloned().collect();
        Some(Page { items, more: tags.next().is_some() })
    }

    /// Repositories after `last`, at most `most` of them.
    pub fn repositories(&self, last: Option<&str>, most: usize) -> Page<RepositoryName> {
        let index = self.0.read();
        let mut names = index.repositories_after(last);
        let items: Vec<RepositoryName> = names.by_ref().take(most).cloned().collect();
        Page { items, more: names.next().is_some() }
    }

    /// Manifests about a subject after `last`, at most `most` of them, of one artifact type if that is given.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&Digest>,
        most: usize,
    ) -> Result<Page<Referrer>, Fault> {
        let mut found: Vec<(Digest, Entry)> = {
            let index = self.0.read();
            let known = index.repository(repository);
            let about = known.and_then(|known| Some((known, known.referrers.get(subject)?)));
            let about = about.into_iter().flat_map(|(known, digests)| {
                let after = digests.iter().filter(|digest| last.is_none_or(|last| *digest > last));
                after.filter_map(|digest| Some((digest.clone(), known.manifests.get(digest)?.clone())))
            });
            let fits =
                |entry: &Entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted));
            about.filter(|(_, entry)| fits(entry)).take(most + 1).collect()
        };
        let more = found.len() > most;
        found.truncate(most);
        let mut items = Vec::with_capacity(found.len());
        for (digest, entry) in found {
            let Some(bytes) = self.0.manifest_bytes(repository, &digest, &entry).await? else { continue };
            let annotations = Manifest::adopt(&bytes, None).map(|manifest| manifest.annotations).unwrap_or_default();
            let Entry { media_type, size, artifact_type, .. } = entry;
            items.push(Referrer { digest, media_type, size, artifact_type, annotations });
        }
        Ok(Page { items, more })
    }
}

impl Inner {
    /// Whether the repository holds what the manifest needs. Called while nothing is collected.
    fn all_there(&self, repository: &RepositoryName, manifest: &Manifest) -> Result<(), Fault> {
        let index = self.read();
        let held = |digest: &Digest| matches!(index.standing(repository, digest), Standing::Held(_));
        let listed = |digest: &Digest| index.manifest(repository, &Reference::Digest(digest.clone())).is_some();
        let blobs = manifest.blobs.iter().filter(|digest| !held(digest));
        let children = manifest.children.iter().filter(|digest| !listed(digest) && !held(digest));
        let mut missing: Vec<Digest> = Vec::new();
        for digest in blobs.chain(children) {
            if !missing.contains(digest) {
                missing.push(digest.clone());
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Fault::ManifestBlobUnknown(missing)) }
    }

    fn write_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        entry: Entry,
        tags: &[Tag],
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let folder = self.layout.repository(repository);
        let failed = || Fault::disk(format!("cannot write a manifest into {}", folder.display()));
        durable::make_folders(self.layout.root(), &folder).map_err(failed())?;
        let own = Reference::Digest(digest.clone());
        let (known, moved) = {
            let index = self.read();
            let known = index.manifest(repository, &own).is_some_and(|(_, entry)| entry.file == own);
            let at = |tag: &Tag| index.manifest(repository, &Reference::Tag(tag.clone()));
            let moved: Vec<(Tag, Option<(Digest, Entry)>)> = tags.iter().map(|tag| (tag.clone(), at(tag))).collect();
            (known, moved)
        };
        let kind = entry.media_type.clone();
        if !known {
            self.write_files(repository, &own, bytes, &kind).map_err(failed())?;
        }
        for (tag, before) in &moved {
            let named = Reference::Tag(tag.clone());
            match before {
                Some((before, _)) if before == digest => continue,
                // What the tag alone keeps must not go with it.
                Some((before, old)) if old.file == named => self.save_by_digest(repository, before, old)?,
                _ => {}
            }
            self.write_files(repository, &named, bytes, &kind).map_err(failed())?;
        }
        durable::sync_folder(&folder).map_err(failed())?;
        let mut index = self.write();
        index.add_manifest(repository, digest, entry);
        for tag in tags {
            index.set_tag(repository, tag, digest);
        }
        Ok(())
    }

    /// Writes a manifest and its kind under one reference.
    fn write_files(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
        bytes: &[u8],
        kind: &str,
    ) -> std::io::Result<()> {
        let folder = self.layout.repository(repository);
        let file = layout::manifest_file(reference);
        let path = folder.join(&file);
        let before = fs::metadata(&path).map_or(0, |about| about.len());
        self.room.take(bytes.len() as u64).map_err(|_| std::io::Error::from(ErrorKind::StorageFull))?;
        let written =
            durable::write_whole(&self.layout.passing(), &folder.join(layout::type_file(&file)), kind.as_bytes())
                .and_then(|()| durable::write_whole(&self.layout.passing(), &path, bytes));
        self.room.give_back(if written.is_ok() { before } else { bytes.len() as u64 });
        written
    }

    /// Gives an adopted manifest that lies under a tag alone a file under its digest.
    fn save_by_digest(&self, repository: &RepositoryName, digest: &Digest, entry: &Entry) -> Result<(), Fault> {
        let folder = self.layout.repository(repository);
        let path = folder.join(layout::manifest_file(&entry.file));
        let own = Reference::Digest(digest.clone());
        fs::read(&path)
            .and_then(|bytes| self.write_files(repository, &own, &bytes, &entry.media_type))
            .and_then(|()| durable::sync_folder(&folder))
            .map_err(Fault::disk(format!("cannot keep {}", path.display())))?;
        self.write().add_manifest(repository, digest, Entry { file: own, ..entry.clone() });
        Ok(())
    }

    fn remove_files_of(&self, repository: &RepositoryName, reference: &Reference) -> Result<(), Fault> {
        let folder = self.layout.repository(repository);
        let file = layout::manifest_file(reference);
        let path = folder.join(&file);
        let size = fs::metadata(&path).map_or(0, |about| about.len());
        durable::remove_if_there(&path)
            .and_then(|_| durable::remove_if_there(&folder.join(layout::type_file(&file))))
            .map_err(Fault::disk(format!("cannot remove {}", path.display())))?;
        self.room.give_back(size);
        Ok(())
    }

    fn sync_repository(&self, repository: &RepositoryName) -> Result<(), Fault> {
        let folder = self.layout.repository(repository);
        durable::sync_folder(&folder).map_err(Fault::disk(format!("cannot sync {}", folder.display())))
    }

    fn remove_tag(&self, repository: &RepositoryName, tag: &Tag, digest: &Digest, entry: &Entry) -> Result<(), Fault> {
        let named = Reference::Tag(tag.clone());
        if entry.file == named {
            self.save_by_digest(repository, digest, entry)?;
        }
        self.remove_files_of(repository, &named)?;
        self.sync_repository(repository)?;
        self.write().remove_tag(repository, tag);
        Ok(())
    }

    /// The tags go first: what is left after a crash is a manifest without some of its tags, never a tag without its manifest.
    fn remove_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Result<(), Fault> {
        let tags = self.read().repository(repository).map(|one| one.tags_of(digest)).unwrap_or_default();
        for tag in tags {
            self.remove_files_of(repository, &Reference::Tag(tag))?;
        }
        self.remove_files_of(repository, &Reference::Digest(digest.clone()))?;
        self.sync_repository(repository)?;
        self.write().remove_manifest(repository, digest);
        Ok(())
    }

    /// Bytes of a manifest; none when they are gone, or no longer what they were.
    async fn manifest_bytes(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        entry: &Entry,
    ) -> Result<Option<Bytes>, Fault> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(digest);
        if cached.is_some() {
            return Ok(cached);
        }
        let path = self.layout.repository(repository).join(layout::manifest_file(&entry.file));
        let wanted = digest.clone();
        let bytes = blocking(move || match fs::read(&path) {
            Ok(bytes) if Digest::of(wanted.algorithm(), &bytes) == wanted => Ok(Some(Bytes::from(bytes))),
            Ok(_) => {
                tracing::error!(file = %path.display(), digest = %wanted, "manifest is not what it was; not served");
                Ok(None)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::disk(format!("cannot read {}", path.display()))(error)),
        })
        .await?;
        if let Some(bytes) = &bytes {
            self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(digest, bytes);
        }
        Ok(bytes)
    }
}
