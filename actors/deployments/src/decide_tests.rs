//! The planner by itself: rows of a table, and random histories in which pods work, break and vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::{Kind, KindTable};
use mkube_model::metadata;
use mkube_model::patch::merge_patch;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::case::{Case, Look};
use crate::decide::{Action, From, decide, set_of};
use crate::deployment_sight::{DeploymentSight, RolloutState, SetSight};
use crate::evict::may_go;
use crate::live::Liveness;
use crate::pod_sight::PodSight;
use crate::render;

const OVERDUE: bool = false;

fn kind(name: &str) -> Kind {
    *KindTable::builtin().named(name).expect("a kind")
}

fn stored(of: &str, value: &Value) -> StoredObject {
    StoredObject::new(kind(of).id(), ObjectKey::new("default", metadata::name(value)), value, 1)
}

/// A small world: what is stored, and how each pod is doing.
struct Model {
    deployment: Value,
    pods: BTreeMap<String, (Value, Liveness)>,
    sets: BTreeMap<String, Value>,
    cordoned: bool,
    uids: u64,
}

fn works() -> Liveness {
    Liveness { available: true, proven: true, ..Liveness::default() }
}

fn broken() -> Liveness {
    Liveness { failing: Some("CrashLoopBackOff".into()), ..Liveness::default() }
}

impl Model {
    fn new(replicas: u64, surge: Value, unavailable: Value) -> Self {
        let mut deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
            "spec": {
                "replicas": replicas,
                "strategy": {"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
            },
        });
        (kind("Deployment").default)(&mut deployment);
        let mut model = Self { deployment, pods: BTreeMap::new(), sets: BTreeMap::new(), cordoned: false, uids: 0 };
        model.edit("good-0");
        model
    }

    /// One that is through with its first template.
    fn through(replicas: u64, surge: Value, unavailable: Value) -> Self {
        let mut model = Self::new(replicas, surge, unavailable);
        model.settle();
        model
    }

    fn edit(&mut self, image: &str) {
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    }

    fn scale(&mut self, replicas: usize) {
        self.deployment["spec"]["replicas"] = json!(replicas);
    }

    fn with<R>(&self, look: impl FnOnce(&Case<'_>) -> R) -> R {
        let deployment = DeploymentSight::of(&stored("Deployment", &self.deployment));
        let pods: Vec<(PodSight, &Liveness)> =
            self.pods.values().map(|(pod, live)| (PodSight::of(&stored("Pod", pod)), live)).collect();
        let looks: Vec<Look<'_>> = pods.iter().map(|(pod, live)| Look { pod, live }).collect();
        let sets: Vec<SetSight> = self
            .sets
            .values()
            .map(|set| SetSight::of(&stored("ReplicaSet", set)).expect("it is the Deployment's").1)
            .collect();
        look(&Case::new(&deployment, &looks, sets.iter(), self.cordoned, OVERDUE))
    }

    fn decide(&self) -> Option<Action> {
        self.with(decide)
    }

    fn put_pod(&mut self, mut pod: Value) {
        self.uids += 1;
        pod["metadata"]["uid"] = json!(format!("p{}", self.uids));
        self.pods.insert(metadata::name(&pod).to_owned(), (pod, Liveness::default()));
    }

    /// Does what was decided, as the object layer would.
    fn apply(&mut self, action: &Action) {
        let merge = |object: &Value, body: &Value| merge_patch(object, body).expect("a good patch");
        match action {
            Action::MakeSet { revision } => {
                let set = self.with(|case| render::set(case, *revision));
                self.sets.insert(metadata::name(&set).to_owned(), set);
            }
            Action::NoteSet { hash, revision, state, proven, .. } => {
                let (name, body) = self.with(|case| {
                    let set = set_of(case, hash).expect("it is there");
                    let body = render::set_patch(case, set, *revision, *state, *proven).expect("it is news");
                    (set.key.name.clone(), body)
                });
                let set = merge(&self.sets[&name], &body);
                self.sets.insert(name, set);
            }
            Action::DeleteSet { hash } => drop(self.sets.remove(&format!("web-{hash}"))),
            Action::NoteRevision(revision) => {
                let body = self.with(|case| render::revision_note(case.deployment, *revision));
                self.deployment = merge(&self.deployment, &body);
                self.deployment["metadata"]["uid"] = json!("d");
            }
            Action::RollBack { to } => {
                let template = self.with(|case| set_of(case, to).expect("it is there").template.clone());
                self.deployment["spec"]["template"] = template;
            }
            Action::Adopt { pod } => {
                let body = self.with(|case| render::adoption(case.deployment, 1, "x"));
                let (value, live) = self.pods[pod].clone();
                let mut adopted = merge(&value, &body);
                adopted["metadata"]["uid"] = value["metadata"]["uid"].clone();
                self.pods.insert(pod.clone(), (adopted, live));
            }
            Action::Create { index, from } => {
                assert!(!self.pods.contains_key(&format!("web-{index}")), "a name is given once");
                let pod = self.with(|case| render::pod(case, *index, from));
                self.put_pod(pod);
            }
            Action::Replace { index } => {
                let pod = self.with(|case| render::pod(case, *index, &From::Present));
                self.put_pod(pod);
            }
            Action::Delete { pod } => drop(self.pods.remove(pod).expect("it is there")),
        }
    }

    /// Pods of good images work after a while, those of bad ones never do.
    fn time_passes(&mut self) {
        for (pod, live) in self.pods.values_mut() {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            *live = if image.starts_with("bad") { broken() } else { works() };
        }
    }

    /// Until nothing more is done; what was done.
    fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        for _ in 0..400 {
            match self.decide() {
                Some(action) => {
                    self.check(&action);
                    self.apply(&action);
                    done.push(action);
                }
                None => {
                    let before: Vec<Liveness> = self.pods.values().map(|(_, live)| live.clone()).collect();
                    self.time_passes();
                    if before == self.pods.values().map(|(_, live)| live.clone()).collect::<Vec<_>>() {
                        return done;
                    }
                }
            }
        }
        panic!("it never ends: {done:#?}");
    }

    /// What must hold of every step.
    fn check(&self, action: &Action) {
        self.with(|case| {
            let Action::Replace { index } = action else { return };
            let member = case.member(*index).expect("it is there");
            assert!(!member.current, "what is of the template is not replaced");
            let after = case.available() - usize::from(member.live.available);
            assert!(!member.live.available || after >= case.deployment.least(), "too few would be left: {action:?}");
            assert!(case.staying().all(|one| !one.current || one.live.proven), "one at a time: {action:?}");
        });
    }

    fn names(&self) -> Vec<&str> {
        self.pods.keys().map(String::as_str).collect()
    }

    fn image(&self, pod: &str) -> &str {
        self.pods[pod].0["spec"]["containers"][0]["image"].as_str().expect("text")
    }

    fn state(&self) -> RolloutState {
        self.with(|case| case.state())
    }
}

