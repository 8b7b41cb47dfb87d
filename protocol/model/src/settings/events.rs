//! What is kept of what happened: the block `events`.

use serde::Serialize;

use super::section::Section;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsSettings {
    /// Events kept; the oldest go first.
    pub ring: u32,
}

pub(super) fn read(section: Section<'_>) -> EventsSettings {
    let ring = section.number("ring", 16..=10_000).unwrap_or(256);
    section.finish();
    EventsSettings { ring }
}
