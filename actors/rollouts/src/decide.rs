//! Which pod is replaced next, if any. Pure: from the digest the registry has, what the pods run, and what was refused.

use std::collections::BTreeSet;

use mkube_messages::objects::ObjectKey;

use crate::pod_sight::PodSight;

/// Everything a decision about one image rests on.
#[derive(Debug)]
pub struct Case<'a> {
    /// Reference as the pods write it.
    pub image: &'a str,
    /// Digest the registry has, once it was asked.
    pub desired: Option<&'a str>,
    /// All pods that follow an image, or on which one is tried.
    pub pods: &'a [&'a PodSight],
    /// Digests of the image that failed, whether or not a pod says so any more.
    pub refused: &'a BTreeSet<String>,
    /// Pods that were waited for long enough.
    pub given_up: &'a BTreeSet<ObjectKey>,
    /// Uids of Deployments whose template is coming in, or stopped doing so.
    pub unsettled: &'a BTreeSet<String>,
}

/// What is to be done about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// A pod is being replaced or put back: first see how that ends.
    Await(ObjectKey),
    /// Replace this one.
    Replace(ObjectKey),
    /// Some are to be replaced, and another image is being tried on each of them, a sibling of each is not there yet, or they are at rest.
    Later,
}

impl Case<'_> {
    /// Whether the digest failed before: it is not tried again.
    pub fn is_refused(&self, digest: &str) -> bool {
        let on_a_pod = |pod: &&PodSight| pod.refused.iter().any(|one| one.image == self.image && one.digest == digest);
        self.refused.contains(digest) || self.pods.iter().any(on_a_pod)
    }

    /// Pods that do not run what the registry has, in the order in which they are replaced: by namespace and name, those that
    /// are well first. A pod that fails by itself must not keep the others from what cures them.
    pub fn to_replace(&self) -> Vec<&PodSight> {
        let Some(desired) = self.desired.filter(|digest| !self.is_refused(digest)) else { return Vec::new() };
        let mut found: Vec<&PodSight> = self.pods.iter().copied().filter(|pod| self.is_old(pod, desired)).collect();
        found.sort_by_key(|pod| (!pod.is_live(self.image), &pod.key));
        found
    }

    /// Whether a pod runs, or may run, something else. When it is not known what it runs, it is only replaced if somebody
    /// asked: taking over a device restarts nothing.
    fn is_old(&self, pod: &PodSight, desired: &str) -> bool {
        if pod.deleting || pod.finished || !pod.images().any(|image| image == self.image) {
            return false;
        }
        let wanted = pod.wanted.iter().any(|one| one.image == self.image && one.digest == desired);
        pod.of_image(self.image).any(|container| {
            // One that is pinned to it is on the way.
            let is_pinned = pod.pins.get(&container.name).is_some_and(|pin| pin.digest == desired);
            !is_pinned && container.running.as_deref().map_or(wanted, |running| running != desired)
        })
    }

    /// What is to be done now.
    pub fn next(&self) -> Next {
        let tried = |pod: &&&PodSight| pod.mark.as_ref().is_some_and(|mark| mark.image == self.image);
        if let Some(pod) = self.pods.iter().find(tried) {
            return Next::Await(pod.key.clone());
        }
        let moving = |pod: &&&PodSight| {
            !pod.deleting
                && !pod.finished
                && !pod.is_at_rest()
                && !self.given_up.contains(&pod.key)
                && pod.is_moving(self.image)
        };
        if let Some(pod) = self.pods.iter().find(moving) {
            return Next::Await(pod.key.clone());
        }
        let old = self.to_replace();
        match old.iter().find(|pod| pod.mark.is_none() && !pod.is_at_rest() && self.is_free(pod)) {
            Some(pod) => Next::Replace(pod.key.clone()),
            None if old.is_empty() => Next::Nothing,
            None => Next::Later,
        }
    }

    /// Of the replicas of one Deployment one is replaced at a time, whoever does it: while a template comes in, only what is
    /// broken anyway may get another image.
    fn is_free(&self, pod: &PodSight) -> bool {
        let Some((_, uid)) = &pod.deployment else { return true };
        let is_sibling = |one: &&&PodSight| {
            one.key != pod.key && !one.deleting && one.deployment.as_ref().is_some_and(|(_, of)| of == uid)
        };
        let arrives = |one: &PodSight| one.is_arriving() && !self.given_up.contains(&one.key);
        let settled = !self.unsettled.contains(uid) || !pod.is_live(self.image);
        pod.observed && settled && !self.pods.iter().filter(is_sibling).any(|one| arrives(one))
    }
}
