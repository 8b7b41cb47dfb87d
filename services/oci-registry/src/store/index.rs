//! What there is, in memory: rebuilt from the directory at each start, changed only after the disk was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::names::{Reference, RepositoryName, Tag};
use crate::store::layout::Holder;

/// A blob on the disk.
#[derive(Debug)]
pub struct Blob {
    /// Bytes.
    pub size: u64,
    /// Milliseconds from the opening of the store to when somebody last pushed it, mounted it or was told that it is there.
    pub touched: AtomicU64,
    pub repositories: Vec<RepositoryName>,
    /// Left by the Go registry, which knew no holders.
    pub everywhere: bool,
}

/// How a repository stands to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not on the disk, or held by others only.
    Unknown,
    /// Held; bytes.
    Held(u64),
    /// Left by the Go registry and not looked at yet.
    Unverified,
}

/// A manifest of a repository.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its kind.
    pub media_type: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// Under which name its bytes lie: its digest, or the tag under which the Go registry left it.
    pub file: Reference,
    /// All content it names.
    pub named: Arc<[Digest]>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<Arc<str>>,
}

impl Entry {
    pub fn new(manifest: &Manifest, size: u64, file: Reference) -> Self {
        let named: BTreeSet<Digest> = manifest.named().cloned().collect();
        Self {
            media_type: manifest.media_type.as_str().into(),
            size,
            file,
            named: named.into_iter().collect(),
            subject: manifest.subject.clone(),
            artifact_type: manifest.artifact_type.as_deref().map(Into::into),
        }
    }
}

/// One repository.
#[derive(Debug, Default)]
pub struct Repository {
    pub tags: BTreeMap<Tag, Digest>,
    pub manifests: HashMap<Digest, Entry>,
    /// Subject → manifests about it, in order.
    pub referrers: HashMap<Digest, BTreeSet<Digest>>,
}

/// All there is.
#[derive(Debug, Default)]
pub struct Index {
    blobs: HashMap<Digest, Blob>,
    repositories: BTreeMap<RepositoryName, Repository>,
    /// How many manifests name a digest.
    naming: HashMap<Digest, usize>,
}

impl Index {
    pub fn blob(&self, digest: &Digest) -> Option<&Blob> {
        self.blobs.get(digest)
    }

    pub fn standing(&self, repository: &RepositoryName, digest: &Digest) -> Standing {
        match self.blobs.get(digest) {
            Some(blob) if blob.everywhere || blob.repositories.contains(repository) => Standing::Held(blob.size),
            Some(blob) if blob.repositories.is_empty() => Standing::Unverified,
            _ => Standing::Unknown,
        }
    }

