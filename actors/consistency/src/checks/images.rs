//! Images of pods against archives of the cache, what registries said last, and directories against pods. Nobody is asked.

use std::collections::BTreeSet;

use mkube_messages::consistency::Section;
use mkube_model::image_reference::Reference;

use crate::facts::Facts;
use crate::finding::Finding;

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    archives(facts, found);
    registries(facts, found);
    volumes(facts, found);
}

fn archives(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let used = facts.pods().flat_map(|pod| &pod.containers).filter(|container| !container.has_own_file);
    let used: BTreeSet<(&str, Option<&str>)> = used.map(|one| (one.image.as_str(), one.digest.as_deref())).collect();
    if facts.images.cached.is_empty() {
        if !used.is_empty() {
            found.push(Finding::warn(Section::Images, "image-cache", "the cache is empty, or was not listed yet"));
        }
        return;
    }
    let references: BTreeSet<&str> =
        facts.images.cached.iter().flat_map(|one| &one.references).map(String::as_str).collect();
    let digests: BTreeSet<&str> = facts.images.cached.iter().filter_map(|one| one.digest.as_deref()).collect();
    let pulled: BTreeSet<&str> = facts.images.pulling.iter().map(|pull| pull.image.as_str()).collect();
    let mut told = BTreeSet::new();
    for (image, digest) in used {
        if !told.insert(image) {
            continue;
        }
        let name = format!("archive/{image}");
        let cached = references.contains(image) || digest.is_some_and(|digest| digests.contains(digest));
        found.push(if cached {
            Finding::pass(Section::Images, name, "cached")
        } else if pulled.contains(image) {
            Finding::warn(Section::Images, name, "recovering: it is being pulled")
        } else {
            // Nobody is hurt: it is fetched again when a container has to be made from it.
            Finding::warn(
                Section::Images,
                name,
                "no archive is cached; the registry is needed to make the container anew",
            )
        });
    }
}

fn registries(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let host = |image: &str| Reference::of(image).registry.unwrap_or("docker.io").to_owned();
    let hosts: BTreeSet<String> = facts.rollouts.images.iter().map(|one| host(&one.image)).collect();
    for registry in hosts {
        let name = format!("registry/{registry}");
        let of_host = || facts.rollouts.images.iter().filter(|one| host(&one.image) == registry);
        let error = of_host().find_map(|one| one.error.as_deref());
        let answered = of_host().filter_map(|one| one.last_checked).max();
        found.push(match (error, answered) {
            (Some(error), _) => Finding::warn(Section::Images, name, "it did not answer as hoped").saying(error),
            (None, Some(at)) => Finding::pass(Section::Images, name, format!("answered at {at}")),
            (None, None) => Finding::warn(Section::Images, name, "it was not asked yet"),
        });
    }
}

/// Data is kept whoever mounts it: that nobody does is worth knowing and no fault.
fn volumes(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.volumes.loaded {
        return;
    }
    let unused: Vec<&str> = facts.volumes.rows.iter().filter(|row| !row.used).map(|row| row.path.as_str()).collect();
    let told = format!("{} directories that nobody mounts are kept", unused.len());
    found.push(Finding::pass(Section::Volumes, "unmounted-volumes", told).saying(unused.join(", ")));
}
