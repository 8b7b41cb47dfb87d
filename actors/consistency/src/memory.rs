//! What is remembered from one run to the next. Nothing of it outlives the actor: after a restart every clock begins anew.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use mkube_messages::consistency::{Check, CheckStatus, RepairAction, Section};
use mkube_messages::objects::ObjectKey;
use mkube_messages::router::DeviceSnapshot;
use tokio::time::Instant;

use crate::facts::{RECOVERY, marked};
use crate::finding::Finding;
use crate::orphans::Orphan;
use crate::sights::Sights;

type Suspicion = (RepairAction, String, String);

/// How often and since when something was seen without an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When it was seen first.
    pub first: Instant,
    /// Readings that showed it, without one in between that did not.
    pub times: usize,
    /// When the last of them was made.
    evidence: Instant,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Memory {
    /// How each check ended last, and since when it ends like that.
    ends: BTreeMap<(Section, String, Option<ObjectKey>), (CheckStatus, Timestamp)>,
    sightings: BTreeMap<Suspicion, Sighting>,
    /// Whose lists are, by list.
    pub witnessed: BTreeMap<String, ObjectKey>,
    /// Lists that a repair emptied, and when.
    pub emptied: BTreeMap<String, Instant>,
    /// Uid and generation of pods and Deployments, and when that was news.
    generations: BTreeMap<(Section, ObjectKey), (String, u64, Option<Instant>)>,
    /// A first look was taken: from now on what is new is news.
    has_looked: bool,
    /// Repairs that failed, and when they may be tried again.
    pub not_before: BTreeMap<Suspicion, Instant>,
}

impl Memory {
    /// Learns from the device which lists belong to which pod.
    pub fn witness(&mut self, device: &DeviceSnapshot) {
        for row in device.containers.values() {
            let Some(owner) = marked(row) else { continue };
            if row.mount_lists.contains(&row.name) || row.env_lists.contains(&row.name) {
                self.witnessed.insert(row.name.clone(), owner);
            }
        }
        if let Some(lists) = &device.lists {
            let is_there = |list: &str| {
                lists.mounts.contains_key(list) || lists.envs.contains_key(list) || device.containers.contains_key(list)
            };
            self.witnessed.retain(|list, _| is_there(list));
            self.emptied.retain(|_, at| lists.read_at <= *at);
        }
    }

    /// Which pods and Deployments changed in the last minutes.
    pub fn changed(&mut self, sights: &Sights, now: Instant) -> BTreeSet<ObjectKey> {
        let pods = sights.pods.values().map(|pod| (Section::Containers, &pod.key, &pod.uid, pod.generation));
        let deployments = sights.deployments.values();
        let deployments = deployments.map(|one| (Section::Deployments, &one.key, &one.uid, one.generation));
        let mut known = BTreeMap::new();
        let mut changed = BTreeSet::new();
        for (section, key, uid, generation) in pods.chain(deployments) {
            let place = (section, key.clone());
            let news = match self.generations.get(&place) {
                Some((of, then, at)) if of == uid && *then == generation => *at,
                // What is there at the first look may be as old as can be.
                None if !self.has_looked => None,
                _ => Some(now),
            };
            if news.is_some_and(|at| now < at + RECOVERY) {
                changed.insert(key.clone());
            }
            known.insert(place, (uid.clone(), generation, news));
        }
        self.generations = known;
        self.has_looked = true;
        changed
    }

    /// Notes what is seen without an owner; what is not seen any more is forgotten.
    pub fn sight(&mut self, orphans: &[Orphan], now: Instant) {
        let mut seen = BTreeMap::new();
        for orphan in orphans {
            let before = self.sightings.get(&orphan.suspicion());
            let sighting = match before {
                None => Sighting { first: now, times: 1, evidence: orphan.evidence },
                Some(before) if orphan.evidence > before.evidence => {
                    Sighting { times: before.times + 1, evidence: orphan.evidence, ..*before }
                }
                Some(before) => *before,
            };
            seen.insert(orphan.suspicion(), sighting);
        }
        self.sightings = seen;
        let sightings = &self.sightings;
        self.not_before.retain(|suspicion, at| *at > now && sightings.contains_key(suspicion));
    }

    /// How often and since when.
    pub fn sighting(&self, orphan: &Orphan) -> Option<Sighting> {
        self.sightings.get(&orphan.suspicion()).copied()
    }

    /// Dates the findings.
    pub fn date(&mut self, findings: Vec<Finding>, time: Timestamp) -> Vec<(Section, Check)> {
        let mut ends = BTreeMap::new();
        let mut checks = Vec::with_capacity(findings.len());
        for finding in findings {
            let place = (finding.section, finding.name.clone(), finding.object.clone());
            let before = self.ends.get(&place).filter(|(status, _)| *status == finding.status);
            let since = before.map_or(time, |(_, since)| *since);
            ends.insert(place, (finding.status, since));
            checks.push((
                finding.section,
                Check {
                    name: finding.name,
                    status: finding.status,
                    message: finding.message,
                    details: finding.details,
                    severity: finding.severity,
                    repairable: finding.repairable,
                    since,
                    object: finding.object,
                },
            ));
        }
        self.ends = ends;
        checks.sort_by(|(one, a), (other, b)| (one, &a.name, &a.object).cmp(&(other, &b.name, &b.object)));
        checks
    }
}