fn pods_only(actions: &[Action]) -> Vec<String> {
    let words = |action: &Action| match action {
        Action::Create { index, from: From::Present } => Some(format!("create {index}")),
        Action::Create { index, .. } => Some(format!("restore {index}")),
        Action::Replace { index } => Some(format!("replace {index}")),
        Action::Delete { pod } => Some(format!("delete {pod}")),
        Action::RollBack { .. } => Some("roll back".to_owned()),
        _ => None,
    };
    actions.iter().filter_map(words).collect()
}

#[test]
fn each_strategy_has_its_order() {
    for (replicas, surge, unavailable, expected) in [
        (3, json!(0), json!(1), vec!["replace 0", "replace 1", "replace 2"]),
        (1, json!("25%"), json!("25%"), vec!["create 1", "replace 0", "delete web-1"]),
        (2, json!(1), json!(0), vec!["create 2", "replace 0", "replace 1", "delete web-2"]),
        (2, json!(0), json!("25%"), vec!["replace 0", "replace 1"]),
    ] {
        let mut model = Model::through(replicas, surge.clone(), unavailable.clone());
        model.edit("good-1");
        assert_eq!(pods_only(&model.settle()), expected, "{replicas} {surge} {unavailable}");
        assert_eq!(model.state(), RolloutState::Complete);
    }
    let mut model = Model::through(2, json!(1), json!(1));
    model.deployment["spec"]["strategy"] = json!({"type": "Recreate"});
    model.edit("good-1");
    assert_eq!(pods_only(&model.settle()), ["delete web-0", "delete web-1", "create 0", "create 1"]);
}

