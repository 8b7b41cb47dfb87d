//! Pods that follow their image get what the registry has: one after the other, each proven, and what fails is put back.

mod world;

use std::time::Duration;

use mkube_fakes::FakeTarballs;
use mkube_messages::door::CallError;
use mkube_messages::rollouts::{RedeployFault, RolloutState};
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World};

const IMAGE: &str = "10.0.0.1:5000/app:edge";
const PODS: [&str; 3] = ["a", "b", "c"];

fn digest(number: u8) -> String {
    FakeTarballs::digest(number)
}

fn follower(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"vkube.io/image-policy": "auto"}},
        "spec": {"containers": [{"name": "c", "image": IMAGE}]},
    })
}

/// Three pods that follow the image run its first digest.
async fn three_pods(around: Surroundings) -> World {
    around.images.push(IMAGE, &digest(1));
    let world = World::over(around).await;
    for name in PODS {
        world.create("Pod", follower(name)).await;
    }
    for name in PODS {
        world.until_ready(name).await;
        assert_eq!(runs(&world, name), digest(1));
    }
    sleep(Duration::from_secs(2)).await;
    world
}

/// The digest the pod's status says it runs.
fn runs(world: &World, pod: &str) -> String {
    let status = world.status(pod);
    let id = status.pointer("/containerStatuses/0/imageID").and_then(Value::as_str).unwrap_or_default();
    id.rsplit('@').next().unwrap_or_default().to_owned()
}

fn note(world: &World, pod: &str, name: &str) -> String {
    let pod = world.get("Pod", pod).unwrap_or_default();
    let notes = &pod["metadata"]["annotations"];
    notes[format!("vkube.io/{name}")].as_str().unwrap_or_default().to_owned()
}

fn row(pod: &str) -> String {
    format!("default_{pod}_c")
}

/// The row of the pod runs, and was made from this digest.
fn device_runs(world: &World, pod: &str, digest: &str) -> bool {
    let file = FakeTarballs::path_of_digest(digest);
    world.device.row("container", &row(pod)).is_some_and(|row| row["file"] == file.as_str() && row["running"] == "true")
}

/// Processes of this digest end after so long.
fn crashes(around: &Surroundings, number: u8, after: Duration) {
    around.device.end_processes_of(&FakeTarballs::path_of_digest(&digest(number)), after, 7);
}

/// Three pods, of which the first was put back since the second version ends after so long.
async fn pods_that_refused(after: Duration) -> World {
    let around = Surroundings::new();
    crashes(&around, 2, after);
    let world = three_pods(around).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    until_failed(&world).await;
    world
}

/// Waits as `World::until` does, with longer pauses: rollouts take their time, and a look at everything costs some.
async fn eventually(world: &World, what: &str, holds: impl Fn(&World) -> bool) {
    for _ in 0..2000 {
        if holds(world) {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
    world.until(what, holds).await;
}

async fn until_all_run(world: &World, number: u8) {
    let there = |world: &World, pod: &str| {
        device_runs(world, pod, &digest(number)) && world.is_ready(pod) && note(world, pod, "image-rollout").is_empty()
    };
    eventually(world, "all pods run it, and none is tried any more", |world| PODS.iter().all(|pod| there(world, pod)))
        .await;
}

async fn until_failed(world: &World) {
    world.until("a rollout has failed", |world| !world.events("RolloutFailed").is_empty()).await;
    world.until("what ran before is back", |world| device_runs(world, "a", &digest(1)) && world.is_ready("a")).await;
}

/// At no time two pods were without a running container; looked at in everything that was stored.
fn one_at_a_time(world: &World) {
    let state_of = |state: Value| {
        let version = state["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        let ready = state.pointer("/status/containerStatuses/0/ready") == Some(&json!(true));
        let name = state["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (version.expect("a number"), name, ready)
    };
    let mut states: Vec<(u64, String, bool)> =
        PODS.iter().flat_map(|pod| world.stored_states(pod)).map(state_of).collect();
    states.sort();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (version, pod, ready) in states {
        if ready {
            down.retain(|one| *one != pod);
            up.push(pod);
        } else if up.contains(&pod) && !down.contains(&pod) {
            down.push(pod);
            assert_eq!(down.len(), 1, "at {version} these were down together: {down:?}");
        }
    }
}

#[actix::test]
async fn a_push_replaces_all_pods_one_at_a_time_and_says_so() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    until_all_run(&world, 2).await;
    one_at_a_time(&world);
    world.until("it is said of all", |world| world.events("ImageUpdated").len() == 3).await;
    world
        .until("the view says so", |world| {
            let rollout = world.rollout(IMAGE).expect("it is followed");
            (rollout.state, rollout.current, rollout.pods, rollout.digest)
                == (RolloutState::Current, 3, 3, Some(digest(2)))
        })
        .await;
    for pod in PODS {
        assert_eq!(note(&world, pod, "image-pin"), format!("c={IMAGE}@{}", digest(2)));
        assert_eq!(note(&world, pod, "image-digest"), digest(2));
    }
    let pulls = world.around.images.pulls();
    assert_eq!(
        pulls.iter().filter(|pulled| **pulled == digest(2)).count(),
        1,
        "pulled once, before anybody is stopped"
    );
}

#[actix::test]
async fn a_lost_notice_costs_a_minute_and_nothing_else() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.push(IMAGE, &digest(2));
    until_all_run(&world, 2).await;
}

#[actix::test]
async fn a_version_that_crashes_is_put_back_and_the_other_pods_are_not_touched() {
    let around = Surroundings::new();
    crashes(&around, 2, Duration::from_millis(500));
    let world = three_pods(around).await;
    world.device.forget_calls();
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    until_failed(&world).await;
    assert_eq!(note(&world, "a", "image-refused"), format!("{IMAGE}@{}", digest(2)));
    assert_eq!(note(&world, "a", "image-rollout"), "");
    let said = world.events("RolloutFailed");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(&digest(2)) && said[0].contains("exit code 7") && said[0].contains("put back"),
        "{said:?}"
    );
    // Neither a check nor a second notice tries it again.
    let added = world.device.count("POST /container/add");
    world.notify("app", "edge");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.device.count("POST /container/add"), added, "it is not tried again");
    assert_eq!(added, 2, "there and back");
    for pod in ["b", "c"] {
        assert!(device_runs(&world, pod, &digest(1)));
        assert_eq!(note(&world, pod, "image-pin"), "");
    }
    assert_eq!(world.rollout(IMAGE).map(|rollout| rollout.state), Some(RolloutState::Refused));
    one_at_a_time(&world);
}

