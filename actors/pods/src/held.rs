//! Pods whose actor died too often and is held: who they are, and what they are told about.

use std::collections::BTreeSet;

use mkube_messages::objects::ObjectKey;
use mkube_supervision::{State, Tree};

/// An actor that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The pod.
    pub pod: ObjectKey,
    /// How its actor last ended.
    pub cause: String,
}

/// Name of a pod's actor in the tree.
pub fn actor_name(pod: &ObjectKey) -> String {
    format!("pod/{}/{}", pod.namespace, pod.name)
}

/// Pods that have an actor under the supervisor at `path`, and of those the held ones.
pub fn pods_in(tree: &Tree, path: &str) -> (BTreeSet<ObjectKey>, Vec<Held>) {
    let root = tree.status();
    let children = root.find(path).map(|node| node.children.as_slice()).unwrap_or_default();
    let mut all = BTreeSet::new();
    let mut held = Vec::new();
    for child in children {
        let Some((namespace, name)) = child.name.strip_prefix("pod/").and_then(|name| name.split_once('/')) else {
            continue;
        };
        let pod = ObjectKey::new(namespace, name);
        if child.state == State::Held {
            let cause = child.last_exit.as_ref().map(|exit| format!("{} {}", exit.reason, exit.message));
            held.push(Held { pod: pod.clone(), cause: cause.unwrap_or_default().trim().to_owned() });
        }
        all.insert(pod);
    }
    (all, held)
}
