//! Every actor is killed before and after each call to a neighbour while a pod is made, changed and deleted, and the end is
//! the same.

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World, full_pod, settings};

/// Everybody who could die on the way.
const ACTORS: [&str; 7] = [
    "mkube/store",
    "mkube/router",
    "mkube/objects",
    "mkube/ipam",
    "mkube/images",
    "mkube/deciders/roster",
    "mkube/pods/pod/default/web",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Change,
    Delete,
}

/// With an address of its own wish, so that it does not depend on which container asks first.
fn a_pod() -> Value {
    let mut pod = full_pod("web", "web:1");
    pod["metadata"]["annotations"] = json!({"vkube.io/static-ip": "10.90.0.99"});
    pod
}

/// What a run ends in, without what may differ: times, ids, generations of directories, events.
#[derive(Debug, PartialEq)]
struct End {
    device: Value,
    pod: Value,
    /// Commands that made or moved containers, in order.
    commands: Vec<String>,
    files: Vec<String>,
}

/// Does the deed, with a death at one crossing; answers the end, the crossings there were, and whether anybody died.
async fn run(deed: Deed, death: Option<(&'static str, usize)>) -> (End, Vec<String>, bool) {
    let around = Surroundings::another();
    let crossings = around.crossings.clone();
    around.device.set_crossings(crossings.clone());
    around.store.set_crossings(crossings.clone());
    around.disk.set_crossings(crossings.clone());
    around.images.set_crossings(crossings.clone());
    let world = World::over(around).await;
    world.create("ConfigMap", settings("one")).await;
    if deed != Deed::Create {
        world.create("Pod", a_pod()).await;
        world.until_ready("web").await;
        sleep(Duration::from_secs(3)).await;
    }
    world.device.forget_calls();
    let killed = Arc::new(AtomicBool::new(false));
    if let Some((actor, number)) = death {
        let (tree, killed) = (world.tree.clone(), killed.clone());
        let kill = async move {
            // It may not have begun yet, or be gone for good: then there is nobody to kill.
            killed.store(tree.crash(actor, CrashHow::Panic).await.is_ok(), Ordering::SeqCst);
        };
        crossings.at(number, move || Box::pin(kill));
    }
    crossings.start();
    match deed {
        Deed::Create => world.create("Pod", a_pod()).await,
        Deed::Change => {
            let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "web:2"}]);
            let patch =
                mkube_messages::objects::Verb::Patch { patch: mkube_messages::objects::PatchType::Json, body: image };
            world.insist("Pod", "web", patch).await;
        }
        Deed::Delete => world.delete("Pod", "web").await,
    }
    match deed {
        Deed::Delete => world.until_gone("web").await,
        _ => {
            let image = if deed == Deed::Create { "web:1" } else { "web:2" };
            let file = mkube_fakes::FakeTarballs::path(image);
            world
                .until("the right image runs and the pod says so", |world| {
                    let row = world.device.row("container", "default_web_c");
                    row.is_some_and(|row| row["file"] == file.as_str() && row["running"] == "true")
                        && world.device.is_running("default_web_side")
                        && world.is_ready("web")
                })
                .await;
        }
    }
    crossings.stop();
    assert!(crossings.done(), "the crossing was never reached");
    // Time for what is late, and for a second row, should somebody make one.
    sleep(Duration::from_secs(25)).await;
    let status = world.status("web");
    let containers = status["containerStatuses"].as_array().cloned().unwrap_or_default();
    let restarts: Vec<&Value> = containers.iter().map(|one| &one["restartCount"]).collect();
    let commands =
        ["/container/add", "/container/start", "/container/stop", "/container/remove", "/interface/veth/add"];
    let calls = world.device.calls();
    let mut done: Vec<String> = calls
        .into_iter()
        .filter(|call| commands.iter().any(|command| call.operation.ends_with(command)))
        .map(|call| call.operation)
        .collect();
    done.sort();
    let end = End {
        device: world.device.state(),
        pod: json!([status["phase"], status["podIP"], world.is_ready("web"), restarts]),
        commands: done,
        files: world.around.disk.containers(),
    };
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

async fn every_death(deed: Deed) {
    die_quietly();
    tokio::time::pause();
    let (expected, crossings, _) = run(deed, None).await;
    assert!(crossings.len() > 20, "{crossings:?}");
    let mut deaths = 0;
    for actor in ACTORS {
        for (number, crossing) in crossings.iter().enumerate() {
            let (mut end, _, killed) = run(deed, Some((actor, number))).await;
            let about = format!("{deed:?}: {actor} died at crossing {number}, {crossing}");
            // A command whose answer died with its asker may be sent again, and then finds its work done.
            let mut once = end.commands.clone();
            once.dedup();
            let mut wanted = expected.commands.clone();
            wanted.dedup();
            assert_eq!(once, wanted, "{about}");
            end.commands.clone_from(&expected.commands);
            assert_eq!(end, expected, "{about}");
            deaths += usize::from(killed);
        }
    }
    // All but those of a pod's actor before there is one, or after it has done its work.
    let most = crossings.len() * (ACTORS.len() - 1);
    assert!(deaths >= most, "{deaths} deaths at {} crossings", crossings.len());
}

#[actix::test]
async fn whoever_dies_at_whatever_moment_of_a_creation_the_end_is_the_same() {
    every_death(Deed::Create).await;
}

#[actix::test]
async fn whoever_dies_at_whatever_moment_of_a_change_the_end_is_the_same() {
    every_death(Deed::Change).await;
}

#[actix::test]
async fn whoever_dies_at_whatever_moment_of_a_deletion_the_end_is_the_same() {
    every_death(Deed::Delete).await;
}
