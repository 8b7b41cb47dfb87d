//! Which RouterOS release is imitated.

/// A release from 7.19 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// As printed, such as `7.23.2 (stable)`.
    pub version: String,
    /// 19 to 24.
    pub minor: u32,
}

impl Release {
    /// From `7.23.2`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', 'b', 'r', ' ']);
        if parts.next()? != "7" {
            return None;
        }
        let minor: u32 = parts.next()?.parse().ok()?;
        let version = if text.contains('(') { text.to_owned() } else { format!("{text} (stable)") };
        (19..=24).contains(&minor).then_some(Self { version, minor })
    }

    /// Whether it is `7.<minor>` or later.
    pub fn from(&self, minor: u32) -> bool {
        self.minor >= minor
    }
}
