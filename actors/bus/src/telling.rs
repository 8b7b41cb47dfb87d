//! A change as messages on the bus. Pure.

use std::collections::BTreeMap;

use mkube_messages::objects::{ChangeType, StoredObject};
use mkube_model::kinds::BARE_METAL_HOSTS;
use mkube_model::neighbours::bus::{BusMessage, EVENTS};
use serde_json::{Map, Value, json};

use crate::news::News;
use crate::subjects;

/// What a secret, a machine with a password, and an object that is too long for the bus, is told by. Annotations may repeat the whole object.
const METADATA: [&str; 8] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels"];

/// The messages of one change; none of what is too long even without its contents.
pub fn messages(news: &News, longest: usize) -> Vec<BusMessage> {
    let object = &*news.object;
    let word = match news.change {
        ChangeType::Added => "ADDED",
        ChangeType::Modified => "MODIFIED",
        ChangeType::Deleted => "DELETED",
    };
    let mut payload = String::new();
    if object.kind.plural != "secrets" && object.kind != BARE_METAL_HOSTS {
        payload = format!("{{\"type\":\"{word}\",\"object\":{}}}", object.text());
    }
    if payload.is_empty() || payload.len() > longest {
        payload = json!({"type": word, "object": partial(object), "partial": true}).to_string();
    }
    let subject = subjects::of_object(object.kind.plural, &object.key);
    let mut messages = vec![message(subject, payload)];
    if object.kind.group.is_empty() && object.kind.plural == "events" && news.change != ChangeType::Deleted {
        messages.push(message(EVENTS.to_owned(), object.text().to_owned()));
    }
    messages.retain(|message| message.payload.len() <= longest);
    messages
}

/// Whether a change is for this node to tell. Where others share the store, the node of whom an event speaks tells it.
pub fn is_ours(object: &StoredObject, shared_by: Option<&str>) -> bool {
    let Some(node) = shared_by.filter(|_| object.kind.plural == "events") else { return true };
    let event = object.value();
    let by = event["reportingInstance"].as_str().unwrap_or_default();
    by.is_empty() || by == node || event["reportingComponent"] != "mkube"
}

fn message(subject: String, payload: String) -> BusMessage {
    BusMessage { subject, headers: BTreeMap::new(), payload: payload.into() }
}

/// An object without its contents.
fn partial(object: &StoredObject) -> Value {
    let value = object.value();
    let metadata: Map<String, Value> =
        METADATA.iter().filter_map(|key| Some(((*key).to_owned(), value["metadata"].get(*key)?.clone()))).collect();
    json!({"apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use mkube_messages::objects::ObjectKey;
    use mkube_model::kinds::KindId;

    fn news(plural: &'static str, value: &Value) -> News {
        let key = ObjectKey::new("d", value["metadata"]["name"].as_str().unwrap_or_default());
        let object = StoredObject::new(KindId { group: "", plural }, key, value, 7);
        News { change: ChangeType::Modified, object: Arc::new(object) }
    }

    fn read(message: &BusMessage) -> Value {
        serde_json::from_slice(&message.payload).expect("JSON")
    }

    #[test]
    fn an_object_is_told_as_it_is_and_an_event_once_more_by_itself() {
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"x": 1}});
        let told = messages(&news("pods", &pod), 1000);
        assert_eq!(told.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>(), ["mkube.objects.pods.d.a"]);
        assert_eq!(read(&told[0]), json!({"type": "MODIFIED", "object": pod}));
        let event = json!({"kind": "Event", "metadata": {"name": "a.1"}, "reason": "Started"});
        let mut happened = news("events", &event);
        let told = messages(&happened, 1000);
        let subjects: Vec<&str> = told.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(subjects, ["mkube.objects.events.d.a=2E1", "mkube.events"]);
        assert_eq!(read(&told[1]), event);
        happened.change = ChangeType::Deleted;
        assert_eq!(messages(&happened, 1000).len(), 1, "one that is forgotten does not happen again");
    }

    #[test]
    fn of_a_secret_only_that_it_is_there_is_told() {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": "a", "uid": "u", "labels": {"app": "x"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"k\":\"aHVudGVyMg==\"}}"},
            },
            "data": {"k": "aHVudGVyMg=="}, "stringData": {"k": "hunter2"},
        });
        let told = messages(&news("secrets", &secret), 1000);
        let [message] = told.as_slice() else { panic!("{told:?}") };
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{text}");
        let metadata = json!({"name": "a", "uid": "u", "labels": {"app": "x"}});
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata});
        assert_eq!(read(message), json!({"type": "MODIFIED", "object": object, "partial": true}));
    }

    #[test]
    fn of_a_machine_with_a_password_only_that_it_is_there_is_told() {
        let host =
            json!({"kind": "BareMetalHost", "metadata": {"name": "h"}, "spec": {"bmc": {"password": "hunter2"}}});
        let object = StoredObject::new(BARE_METAL_HOSTS, ObjectKey::new("d", "h"), &host, 7);
        let told = messages(&News { change: ChangeType::Added, object: Arc::new(object) }, 1000);
        assert_eq!(
            read(&told[0]),
            json!({"type": "ADDED", "partial": true,
            "object": {"apiVersion": null, "kind": "BareMetalHost", "metadata": {"name": "h"}}})
        );
    }

    #[test]
    fn what_is_too_long_is_told_without_its_contents_or_not_at_all() {
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "x".repeat(500)}});
        let told = messages(&news("configmaps", &map), 400);
        assert_eq!(read(&told[0])["object"]["metadata"], json!({"name": "a"}));
        assert_eq!(read(&told[0])["partial"], true);
        assert_eq!(messages(&news("configmaps", &map), 40), []);
    }

    #[test]
    fn where_nodes_share_a_store_each_tells_its_own_events() {
        let event = |by: &str, component: &str| {
            let value = json!({"metadata": {"name": "a"}, "reportingInstance": by, "reportingComponent": component});
            news("events", &value).object
        };
        assert!(is_ours(&event("one", "mkube"), Some("one")));
        assert!(!is_ours(&event("two", "mkube"), Some("one")));
        assert!(is_ours(&event("two", "mkube"), None));
        assert!(is_ours(&event("", ""), Some("one")) && is_ours(&event("x", "somebody"), Some("one")));
    }
}
