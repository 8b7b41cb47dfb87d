//! Rollouts: pods that follow their images get what the registry has, one after the other, each proven before the next.
//!
//! RolloutActor
//! Owns     which digest is tried on which pod, and when registries are asked.   Asks   ImageActor, ObjectsActor.
//! Answers  ImagePushed, RedeployImage.   Tells  RecordEvent.
//! Ticks    when a check of an image or the proof of a pod is due; else it wakes when objects or the device's picture change.
//! Rebuilds from the pods' annotations and status, before it decides anything.
//!
//! What is done to a pod is a patch of its annotations; its PodActor does the rest. `decide` says which pod is next, `proof`
//! whether a digest works. Both are pure, and what they rest on is stored: whoever comes after a crash goes on where it was.

mod actor;
mod annotations;
mod checks;
mod decide;
#[cfg(test)]
mod decide_tests;
mod images;
mod owners;
mod patches;
mod pod_sight;
mod proof;
mod reference;
mod steps;
mod telling;

pub use actor::{RolloutActor, RolloutParts, Rules};

use mkube_messages::rollouts::{ImagePushed, RedeployImage};
use mkube_supervision::ChildSpecBuilder;

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<RolloutActor>) -> ChildSpecBuilder<RolloutActor> {
    spec.answers::<ImagePushed>().answers::<RedeployImage>()
}
