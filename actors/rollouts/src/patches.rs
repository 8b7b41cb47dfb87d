//! What each step of a rollout writes: merge patches of annotations, made against the revision that was looked at.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::annotations::{self, Mark, Pins, Version};
use crate::pod_sight::PodSight;

/// How a trial that failed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is put back to what ran before.
    PutBack,
    /// It stays, and the digest is refused.
    Stays,
    /// It stays, and nothing is concluded: the pod failed before too.
    SaysNothing,
}

/// What becomes of a pod on which `mark` failed.
pub fn outcome(pod: &PodSight, mark: &Mark) -> Outcome {
    if !mark.was_live {
        Outcome::SaysNothing
    } else if pod.rollback && mark.from.values().all(|digest| !digest.is_empty()) {
        Outcome::PutBack
    } else {
        Outcome::Stays
    }
}

fn patch(pod: &PodSight, notes: Vec<(&str, Option<String>)>) -> Value {
    let notes: Map<String, Value> = notes.into_iter().map(|(key, text)| (key.to_owned(), json!(text))).collect();
    json!({"metadata": {"resourceVersion": pod.revision.to_string(), "uid": pod.uid, "annotations": notes}})
}

fn without(versions: &[Version], image: &str) -> Vec<Version> {
    versions.iter().filter(|one| one.image != image).cloned().collect()
}

fn with_pins(pod: &PodSight, set: impl IntoIterator<Item = (String, Option<Version>)>) -> Option<String> {
    let mut pins: Pins = pod.pins.clone();
    for (container, pin) in set {
        match pin {
            Some(pin) => drop(pins.insert(container, pin)),
            None => drop(pins.remove(&container)),
        }
    }
    annotations::print_pins(&pins)
}

/// A digest is tried on the pod: its containers of the image are pinned to it together, but for those that run it already.
pub fn begin(pod: &PodSight, image: &str, to: &str) -> Value {
    let from: BTreeMap<String, String> = pod
        .of_image(image)
        .filter(|one| one.running.as_deref() != Some(to))
        .map(|one| (one.name.clone(), one.running.clone().unwrap_or_default()))
        .collect();
    let pins = from.keys().map(|name| (name.clone(), Some(Version::new(image, to)))).collect::<Vec<_>>();
    let mark = Mark { image: image.to_owned(), to: to.to_owned(), was_live: pod.is_live(image), from };
    patch(
        pod,
        vec![
            (annotations::PIN, with_pins(pod, pins)),
            (annotations::ROLLOUT, Some(mark.print())),
            (annotations::WANTED, annotations::print_versions(&without(&pod.wanted, image))),
        ],
    )
}

/// The digest works: it stays, and what was held against others of the image is forgotten.
pub fn finish(pod: &PodSight, mark: &Mark) -> Value {
    let refused = annotations::print_versions(&without(&pod.refused, &mark.image));
    patch(pod, vec![(annotations::ROLLOUT, None), (annotations::REFUSED, refused)])
}

/// The digest does not work.
pub fn fail(pod: &PodSight, mark: &Mark) -> Value {
    let mut notes = vec![(annotations::ROLLOUT, None)];
    let outcome = outcome(pod, mark);
    if outcome != Outcome::SaysNothing {
        let version = Version::new(mark.image.clone(), mark.to.clone());
        let mut refused: Vec<Version> = pod.refused.iter().filter(|one| **one != version).cloned().collect();
        refused.push(version);
        notes.push((annotations::REFUSED, annotations::print_versions(&refused)));
    }
    if outcome == Outcome::PutBack {
        let back = |(name, digest): (&String, &String)| (name.clone(), Some(Version::new(mark.image.clone(), digest)));
        notes.push((annotations::PIN, with_pins(pod, mark.from.iter().map(back))));
    }
    patch(pod, notes)
}

/// Somebody changed the pod: it is not a trial any more.
pub fn abandon(pod: &PodSight) -> Value {
    patch(pod, vec![(annotations::ROLLOUT, None)])
}

/// The digest cannot be had, before the pod was touched.
pub fn refuse(pod: &PodSight, version: &Version) -> Value {
    let mut refused: Vec<Version> = pod.refused.iter().filter(|one| *one != version).cloned().collect();
    refused.push(version.clone());
    patch(pod, vec![(annotations::REFUSED, annotations::print_versions(&refused))])
}

/// Somebody asks for a digest: it is not refused any more, and wanted where it is not known what runs. `None` when nothing of
/// that is news.
pub fn order(pod: &PodSight, version: &Version, forgive: bool) -> Option<Value> {
    let mut notes = Vec::new();
    if forgive && pod.refused.contains(version) {
        let kept: Vec<Version> = pod.refused.iter().filter(|one| *one != version).cloned().collect();
        notes.push((annotations::REFUSED, annotations::print_versions(&kept)));
    }
    let is_unknown = !pod.finished && pod.of_image(&version.image).any(|container| container.running.is_none());
    if is_unknown && pod.mark.is_none() && !pod.wanted.contains(version) {
        let mut wanted = without(&pod.wanted, &version.image);
        wanted.push(version.clone());
        notes.push((annotations::WANTED, annotations::print_versions(&wanted)));
    }
    (!notes.is_empty()).then(|| patch(pod, notes))
}
