//! Where parts meet: a rollout and a drain, an eviction and a cordon, a pause and a new template, a Job and an emptied node, probes and
//! templates, a held container and its Deployment. Nobody takes for a failure what somebody else did on purpose.

mod site;
mod world;

use std::time::Duration;

use mkube_fakes::{Answer, FakeTarballs};
use mkube_messages::door::CallError;
use mkube_messages::objects::Verb;
use serde_json::{Value, json};
use site::{NODE, condition, deployment, device_runs, is_through, new_image, nothing_failed, restarts, set_node};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World, job, pod};

const WEB: [&str; 3] = ["web-0", "web-1", "web-2"];

fn image_of(world: &World, pod: &str) -> String {
    let pod = world.get("Pod", pod).unwrap_or_default();
    pod.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn runs(world: &World, pod: &str) -> bool {
    world.device.is_running(&format!("default_{pod}_c"))
}

fn pods(world: &World) -> Vec<String> {
    world.list("Pod").iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The node, and a Deployment of so many replicas that is through.
async fn running(around: Surroundings, replicas: u64) -> World {
    let world = World::over(around).await;
    world.create("Node", json!({"metadata": {"name": NODE}})).await;
    world.create("Deployment", deployment(replicas)).await;
    world.until("the deployment is through", is_through).await;
    world
}

#[actix::test]
async fn a_drain_in_the_middle_of_a_rollout_is_no_failure_of_the_template_and_it_goes_on_afterwards() {
    // `mkube drain` closes the node too; the annotation alone empties it as well.
    for cordoned in [true, false] {
        let around = if cordoned { Surroundings::new() } else { Surroundings::another() };
        let world = running(around, 3).await;
        world.patch("Deployment", "web", new_image("web:2")).await;
        world.until("the first one is replaced", |world| image_of(world, "web-0") == "web:2").await;
        set_node(&world, true, cordoned).await;
        world.until("the node is empty", |world| !WEB.iter().any(|pod| runs(world, pod))).await;
        sleep(Duration::from_secs(900)).await;
        assert!(!WEB.iter().any(|pod| runs(&world, pod)), "nothing starts on a drained node");
        nothing_failed(&world);
        let world = World::over(world.stop().await).await;
        sleep(Duration::from_secs(300)).await;
        nothing_failed(&world);
        set_node(&world, false, false).await;
        world.until("the deployment is through", is_through).await;
        for pod in WEB {
            assert!(device_runs(&world, pod, "web:2"), "{pod}");
            assert_eq!(restarts(&world, pod), 0, "{pod}");
        }
        nothing_failed(&world);
        world.stop().await;
    }
}

#[actix::test]
async fn a_node_that_is_closed_in_the_middle_of_a_rollout_stops_it_there_and_nothing_counts_as_failed() {
    let world = running(Surroundings::new(), 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    world.until("the first one is replaced", |world| image_of(world, "web-0") == "web:2").await;
    set_node(&world, false, true).await;
    sleep(Duration::from_secs(900)).await;
    assert!(device_runs(&world, "web-0", "web:2") && device_runs(&world, "web-2", "web:1"));
    nothing_failed(&world);
    set_node(&world, false, false).await;
    world.until("the deployment is through", is_through).await;
    nothing_failed(&world);
}

/// Asks for every pod to go, as `kubectl drain` does: what is refused is asked for again. The most that were missing of those not
/// gone for good when another one was let go.
async fn evict_all(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut left: Vec<String> = pods(world);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "these cannot be evicted: {left:?}");
        let mut kept = Vec::new();
        for name in left {
            match world.evict(&name).await {
                Ok(_) => {
                    let going =
                        world.list("Pod").iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string()).count();
                    assert!(going <= 1, "{going} pods of the Deployment go at the same time");
                }
                Err(CallError::Fault(status)) if status.code == 404 => {}
                Err(CallError::Fault(status)) if status.code == 429 => kept.push(name),
                Err(other) => panic!("{other:?}"),
            }
        }
        left = kept;
        sleep(Duration::from_secs(1)).await;
    }
}

#[actix::test]
async fn evictions_empty_a_closed_node_one_pod_of_a_deployment_after_the_other_and_it_comes_back_whole() {
    let world = running(Surroundings::new(), 3).await;
    set_node(&world, false, true).await;
    evict_all(&world).await;
    world.until("all pods are gone", |world| pods(world).is_empty()).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!(pods(&world), Vec::<String>::new(), "a closed node takes no new pods");
    assert_eq!(condition(&world, "Available").0, "False", "that is the truth");
    world.nothing_is_left();
    set_node(&world, false, false).await;
    world.until("the deployment is through", is_through).await;
    nothing_failed(&world);
}