#[actix::test]
async fn a_version_that_crashes_just_before_it_would_be_believed_is_put_back_too() {
    let world = pods_that_refused(Duration::from_millis(2900)).await;
    assert!(device_runs(&world, "b", &digest(1)) && device_runs(&world, "c", &digest(1)));
}

#[actix::test]
async fn a_refusal_outlives_mkube_and_ends_with_another_digest() {
    let world = pods_that_refused(Duration::from_millis(500)).await;
    sleep(Duration::from_secs(5)).await;
    let world = World::over(world.stop().await).await;
    world.device.forget_calls();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.device.count("POST /container/add"), 0, "it is not tried again");
    world.around.images.push(IMAGE, &digest(3));
    until_all_run(&world, 3).await;
    assert_eq!(note(&world, "a", "image-refused"), "");
}

#[actix::test]
async fn a_redeployment_tries_what_was_refused_again_and_tells_what_it_does() {
    let world = pods_that_refused(Duration::from_millis(500)).await;
    sleep(Duration::from_secs(5)).await;
    // What was wrong lay elsewhere and is mended.
    world.device.end_processes_of(&FakeTarballs::path_of_digest(&digest(2)), Duration::from_secs(1 << 30), 0);
    let told = world.redeploy("app").await.expect("it is followed");
    assert_eq!(told.images.len(), 1);
    assert_eq!((told.images[0].image.as_str(), told.images[0].digest.clone()), (IMAGE, digest(2)));
    let queued: Vec<&str> = told.images[0].queued.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!((queued, told.images[0].current.len()), (PODS.to_vec(), 0));
    until_all_run(&world, 2).await;
    assert_eq!(note(&world, "a", "image-refused"), "");
    let again = world.redeploy(IMAGE).await.expect("it is followed");
    assert_eq!((again.images[0].queued.len(), again.images[0].current.len()), (0, 3));
    let nobody = world.redeploy("other:1").await.expect_err("nobody uses it");
    assert_eq!(nobody, CallError::Fault(RedeployFault::NoPods { image: "other:1".into() }));
}

#[actix::test]
async fn an_archive_that_cannot_be_unpacked_is_put_back() {
    let around = Surroundings::new();
    around.device.spoil_archive(&FakeTarballs::path_of_digest(&digest(2)), "no manifest.json in archive");
    let world = three_pods(around).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    until_failed(&world).await;
    assert!(world.events("RolloutFailed")[0].contains("manifest.json"), "{:?}", world.events("RolloutFailed"));
    assert!(device_runs(&world, "b", &digest(1)) && device_runs(&world, "c", &digest(1)));
}

