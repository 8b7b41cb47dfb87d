//! The order pods start in: what they say of it, whom their words mean, and circles among them. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::problem::Problem;
use crate::workloads::{BOOT_PRIORITY, DEPENDS_ON, OWNER_DEPLOYMENT, controller_of};
use crate::{metadata, names};

/// What a pod says of its place in the order, and the names it is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `vkube.io/boot-priority`: lower first.
    pub priority: Option<i64>,
    /// `vkube.io/depends-on`, word by word.
    pub depends_on: Vec<String>,
    /// Names of its containers on the device.
    pub containers: Vec<String>,
    /// The Deployment it belongs to, of its own namespace.
    pub deployment: Option<String>,
}

impl Member {
    /// Reads a pod. What is no number or no name is left out: it was refused when the pod was written.
    pub fn of(pod: &Value) -> Self {
        let (namespace, name) = (metadata::namespace(pod).to_owned(), metadata::name(pod).to_owned());
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
        let containers = containers
            .filter_map(|container| container["name"].as_str())
            .map(|container| names::container_name(&namespace, &name, container))
            .collect();
        let controller = controller_of(pod).filter(|(kind, ..)| *kind == "Deployment").map(|(_, name, _)| name);
        let deployment =
            controller.or_else(|| metadata::annotation(pod, OWNER_DEPLOYMENT)).filter(|one| !one.is_empty());
        Self {
            priority: metadata::annotation(pod, BOOT_PRIORITY).and_then(|text| text.trim().parse().ok()),
            depends_on: words(metadata::annotation(pod, DEPENDS_ON).unwrap_or_default())
                .filter(|word| is_name(word))
                .map(str::to_owned)
                .collect(),
            deployment: deployment.map(str::to_owned),
            containers,
            namespace,
            name,
        }
    }

    /// It says something of its place in the order; whoever says nothing waits for nobody.
    pub fn is_ordered(&self) -> bool {
        self.priority.is_some() || !self.depends_on.is_empty()
    }
}

/// Whether a pod says something of its place in the order.
pub fn is_ordered(pod: &Value) -> bool {
    metadata::annotation(pod, BOOT_PRIORITY).is_some_and(|text| text.trim().parse::<i64>().is_ok())
        || words(metadata::annotation(pod, DEPENDS_ON).unwrap_or_default()).any(is_name)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// `name` or `namespace/name`; names of pods, of Deployments, or of containers on the device.
fn is_name(word: &str) -> bool {
    let part = |part: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
        !part.is_empty() && part.len() <= 253 && part.chars().all(inside)
    };
    match word.split_once('/') {
        Some((namespace, name)) => part(namespace) && part(name),
        None => part(word),
    }
}

/// What is wrong with what a pod says of the order.
pub fn problems(pod: &Value) -> Vec<Problem> {
    let field = |annotation: &str| format!("metadata.annotations[{annotation}]");
    let mut problems = Vec::new();
    if let Some(text) = metadata::annotation(pod, BOOT_PRIORITY)
        && text.trim().parse::<i64>().is_err()
    {
        problems.push(Problem::invalid(
            field(BOOT_PRIORITY),
            text,
            "must be an integer such as 10; lower starts first",
        ));
    }
    let Some(text) = metadata::annotation(pod, DEPENDS_ON) else { return problems };
    let mut invalid = |word: &str, why: &str| problems.push(Problem::invalid(field(DEPENDS_ON), word, why));
    let own = Member::of(pod);
    let mut seen = BTreeSet::new();
    for word in words(text) {
        if word.is_empty() {
            invalid(text, "must be names of pods, Deployments or containers between commas, none of them empty");
        } else if !is_name(word) {
            invalid(word, "must be the name of a pod, a Deployment or a container, or namespace/name");
        } else if !seen.insert(word) {
            invalid(word, "is named twice");
        } else if is_own(&own, word) {
            invalid(word, "is the pod itself, which cannot wait for itself");
        }
    }
    problems
}

/// A template has no name yet, and depends on nothing by it.
fn is_own(own: &Member, word: &str) -> bool {
    let pod = !own.name.is_empty() && (word == own.name || word == format!("{}/{}", own.namespace, own.name));
    pod || (!own.name.is_empty() && own.containers.iter().any(|container| container == word))
}