#[actix::test]
async fn a_pod_somebody_works_on_is_no_part_of_a_rollout_until_it_is_given_back() {
    let world = running(Surroundings::new(), 3).await;
    world.patch("Pod", "web-1", json!({"metadata": {"annotations": {"vkube.io/paused": "true"}}})).await;
    let before = world.device.row("container", "default_web-1_c").expect("a row");
    world.patch("Deployment", "web", new_image("web:2")).await;
    world
        .until("the others are replaced", |world| {
            device_runs(world, "web-0", "web:2") && device_runs(world, "web-2", "web:2")
        })
        .await;
    sleep(Duration::from_secs(900)).await;
    assert_eq!(world.device.row("container", "default_web-1_c"), Some(before), "hands off");
    assert_eq!(image_of(&world, "web-1"), "web:1");
    nothing_failed(&world);
    world.patch("Pod", "web-1", json!({"metadata": {"annotations": {"vkube.io/paused": null}}})).await;
    world.until("the deployment is through", is_through).await;
    assert!(device_runs(&world, "web-1", "web:2"));
}

#[actix::test]
async fn a_new_pod_that_is_paused_while_it_is_on_trial_fails_no_template() {
    let world = running(Surroundings::new(), 2).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    world.until("the first one is replaced", |world| image_of(world, "web-0") == "web:2").await;
    world.patch("Pod", "web-0", json!({"metadata": {"annotations": {"vkube.io/paused": "true"}}})).await;
    sleep(Duration::from_secs(900)).await;
    nothing_failed(&world);
    assert!(device_runs(&world, "web-1", "web:1"), "nobody else is touched while one is on trial");
    world.patch("Pod", "web-0", json!({"metadata": {"annotations": {"vkube.io/paused": null}}})).await;
    world.until("the deployment is through", is_through).await;
    nothing_failed(&world);
}

#[actix::test]
async fn a_job_whose_node_is_emptied_did_not_fail_and_is_done_afterwards() {
    for restart in ["Never", "OnFailure"] {
        let world = running(if restart == "Never" { Surroundings::new() } else { Surroundings::another() }, 1).await;
        let spec = job("", restart, &["sleep", "40", "exit", "0"])["spec"].clone();
        let body = json!({"metadata": {"name": "once"}, "spec": {"backoffLimit": 0, "template": {"spec": spec}}});
        world.create("Job", body).await;
        let of_job = |world: &World| {
            world.list("Pod").into_iter().find(|pod| pod["metadata"]["ownerReferences"][0]["kind"] == "Job")
        };
        let running = |world: &World| of_job(world).is_some_and(|pod| pod["status"]["phase"] == "Running");
        world.until("it runs", running).await;
        set_node(&world, true, true).await;
        world
            .until("the node is empty", |world| {
                world.device.rows("container").iter().all(|row| row["running"] != "true")
            })
            .await;
        sleep(Duration::from_secs(300)).await;
        let status = world.get("Job", "once").expect("it")["status"].clone();
        assert!(status.get("failed").is_none_or(|failed| *failed == 0), "{restart}: {status}");
        set_node(&world, false, false).await;
        world.until("it is done", |world| world.get("Job", "once").expect("it")["status"]["succeeded"] == 1).await;
        world.stop().await;
    }
}

