//! What lies in the directory at start: ours, what a crash left, and what a Go registry left.

use std::collections::HashMap;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{Algorithm, Digest};
use crate::fault::Fault;
use crate::manifest::Manifest;
use crate::names::{Reference, RepositoryName, Tag};
use crate::store::durable;
use crate::store::index::{Entry, Index};
use crate::store::layout::{self, Found, Holder, Layout};

/// Bytes of the largest manifest that is adopted.
const LARGEST: u64 = 32 << 20;

/// What was found.
pub struct Loaded {
    pub index: Index,
    /// Bytes of everything.
    pub used: u64,
    /// Sessions.
    pub uploads: usize,
    /// Whether all manifests could be read.
    pub complete: bool,
}

/// Makes the folders that are always there.
pub fn make_folders(layout: &Layout) -> Result<(), Fault> {
    let root = layout.root();
    fs::create_dir_all(root).map_err(Fault::disk(format!("cannot make {}", root.display())))?;
    let blobs = Algorithm::ALL.map(|algorithm| layout.blobs(algorithm));
    let everywhere = Algorithm::ALL.map(|algorithm| layout.marks(&Holder::Everywhere, algorithm));
    for folder in blobs.iter().chain(&everywhere).chain(&[layout.manifests(), layout.uploads(), layout.damaged()]) {
        durable::make_folders(root, folder).map_err(Fault::disk(format!("cannot make {}", folder.display())))?;
    }
    Ok(())
}

