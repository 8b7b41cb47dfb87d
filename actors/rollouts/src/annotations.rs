//! What of a rollout stands in the annotations of a pod, and how it is written. Together with the pod's status it is all there
//! is to know: whoever reads it can go on where another left off.

use std::collections::BTreeMap;

use mkube_model::image_pins::{self, is_digest};
pub use mkube_model::image_pins::{PIN, REFUSED};
use serde::{Deserialize, Serialize};

/// `auto`: the pod follows its images.
pub const POLICY: &str = "vkube.io/image-policy";
/// The archive the pod runs from, instead of an image.
pub const FILE: &str = "vkube.io/file";
/// Comma list of `<image>@sha256:<hex>`: somebody asked for this digest while it was not known which one runs.
pub const WANTED: &str = "vkube.io/image-wanted";
/// A [`Mark`], while a digest is tried on the pod and not proven yet.
pub const ROLLOUT: &str = "vkube.io/image-rollout";
/// `false`: a digest that fails stays.
pub const ROLLBACK: &str = "vkube.io/auto-rollback";

/// Entries a list may have: older ones go.
const LONGEST: usize = 16;

/// A digest that is being tried on a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Reference as the pod writes it.
    pub image: String,
    /// The digest that is tried.
    pub to: String,
    /// Containers it is tried on, each with the digest it ran before; empty when that was not known.
    pub from: BTreeMap<String, String>,
    /// The pod was well before. One that failed already proves nothing by failing again.
    pub was_live: bool,
}

impl Mark {
    /// Reads an annotation; what makes no sense is no mark.
    pub fn parse(text: &str) -> Option<Self> {
        let mark: Self = serde_json::from_str(text).ok()?;
        (is_digest(&mark.to) && !mark.image.is_empty()).then_some(mark)
    }

    /// The annotation.
    pub fn print(&self) -> String {
        serde_json::to_string(self).expect("names and digests are text")
    }
}

/// An image and a digest of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Reference as the pod writes it.
    pub image: String,
    /// `sha256:…`.
    pub digest: String,
}

impl Version {
    /// From its parts.
    pub fn new(image: impl Into<String>, digest: impl Into<String>) -> Self {
        Self { image: image.into(), digest: digest.into() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (image, digest) = text.trim().rsplit_once('@')?;
        (is_digest(digest) && !image.is_empty()).then(|| Self::new(image, digest))
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Reads a list of versions; entries that make no sense are left out.
pub fn parse_versions(text: &str) -> Vec<Version> {
    entries(text).filter_map(Version::parse).collect()
}

/// Writes a list of versions, the newest last; `None` when there is none.
pub fn print_versions(versions: &[Version]) -> Option<String> {
    let kept = &versions[versions.len().saturating_sub(LONGEST)..];
    let list: Vec<String> = kept.iter().map(|one| format!("{}@{}", one.image, one.digest)).collect();
    (!list.is_empty()).then(|| list.join(","))
}

/// Pins by container.
pub type Pins = BTreeMap<String, Version>;

/// Reads the pins; a list that makes no sense is none, as for whoever acts on it.
pub fn parse_pins(text: &str) -> Pins {
    let pin = |pin: image_pins::Pin<'_>| (pin.container.to_owned(), Version::new(pin.image, pin.digest));
    image_pins::pins(text).unwrap_or_default().into_iter().map(pin).collect()
}

/// Writes the pins; `None` when there is none.
pub fn print_pins(pins: &Pins) -> Option<String> {
    let pin = |(container, pin): (&String, &Version)| format!("{container}={}@{}", pin.image, pin.digest);
    let list: Vec<String> = pins.iter().map(pin).collect();
    (!list.is_empty()).then(|| list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn pins_and_versions_read_as_they_are_written_and_nonsense_is_left_out() {
        let text = format!("c=web:1@{0},side=10.0.0.1:5000/a/b:x@{1}", digest('a'), digest('b'));
        let pins = parse_pins(&text);
        assert_eq!(pins["side"], Version::new("10.0.0.1:5000/a/b:x", digest('b')));
        assert_eq!(parse_pins(&print_pins(&pins).expect("two")), pins);
        assert!(parse_pins("c=web:1@sha256:abc").is_empty());
        let versions = vec![Version::new("web:1", digest('a')), Version::new("web:1", digest('b'))];
        assert_eq!(parse_versions(&print_versions(&versions).expect("two")), versions);
        assert_eq!((print_versions(&[]), print_pins(&Pins::new())), (None, None));
        let many: Vec<Version> = (0..40).map(|n| Version::new(format!("web:{n}"), digest('a'))).collect();
        assert_eq!(parse_versions(&print_versions(&many).expect("many")), many[24..]);
    }

    #[test]
    fn a_mark_reads_as_it_is_written_and_nonsense_is_none() {
        let from = BTreeMap::from([("c".to_owned(), digest('a')), ("d".to_owned(), String::new())]);
        let mark = Mark { image: "web:1".into(), to: digest('b'), from, was_live: true };
        assert_eq!(Mark::parse(&mark.print()), Some(mark));
        for nothing in ["", "{}", "null", "{\"image\":\"web:1\",\"to\":\"x\",\"from\":{},\"wasLive\":true}"] {
            assert_eq!(Mark::parse(nothing), None, "{nothing}");
        }
    }
}
