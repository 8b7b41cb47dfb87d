//! The planner of CronJobs: tables of single looks, and whole lives with crashes and a clock that steps.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::{KindId, SCHEDULED_AT};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cron_plan::{CronPlan, CronStep, name_of, next_step};
use crate::sight::{CronSight, JobSight, time};

/// Seconds of 2026-01-01.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).expect("in range")
}

fn stamp(second: i64) -> String {
    crate::sight::stamp(at(second))
}

fn cron(spec: Value, status: Value) -> CronSight {
    let mut object = json!({"metadata": {"name": "tick", "namespace": "n", "uid": "cron-uid", "creationTimestamp": stamp(10)},
        "spec": {"schedule": "*/5 * * * *"}, "status": status});
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    let kind = KindId { group: "batch", plural: "cronjobs" };
    CronSight::of(&StoredObject::new(kind, ObjectKey::new("n", "tick"), &object, 7))
}

fn job_object(due: i64, end: Option<(&str, i64)>) -> Value {
    let name = name_of("tick", at(due));
    let mut job = json!({"metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"),
        "creationTimestamp": stamp(due), "annotations": {SCHEDULED_AT: stamp(due)}, "ownerReferences": [
            {"kind": "CronJob", "name": "tick", "uid": "cron-uid", "controller": true}]}, "spec": {}, "status": {}});
    if let Some((end, second)) = end {
        let condition = json!({"type": end, "status": "True", "lastTransitionTime": stamp(second)});
        job["status"] = json!({"startTime": stamp(due), "conditions": [condition]});
    }
    job
}

fn sight(object: &Value) -> JobSight {
    let key = ObjectKey::new("n", object["metadata"]["name"].as_str().expect("a name"));
    JobSight::of(&StoredObject::new(KindId { group: "batch", plural: "jobs" }, key, object, 3))
}

fn plan(cron: &CronSight, jobs: &[Value], now: i64) -> CronPlan {
    let sights: Vec<JobSight> = jobs.iter().map(sight).collect();
    next_step(cron, &sights.iter().collect::<Vec<_>>(), at(now))
}

fn look(cron: &CronSight, jobs: &[Value], now: i64) -> CronStep {
    plan(cron, jobs, now).step
}

/// The status after which there is no news, and what was told of it.
fn settled(cron: &CronSight, jobs: &[Value], now: i64) -> (CronSight, Vec<&'static str>) {
    match look(cron, jobs, now) {
        CronStep::Record(status, told) => {
            let told = told.into_iter().map(|one| one.reason).collect();
            (CronSight { status, ..cron.clone() }, told)
        }
        _ => (cron.clone(), vec![]),
    }
}

#[test]
fn a_job_is_made_when_it_is_due_and_named_after_its_minute() {
    let tick = cron(json!({}), Value::Null);
    assert_eq!(look(&tick, &[], 20), CronStep::Wait(Some(at(300))));
    assert_eq!(look(&tick, &[], 300), CronStep::Start(format!("tick-{}", at(300).as_second() / 60), at(300)));
    // Of several that were missed the latest comes, once.
    assert_eq!(look(&tick, &[], 1000), CronStep::Start(name_of("tick", at(900)), at(900)));
    assert_eq!(plan(&tick, &[], 1000).remark, None);
}

#[test]
fn a_job_that_is_there_is_not_made_again_whatever_the_status_says() {
    let tick = cron(json!({}), Value::Null);
    let jobs = [job_object(300, None)];
    let (seen, told) = settled(&tick, &jobs, 301);
    assert!(told.is_empty());
    assert_eq!(seen.status["lastScheduleTime"], stamp(300));
    assert_eq!(seen.status["active"][0]["name"], name_of("tick", at(300)));
    assert_eq!(look(&seen, &jobs, 301), CronStep::Wait(Some(at(600))));
    // The Job is gone, and the clock steps back: the time was there.
    let (gone, _) = settled(&seen, &[], 302);
    assert_eq!((gone.status.get("active"), look(&gone, &[], 300)), (None, CronStep::Wait(Some(at(600)))));
    assert_eq!(look(&gone, &[], -90_000), CronStep::Wait(Some(at(600))), "not before the next time after the last");
}

