//! One comparison, before it is known since when it ends like this.

use mkube_messages::consistency::{CheckStatus, Section, Severity};
use mkube_messages::objects::ObjectKey;

/// Says that nobody has to do anything: the pod's actor does.
pub const BY_ITS_POD: &str = "its pod's actor repairs it at its next look";

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub section: Section,
    pub name: String,
    pub status: CheckStatus,
    pub severity: Severity,
    pub message: String,
    pub details: String,
    pub repairable: bool,
    pub object: Option<ObjectKey>,
}

impl Finding {
    fn new(section: Section, name: String, status: CheckStatus, severity: Severity, message: String) -> Self {
        Self { section, name, status, severity, message, details: String::new(), repairable: false, object: None }
    }

    pub fn pass(section: Section, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(section, name.into(), CheckStatus::Pass, Severity::Info, message.into())
    }

    pub fn warn(section: Section, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(section, name.into(), CheckStatus::Warn, Severity::Warning, message.into())
    }

    pub fn fail(section: Section, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(section, name.into(), CheckStatus::Fail, Severity::Error, message.into())
    }

    pub fn of(self, object: &ObjectKey) -> Self {
        Self { object: Some(object.clone()), ..self }
    }

    pub fn saying(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    pub fn critical(self) -> Self {
        Self { severity: Severity::Critical, ..self }
    }

    /// The pod's own actor mends it; while the pod is on its way that is no failure yet.
    pub fn of_pod(self, pod: &ObjectKey, in_flight: bool) -> Self {
        let mut finding = Self { repairable: true, ..self.of(pod) };
        if in_flight {
            finding.status = CheckStatus::Warn;
            finding.severity = Severity::Warning;
            finding.message = format!("recovering: {}", finding.message);
        }
        if finding.details.is_empty() {
            finding.details = BY_ITS_POD.to_owned();
        }
        finding
    }
}
