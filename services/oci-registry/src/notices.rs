//! Telling others that something was pushed: at least once, in spite of restarts, in spite of receivers that are away.
//!
//! A notice is on the disk before the push is acknowledged. It leaves the disk when a receiver took it, or when a newer push of the
//! same tag takes its place.

mod on_bus;
mod outbox;
mod sender;
mod webhook;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use on_bus::OnBus;
use outbox::Outbox;
pub use webhook::Webhook;

use crate::names::Tag;
use crate::parts::{ManifestNotice, ManifestSink};

/// Notices one receiver may be behind by, each for another tag.
const MOST_WAITING: usize = 10_000;

/// Something was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Repository, such as `team/app`.
    pub repository: String,
    /// Tag; empty for a manifest pushed by its digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// Name clients use for this registry, `host:port`.
    pub registry: String,
    /// `repository:tag` or `repository@digest`, as the Go registry told it.
    pub image: String,
}

/// Somebody who is told: a webhook, or the bus. Whatever can be asked "did you take it?" fits.
#[async_trait]
pub trait NoticeTarget: Send + Sync + 'static {
    /// What it is called in logs and on the disk: letters and dashes.
    fn name(&self) -> &str;

    /// Hands one over. `delivery` is the same each time this notice is tried, so that a receiver can tell a second time from a
    /// second push.
    async fn deliver(&self, notice: &Notice, delivery: &str) -> Result<(), DeliveryFault>;
}

/// Why a notice was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryFault {
    /// Nobody there, or not able to just now. Nobody else's notice would be taken either.
    #[error("{cause}")]
    Away {
        /// Cause in words.
        cause: String,
        /// How long the receiver wants to be left alone.
        pause: Option<Duration>,
    },
    /// This one is not wanted.
    #[error("{0}")]
    Refused(String),
}

/// How patiently notices are told.
#[derive(Debug, Clone, Copy)]
pub struct NoticePatience {
    /// Pause after the first failure; doubled after each further one.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// How long a notice that is refused is tried again. One whose receiver is away is kept for ever.
    pub refused_for: Duration,
}

impl Default for NoticePatience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
            refused_for: Duration::from_secs(15 * 60),
        }
    }
}

/// Why a push cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum NoticeFault {
    /// The disk.
    #[error("notices of pushes: {0}")]
    Disk(#[from] std::io::Error),
    /// The receiver has been away for too many pushes.
    #[error("too many pushes wait to be told to {0}: bring the receiver back, or take it out of the configuration")]
    Full(String),
}

/// Tells every target. Dropping it stops the telling; what was not taken waits on the disk.
pub struct Notices {
    registry: String,
    child_manifests: bool,
    outboxes: Vec<Arc<Outbox>>,
    senders: Vec<tokio::task::JoinHandle<()>>,
}

impl Notices {
    /// Opens what waits below `directory`, one folder for each target, and goes on telling it. `registry` is the name told to
    /// receivers; `child_manifests`: whether manifests pushed by digest are told too. Needs a runtime.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(
        directory: &Path,
        registry: String,
        child_manifests: bool,
        targets: Vec<Arc<dyn NoticeTarget>>,
        patience: NoticePatience,
    ) -> Result<Self, NoticeFault> {
        let mut notices = Self { registry, child_manifests, outboxes: Vec::new(), senders: Vec::new() };
        for target in targets {
            let outbox = Arc::new(Outbox::open(&directory.join(target.name()), MOST_WAITING)?);
            notices.senders.push(tokio::spawn(sender::run(outbox.clone(), target, patience)));
            notices.outboxes.push(outbox);
        }
        Ok(notices)
    }

    /// Notes that a manifest was stored under a tag, or under its digest alone. When it answers, the notice survives a crash.
    ///
    /// # Errors
    /// The disk, or too many that wait: then the push must not be acknowledged.
    pub async fn pushed(&self, repository: &str, tag: Option<&str>, digest: &str) -> Result<(), NoticeFault> {
        if self.outboxes.is_empty() || tag.is_none() && !self.child_manifests {
            return Ok(());
        }
        let image = match tag {
            Some(tag) => format!("{repository}:{tag}"),
            None => format!("{repository}@{digest}"),
        };
        let notice = Notice {
            repository: repository.to_owned(),
            tag: tag.unwrap_or_default().to_owned(),
            digest: digest.to_owned(),
            registry: self.registry.clone(),
            image,
        };
        for outbox in &self.outboxes {
            let (outbox, notice) = (outbox.clone(), notice.clone());
            // Syncing a file blocks.
            let put = tokio::task::spawn_blocking(move || outbox.put(notice)).await;
            put.map_err(|error| NoticeFault::Disk(std::io::Error::other(error)))??;
        }
        Ok(())
    }

    /// Notices nobody took so far.
    pub fn waiting(&self) -> usize {
        self.outboxes.iter().map(|outbox| outbox.len()).sum()
    }
}

#[async_trait]
impl ManifestSink for Notices {
    async fn stored(&self, notice: &ManifestNotice) -> Result<(), String> {
        let tag = notice.tag.as_ref().map(Tag::as_str);
        let noted = self.pushed(notice.repository.as_str(), tag, notice.digest.as_str()).await;
        noted.map_err(|fault| fault.to_string())
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.senders.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
