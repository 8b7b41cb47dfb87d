//! Which pods name which ConfigMaps and Secrets, so that those cost nothing to the pods that have nothing to do with them.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::ObjectKey;
use serde_json::Value;

/// Fields of a pod's spec that hold such names. Others are called `name` too: whoever is found may be concerned, whoever is not is not.
const FIELDS: [&str; 2] = ["name", "secretName"];

/// Pods by the names in their specs.
#[derive(Debug, Default)]
pub struct Mentions {
    /// Names in the spec of each pod.
    of_pod: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Pods by namespace and name of what they name.
    pods: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Mentions {
    /// A pod is there, or was changed.
    pub fn read(&mut self, pod: &ObjectKey, value: &Value) {
        let names = names_in(value);
        if self.of_pod.get(pod) == Some(&names) {
            return;
        }
        self.forget(pod);
        for name in &names {
            self.pods.entry(ObjectKey::new(&*pod.namespace, &**name)).or_default().insert(pod.clone());
        }
        self.of_pod.insert(pod.clone(), names);
    }

    /// A pod is gone.
    pub fn forget(&mut self, pod: &ObjectKey) {
        for name in self.of_pod.remove(pod).unwrap_or_default() {
            let source = ObjectKey::new(&*pod.namespace, name);
            if let Some(pods) = self.pods.get_mut(&source) {
                pods.remove(pod);
                if pods.is_empty() {
                    self.pods.remove(&source);
                }
            }
        }
    }

    /// The pods that may name it.
    pub fn of(&self, source: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.pods.get(source).into_iter().flatten()
    }
}

/// What a pod's spec names.
pub fn names_in(pod: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(&pod["spec"], &mut names);
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::String(name) if FIELDS.contains(&&**field) => drop(names.insert(name.clone())),
                    other => collect(other, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_name_a_source_is_found_in_its_namespace_only_and_forgotten_with_the_pod() {
        let mut mentions = Mentions::default();
        let pod = ObjectKey::new("a", "p");
        let spec = json!({
            "containers": [{
                "name": "c", "envFrom": [{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "two"}}],
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "three", "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "four", "key": "k"}}},
                ],
            }],
            "volumes": [
                {"name": "v", "configMap": {"name": "five"}}, {"name": "w", "secret": {"secretName": "six"}},
                {"name": "x", "projected": {"sources": [{"configMap": {"name": "seven"}}, {"secret": {"name": "eight"}}]}},
            ],
            "imagePullSecrets": [{"name": "nine"}],
        });
        mentions.read(&pod, &json!({"metadata": {"name": "p", "labels": {"name": "label"}}, "spec": spec}));
        let found =
            |mentions: &Mentions, namespace: &str, name: &str| mentions.of(&ObjectKey::new(namespace, name)).count();
        for name in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"] {
            assert_eq!((found(&mentions, "a", name), found(&mentions, "b", name)), (1, 0), "{name}");
        }
        assert_eq!(found(&mentions, "a", "label"), 0);
        mentions
            .read(&pod, &json!({"spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "two"}}]}]}}));
        assert_eq!((found(&mentions, "a", "one"), found(&mentions, "a", "two")), (0, 1));
        mentions.forget(&pod);
        assert!(mentions.of_pod.is_empty() && mentions.pods.is_empty());
    }
}
