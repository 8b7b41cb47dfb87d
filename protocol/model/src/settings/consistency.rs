//! How mkube compares what is wanted with what is there: the block `consistency`.

use std::time::Duration;

use serde::Serialize;

use super::duration::as_text;
use super::section::Section;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What is done about what nobody owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairMode {
    /// It is reported, and removed when somebody asks for it.
    Report,
    /// It is removed.
    Auto,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencySettings {
    /// Pause between two runs when nothing changes.
    #[serde(serialize_with = "as_text")]
    pub interval: Duration,
    /// What is done about what nobody owns.
    pub repair: RepairMode,
    /// How long something must have been without an owner before it may be removed.
    #[serde(serialize_with = "as_text")]
    pub orphan_age: Duration,
    /// How much of what mkube made a repair may touch, in percent.
    pub max_share: u32,
    /// Pause between two removals.
    #[serde(serialize_with = "as_text")]
    pub repair_pause: Duration,
}

pub(super) fn read(section: Section<'_>) -> ConsistencySettings {
    let span = |key: &'static str, usual: Duration, least: Duration| {
        let found = section.duration(key, SECOND).unwrap_or(usual);
        if found < least {
            section.problem(key, format!("must be at least {}", super::print_duration(least)));
        }
        found
    };
    let interval = span("interval", 2 * MINUTE, 10 * SECOND);
    let orphan_age = span("orphanAge", 10 * MINUTE, MINUTE);
    let repair_pause = span("repairPause", 5 * SECOND, SECOND);
    // Whether what nobody owns is a leftover or has lost its owner is for a person to say; a leftover costs little.
    let repair = match section.filled("repair").as_deref() {
        None | Some("report") => RepairMode::Report,
        Some("auto") => RepairMode::Auto,
        Some(other) => {
            section.problem("repair", format!("is {other:?}, where report or auto is wanted"));
            RepairMode::Report
        }
    };
    let max_share = section.number("maxShare", 1..=100).unwrap_or(20);
    section.finish();
    ConsistencySettings { interval, repair, orphan_age, max_share, repair_pause }
}