#[actix::test]
async fn what_its_owner_wants_to_keep_stays_and_the_rollout_stops_all_the_same() {
    let around = Surroundings::new();
    crashes(&around, 2, Duration::from_millis(500));
    let world = three_pods(around).await;
    world.patch("Pod", "a", json!({"metadata": {"annotations": {"vkube.io/auto-rollback": "false"}}})).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    world.until("it has failed", |world| !world.events("RolloutFailed").is_empty()).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(note(&world, "a", "image-pin"), format!("c={IMAGE}@{}", digest(2)));
    assert!(device_runs(&world, "b", &digest(1)) && device_runs(&world, "c", &digest(1)));
}

#[actix::test]
async fn a_device_that_is_away_in_the_middle_is_waited_for_and_nothing_is_put_back() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    world.until("the first one is tried", |world| !note(world, "a", "image-rollout").is_empty()).await;
    world.device.set_away(true);
    // Longer than a pod may take.
    sleep(Duration::from_secs(1800)).await;
    assert_eq!(world.events("RolloutFailed"), [""; 0]);
    world.device.set_away(false);
    until_all_run(&world, 2).await;
    assert_eq!(world.events("RolloutFailed"), [""; 0]);
    one_at_a_time(&world);
}

#[actix::test]
async fn a_registry_that_is_away_changes_nothing_and_is_asked_more_rarely() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.set_away(true);
    world.device.forget_calls();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.device.count("POST /container/add"), 0);
    let rollout = world.rollout(IMAGE).expect("it is followed");
    assert!(rollout.error.is_some_and(|why| why.contains("connection refused")));
    let away = world.redeploy(IMAGE).await.expect_err("the registry is away");
    assert!(matches!(away, CallError::Fault(RedeployFault::Image(_))), "{away}");
    world.around.images.set_away(false);
    world.around.images.push(IMAGE, &digest(2));
    // The longest pause between two questions.
    sleep(Duration::from_secs(960)).await;
    until_all_run(&world, 2).await;
}

#[actix::test]
async fn a_newer_version_in_the_middle_is_what_everybody_ends_with() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    world.until("the first one is tried", |world| !note(world, "a", "image-rollout").is_empty()).await;
    world.around.images.push(IMAGE, &digest(3));
    world.notify("app", "edge");
    until_all_run(&world, 3).await;
    assert!(!world.stored_states("c").iter().any(|state| state.to_string().contains(&digest(2))), "c skipped it");
    one_at_a_time(&world);
}

#[actix::test]
async fn pods_that_go_change_or_come_again_in_the_middle_stop_nobody() {
    let world = three_pods(Surroundings::new()).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    world.until("the first one is tried", |world| !note(world, "a", "image-rollout").is_empty()).await;
    world.delete("Pod", "a").await;
    world.until("the second one is tried", |world| !note(world, "b", "image-rollout").is_empty()).await;
    let other = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "web:1"}]);
    let patch = mkube_messages::objects::Verb::Patch { patch: mkube_messages::objects::PatchType::Json, body: other };
    world.insist("Pod", "b", patch).await;
    world.until("the third one runs it", |world| device_runs(world, "c", &digest(2)) && world.is_ready("c")).await;
    world.until_gone("a").await;
    world.create("Pod", follower("a")).await;
    world.until("it comes with the newest", |world| device_runs(world, "a", &digest(2)) && world.is_ready("a")).await;
    world.until("nobody is tried", |world| PODS.iter().all(|pod| note(world, pod, "image-rollout").is_empty())).await;
    assert_eq!(world.events("RolloutFailed"), [""; 0]);
    assert_eq!(note(&world, "b", "image-refused"), "");
}

#[actix::test]
async fn a_pod_that_fails_by_itself_gets_what_may_cure_it_and_proves_nothing_by_failing_again() {
    let around = Surroundings::new();
    around.images.push(IMAGE, &digest(1));
    for number in [1, 2] {
        crashes(&around, number, Duration::from_millis(500));
    }
    let world = World::over(around).await;
    world.create("Pod", follower("a")).await;
    eventually(&world, "it fails", |world| world.waits_for("a", "CrashLoopBackOff")).await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    eventually(&world, "it is said that it fails again", |world| !world.events("RolloutFailed").is_empty()).await;
    assert_eq!(note(&world, "a", "image-refused"), "", "{:?}", world.events("RolloutFailed"));
    world.around.images.push(IMAGE, &digest(3));
    world.notify("app", "edge");
    eventually(&world, "it is cured", |world| device_runs(world, "a", &digest(3)) && world.is_ready("a")).await;
}

#[actix::test]
async fn pods_that_do_not_follow_stay_as_they_are() {
    let around = Surroundings::new();
    around.images.push(IMAGE, &digest(1));
    let world = World::over(around).await;
    let mut stays = follower("a");
    stays["metadata"]["annotations"] = json!({});
    world.create("Pod", stays).await;
    world.until_ready("a").await;
    world.around.images.push(IMAGE, &digest(2));
    world.notify("app", "edge");
    sleep(Duration::from_secs(300)).await;
    assert!(device_runs(&world, "a", &digest(1)));
    assert_eq!(world.rollout(IMAGE), None);
}

