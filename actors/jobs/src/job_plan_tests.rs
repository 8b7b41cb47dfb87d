//! The planner of Jobs: tables of single looks, and whole lives of Jobs in which anything may happen.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::KindId;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::job_plan::{JobStep, next_step};
use crate::sight::{JobSight, PodSight, condition};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).expect("in range")
}

fn stamp(second: i64) -> String {
    crate::sight::stamp(at(second))
}

fn kind(plural: &'static str) -> KindId {
    KindId { group: "", plural }
}

fn job(spec: Value, status: Value) -> JobSight {
    let mut object = json!({"kind": "Job", "metadata": {"name": "count", "namespace": "n", "uid": "job-uid",
        "creationTimestamp": stamp(0)}, "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6,
        "template": {"spec": {"restartPolicy": "Never"}}}, "status": status});
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    let (jobs, key) = (kind("jobs"), ObjectKey::new("n", "count"));
    JobSight::of(&StoredObject::new(jobs, key, &object, 7))
}

fn pod_object(name: &str, phase: &str, finished: Option<i64>) -> Value {
    let state = finished.map_or(json!({"running": {}}), |at| json!({"terminated": {"finishedAt": stamp(at)}}));
    json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "ownerReferences": [
            {"kind": "Job", "name": "count", "uid": "job-uid", "controller": true}]},
        "status": {"phase": phase, "containerStatuses": [{"state": state, "restartCount": 0}]}})
}

fn sight(object: &Value) -> PodSight {
    let key = ObjectKey::new("n", object["metadata"]["name"].as_str().expect("a name"));
    PodSight::of(&StoredObject::new(kind("pods"), key, object, 3)).expect("a pod of a job")
}

fn look(job: &JobSight, pods: &[Value], now: i64) -> JobStep {
    let sights: Vec<PodSight> = pods.iter().map(sight).collect();
    let sights: Vec<&PodSight> = sights.iter().collect();
    let taken = |name: &str| pods.iter().any(|pod| pod["metadata"]["name"] == name);
    next_step(job, &sights, taken, at(now))
}

fn recorded(step: JobStep) -> (Value, Vec<&'static str>) {
    match step {
        JobStep::Record(status, told) => (status, told.into_iter().map(|one| one.reason).collect()),
        other => panic!("{other:?}"),
    }
}

fn started() -> Value {
    json!({"startTime": stamp(0), "ready": 0, "terminating": 0})
}

#[test]
fn a_new_job_says_when_it_began_and_then_makes_its_pod_under_a_name_that_stays_the_same() {
    let (status, told) = recorded(look(&job(json!({}), Value::Null), &[], 0));
    assert_eq!((status, told), (started(), vec![]));
    let job = job(json!({}), started());
    let JobStep::Create(name) = look(&job, &[], 1) else { panic!("a pod") };
    assert!(name.starts_with("count-") && name.len() == "count-".len() + 5, "{name}");
    assert_eq!(look(&job, &[], 99), JobStep::Create(name.clone()), "asked again, it is the same");
    let JobStep::Refresh(status) = look(&job, &[pod_object(&name, "Running", None)], 2) else { panic!("a status") };
    assert_eq!(status["active"], 1);
}

#[test]
fn so_many_pods_at_a_time_and_so_many_in_all() {
    let spec = json!({"parallelism": 2, "completions": 3});
    let one = pod_object("a", "Running", None);
    assert!(matches!(look(&job(spec.clone(), started()), std::slice::from_ref(&one), 1), JobStep::Create(_)));
    let two = [one.clone(), pod_object("b", "Running", None)];
    assert!(matches!(look(&job(spec.clone(), started()), &two, 1), JobStep::Refresh(_)));
    // Two succeeded: one more is enough.
    let mut status = started();
    status["succeeded"] = json!(2);
    assert!(matches!(look(&job(spec.clone(), status.clone()), std::slice::from_ref(&one), 1), JobStep::Refresh(_)));
    let JobStep::Delete(key, _) = look(&job(spec, status), &two, 1) else { panic!("one too many") };
    assert!(["a", "b"].contains(&key.name.as_str()));
}

