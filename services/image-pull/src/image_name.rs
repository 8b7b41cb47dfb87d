//! What a reference names: registry, repository, tag and digest, spelled the one way everything else is named by.

use std::fmt;

use mkube_model::names::archive_name;
use mkube_model::neighbours::tarballs::TarballFault;
use oci_distribution::{ParseError, Reference};

use crate::digest::Digest;

/// Bytes of a reference; longer ones are no references.
const REFERENCE_BYTES: usize = 512;
/// Registry of references that name none.
const DOCKER_HUB: &str = "docker.io";

/// A reference in its one spelling: names of the local registry replaced by the first, `docker.io/library` filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    /// `host[:port]` of the registry.
    pub(crate) host: String,
    /// Repository, without the registry.
    pub(crate) repository: String,
    /// Tag; none where only a digest is named.
    pub(crate) tag: Option<String>,
    /// Digest, of a manifest or of an index.
    pub(crate) digest: Option<Digest>,
}

impl ImageName {
    /// Reads a reference as a pod writes it. `aliases` are the names of the local registry, the first is its own.
    pub(crate) fn parse(image: &str, aliases: &[String]) -> Result<Self, TarballFault> {
        let bad = |why: String| TarballFault::BadReference { image: shown(image), why };
        if image.len() > REFERENCE_BYTES {
            return Err(bad(format!("it is longer than {REFERENCE_BYTES} bytes")));
        }
        if let Some(odd) = image.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-/:@".contains(*c))) {
            return Err(bad(format!("{odd:?} may not occur in it")));
        }
        if image.contains("://") {
            return Err(bad("it begins with a scheme; leave it out".to_owned()));
        }
        let read = Reference::try_from(image).map_err(|error| bad(words(&error, image)))?;
        let digest = match read.digest() {
            None => None,
            Some(text) => {
                Some(Digest::parse(text).ok_or_else(|| bad("its digest is not in lower case digits".to_owned()))?)
            }
        };
        Ok(Self {
            host: unaliased(read.registry(), aliases).to_owned(),
            repository: read.repository().to_owned(),
            tag: read.tag().map(str::to_owned),
            digest,
        })
    }

    /// The same repository at a manifest of its own.
    pub(crate) fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// What the registry is asked for: the digest where there is one, else the tag.
    pub(crate) fn wanted(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// What the archive calls itself inside: repository and tag without the registry, as the Go controller wrote it.
    pub(crate) fn name_inside(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => "mkube:latest".to_owned(),
        }
    }

    /// Names, without `.tar`, under which the Go controller may have kept the archive: it named files by what pods wrote.
    pub(crate) fn go_names(&self, written: &str, aliases: &[String]) -> Vec<String> {
        let mut spellings = vec![written.to_owned()];
        let mut hosts = vec![format!("{}/", self.host)];
        if aliases.first() == Some(&self.host) {
            hosts.extend(aliases.iter().skip(1).map(|alias| format!("{alias}/")));
            hosts.push("localhost/".to_owned());
        }
        let mut paths = vec![self.repository.as_str()];
        if self.host == DOCKER_HUB {
            hosts.push(String::new());
            paths.extend(self.repository.strip_prefix("library/"));
        }
        let mut ends = vec![self.to_string()[self.host.len() + 1 + self.repository.len()..].to_owned()];
        if self.tag.as_deref() == Some("latest") && self.digest.is_none() {
            ends.push(String::new());
        }
        for host in &hosts {
            for path in &paths {
                spellings.extend(ends.iter().map(|end| format!("{host}{path}{end}")));
            }
        }
        let mut names: Vec<String> = Vec::new();
        for name in spellings.iter().map(|spelling| archive_name(spelling)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether an archive that calls itself `inside` is some other image, whose file has the same name only because names of
    /// files are poorer than references. A file that was given another name on purpose is not.
    pub(crate) fn is_mistaken_for(&self, inside: &str) -> bool {
        let Ok(other) = Self::parse(inside, &[]) else { return false };
        let short = |repository: &str| repository.strip_prefix("library/").unwrap_or(repository).to_owned();
        let name = |image: &Self| format!("{}:{}", short(&image.repository), image.tag.as_deref().unwrap_or("latest"));
        let (own, other) = (name(self), name(&other));
        own != other && archive_name(&own) == archive_name(&other)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(out, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(out, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// The registry's own name, given any of its names.
pub(crate) fn unaliased<'h>(host: &'h str, aliases: &'h [String]) -> &'h str {
    match aliases.first() {
        Some(first) if host == "localhost" || aliases.iter().any(|alias| alias == host) => first,
        _ => host,
    }
}

/// A reference in a fault: not a page of it.
fn shown(image: &str) -> String {
    image.chars().take(REFERENCE_BYTES).collect()
}

fn words(error: &ParseError, image: &str) -> String {
    match error {
        ParseError::NameEmpty => "it is empty".to_owned(),
        ParseError::NameTooLong => "its repository is longer than 255 bytes".to_owned(),
        ParseError::ReferenceInvalidFormat => {
            let lower = image.to_ascii_lowercase();
            if Reference::try_from(lower.as_str()).is_ok() {
                "its repository is not in lower case".to_owned()
            } else {
                "it is not [registry[:port]/]repository[:tag][@digest]".to_owned()
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases() -> Vec<String> {
        ["192.168.200.3:5000", "registry.gt.lo:5000"].map(str::to_owned).to_vec()
    }

    fn canonical(image: &str) -> String {
        ImageName::parse(image, &aliases()).expect("a reference").to_string()
    }

    #[test]
    fn every_spelling_of_an_image_becomes_one() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (written, name) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
            ("team/app:edge", "docker.io/team/app:edge"),
            ("192.168.200.3:5000/app", "192.168.200.3:5000/app:latest"),
            ("registry.gt.lo:5000/a/b:1", "192.168.200.3:5000/a/b:1"),
            ("localhost/app:1", "192.168.200.3:5000/app:1"),
            ("localhost:5000/app:1", "localhost:5000/app:1"),
            ("quay.io/x/y:V1.2", "quay.io/x/y:V1.2"),
            (&format!("quay.io/x/y@{digest}"), &format!("quay.io/x/y@{digest}")),
            (&format!("quay.io/x/y:1@{digest}"), &format!("quay.io/x/y:1@{digest}")),
        ] {
            assert_eq!(canonical(written), name, "{written}");
            assert_eq!(canonical(name), name, "again");
        }
        assert_eq!(ImageName::parse("localhost/x", &[]).expect("a reference").host, "localhost");
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_reason() {
        let upper = format!("a@sha256:{}", "A".repeat(64));
        for (written, why) in [
            ("", "empty"),
            ("bad image", "' ' may not occur"),
            ("a\u{0}b", "may not occur"),
            ("Team/App:1", "lower case"),
            (":tag", "is not [registry"),
            ("a//b", "is not [registry"),
            ("../../etc/passwd", "is not [registry"),
            ("a:b:c", "is not [registry"),
            ("https://r.lo/app", "scheme"),
            ("a@sha256:abc", "is not [registry"),
            (&upper, "lower case digits"),
            (&format!("a@md5:{}", "0".repeat(32)), "unsupported"),
            (&"a/".repeat(300), "longer than 512"),
            (&format!("a:{}", "t".repeat(129)), "is not [registry"),
            (&"a".repeat(300), "longer than 255"),
        ] {
            match ImageName::parse(written, &aliases()) {
                Err(TarballFault::BadReference { why: said, .. }) => assert!(said.contains(why), "{written}: {said}"),
                other => panic!("{written}: {other:?}"),
            }
        }
    }

    #[test]
    fn files_of_the_go_controller_are_looked_for_under_every_spelling() {
        let names =
            |written: &str| ImageName::parse(written, &aliases()).expect("a reference").go_names(written, &aliases());
        let found = names("registry.gt.lo:5000/app");
        for name in
            ["registry-gt-lo-5000-app", "192-168-200-3-5000-app", "192-168-200-3-5000-app-latest", "localhost-app"]
        {
            assert!(found.iter().any(|seen| seen == name), "{name} is missing in {found:?}");
        }
        let found = names("docker.io/library/hello:latest");
        assert!(
            found.iter().any(|seen| seen == "hello-latest") && found.iter().any(|seen| seen == "hello"),
            "{found:?}"
        );
        assert!(!names("hello:1").iter().any(|seen| seen == "hello"));
    }

    #[test]
    fn two_references_whose_files_have_one_name_are_told_apart() {
        let name = ImageName::parse("192.168.200.3:5000/a.b:1", &aliases()).expect("a reference");
        assert!(!name.is_mistaken_for("a.b:1"));
        assert!(name.is_mistaken_for("a-b:1"));
        assert!(!name.is_mistaken_for("hello:latest"), "somebody renamed a file");
        assert!(!name.is_mistaken_for("mkube:latest"));
        assert!(!ImageName::parse("hello:1", &[]).expect("a reference").is_mistaken_for("library/hello:1"));
    }
}
