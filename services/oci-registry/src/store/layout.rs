//! Where everything lies below the directory.
//!
//! The first three are the Go registry's and are read and written as it does; the others are ours beside them:
//!
//! ```text
//! blobs/<algorithm>/<hex>                            content, whole and verified before it gets this name
//! manifests/<repository>/<reference>.json            a manifest, once by digest and once for each tag; `:` is written `-`
//! manifests/<repository>/<reference>.json.type       its media type
//! uploads/<id>.<mark>                                a session; the mark ties it to its repository
//! uploads/tmp-<id>                                   a file that is being written; removed at start
//! holders/<repository>/_blobs/<algorithm>/<hex>      empty: this repository holds that blob
//! holders/_everywhere/<algorithm>/<hex>              empty: left by the Go registry, verified, and held by all
//! damaged/<algorithm>-<hex>                          left by the Go registry, and not what its name says
//! ```
//!
//! A part of a repository's name that ends in `.json` or `.type` gets a `+` at its end, and a tag that looks like a digest is
//! written `<tag>+tag`: names in the manifests' folder never mean two things.

use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::names::{Reference, RepositoryName, Tag};

/// Ends a tag's name that could be a digest's.
const TAG_MARK: &str = "+tag";

/// The directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// Who holds a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// One repository.
    Repository(RepositoryName),
    /// All of them.
    Everywhere,
}

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("registry.lock")
    }

    pub fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub fn passing(&self) -> PathBuf {
        self.uploads().join(format!("tmp-{}", uuid::Uuid::new_v4()))
    }

    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    pub fn holders(&self) -> PathBuf {
        self.root.join("holders")
    }

    pub fn everywhere(&self) -> PathBuf {
        self.holders().join("_everywhere")
    }

    /// Folder of a repository's manifests.
    pub fn repository(&self, repository: &RepositoryName) -> PathBuf {
        below(self.manifests(), repository)
    }

    /// Folder of a holder's marks.
    pub fn marks(&self, holder: &Holder, algorithm: Algorithm) -> PathBuf {
        match holder {
            Holder::Everywhere => self.everywhere(),
            Holder::Repository(repository) => below(self.holders(), repository).join("_blobs"),
        }
        .join(algorithm.name())
    }

    pub fn mark(&self, holder: &Holder, digest: &Digest) -> PathBuf {
        self.marks(holder, digest.algorithm()).join(digest.hex())
    }
}

fn below(mut folder: PathBuf, repository: &RepositoryName) -> PathBuf {
    for part in repository.as_str().split('/') {
        folder.push(folder_name(part));
    }
    folder
}

fn folder_name(part: &str) -> String {
    let taken = part.ends_with(".json") || part.ends_with(".type");
    if taken { format!("{part}+") } else { part.to_owned() }
}

/// The part of a name that a folder stands for; none when it is not one of ours.
pub fn part_of_folder(name: &str) -> Option<&str> {
    let part = name.strip_suffix('+').unwrap_or(name);
    (folder_name(part) == name).then_some(part)
}

/// File of a manifest in its repository's folder.
pub fn manifest_file(reference: &Reference) -> String {
    match reference {
        Reference::Digest(digest) => format!("{}-{}.json", digest.algorithm().name(), digest.hex()),
        Reference::Tag(tag) if digest_like(tag.as_str()).is_some() => format!("{tag}{TAG_MARK}.json"),
        Reference::Tag(tag) => format!("{tag}.json"),
    }
}

/// File of its media type.
pub fn type_file(manifest_file: &str) -> String {
    format!("{manifest_file}.type")
}

/// Where the media type of an adopted manifest may also stand.
pub fn other_type_file(manifest_file: &str) -> String {
    manifest_file.strip_suffix(".json").map_or_else(String::new, |stem| format!("{stem}.type"))
}

/// The digest that `sha256-<hex>` means.
fn digest_like(text: &str) -> Option<Digest> {
    let (name, hex) = text.split_once('-')?;
    Digest::of_parts(name, hex)
}

/// What a file in a repository's folder is.
pub enum Found {
    /// A manifest under this tag.
    Tagged(Tag),
    /// A manifest under this digest, or, where the bytes have another one, under the tag of that name.
    Digested(Digest, Option<Tag>),
}

/// Reads the name of a manifest's file.
pub fn found(file: &str) -> Option<Found> {
    let stem = file.strip_suffix(".json")?;
    if let Some(tag) = stem.strip_suffix(TAG_MARK) {
        return Tag::parse(tag).map(Found::Tagged);
    }
    match digest_like(stem) {
        Some(digest) => Some(Found::Digested(digest, Tag::parse(stem))),
        None => Tag::parse(stem).map(Found::Tagged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_things_have_the_same_path() {
        let layout = Layout::new(Path::new("/r"));
        let digest = Digest::of(Algorithm::Sha256, b"x");
        let like = Tag::parse(&format!("sha256-{}", digest.hex())).expect("a tag");
        let by_digest = manifest_file(&Reference::Digest(digest.clone()));
        let by_tag = manifest_file(&Reference::Tag(like.clone()));
        assert_eq!(by_digest, format!("sha256-{}.json", digest.hex()));
        assert_ne!(by_digest, by_tag);
        assert!(matches!(found(&by_digest), Some(Found::Digested(one, _)) if one == digest));
        assert!(matches!(found(&by_tag), Some(Found::Tagged(tag)) if tag == like));
        assert!(found("a.json.type").is_none() && found("..json").is_none());

        let name = |text: &str| RepositoryName::parse(text).expect("a name");
        assert_eq!(layout.repository(&name("a/b.json")), Path::new("/r/manifests/a/b.json+"));
        assert_eq!(part_of_folder("b.json+"), Some("b.json"));
        assert_eq!(part_of_folder("b"), Some("b"));
        assert_eq!(part_of_folder("b.json"), None);
        let mark = layout.mark(&Holder::Repository(name("a/b")), &digest);
        assert_eq!(mark, Path::new("/r/holders/a/b/_blobs/sha256").join(digest.hex()));
    }
}