pub fn load(layout: &Layout) -> Result<Loaded, Fault> {
    let mut loaded = Loaded { index: Index::default(), used: 0, uploads: 0, complete: true };
    let read = |folder: PathBuf| Fault::disk(format!("cannot read {}", folder.display()));
    sweep_uploads(layout, &mut loaded).map_err(read(layout.uploads()))?;
    for algorithm in Algorithm::ALL {
        find_blobs(layout, algorithm, &mut loaded).map_err(read(layout.blobs(algorithm)))?;
        find_marks(layout, &Holder::Everywhere, algorithm, &mut loaded).map_err(read(layout.everywhere()))?;
    }
    find_holders(layout, &layout.holders(), "", &mut loaded).map_err(read(layout.holders()))?;
    find_repositories(&layout.manifests(), "", &mut loaded).map_err(read(layout.manifests()))?;
    Ok(loaded)
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Sessions go on; what was being written when the process ended goes away.
fn sweep_uploads(layout: &Layout, loaded: &mut Loaded) -> io::Result<()> {
    for entry in entries(&layout.uploads())? {
        if entry.file_name().to_string_lossy().starts_with("tmp-") {
            fs::remove_file(entry.path())?;
        } else {
            loaded.uploads += 1;
            loaded.used += entry.metadata()?.len();
        }
    }
    Ok(())
}

fn find_blobs(layout: &Layout, algorithm: Algorithm, loaded: &mut Loaded) -> io::Result<()> {
    for entry in entries(&layout.blobs(algorithm))? {
        let name = entry.file_name();
        let Some(digest) = Digest::of_parts(algorithm.name(), &name.to_string_lossy()) else {
            tracing::warn!(file = %entry.path().display(), "no blob: left alone");
            continue;
        };
        let size = entry.metadata()?.len();
        loaded.used += size;
        loaded.index.add_blob(&digest, size, 0);
    }
    Ok(())
}

fn find_marks(layout: &Layout, holder: &Holder, algorithm: Algorithm, loaded: &mut Loaded) -> io::Result<()> {
    for entry in entries(&layout.marks(holder, algorithm))? {
        let name = entry.file_name();
        let Some(digest) = Digest::of_parts(algorithm.name(), &name.to_string_lossy()) else { continue };
        if loaded.index.blob(&digest).is_some() {
            loaded.index.add_holder(&digest, holder);
        } else {
            // The process ended between the mark and the blob, or between the blob's end and the mark's.
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn find_holders(layout: &Layout, folder: &Path, name: &str, loaded: &mut Loaded) -> io::Result<()> {
    for entry in entries(folder)? {
        let file = entry.file_name();
        if file == "_blobs" {
            if let Some(repository) = RepositoryName::parse(name) {
                let holder = Holder::Repository(repository);
                for algorithm in Algorithm::ALL {
                    find_marks(layout, &holder, algorithm, loaded)?;
                }
            }
        } else if entry.file_type()?.is_dir()
            && let Some(inner) = inner_name(name, &file.to_string_lossy())
        {
            find_holders(layout, &entry.path(), &inner, loaded)?;
        }
    }
    Ok(())
}

fn inner_name(name: &str, folder: &str) -> Option<String> {
    let part = layout::part_of_folder(folder)?;
    let inner = if name.is_empty() { part.to_owned() } else { format!("{name}/{part}") };
    RepositoryName::parse(&inner).map(|_| inner)
}

fn find_repositories(folder: &Path, name: &str, loaded: &mut Loaded) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in entries(folder)? {
        let file = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() {
            files.push(file);
        } else if let Some(inner) = inner_name(name, &file) {
            find_repositories(&entry.path(), &inner, loaded)?;
        } else {
            tracing::warn!(folder = %entry.path().display(), "no name of a repository: left alone");
        }
    }
    if let Some(repository) = RepositoryName::parse(name) {
        find_manifests(folder, &repository, &files, loaded);
    }
    Ok(())
}

/// Bytes and kind of a manifest's file; none, with a word in the log, when it is no manifest.
fn read_manifest(folder: &Path, file: &str, loaded: &mut Loaded) -> Option<(Vec<u8>, Manifest)> {
    let path = folder.join(file);
    let bytes = match fs::metadata(&path)
        .and_then(|about| if about.len() > LARGEST { Err(ErrorKind::FileTooLarge.into()) } else { fs::read(&path) })
    {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "manifest not readable; no garbage is collected until it is");
            loaded.complete = false;
            return None;
        }
    };
    loaded.used += bytes.len() as u64;
    let kind = [layout::type_file(file), layout::other_type_file(file)];
    let kind = kind.iter().find_map(|file| fs::read_to_string(folder.join(file)).ok());
    let manifest = Manifest::adopt(&bytes, kind.as_deref());
    if manifest.is_none() {
        tracing::warn!(file = %path.display(), "no manifest: left alone and not served");
    }
    manifest.map(|manifest| (bytes, manifest))
}

fn find_manifests(folder: &Path, repository: &RepositoryName, files: &[String], loaded: &mut Loaded) {
    let mut tagged: Vec<(Tag, Digest, Digest, Entry)> = Vec::new();
    let mut kinds: HashMap<String, Arc<str>> = HashMap::new();
    for file in files.iter().filter(|file| file.ends_with(".json")) {
        let Some(found) = layout::found(file) else {
            tracing::warn!(file = %folder.join(file).display(), "neither tag nor digest: left alone");
            continue;
        };
        let Some((bytes, manifest)) = read_manifest(folder, file, loaded) else { continue };
        let size = bytes.len() as u64;
        let mut entry = |file| {
            let mut entry = Entry::new(&manifest, size, file);
            entry.media_type = kinds.entry(manifest.media_type.clone()).or_insert(entry.media_type).clone();
            entry
        };
        let tag = match found {
            Found::Digested(digest, _) if Digest::of(digest.algorithm(), &bytes) == digest => {
                let entry = entry(Reference::Digest(digest.clone()));
                loaded.index.add_manifest(repository, &digest, entry);
                continue;
            }
            // The Go registry wrote digests and tags alike.
            Found::Digested(_, tag) => tag,
            Found::Tagged(tag) => Some(tag),
        };
        if let Some(tag) = tag {
            let digests = (Digest::of(Algorithm::Sha256, &bytes), Digest::of(Algorithm::Sha512, &bytes));
            tagged.push((tag.clone(), digests.0, digests.1, entry(Reference::Tag(tag))));
        }
    }
    for (tag, short, long, entry) in tagged {
        let there = |digest: &Digest| loaded.index.manifest(repository, &Reference::Digest(digest.clone())).is_some();
        let digest = if !there(&short) && there(&long) { long } else { short };
        // The Go registry stored a tagged manifest under its tag alone.
        if !there(&digest) {
            loaded.index.add_manifest(repository, &digest, entry);
        }
        loaded.index.set_tag(repository, &tag, &digest);
    }
}
