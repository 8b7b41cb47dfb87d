//! Which lists of Kubernetes' types are lists of things with names, which are sets, and which maps and lists are one value. The
//! one table of them: strategic merge patches and server-side apply both read it.

use serde_json::Value;

/// A list whose items are told apart by some of their fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Name of the list.
    list: &'static str,
    /// Of several rows of one name, that whose items have this field.
    having: &'static str,
    /// The field by which a strategic merge patch finds an item, if it merges at all.
    merge: Option<&'static str>,
    /// The fields that make an item, and what stands for one that is left out.
    pub identity: &'static [(&'static str, Option<&'static str>)],
    /// An item is one value: it has one owner.
    pub whole_items: bool,
}

const NAME: &[(&str, Option<&str>)] = &[("name", None)];
const TYPE: &[(&str, Option<&str>)] = &[("type", None)];
const IP: &[(&str, Option<&str>)] = &[("ip", None)];

const fn keyed(
    list: &'static str,
    merge: &'static str,
    identity: &'static [(&'static str, Option<&'static str>)],
) -> Keyed {
    Keyed { list, having: "", merge: Some(merge), identity, whole_items: false }
}

const LISTS: [Keyed; 19] = [
    keyed("containers", "name", NAME),
    keyed("initContainers", "name", NAME),
    keyed("ephemeralContainers", "name", NAME),
    keyed("env", "name", NAME),
    keyed("volumes", "name", NAME),
    Keyed { whole_items: true, ..keyed("imagePullSecrets", "name", NAME) },
    Keyed {
        having: "containerPort",
        ..keyed("ports", "containerPort", &[("containerPort", None), ("protocol", Some("TCP"))])
    },
    keyed("ports", "port", &[("port", None), ("protocol", Some("TCP"))]),
    keyed("volumeMounts", "mountPath", &[("mountPath", None)]),
    keyed("volumeDevices", "devicePath", &[("devicePath", None)]),
    keyed("conditions", "type", TYPE),
    keyed("addresses", "type", TYPE),
    Keyed { whole_items: true, ..keyed("ownerReferences", "uid", &[("uid", None)]) },
    keyed("hostAliases", "ip", IP),
    keyed("topologySpreadConstraints", "topologyKey", &[("topologyKey", None), ("whenUnsatisfiable", None)]),
    keyed("podIPs", "ip", IP),
    // Patches merge it, apply takes it as one value.
    keyed("hostIPs", "ip", &[]),
    // The other way round.
    Keyed { merge: None, ..keyed("schedulingGates", "", NAME) },
    Keyed { merge: None, ..keyed("resourceClaims", "", NAME) },
];

/// Lists of plain values that are sets.
const SETS: [&str; 1] = ["finalizers"];

/// Maps that are one value: references and selectors. Half of one and half of another would be neither.
const WHOLE_MAPS: [&str; 16] = [
    "claimRef",
    "configMapKeyRef",
    "configMapRef",
    "fieldRef",
    "involvedObject",
    "labelSelector",
    "namespaceSelector",
    "nodePublishSecretRef",
    "nodeSelector",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "resourceFieldRef",
    "secretKeyRef",
    "secretRef",
    "selector",
    "scaleTargetRef",
    "targetRef",
];

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
    SETS.contains(&list)
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
        self.known && WHOLE_MAPS.contains(&field)
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