#[test]
fn pods_that_a_failed_recreation_took_come_back_all_of_them() {
    let mut model = Model::through(3, json!(1), json!(1));
    model.deployment["spec"]["strategy"] = json!({"type": "Recreate"});
    model.edit("good-1");
    while !model.names().is_empty() {
        let action = model.decide().expect("old ones go");
        model.apply(&action);
    }
    let (hash, revision) = model.with(|case| (case.deployment.hash.clone(), case.set().expect("a record").revision));
    let failure = Some("no progress for 600 s".to_owned());
    model.apply(&Action::NoteSet { hash, revision, state: RolloutState::Failed, proven: false, failure });
    assert_eq!(pods_only(&model.settle()), ["restore 0", "restore 1", "restore 2"]);
}

#[test]
fn the_highest_number_goes_first_and_numbers_are_not_text() {
    let mut model = Model::through(11, json!(0), json!(1));
    model.scale(8);
    assert_eq!(pods_only(&model.settle()), ["delete web-10", "delete web-9", "delete web-8"]);
    model.scale(0);
    model.settle();
    assert_eq!(model.names(), [""; 0]);
}

#[test]
fn what_is_broken_is_replaced_first() {
    let mut model = Model::through(3, json!(0), json!(1));
    model.edit("good-1");
    while !matches!(model.decide(), Some(Action::Replace { .. })) {
        let action = model.decide().expect("the record comes first");
        model.apply(&action);
    }
    model.pods.get_mut("web-2").expect("it").1 = broken();
    assert_eq!(model.decide(), Some(Action::Replace { index: 2 }));
    model.pods.get_mut("web-2").expect("it").1 = works();
    model.pods.get_mut("web-1").expect("it").1.proven = false;
    assert_eq!(model.decide(), Some(Action::Replace { index: 1 }), "before those that were proven");
    let now = Instant::now();
    for (pod, ago) in [("web-0", 3), ("web-1", 2), ("web-2", 1)] {
        let live = &mut model.pods.get_mut(pod).expect("it").1;
        (live.proven, live.since) = (false, now.checked_sub(Duration::from_secs(ago)));
    }
    assert_eq!(model.decide(), Some(Action::Replace { index: 2 }), "who is ready for longer is more likely to last");
    model.pods.values_mut().for_each(|(_, live)| live.available = false);
    model.pods.get_mut("web-1").expect("it").1.since = None;
    assert_eq!(model.decide(), Some(Action::Replace { index: 1 }), "it is not even ready");
}

#[test]
fn nobody_is_taken_for_a_pod_that_is_down_before_its_status_tells() {
    let mut model = Model::through(3, json!(0), json!(1));
    model.edit("good-1");
    while !matches!(model.decide(), Some(Action::Replace { .. })) {
        let action = model.decide().expect("the record comes first");
        model.apply(&action);
    }
    assert!(model.with(|case| may_go(case, "web-0", &BTreeSet::new())));
    model.pods.get_mut("web-2").expect("it").1.down = true;
    assert_eq!(model.decide(), None);
    assert!(!model.with(|case| may_go(case, "web-0", &BTreeSet::new())));
}

#[test]
fn a_bad_version_gets_one_pod_and_a_lost_pod_is_not_its_second() {
    let mut model = Model::through(3, json!(0), json!(1));
    model.edit("bad-1");
    assert_eq!(pods_only(&model.settle()), ["replace 0"]);
    assert_eq!(model.state(), RolloutState::Failed);
    model.pods.remove("web-1");
    assert_eq!(pods_only(&model.settle()), ["restore 1"]);
    assert_eq!(model.image("web-1"), "good-0");
    model.scale(4);
    assert_eq!(pods_only(&model.settle()), ["restore 3"]);
    model.edit("good-1");
    assert_eq!(pods_only(&model.settle()), ["replace 0", "replace 1", "replace 2", "replace 3"]);
}

