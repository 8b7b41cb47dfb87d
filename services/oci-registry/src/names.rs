//! Which names there may be: repositories, tags, references, and how far they are safe as parts of paths.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;

/// Bytes of the longest name of a repository.
const LONGEST: usize = 255;
/// Bytes of its longest part: it becomes the name of a folder.
const LONGEST_PART: usize = 200;
/// Bytes of the longest tag.
const LONGEST_TAG: usize = 128;

/// A repository's name: parts of small letters and digits, joined by `.`, `_`, `__` or dashes, and slashes between the parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// Reads a name; none when it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= LONGEST;
        (fits && text.split('/').all(is_part)).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    let joined = |gap: &[u8]| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|byte| *byte == b'-');
    ends && part.len() <= LONGEST_PART && bytes.split(|byte| word(*byte)).all(joined)
}

/// A tag. Ordered without regard to case first, as lists of tags are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Reads a tag: a letter, digit or `_`, then up to 127 of these, `.` and `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let rest = text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        (first && rest && text.len() <= LONGEST_TAG).then(|| Self(text.into()))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Self) -> Ordering {
        let small = |tag: &Self| tag.0.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<u8>>();
        small(self).cmp(&small(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By a name that can be moved.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl Reference {
    /// Reads either; none when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        match Digest::parse(text) {
            Some(digest) => Some(Self::Digest(digest)),
            None => Tag::parse(text).map(Self::Tag),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As deep as there is.
    const LONG: &str = "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z";

    #[test]
    fn names_that_are_not_of_the_specified_form_are_refused() {
        for right in ["a", "a/b", "library/x.y_z__0--1", "0", "a.json/b.type", LONG] {
            assert!(RepositoryName::parse(right).is_some(), "{right}");
        }
        let long = "a".repeat(256);
        for wrong in [
            "", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "a.", "_a", "a___b", "a._b", "A", "a b", "a\0b",
            "a%2fb", "_blobs", "a/_blobs", "ä", "a\\b", "a:b", &long,
        ] {
            assert!(RepositoryName::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn tags_and_references_are_told_apart() {
        for right in ["latest", "_", "V1.0-x_y", "sha256-abc.sig"] {
            assert!(matches!(Reference::parse(right), Some(Reference::Tag(_))), "{right}");
        }
        let long = "a".repeat(129);
        for wrong in ["", ".", "..", "-a", "a/b", "a:b", "sha256:baddigeststring", "a+b", "ä", &long] {
            assert_eq!(Reference::parse(wrong), None, "{wrong}");
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(matches!(Reference::parse(&digest), Some(Reference::Digest(_))));
    }

    #[test]
    fn tags_are_ordered_without_regard_to_case() {
        let mut tags: Vec<Tag> = ["b", "A", "a", "C"].into_iter().filter_map(Tag::parse).collect();
        tags.sort();
        assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["A", "a", "b", "C"]);
    }
}
