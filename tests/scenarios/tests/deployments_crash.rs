//! Whoever dies at whatever step of a deployment's life: it ends as if nobody had, and enough pods stay meanwhile.

mod world;

use std::time::Duration;

use mkube_fakes::FakeTarballs;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World};

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web", "annotations": {"vkube.io/auto-rollback": "true"}},
        "spec": {
            "replicas": 2,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": "web:1"}]}},
        },
    })
}

/// A change to another image and number of replicas.
fn change(image: &str, replicas: u64) -> Value {
    json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn is_through(world: &World, replicas: u64) -> bool {
    let Some(object) = world.get("Deployment", "web") else { return false };
    let status = &object["status"];
    status["observedGeneration"] == object["metadata"]["generation"]
        && status["conditions"].to_string().contains("NewReplicaSetAvailable")
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == replicas)
}

fn device_runs(world: &World, pod: &str, image: &str) -> bool {
    let row = world.device.row("container", &format!("default_{pod}_c"));
    row.is_some_and(|row| row["file"] == FakeTarballs::path(image).as_str() && row["running"] == "true")
}

/// Waits; at least one of the first pods runs at every moment.
async fn until(world: &World, what: &str, holds: impl Fn(&World) -> bool) {
    for _ in 0..40_000 {
        let run = ["web-0", "web-1"].iter().filter(|pod| world.device.is_running(&format!("default_{pod}_c"))).count();
        assert!(run > 0, "nobody serves any more: {what}");
        if holds(world) {
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    world.until(what, holds).await;
}

fn revisions(world: &World) -> Vec<String> {
    let id = world.reader().kinds().named("ReplicaSet").expect("a kind").id();
    let view = world.reader().view().kind(&id);
    let revision = |set: Value| {
        let note = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        note.as_str().unwrap_or_default().to_owned()
    };
    let mut all: Vec<String> = view.objects.values().map(|set| revision(set.value())).collect();
    all.sort();
    all
}

/// A rollout and a scaling during which somebody dies at a crossing; whether anybody died, and the crossings there were.
async fn life_with_a_death(death: Option<(&'static str, usize)>, good: bool) -> (Vec<String>, bool) {
    let around = Surroundings::another();
    if !good {
        around.device.end_processes_of(&FakeTarballs::path("web:2"), Duration::from_millis(500), 7);
    }
    let world = World::over(around).await;
    world.create("Deployment", deployment()).await;
    world.until("the deployment is through", |world| is_through(world, 2)).await;
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
    crossings.start();
    if good {
        world.patch("Deployment", "web", change("web:2", 3)).await;
        until(&world, "the new template is through", |world| is_through(world, 3)).await;
        let all = ["web-0", "web-1", "web-2"];
        assert!(all.iter().all(|pod| device_runs(&world, pod, "web:2")), "{death:?}");
        assert_eq!(revisions(&world), ["1", "2"], "{death:?}");
    } else {
        world.patch("Deployment", "web", change("web:2", 2)).await;
        until(&world, "the bad template is put back", |world| {
            let image = world.get("Deployment", "web").unwrap_or_default();
            revisions(world) == ["2", "3"]
                && image["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
                && is_through(world, 2)
        })
        .await;
        assert!(device_runs(&world, "web-0", "web:1") && device_runs(&world, "web-1", "web:1"), "{death:?}");
    }
    world.patch("Deployment", "web", json!({"spec": {"replicas": 1}})).await;
    until(&world, "one is left", |world| is_through(world, 1) && world.get("Pod", "web-1").is_none()).await;
    crossings.stop();
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

/// Kills an actor at each write for a deployment, and at every so many of the others' steps.
async fn every_death(actor: &'static str, good: bool, others: usize) {
    let (crossings, _) = life_with_a_death(None, good).await;
    let own = |name: &&String| name.contains("WriteObject of a deployment");
    assert!(crossings.iter().filter(own).count() >= 16, "{crossings:?}");
    let mut deaths = 0;
    for (number, _) in crossings.iter().enumerate().filter(|(number, name)| own(name) || number % others == 0) {
        let (_, killed) = life_with_a_death(Some((actor, number)), good).await;
        deaths += usize::from(killed);
    }
    assert!(deaths >= 16, "{deaths} deaths");
}

#[actix::test]
async fn whenever_the_deployments_actor_dies_a_good_template_comes_in() {
    die_quietly();
    tokio::time::pause();
    every_death("mkube/deciders/deployments", true, 20).await;
}

#[actix::test]
async fn whenever_the_deployments_actor_dies_a_bad_template_is_put_back() {
    die_quietly();
    tokio::time::pause();
    every_death("mkube/deciders/deployments", false, 20).await;
}

#[actix::test]
async fn whenever_the_object_layer_dies_a_good_template_comes_in() {
    die_quietly();
    tokio::time::pause();
    every_death("mkube/objects", true, 40).await;
}
