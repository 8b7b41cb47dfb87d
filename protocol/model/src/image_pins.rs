//! Which digests a pod's annotations speak of: pinned, deployed, deployed before, refused. And how references and digests are
//! taken apart.

use serde_json::Value;

use crate::metadata;

/// `<container>=<image>@sha256:<hex>`, with commas: the manifest a container runs whatever its tag means today. Written by
/// rollouts, and by people who want to stay where they are.
pub const PIN: &str = "vkube.io/image-pin";
/// Digest of the first container's image as it runs. Written by mkube.
pub const DEPLOYED: &str = "vkube.io/image-digest";
/// The digest that [`DEPLOYED`] had before, to go back to. Written by mkube.
pub const DEPLOYED_BEFORE: &str = "vkube.io/image-digest-before";
/// `<image>@<digest>`: what a rollout tried and put back. Written by rollouts.
pub const REFUSED: &str = "vkube.io/image-refused";

/// Letters of a SHA-256 digest in hexadecimal.
const HEX: usize = 64;

/// One entry of [`PIN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin<'a> {
    /// Name of the container.
    pub container: &'a str,
    /// The image text it was written for; with another image it does not count.
    pub image: &'a str,
    /// `sha256:…`.
    pub digest: &'a str,
}

/// Whether a text is `sha256:` and 64 hexadecimal digits, lower case.
pub fn is_digest(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|rest| rest.len() == HEX && rest.chars().all(hex))
}

/// The entries of a [`PIN`], or which one is wrong and how.
pub fn pins(text: &str) -> Result<Vec<Pin<'_>>, String> {
    let mut found: Vec<Pin<'_>> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts = entry.split_once('=').and_then(|(container, rest)| Some((container, rest.rsplit_once('@')?)));
        let Some((container, (image, digest))) = parts else {
            return Err(format!("{entry:?} must read <container>=<image>@sha256:<digest>"));
        };
        if metadata::label_problem(container).is_some() || image.is_empty() {
            return Err(format!("{entry:?} must name a container and its image"));
        }
        if !is_digest(digest) {
            return Err(format!("{entry:?} must end in sha256: and {HEX} hexadecimal digits"));
        }
        if found.iter().any(|pin| pin.container == container) {
            return Err(format!("container {container:?} must not occur twice"));
        }
        found.push(Pin { container, image, digest });
    }
    Ok(found)
}

/// The digest a container is pinned to, if its image is still the one the pin was written for.
pub fn pinned(pod: &Value, container: &str, image: &str) -> Option<String> {
    let pins = pins(metadata::annotation(pod, PIN)?).ok()?;
    let pin = pins.into_iter().find(|pin| pin.container == container && pin.image == image)?;
    Some(pin.digest.to_owned())
}

/// A reference without its tag and digest.
pub fn repository(image: &str) -> &str {
    let bare = image.split_once('@').map_or(image, |(bare, _)| bare);
    let name = bare.rfind('/').map_or(0, |slash| slash + 1);
    bare[name..].find(':').map_or(bare, |colon| &bare[..name + colon])
}

/// What stands in `imageID`: `<repository>@<digest>`.
pub fn image_id(image: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(image))
}

/// The digest in a reference, an `imageID` or a text such as [`REFUSED`] has.
pub fn digest_of(text: &str) -> Option<&str> {
    let digest = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
    is_digest(digest).then_some(digest)
}

/// Every digest that stands anywhere in a text.
pub fn digests_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("sha256:").filter_map(|(at, prefix)| {
        let found = text.get(at..at + prefix.len() + HEX)?;
        is_digest(found).then_some(found)
    })
}

/// The digest in the name of a content-addressed archive, `…/sha256-<hex>.tar`.
pub fn digest_of_archive(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?.strip_suffix(".tar")?;
    let digest = format!("sha256:{}", name.strip_prefix("sha256-")?);
    is_digest(&digest).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(HEX))
    }

    #[test]
    fn a_pin_counts_only_for_the_image_it_was_written_for() {
        let text = format!(" c = x ,web=10.0.0.1:5000/app:edge@{},side=busy@{}", digest('a'), digest('b'));
        assert!(pins(&text).is_err(), "blanks inside an entry");
        let text = format!("web=10.0.0.1:5000/app:edge@{}, side=busy@{},", digest('a'), digest('b'));
        let pod = json!({"metadata": {"annotations": {PIN: text}}});
        assert_eq!(pinned(&pod, "web", "10.0.0.1:5000/app:edge"), Some(digest('a')));
        assert_eq!(pinned(&pod, "side", "busy"), Some(digest('b')));
        assert_eq!(pinned(&pod, "web", "10.0.0.1:5000/app:next"), None);
        assert_eq!(pinned(&pod, "other", "busy"), None);
        assert_eq!(pinned(&json!({}), "web", "busy"), None);
    }

    #[test]
    fn what_is_no_pin_is_said() {
        for bad in [
            "web".to_owned(),
            "web=app".to_owned(),
            "web=app@sha256:abc".to_owned(),
            format!("web=app@{}", digest('A')),
            format!("=app@{}", digest('a')),
            format!("web=@{}", digest('a')),
            format!("web=app@{0},web=app@{0}", digest('a')),
        ] {
            assert!(pins(&bad).is_err(), "{bad}");
        }
        assert_eq!(pins(" , "), Ok(vec![]));
    }

    #[test]
    fn references_are_taken_apart() {
        for (image, repo) in [
            ("web", "web"),
            ("web:1", "web"),
            ("10.0.0.1:5000/a/b:edge", "10.0.0.1:5000/a/b"),
            ("10.0.0.1:5000/a/b", "10.0.0.1:5000/a/b"),
            ("r/x:1@sha256:abc", "r/x"),
        ] {
            assert_eq!(repository(image), repo);
        }
        assert_eq!(digest_of(&image_id("r:5/x:1", &digest('c'))), Some(digest('c').as_str()));
        assert_eq!(digest_of("r:5/x:1"), None);
        let mark = format!("{{\"to\":\"{}\",\"from\":{{\"web\":\"{}\"}}}} sha256:short", digest('e'), digest('f'));
        assert_eq!(digests_in(&mark).collect::<Vec<_>>(), [digest('e'), digest('f')]);
        let name = format!("/raid1/cache/sha256-{}.tar", "d".repeat(HEX));
        assert_eq!(digest_of_archive(&name), Some(digest('d')));
        assert_eq!(digest_of_archive("/raid1/cache/web-1.tar"), None);
    }
}
