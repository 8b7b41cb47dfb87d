//! Who comes before whom. Pure: what pods say of the order in, levels out.
//!
//! Whoever says nothing waits for nobody. Of those that do, one waits for what it depends on, and for everybody with a smaller
//! priority. A pod that others depend on has no larger priority than they have, else the two would wait for one another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mkube_messages::objects::ObjectKey;
use mkube_model::boot_order::{Index, Member, circle, spelled};

/// The order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods with a place in it, by level, priority and name. The others start at once and are stopped first.
    pub pods: Vec<Planned>,
}

/// A pod with a place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Namespace and name.
    pub key: ObjectKey,
    /// From 1; whoever it waits for is on a smaller one.
    pub level: usize,
    /// Its own priority.
    pub priority: Option<i64>,
    /// The priority that counts: its own or the smallest of those that depend on it. Nothing without its own.
    pub urgency: Option<i64>,
    /// What it depends on, word by word.
    pub needs: Vec<Need>,
    /// How it would wait for itself: `a → b → a`.
    pub circle: Option<String>,
}

impl Planned {
    /// It says something of its place itself, and is not only waited for.
    pub fn is_ordered(&self) -> bool {
        self.priority.is_some() || !self.needs.is_empty()
    }
}

/// One word of `vkube.io/depends-on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// As it stands there.
    pub word: String,
    /// Who is meant, by position in the plan.
    pub pods: Vec<usize>,
    /// Only this container of the pod.
    pub container: Option<String>,
    /// The Deployment that would be meant.
    pub deployment: ObjectKey,
}

/// Works out the order.
pub fn plan(members: &[Member]) -> Plan {
    if !members.iter().any(Member::is_ordered) {
        return Plan::default();
    }
    let index = Index::of(members);
    let mut dependencies = index.dependencies(members);
    let circles: BTreeMap<usize, String> = (0..members.len())
        .filter(|at| !dependencies[*at].is_empty())
        .filter_map(|at| Some((at, spelled(members, &circle(&dependencies, at)?))))
        .collect();
    for at in circles.keys() {
        // It is held, so it waits for nobody.
        dependencies[*at].clear();
    }
    let urgencies = urgencies(members, &dependencies);
    let levels = levels(members, &dependencies, &urgencies, &circles);
    let waited_for: BTreeSet<usize> = dependencies.iter().flatten().copied().collect();
    let mut placed: Vec<usize> =
        (0..members.len()).filter(|at| members[*at].is_ordered() || waited_for.contains(at)).collect();
    let key = |at: usize| ObjectKey::new(members[at].namespace.as_str(), members[at].name.as_str());
    placed.sort_by_cached_key(|at| (levels[*at], members[*at].priority.is_none(), urgencies[*at], key(*at)));
    let positions: BTreeMap<usize, usize> = placed.iter().enumerate().map(|(position, at)| (*at, position)).collect();
    let need = |member: &Member, word: &String| {
        let meant = index.meant(&member.namespace, word);
        Need {
            word: word.clone(),
            pods: meant.pods.iter().filter_map(|at| positions.get(at).copied()).collect(),
            container: meant.container,
            deployment: ObjectKey::new(meant.deployment.0, meant.deployment.1),
        }
    };
    let planned = |at: &usize| {
        let member = &members[*at];
        Planned {
            key: key(*at),
            level: levels[*at],
            priority: member.priority,
            urgency: member.priority.and(urgencies[*at]),
            needs: member.depends_on.iter().map(|word| need(member, word)).collect(),
            circle: circles.get(at).cloned(),
        }
    };
    Plan { pods: placed.iter().map(planned).collect() }
}

/// For each member the smallest priority among its own and those of all that wait for it, directly or not.
fn urgencies(members: &[Member], dependencies: &[BTreeSet<usize>]) -> Vec<Option<i64>> {
    let mut found = vec![None; members.len()];
    let mut by_priority: Vec<(i64, usize)> =
        members.iter().enumerate().filter_map(|(at, member)| Some((member.priority?, at))).collect();
    by_priority.sort_unstable();
    for (priority, start) in by_priority {
        let mut next = vec![start];
        while let Some(at) = next.pop() {
            // Whoever has one has a smaller one, and so have all it waits for.
            if found[at].is_none() {
                found[at] = Some(priority);
                next.extend(&dependencies[at]);
            }
        }
    }
    found
}

