//! Which lists of Kubernetes' types are lists of things with names, which are sets, and which maps and lists are one value. The
//! one table of them: strategic merge patches and server-side apply read it, and the OpenAPI documents tell clients what it says.

use serde_json::Value;

/// A list whose items are told apart by some of their fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Name of the list.
    pub list: &'static str,
    /// The structures it stands in, by the names of their schemas without `io.k8s.`
    pub within: &'static [&'static str],
    /// Of several rows of one name, that whose items have this field.
    having: &'static str,
    /// The field by which a strategic merge patch finds an item, if it merges at all.
    pub merge: Option<&'static str>,
    /// A patch that chooses another kind of source for an item takes away the one there was.
    pub retains_keys: bool,
    /// The fields that make an item, and what stands for one that is left out.
    pub identity: &'static [(&'static str, Option<&'static str>)],
    /// An item is one value: it has one owner.
    pub whole_items: bool,
}

const NAME: &[(&str, Option<&str>)] = &[("name", None)];
const TYPE: &[(&str, Option<&str>)] = &[("type", None)];
const IP: &[(&str, Option<&str>)] = &[("ip", None)];

const POD: &[&str] = &["api.core.v1.PodSpec"];
const POD_STATUS: &[&str] = &["api.core.v1.PodStatus"];
const CONTAINERS: &[&str] = &["api.core.v1.Container", "api.core.v1.EphemeralContainer"];
const METADATA: &[&str] = &["apimachinery.pkg.apis.meta.v1.ObjectMeta"];
const WITH_CONDITIONS: &[&str] = &[
    "api.apps.v1.DeploymentStatus",
    "api.apps.v1.ReplicaSetStatus",
    "api.core.v1.NamespaceStatus",
    "api.core.v1.NodeStatus",
    "api.core.v1.PersistentVolumeClaimStatus",
    "api.core.v1.PodStatus",
    "api.core.v1.ServiceStatus",
];

const fn keyed(
    within: &'static [&'static str],
    list: &'static str,
    merge: &'static str,
    identity: &'static [(&'static str, Option<&'static str>)],
) -> Keyed {
    Keyed { list, within, having: "", merge: Some(merge), retains_keys: false, identity, whole_items: false }
}

/// All of them. A patch knows a list by its name alone, and of several rows of one name the first is meant.
pub static LISTS: [Keyed; 22] = [
    keyed(POD, "containers", "name", NAME),
    keyed(POD, "initContainers", "name", NAME),
    keyed(POD, "ephemeralContainers", "name", NAME),
    keyed(CONTAINERS, "env", "name", NAME),
    Keyed { retains_keys: true, ..keyed(POD, "volumes", "name", NAME) },
    Keyed { whole_items: true, ..keyed(POD, "imagePullSecrets", "name", NAME) },
    Keyed {
        having: "containerPort",
        ..keyed(CONTAINERS, "ports", "containerPort", &[("containerPort", None), ("protocol", Some("TCP"))])
    },
    keyed(&["api.core.v1.ServiceSpec"], "ports", "port", &[("port", None), ("protocol", Some("TCP"))]),
    keyed(CONTAINERS, "volumeMounts", "mountPath", &[("mountPath", None)]),
    keyed(CONTAINERS, "volumeDevices", "devicePath", &[("devicePath", None)]),
    keyed(WITH_CONDITIONS, "conditions", "type", TYPE),
    // Kubernetes has those of a Job as one value where they are applied. Here they are as all others: only their controller does.
    keyed(&["api.batch.v1.JobStatus"], "conditions", "type", &[]),
    keyed(&["api.core.v1.NodeStatus"], "addresses", "type", TYPE),
    Keyed { whole_items: true, ..keyed(METADATA, "ownerReferences", "uid", &[("uid", None)]) },
    keyed(POD, "hostAliases", "ip", IP),
    keyed(POD, "topologySpreadConstraints", "topologyKey", &[("topologyKey", None), ("whenUnsatisfiable", None)]),
    keyed(POD_STATUS, "podIPs", "ip", IP),
    // Patches merge it, apply takes it as one value.
    keyed(POD_STATUS, "hostIPs", "ip", &[]),
    keyed(POD, "schedulingGates", "name", NAME),
    Keyed { retains_keys: true, ..keyed(POD, "resourceClaims", "name", NAME) },
    Keyed { retains_keys: true, ..keyed(POD_STATUS, "resourceClaimStatuses", "name", NAME) },
    // The other way round.
    Keyed { merge: None, ..keyed(&["api.core.v1.ResourceRequirements"], "claims", "", NAME) },
];

