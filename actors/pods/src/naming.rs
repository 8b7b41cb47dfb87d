//! Names of a pod's things on the device: those they have there already, else plain ones, else such that nobody else has.

use std::sync::Arc;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_messages::pods::DesiredChanged;
use mkube_model::names::{self, NameBook};
use serde_json::Value;

use crate::parts::Desired;
use crate::plan::{ContainerNames, owner_in_mark};
use crate::pods_actor::{PodsActor, tell};

impl PodsActor {
    pub(crate) fn names_of(&mut self, object: &StoredObject) -> Vec<ContainerNames> {
        let key = &object.key;
        let pod = object.value();
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let device = self.parts.pod.device.borrow().clone();
        let pods = self.parts.pod.objects.view().kind(&self.parts.pod.kind);
        let owner = key.to_string();
        let exists = |other: &str| {
            let (namespace, name) = other.split_once('/').unwrap_or_default();
            other != owner && pods.objects.contains_key(&ObjectKey::new(namespace, name))
        };
        let row_owner = |name: &str| device.containers.get(name).and_then(|row| owner_in_mark(&row.comment));
        let veth_owner = |name: &str| device.veths.get(name).and_then(|row| row.comment.strip_prefix("mkube "));
        let mut found = Vec::new();
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let plain = names::container_name(&key.namespace, &key.name, name);
            let (identity, limit) = (format!("{key}/{name}"), Some(names::container_name_limit()));
            let row = as_on_device(&mut self.row_names, &plain, &identity, limit, &owner, &row_owner, &exists);
            let plain = names::veth_name(&key.namespace, &key.name, index);
            let identity = format!("{key}/{index}");
            let veth = as_on_device(&mut self.veth_names, &plain, &identity, None, &owner, &veth_owner, &exists);
            self.owners.insert(row.clone(), key.clone());
            self.owners.insert(veth.clone(), key.clone());
            found.push(ContainerNames { row, veth });
        }
        found
    }

    /// The device was read for the first time: names are given anew, so that everybody keeps the one that is there.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
        self.row_names = NameBook::default();
        self.veth_names = NameBook::default();
        let mut pods: Vec<Arc<StoredObject>> =
            self.pods.values().map(|entry| entry.desired.borrow().pod.clone()).collect();
        pods.sort_by_cached_key(|pod| age(pod));
        for pod in pods {
            let names = self.names_of(&pod);
            if let Some(entry) = self.pods.get_mut(&pod.key) {
                entry.rows = rows_of(&names);
                entry.desired.send_replace(Desired { pod, names, settled: true });
                tell(&entry.look, DesiredChanged);
            }
        }
    }
}

pub(crate) fn rows_of(names: &[ContainerNames]) -> Vec<String> {
    names.iter().flat_map(|one| [one.row.clone(), one.veth.clone()]).collect()
}

/// The name a thing has on the device already; else the plain one, unless another pod's thing has that.
fn as_on_device<'a>(
    book: &mut NameBook,
    plain: &str,
    identity: &str,
    limit: Option<usize>,
    owner: &str,
    owner_on_device: &impl Fn(&str) -> Option<&'a str>,
    exists: &impl Fn(&str) -> bool,
) -> String {
    let suffixed = names::suffixed(plain, identity, limit);
    let plain_is_taken = owner_on_device(plain).is_some_and(exists);
    if plain_is_taken || owner_on_device(&suffixed) == Some(owner) {
        return book.hold(suffixed, identity);
    }
    book.claim(plain, identity, limit)
}

pub(crate) fn age(object: &StoredObject) -> (String, String) {
    let pod = object.value();
    let created = pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default();
    (created.to_owned(), object.uid().to_owned())
}
