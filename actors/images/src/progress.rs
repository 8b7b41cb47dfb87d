//! How far the pulls have come: one entry for each request that is being worked on, one line for each image in what is told.

use std::collections::BTreeMap;

use mkube_model::neighbours::tarballs::PullProgress;

/// A request that is being worked on.
pub type PullId = u64;

/// Requests that are being worked on, and what was last heard of each.
#[derive(Debug, Default)]
pub struct Pulls {
    next: PullId,
    running: BTreeMap<PullId, Option<PullProgress>>,
}

impl Pulls {
    /// A request is begun.
    pub fn begin(&mut self) -> PullId {
        self.next += 1;
        self.running.insert(self.next, None);
        self.next
    }

    /// Something was heard of it. What comes after its end says nothing.
    pub fn heard(&mut self, id: PullId, progress: PullProgress) {
        if let Some(last) = self.running.get_mut(&id) {
            *last = Some(progress);
        }
    }

    /// It ended; whether anything had been heard of it.
    pub fn end(&mut self, id: PullId) -> bool {
        self.running.remove(&id).flatten().is_some()
    }

    /// What is told: sorted by image, requests that share a pull once.
    pub fn lines(&self) -> Vec<PullProgress> {
        let mut lines: BTreeMap<(&str, Option<&str>), &PullProgress> = BTreeMap::new();
        for progress in self.running.values().flatten() {
            let line = lines.entry((&progress.image, progress.digest.as_deref())).or_insert(progress);
            if line.done_bytes < progress.done_bytes {
                *line = progress;
            }
        }
        lines.into_values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::neighbours::tarballs::PullPhase;

    fn of(image: &str, done_bytes: u64) -> PullProgress {
        PullProgress {
            image: image.into(),
            digest: None,
            phase: PullPhase::Downloading,
            done_bytes,
            total_bytes: Some(100),
        }
    }

    #[test]
    fn requests_that_share_a_pull_are_one_line_and_what_ended_is_none() {
        let mut pulls = Pulls::default();
        let ids = [pulls.begin(), pulls.begin(), pulls.begin(), pulls.begin()];
        pulls.heard(ids[0], of("web", 10));
        pulls.heard(ids[1], of("web", 20));
        pulls.heard(ids[2], of("app", 5));
        assert_eq!(pulls.lines(), [of("app", 5), of("web", 20)]);
        assert!(pulls.end(ids[1]) && pulls.end(ids[2]));
        assert!(!pulls.end(ids[3]), "nothing was heard of it");
        pulls.heard(ids[2], of("app", 6));
        assert_eq!(pulls.lines(), [of("web", 10)]);
    }
}