#[test]
fn what_failed_is_put_back_to_the_last_version_that_worked_and_only_where_it_is_wanted() {
    let mut model = Model::through(2, json!(0), json!(1));
    model.deployment["metadata"]["annotations"]["vkube.io/auto-rollback"] = json!("true");
    model.edit("bad-1");
    assert_eq!(pods_only(&model.settle()), ["replace 0", "roll back", "replace 0"]);
    assert_eq!((model.image("web-0"), model.state()), ("good-0", RolloutState::Complete));
    assert_eq!(pods_only(&model.settle()), [""; 0], "it is not tried again");
    // A first version has nothing to go back to.
    let mut first = Model::new(1, json!(0), json!(1));
    first.deployment["metadata"]["annotations"]["vkube.io/auto-rollback"] = json!("true");
    first.edit("bad-1");
    assert_eq!(pods_only(&first.settle()), ["create 0"]);
}

#[test]
fn a_deployment_that_is_going_is_left_to_those_who_collect() {
    let mut model = Model::through(2, json!(0), json!(1));
    model.deployment["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    model.scale(0);
    assert_eq!(model.decide(), None);
}

#[test]
fn a_cordoned_node_gets_no_new_pods() {
    let mut model = Model::through(2, json!(0), json!(1));
    model.cordoned = true;
    model.pods.remove("web-0");
    model.edit("good-1");
    assert_eq!(pods_only(&model.settle()), [""; 0]);
    model.cordoned = false;
    assert_eq!(pods_only(&model.settle()), ["restore 0", "replace 0", "replace 1"]);
}

#[test]
fn pods_that_follow_their_image_keep_what_was_proven_and_refused() {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let mut model = Model::new(2, json!(0), json!(1));
    model.deployment["spec"]["template"]["metadata"]["annotations"] = json!({"vkube.io/image-policy": "auto"});
    model.settle();
    let pin = format!("c=good-0@{}", digest("a"));
    let refused = format!("good-0@{}", digest("b"));
    let notes = &mut model.pods.get_mut("web-0").expect("it").0["metadata"]["annotations"];
    notes["vkube.io/image-pin"] = json!(pin);
    notes["vkube.io/image-refused"] = json!(refused);
    model.settle();
    let set = model.sets.values().next().expect("one")["metadata"]["annotations"].clone();
    assert_eq!((&set["vkube.io/image-pin"], &set["vkube.io/image-refused"]), (&json!(pin), &json!(refused)));
    // From a sibling, from the record, and from the predecessor; not for another image.
    for lost in [vec!["web-1"], vec!["web-0", "web-1"]] {
        for name in lost {
            model.pods.remove(name);
        }
        model.settle();
        let notes = &model.pods["web-1"].0["metadata"]["annotations"];
        assert_eq!((&notes["vkube.io/image-pin"], &notes["vkube.io/image-refused"]), (&json!(pin), &json!(refused)));
    }
    model.deployment["spec"]["template"]["metadata"]["annotations"]["restarted"] = json!("now");
    model.settle();
    assert_eq!(model.pods["web-0"].0["metadata"]["annotations"]["vkube.io/image-pin"], pin);
    model.edit("good-1");
    model.settle();
    assert_eq!(model.pods["web-0"].0["metadata"]["annotations"]["vkube.io/image-pin"], Value::Null);
}

#[test]
fn while_a_digest_is_tried_on_a_pod_no_other_is_replaced() {
    let mut model = Model::through(2, json!(0), json!(1));
    model.pods.get_mut("web-1").expect("it").0["metadata"]["annotations"]["vkube.io/image-rollout"] = json!("{}");
    model.edit("good-1");
    assert_eq!(pods_only(&model.settle()), [""; 0]);
}

#[test]
fn a_pod_may_go_while_it_can_be_spared() {
    let model = Model::through(3, json!(1), json!(0));
    assert!(model.with(|case| may_go(case, "web-0", &BTreeSet::new())), "when all are there one may go");
    let mut less = Model::through(3, json!(1), json!(0));
    less.pods.get_mut("web-1").expect("it").1 = broken();
    assert!(!less.with(|case| may_go(case, "web-0", &BTreeSet::new())));
    assert!(less.with(|case| may_go(case, "web-1", &BTreeSet::new())), "nothing is lost with it");
}

#[test]
fn from_a_closed_node_so_many_go_at_the_same_time_as_may_be_missing() {
    let mut model = Model::through(3, json!(0), json!(1));
    model.cordoned = true;
    model.pods.remove("web-0");
    assert!(model.with(|case| may_go(case, "web-1", &BTreeSet::new())), "what is gone does not come back");
    let asked = BTreeSet::from([ObjectKey::new("default", "web-2")]);
    assert!(!model.with(|case| may_go(case, "web-1", &asked)), "another one is about to go");
    model.pods.get_mut("web-2").expect("it").0["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(!model.with(|case| may_go(case, "web-1", &BTreeSet::new())), "another one goes");
}

#[test]
fn a_pod_somebody_works_on_is_replaced_last_and_only_when_it_is_given_back() {
    let mut model = Model::through(2, json!(0), json!(1));
    let pause = |on: Value| json!({"metadata": {"annotations": {"vkube.io/paused": on}}});
    let web = &mut model.pods.get_mut("web-0").expect("it").0;
    *web = merge_patch(web, &pause(json!("true"))).expect("a patch");
    model.edit("good-1");
    assert_eq!(pods_only(&model.settle()), ["replace 1"]);
    assert!(model.with(|case| case.waits_for_paused()));
    let web = &mut model.pods.get_mut("web-0").expect("it").0;
    *web = merge_patch(web, &pause(Value::Null)).expect("a patch");
    assert!(!model.with(|case| case.waits_for_paused()));
    assert_eq!(pods_only(&model.settle()), ["replace 0"]);
}

/// What happens to a Deployment.
#[derive(Debug, Clone)]
enum Event {
    Edit { good: bool, number: u8 },
    Scale(usize),
    Lose(usize),
    Break(usize),
    Pause(bool),
    Steps(usize),
    Time,
}

fn events() -> impl proptest::strategy::Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (any::<bool>(), 0..3u8).prop_map(|(good, number)| Event::Edit { good, number }),
        (0..5usize).prop_map(Event::Scale),
        (0..6usize).prop_map(Event::Lose),
        (0..6usize).prop_map(Event::Break),
        any::<bool>().prop_map(Event::Pause),
        (1..8usize).prop_map(Event::Steps),
        Just(Event::Time),
    ];
    prop::collection::vec(event, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_enough_pods_stay_and_in_the_end_all_are_there(
        replicas in 0..5u64, surge in 0..2u64, unavailable in 0..3u64, back in any::<bool>(), events in events(),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let mut model = Model::new(replicas, json!(surge), json!(unavailable));
        if back {
            model.deployment["metadata"]["annotations"]["vkube.io/auto-rollback"] = json!("true");
        }
        for event in events {
            let nth = |model: &Model, number: usize| model.pods.keys().nth(number).cloned();
            match event {
                Event::Edit { good, number } => model.edit(&format!("{}-{number}", if good { "good" } else { "bad" })),
                Event::Scale(replicas) => model.scale(replicas),
                Event::Lose(number) => drop(nth(&model, number).and_then(|name| model.pods.remove(&name))),
                Event::Break(number) => {
                    if let Some((_, live)) = nth(&model, number).and_then(|name| model.pods.get_mut(&name)) {
                        *live = broken();
                    }
                }
                Event::Pause(paused) => model.deployment["spec"]["paused"] = json!(paused),
                Event::Steps(steps) => {
                    for _ in 0..steps {
                        let Some(action) = model.decide() else { break };
                        model.check(&action);
                        model.apply(&action);
                    }
                }
                Event::Time => model.time_passes(),
            }
        }
        model.deployment["spec"]["paused"] = json!(false);
        model.edit("good-9");
        model.settle();
        let wanted = model.deployment["spec"]["replicas"].as_u64().expect("a number");
        let names: Vec<String> = (0..wanted).map(|number| format!("web-{number}")).collect();
        prop_assert_eq!(model.names(), names.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert!(names.iter().all(|name| model.image(name) == "good-9"));
        prop_assert!(wanted == 0 || model.state() == RolloutState::Complete);
    }
}