/// The length of the longest chain of waiting that ends at each member. Everybody of a priority stands behind one node, so that
/// a thousand of them are not a million pairs.
fn levels(
    members: &[Member],
    dependencies: &[BTreeSet<usize>],
    urgencies: &[Option<i64>],
    circles: &BTreeMap<usize, String>,
) -> Vec<usize> {
    let explicit = |at: usize| members[at].priority.and(urgencies[at]);
    let groups: BTreeSet<i64> = (0..members.len()).filter_map(explicit).collect();
    let groups: Vec<i64> = groups.into_iter().collect();
    let (pods, nodes) = (members.len(), members.len() + groups.len());
    let mut waits: Vec<Vec<usize>> = dependencies.iter().map(|on| on.iter().copied().collect()).collect();
    waits.resize(nodes, Vec::new());
    for at in 0..pods {
        let Some(group) = explicit(at).and_then(|urgency| groups.binary_search(&urgency).ok()) else { continue };
        waits[pods + group].push(at);
        if group > 0 && !circles.contains_key(&at) {
            waits[at].push(pods + group - 1);
        }
    }
    for group in 1..groups.len() {
        waits[pods + group].push(pods + group - 1);
    }
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    for (at, on) in waits.iter().enumerate() {
        on.iter().for_each(|before| followers[*before].push(at));
    }
    let mut open: Vec<usize> = waits.iter().map(Vec::len).collect();
    let mut heights = vec![0; nodes];
    let mut ready: VecDeque<usize> = (0..nodes).filter(|at| open[*at] == 0).collect();
    while let Some(at) = ready.pop_front() {
        let below = waits[at].iter().map(|before| heights[*before]).max().unwrap_or(0);
        heights[at] = below + usize::from(at < pods);
        for follower in &followers[at] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.push_back(*follower);
            }
        }
    }
    heights.truncate(pods);
    heights
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str, priority: Option<i64>, depends_on: &[&str]) -> Member {
        Member {
            namespace: "default".into(),
            name: name.into(),
            priority,
            depends_on: depends_on.iter().map(|word| (*word).to_owned()).collect(),
            ..Member::default()
        }
    }

    fn told(plan: &Plan) -> Vec<(usize, &str)> {
        plan.pods.iter().map(|pod| (pod.level, pod.key.name.as_str())).collect()
    }

    #[test]
    fn priorities_make_levels_and_who_says_nothing_has_no_place() {
        let members = [
            member("dns", Some(11), &[]),
            member("web", None, &[]),
            member("nats", Some(5), &[]),
            member("log", Some(5), &[]),
        ];
        assert_eq!(told(&plan(&members)), [(1, "log"), (1, "nats"), (2, "dns")]);
        assert_eq!(plan(&members[1..2]), Plan::default());
    }

    #[test]
    fn dependencies_come_first_and_are_in_the_order_though_they_say_nothing() {
        let members =
            [member("a", None, &["b"]), member("b", None, &["c"]), member("c", None, &[]), member("d", None, &[])];
        let plan = plan(&members);
        assert_eq!(told(&plan), [(1, "c"), (2, "b"), (3, "a")]);
        assert!(!plan.pods[0].is_ordered() && plan.pods[1].is_ordered());
        assert_eq!(plan.pods[2].needs[0].pods, [1]);
    }

    #[test]
    fn a_pod_that_an_urgent_one_depends_on_is_as_urgent() {
        // Else dns would wait for the priority of nats, and nats for dns.
        let members = [member("nats", Some(5), &["dns"]), member("dns", Some(11), &[]), member("log", Some(7), &[])];
        let plan = plan(&members);
        assert_eq!(told(&plan), [(1, "dns"), (2, "nats"), (3, "log")]);
        assert_eq!((plan.pods[0].priority, plan.pods[0].urgency), (Some(11), Some(5)));
    }

    #[test]
    fn urgency_passes_through_a_pod_that_has_none() {
        let members = [
            member("a", Some(5), &["b"]),
            member("b", None, &["c"]),
            member("c", Some(9), &[]),
            member("d", Some(7), &[]),
        ];
        let plan = plan(&members);
        assert_eq!(told(&plan), [(1, "c"), (2, "b"), (3, "a"), (4, "d")]);
        assert_eq!(plan.pods[1].urgency, None, "whoever has no priority waits for none");
    }

    #[test]
    fn a_circle_is_spelled_and_does_not_hold_up_the_order_of_the_others() {
        let members = [
            member("a", Some(1), &["b"]),
            member("b", None, &["a"]),
            member("c", None, &["a"]),
            member("d", Some(2), &[]),
        ];
        let plan = plan(&members);
        let circle =
            |name: &str| plan.pods.iter().find(|pod| pod.key.name == name).and_then(|pod| pod.circle.as_deref());
        assert_eq!((circle("a"), circle("b"), circle("c")), (Some("a → b → a"), Some("b → a → b"), None));
        assert_eq!(told(&plan), [(1, "a"), (1, "b"), (2, "d"), (2, "c")]);
    }

    /// Members with any priorities and dependencies, circles included.
    pub(crate) fn any_members() -> impl Strategy<Value = Vec<Member>> {
        let one = (proptest::option::of(0..4_i64), proptest::collection::btree_set(0..9_usize, 0..3));
        proptest::collection::vec(one, 1..9).prop_map(|all| {
            let name = |at: usize| format!("p{at}");
            let make = |(at, (priority, on)): (usize, (Option<i64>, BTreeSet<usize>))| Member {
                namespace: "default".into(),
                name: name(at),
                priority,
                depends_on: on.into_iter().filter(|to| *to != at).map(name).collect(),
                ..Member::default()
            };
            all.into_iter().enumerate().map(make).collect()
        })
    }

    proptest! {
        #[test]
        fn whoever_is_waited_for_is_on_a_smaller_level(members in any_members()) {
            let plan = plan(&members);
            for pod in plan.pods.iter().filter(|pod| pod.circle.is_none()) {
                for other in pod.needs.iter().flat_map(|need| &need.pods) {
                    prop_assert!(plan.pods[*other].level < pod.level);
                }
                for other in &plan.pods {
                    if let (Some(smaller), Some(own)) = (other.urgency, pod.urgency) && smaller < own {
                        prop_assert!(other.level < pod.level, "{:?} {:?}", other, pod);
                    }
                }
            }
            prop_assert!(plan.pods.is_sorted_by_key(|pod| pod.level));
            let placed = plan.pods.iter().filter(|pod| pod.is_ordered()).count();
            prop_assert_eq!(placed, members.iter().filter(|member| member.is_ordered()).count());
        }
    }
}
