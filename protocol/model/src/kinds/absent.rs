//! Kinds of Kubernetes that mkube does not have, and what to do instead: whoever asks for one is told, rather than left with a path
//! that is not there.

/// Group and plural of a kind, and a word on it.
const ABSENT: [(&str, &str, &str); 19] = [
    ("", "endpoints", "names of Services answer with the addresses of the pods that are ready"),
    ("", "limitranges", "limits are written into each container"),
    ("", "persistentvolumes", "volumes are directories of the device: see `mkube volumes`"),
    ("", "replicationcontrollers", "use a Deployment"),
    ("", "resourcequotas", "limits are written into each container"),
    ("", "serviceaccounts", "pods get no credentials for this API"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "the kinds are those that are built in"),
    ("apps", "daemonsets", "there is one node: use a Deployment"),
    ("apps", "statefulsets", "use a Deployment or pods: names, addresses and volumes of pods stay"),
    ("autoscaling", "horizontalpodautoscalers", "set the number of replicas with `kubectl scale`"),
    ("networking.k8s.io", "ingresses", "pods have addresses of their own on the network"),
    ("networking.k8s.io", "networkpolicies", "the firewall of the device decides what may pass"),
    ("policy", "poddisruptionbudgets", "evictions keep what a Deployment can spare"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "whoever reaches this API may do everything"),
    ("rbac.authorization.k8s.io", "clusterroles", "whoever reaches this API may do everything"),
    ("rbac.authorization.k8s.io", "rolebindings", "whoever reaches this API may do everything"),
    ("rbac.authorization.k8s.io", "roles", "whoever reaches this API may do everything"),
    ("scheduling.k8s.io", "priorityclasses", "the order pods start in is written with `vkube.io/boot-priority`"),
    ("storage.k8s.io", "storageclasses", "volumes are directories of the device"),
];

/// What Kubernetes has below objects and mkube has not: group, plural, what it is called, and what to do instead.
const ABSENT_BELOW: [(&str, &str, &str, &str); 1] = [(
    "",
    "pods",
    "ephemeralcontainers",
    "containers cannot be added to a pod that runs: `kubectl debug --copy-to` makes a pod with one more, and `kubectl exec` runs a \
     command in one",
)];

/// What to tell whoever asks for a kind that Kubernetes has and mkube has not, or for something below an object.
pub fn why_absent(group: &str, plural: &str, below: Option<&str>) -> Option<String> {
    if let Some(below) = below {
        let found = ABSENT_BELOW.iter().find(|(of, kind, name, _)| (*of, *kind, *name) == (group, plural, below));
        if let Some((.., why)) = found {
            return Some((*why).to_owned());
        }
    }
    let (_, _, why) = ABSENT.iter().find(|(of, name, _)| *of == group && *name == plural)?;
    Some(format!("mkube has no {plural}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindTable;

    #[test]
    fn no_kind_that_is_there_is_said_to_be_absent() {
        for kind in KindTable::builtin().iter() {
            assert_eq!(why_absent(kind.group, kind.plural, None), None);
            assert!(ABSENT_BELOW.iter().all(|(.., below, _)| !kind.subresources.contains(below)));
        }
        assert!(why_absent("rbac.authorization.k8s.io", "roles", None).is_some_and(|why| why.contains("no roles")));
        let below = why_absent("", "pods", Some("ephemeralcontainers"));
        assert!(below.is_some_and(|why| why.contains("--copy-to")));
        assert_eq!(why_absent("", "pods", Some("status")), None);
    }
}