#[test]
fn what_came_of_a_pod_is_counted_once_and_with_its_uid() {
    let spec = json!({"completions": 5});
    let pods = [pod_object("a", "Succeeded", Some(5)), pod_object("b", "Failed", Some(6))];
    let (status, _) = recorded(look(&job(spec.clone(), started()), &pods, 7));
    assert_eq!((&status["succeeded"], &status["failed"]), (&json!(1), &json!(1)));
    assert_eq!(status["countedPods"], json!(["uid-a", "uid-b"]));
    assert_eq!(
        look(&job(spec.clone(), status.clone()), &pods, 7),
        JobStep::Wait(Some(at(16))),
        "a pause after the failure"
    );
    // The counts stay when the pods are gone.
    let after = look(&job(spec, status), &[], 30);
    assert!(
        matches!(after, JobStep::Record(ref status, _) if status["succeeded"] == 1 && status["countedPods"] == json!([])),
        "{after:?}"
    );
}

#[test]
fn a_pod_that_was_stopped_by_its_deletion_is_neither_success_nor_failure() {
    let mut killed = pod_object("a", "Failed", Some(20));
    killed["metadata"]["deletionTimestamp"] = json!(stamp(50));
    killed["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    assert!(
        matches!(look(&job(json!({}), started()), std::slice::from_ref(&killed), 21), JobStep::Create(_)),
        "it is replaced at once"
    );
    // It ended before anybody asked.
    killed["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = json!(stamp(19));
    let (status, _) = recorded(look(&job(json!({}), started()), &[killed], 21));
    assert_eq!(status["failed"], 1);
    // With this policy it is waited for.
    let mut ending = pod_object("a", "Running", None);
    ending["metadata"]["deletionTimestamp"] = json!(stamp(50));
    let spec = json!({"podReplacementPolicy": "Failed"});
    assert!(matches!(look(&job(spec, started()), &[ending], 21), JobStep::Refresh(_)));
}

#[test]
fn the_end_is_said_when_the_last_pod_is_done() {
    let done = pod_object("a", "Succeeded", Some(5));
    let (status, told) = recorded(look(&job(json!({}), started()), std::slice::from_ref(&done), 7));
    assert_eq!(told, ["Completed"]);
    assert_eq!(condition(&status, "Complete").map(|one| &one["reason"]), Some(&json!("CompletionsReached")));
    assert_eq!(status["completionTime"], stamp(7));
    assert_eq!(look(&job(json!({}), status.clone()), std::slice::from_ref(&done), 8), JobStep::Wait(None));
    // Somebody raised the parallelism: the other pod is stopped first.
    let more = json!({"parallelism": 2});
    let both = [done, pod_object("b", "Running", None)];
    let (status, told) = recorded(look(&job(more.clone(), started()), &both, 7));
    assert!(
        told.is_empty()
            && condition(&status, "SuccessCriteriaMet").is_some()
            && condition(&status, "Complete").is_none()
    );
    assert!(matches!(look(&job(more, status), &both, 7), JobStep::Delete(key, _) if key.name == "b"));
}

#[test]
fn pods_that_share_the_work_are_done_when_all_ended_and_one_succeeded() {
    let mut queue = job(json!({"parallelism": 3}), started());
    queue.completions = None;
    let pods = [pod_object("a", "Succeeded", Some(5)), pod_object("b", "Running", None)];
    let (status, _) = recorded(look(&queue, &pods, 6));
    assert!(condition(&status, "SuccessCriteriaMet").is_none());
    let counted = JobSight { status, ..queue.clone() };
    assert_eq!(look(&counted, &pods, 6), JobStep::Wait(None), "no further pod, and none is stopped");
    let ended = [pods[0].clone(), pod_object("b", "Succeeded", Some(8))];
    let (status, told) = recorded(look(&counted, &ended, 9));
    assert!(condition(&status, "Complete").is_some() && told == ["Completed"]);
}

#[test]
fn failures_beyond_the_limit_end_it() {
    let spec = json!({"backoffLimit": 1, "parallelism": 2, "completions": 2});
    let mut pods =
        vec![pod_object("a", "Failed", Some(1)), pod_object("b", "Failed", Some(2)), pod_object("c", "Running", None)];
    let (status, told) = recorded(look(&job(spec.clone(), started()), &pods, 3));
    assert_eq!(told, ["BackoffLimitExceeded"]);
    assert!(condition(&status, "FailureTarget").is_some() && condition(&status, "Failed").is_none());
    assert!(matches!(look(&job(spec.clone(), status.clone()), &pods, 3), JobStep::Delete(key, _) if key.name == "c"));
    pods[2]["metadata"]["deletionTimestamp"] = json!(stamp(33));
    let waits = look(&job(spec.clone(), status.clone()), &pods, 4);
    assert!(matches!(waits, JobStep::Wait(None) | JobStep::Refresh(_)), "{waits:?}");
    pods.pop();
    let (status, told) = recorded(look(&job(spec, status), &pods, 9));
    assert_eq!(condition(&status, "Failed").map(|one| &one["reason"]), Some(&json!("BackoffLimitExceeded")));
    assert!(told.is_empty(), "said once");
}

#[test]
fn restarts_of_containers_count_where_pods_live_on_after_a_failure() {
    for (limit, restarts, ends) in [(2, 1, false), (2, 2, true), (0, 0, false), (0, 1, true)] {
        let mut pod = pod_object("a", "Running", None);
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(restarts);
        let mut job = job(json!({"backoffLimit": limit}), started());
        job.restarts = true;
        let ended = matches!(look(&job, &[pod], 9), JobStep::Record(..));
        assert_eq!(ended, ends, "limit {limit}, restarts {restarts}");
    }
}

#[test]
fn a_deadline_ends_it_and_is_waited_for() {
    let spec = json!({"activeDeadlineSeconds": 60});
    let pods = [pod_object("a", "Running", None)];
    let mut status = started();
    status["active"] = json!(1);
    assert_eq!(look(&job(spec.clone(), status.clone()), &pods, 59), JobStep::Wait(Some(at(60))));
    let (failing, told) = recorded(look(&job(spec.clone(), status.clone()), &pods, 60));
    assert_eq!((told, condition(&failing, "FailureTarget").is_some()), (vec!["DeadlineExceeded"], true));
    // What was done in time is done, however late it is looked at.
    let (complete, _) = recorded(look(&job(spec, status), &[pod_object("a", "Succeeded", Some(50))], 600));
    assert!(condition(&complete, "Complete").is_some());
}

#[test]
fn pauses_double_with_each_failure_up_to_six_minutes_and_a_success_ends_them() {
    let spec = json!({"backoffLimit": 50, "completions": 9});
    let until = |pods: &[Value]| {
        let (status, _) = recorded(look(&job(spec.clone(), started()), pods, 1000));
        match look(&job(spec.clone(), status), pods, 1000) {
            JobStep::Wait(Some(until)) => until.as_second() - at(1000).as_second(),
            JobStep::Create(_) => 0,
            other => panic!("{other:?}"),
        }
    };
    let failures = |count: i64| {
        (1..=count).map(|one| pod_object(&format!("f{one}"), "Failed", Some(1000 - count + one))).collect::<Vec<_>>()
    };
    for (count, pause) in [(1, 10), (2, 20), (3, 40), (6, 320), (7, 360), (30, 360)] {
        assert_eq!(until(&failures(count)), pause, "{count}");
    }
    let mut pods = failures(3);
    pods.push(pod_object("s", "Succeeded", Some(1000)));
    assert_eq!(until(&pods), 0);
    // The clock stepped back: what lies in the future holds nobody up.
    assert_eq!(until(&[pod_object("f", "Failed", Some(9000))]), 0);
}

#[test]
fn a_suspended_job_has_no_pods_and_its_time_begins_anew() {
    let spec = json!({"suspend": true, "activeDeadlineSeconds": 5});
    let pods = [pod_object("a", "Running", None)];
    let (status, told) = recorded(look(&job(spec.clone(), started()), &pods, 100));
    assert_eq!((told, status.get("startTime")), (vec!["Suspended"], None));
    assert!(matches!(look(&job(spec.clone(), status.clone()), &pods, 100), JobStep::Delete(..)));
    assert!(matches!(look(&job(spec, status.clone()), &[], 100), JobStep::Refresh(_) | JobStep::Wait(None)));
    let (status, told) = recorded(look(&job(json!({"activeDeadlineSeconds": 5}), status), &[], 200));
    assert_eq!((told, &status["startTime"]), (vec!["Resumed"], &json!(stamp(200))));
    assert!(condition(&status, "Suspended").is_none());
}

#[test]
fn a_job_goes_when_its_time_after_the_end_is_over() {
    let status = json!({"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": stamp(100)}]});
    let spec = json!({"ttlSecondsAfterFinished": 30});
    assert_eq!(look(&job(spec.clone(), status.clone()), &[], 129), JobStep::Wait(Some(at(130))));
    assert_eq!(look(&job(spec, status.clone()), &[], 130), JobStep::Remove);
    assert_eq!(look(&job(json!({}), status), &[], 9999), JobStep::Wait(None));
}

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Turn {
    /// A pod that runs ends, well or not.
    End(usize, bool),
    /// Somebody deletes a pod.
    Delete(usize),
    /// A pod that is being deleted is gone.
    Gone,
    /// Time passes.
    Pass(i64),
    /// The clock steps.
    Step(i64),
    /// The write that was planned is done, and the actor dies before it hears of it.
    Lost,
    /// The write that was planned is not done.
    Refused,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => (0usize..4, prop::bool::weighted(0.6)).prop_map(|(pod, well)| Turn::End(pod, well)),
        1 => (0usize..8).prop_map(Turn::Delete),
        3 => Just(Turn::Gone),
        6 => (1i64..400).prop_map(Turn::Pass),
        1 => (-5000i64..5000).prop_map(Turn::Step),
        2 => Just(Turn::Lost),
        2 => Just(Turn::Refused),
    ]
}

