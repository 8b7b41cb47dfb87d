//! What a container is doing, beside what was written about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::engine::{ImageConfig, Usage};
use crate::release::Release;

/// The states of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The archive is being unpacked.
    Extracting,
    /// Unpacking failed.
    Failed,
    /// Ready, or ended.
    Stopped,
    /// Being started.
    Starting,
    /// The process is there.
    Running,
    /// Asked to stop.
    Stopping,
    /// Files are being removed.
    Deleting,
}

/// Everything about a container that is not a property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    /// What it is doing.
    pub phase: Phase,
    /// What its archive said.
    pub image: Option<ImageConfig>,
    /// A warning shown with the row.
    #[serde(default)]
    pub about: String,
    /// Restarts by the restart policy.
    #[serde(default)]
    pub restarts: u32,
    /// Counts starts: what a timer set for an earlier one does not concern a later one.
    #[serde(default)]
    pub start: u64,
    /// Asked to start again once it has stopped.
    #[serde(default)]
    pub again: bool,
    /// Present use.
    #[serde(skip)]
    pub usage: Usage,
    /// CPU use between the last two looks, percent of one core.
    #[serde(skip)]
    pub cpu_percent: f64,
}

impl Runtime {
    /// A container whose archive is being unpacked.
    pub fn extracting() -> Self {
        Self {
            phase: Phase::Extracting,
            image: None,
            about: String::new(),
            restarts: 0,
            start: 0,
            again: false,
            usage: Usage { memory: 0, cpu_time: Duration::ZERO },
            cpu_percent: 0.0,
        }
    }

    /// Adds what a release prints of it.
    pub fn print(&self, release: &Release, printed: &mut Map<String, Value>) {
        let mut set = |name: &str, value: &str| drop(printed.insert(name.to_owned(), json!(value)));
        if release.from(20) {
            // A device of 7.20 has no flag for what failed: such a row is stopped, and says why.
            let failed = self.phase == Phase::Failed;
            let mut flags = vec![
                ("running", self.phase == Phase::Running),
                ("stopped", self.phase == Phase::Stopped || (failed && !release.from(21))),
                ("starting", self.phase == Phase::Starting),
                ("stopping", self.phase == Phase::Stopping),
            ];
            let extracting = self.phase == Phase::Extracting;
            if release.from(21) {
                flags.push(("deleting", self.phase == Phase::Deleting));
                flags.push(("downloading/extracting", extracting));
                flags.push(("download/extract failed", failed));
            } else {
                flags.push(("extracting", extracting));
            }
            if release.from(22) {
                flags.extend([("healthy", false), ("unhealthy", false), ("starting-with-healthcheck", false)]);
            }
            for (name, holds) in flags {
                set(name, if holds { "true" } else { "false" });
            }
        } else {
            set(
                "status",
                match self.phase {
                    Phase::Extracting => "extracting",
                    Phase::Failed => "error",
                    Phase::Stopped => "stopped",
                    Phase::Starting => "starting",
                    Phase::Running => "running",
                    Phase::Stopping | Phase::Deleting => "stopping",
                },
            );
        }
        set("os", "linux");
        if let Some(image) = &self.image {
            set("arch", &image.architecture);
            set(if (18..=19).contains(&release.minor) { "repo" } else { "tag" }, &image.tag);
            if release.from(21) {
                set("image-id", &image.image_id);
                set("container-size", &image.size.to_string());
            }
        }
        if release.from(20) && self.phase == Phase::Running {
            set("memory-current", &self.usage.memory.to_string());
            set("cpu-usage", &format!("{:.1}", self.cpu_percent));
        }
        if release.from(23) {
            set("restart-count", &self.restarts.to_string());
        }
        if !self.about.is_empty() {
            set(".about", &self.about);
        }
    }
}
