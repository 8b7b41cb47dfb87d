//! Which networks there are: those of the configuration file, which win, and those of the API. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use mkube_messages::objects::StoredObject;
use mkube_model::kinds::{configured_in, network_clashes, network_object, network_of};
use mkube_model::metadata;
use mkube_model::network::Network;
use serde_json::{Value, json};

/// A network that is being deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaving {
    /// Its name.
    pub name: String,
    /// The uid of its object.
    pub uid: String,
    /// What it was, if that can be read.
    pub network: Option<Arc<Network>>,
}

/// What the store and the file say together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownNetworks {
    /// Those that pods can be in, those of the file first.
    pub usable: Vec<Arc<Network>>,
    /// Those of the API that cannot be used, and why.
    pub refused: BTreeMap<String, String>,
    /// Those that are being deleted.
    pub leaving: Vec<Leaving>,
    /// Objects of networks that stand in no file any more.
    pub dropped: Vec<String>,
}

/// Looks at all of them. What was accepted earlier is not turned away for what came later.
pub fn known<'a>(configured: &[Arc<Network>], objects: impl Iterator<Item = &'a StoredObject>) -> KnownNetworks {
    let mut found = KnownNetworks { usable: configured.to_vec(), ..KnownNetworks::default() };
    let mut of_api: Vec<(Value, &StoredObject)> = objects.map(|object| (object.value(), object)).collect();
    let made = |value: &Value| value.pointer("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned);
    of_api.sort_by_cached_key(|(value, object)| (made(value), object.key.name.clone()));
    for (value, object) in of_api {
        let name = &object.key.name;
        let network = network_of(&value);
        if object.is_deleting() {
            let (uid, network) = (object.uid().to_owned(), network.ok().map(Arc::new));
            found.leaving.push(Leaving { name: name.clone(), uid, network });
            continue;
        }
        if configured.iter().any(|one| one.name == *name) {
            continue;
        }
        if configured_in(&value).is_some() {
            found.dropped.push(name.clone());
            continue;
        }
        let refused = match network {
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
            Ok(network) => {
                let clashes: Vec<String> = found.usable.iter().flat_map(|one| network_clashes(&network, one)).collect();
                if clashes.is_empty() {
                    found.usable.push(Arc::new(network));
                }
                clashes
            }
        };
        if !refused.is_empty() {
            found.refused.insert(name.clone(), refused.join("; "));
        }
    }
    found
}

/// How a configured network's object is to look, if it does not look so.
pub fn to_be_shown(network: &Network, file: &str, there: Option<&Value>) -> Option<Value> {
    let wanted = network_object(network, file);
    let same = |there: &Value| there.get("spec") == wanted.get("spec") && configured_in(there) == Some(file);
    // One that is being deleted goes first.
    let waits = |there: &Value| metadata::is_deleting(there);
    match there {
        Some(there) if same(there) || waits(there) => None,
        _ => Some(wanted),
    }
}

/// The status of a network: whether it can be used, or why it cannot.
pub fn status_of(outcome: &Result<(), String>, reason: &str) -> Value {
    let (status, message) = match outcome {
        Ok(()) => ("True", String::new()),
        Err(why) => ("False", why.clone()),
    };
    json!({"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": message}]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::ObjectKey;
    use mkube_model::kinds::{CONFIGURED_IN, NETWORKS};

    fn stored(name: &str, made: u8, cidr: &str, change: impl FnOnce(&mut Value)) -> StoredObject {
        let mut value = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z")},
            "spec": {"cidr": cidr, "bridge": format!("bridge-{name}")},
        });
        change(&mut value);
        StoredObject::new(NETWORKS, ObjectKey::new("", name), &value, 1)
    }

    fn as_made(_: &mut Value) {}

    fn configured() -> Vec<Arc<Network>> {
        let network = Network::plain("gt", "10.90.0.0/24".parse().expect("a literal"), "bridge-gt");
        vec![Arc::new(Network { from_config: true, ..network })]
    }

    fn names(found: &KnownNetworks) -> Vec<&str> {
        found.usable.iter().map(|network| network.name.as_str()).collect()
    }

    #[test]
    fn the_file_wins_over_an_object_of_its_name_and_over_what_overlaps() {
        let objects = [
            stored("gt", 0, "10.7.0.0/24", as_made),
            stored("near", 1, "10.90.0.128/25", as_made),
            stored("far", 2, "10.91.0.0/24", as_made),
        ];
        let found = known(&configured(), objects.iter());
        assert_eq!(names(&found), ["gt", "far"]);
        assert_eq!(found.usable[0].cidr.to_string(), "10.90.0.0/24");
        assert!(found.refused["near"].contains("overlaps 10.90.0.0/24 of network gt"), "{:?}", found.refused);
    }

    #[test]
    fn of_two_that_overlap_the_older_one_stays() {
        let objects = [stored("a", 9, "10.1.0.0/16", as_made), stored("b", 1, "10.1.3.0/24", as_made)];
        let found = known(&configured(), objects.iter());
        assert_eq!(names(&found), ["gt", "b"]);
        assert!(found.refused.contains_key("a"));
    }

    #[test]
    fn what_is_deleted_or_stands_in_no_file_any_more_takes_no_pods() {
        let deleted = |value: &mut Value| value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let marked = |value: &mut Value| value["metadata"]["annotations"] = json!({CONFIGURED_IN: "config.yaml"});
        let objects = [stored("going", 1, "10.1.0.0/24", deleted), stored("old", 2, "10.2.0.0/24", marked)];
        let found = known(&configured(), objects.iter());
        assert_eq!(names(&found), ["gt"]);
        assert_eq!(
            (found.leaving[0].name.as_str(), found.dropped.as_slice()),
            ("going", ["old".to_owned()].as_slice())
        );
    }

    #[test]
    fn an_object_is_written_when_it_does_not_show_the_file() {
        let network = &configured()[0];
        let shown = to_be_shown(network, "config.yaml", None).expect("it is not there");
        assert_eq!(to_be_shown(network, "config.yaml", Some(&shown)), None);
        let mut other = shown.clone();
        other["spec"]["bridge"] = json!("another");
        assert_eq!(to_be_shown(network, "config.yaml", Some(&other)), Some(shown.clone()));
        other["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(to_be_shown(network, "config.yaml", Some(&other)), None);
    }
}
