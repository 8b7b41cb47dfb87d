//! What pods that follow their images say of digests, and what is kept of it when one pod comes after another. Pure.
//!
//! A pod that is made anew must not try what its predecessor or its siblings refused, and must not lose what they proved.

use std::collections::{BTreeMap, BTreeSet};

use mkube_model::image_pins::{self, PIN, REFUSED};
use mkube_model::metadata::annotation;
use serde_json::Value;

use crate::case::{Case, Member};
use crate::deployment_sight::IMAGE_POLICY;

/// Entries a list of refused digests may have: older ones go.
const LONGEST: usize = 16;

/// Whether an annotation is one of those.
pub fn is_kept(key: &str) -> bool {
    key == PIN || key == REFUSED
}

fn follows(template: &Value) -> bool {
    annotation(template, IMAGE_POLICY) == Some("auto")
}

fn containers(template: &Value) -> BTreeSet<(&str, &str)> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    containers.filter_map(|one| Some((one["name"].as_str()?, one["image"].as_str()?))).collect()
}

/// The pins of a text that the template's containers can have.
fn pins_for(text: &str, containers: &BTreeSet<(&str, &str)>) -> Option<String> {
    let pins = image_pins::pins(text).ok()?;
    let fits = pins.iter().filter(|pin| containers.contains(&(pin.container, pin.image)));
    let list: Vec<String> = fits.map(|pin| format!("{}={}@{}", pin.container, pin.image, pin.digest)).collect();
    (!list.is_empty()).then(|| list.join(","))
}

/// What is kept for the pod of this number, by annotation.
pub fn for_pod(case: &Case<'_>, index: usize, template: &Value) -> BTreeMap<String, String> {
    let containers = containers(template);
    let follows = follows(template);
    // What is on trial is neither proven nor refused.
    let settled = |member: &&Member<'_>| !member.pod.tried && (follows || member.index == Some(index));
    let mut pods: Vec<&Member<'_>> = case.members.iter().filter(settled).collect();
    pods.sort_by_key(|member| (member.index != Some(index), !member.current, member.index));
    let told = |key: &'static str| {
        let of_sets = case.sets.iter().rev().filter(move |_| follows);
        let of_sets = of_sets.filter_map(move |set| set.annotations.get(key)?.as_str());
        pods.iter().filter_map(move |member| member.pod.note(key)).chain(of_sets)
    };
    let mut kept = BTreeMap::new();
    if let Some(pins) = told(PIN).find_map(|text| pins_for(text, &containers)) {
        kept.insert(PIN.to_owned(), pins);
    }
    let mut refused: Vec<&str> = Vec::new();
    for entry in told(REFUSED).flat_map(|text| text.split(',')).map(str::trim) {
        let is_of = |image: &str| containers.iter().any(|(_, one)| *one == image);
        if entry.rsplit_once('@').is_some_and(|(image, _)| is_of(image)) && !refused.contains(&entry) {
            refused.push(entry);
        }
    }
    refused.truncate(LONGEST);
    if !refused.is_empty() {
        kept.insert(REFUSED.to_owned(), refused.join(","));
    }
    kept
}

/// What the record of the present template is to say: the digests a pod of it works with, and those that were refused.
/// Nothing new while no pod works.
pub fn of_running(case: &Case<'_>) -> BTreeMap<String, String> {
    let template = &case.deployment.template;
    if !follows(template) {
        return BTreeMap::new();
    }
    let works = |member: &&Member<'_>| member.current && member.live.available && !member.pod.tried;
    let Some(member) = case.staying().find(works) else { return BTreeMap::new() };
    let pinned = member.pod.note(PIN).and_then(|text| image_pins::pins(text).ok()).unwrap_or_default();
    let pin = |(name, image): &(&str, &str)| {
        let pin = pinned.iter().find(|pin| pin.container == *name && pin.image == *image);
        let running = member.pod.images.get(*name).and_then(|(_, digest)| digest.as_deref());
        let digest = pin.map(|pin| pin.digest).or(running).filter(|_| !image.contains('@'))?;
        Some(format!("{name}={image}@{digest}"))
    };
    let pins: Vec<String> = containers(template).iter().filter_map(pin).collect();
    let mut told = BTreeMap::new();
    if !pins.is_empty() {
        told.insert(PIN.to_owned(), pins.join(","));
    }
    told.insert(REFUSED.to_owned(), member.pod.note(REFUSED).unwrap_or_default().to_owned());
    told
}