#[test]
fn the_end_of_a_job_is_seen_and_the_last_success_is_kept() {
    let (seen, _) = settled(&cron(json!({}), Value::Null), &[job_object(300, None)], 301);
    let done = [job_object(300, Some(("Complete", 320)))];
    let (after, told) = settled(&seen, &done, 321);
    assert_eq!((told, &after.status["lastSuccessfulTime"]), (vec!["SawCompletedJob"], &json!(stamp(320))));
    assert_eq!(after.status.get("active"), None);
    let (later, _) = settled(&after, &[job_object(600, Some(("Failed", 640)))], 650);
    assert_eq!(later.status["lastSuccessfulTime"], stamp(320));
}

#[test]
fn while_one_runs_the_policy_decides_about_the_next() {
    let jobs = [job_object(300, None)];
    let of = |policy: &str| settled(&cron(json!({"concurrencyPolicy": policy}), Value::Null), &jobs, 301).0;
    assert_eq!(look(&of("Allow"), &jobs, 600), CronStep::Start(name_of("tick", at(600)), at(600)));
    let forbids = plan(&of("Forbid"), &jobs, 600);
    assert_eq!(
        (forbids.step, forbids.remark.map(|(at, told)| (at, told.reason))),
        (CronStep::Wait(Some(at(900))), Some((at(600), "JobAlreadyActive")))
    );
    // It ends: what was due comes late.
    let done = [job_object(300, Some(("Complete", 620)))];
    let (after, _) = settled(&of("Forbid"), &done, 621);
    assert_eq!(look(&after, &done, 621), CronStep::Start(name_of("tick", at(600)), at(600)));
    assert!(
        matches!(look(&of("Replace"), &jobs, 600), CronStep::Delete(key, _) if key.name == name_of("tick", at(300)))
    );
    let (gone, _) = settled(&of("Replace"), &[], 600);
    assert_eq!(look(&gone, &[], 601), CronStep::Start(name_of("tick", at(600)), at(600)));
}

#[test]
fn a_job_made_by_hand_stands_in_nobodys_way() {
    let mut by_hand = job_object(300, None);
    by_hand["metadata"]["annotations"] =
        json!({SCHEDULED_AT: stamp(300), "cronjob.kubernetes.io/instantiate": "manual"});
    let tick = cron(json!({"concurrencyPolicy": "Forbid"}), Value::Null);
    assert_eq!(look(&tick, &[by_hand], 300), CronStep::Start(name_of("tick", at(300)), at(300)));
}

#[test]
fn what_is_too_late_is_not_made_up_for_and_that_is_said() {
    let tick = cron(json!({"startingDeadlineSeconds": 60}), Value::Null);
    assert_eq!(look(&tick, &[], 350), CronStep::Start(name_of("tick", at(300)), at(300)));
    let late = plan(&tick, &[], 400);
    assert_eq!(late.step, CronStep::Wait(Some(at(600))));
    assert_eq!(late.remark.map(|(about, told)| (about, told.reason)), Some((at(300), "MissSchedule")));
}

#[test]
fn after_very_many_missed_times_the_latest_comes_and_a_warning() {
    let tick = cron(json!({"schedule": "* * * * *"}), Value::Null);
    let year = 365 * 86_400;
    let plan = plan(&tick, &[], year + 30);
    assert_eq!(plan.step, CronStep::Start(name_of("tick", at(year)), at(year)));
    let (about, told) = plan.remark.expect("a warning");
    assert_eq!((about, told.reason, told.warning), (at(year), "TooManyMissedTimes", true));
}

#[test]
fn who_is_suspended_or_on_the_way_out_makes_nothing_and_tidies_up_all_the_same() {
    let old: Vec<Value> = (1..=5).map(|one| job_object(one * 300, Some(("Complete", one * 300 + 9)))).collect();
    for spec in [json!({"suspend": true}), json!({})] {
        let mut tick = cron(spec.clone(), Value::Null);
        tick.deleting = spec == json!({});
        let (tick, _) = settled(&tick, &old, 9000);
        assert!(matches!(look(&tick, &old, 9000), CronStep::Delete(key, _) if key.name == name_of("tick", at(300))));
        assert_eq!(look(&tick, &old[2..], 9000), CronStep::Wait(None));
    }
}

