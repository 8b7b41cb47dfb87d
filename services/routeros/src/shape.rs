//! What properties are called in which release.

/// A RouterOS release, as far as shapes depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// 7.
    pub major: u32,
    /// 19, 20, …
    pub minor: u32,
}

impl Release {
    /// From `7.23.2 (stable)` or `7.24beta1`.
    pub fn parse(version: &str) -> Option<Self> {
        let mut parts = version.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

/// Names and abilities of one release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// `mounts` until 7.20, then `mountlists`.
    pub mount_lists: &'static str,
    /// `envlist` until 7.19, then `envlists`.
    pub env_lists: &'static str,
    /// Name of the list in `/container/mounts`: `name` until 7.20, then `list`.
    pub mount_list_name: &'static str,
    /// Name of the list in `/container/envs`: `name` until 7.19, then `list`.
    pub env_list_name: &'static str,
    /// How a mount is made read-only: `read-only` from 7.20, `mode` from 7.23.
    pub read_only: Option<&'static str>,
    /// `memory-max` from 7.23, `memory-high` from 7.20.
    pub memory: Option<&'static str>,
    /// `stop-time` exists from 7.21.
    pub stop_time: bool,
    /// `/container/log` exists from 7.20.
    pub container_log: bool,
    /// A container's `name` is settable from 7.19.
    pub settable_name: bool,
}

impl Shape {
    /// The shape of a release.
    pub fn of(release: Release) -> Self {
        let from = |minor: u32| release >= Release { major: 7, minor };
        Self {
            mount_lists: if from(21) { "mountlists" } else { "mounts" },
            env_lists: if from(20) { "envlists" } else { "envlist" },
            mount_list_name: if from(21) { "list" } else { "name" },
            env_list_name: if from(20) { "list" } else { "name" },
            read_only: if from(23) {
                Some("mode")
            } else if from(20) {
                Some("read-only")
            } else {
                None
            },
            memory: if from(23) {
                Some("memory-max")
            } else if from(20) {
                Some("memory-high")
            } else {
                None
            },
            stop_time: from(21),
            container_log: from(20),
            settable_name: from(19),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_from_version_texts() {
        for (text, minor) in [("7.23.2 (stable)", 23), ("7.24beta1", 24), ("7.19 (stable)", 19), ("7.20.8", 20)] {
            assert_eq!(Release::parse(text), Some(Release { major: 7, minor }), "{text}");
        }
        assert_eq!(Release::parse("nonsense"), None);
    }
}
