//! To its clients a controller is the same whether it drives its device or stands by: their connections stay.

use std::time::Duration;

use mkube_scenarios::Watch;
use mkube_scenarios::World;
use serde_json::Value;

use crate::{JSON, PODS, pod};

const CHANGE: Duration = Duration::from_secs(5);

/// Everything that is told until a pod runs: what happened, to whom, and at which version.
async fn told_until_running(watch: &mut Watch, pod: &str) -> anyhow::Result<Vec<(String, String, String)>> {
    let mut told = Vec::new();
    while let Some(event) = watch.next().await? {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = text("/object/metadata/name");
        let is_last = name == pod && text("/object/status/phase") == "Running";
        told.push((text("/type"), name, text("/object/metadata/resourceVersion")));
        if is_last {
            return Ok(told);
        }
    }
    anyhow::bail!("the watch ended: {told:?}")
}

#[actix_rt::test]
async fn a_watch_goes_on_when_a_turn_ends_and_the_next_one_begins() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (api, controller) = (world.api(), world.controller());
    let branches = || controller.tree.status().children.into_iter().map(|child| child.name).collect::<Vec<_>>();
    api.post(PODS, &pod("first")).await?.expect(201);
    world.until_pod("first", "Running").await?;
    let path = format!("{PODS}?watch=true&resourceVersion={}", api.get(PODS).await?.expect(200).version());
    let mut watch = api.watch(&path, JSON).await?;

    controller.stand_by(CHANGE).await;
    assert_eq!(branches(), ["gates", "object-layer", "edges"]);
    let mut device = controller.device.clone();
    device.wait_for(|picture| picture.complete).await?;
    // It serves and takes writes, and nothing in it decides.
    api.post(PODS, &pod("second")).await?.expect(201);
    api.get("/api/v1/images").await?.expect(200);
    assert!(controller.images.borrow().cached.is_empty(), "what it knew while it drove is not known to be so now");
    let evict = serde_json::json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "first"}});
    api.post(&format!("{PODS}/first/eviction"), &evict).await?.expect(503);

    controller.drive(CHANGE).await;
    // What was read before may be old by now: it is in sight, and proves nothing.
    assert!(!controller.device.borrow().complete && !controller.device.borrow().containers.is_empty());
    world.until_pod("second", "Running").await?;
    assert_eq!(branches(), ["gates", "object-layer", "keepers", "pods", "deciders", "edges"]);
    let seen = told_until_running(&mut watch, "second").await?;
    let told = told_until_running(&mut api.watch(&path, JSON).await?, "second").await?;
    assert_eq!(seen, told, "nothing is missing and nothing is there twice");
    assert!(seen.len() > 1, "{seen:?}");
    world.stop().await;
    Ok(())
}