#[actix::test]
async fn fifty_pods_of_one_image_are_one_question_a_minute() {
    let around = Surroundings::new();
    around.images.push(IMAGE, &digest(1));
    let world = World::over(around).await;
    let names: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    for name in &names {
        world.create("Pod", follower(name)).await;
    }
    for name in &names {
        world.until_ready(name).await;
    }
    let asked = |world: &World| {
        let crossings = world.around.crossings.names();
        crossings.iter().filter(|name| *name == "before ResolveImage").count()
    };
    world.around.crossings.start();
    let before = asked(&world);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(asked(&world) - before, 10, "in ten minutes");
    world.around.crossings.stop();
}

/// A rollout of three pods during which somebody dies at a crossing; whether anybody died, and the crossings there were.
async fn rollout_with_a_death(death: Option<(&'static str, usize)>, good: bool) -> (Vec<String>, bool) {
    let around = Surroundings::another();
    if !good {
        crashes(&around, 2, Duration::from_millis(500));
    }
    let world = three_pods(around).await;
    let crossings = world.around.crossings.clone();
    let (died, dead) = tokio::sync::oneshot::channel();
    if let Some((actor, number)) = death {
        let tree = world.tree.clone();
        crossings.at(number, move || {
            Box::pin(async move {
                let killed = tree.crash(actor, CrashHow::Panic).await.is_ok();
                let _ = died.send(killed);
            })
        });
    } else {
        drop(died);
    }
    world.around.images.push(IMAGE, &digest(2));
    crossings.start();
    world.notify("app", "edge");
    if good {
        until_all_run(&world, 2).await;
        world.until("the event", |world| !world.events("ImageUpdated").is_empty()).await;
    } else {
        eventually(&world, "it was put back", |world| {
            note(world, "a", "image-refused") == format!("{IMAGE}@{}", digest(2))
                && device_runs(world, "a", &digest(1))
                && world.is_ready("a")
        })
        .await;
        // A death may cost the next try its time, not its end.
        sleep(Duration::from_secs(130)).await;
        assert!(device_runs(&world, "a", &digest(1)) && device_runs(&world, "b", &digest(1)), "{death:?}");
        assert_eq!(note(&world, "b", "image-pin"), "", "{death:?}");
    }
    crossings.stop();
    one_at_a_time(&world);
    let killed = dead.await.unwrap_or(false);
    world.stop().await;
    (crossings.names(), killed)
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

/// Kills an actor at each step of a rollout that RolloutActor takes itself, and at every so many of the others'.
async fn every_death(actor: &'static str, good: bool, others: usize) {
    let (crossings, _) = rollout_with_a_death(None, good).await;
    let own = |name: &&String| name.contains("ResolveImage") || name.contains("of a rollout");
    assert!(crossings.iter().filter(own).count() >= 8, "{crossings:?}");
    let mut deaths = 0;
    for (number, _) in crossings.iter().enumerate().filter(|(number, name)| own(name) || number % others == 0) {
        let (_, killed) = rollout_with_a_death(Some((actor, number)), good).await;
        deaths += usize::from(killed);
    }
    assert!(deaths >= 8, "{deaths} deaths");
}

#[actix::test]
async fn whenever_the_rollouts_actor_dies_a_good_version_ends_on_all_pods() {
    die_quietly();
    tokio::time::pause();
    every_death("mkube/deciders/rollouts", true, 5).await;
}

#[actix::test]
async fn whenever_the_rollouts_actor_dies_a_bad_version_is_put_back() {
    die_quietly();
    tokio::time::pause();
    every_death("mkube/deciders/rollouts", false, 5).await;
}

#[actix::test]
async fn whenever_those_it_asks_die_a_good_version_ends_on_all_pods() {
    die_quietly();
    tokio::time::pause();
    for actor in ["mkube/objects", "mkube/images"] {
        every_death(actor, true, 40).await;
    }
}

#[actix::test]
async fn a_restart_of_everything_in_the_middle_goes_on_where_it_was() {
    tokio::time::pause();
    for moment in 1..12 {
        let world = three_pods(Surroundings::another()).await;
        world.around.images.push(IMAGE, &digest(2));
        world.notify("app", "edge");
        sleep(Duration::from_millis(700 * moment)).await;
        let world = World::over(world.stop().await).await;
        until_all_run(&world, 2).await;
        assert_eq!(world.events("RolloutFailed"), [""; 0], "after {moment}");
        world.stop().await;
    }
}
