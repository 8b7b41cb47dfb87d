use std::sync::Arc;

use mkube_model::kinds::KindTable;
use mkube_model::network::Network;

use super::decide::*;
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::{ObjectKey, StoredObject};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn network(name: &str, cidr: &str) -> Network {
    let mut network = Network::plain(name, cidr.parse().expect("a literal"), "bridge");
    network.names.zone = format!("{name}.lo");
    network.names.server = Some(std::net::IpAddr::V4(network.first));
    network
}

fn networks(all: &[Network]) -> NetworksView {
    NetworksView {
        loaded: true,
        default: all.first().map(|one| one.name.clone()).unwrap_or_default(),
        by_name: all.iter().map(|one| (one.name.clone(), Arc::new(one.clone()))).collect(),
    }
}

fn two() -> NetworksView {
    networks(&[network("gt", "10.0.0.0/24"), network("g10", "10.1.0.0/24")])
}

fn map(namespace: &str, name: &str, body: &Value) -> (ObjectKey, Found) {
    let key = ObjectKey::new(namespace, name);
    let mut value = body.clone();
    value["metadata"]["uid"] = json!("u");
    let kind = KindTable::builtin().named("ConfigMap").expect("a kind").id();
    let object = StoredObject::new(kind, key.clone(), &value, 7);
    (key, Found::of(&object).expect("a name that mkube writes"))
}

/// What there is once everything was done that `decide` says.
fn after(actions: &[Action]) -> BTreeMap<ObjectKey, Found> {
    let made = |action: &Action| match action {
        Action::Create(key, body) | Action::Patch(key, body) => Some(map(&key.namespace, &key.name, body)),
        _ => None,
    };
    actions.iter().filter_map(made).collect()
}

fn there(_: &str) -> Option<Home> {
    Some(Home::There)
}

#[test]
fn every_network_with_a_name_server_gets_its_file_and_then_nothing_is_written() {
    let mut bare = network("bare", "10.2.0.0/24");
    bare.names.server = None;
    let view = networks(&[network("gt", "10.0.0.0/24"), network("g10", "10.1.0.0/24"), bare]);
    let wanted = wanted(&view, "rose1");
    let actions = decide(&wanted, &BTreeMap::new(), None, there);
    let keys: Vec<String> = actions.iter().map(|action| action.subject().to_string()).collect();
    assert_eq!(keys, ["g10/dns-config", "gt/dns-config", "infra/mkube-console-config"]);
    assert!(actions.iter().all(|action| matches!(action, Action::Create(..))), "{actions:?}");
    assert_eq!(decide(&wanted, &after(&actions), None, there), []);
}

#[test]
fn a_namespace_is_made_for_a_network_and_not_for_a_console_that_nobody_has() {
    let wanted = wanted(&two(), "rose1");
    let home = |name: &str| (name == "gt").then_some(Home::Leaving);
    assert_eq!(decide(&wanted, &BTreeMap::new(), None, home), [Action::CreateNamespace("g10".into())]);
}

#[test]
fn what_another_controller_wrote_is_adopted_and_what_a_client_edits_is_put_back() {
    let wanted = wanted(&two(), "rose1");
    let first = after(&decide(&wanted, &BTreeMap::new(), None, there));
    let note = json!({"vkube.io/generated": wanted[&ObjectKey::new("gt", "dns-config")].note});
    for edited in [
        json!({"data": {"microdns.toml": "of another controller"}}),
        json!({"metadata": {"annotations": note}, "data": {"microdns.toml": "edited"}}),
        json!({"metadata": {"annotations": note}, "data": {"mine": "kept"}}),
    ] {
        let mut found = first.clone();
        found.extend([map("gt", "dns-config", &edited)]);
        let actions = decide(&wanted, &found, None, there);
        let [Action::Patch(key, patch)] = actions.as_slice() else { panic!("{edited}: {actions:?}") };
        assert_eq!(key.to_string(), "gt/dns-config");
        assert!(patch["data"]["microdns.toml"].as_str().is_some_and(|text| text.contains("microdns-gt")));
    }
}

#[test]
fn an_owner_who_says_so_writes_the_file_himself() {
    let wanted = wanted(&two(), "rose1");
    let own = json!({"metadata": {"annotations": {"vkube.io/generated": "false"}}, "data": {"microdns.toml": "own"}});
    let mut found = after(&decide(&wanted, &BTreeMap::new(), None, there));
    found.extend([map("gt", "dns-config", &own)]);
    assert_eq!(decide(&wanted, &found, None, there), []);
    let nothing = self::wanted(&networks(&[]), "rose1");
    let left: Vec<ObjectKey> = decide(&nothing, &found, None, there).iter().map(Action::subject).collect();
    assert_eq!(left, [ObjectKey::new("g10", "dns-config")], "nor does it go with the network");
}