/// A store, pods that live as they like, and a planner that is asked again and again.
struct World {
    spec: Value,
    status: Value,
    pods: BTreeMap<String, Value>,
    /// What pods came to, by uid, as somebody who sees everything counts it.
    truth: BTreeMap<String, bool>,
    created: u64,
    now: i64,
    removed: bool,
}

impl World {
    fn uid(pod: &Value) -> String {
        pod["metadata"]["uid"].as_str().expect("a uid").to_owned()
    }

    fn is_deleting(pod: &Value) -> bool {
        pod["metadata"].get("deletionTimestamp").is_some()
    }

    fn plan(&self) -> JobStep {
        let pods: Vec<Value> = self.pods.values().cloned().collect();
        look(&job(self.spec.clone(), self.status.clone()), &pods, self.now)
    }

    fn delete(&mut self, name: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(name).filter(|pod| !Self::is_deleting(pod)) {
            pod["metadata"]["deletionTimestamp"] = json!(stamp(now + 30));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        }
    }

    /// Does what is planned; false when there is nothing to do.
    fn work(&mut self) -> bool {
        match self.plan() {
            JobStep::Record(status, _) | JobStep::Refresh(status) => {
                assert_ne!(status, self.status, "nothing is written that is there already");
                self.status = status;
            }
            JobStep::Create(name) => {
                let mut pod = pod_object(&name, "Running", None);
                self.created += 1;
                pod["metadata"]["uid"] = json!(format!("{name}-{}", self.created));
                assert!(self.pods.insert(name, pod).is_none(), "a name is used twice");
            }
            JobStep::Delete(key, uid) => {
                assert_eq!(Self::uid(&self.pods[&key.name]), uid);
                assert!(!Self::is_deleting(&self.pods[&key.name]), "a pod is deleted once");
                self.delete(&key.name);
            }
            JobStep::Remove => self.removed = true,
            JobStep::Wait(_) => return false,
        }
        true
    }

