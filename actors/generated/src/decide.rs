//! What is to be done so that the generated ConfigMaps are as they are to be. Pure: networks and objects in, writes out.

use std::collections::BTreeMap;

use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::generated::{
    CONSOLE_CONFIG, CONSOLE_CONFIG_KEY, CONSOLE_NAMESPACE, DNS_CONFIG, DNS_CONFIG_KEY, GENERATED, generated_key,
    is_kept_by_its_owner, name_for_node,
};
use mkube_model::kinds::NODE_ANNOTATION;
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::network::Network;
use serde_json::{Value, json};

use crate::console_config::console_config;
use crate::dns_config::dns_config;

/// What is to stand in a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Key of the value.
    pub data_key: &'static str,
    /// The value.
    pub text: String,
    /// What it follows from, for people and to know it again.
    pub note: String,
    /// Its namespace is made when it is missing.
    pub with_namespace: bool,
}

/// A ConfigMap of a name that mkube writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub uid: String,
    pub revision: Revision,
    deleting: bool,
    kept_by_its_owner: bool,
    note: Option<String>,
    /// The node whose it is, where nodes share a store.
    node: Option<String>,
    value: Option<String>,
    /// It holds more than what mkube writes.
    holds_more: bool,
}

impl Found {
    pub fn of(object: &StoredObject) -> Option<Self> {
        let data_key = generated_key(&object.key.namespace, &object.key.name)?;
        let map = object.value();
        let keys = |field: &str| map[field].as_object().into_iter().flatten().map(|(key, _)| key.clone());
        Some(Self {
            uid: object.uid().to_owned(),
            revision: object.revision,
            deleting: object.is_deleting(),
            kept_by_its_owner: is_kept_by_its_owner(&map),
            note: metadata::annotation(&map, GENERATED).map(str::to_owned),
            node: metadata::annotation(&map, NODE_ANNOTATION).map(str::to_owned),
            value: map["data"][data_key].as_str().map(str::to_owned),
            holds_more: keys("data").chain(keys("binaryData")).any(|key| key != data_key),
        })
    }
}

/// A namespace, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// It is there.
    There,
    /// It is being taken down: nothing can be made in it.
    Leaving,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a namespace.
    CreateNamespace(String),
    /// Make a ConfigMap.
    Create(ObjectKey, Value),
    /// Change one, as a merge patch.
    Patch(ObjectKey, Value),
    /// Delete one, if it is still this one.
    Delete(ObjectKey, String, Revision),
}

impl Action {
    /// What it is done to.
    pub fn subject(&self) -> ObjectKey {
        match self {
            Self::CreateNamespace(name) => ObjectKey::new("", name.as_str()),
            Self::Create(key, _) | Self::Patch(key, _) | Self::Delete(key, ..) => key.clone(),
        }
    }
}

fn note_of_network(name: &str) -> String {
    format!("from network {name}; changes are undone, unless this says \"false\"")
}

/// The ConfigMaps that follow from the networks.
pub fn wanted(networks: &NetworksView, node: &str) -> BTreeMap<ObjectKey, Wanted> {
    let all: Vec<&Network> = networks.by_name.values().map(AsRef::as_ref).collect();
    let mut wanted = BTreeMap::new();
    for (name, network) in &networks.by_name {
        let Some(text) = dns_config(network, &all) else { continue };
        let note = note_of_network(name);
        let one = Wanted { data_key: DNS_CONFIG_KEY, text, note, with_namespace: true };
        wanted.insert(ObjectKey::new(name.as_str(), DNS_CONFIG), one);
    }
    if let Some(default) = networks.by_name.get(&networks.default) {
        let one = Wanted {
            data_key: CONSOLE_CONFIG_KEY,
            text: console_config(node, default),
            note: note_of_network(&default.name),
            // Where no namespace of that name is, there is no console.
            with_namespace: false,
        };
        wanted.insert(ObjectKey::new(CONSOLE_NAMESPACE, CONSOLE_CONFIG), one);
    }
    wanted
}

/// Under which names this node has what it wants. Of several nodes that share a store and have networks of the same name, who is first
/// has the plain name and keeps it; whoever once got a name of its own keeps that, for its pods know it by it.
fn named<'w>(
    wanted: &'w BTreeMap<ObjectKey, Wanted>,
    found: &BTreeMap<ObjectKey, Found>,
    node: &str,
) -> BTreeMap<ObjectKey, &'w Wanted> {
    let of = |key: &ObjectKey| found.get(key).and_then(|one| one.node.as_deref());
    let name = |plain: &ObjectKey| {
        let own = ObjectKey::new(plain.namespace.as_str(), name_for_node(&plain.name, node));
        let is_taken = of(plain).is_some_and(|its| its != node);
        if is_taken || of(&own) == Some(node) { own } else { plain.clone() }
    };
    wanted.iter().map(|(key, one)| (name(key), one)).collect()
}

/// What to write, at most once for each subject. Networks and objects must have been read. `shared`: this node, where others may use
/// the same store.
pub fn decide(
    wanted: &BTreeMap<ObjectKey, Wanted>,
    found: &BTreeMap<ObjectKey, Found>,
    shared: Option<&str>,
    home: impl Fn(&str) -> Option<Home>,
) -> Vec<Action> {
    let wanted = match shared {
        Some(node) => named(wanted, found, node),
        None => wanted.iter().map(|(key, one)| (key.clone(), one)).collect(),
    };
    let mut actions = Vec::new();
    for (key, one) in &wanted {
        match (home(&key.namespace), found.get(key)) {
            (None, _) if one.with_namespace => actions.push(Action::CreateNamespace(key.namespace.clone())),
            (None | Some(Home::Leaving), _) => {}
            (Some(Home::There), None) => actions.push(Action::Create(key.clone(), body(one, shared))),
            (Some(Home::There), Some(found)) => {
                let same = found.value.as_ref() == Some(&one.text) && found.note.as_ref() == Some(&one.note);
                let same = same && (shared.is_none() || found.node.as_deref() == shared);
                if !same && !found.deleting && !found.kept_by_its_owner {
                    let mut body = body(one, shared);
                    if shared.is_some() {
                        // Somebody else may be about to make it his.
                        body["metadata"]["resourceVersion"] = json!(found.revision.to_string());
                    }
                    actions.push(Action::Patch(key.clone(), body));
                }
            }
        }
    }
    for (key, one) in found {
        // Known by the note that mkube gave it here: a copy elsewhere carries the note of another network.
        let ours = one.note.as_deref() == Some(note_of_network(&key.namespace).as_str());
        let ours = ours && (shared.is_none() || one.node.as_deref() == shared);
        let Some(data_key) = generated_key(&key.namespace, &key.name) else { continue };
        if wanted.contains_key(key) || !ours || one.deleting {
            continue;
        }
        actions.push(if one.holds_more {
            let mut nothing = json!({"metadata": {"annotations": {GENERATED: null}}, "data": {data_key: null}});
            if shared.is_some() {
                nothing["metadata"]["annotations"][NODE_ANNOTATION] = Value::Null;
            }
            Action::Patch(key.clone(), nothing)
        } else {
            Action::Delete(key.clone(), one.uid.clone(), one.revision)
        });
    }
    actions
}

/// As a new object, and as a patch that leaves what else is there.
fn body(one: &Wanted, shared: Option<&str>) -> Value {
    let mut body = json!({"metadata": {"annotations": {GENERATED: one.note}}, "data": {one.data_key: one.text}});
    if let Some(node) = shared {
        body["metadata"]["annotations"][NODE_ANNOTATION] = json!(node);
    }
    body
}
