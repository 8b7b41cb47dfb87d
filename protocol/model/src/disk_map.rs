//! Two spellings of a path: mkube's and the device's.

use std::path::{Path, PathBuf};

/// Which directory of mkube is which directory of the device.
#[derive(Debug, Clone, Default)]
pub struct DiskMap {
    /// Pairs of mkube's and the device's spelling; the first that fits counts.
    pairs: Vec<(PathBuf, String)>,
    /// The device's spelling of mkube's own root directory, for everything else.
    self_root: Option<String>,
}

impl DiskMap {
    /// A map of `pairs` (mkube's, the device's), and the device's spelling of mkube's own root.
    pub fn new(pairs: Vec<(PathBuf, String)>, self_root: Option<String>) -> Self {
        Self { pairs, self_root }
    }

    /// The device's spelling, with a leading slash.
    pub fn to_device(&self, local: &Path) -> String {
        for (ours, theirs) in &self.pairs {
            if let Ok(rest) = local.strip_prefix(ours) {
                return join(theirs, rest);
            }
        }
        match &self.self_root {
            Some(root) => join(root, local.strip_prefix("/").unwrap_or(local)),
            None => local.display().to_string(),
        }
    }

    /// Whether the device sees this path of mkube at all.
    pub fn covers(&self, local: &Path) -> bool {
        self.self_root.is_some() || self.pairs.iter().any(|(ours, _)| local.starts_with(ours))
    }

    /// Whether this very directory of the device is mounted into mkube itself.
    pub fn is_ours(&self, device: &str) -> bool {
        self.pairs.iter().any(|(_, theirs)| theirs.trim_matches('/') == device.trim_matches('/'))
    }

    /// mkube's spelling, if mkube sees that part of the device.
    pub fn to_local(&self, device: &str) -> Option<PathBuf> {
        let bare = device.trim_matches('/');
        self.pairs.iter().find_map(|(ours, theirs)| {
            let rest = Path::new(bare).strip_prefix(theirs.trim_matches('/')).ok()?;
            Some(ours.join(rest))
        })
    }
}

fn join(base: &str, rest: &Path) -> String {
    let rest = rest.display().to_string();
    let base = base.trim_matches('/');
    if rest.is_empty() { format!("/{base}") } else { format!("/{base}/{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_translated_by_whole_components() {
        let map = DiskMap::new(
            vec![("/raid1/cache".into(), "raid1/cache".into()), ("/data".into(), "raid1/volumes/kube/data".into())],
            Some("raid1/images/kube".into()),
        );
        assert_eq!(map.to_device(Path::new("/raid1/cache/x.tar")), "/raid1/cache/x.tar");
        assert_eq!(map.to_device(Path::new("/data/configmaps/a")), "/raid1/volumes/kube/data/configmaps/a");
        assert_eq!(map.to_device(Path::new("/database/x")), "/raid1/images/kube/database/x");
        assert_eq!(map.to_local("raid1/cache/x.tar"), Some("/raid1/cache/x.tar".into()));
        assert_eq!(map.to_local("/raid1/images/x"), None);
        assert!(map.is_ours("/raid1/volumes/kube/data") && !map.is_ours("/raid1/volumes/kube"));
        assert!(map.covers(Path::new("/anything")), "our own root lies on the device");
        let map = DiskMap::new(vec![("/raid1/cache".into(), "raid1/cache".into())], None);
        assert!(map.covers(Path::new("/raid1/cache/x")) && !map.covers(Path::new("/raid1/cached/x")));
    }
}