/// Whom a word of `vkube.io/depends-on` means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meant {
    /// Members, by position.
    pub pods: BTreeSet<usize>,
    /// Only this container of the one pod.
    pub container: Option<String>,
    /// Namespace and name of the Deployment whose pods they are, if there are or may be such.
    pub deployment: (String, String),
}

/// All members by the names they are known by.
#[derive(Debug)]
pub struct Index<'a> {
    by_pod: BTreeMap<(&'a str, &'a str), usize>,
    by_container: BTreeMap<&'a str, usize>,
    by_deployment: BTreeMap<(&'a str, &'a str), BTreeSet<usize>>,
}

impl<'a> Index<'a> {
    /// Reads the names.
    pub fn of(members: &'a [Member]) -> Self {
        let mut index = Self { by_pod: BTreeMap::new(), by_container: BTreeMap::new(), by_deployment: BTreeMap::new() };
        for (number, member) in members.iter().enumerate() {
            index.by_pod.insert((&member.namespace, &member.name), number);
            for container in &member.containers {
                index.by_container.entry(container).or_insert(number);
            }
            if let Some(deployment) = &member.deployment {
                index.by_deployment.entry((&member.namespace, deployment)).or_default().insert(number);
            }
        }
        index
    }

    /// Whom `word` of a pod in `namespace` means: a pod and a Deployment of that name both, else a container.
    pub fn meant(&self, namespace: &str, word: &str) -> Meant {
        let (namespace, name) = word.split_once('/').unwrap_or((namespace, word));
        let mut pods: BTreeSet<usize> = self.by_pod.get(&(namespace, name)).copied().into_iter().collect();
        pods.extend(self.by_deployment.get(&(namespace, name)).into_iter().flatten());
        let deployment = (namespace.to_owned(), name.to_owned());
        if pods.is_empty()
            && let Some(pod) = self.by_container.get(word)
        {
            return Meant { pods: [*pod].into(), container: Some(word.to_owned()), deployment };
        }
        Meant { pods, container: None, deployment }
    }

    /// For each member, whom it depends on.
    pub fn dependencies(&self, members: &[Member]) -> Vec<BTreeSet<usize>> {
        let of = |member: &Member| {
            member.depends_on.iter().flat_map(|word| self.meant(&member.namespace, word).pods).collect()
        };
        members.iter().map(of).collect()
    }
}

/// The shortest way from a member back to itself, both ends included; nothing when there is none.
pub fn circle(dependencies: &[BTreeSet<usize>], start: usize) -> Option<Vec<usize>> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(at) = next.pop_front() {
        for to in dependencies.get(at).into_iter().flatten() {
            if *to == start {
                let mut way = vec![start, at];
                while let Some(before) = way.last().filter(|last| **last != start).and_then(|last| came_from.get(last))
                {
                    way.push(*before);
                }
                // Of a member that names itself both ends are all there is.
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(to) {
                came_from.insert(*to, at);
                next.push_back(*to);
            }
        }
    }
    None
}

/// `a → b → a`; with namespaces where they differ.
pub fn spelled(members: &[Member], way: &[usize]) -> String {
    let along: Vec<&Member> = way.iter().filter_map(|at| members.get(*at)).collect();
    let alike = along.windows(2).all(|pair| pair[0].namespace == pair[1].namespace);
    let name = |member: &&Member| {
        if alike { member.name.clone() } else { format!("{}/{}", member.namespace, member.name) }
    };
    along.iter().map(name).collect::<Vec<_>>().join(" → ")
}

