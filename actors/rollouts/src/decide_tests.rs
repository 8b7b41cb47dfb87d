//! The decision and what is written, on pods as they are stored: tables, and a device on which anything may fail.

use std::collections::BTreeSet;

use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::KindTable;
use mkube_model::metadata;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::actor::Rules;
use crate::annotations::{ROLLOUT, Version};
use crate::decide::{Case, Next};
use crate::patches;
use crate::pod_sight::PodSight;
use crate::proof::{Device, Limits, Observed, Verdict, judge};

const IMAGE: &str = "web:edge";

fn digest(number: u8) -> String {
    format!("sha256:{number:064x}")
}

/// A pod that follows its image; what runs is known or not.
fn pod(name: &str, running: Option<u8>) -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": name, "uid": name, "annotations": {"vkube.io/image-policy": "auto"},
        },
        "spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": IMAGE}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "c", "image": IMAGE, "ready": true, "restartCount": 0, "containerID": "routeros://1",
            "imageID": running.map(|number| format!("web@{}", digest(number))).unwrap_or_default(),
            "state": {"running": {}},
        }]},
    })
}

fn sight(pod: &Value) -> PodSight {
    let kind = KindTable::builtin().named("Pod").expect("a kind").id();
    let key = ObjectKey::new(metadata::namespace(pod), metadata::name(pod));
    PodSight::of(&StoredObject::new(kind, key, pod, 1))
}

fn noted(mut pod: Value, key: &str, text: &str) -> Value {
    pod["metadata"]["annotations"][key] = json!(text);
    pod
}

/// Names of the pods that are replaced, in order.
fn replaced(pods: &[Value], desired: u8, refused: &[u8]) -> Vec<String> {
    with_case(pods, Some(desired), refused, |case| case.to_replace().iter().map(|pod| pod.key.name.clone()).collect())
}

fn next(pods: &[Value], desired: u8) -> Next {
    with_case(pods, Some(desired), &[], |case| case.next())
}