    fn check(&self) {
        let number = |field: &str| self.status[field].as_u64().unwrap_or(0);
        let came_to = |well: bool| self.truth.values().filter(|one| **one == well).count() as u64;
        assert!(number("succeeded") <= came_to(true), "a success was counted twice");
        assert!(number("failed") <= came_to(false), "a failure was counted twice");
        let active =
            self.pods.values().filter(|pod| pod["status"]["phase"] == "Running" && !Self::is_deleting(pod)).count();
        assert!(active as u64 <= self.spec["parallelism"].as_u64().unwrap_or(1), "too many pods at a time");
    }

    fn take(&mut self, turn: &Turn) {
        self.now += 2;
        let running: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod["status"]["phase"] == "Running" && !Self::is_deleting(pod))
            .map(|(name, _)| name.clone())
            .collect();
        match turn {
            Turn::End(which, well) if !running.is_empty() => {
                let name = &running[which % running.len()];
                let now = self.now;
                if let Some(pod) = self.pods.get_mut(name) {
                    pod["status"]["phase"] = json!(if *well { "Succeeded" } else { "Failed" });
                    pod["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"finishedAt": stamp(now)}});
                    self.truth.insert(Self::uid(pod), *well);
                }
                self.now += 2;
            }
            Turn::Delete(which) if !self.pods.is_empty() => {
                let name = self.pods.keys().nth(which % self.pods.len()).cloned().expect("one of them");
                // Somebody deletes what ended, or what runs; never in the moment between end and count.
                while self.work() {
                    self.check();
                }
                self.delete(&name);
            }
            Turn::Gone => self.pods.retain(|_, pod| !Self::is_deleting(pod)),
            Turn::Pass(seconds) => self.now += seconds,
            Turn::Step(seconds) => self.now += seconds,
            Turn::Lost => drop(self.work()),
            Turn::Refused => drop(self.plan()),
            _ => {}
        }
        self.check();
        let mut steps = 0;
        while !matches!(turn, Turn::Refused) && self.work() {
            self.check();
            steps += 1;
            assert!(steps < 100, "it never comes to rest: {:?}", self.plan());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_counted_twice_and_the_job_comes_to_its_end(
        parallelism in 1u64..4,
        completions in 1u64..5,
        limit in 0u64..4,
        turns in prop::collection::vec(turn(), 0..80),
    ) {
        let spec = json!({"parallelism": parallelism, "completions": completions, "backoffLimit": limit});
        let (pods, truth) = (BTreeMap::new(), BTreeMap::new());
        let mut world = World { spec, status: Value::Null, pods, truth, created: 0, now: 0, removed: false };
        for turn in &turns {
            world.take(turn);
        }
        // From now on every pod succeeds.
        for _ in 0..40 {
            world.take(&Turn::Pass(400));
            world.take(&Turn::End(0, true));
            world.take(&Turn::Gone);
        }
        let complete = condition(&world.status, "Complete").is_some();
        let failed = condition(&world.status, "Failed").is_some();
        prop_assert!(complete != failed, "{:#}", world.status);
        let number = |field: &str| world.status[field].as_u64().unwrap_or(0);
        if complete {
            prop_assert!(number("succeeded") >= completions && number("failed") <= limit);
        } else {
            prop_assert!(number("failed") > limit);
        }
        prop_assert!(world.pods.values().all(|pod| pod["status"]["phase"] != "Running"));
        prop_assert!(!world.removed);
    }
}
