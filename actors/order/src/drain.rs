//! Who is stopped now, while the node is emptied. Pure.
//!
//! Last come, first gone: the largest level with a process is stopped, then the next. Inside a level no more pods of one Deployment go
//! at the same time than may be missing of it.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::objects::ObjectKey;

/// A pod, as far as stopping it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its level in the boot order; pods without a place have the largest.
    pub level: usize,
    /// The Deployment it belongs to, and how many of it may be missing.
    pub deployment: Option<(ObjectKey, usize)>,
    /// It has a process.
    pub runs: bool,
}

/// Everybody whose gate says stop now: whoever does not run, and of the largest level with a process as many as may go.
/// `stopping`: whose gate said so before.
pub fn to_stop(pods: &[Candidate], stopping: &BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
    let mut stop: BTreeSet<ObjectKey> = pods.iter().filter(|pod| !pod.runs).map(|pod| pod.key.clone()).collect();
    let Some(level) = pods.iter().filter(|pod| pod.runs).map(|pod| pod.level).max() else { return stop };
    let running = || pods.iter().filter(|pod| pod.runs);
    // Whoever was told to stop is not told otherwise.
    let mut going: BTreeMap<&ObjectKey, usize> = BTreeMap::new();
    for pod in running().filter(|pod| stopping.contains(&pod.key)) {
        stop.insert(pod.key.clone());
        if let Some((deployment, _)) = &pod.deployment {
            *going.entry(deployment).or_default() += 1;
        }
    }
    for pod in running().filter(|pod| pod.level == level && !stopping.contains(&pod.key)) {
        match &pod.deployment {
            None => drop(stop.insert(pod.key.clone())),
            Some((deployment, limit)) => {
                let going = going.entry(deployment).or_default();
                if *going < (*limit).max(1) {
                    *going += 1;
                    stop.insert(pod.key.clone());
                }
            }
        }
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn pod(name: &str, level: usize) -> Candidate {
        Candidate { key: key(name), level, deployment: None, runs: true }
    }

    fn of(deployment: &str, limit: usize, pod: Candidate) -> Candidate {
        Candidate { deployment: Some((key(deployment), limit)), ..pod }
    }

    /// Empties the node step by step: who was stopped in each.
    fn steps(mut pods: Vec<Candidate>) -> Vec<BTreeSet<ObjectKey>> {
        let (mut steps, mut stopping) = (Vec::new(), BTreeSet::new());
        while pods.iter().any(|pod| pod.runs) {
            let stop = to_stop(&pods, &stopping);
            let gone: BTreeSet<ObjectKey> =
                pods.iter().filter(|pod| pod.runs && stop.contains(&pod.key)).map(|pod| pod.key.clone()).collect();
            assert!(!gone.is_empty(), "nobody is stopped, and somebody runs");
            pods.iter_mut().filter(|pod| gone.contains(&pod.key)).for_each(|pod| pod.runs = false);
            steps.push(gone);
            stopping = stop;
        }
        steps
    }

    fn named(steps: &[BTreeSet<ObjectKey>]) -> Vec<Vec<&str>> {
        steps.iter().map(|step| step.iter().map(|key| key.name.as_str()).collect()).collect()
    }

    #[test]
    fn levels_are_stopped_from_the_last_to_the_first() {
        let all = steps(vec![pod("nats", 1), pod("dns", 2), pod("web", usize::MAX), pod("app", usize::MAX)]);
        assert_eq!(named(&all), [vec!["app", "web"], vec!["dns"], vec!["nats"]]);
    }

    #[test]
    fn of_a_deployment_so_many_are_stopped_at_a_time_as_may_be_missing() {
        let pods = ["w-0", "w-1", "w-2"].map(|name| of("w", 1, pod(name, 1)));
        let pods = pods.into_iter().chain([of("x", 0, pod("x-0", 1)), pod("z", 1)]).collect();
        assert_eq!(named(&steps(pods)), [vec!["w-0", "x-0", "z"], vec!["w-1"], vec!["w-2"]]);
    }

    #[test]
    fn a_pod_that_is_being_stopped_counts_until_it_has_no_process() {
        let pods = ["w-0", "w-1"].map(|name| of("w", 1, pod(name, 1)));
        let stopping = [key("w-0")].into();
        assert_eq!(to_stop(&pods, &stopping), [key("w-0")].into());
    }

    proptest! {
        #[test]
        fn everybody_is_stopped_and_nobody_before_who_started_later(
            all in proptest::collection::vec((0..4_usize, proptest::option::of((0..3_usize, 0..3_usize))), 0..12)
        ) {
            let pods: Vec<Candidate> = all.iter().enumerate().map(|(at, (level, deployment))| Candidate {
                deployment: deployment.map(|(number, limit)| (key(&format!("d{number}")), limit)),
                ..pod(&format!("p{at}"), *level)
            }).collect();
            let levels: BTreeMap<ObjectKey, usize> = pods.iter().map(|pod| (pod.key.clone(), pod.level)).collect();
            let steps = steps(pods);
            prop_assert_eq!(steps.iter().map(BTreeSet::len).sum::<usize>(), levels.len());
            let in_order: Vec<usize> = steps.iter().flatten().map(|key| levels[key]).collect();
            prop_assert!(in_order.is_sorted_by(|one, next| one >= next));
        }
    }
}
