//! Deployments: so many pods of a template, kept there, and replaced one after the other when the template changes.
//!
//! DeploymentsActor
//! Owns     which pods a Deployment has, and its records of revisions (ReplicaSets).   Asks   ObjectsActor.
//! Answers  EvictPod.   Tells  RecordEvent.
//! Ticks    when a pod has been ready long enough or a deadline passes; else it wakes when objects or the device's picture change.
//! Rebuilds from the stored objects, before it decides anything.
//!
//! `decide` says what is next for one Deployment, `live` how each pod counts, `render` what objects look like, `status` what is
//! told. All are pure, and what they rest on is stored: whoever comes after a crash goes on where it was. A pod of a new template
//! takes the name of the one before in one write; its PodActor does the rest, and fetches the archive before it stops anything.

mod actor;
mod case;
mod decide;
#[cfg(test)]
mod decide_tests;
mod deployment_sight;
mod evict;
mod index;
mod kept;
mod live;
mod pod_sight;
mod records;
mod render;
mod status;
mod steps;
mod telling;

pub use actor::{DeploymentsActor, DeploymentsParts};

use mkube_messages::deployments::EvictPod;
use mkube_supervision::ChildSpecBuilder;

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<DeploymentsActor>) -> ChildSpecBuilder<DeploymentsActor> {
    spec.answers::<EvictPod>()
}
