//! Which images a name means: the one of a push notice, or the one somebody asks to redeploy.

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

/// Whether a push of `repository` under `tag` may change what `image` means. Registries go by many names: they are not compared,
/// since the worst a wrong guess costs is one question to the right one.
pub fn is_pushed(image: &str, repository: &str, tag: &str) -> bool {
    let image = Reference::of(image);
    image.digest.is_none() && image.repository == repository.trim_matches('/') && image.tag == tag
}

/// Whether `asked` means `image`: the same text, the end of it after a slash, or the same last part whatever the tag.
pub fn is_meant(image: &str, asked: &str) -> bool {
    fn last_part(text: &str) -> &str {
        let repository = Reference::of(text).repository;
        repository.rsplit('/').next().unwrap_or(repository)
    }
    !asked.is_empty()
        && (image == asked
            || image.strip_suffix(asked).is_some_and(|before| before.ends_with('/'))
            || (!asked.contains('/') && last_part(image) == last_part(asked)))
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

    #[test]
    fn a_push_concerns_repository_and_tag_whatever_the_registry_is_called() {
        for image in ["web:edge", "10.0.0.1:5000/web:edge", "localhost/web:edge", "registry.lan/web:edge"] {
            assert!(is_pushed(image, "web", "edge"), "{image}");
            assert!(!is_pushed(image, "web", "latest"), "{image}");
            assert!(!is_pushed(image, "other/web", "edge"), "{image}");
        }
        assert!(is_pushed("web", "web", "latest"));
        let fixed = format!("web@sha256:{}", "a".repeat(64));
        assert!(!is_pushed(&fixed, "web", "latest"), "a digest means the same for ever");
    }

    #[test]
    fn a_redeployment_means_the_image_its_end_or_its_short_name() {
        let image = "10.0.0.1:5000/net/dns:edge";
        for asked in [image, "net/dns:edge", "dns:edge", "dns", "dns:other"] {
            assert!(is_meant(image, asked), "{asked}");
        }
        for asked in ["", "ns:edge", "net/dns", "other/dns:edge", "web", "10.0.0.1:5000/net/dns:other", "s:edge"] {
            assert!(!is_meant(image, asked), "{asked}");
        }
    }
}