    /// Somebody counts on the blob from now on.
    pub fn touch(&self, digest: &Digest, now: u64) {
        if let Some(blob) = self.blobs.get(digest) {
            blob.touched.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// A blob is on the disk; what was known of it before stays.
    pub fn add_blob(&mut self, digest: &Digest, size: u64, now: u64) {
        let fresh = || Blob { size, touched: AtomicU64::new(now), repositories: Vec::new(), everywhere: false };
        let blob = self.blobs.entry(digest.clone()).or_insert_with(fresh);
        blob.size = size;
        blob.touched.fetch_max(now, Ordering::Relaxed);
    }

    pub fn add_holder(&mut self, digest: &Digest, holder: &Holder) {
        let Some(blob) = self.blobs.get_mut(digest) else { return };
        match holder {
            Holder::Everywhere => blob.everywhere = true,
            Holder::Repository(repository) if !blob.repositories.contains(repository) => {
                blob.repositories.push(repository.clone());
            }
            Holder::Repository(_) => {}
        }
    }

    pub fn remove_holder(&mut self, digest: &Digest, holder: &Holder) {
        let Some(blob) = self.blobs.get_mut(digest) else { return };
        match holder {
            Holder::Everywhere => blob.everywhere = false,
            Holder::Repository(repository) => blob.repositories.retain(|one| one != repository),
        }
    }

    pub fn remove_blob(&mut self, digest: &Digest) -> Option<Blob> {
        self.blobs.remove(digest)
    }

    pub fn blobs(&self) -> impl Iterator<Item = (&Digest, &Blob)> {
        self.blobs.iter()
    }

    /// Whether a manifest of any repository names it.
    pub fn is_named(&self, digest: &Digest) -> bool {
        self.naming.contains_key(digest)
    }

    /// Repositories with a manifest that names it.
    pub fn named_by(&self, digest: &Digest) -> Vec<RepositoryName> {
        if !self.is_named(digest) {
            return Vec::new();
        }
        let names = |repository: &Repository| repository.manifests.values().any(|one| one.named.contains(digest));
        self.repositories.iter().filter(|(_, one)| names(one)).map(|(name, _)| name.clone()).collect()
    }

    pub fn repository(&self, name: &RepositoryName) -> Option<&Repository> {
        self.repositories.get(name)
    }

    /// Names after the given one.
    pub fn repositories_after(&self, last: Option<&str>) -> impl Iterator<Item = &RepositoryName> {
        let last = last.map(str::to_owned);
        self.repositories.keys().filter(move |name| last.as_deref().is_none_or(|last| name.as_str() > last))
    }

    pub fn add_manifest(&mut self, name: &RepositoryName, digest: &Digest, entry: Entry) {
        let repository = self.repositories.entry(name.clone()).or_default();
        if let Some(before) = repository.manifests.get_mut(digest) {
            before.file = entry.file;
            return;
        }
        for one in entry.named.iter() {
            *self.naming.entry(one.clone()).or_default() += 1;
        }
        if let Some(subject) = &entry.subject {
            repository.referrers.entry(subject.clone()).or_default().insert(digest.clone());
        }
        repository.manifests.insert(digest.clone(), entry);
    }

    /// Forgets a manifest and every tag that points to it.
    pub fn remove_manifest(&mut self, name: &RepositoryName, digest: &Digest) {
        let Some(repository) = self.repositories.get_mut(name) else { return };
        repository.tags.retain(|_, to| to != digest);
        if let Some(entry) = repository.manifests.remove(digest) {
            for one in entry.named.iter() {
                if let Some(count) = self.naming.get_mut(one) {
                    *count -= 1;
                    if *count == 0 {
                        self.naming.remove(one);
                    }
                }
            }
            if let Some(subject) = &entry.subject
                && let Some(referrers) = repository.referrers.get_mut(subject)
            {
                referrers.remove(digest);
                if referrers.is_empty() {
                    repository.referrers.remove(subject);
                }
            }
        }
        if repository.manifests.is_empty() {
            self.repositories.remove(name);
        }
    }

    pub fn set_tag(&mut self, name: &RepositoryName, tag: &Tag, digest: &Digest) {
        self.repositories.entry(name.clone()).or_default().tags.insert(tag.clone(), digest.clone());
    }

    pub fn remove_tag(&mut self, name: &RepositoryName, tag: &Tag) {
        if let Some(repository) = self.repositories.get_mut(name) {
            repository.tags.remove(tag);
        }
    }

    /// What a reference means.
    pub fn manifest(&self, name: &RepositoryName, reference: &Reference) -> Option<(Digest, Entry)> {
        let repository = self.repositories.get(name)?;
        let digest = match reference {
            Reference::Digest(digest) => digest,
            Reference::Tag(tag) => repository.tags.get(tag)?,
        };
        repository.manifests.get(digest).map(|entry| (digest.clone(), entry.clone()))
    }
}

impl Repository {
    /// Tags after the given one.
    pub fn tags_after(&self, last: Option<&Tag>) -> impl Iterator<Item = &Tag> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.tags.range::<Tag, _>((from, Bound::Unbounded)).map(|(tag, _)| tag)
    }

    /// Tags that point to a manifest.
    pub fn tags_of(&self, digest: &Digest) -> Vec<Tag> {
        self.tags.iter().filter(|(_, to)| *to == digest).map(|(tag, _)| tag.clone()).collect()
    }
}