#[actix::test]
async fn a_version_that_never_becomes_ready_stops_the_rollout_at_its_first_pod() {
    let around = Surroundings::new();
    around.prober.set(80, Answer::Good);
    around.prober.set(81, Answer::Bad);
    let world = World::over(around).await;
    world.create("Node", json!({"metadata": {"name": NODE}})).await;
    let probed = |image: &str, port: u16| {
        json!([{"name": "c", "image": image,
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 2, "failureThreshold": 1}}])
    };
    let mut body = deployment(3);
    body["metadata"] = json!({"name": "web"});
    body["spec"]["template"]["spec"]["containers"] = probed("web:1", 80);
    world.create("Deployment", body).await;
    world.until("the deployment is through", is_through).await;
    world
        .patch("Deployment", "web", json!({"spec": {"template": {"spec": {"containers": probed("web:2", 81)}}}}))
        .await;
    world.until("it is given up", |world| condition(world, "Progressing").1 == "ProgressDeadlineExceeded").await;
    sleep(Duration::from_secs(300)).await;
    assert!(device_runs(&world, "web-1", "web:1") && device_runs(&world, "web-2", "web:1"));
    assert!(world.is_ready("web-1") && world.is_ready("web-2") && !world.is_ready("web-0"));
    let status = world.get("Deployment", "web").expect("it")["status"].clone();
    assert_eq!((&status["readyReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(1)), "{status}");
    // Once it is ready after all, the rollout goes on.
    world.around.prober.set(81, Answer::Good);
    world.until("the deployment is through", is_through).await;
}

#[actix::test]
async fn a_container_that_is_held_counts_as_failing_and_a_better_template_releases_it() {
    let around = Surroundings::new();
    around.device.end_processes_of(&FakeTarballs::path("web:2"), Duration::from_millis(300), 9);
    let world = World::over(around).await;
    let mut body = deployment(2);
    body["metadata"] = json!({"name": "web"});
    body["spec"]["template"]["metadata"] = json!({"annotations": {"vkube.io/max-restarts": "2"}});
    body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    world.create("Deployment", body).await;
    let held = |world: &World, pod: &str| {
        let all = world.status(pod)["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["type"] == "vkube.io/Held" && one["status"] == "True")
    };
    for _ in 0..20 {
        if held(&world, "web-0") {
            break;
        }
        sleep(Duration::from_secs(300)).await;
    }
    world.until("it is held", |world| held(world, "web-0")).await;
    assert_eq!(condition(&world, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    world.patch("Deployment", "web", new_image("web:1")).await;
    world.until("the deployment is through", is_through).await;
    assert!(!held(&world, "web-0"));
}

#[actix::test]
async fn what_a_deployment_made_goes_with_it_unless_it_is_to_stay() {
    let world = running(Surroundings::new(), 2).await;
    let rows = world.device.rows("container");
    let orphan = json!({"propagationPolicy": "Orphan"});
    world.insist("Deployment", "web", Verb::Delete { options: orphan }).await;
    world.until("it is gone", |world| world.get("Deployment", "web").is_none()).await;
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(pods(&world), ["web-0", "web-1"]);
    assert_eq!(world.device.rows("container"), rows, "they run as before");
    world.create("Deployment", deployment(2)).await;
    world.until("the deployment is through", is_through).await;
    assert_eq!(world.device.rows("container"), rows, "and are taken back as they are");
    world.delete("Deployment", "web").await;
    world.until("its pods are gone", |world| pods(world).is_empty()).await;
    world.until("its records are gone", |world| world.list("ReplicaSet").is_empty()).await;
    world.nothing_is_left();
}

#[actix::test]
async fn a_change_that_is_taken_back_after_the_container_was_stopped_for_it_is_no_restart() {
    let world = running(Surroundings::new(), 1).await;
    world.create("Pod", pod("alone")).await;
    world.until_ready("alone").await;
    sleep(Duration::from_secs(2)).await;
    world.device.forget_calls();
    world.patch("Pod", "alone", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until("it is being stopped", |world| world.device.count("POST /container/stop") > 0).await;
    world.patch("Pod", "alone", json!({"spec": {"containers": [{"name": "c", "image": "web:1"}]}})).await;
    world.until("it runs again", |world| device_runs(world, "alone", "web:1") && world.is_ready("alone")).await;
    assert_eq!(restarts(&world, "alone"), 0);
    nothing_failed(&world);
    assert_eq!(world.device.count("POST /container/remove"), 0, "the row it had is good enough");
}

#[actix::test]
async fn an_image_is_not_refused_because_a_pod_that_follows_it_is_paused_or_drained() {
    const IMAGE: &str = "10.0.0.1:5000/app:edge";
    for paused in [true, false] {
        let around = if paused { Surroundings::new() } else { Surroundings::another() };
        around.images.push(IMAGE, &FakeTarballs::digest(1));
        let world = running(around, 1).await;
        let mut body = pod("app");
        body["metadata"]["annotations"] = json!({"vkube.io/image-policy": "auto"});
        body["spec"]["containers"][0]["image"] = json!(IMAGE);
        world.create("Pod", body).await;
        world.until_ready("app").await;
        let pause = |on: bool| json!({"metadata": {"annotations": {"vkube.io/paused": on.then_some("true")}}});
        let note =
            |world: &World, key: &str| world.get("Pod", "app").expect("it")["metadata"]["annotations"][key].clone();
        // Once before anything is tried, and once in the middle of it.
        for digest in [2, 3] {
            let rest = async |on: bool| {
                if paused { world.patch("Pod", "app", pause(on)).await } else { set_node(&world, on, on).await }
            };
            world.around.images.push(IMAGE, &FakeTarballs::digest(digest));
            if digest == 2 {
                rest(true).await;
                world.notify("app", "edge");
            } else {
                world.notify("app", "edge");
                world.until("it is tried", |world| note(world, "vkube.io/image-rollout").is_string()).await;
                rest(true).await;
            }
            sleep(Duration::from_secs(1500)).await;
            assert_eq!(note(&world, "vkube.io/image-refused"), Value::Null, "{paused} {digest}");
            rest(false).await;
            let file = FakeTarballs::path_of_digest(&FakeTarballs::digest(digest));
            world
                .until("it runs the new one", |world| {
                    let row = world.device.row("container", "default_app_c");
                    world.is_ready("app")
                        && note(world, "vkube.io/image-rollout").is_null()
                        && row.is_some_and(|row| row["file"] == file.as_str() && row["running"] == "true")
                })
                .await;
        }
        assert_eq!(world.events("ImageRolloutFailed"), Vec::<String>::new());
        world.stop().await;
    }
}

#[actix::test]
async fn a_drain_stops_no_more_replicas_at_the_same_time_than_may_be_missing() {
    let world = running(Surroundings::new(), 3).await;
    set_node(&world, true, true).await;
    let mut most = 0;
    while WEB.iter().any(|pod| runs(&world, pod)) {
        let rows = world.device.rows("container");
        most = most.max(rows.iter().filter(|row| row["running"] != "true" && row["stopped"] != "true").count());
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most, 1, "replicas that were being stopped at the same time");
}
