//! Jobs and CronJobs, from the object to the containers, with a clock that can be set.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mkube_messages::objects::Verb;
use mkube_model::metadata;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World};

/// A Job whose containers do this.
fn job(name: &str, restart: &str, command: &[&str], spec: Value) -> Value {
    let container = json!({"name": "c", "image": "web:1", "command": command[..1], "args": command[1..]});
    let mut body = json!({"metadata": {"name": name}, "spec": {
        "template": {"spec": {"restartPolicy": restart, "containers": [container]}}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    body
}

fn cron_job(name: &str, schedule: &str, command: &[&str], spec: Value) -> Value {
    let job = job("", "Never", command, json!({}));
    let mut body = json!({"metadata": {"name": name}, "spec": {
        "schedule": schedule, "jobTemplate": {"spec": job["spec"]}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    body
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(metadata::name).collect()
}

fn has(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == condition && one["status"] == "True")
}

fn status(world: &World, name: &str) -> Value {
    world.get("Job", name).map(|job| job["status"].clone()).unwrap_or_default()
}

async fn until_has(world: &World, name: &str, condition: &str) -> Value {
    let what = format!("job {name} is {condition}");
    world.until(&what, |world| world.get("Job", name).is_some_and(|job| has(&job, condition))).await;
    world.get("Job", name).expect("it was there")
}

fn phases(world: &World) -> Vec<String> {
    let phase = |pod: &Value| pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
    world.list("Pod").iter().map(phase).collect()
}

#[actix::test]
async fn a_job_runs_so_many_pods_so_many_at_a_time_and_keeps_them_when_it_is_complete() {
    let world = World::new().await;
    let spec = json!({"parallelism": 2, "completions": 5});
    world.create("Job", job("count", "Never", &["sleep", "20", "exit", "0"], spec)).await;
    let most = async {
        let mut most = 0;
        while !world.get("Job", "count").is_some_and(|job| has(&job, "Complete")) {
            most = most.max(phases(&world).iter().filter(|phase| *phase == "Running").count());
            sleep(Duration::from_millis(100)).await;
        }
        most
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(600), most).await.expect("it ends"), 2);
    let done = world.get("Job", "count").expect("it stays");
    assert_eq!((&done["status"]["succeeded"], done["status"].get("failed")), (&json!(5), None));
    assert!(done["status"]["completionTime"].is_string() && done["status"].get("active").is_none(), "{done:#}");
    let pods = world.list("Pod");
    assert_eq!(phases(&world), ["Succeeded"; 5], "they are kept for their logs");
    for pod in &pods {
        let name = metadata::name(pod);
        assert!(name.starts_with("count-") && name.len() == 11, "{name}");
        assert_eq!(pod["metadata"]["labels"]["job-name"], "count");
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Job"), &done["metadata"]["uid"]));
        assert_eq!((&owner["controller"], &owner["blockOwnerDeletion"]), (&json!(true), &json!(true)));
    }
    world.until("it is told", |world| !world.events("Completed").is_empty()).await;
    assert_eq!(world.events("SuccessfulCreate").len(), 5);
    // What was counted stays counted when its pod is gone.
    world.delete("Pod", metadata::name(&pods[0])).await;
    world.until_gone(metadata::name(&pods[0])).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((world.list("Pod").len(), &status(&world, "count")["succeeded"]), (4, &json!(5)));
}

#[actix::test]
async fn a_job_that_fails_is_tried_again_after_growing_pauses_and_given_up() {
    let world = World::new().await;
    world.create("Job", job("bad", "Never", &["exit", "3"], json!({"backoffLimit": 2}))).await;
    let failed = until_has(&world, "bad", "Failed").await;
    assert_eq!(failed["status"]["failed"], 3);
    let conditions = failed["status"]["conditions"].as_array().cloned().unwrap_or_default();
    assert!(conditions.iter().all(|one| one["reason"] == "BackoffLimitExceeded"), "{conditions:?}");
    assert_eq!(phases(&world), ["Failed"; 3]);
    let starts: Vec<Instant> = world
        .device
        .calls()
        .iter()
        .filter(|call| call.operation == "POST /container/start")
        .map(|call| call.at)
        .collect();
    let pauses: Vec<u64> = starts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    assert!(pauses.len() == 2 && (9..14).contains(&pauses[0]) && (19..24).contains(&pauses[1]), "{pauses:?}");
    world.until("it is told", |world| !world.events("BackoffLimitExceeded").is_empty()).await;
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(world.list("Pod").len(), 3, "nothing more is tried");
}

#[actix::test]
async fn where_containers_are_started_again_their_restarts_count() {
    let world = World::new().await;
    world.create("Job", job("again", "OnFailure", &["exit", "3"], json!({"backoffLimit": 3}))).await;
    let failed = until_has(&world, "again", "Failed").await;
    assert_eq!(failed["status"]["conditions"][0]["reason"], "BackoffLimitExceeded");
    world.until("its pod is gone", |world| world.list("Pod").is_empty()).await;
    let good = job("good", "OnFailure", &["exit", "0"], json!({}));
    world.create("Job", good).await;
    until_has(&world, "good", "Complete").await;
    assert_eq!(world.list("Pod").len(), 1);
}

#[actix::test]
async fn a_job_that_takes_too_long_is_stopped_and_one_that_is_over_goes_after_its_time() {
    let world = World::new().await;
    let spec = json!({"activeDeadlineSeconds": 40, "ttlSecondsAfterFinished": 100});
    world.create("Job", job("slow", "Never", &["sleep", "1000"], spec)).await;
    let failed = until_has(&world, "slow", "Failed").await;
    assert!(failed["status"]["conditions"].as_array().is_some_and(|all| all[0]["reason"] == "DeadlineExceeded"));
    assert_eq!((world.list("Pod").len(), failed["status"].get("failed")), (0, None), "stopped is not failed");
    sleep(Duration::from_secs(90)).await;
    assert!(world.get("Job", "slow").is_some());
    world.until("it is gone", |world| world.get("Job", "slow").is_none()).await;
}

#[actix::test]
async fn a_suspended_job_stops_and_goes_on() {
    let world = World::new().await;
    world.create("Job", job("pause", "Never", &["sleep", "30", "exit", "0"], json!({"suspend": true}))).await;
    until_has(&world, "pause", "Suspended").await;
    assert_eq!((world.list("Pod").len(), status(&world, "pause").get("startTime")), (0, None));
    world.patch("Job", "pause", json!({"spec": {"suspend": false}})).await;
    world.until("its pod runs", |world| phases(world) == ["Running"]).await;
    world.patch("Job", "pause", json!({"spec": {"suspend": true}})).await;
    world.until("its pod is gone", |world| world.list("Pod").is_empty()).await;
    world.patch("Job", "pause", json!({"spec": {"suspend": false}})).await;
    let done = until_has(&world, "pause", "Complete").await;
    assert_eq!((&done["status"]["succeeded"], done["status"].get("failed")), (&json!(1), None));
}

#[actix::test]
async fn a_pod_that_somebody_deletes_is_replaced_and_no_failure() {
    let world = World::new().await;
    world.create("Job", job("work", "Never", &["sleep", "60", "exit", "0"], json!({"backoffLimit": 0}))).await;
    world.until("its pod runs", |world| phases(world) == ["Running"]).await;
    let first = metadata::name(&world.list("Pod")[0]).to_owned();
    world.delete("Pod", &first).await;
    let done = until_has(&world, "work", "Complete").await;
    assert_eq!((&done["status"]["succeeded"], done["status"].get("failed")), (&json!(1), None));
    assert_ne!(names(&world.list("Pod")), [first.as_str()]);
}

#[actix::test]
async fn what_is_wrong_with_a_job_is_refused_under_its_field_and_changes_nothing() {
    let world = World::new().await;
    world.create("Job", job("good", "Never", &["exit", "0"], json!({}))).await;
    until_has(&world, "good", "Complete").await;
    let fields = |refused: mkube_model::status::Status| -> Vec<String> {
        assert_eq!(refused.code, 422, "{refused}");
        let causes = refused.details["causes"].as_array().cloned().unwrap_or_default();
        causes.iter().map(|cause| cause["field"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let always = job("bad", "Always", &["exit", "0"], json!({}));
    let refused = world.write("Job", "", Verb::Create { body: always }).await.expect_err("refused");
    assert_eq!(fields(refused), ["spec.template.spec.restartPolicy"]);
    let late = cron_job("bad", "61 * * * *", &["exit", "0"], json!({"timeZone": "Mars/Olympus"}));
    let refused = world.write("CronJob", "", Verb::Create { body: late }).await.expect_err("refused");
    assert_eq!(fields(refused), ["spec.timeZone"]);
    let bad = cron_job("bad", "61 * * * *", &["exit", "0"], json!({}));
    let refused = world.write("CronJob", "", Verb::Create { body: bad }).await.expect_err("refused");
    assert_eq!(fields(refused), ["spec.schedule"]);
    let mut other = world.get("Job", "good").expect("it is there");
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    let refused = world.write("Job", "good", Verb::Update { body: other }).await.expect_err("refused");
    assert_eq!(fields(refused), ["spec.template"]);
    assert_eq!((names(&world.list("Job")), world.list("CronJob").len()), (vec!["good"], 0));
}

/// Runs a Job of two pods, with a death at one crossing; what it ended in, the crossings, and how many died.
async fn run(death: Option<(&'static str, usize)>) -> (Value, Vec<String>, usize) {
    let around = Surroundings::another();
    let crossings = around.crossings.clone();
    let world = World::over(around).await;
    let killed = Arc::new(AtomicUsize::new(0));
    if let Some((actor, number)) = death {
        let (tree, killed) = (world.tree.clone(), killed.clone());
        let kill = async move {
            killed.store(usize::from(tree.crash(actor, CrashHow::Panic).await.is_ok()), Ordering::SeqCst);
        };
        crossings.at(number, move || Box::pin(kill));
    }
    crossings.start();
    world.create("Job", job("two", "Never", &["exit", "0"], json!({"completions": 2}))).await;
    until_has(&world, "two", "Complete").await;
    crossings.stop();
    assert!(crossings.done(), "the crossing was never reached");
    sleep(Duration::from_secs(25)).await;
    let status = status(&world, "two");
    let mut conditions: Vec<&Value> =
        status["conditions"].as_array().into_iter().flatten().map(|one| &one["type"]).collect();
    conditions.sort_by_key(|one| one.to_string());
    let starts = world.device.count("POST /container/add");
    let end = json!([status["succeeded"], status.get("failed"), conditions, phases(&world), starts]);
    world.stop().await;
    (end, crossings.names(), killed.load(Ordering::SeqCst))
}

/// Deaths on request are not worth a trace each.
fn die_quietly() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"crashed on request") {
            loud(panic);
        }
    }));
}

#[actix::test]
async fn whoever_dies_at_whatever_moment_a_job_runs_its_pods_once() {
    die_quietly();
    tokio::time::pause();
    let (expected, crossings, _) = run(None).await;
    assert_eq!(expected[0], 2, "{expected}");
    assert!(crossings.iter().filter(|name| name.contains("of a job")).count() >= 8, "{crossings:?}");
    let mut deaths = 0;
    for actor in ["mkube/deciders/jobs", "mkube/objects", "mkube/store"] {
        for (number, crossing) in crossings.iter().enumerate() {
            let (end, _, killed) = run(Some((actor, number))).await;
            assert_eq!(end, expected, "{actor} died at crossing {number}, {crossing}");
            deaths += killed;
        }
    }
    assert_eq!(deaths, 3 * crossings.len());
}

/// `name-<minute of the time of day>`, so many minutes after midnight of 2026-01-01.
fn due(name: &str, minute: i64) -> String {
    let midnight: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a literal");
    format!("{name}-{}", midnight.as_second() / 60 + minute)
}

#[actix::test]
async fn a_cron_job_makes_a_job_each_time_and_keeps_some() {
    let world = World::new().await;
    world.create("CronJob", cron_job("tick", "*/2 * * * *", &["exit", "0"], json!({}))).await;
    let expected: Vec<String> = (1..=5).map(|one| due("tick", one * 2)).collect();
    let last = expected.last().expect("five");
    world.until("the fifth is there", |world| world.get("Job", last).is_some()).await;
    until_has(&world, last, "Complete").await;
    world.until("so many are kept", |world| names(&world.list("Job")) == expected[2..]).await;
    world
        .until("it is told", |world| {
            let cron = world.get("CronJob", "tick").unwrap_or_default();
            cron["status"]["lastScheduleTime"] == "2026-01-01T00:10:00Z"
                && cron["status"]["lastSuccessfulTime"].as_str() >= Some("2026-01-01T00:10:00Z")
                && cron["status"].get("active").is_none()
        })
        .await;
    let job = &world.list("Job")[0];
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    assert_eq!(
        job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-01-01T00:06:00Z"
    );
    assert!(!world.events("SawCompletedJob").is_empty());
    world.patch("CronJob", "tick", json!({"spec": {"suspend": true}})).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(names(&world.list("Job")), expected[2..]);
}

#[actix::test]
async fn a_clock_that_steps_makes_no_job_twice_and_the_latest_that_was_missed_once() {
    let world = World::new().await;
    world
        .create("CronJob", cron_job("tick", "0 * * * *", &["exit", "0"], json!({"successfulJobsHistoryLimit": 9})))
        .await;
    world.around.clock.step(3600);
    until_has(&world, &due("tick", 60), "Complete").await;
    // Back to before it: the hour comes again, and nothing more is made.
    world.around.clock.step(-1800);
    sleep(Duration::from_secs(3000)).await;
    assert_eq!(names(&world.list("Job")), [due("tick", 60)]);
    // A day forwards: of the hours that were missed the latest comes.
    world.around.clock.step(86_400);
    until_has(&world, &due("tick", 25 * 60), "Complete").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(names(&world.list("Job")), [due("tick", 60), due("tick", 25 * 60)]);
    // mkube was away for the next one.
    let around = world.stop().await;
    around.clock.step(3600);
    let world = World::over(around).await;
    until_has(&world, &due("tick", 26 * 60), "Complete").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.list("Job").len(), 3);
}

#[actix::test]
async fn while_a_job_runs_the_next_one_waits_or_takes_its_place() {
    let world = World::new().await;
    let of = |name: &str, policy: &str| {
        cron_job(name, "* * * * *", &["sleep", "90", "exit", "0"], json!({"concurrencyPolicy": policy}))
    };
    world.create("CronJob", of("waits", "Forbid")).await;
    world.until("the first runs", |world| world.get("Job", &due("waits", 1)).is_some()).await;
    world.until("it is told", |world| !world.events("JobAlreadyActive").is_empty()).await;
    assert_eq!(world.list("Job").len(), 1);
    world.until("the second begins late", |world| world.get("Job", &due("waits", 2)).is_some()).await;
    assert!(has(&world.get("Job", &due("waits", 1)).expect("kept"), "Complete"));
    world.delete("CronJob", "waits").await;

    world.create("CronJob", of("takes", "Replace")).await;
    let jobs = |world: &World| -> Vec<String> {
        let jobs = world.list("Job");
        names(&jobs).into_iter().filter(|name| name.starts_with("takes")).map(str::to_owned).collect()
    };
    world.until("there is one", |world| jobs(world).len() == 1).await;
    let first = jobs(&world);
    world.until("another took its place", |world| jobs(world).len() == 1 && jobs(world) != first).await;
}

#[actix::test]
async fn what_a_job_or_a_cron_job_made_goes_with_it_unless_it_is_orphaned() {
    let world = World::new().await;
    world.create("Job", job("work", "Never", &["sleep", "1000"], json!({"parallelism": 2, "completions": 2}))).await;
    world.until("its pods run", |world| phases(world) == ["Running", "Running"]).await;
    world.delete("Job", "work").await;
    world.until("its pods are gone", |world| world.list("Pod").is_empty()).await;
    sleep(Duration::from_secs(60)).await;
    assert!(world.list("Pod").is_empty(), "nobody makes them anew");
    world.nothing_is_left();

    let spec = json!({"ttlSecondsAfterFinished": 5});
    world.create("Job", job("brief", "Never", &["exit", "0"], spec)).await;
    until_has(&world, "brief", "Complete").await;
    world.until("all of it is gone", |world| world.list("Job").is_empty() && world.list("Pod").is_empty()).await;

    world.create("CronJob", cron_job("tick", "* * * * *", &["sleep", "1000"], json!({}))).await;
    world.until("there is work", |world| phases(world).contains(&"Running".to_owned())).await;
    world.delete("CronJob", "tick").await;
    world.until("all of it is gone", |world| world.list("Job").is_empty() && world.list("Pod").is_empty()).await;
    world.nothing_is_left();

    world.create("Job", job("kept", "Never", &["sleep", "1000"], json!({}))).await;
    world.until("its pod runs", |world| phases(world) == ["Running"]).await;
    world.insist("Job", "kept", Verb::Delete { options: json!({"propagationPolicy": "Orphan"}) }).await;
    world.until("the job is gone", |world| world.list("Job").is_empty()).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(phases(&world), ["Running"]);
}
