//! A pod whose actor keeps dying, and the roster that comes back to actors it did not start.

mod world;

use std::time::Duration;

use mkube_supervision::{CrashHow, State};
use serde_json::json;
use tokio::time::sleep;
use world::{World, pod};

const ACTOR: &str = "mkube/pods/pod/default/web";

fn state(world: &World, path: &str) -> Option<State> {
    world.tree.status().find(path).map(|node| node.state)
}

/// Crashes the pod's actor, again each time it is back, until it is held.
async fn crash_until_held(world: &World) {
    for _ in 0..50 {
        match state(world, ACTOR) {
            Some(State::Held) => return,
            Some(State::Running) => world.tree.crash(ACTOR, CrashHow::Panic).await.expect("it runs"),
            _ => {}
        }
        sleep(Duration::from_secs(1)).await;
    }
    panic!("it was never held");
}

#[actix::test]
async fn a_pod_whose_actor_keeps_dying_is_held_with_an_event_and_a_new_spec_releases_it() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    crash_until_held(&world).await;
    world.until("an event says so", |world| !world.events("Held").is_empty()).await;
    let events = world.events("Held");
    assert!(events[0].contains("panicked") && events[0].contains(ACTOR), "{events:?}");
    assert!(world.device.is_running("default_web_c"), "its container is not touched");

    // A label is no cure for a crash, but it is a new wish: the actor gets another chance.
    world.patch("Pod", "web", json!({"metadata": {"labels": {"tried": "again"}}})).await;
    world.until("the actor is back", |world| state(world, ACTOR) == Some(State::Running)).await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.nothing_is_left();
}

#[actix::test]
async fn a_roster_that_died_finds_its_pods_again_and_stops_the_actors_of_those_that_are_gone() {
    let world = World::new().await;
    for name in ["web", "other"] {
        world.create("Pod", pod(name)).await;
        world.until_ready(name).await;
    }
    let before = world.device.count("POST /container/start");
    world.tree.crash("mkube/deciders/roster", CrashHow::Panic).await.expect("it runs");
    world
        .until("both pods have an actor", |world| {
            ["web", "other"]
                .iter()
                .all(|pod| state(world, &format!("mkube/pods/pod/default/{pod}")) == Some(State::Running))
        })
        .await;
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.until("its actor is gone too", |world| state(world, ACTOR).is_none()).await;
    assert_eq!(world.device.count("POST /container/start"), before, "no container was started again");
    assert!(world.is_ready("other"));
}