fn with_case<R>(pods: &[Value], desired: Option<u8>, refused: &[u8], look: impl FnOnce(&Case<'_>) -> R) -> R {
    let sights: Vec<PodSight> = pods.iter().map(sight).collect();
    let refused = refused.iter().map(|number| digest(*number)).collect();
    let desired = desired.map(digest);
    look(&Case {
        image: IMAGE,
        desired: desired.as_deref(),
        pods: &sights.iter().collect::<Vec<_>>(),
        refused: &refused,
        given_up: &BTreeSet::new(),
        unsettled: &["unsettled".to_owned()].into(),
    })
}

fn apply(pod: &mut Value, patch: &Value) {
    let notes = patch["metadata"]["annotations"].as_object().expect("patches are of annotations");
    let kept = pod["metadata"]["annotations"].as_object_mut().expect("made above");
    for (key, note) in notes {
        match note {
            Value::Null => drop(kept.remove(key)),
            note => drop(kept.insert(key.clone(), note.clone())),
        }
    }
}

/// Applies what is written to a pod that looks like this.
fn change(pod: &mut Value, patch: impl FnOnce(&PodSight) -> Value) {
    let patch = patch(&sight(pod));
    apply(pod, &patch);
}

#[test]
fn each_pod_is_compared_by_what_it_runs_in_order_of_name() {
    let pods = [pod("c", Some(1)), pod("a", Some(1)), pod("b", Some(2)), pod("d", Some(3))];
    assert_eq!(replaced(&pods, 2, &[]), ["a", "c", "d"]);
    assert_eq!(replaced(&pods, 2, &[2]), [""; 0], "a digest that was refused is not tried again");
    assert_eq!(with_case(&pods, None, &[], |case| case.next()), Next::Nothing, "nobody asked the registry yet");
}

#[test]
fn a_pod_that_says_a_digest_failed_on_it_speaks_for_all() {
    let refused = format!("other:1@{},{IMAGE}@{}", digest(3), digest(2));
    let pods = [pod("a", Some(1)), noted(pod("b", Some(1)), "vkube.io/image-refused", &refused)];
    assert_eq!(replaced(&pods, 2, &[]), [""; 0]);
    assert_eq!(replaced(&pods, 3, &[]), ["a", "b"], "refused was another image's");
}

#[test]
fn what_runs_is_unknown_so_nothing_is_done_unless_somebody_asked() {
    assert_eq!(replaced(&[pod("a", None)], 2, &[]), [""; 0]);
    let wanted = |number| noted(pod("a", None), "vkube.io/image-wanted", &format!("{IMAGE}@{}", digest(number)));
    assert_eq!(replaced(&[wanted(2)], 2, &[]), ["a"]);
    assert_eq!(replaced(&[wanted(1)], 2, &[]), [""; 0], "another digest was asked for");
}

#[test]
fn pods_that_do_not_follow_are_going_or_have_done_their_work_are_left_alone() {
    let going = |field: &str, value: Value| {
        let mut pod = pod("a", Some(1));
        *pod.pointer_mut(field).expect("a field") = value;
        pod
    };
    let mut deleted = pod("a", Some(1));
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for (pod, why) in [
        (noted(pod("a", Some(1)), "vkube.io/image-policy", "manual"), "another policy"),
        (noted(pod("a", Some(1)), "vkube.io/file", "/disk1/a.tar"), "runs from a file"),
        (deleted, "is being deleted"),
        (going("/status/phase", json!("Succeeded")), "has done its work"),
        (going("/spec/containers/0/image", json!("other:1")), "another image"),
    ] {
        assert_eq!(replaced(&[pod], 2, &[]), [""; 0], "{why}");
    }
    let mut fixed = pod("a", Some(1));
    let image = format!("web@{}", digest(1));
    fixed["spec"]["containers"][0]["image"] = json!(image);
    assert_eq!(sight(&fixed).images().count(), 0, "a digest means the same for ever");
}

#[test]
fn pods_that_are_well_come_before_those_that_fail_by_themselves() {
    let mut failing = pod("a", Some(1));
    failing["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    failing["status"]["containerStatuses"][0]["ready"] = json!(false);
    assert_eq!(replaced(&[failing, pod("b", Some(1))], 2, &[]), ["b", "a"]);
}

#[test]
fn while_a_pod_is_tried_or_on_its_way_the_next_one_waits() {
    let (mut tried, other) = (pod("b", Some(1)), pod("a", Some(1)));
    let patch = patches::begin(&sight(&tried), IMAGE, &digest(2));
    assert_eq!(patch["metadata"]["resourceVersion"], "1");
    apply(&mut tried, &patch);
    let waits = Next::Await(ObjectKey::new("default", "b"));
    assert_eq!(next(&[other.clone(), tried.clone()], 2), waits);
    tried["status"]["containerStatuses"][0]["imageID"] = json!(digest(2));
    assert_eq!(next(&[other.clone(), tried.clone()], 2), waits, "it runs, and is not proven yet");
    tried["status"]["containerStatuses"][0]["imageID"] = json!(digest(1));
    let mark = sight(&tried).mark.expect("it is tried");
    change(&mut tried, |pod| patches::fail(pod, &mark));
    tried["status"]["containerStatuses"][0]["imageID"] = json!(digest(2));
    assert_eq!(next(&[other.clone(), tried.clone()], 3), waits, "it is being put back");
    tried["status"]["containerStatuses"][0]["imageID"] = json!(digest(1));
    assert_eq!(next(&[other.clone(), tried.clone()], 3), Next::Replace(ObjectKey::new("default", "a")));
    assert_eq!(next(&[other, tried], 2), Next::Nothing, "refused");
}

#[test]
fn containers_of_one_image_are_pinned_together_and_others_keep_their_pins() {
    let mut two = noted(pod("a", Some(1)), "vkube.io/image-pin", &format!("side=busy@{}", digest(9)));
    let extra = json!([
        {"name": "d", "image": IMAGE}, {"name": "side", "image": "busy"}, {"name": "there", "image": IMAGE},
    ]);
    let there = json!({"name": "there", "imageID": digest(2), "state": {"running": {}}, "ready": true});
    two["status"]["containerStatuses"].as_array_mut().expect("a list").push(there);
    two["spec"]["containers"].as_array_mut().expect("a list").extend(extra.as_array().expect("a list").clone());
    change(&mut two, |pod| patches::begin(pod, IMAGE, &digest(2)));
    let pins = sight(&two).pins;
    assert_eq!(pins["c"], Version::new(IMAGE, digest(2)));
    assert_eq!(pins["d"], Version::new(IMAGE, digest(2)));
    assert_eq!(pins["side"], Version::new("busy", digest(9)));
    assert_eq!(pins.get("there"), None, "what runs it already is not made anew");
    let mark = sight(&two).mark.expect("it is tried");
    assert_eq!((mark.from["c"].as_str(), mark.from["d"].as_str()), (digest(1).as_str(), ""));
    assert_eq!(patches::outcome(&sight(&two), &mark), patches::Outcome::SaysNothing, "one of them does not run");
}

#[test]
fn a_failed_digest_is_put_back_unless_the_pod_says_otherwise() {
    let trial = |pod: Value| {
        let mut pod = pod;
        change(&mut pod, |pod| patches::begin(pod, IMAGE, &digest(2)));
        let mark = sight(&pod).mark.expect("it is tried");
        change(&mut pod, |pod| patches::fail(pod, &mark));
        pod
    };
    let back = sight(&trial(pod("a", Some(1))));
    assert_eq!((back.pins["c"].digest.clone(), back.mark), (digest(1), None));
    assert_eq!(back.refused, [Version::new(IMAGE, digest(2))]);
    let stays = sight(&trial(noted(pod("a", Some(1)), "vkube.io/auto-rollback", "false")));
    assert_eq!(stays.pins["c"].digest, digest(2));
    assert_eq!(stays.refused, [Version::new(IMAGE, digest(2))]);
    let unknown = sight(&trial(pod("a", None)));
    assert_eq!((unknown.pins["c"].digest.clone(), unknown.refused.len()), (digest(2), 1), "nothing to go back to");
}

#[test]
fn of_the_replicas_of_one_owner_one_is_replaced_at_a_time_whoever_does_it() {
    let owned = |name: &str, observed: u64| {
        let mut pod = pod(name, Some(1));
        pod["metadata"]["generation"] = json!(1);
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": "Deployment", "name": "d", "uid": "d", "controller": true}]);
        pod["status"]["observedGeneration"] = json!(observed);
        pod
    };
    let replace = |name: &str| Next::Replace(ObjectKey::new("default", name));
    assert_eq!(next(&[owned("a", 1), owned("b", 1)], 2), replace("a"));
    assert_eq!(next(&[owned("a", 1), owned("b", 0)], 2), Next::Later, "the other gets a new template");
    assert_eq!(next(&[owned("a", 0)], 2), Next::Later);
    assert_eq!(next(&[owned("a", 1), owned("b", 0), pod("c", Some(1))], 2), replace("c"), "of another owner");
    let mut creating = owned("b", 1);
    creating["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
    assert_eq!(next(&[owned("a", 1), creating], 2), replace("b"), "the one that is down anyway");
    let mut unsettled = owned("a", 1);
    unsettled["metadata"]["ownerReferences"][0]["uid"] = json!("unsettled");
    assert_eq!(next(std::slice::from_ref(&unsettled), 2), Next::Later, "a template is coming in");
    unsettled["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    assert_eq!(next(&[unsettled], 2), replace("a"), "what is broken may be cured");
}

#[test]
fn a_redeployment_forgives_and_a_push_does_not() {
    let refused = noted(pod("a", Some(1)), "vkube.io/image-refused", &format!("{IMAGE}@{}", digest(2)));
    let version = Version::new(IMAGE, digest(2));
    let order = patches::order(&sight(&refused), &version, true).expect("something to write");
    let mut forgiven = refused.clone();
    apply(&mut forgiven, &order);
    assert_eq!(replaced(&[forgiven], 2, &[]), ["a"]);
    assert_eq!(patches::order(&sight(&refused), &version, false), None);
    let mut unknown = pod("b", None);
    change(&mut unknown, |pod| patches::order(pod, &version, false).expect("something to write"));
    assert_eq!(replaced(&[unknown.clone()], 2, &[]), ["b"]);
    assert_eq!(patches::order(&sight(&unknown), &version, false), None, "it is stored already");
}

/// What happens to the world between two looks.
#[derive(Debug, Clone)]
enum Turn {
    /// Somebody pushes this.
    Push(u8),
    /// Time passes: pods get where they are going, trials are judged.
    Pass,
    /// The actor dies: what it remembers is gone.
    Crash,
    /// Somebody asks for what the registry has.
    Redeploy,
    /// The device is away for this turn.
    DeviceAway,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        2 => (1u8..6).prop_map(Turn::Push),
        8 => Just(Turn::Pass),
        2 => Just(Turn::Crash),
        1 => Just(Turn::Redeploy),
        1 => Just(Turn::DeviceAway),
    ]
}

/// A registry, pods on a device, and an actor that may die. Odd digests above one crash.
struct World {
    pods: Vec<Value>,
    desired: u8,
    refused: BTreeSet<String>,
    /// Digests that failed on some pod, until somebody asks for them or another one works.
    failed: BTreeSet<String>,
    trial: Option<(usize, Observed)>,
    now: Instant,
}

impl World {
    fn crashes(digest_text: &str) -> bool {
        [3, 5].iter().any(|number| digest_text == digest(*number))
    }

    /// Every pod moves one step towards its pin.
    fn pods_move(&mut self) {
        for pod in &mut self.pods {
            let Some(pin) = sight(pod).pins.get("c").map(|pin| pin.digest.clone()) else { continue };
            let status = &mut pod["status"]["containerStatuses"][0];
            if status["imageID"] != pin.as_str() {
                status["imageID"] = json!(pin);
                status["ready"] = json!(false);
                status["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
            } else if status["state"]["waiting"]["reason"] == "ContainerCreating" {
                let crashes = Self::crashes(&pin);
                status["ready"] = json!(!crashes);
                status["state"] =
                    if crashes { json!({"waiting": {"reason": "CrashLoopBackOff"}}) } else { json!({"running": {}}) };
            }
        }
    }

    fn look(&mut self, device_answers: bool) {
        let limits = Limits { settle: Rules::default().settle, timeout: Rules::default().timeout };
        let tried = self.pods.iter().position(|pod| sight(pod).mark.is_some());
        if let Some(at) = tried {
            let (pod, now) = (sight(&self.pods[at]), self.now);
            let mark = pod.mark.clone().expect("found by it");
            let trial = self.trial.take().filter(|(of, _)| *of == at);
            let (_, mut seen) = trial.unwrap_or_else(|| (at, Observed::new(now, limits)));
            let device = Device { answers: device_answers, read_at: Some(now), runs: &|_| true };
            match judge(&pod, &mark, &device, &mut seen, now, limits) {
                Verdict::Open(_) => self.trial = Some((at, seen)),
                Verdict::Proven => {
                    assert!(!Self::crashes(&mark.to), "a digest that crashes is never proven");
                    apply(&mut self.pods[at], &patches::finish(&pod, &mark));
                    self.refused.clear();
                    self.failed.clear();
                }
                Verdict::Failed(_) => {
                    assert!(Self::crashes(&mark.to), "a digest that works never fails");
                    apply(&mut self.pods[at], &patches::fail(&pod, &mark));
                    self.refused.insert(mark.to.clone());
                    self.failed.insert(mark.to);
                }
                Verdict::Void => panic!("nobody else writes"),
            }
        }
        if !device_answers {
            return;
        }
        let refused: Vec<String> = self.refused.iter().cloned().collect();
        let sights: Vec<PodSight> = self.pods.iter().map(sight).collect();
        let (desired, given_up) = (digest(self.desired), BTreeSet::new());
        let case = Case {
            image: IMAGE,
            desired: Some(&desired),
            pods: &sights.iter().collect::<Vec<_>>(),
            refused: &refused.into_iter().collect(),
            given_up: &given_up,
            unsettled: &BTreeSet::new(),
        };
        if let Next::Replace(key) = case.next() {
            assert!(!self.failed.contains(&desired), "a digest that failed is not tried again");
            let at = self.pods.iter().position(|pod| sight(pod).key == key).expect("one of them");
            apply(&mut self.pods[at], &patches::begin(&sights[at], IMAGE, &desired));
        }
        let down = self.pods.iter().filter(|pod| !sight(pod).is_live(IMAGE)).count();
        assert!(down <= 1, "two pods are down");
    }

    fn take(&mut self, turn: &Turn) {
        self.now += std::time::Duration::from_secs(2);
        match turn {
            Turn::Push(number) => self.desired = *number,
            Turn::Crash => {
                self.trial = None;
                self.refused.clear();
            }
            Turn::Redeploy => {
                let version = Version::new(IMAGE, digest(self.desired));
                self.refused.remove(&version.digest);
                self.failed.remove(&version.digest);
                for pod in &mut self.pods {
                    if let Some(order) = patches::order(&sight(pod), &version, true) {
                        apply(pod, &order);
                    }
                }
            }
            Turn::Pass => self.pods_move(),
            Turn::DeviceAway => {}
        }
        self.look(!matches!(turn, Turn::DeviceAway));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_one_pod_at_most_is_down_and_what_failed_is_not_tried_again(
        count in 1usize..5,
        turns in proptest::collection::vec(turn(), 0..120),
    ) {
        let pods = (0..count).map(|number| pod(&format!("p{number}"), Some(1))).collect();
        let (refused, failed) = (BTreeSet::new(), BTreeSet::new());
        let mut world = World { pods, desired: 1, refused, failed, trial: None, now: Instant::now() };
        for turn in &turns {
            world.take(turn);
        }
        // In the end something good comes, and everybody runs it.
        world.desired = 4;
        for _ in 0..60 {
            world.take(&Turn::Pass);
        }
        for pod in &world.pods {
            prop_assert!(sight(pod).runs(IMAGE, &digest(4)) && sight(pod).is_live(IMAGE), "{pod:#}");
            prop_assert!(pod["metadata"]["annotations"][ROLLOUT].is_null(), "{pod:#}");
        }
    }
}