#[test]
fn so_many_that_ended_are_kept_each_after_its_kind() {
    let mut jobs: Vec<Value> = (1..=3).map(|one| job_object(one * 300, Some(("Complete", one * 300 + 9)))).collect();
    jobs.extend((4..=5).map(|one| job_object(one * 300, Some(("Failed", one * 300 + 9)))));
    let (tick, _) = settled(&cron(json!({"suspend": true}), Value::Null), &jobs, 9000);
    assert!(matches!(look(&tick, &jobs, 9000), CronStep::Delete(key, _) if key.name == name_of("tick", at(1200))));
    let none = json!({"suspend": true, "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 5});
    let (tick, _) = settled(&cron(none, Value::Null), &jobs, 9000);
    assert!(matches!(look(&tick, &jobs, 9000), CronStep::Delete(key, _) if key.name == name_of("tick", at(300))));
}

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Turn {
    /// Time passes.
    Pass(i64),
    /// The clock steps.
    Step(i64),
    /// A Job ends.
    End(usize, bool),
    /// Somebody suspends it, or lets it go on.
    Suspend(bool),
    /// One write is done, and the actor dies.
    Crash,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => (1i64..700).prop_map(Turn::Pass),
        2 => (-20_000i64..20_000).prop_map(Turn::Step),
        4 => (0usize..3, any::<bool>()).prop_map(|(which, well)| Turn::End(which, well)),
        1 => any::<bool>().prop_map(Turn::Suspend),
        2 => Just(Turn::Crash),
    ]
}

struct World {
    cron: CronSight,
    jobs: Vec<Value>,
    made: BTreeSet<String>,
    now: i64,
}

impl World {
    fn running(&self) -> Vec<usize> {
        let runs = |at: &usize| self.jobs[*at].pointer("/status/conditions").is_none();
        (0..self.jobs.len()).filter(runs).collect()
    }

    fn work(&mut self) -> bool {
        match look(&self.cron, &self.jobs, self.now) {
            CronStep::Record(status, _) => {
                assert_ne!(status, self.cron.status, "nothing is written that is there already");
                let (before, after) =
                    (time(&self.cron.status, "/lastScheduleTime"), time(&status, "/lastScheduleTime"));
                assert!(after >= before, "the last time never goes back");
                self.cron.status = status;
            }
            CronStep::Start(name, due) => {
                assert!(!self.cron.suspend && due <= at(self.now), "none before its time");
                assert!(self.made.insert(name), "a time is used twice");
                self.jobs.push(job_object(due.as_second() - at(0).as_second(), None));
            }
            CronStep::Delete(key, _) => self.jobs.retain(|job| job["metadata"]["name"] != key.name.as_str()),
            CronStep::Wait(_) => return false,
        }
        true
    }

    fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Pass(seconds) | Turn::Step(seconds) => self.now += seconds,
            Turn::Suspend(suspend) => self.cron.suspend = *suspend,
            Turn::End(which, well) => {
                let running = self.running();
                if let Some(which) = running.get(*which) {
                    let condition = json!({"type": if *well { "Complete" } else { "Failed" }, "status": "True",
                        "lastTransitionTime": stamp(self.now)});
                    self.jobs[*which]["status"]["conditions"] = json!([condition]);
                }
            }
            Turn::Crash => {
                self.work();
                return;
            }
        }
        let mut steps = 0;
        while self.work() {
            steps += 1;
            assert!(steps < 50, "it never comes to rest");
        }
        let running = self.running().len();
        assert!(self.cron.concurrency == crate::sight::Concurrency::Allow || running <= 1, "two run at the same time");
        assert!(self.jobs.len() <= running + 4, "more is kept than was asked for");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_time_is_used_twice_and_time_goes_on(
        policy in prop_oneof![Just("Allow"), Just("Forbid"), Just("Replace")],
        deadline in prop::option::of(1i64..600),
        turns in prop::collection::vec(turn(), 0..80),
    ) {
        let cron = cron(json!({"concurrencyPolicy": policy, "startingDeadlineSeconds": deadline}), Value::Null);
        let mut world = World { cron, jobs: vec![], made: BTreeSet::new(), now: 20 };
        for turn in &turns {
            world.take(turn);
        }
        // In the end all is quiet, and the next time comes.
        world.take(&Turn::Suspend(false));
        while !world.running().is_empty() {
            world.take(&Turn::End(0, true));
        }
        let made = world.made.len();
        let last = time(&world.cron.status, "/lastScheduleTime").map_or(0, |last| last.as_second() - at(0).as_second());
        world.now = world.now.max(last) / 300 * 300 + 300;
        world.take(&Turn::Pass(0));
        prop_assert!(world.made.len() > made);
    }
}