/// What is wrong with a pod among the others of its cluster: it would wait for itself by way of them.
pub fn circle_with(pod: &Value, others: impl Iterator<Item = Member>) -> Option<Problem> {
    let own = Member::of(pod);
    if own.depends_on.is_empty() {
        return None;
    }
    let mut members: Vec<Member> =
        others.filter(|one| (&one.namespace, &one.name) != (&own.namespace, &own.name)).collect();
    members.push(own);
    let dependencies = Index::of(&members).dependencies(&members);
    let way = circle(&dependencies, members.len() - 1)?;
    let why = format!("dependency cycle: {}", spelled(&members, &way));
    let text = metadata::annotation(pod, DEPENDS_ON).unwrap_or_default();
    Some(Problem::invalid(format!("metadata.annotations[{DEPENDS_ON}]"), text, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, annotations: Value) -> Value {
        json!({"metadata": {"namespace": "default", "name": name, "annotations": annotations},
            "spec": {"containers": [{"name": "c"}]}})
    }

    fn depends(name: &str, on: &str) -> Value {
        pod(name, json!({"vkube.io/depends-on": on}))
    }

    fn fields(pod: &Value) -> Vec<String> {
        problems(pod).into_iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn numbers_and_names_are_checked_and_the_field_is_named() {
        for (annotations, field) in [
            (json!({"vkube.io/boot-priority": "soon"}), "vkube.io/boot-priority"),
            (json!({"vkube.io/boot-priority": ""}), "vkube.io/boot-priority"),
            (json!({"vkube.io/boot-priority": "1.5"}), "vkube.io/boot-priority"),
            (json!({"vkube.io/depends-on": ""}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "a,,b"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "a, b,"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "a b"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "x/y/z"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "a,a"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "web"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "default/web"}), "vkube.io/depends-on"),
            (json!({"vkube.io/depends-on": "default_web_c"}), "vkube.io/depends-on"),
        ] {
            let found = fields(&pod("web", annotations.clone()));
            assert_eq!(found.len(), 1, "{annotations}: {found:?}");
            assert!(found[0].starts_with(&format!("metadata.annotations[{field}] ")), "{found:?}");
        }
        let fine = json!({"vkube.io/boot-priority": " -5 ", "vkube.io/depends-on": "infra/nats, g10_dns_microdns ,db"});
        assert!(fields(&pod("web", fine.clone())).is_empty());
        let member = Member::of(&pod("web", fine));
        assert_eq!(member.priority, Some(-5));
        assert_eq!(member.depends_on, ["infra/nats", "g10_dns_microdns", "db"]);
    }

    #[test]
    fn a_template_without_a_name_depends_on_nobody_by_it() {
        let template = json!({"metadata": {"annotations": {"vkube.io/depends-on": "db"}}, "spec": {"containers": [{"name": "c"}]}});
        assert!(problems(&template).is_empty());
    }

    #[test]
    fn a_word_means_a_pod_a_deployment_or_a_container() {
        let of = |name: &str| Member::of(&depends(name, "x"));
        let mut replica = of("web-0");
        replica.deployment = Some("web".into());
        let members = [of("db"), replica.clone(), Member { name: "web-1".into(), ..replica }];
        let index = Index::of(&members);
        let meant = |word: &str| index.meant("default", word);
        assert_eq!(meant("db").pods, [0].into());
        assert_eq!(meant("web").pods, [1, 2].into());
        assert_eq!(meant("default/web").pods, [1, 2].into());
        let container = meant("default_db_c");
        assert_eq!((container.pods, container.container.as_deref()), ([0].into(), Some("default_db_c")));
        assert!(meant("other/db").pods.is_empty());
    }

    #[test]
    fn a_circle_is_found_at_the_write_that_closes_it_and_spelled_out() {
        let others = || [depends("a", "b"), depends("b", "c")].into_iter().map(|pod| Member::of(&pod));
        assert!(circle_with(&depends("c", "d"), others()).is_none());
        let problem = circle_with(&depends("c", "a"), others()).expect("a circle");
        assert!(problem.message.ends_with("dependency cycle: c → a → b → c"), "{}", problem.message);
        assert_eq!(problem.field, "metadata.annotations[vkube.io/depends-on]");
        // Who only leads into a circle is not in it.
        let circle = || [depends("a", "b"), depends("b", "a")].into_iter().map(|pod| Member::of(&pod));
        assert!(circle_with(&depends("c", "a"), circle()).is_none());
        // The pod as it was does not count.
        assert!(circle_with(&depends("a", "x"), circle()).is_none());
    }

    #[test]
    fn a_member_that_waits_for_its_own_deployment_waits_for_itself() {
        let mut replica = depends("web-0", "web");
        replica["metadata"]["annotations"]["vkube.io/owner-deployment"] = json!("web");
        let problem = circle_with(&replica, std::iter::empty()).expect("a circle");
        assert!(problem.message.ends_with("dependency cycle: web-0 → web-0"), "{}", problem.message);
    }
}