#[test]
fn a_file_goes_with_its_network_and_nothing_else_goes_along() {
    let before = after(&decide(&wanted(&two(), "rose1"), &BTreeMap::new(), None, there));
    let now = wanted(&networks(&[network("gt", "10.0.0.0/24")]), "rose1");
    let gone = ObjectKey::new("g10", "dns-config");
    let of_g10 = |found: &BTreeMap<ObjectKey, Found>| -> Vec<Action> {
        decide(&now, found, None, there).into_iter().filter(|action| action.subject() == gone).collect()
    };
    assert_eq!(of_g10(&before), [Action::Delete(gone.clone(), "u".into(), 7)]);
    // What somebody else put into it stays.
    let note = json!({"vkube.io/generated": "from network g10; changes are undone, unless this says \"false\""});
    let more = json!({"metadata": {"annotations": note}, "data": {"microdns.toml": "x", "mine": "kept"}});
    let mut shared = before.clone();
    shared.extend([map("g10", "dns-config", &more)]);
    let patch = json!({"metadata": {"annotations": {"vkube.io/generated": null}}, "data": {"microdns.toml": null}});
    assert_eq!(of_g10(&shared), [Action::Patch(gone.clone(), patch)]);
    // One that was never ours, and a copy of ours in a namespace that is no network's.
    let mut foreign = before.clone();
    foreign.extend([map("g10", "dns-config", &json!({"data": {"microdns.toml": "x"}}))]);
    assert_eq!(of_g10(&foreign), []);
    let mut copied = before;
    copied.remove(&gone);
    let copy = json!({"metadata": {"annotations": note}, "data": {"microdns.toml": "x"}});
    copied.extend([map("elsewhere", "dns-config", &copy)]);
    let elsewhere = ObjectKey::new("elsewhere", "dns-config");
    assert!(decide(&now, &copied, None, there).iter().all(|action| action.subject() != elsewhere));
}

/// Everything `actions` say is done.
fn done(found: &mut BTreeMap<ObjectKey, Found>, actions: &[Action]) {
    for action in actions {
        if let Action::Delete(key, ..) = action {
            found.remove(key);
        }
    }
    found.extend(after(actions));
}

#[test]
fn two_nodes_with_networks_of_one_name_write_two_files_and_take_away_their_own() {
    let (theirs, ours) = (wanted(&two(), "a"), wanted(&networks(&[network("gt", "10.9.0.0/24")]), "b"));
    let mut found = BTreeMap::new();
    // A single site had them before it shared its store: they are its own when it starts again.
    done(&mut found, &decide(&theirs, &BTreeMap::new(), None, there));
    for _ in 0..3 {
        for (node, wanted) in [("a", &theirs), ("b", &ours)] {
            let actions = decide(wanted, &found, Some(node), there);
            done(&mut found, &actions);
        }
    }
    let keys: Vec<String> = found.keys().map(ToString::to_string).collect();
    assert_eq!(
        keys,
        [
            "g10/dns-config",
            "gt/dns-config",
            "gt/dns-config.b",
            "infra/mkube-console-config",
            "infra/mkube-console-config.b"
        ]
    );
    for (node, wanted) in [("a", &theirs), ("b", &ours)] {
        assert_eq!(decide(wanted, &found, Some(node), there), [], "{node} is content");
    }
    // One of them goes, and the other keeps its name: pods know the file by it.
    let nothing = wanted(&networks(&[]), "a");
    let going = decide(&nothing, &found, Some("a"), there);
    let gone: Vec<String> = going.iter().map(|action| action.subject().to_string()).collect();
    assert_eq!(gone, ["g10/dns-config", "gt/dns-config"]);
    for key in going.iter().map(Action::subject) {
        found.remove(&key);
    }
    assert_eq!(decide(&ours, &found, Some("b"), there), []);
}

#[test]
fn a_file_that_nobody_has_made_his_is_made_so_only_as_it_was_read() {
    let wanted = wanted(&networks(&[network("gt", "10.0.0.0/24")]), "a");
    let found = after(&decide(&wanted, &BTreeMap::new(), None, there));
    let actions = decide(&wanted, &found, Some("a"), there);
    assert!(!actions.is_empty());
    for action in actions {
        let Action::Patch(_, body) = &action else { panic!("{action:?}") };
        assert_eq!(body["metadata"]["resourceVersion"], "7", "{body}");
        assert_eq!(body["metadata"]["annotations"]["vkube.io/node"], "a");
    }
}
