//! Which images a name means: the one of a push notice, or the one somebody asks to redeploy.

use mkube_model::image_reference::Reference;

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
