//! Deployments: so many pods, kept there; new templates come in one after the other; what fails takes nothing down.

mod world;

use std::time::Duration;

use mkube_fakes::FakeTarballs;
use mkube_messages::door::CallError;
use mkube_messages::objects::Verb;
use mkube_model::neighbours::desired_store::StoreFault;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use world::{Surroundings, World};

const WEB: [&str; 3] = ["web-0", "web-1", "web-2"];

fn deployment(name: &str, replicas: u64, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn new_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn status(world: &World, name: &str) -> Value {
    world.get("Deployment", name).map(|one| one["status"].clone()).unwrap_or_default()
}

fn condition(world: &World, name: &str, kind: &str) -> (String, String) {
    let status = status(world, name);
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one| one["type"] == kind).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn names(world: &World, kind: &str) -> Vec<String> {
    let id = world.reader().kinds().named(kind).expect("a kind").id();
    world.reader().view().kind(&id).objects.keys().map(|key| key.name.clone()).collect()
}

fn sets(world: &World) -> Vec<Value> {
    let mut sets: Vec<Value> =
        names(world, "ReplicaSet").iter().filter_map(|name| world.get("ReplicaSet", name)).collect();
    sets.sort_by_key(|set| revision(set).parse::<u64>().expect("a number"));
    sets
}

fn revision(object: &Value) -> String {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or_default().to_owned()
}

fn uid(world: &World, pod: &str) -> String {
    world.get("Pod", pod).and_then(|pod| Some(pod["metadata"]["uid"].as_str()?.to_owned())).unwrap_or_default()
}

fn image_of(world: &World, pod: &str) -> String {
    let pod = world.get("Pod", pod).unwrap_or_default();
    pod.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The row of the pod runs, and was made from this image.
fn device_runs(world: &World, pod: &str, image: &str) -> bool {
    let row = world.device.row("container", &format!("default_{pod}_c"));
    row.is_some_and(|row| row["file"] == FakeTarballs::path(image).as_str() && row["running"] == "true")
}

/// Waits as `World::until` does, with longer pauses: rollouts take their time, and a look at everything costs some.
async fn eventually(world: &World, what: &str, holds: impl Fn(&World) -> bool) {
    for _ in 0..2000 {
        if holds(world) {
            return;
        }
        sleep(Duration::from_millis(250)).await;
    }
    world.until(what, holds).await;
}

/// As `kubectl rollout status` sees it.
fn is_rolled_out(world: &World, name: &str) -> bool {
    let Some(object) = world.get("Deployment", name) else { return false };
    let (spec, status) = (&object["spec"], &object["status"]);
    status["observedGeneration"] == object["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"]
            .iter()
            .all(|field| status[field] == spec["replicas"])
}

/// And the controller is done with it too.
fn is_through(world: &World, name: &str) -> bool {
    is_rolled_out(world, name) && condition(world, name, "Progressing").1 == "NewReplicaSetAvailable"
}

async fn until_through(world: &World, name: &str) {
    eventually(world, "the deployment is through", |world| is_through(world, name)).await;
}

async fn until_stopped(world: &World, name: &str) {
    eventually(world, "the rollout stopped", |world| {
        condition(world, name, "Progressing") == ("False".to_owned(), "ProgressDeadlineExceeded".to_owned())
    })
    .await;
}

/// A Deployment of so many replicas of `web:1` that is through.
async fn running(world: &World, name: &str, replicas: u64) {
    world.create("Deployment", deployment(name, replicas, "web:1")).await;
    until_through(world, name).await;
}

/// Waits as [`eventually`] does; the fewest containers of these pods that ran on the device meanwhile.
async fn fewest_running(world: &World, pods: &[&str], what: &str, holds: impl Fn(&World) -> bool) -> usize {
    let rows: Vec<String> = pods.iter().map(|pod| format!("default_{pod}_c")).collect();
    let mut fewest = rows.len();
    for _ in 0..100_000 {
        fewest = fewest.min(rows.iter().filter(|row| world.device.is_running(row)).count());
        if holds(world) {
            return fewest;
        }
        sleep(Duration::from_millis(5)).await;
    }
    world.until(what, holds).await;
    fewest
}

/// The same, until the Deployment is through.
async fn fewest_until_through(world: &World, name: &str, pods: &[&str]) -> usize {
    fewest_running(world, pods, "the deployment is through", |world| is_through(world, name)).await
}

#[actix::test]
async fn a_deployment_has_as_many_pods_as_it_wants_also_none() {
    let world = World::new().await;
    running(&world, "web", 3).await;
    let pod = world.get("Pod", "web-2").expect("a pod");
    let owner = &pod["metadata"]["ownerReferences"][0];
    let deployment = world.get("Deployment", "web").expect("it");
    assert_eq!((&owner["uid"], &owner["controller"]), (&deployment["metadata"]["uid"], &json!(true)));
    assert_eq!(pod["metadata"]["annotations"]["vkube.io/owner-deployment"], "web");
    assert_eq!(pod["metadata"]["labels"]["app"], "web");
    assert_eq!(condition(&world, "web", "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    world.patch("Deployment", "web", json!({"spec": {"replicas": 11}})).await;
    until_through(&world, "web").await;
    let kept = uid(&world, "web-0");
    world.patch("Deployment", "web", json!({"spec": {"replicas": 2}})).await;
    until_through(&world, "web").await;
    eventually(&world, "the others are gone", |world| names(world, "Pod") == ["web-0", "web-1"]).await;
    assert_eq!(uid(&world, "web-0"), kept);
    let deleted = world.events("SuccessfulDelete");
    assert_eq!(deleted.len(), 9, "{deleted:?}");
    world.patch("Deployment", "web", json!({"spec": {"replicas": 0}})).await;
    eventually(&world, "all are gone", |world| names(world, "Pod").is_empty() && is_rolled_out(world, "web")).await;
    assert_eq!(status(&world, "web")["replicas"], 0);
    assert_eq!(sets(&world).len(), 1, "scaling is no new version");
}

#[actix::test]
async fn a_pod_that_is_deleted_comes_back_at_once() {
    let world = World::new().await;
    running(&world, "web", 2).await;
    let before = uid(&world, "web-1");
    let begun = Instant::now();
    world.delete("Pod", "web-1").await;
    world.until("another one is there", |world| !["", &before].contains(&uid(world, "web-1").as_str())).await;
    world.until_ready("web-1").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(condition(&world, "web", "Progressing").1, "NewReplicaSetAvailable", "that is no rollout");
}

#[actix::test]
async fn a_new_template_comes_in_one_pod_after_the_other() {
    let world = World::new().await;
    running(&world, "web", 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    assert_eq!(fewest_until_through(&world, "web", &WEB).await, 2);
    for pod in WEB {
        assert!(device_runs(&world, pod, "web:2"), "{pod}");
    }
    let sets = sets(&world);
    assert_eq!(sets.iter().map(revision).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(sets[1]["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!(revision(&world.get("Deployment", "web").expect("it")), "2");
    eventually(&world, "the records count", |world| {
        let sets = self::sets(world);
        (&sets[0]["status"]["replicas"], &sets[1]["status"]["readyReplicas"]) == (&json!(0), &json!(3))
    })
    .await;
    assert_eq!((&sets[0]["spec"]["replicas"], &sets[1]["spec"]["replicas"]), (&json!(0), &json!(3)));
}

#[actix::test]
async fn where_all_replicas_must_stay_one_more_comes_first_and_goes_last() {
    let world = World::new().await;
    let mut body = deployment("web", 2, "web:1");
    body["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    let fewest = fewest_running(&world, &WEB, "the rollout is through and the third one gone", |world| {
        is_through(world, "web") && names(world, "Pod").len() == 2 && image_of(world, "web-1") == "web:2"
    });
    assert_eq!(fewest.await, 2);
    assert!(device_runs(&world, "web-0", "web:2") && device_runs(&world, "web-1", "web:2"));
}

#[actix::test]
async fn an_image_that_is_not_there_stops_nothing_and_the_rollout_says_so() {
    let world = World::new().await;
    running(&world, "web", 3).await;
    let rows: Vec<Value> = world.device.rows("container");
    world.patch("Deployment", "web", new_image("nowhere:1")).await;
    until_stopped(&world, "web").await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(world.device.rows("container"), rows, "the same rows run");
    assert_eq!((image_of(&world, "web-1"), image_of(&world, "web-2")), ("web:1".into(), "web:1".into()));
    assert_eq!(world.events("RolloutFailed").len(), 1);
    let said = &world.events("RolloutFailed")[0];
    assert!(said.contains("web-0") && said.contains("nowhere:1"), "{said}");
    // Meanwhile a pod that is lost comes back as it was.
    world.delete("Pod", "web-2").await;
    eventually(&world, "it is back", |world| device_runs(world, "web-2", "web:1") && world.is_ready("web-2")).await;
    assert_eq!(image_of(&world, "web-2"), "web:1");
    // And a better template goes on.
    world.patch("Deployment", "web", new_image("web:2")).await;
    until_through(&world, "web").await;
    assert!(device_runs(&world, "web-0", "web:2"));
}

#[actix::test]
async fn an_image_that_can_be_had_after_all_is_rolled_out_after_all() {
    let world = World::new().await;
    running(&world, "web", 2).await;
    world.patch("Deployment", "web", new_image("late:1")).await;
    until_stopped(&world, "web").await;
    world.around.images.add("late:1");
    until_through(&world, "web").await;
    assert!(device_runs(&world, "web-1", "late:1"));
}

#[actix::test]
async fn a_version_that_crashes_takes_one_pod_and_no_more() {
    let around = Surroundings::new();
    around.device.end_processes_of(&FakeTarballs::path("web:2"), Duration::from_millis(700), 7);
    let world = World::over(around).await;
    running(&world, "web", 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    let end = Instant::now() + Duration::from_secs(400);
    let fewest = fewest_running(&world, &["web-1", "web-2"], "time passed", |_| Instant::now() > end);
    assert_eq!(fewest.await, 2, "the others never stopped");
    until_stopped(&world, "web").await;
    assert!(device_runs(&world, "web-1", "web:1") && device_runs(&world, "web-2", "web:1"));
    assert_eq!(condition(&world, "web", "Available").0, "True");
    let set = sets(&world).pop().expect("two");
    assert_eq!(set["metadata"]["labels"]["vkube.io/rollout-state"], "failed");
}

#[actix::test]
async fn a_version_that_fails_late_takes_one_pod_and_no_more() {
    let around = Surroundings::new();
    around.device.end_processes_of(&FakeTarballs::path("web:2"), Duration::from_millis(2900), 7);
    let world = World::over(around).await;
    running(&world, "web", 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    until_stopped(&world, "web").await;
    assert!(device_runs(&world, "web-1", "web:1") && device_runs(&world, "web-2", "web:1"));
}

#[actix::test]
async fn what_fails_is_put_back_where_that_is_wanted_and_not_tried_again() {
    let around = Surroundings::new();
    around.device.end_processes_of(&FakeTarballs::path("web:2"), Duration::from_millis(700), 7);
    let world = World::over(around).await;
    let mut body = deployment("web", 2, "web:1");
    body["metadata"]["annotations"] = json!({"vkube.io/auto-rollback": "true"});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    let other = uid(&world, "web-1");
    world.patch("Deployment", "web", new_image("web:2")).await;
    eventually(&world, "it is put back", |world| !world.events("RolledBack").is_empty()).await;
    until_through(&world, "web").await;
    let deployment = world.get("Deployment", "web").expect("it");
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert!(device_runs(&world, "web-0", "web:1"));
    assert_eq!(uid(&world, "web-1"), other, "the other one was never touched");
    assert_eq!(sets(&world).iter().map(revision).collect::<Vec<_>>(), ["2", "3"]);
    let pods = uid(&world, "web-0");
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(uid(&world, "web-0"), pods, "it is not tried again");
    // Somebody who asks for it again gets it tried again.
    world.patch("Deployment", "web", new_image("web:2")).await;
    eventually(&world, "it is put back again", |world| uid(world, "web-0") != pods).await;
    until_through(&world, "web").await;
    assert!(device_runs(&world, "web-0", "web:1"));
}

#[actix::test]
async fn a_paused_deployment_keeps_its_template_and_is_scaled_all_the_same() {
    let world = World::new().await;
    running(&world, "web", 1).await;
    let mut change = new_image("web:2");
    change["spec"]["paused"] = json!(true);
    change["spec"]["replicas"] = json!(2);
    world.patch("Deployment", "web", change).await;
    world.until_ready("web-1").await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((image_of(&world, "web-0"), image_of(&world, "web-1")), ("web:1".into(), "web:1".into()));
    assert_eq!(condition(&world, "web", "Progressing").1, "DeploymentPaused");
    assert_eq!(sets(&world).len(), 1);
    world.patch("Deployment", "web", json!({"spec": {"paused": null}})).await;
    until_through(&world, "web").await;
    assert!(device_runs(&world, "web-0", "web:2") && device_runs(&world, "web-1", "web:2"));
}

#[actix::test]
async fn an_older_template_is_a_new_revision_and_old_ones_are_forgotten() {
    let world = World::new().await;
    let mut body = deployment("web", 1, "web:1");
    body["spec"]["revisionHistoryLimit"] = json!(1);
    body["metadata"]["annotations"] = json!({"kubernetes.io/change-cause": "first"});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    let mut change = new_image("web:2");
    change["metadata"] = json!({"annotations": {"kubernetes.io/change-cause": "second"}});
    world.patch("Deployment", "web", change).await;
    until_through(&world, "web").await;
    let causes: Vec<Value> =
        sets(&world).iter().map(|set| set["metadata"]["annotations"]["kubernetes.io/change-cause"].clone()).collect();
    assert_eq!(causes, ["first", "second"]);
    world.patch("Deployment", "web", new_image("web:1")).await;
    until_through(&world, "web").await;
    assert_eq!(sets(&world).iter().map(revision).collect::<Vec<_>>(), ["2", "3"], "the first is the third now");
    world.patch("Deployment", "web", new_image("side:1")).await;
    until_through(&world, "web").await;
    eventually(&world, "one old record is kept", |world| {
        sets(world).iter().map(revision).collect::<Vec<_>>() == ["3", "4"]
    })
    .await;
    // A restart is a template too.
    let before = uid(&world, "web-0");
    let restart = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}});
    world.patch("Deployment", "web", json!({"spec": {"template": restart}})).await;
    until_through(&world, "web").await;
    assert_ne!(uid(&world, "web-0"), before);
}

#[actix::test]
async fn pods_of_the_go_controller_are_taken_over_without_a_restart() {
    let world = World::new().await;
    for name in ["web-0", "web-1"] {
        let mut pod = world::pod(name);
        pod["metadata"]["annotations"] = json!({"vkube.io/owner-deployment": "web"});
        world.create("Pod", pod).await;
    }
    world.until_ready("web-0").await;
    world.until_ready("web-1").await;
    let (rows, uids) = (world.device.rows("container"), [uid(&world, "web-0"), uid(&world, "web-1")]);
    running(&world, "web", 2).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!([uid(&world, "web-0"), uid(&world, "web-1")], uids);
    assert_eq!(world.device.rows("container"), rows, "nothing was touched on the device");
    let pod = world.get("Pod", "web-1").expect("it");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "web");
    // From now on they are like the others.
    world.patch("Deployment", "web", new_image("web:2")).await;
    until_through(&world, "web").await;
    assert!(device_runs(&world, "web-1", "web:2"));
}

#[actix::test]
async fn what_was_orphaned_is_taken_back_by_a_deployment_of_the_same_name() {
    let world = World::new().await;
    running(&world, "web", 2).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    until_through(&world, "web").await;
    let orphan = json!({"propagationPolicy": "Orphan"});
    world.insist("Deployment", "web", Verb::Delete { options: orphan }).await;
    eventually(&world, "it is gone", |world| world.get("Deployment", "web").is_none()).await;
    for (kind, name) in [("Pod", "web-0".to_owned()), ("Pod", "web-1".to_owned())]
        .into_iter()
        .chain(names(&world, "ReplicaSet").into_iter().map(|name| ("ReplicaSet", name)))
    {
        world.patch(kind, &name, json!({"metadata": {"ownerReferences": null}})).await;
    }
    let (rows, before) = (world.device.rows("container"), [uid(&world, "web-0"), uid(&world, "web-1")]);
    world.create("Deployment", deployment("web", 2, "web:2")).await;
    until_through(&world, "web").await;
    assert_eq!([uid(&world, "web-0"), uid(&world, "web-1")], before);
    assert_eq!(world.device.rows("container"), rows);
    let pod = world.get("Pod", "web-1").expect("it");
    let deployment = world.get("Deployment", "web").expect("it");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], deployment["metadata"]["uid"]);
}

#[actix::test]
async fn a_pod_of_that_name_which_is_not_ours_is_left_alone_and_said() {
    let world = World::new().await;
    world.create("Pod", world::pod("web-1")).await;
    world.until_ready("web-1").await;
    let before = uid(&world, "web-1");
    world.create("Deployment", deployment("web", 2, "web:2")).await;
    world.until_ready("web-0").await;
    eventually(&world, "it is said", |world| condition(world, "web", "ReplicaFailure").0 == "True").await;
    world.until("there is an event", |world| !world.events("FailedCreate").is_empty()).await;
    world.patch("Deployment", "web", json!({"spec": {"replicas": 0}})).await;
    eventually(&world, "its own pod goes", |world| names(world, "Pod") == ["web-1"]).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(uid(&world, "web-1"), before);
    assert_eq!(condition(&world, "web", "ReplicaFailure").0, "");
}

#[actix::test]
async fn a_recreating_deployment_has_never_two_versions_at_once() {
    let world = World::new().await;
    let mut body = deployment("web", 2, "web:1");
    body["spec"]["strategy"] = json!({"type": "Recreate"});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    world.device.forget_calls();
    world.patch("Deployment", "web", new_image("web:2")).await;
    until_through(&world, "web").await;
    let calls: Vec<String> = world.device.calls().into_iter().map(|call| call.operation).collect();
    let last_removed = calls.iter().rposition(|call| call == "POST /container/remove");
    let first_added = calls.iter().position(|call| call == "POST /container/add");
    assert!(last_removed < first_added, "{calls:?}");
}

#[actix::test]
async fn an_edit_in_the_middle_goes_on_with_the_newest_template() {
    let world = World::new().await;
    running(&world, "web", 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    eventually(&world, "the first one is replaced", |world| image_of(world, "web-0") == "web:2").await;
    world.patch("Deployment", "web", new_image("side:1")).await;
    assert_eq!(fewest_until_through(&world, "web", &WEB).await, 2);
    for pod in WEB {
        assert!(device_runs(&world, pod, "side:1"), "{pod}");
    }
}

#[actix::test]
async fn a_rollout_goes_on_after_mkube_or_its_actor_died_in_the_middle() {
    let world = World::new().await;
    running(&world, "web", 3).await;
    world.patch("Deployment", "web", new_image("web:2")).await;
    eventually(&world, "the first one is replaced", |world| image_of(world, "web-0") == "web:2").await;
    let world = World::over(world.stop().await).await;
    eventually(&world, "the second one is replaced", |world| image_of(world, "web-1") == "web:2").await;
    world.tree.crash("mkube/deciders/deployments", CrashHow::Panic).await.expect("it is there");
    until_through(&world, "web").await;
    for pod in WEB {
        assert!(device_runs(&world, pod, "web:2"), "{pod}");
    }
    let removed = world.device.count("POST /container/remove");
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.device.count("POST /container/remove"), removed, "a restart restarts nothing");
}

#[actix::test]
async fn fifty_deployments_edited_at_once_all_get_there() {
    let world = World::new().await;
    let all: Vec<String> = (0..50).map(|number| format!("d{number}")).collect();
    for name in &all {
        world.create("Deployment", deployment(name, 2, "web:1")).await;
    }
    for name in &all {
        until_through(&world, name).await;
    }
    for name in &all {
        world.patch("Deployment", name, new_image("web:2")).await;
    }
    for name in &all {
        until_through(&world, name).await;
        let pods = [format!("{name}-0"), format!("{name}-1")];
        assert!(pods.iter().all(|pod| device_runs(&world, pod, "web:2")), "{name}");
    }
}

#[actix::test]
async fn a_thousand_deployments_settle_within_a_minute() {
    let world = World::over(Surroundings { wide: true, ..Surroundings::new() }).await;
    let begun = Instant::now();
    for number in 0..1000 {
        let mut body = deployment(&format!("d{number}"), 1, "web:1");
        body["spec"]["template"]["metadata"] = json!({"annotations": {"vkube.io/network": "wide"}});
        world.create("Deployment", body).await;
    }
    let id = world.reader().kinds().named("Deployment").expect("a kind").id();
    let settled = || {
        let view = world.reader().view().kind(&id);
        view.objects.values().filter(|one| one.text().contains("NewReplicaSetAvailable")).count()
    };
    while settled() < 1000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "after a minute only {} are there", settled());
        sleep(Duration::from_millis(500)).await;
    }
}

#[actix::test]
async fn a_pod_is_evicted_only_while_it_can_be_spared() {
    let world = World::new().await;
    let mut body = deployment("web", 2, "web:1");
    body["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    world.around.images.set_away(true);
    let before = uid(&world, "web-0");
    world.evict("web-0").await.expect("when all are there one may go");
    let refused = world.evict("web-1").await.expect_err("it is needed");
    let CallError::Fault(status) = refused else { panic!("{refused:?}") };
    assert_eq!((status.code, status.reason), (429, "TooManyRequests"));
    assert_eq!(status.details["causes"][0]["reason"], "DisruptionBudget");
    world.around.images.set_away(false);
    eventually(&world, "the first is back", |world| {
        !["", &before].contains(&uid(world, "web-0").as_str()) && world.is_ready("web-0")
    })
    .await;
    world.evict("web-1").await.expect("now it may go");
    world.create("Pod", world::pod("alone")).await;
    world.until_ready("alone").await;
    world.evict("alone").await.expect("it is nobody's");
    world.until_gone("alone").await;
    let missing = world.evict("alone").await.expect_err("it is gone");
    assert!(matches!(missing, CallError::Fault(status) if status.code == 404));
}

#[actix::test]
async fn a_lost_pod_that_follows_its_image_comes_back_with_the_digest_that_works() {
    const IMAGE: &str = "10.0.0.1:5000/app:edge";
    let around = Surroundings::new();
    around.images.push(IMAGE, &FakeTarballs::digest(1));
    around.device.end_processes_of(
        &FakeTarballs::path_of_digest(&FakeTarballs::digest(2)),
        Duration::from_millis(500),
        7,
    );
    let world = World::over(around).await;
    let mut body = deployment("web", 1, IMAGE);
    body["spec"]["template"]["metadata"] = json!({"annotations": {"vkube.io/image-policy": "auto"}});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    world.around.images.push(IMAGE, &FakeTarballs::digest(2));
    world.notify("app", "edge");
    let note = |world: &World, key: &str| {
        let pod = world.get("Pod", "web-0").unwrap_or_default();
        pod["metadata"]["annotations"][format!("vkube.io/{key}")].as_str().unwrap_or_default().to_owned()
    };
    eventually(&world, "the second digest is refused", |world| {
        note(world, "image-refused").ends_with(&FakeTarballs::digest(2)) && is_rolled_out(world, "web")
    })
    .await;
    eventually(&world, "the record knows", |world| {
        sets(world)[0]["metadata"]["annotations"]["vkube.io/image-refused"].is_string()
    })
    .await;
    let before = uid(&world, "web-0");
    world.delete("Pod", "web-0").await;
    eventually(&world, "another one works", |world| {
        !["", &before].contains(&uid(world, "web-0").as_str()) && world.is_ready("web-0")
    })
    .await;
    assert_eq!(note(&world, "image-pin"), format!("c={IMAGE}@{}", FakeTarballs::digest(1)));
    sleep(Duration::from_secs(300)).await;
    assert!(world.is_ready("web-0") && note(&world, "image-refused").ends_with(&FakeTarballs::digest(2)));
}

#[actix::test]
async fn an_image_and_a_template_that_change_together_take_one_pod_at_a_time() {
    const IMAGE: &str = "10.0.0.1:5000/app:edge";
    let around = Surroundings::new();
    around.images.push(IMAGE, &FakeTarballs::digest(1));
    let world = World::over(around).await;
    let mut body = deployment("web", 3, IMAGE);
    body["spec"]["template"]["metadata"] = json!({"annotations": {"vkube.io/image-policy": "auto"}});
    world.create("Deployment", body).await;
    until_through(&world, "web").await;
    world.around.images.push(IMAGE, &FakeTarballs::digest(2));
    world.notify("app", "edge");
    let restart = json!({"metadata": {"annotations": {"restarted": "now"}}});
    world.patch("Deployment", "web", json!({"spec": {"template": restart}})).await;
    let file = FakeTarballs::path_of_digest(&FakeTarballs::digest(2));
    let runs_it = move |world: &World, pod: &str| {
        let row = world.device.row("container", &format!("default_{pod}_c"));
        let template = world.get("Pod", pod).unwrap_or_default()["metadata"]["annotations"]["restarted"] == "now";
        template && row.is_some_and(|row| row["file"] == file.as_str() && row["running"] == "true")
    };
    let fewest = fewest_running(&world, &WEB, "all run both", |world| {
        is_through(world, "web") && WEB.iter().all(|pod| runs_it(world, pod))
    });
    assert_eq!(fewest.await, 2);
}

#[actix::test]
async fn nothing_is_done_while_the_store_cannot_be_read() {
    let world = World::new().await;
    running(&world, "web", 2).await;
    let around = world.stop().await;
    let fault = StoreFault::Away("it is being moved".into());
    around.store.set_load_fault(Some(fault));
    around.device.forget_calls();
    let world = World::unread(around).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.device.count("POST /container/remove") + world.device.count("POST /container/add"), 0);
    world.around.store.set_load_fault(None);
    world.until("the store is read", |world| is_rolled_out(world, "web")).await;
    assert_eq!(names(&world, "Pod"), ["web-0", "web-1"]);
}