/// Lists of plain values that are sets, and what they stand in.
pub const SETS: [(&str, &str); 2] =
    [("apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers"), ("api.core.v1.NodeSpec", "podCIDRs")];

/// Structures of which one part excludes the others, and what they stand in.
pub const RETAINED: [(&str, &str); 1] = [("api.apps.v1.DeploymentSpec", "strategy")];

/// Structures that are one value, references and selectors, and fields that hold one. Half of one and half of another would be
/// neither.
pub const WHOLE_STRUCTURES: [(&str, &[&str]); 11] = [
    ("api.core.v1.ConfigMapKeySelector", &["configMapKeyRef"]),
    ("api.core.v1.LocalObjectReference", &["nodePublishSecretRef", "secretRef"]),
    ("api.core.v1.NodeSelector", &["requiredDuringSchedulingIgnoredDuringExecution"]),
    ("api.core.v1.NodeSelectorTerm", &[]),
    ("api.core.v1.ObjectFieldSelector", &["fieldRef"]),
    ("api.core.v1.ObjectReference", &["claimRef", "involvedObject", "targetRef"]),
    ("api.core.v1.ResourceFieldSelector", &["resourceFieldRef"]),
    ("api.core.v1.SecretKeySelector", &["secretKeyRef"]),
    ("api.core.v1.TypedLocalObjectReference", &[]),
    ("apimachinery.pkg.apis.meta.v1.LabelSelector", &["labelSelector", "namespaceSelector", "selector"]),
    ("apimachinery.pkg.apis.meta.v1.OwnerReference", &[]),
];

/// Other maps that are one value.
const WHOLE_MAPS: [&str; 3] = ["configMapRef", "nodeSelector", "scaleTargetRef"];

fn row<'v>(list: &str, items: impl Iterator<Item = &'v Value> + Clone) -> Option<&'static Keyed> {
    let has = |field: &str| field.is_empty() || items.clone().any(|item| item.get(field).is_some());
    LISTS.iter().find(|row| row.list == list && has(row.having))
}

/// The field by which a strategic merge patch finds an item of a list. A list without one is replaced as a whole.
pub fn merge_key<'v>(list: &str, items: impl Iterator<Item = &'v Value> + Clone) -> Option<&'static str> {
    row(list, items)?.merge
}

/// Whether the plain values of a list are a set.
pub fn is_set(list: &str) -> bool {
    SETS.iter().any(|(_, set)| *set == list)
}

/// What is known of the fields at some place of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// Kubernetes' own: the table holds. Elsewhere a list is one value and a map is not, as of kinds without a schema.
    known: bool,
}

impl Types {
    /// Those of a kind of Kubernetes, or of one it does not have.
    pub fn new(kubernetes: bool) -> Self {
        Self { known: kubernetes }
    }

    /// Those of a field. Metadata is Kubernetes' own wherever it is.
    pub fn below(self, field: &str) -> Self {
        Self { known: self.known || field == "metadata" }
    }

    /// Whether a map of this name is one value.
    pub fn is_whole(self, field: &str) -> bool {
        let held = |(_, fields): &(&str, &[&str])| fields.contains(&field);
        self.known && (WHOLE_MAPS.contains(&field) || WHOLE_STRUCTURES.iter().any(held))
    }

    /// How items of a list are told apart, if they are.
    pub fn keyed<'v>(self, list: &str, items: impl Iterator<Item = &'v Value> + Clone) -> Option<&'static Keyed> {
        row(list, items).filter(|row| self.known && !row.identity.is_empty())
    }

    /// Whether the values of a list are a set.
    pub fn is_set(self, list: &str) -> bool {
        self.known && is_set(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_those_of_a_container_or_of_a_service() {
        let (container, service) = ([json!({"containerPort": 1})], [json!({"port": 1})]);
        assert_eq!(merge_key("ports", container.iter()), Some("containerPort"));
        assert_eq!(merge_key("ports", service.iter()), Some("port"));
        assert_eq!(merge_key("args", [].iter()), None);
    }

    #[test]
    fn of_foreign_kinds_only_metadata_is_known() {
        let foreign = Types::new(false);
        assert!(foreign.keyed("containers", [].iter()).is_none() && !foreign.is_whole("selector"));
        let metadata = foreign.below("metadata");
        assert!(metadata.is_set("finalizers") && metadata.keyed("ownerReferences", [].iter()).is_some());
        assert!(foreign.below("spec").keyed("env", [].iter()).is_none());
    }
}
