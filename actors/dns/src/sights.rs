//! What pods, services and namespaces look like to names: read from the stored objects, nothing remembered. What does not
//! matter to names is left out, so that equal sights need no second look.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::metadata::{self, annotation};
use mkube_model::workloads;
use serde_json::Value;

/// Annotation of a pod: its network.
const NETWORK: &str = "vkube.io/network";
/// Annotation of a pod: the namespace whose zone it is to have its names in.
const NAMESPACE: &str = "vkube.io/namespace";
/// Annotation of a pod: more names, separated by commas, each `alias` or `alias=container`.
const ALIASES: &str = "vkube.io/aliases";
/// Annotation of a namespace: the zone of its pods.
const DOMAIN: &str = "vkube.io/domain";
/// Annotation of a namespace: `open` or `nested`.
const MODE: &str = "vkube.io/mode";

/// Another name of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// As written.
    pub name: String,
    /// The container; none is the first one.
    pub container: Option<String>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// The network it says.
    pub network: Option<String>,
    /// The namespace whose zone it says.
    pub namespace: Option<String>,
    /// More names.
    pub aliases: Vec<Alias>,
    /// Labels, for services.
    pub labels: Option<Value>,
    /// Containers, in order of the spec.
    pub containers: Vec<String>,
    /// Address of each container, as its status says.
    pub addresses: BTreeMap<String, IpAddr>,
    /// Its condition `Ready` holds.
    pub ready: bool,
    /// Its status speaks of its present spec; else of containers that are about to be replaced.
    pub observed: bool,
    /// It is being deleted.
    pub deleting: bool,
}

impl PodSight {
    /// Reads a pod.
    pub fn of(object: &StoredObject) -> Self {
        let pod = object.value();
        let note = |key: &str| annotation(&pod, key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let names = |pointer: &str| -> Vec<String> {
            let list = pod.pointer(pointer).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
        };
        let ips = pod.pointer("/status/podIPs").and_then(Value::as_array);
        let ips: Vec<Option<IpAddr>> =
            ips.into_iter().flatten().map(|one| one["ip"].as_str().and_then(|ip| ip.parse().ok())).collect();
        // The status lists addresses in the order of the containers it knows: those of the spec it speaks of, not of one that
        // came since.
        let told = names("/status/containerStatuses");
        let addresses = if told.len() == ips.len() {
            told.into_iter().zip(ips).filter_map(|(name, ip)| Some((name, ip?))).collect()
        } else {
            BTreeMap::new()
        };
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            network: note(NETWORK),
            namespace: note(NAMESPACE),
            aliases: aliases(annotation(&pod, ALIASES).unwrap_or_default()),
            labels: pod.pointer("/metadata/labels").cloned(),
            containers: names("/spec/containers"),
            addresses,
            ready: workloads::ready_since(&pod).is_some(),
            observed: workloads::is_observed(&pod),
            deleting: object.is_deleting(),
        }
    }

    /// Address of a container, or of the first one.
    pub fn address(&self, container: Option<&str>) -> Option<IpAddr> {
        let name = container.or_else(|| self.containers.first().map(String::as_str))?;
        self.addresses.get(name).copied()
    }
}

fn aliases(text: &str) -> Vec<Alias> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let alias = |item: &str| match item.split_once('=') {
        Some((name, container)) => {
            let container = Some(container.trim().to_owned()).filter(|name| !name.is_empty());
            Alias { name: name.trim().to_owned(), container }
        }
        None => Alias { name: item.to_owned(), container: None },
    };
    items.map(alias).collect()
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Labels its pods have; empty: it selects none.
    pub selector: BTreeMap<String, String>,
    /// Pods count that are not ready.
    pub unready_too: bool,
}

impl ServiceSight {
    /// Reads a Service; one that is being deleted has no names.
    pub fn of(object: &StoredObject) -> Option<Self> {
        if object.is_deleting() {
            return None;
        }
        let service = object.value();
        let selector = service.pointer("/spec/selector").and_then(Value::as_object).into_iter().flatten();
        Some(Self {
            key: object.key.clone(),
            selector: selector.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            unready_too: service.pointer("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true)),
        })
    }

    /// Whether a pod is one of its.
    pub fn selects(&self, pod: &PodSight) -> bool {
        let has = |(key, value): (&String, &String)| {
            pod.labels.as_ref().and_then(|labels| labels.get(key)?.as_str()) == Some(value.as_str())
        };
        pod.key.namespace == self.key.namespace && !self.selector.is_empty() && self.selector.iter().all(has)
    }
}

/// How a namespace's pods are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In its network's zone.
    Open,
    /// In a zone of its own below that.
    Nested,
}

impl Mode {
    /// As written; none for anything else.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "open" => Some(Self::Open),
            "nested" => Some(Self::Nested),
            _ => None,
        }
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSight {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The mode it says, as written.
    pub mode: Option<String>,
    /// The zone it says.
    pub domain: Option<String>,
    /// The network it says.
    pub network: Option<String>,
}

impl NamespaceSight {
    /// Reads a namespace.
    pub fn of(object: &StoredObject) -> Self {
        let namespace = object.value();
        let note =
            |key: &str| annotation(&namespace, key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            name: metadata::name(&namespace).to_owned(),
            uid: object.uid().to_owned(),
            mode: note(MODE),
            domain: note(DOMAIN),
            network: note(NETWORK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::kinds::KindId;
    use serde_json::json;

    fn pod(value: Value) -> PodSight {
        let kind = KindId { group: "", plural: "pods" };
        PodSight::of(&StoredObject::new(kind, ObjectKey::new("default", "web"), &value, 1))
    }

    #[test]
    fn aliases_read_as_the_go_controller_wrote_them() {
        let read = |text: &str| aliases(text).into_iter().map(|one| (one.name, one.container)).collect::<Vec<_>>();
        let to = |name: &str, container: Option<&str>| (name.to_owned(), container.map(str::to_owned));
        assert_eq!(read(" www , db = postgres ,, x="), [to("www", None), to("db", Some("postgres")), to("x", None)]);
    }

    #[test]
    fn an_address_belongs_to_the_container_the_status_names_whatever_the_spec_says_meanwhile() {
        let status = json!({"containerStatuses": [{"name": "web"}], "podIPs": [{"ip": "10.0.0.5"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "x"}]});
        let seen = pod(json!({"spec": {"containers": [{"name": "db"}, {"name": "web"}]}, "status": status}));
        assert!(seen.ready);
        assert_eq!(seen.address(Some("web")), Some("10.0.0.5".parse().expect("a literal")));
        assert_eq!(seen.address(None), None, "the first container has no address yet");
    }

    #[test]
    fn a_status_that_names_fewer_addresses_than_containers_tells_none() {
        let status = json!({"containerStatuses": [{"name": "a"}, {"name": "b"}], "podIPs": [{"ip": "10.0.0.5"}]});
        assert!(
            pod(json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status})).addresses.is_empty()
        );
    }
}
