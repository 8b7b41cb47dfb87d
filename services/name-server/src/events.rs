//! What watchers are told: names, not objects. Whoever needs the state asks for it.

use serde::Serialize;

/// What happened to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "section 9 of the reference")]
pub enum Action {
    Added,
    Modified,
    Deleted,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
#[allow(missing_docs, clippy::enum_variant_names, reason = "section 9 of the reference: the names are what is told")]
pub enum Event {
    ZoneChanged { action: Action, zone_id: String, zone_name: String },
    RecordChanged { action: Action, zone_id: String, record_name: String },
    DnsForwarderChanged { action: Action, zone: String },
}

impl Event {
    /// The word that asks for events of this sort.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ZoneChanged { .. } => "zones",
            Self::RecordChanged { .. } => "records",
            Self::DnsForwarderChanged { .. } => "dns",
        }
    }
}
