//! Which archives are let go of: those nobody uses, beyond the number kept, too old, or in the way of others.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use mkube_model::neighbours::tarballs::{CachedImage, InUse};

/// A pod may be about to name what was just asked for.
const JUST_USED: Duration = Duration::from_secs(600);

/// What decides.
pub(crate) struct Rules {
    /// Unused archives kept, those used last.
    pub(crate) keep_last: usize,
    /// Age since its last use from which even those go.
    pub(crate) max_age: Duration,
    /// Bytes that are missing on the file system.
    pub(crate) missing_bytes: u64,
    pub(crate) now: Timestamp,
}

/// The archives to delete, those used longest ago first.
pub(crate) fn to_delete(
    archives: Vec<CachedImage>,
    in_use: &InUse,
    canonical: impl Fn(&str) -> Option<String>,
    rules: &Rules,
) -> Vec<CachedImage> {
    let named: Vec<String> = in_use.references.iter().filter_map(|reference| canonical(reference)).collect();
    let age = |image: &CachedImage| -> Duration {
        let used = image.last_used.or(image.pulled_at);
        used.map_or(Duration::ZERO, |used| rules.now.duration_since(used).try_into().unwrap_or(Duration::ZERO))
    };
    let needed = |image: &CachedImage| {
        let path: PathBuf = image.path.components().collect();
        in_use.paths.iter().any(|used| used.components().collect::<PathBuf>() == path)
            || image.digest.as_ref().is_some_and(|digest| in_use.digests.contains(digest))
            || image.references.iter().any(|reference| named.contains(reference))
            || age(image) < JUST_USED
    };
    let mut unused: Vec<CachedImage> = archives.into_iter().filter(|image| !needed(image)).collect();
    // The longest unused first; equal ages in the order of their names.
    unused.sort_by(|a, b| age(b).cmp(&age(a)).then_with(|| a.path.cmp(&b.path)));
    let beyond = unused.len().saturating_sub(rules.keep_last);
    let mut freed = 0u64;
    let mut chosen = Vec::new();
    for (nth, image) in unused.into_iter().enumerate() {
        if nth < beyond || age(&image) >= rules.max_age || freed < rules.missing_bytes {
            freed = freed.saturating_add(image.bytes);
            chosen.push(image);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn now() -> Timestamp {
        "2026-01-31T00:00:00Z".parse().expect("a time")
    }

    fn image(name: &str, days: u64) -> CachedImage {
        CachedImage {
            references: vec![format!("r/{name}:1")],
            digest: Some(format!("sha256:{name}")),
            path: format!("/cache/{name}.tar").into(),
            bytes: 100,
            pulled_at: None,
            last_used: Some(now() - Duration::from_secs(days * DAY)),
        }
    }

    fn deleted(images: Vec<CachedImage>, in_use: &InUse, rules: &Rules) -> Vec<String> {
        let names = to_delete(images, in_use, |text| Some(format!("r/{text}")), rules);
        names.iter().map(|image| image.path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    }

    fn rules() -> Rules {
        Rules { keep_last: 2, max_age: Duration::from_secs(30 * DAY), missing_bytes: 0, now: now() }
    }

    #[test]
    fn the_unused_ones_used_last_are_kept_unless_they_are_too_old() {
        let images = || vec![image("a", 1), image("b", 9), image("c", 3), image("d", 7)];
        assert_eq!(deleted(images(), &InUse::default(), &rules()), ["b", "d"]);
        let old = Rules { max_age: Duration::from_secs(2 * DAY), ..rules() };
        assert_eq!(deleted(images(), &InUse::default(), &old), ["b", "d", "c"]);
    }

    #[test]
    fn what_is_named_by_path_digest_or_reference_stays_whatever_happens() {
        let in_use = InUse {
            paths: ["/cache/./a.tar".into()].into(),
            digests: ["sha256:b".to_owned()].into(),
            references: ["c:1".to_owned()].into(),
        };
        let images = vec![image("a", 99), image("b", 99), image("c", 99), image("d", 99), image("e", 0)];
        let strict = Rules { keep_last: 0, missing_bytes: u64::MAX, ..rules() };
        assert_eq!(deleted(images, &in_use, &strict), ["d"], "and what was just asked for stays too");
    }

    #[test]
    fn where_room_is_short_the_longest_unused_go_until_there_is_enough() {
        let images = vec![image("a", 1), image("b", 2), image("c", 3)];
        let short = Rules { keep_last: 9, missing_bytes: 150, ..rules() };
        assert_eq!(deleted(images, &InUse::default(), &short), ["c", "b"]);
    }
}
