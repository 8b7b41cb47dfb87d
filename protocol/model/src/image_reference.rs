//! Image references, taken apart as every client takes them apart.

/// An image reference in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// `host[:port]`, if it names one.
    pub registry: Option<&'a str>,
    /// Repository without the registry.
    pub repository: &'a str,
    /// Tag; `latest` when none is written.
    pub tag: &'a str,
    /// Digest, when it names one: such an image never changes.
    pub digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Takes a reference apart. What is not one gives parts that match nothing.
    pub fn of(image: &'a str) -> Self {
        let (rest, digest) = match image.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (image, None),
        };
        // The first part is a registry if it looks like a host: that is the rule every client follows.
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
            _ => (None, rest),
        };
        // A colon behind the last slash begins the tag.
        let name = path.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match path[name..].find(':') {
            Some(colon) => (&path[..name + colon], &path[name + colon + 1..]),
            None => (path, "latest"),
        };
        Self { registry, repository, tag, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_apart_as_every_client_takes_them_apart() {
        let hex = "sha256:".to_owned() + &"a".repeat(64);
        let with_digest = format!("10.0.0.1:5000/web@{hex}");
        for (image, registry, repository, tag, digest) in [
            ("web", None, "web", "latest", None),
            ("web:edge", None, "web", "edge", None),
            ("library/web:edge", None, "library/web", "edge", None),
            ("10.0.0.1:5000/web", Some("10.0.0.1:5000"), "web", "latest", None),
            ("10.0.0.1:5000/a/web:edge", Some("10.0.0.1:5000"), "a/web", "edge", None),
            ("localhost/web:1", Some("localhost"), "web", "1", None),
            ("ghcr.io/owner/web:1", Some("ghcr.io"), "owner/web", "1", None),
            (with_digest.as_str(), Some("10.0.0.1:5000"), "web", "latest", Some(hex.as_str())),
        ] {
            assert_eq!(Reference::of(image), Reference { registry, repository, tag, digest }, "{image}");
        }
        for odd in ["", "/", ":", "@", "a/", ":5000/", "a:b:c"] {
            let _ = Reference::of(odd);
        }
    }
}
