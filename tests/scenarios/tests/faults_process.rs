//! The whole program dies between any two steps while a Deployment is made, rolled, scaled and deleted; another one starts over what
//! is left. The end is the same as if nobody had died: in the store, and on the device.

mod world;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, pending, select};
use mkube_fakes::FakeTarballs;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Roll,
    Delete,
}

fn deployment(image: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

fn is_through(world: &World, image: &str) -> bool {
    let Some(object) = world.get("Deployment", "web") else { return false };
    let status = &object["status"];
    object["spec"]["template"]["spec"]["containers"][0]["image"] == image
        && status["observedGeneration"] == object["metadata"]["generation"]
        && status["conditions"].to_string().contains("NewReplicaSetAvailable")
        && ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"].iter().all(|field| status[field] == 2)
}

fn is_done(world: &World, deed: Deed) -> bool {
    let gone = |kind: &str| world.list(kind).is_empty();
    match deed {
        Deed::Create => is_through(world, "web:1"),
        Deed::Roll => is_through(world, "web:2"),
        Deed::Delete => gone("Deployment") && gone("Pod") && gone("ReplicaSet"),
    }
}

async fn order(world: &World, deed: Deed) {
    match deed {
        Deed::Create => world.create("Deployment", deployment("web:1")).await,
        Deed::Roll => world.patch("Deployment", "web", json!({"spec": deployment("web:2")["spec"]})).await,
        Deed::Delete => world.delete("Deployment", "web").await,
    }
}

/// What it ended in, without times, ids, and who has which address.
#[derive(Debug, PartialEq)]
struct End {
    rows: Vec<Value>,
    counts: Vec<usize>,
    pods: Vec<Value>,
    sets: Vec<Value>,
    files: Vec<String>,
}

fn end(world: &World) -> End {
    let of = |row: &Value, field: &str| row[field].clone();
    let containers = world.device.rows("container");
    let rows = containers.iter().map(|row| {
        json!(["name", "running", "comment", "file", "start-on-boot", "interface"].map(|field| of(row, field)))
    });
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(Value::to_string);
    let menus = ["container", "interface/veth", "interface/bridge/port", "container/mounts", "container/envs"];
    let pod = |pod: &Value| {
        let status = &pod["status"];
        let restarts = status.pointer("/containerStatuses/0/restartCount");
        json!([pod["metadata"]["name"], status["phase"], restarts, pod["spec"]["containers"][0]["image"]])
    };
    let set = |set: &Value| {
        let note = &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        json!([set["metadata"]["name"], note, set["metadata"]["labels"]["vkube.io/rollout-state"]])
    };
    let mut addresses: Vec<Value> = world.device.rows("interface/veth").iter().map(|row| of(row, "address")).collect();
    let all = addresses.len();
    addresses.sort_by_key(Value::to_string);
    addresses.dedup();
    assert_eq!(addresses.len(), all, "an address was given twice");
    End {
        rows,
        counts: menus.iter().map(|menu| world.device.rows(menu).len()).collect(),
        pods: world.list("Pod").iter().map(pod).collect(),
        sets: world.list("ReplicaSet").iter().map(set).collect(),
        files: world.around.disk.containers(),
    }
}

/// The deed, with the program's death at a crossing; the end, and the crossings there were.
async fn life(deed: Deed, death: Option<usize>) -> (End, Vec<String>) {
    let around = Surroundings::another();
    let crossings = around.crossings.clone();
    around.device.set_crossings(crossings.clone());
    around.store.set_crossings(crossings.clone());
    around.images.set_crossings(crossings.clone());
    let mut world = World::over(around).await;
    if deed != Deed::Create {
        order(&world, Deed::Create).await;
        world.until("the deployment is through", |world| is_done(world, Deed::Create)).await;
    }
    let (strike, struck) = tokio::sync::oneshot::channel::<()>();
    let device = world.device.clone();
    if let Some(number) = death {
        crossings.at(number, move || {
            Box::pin(async move {
                // Whoever crosses never comes to the other side, and nobody else gets anything done meanwhile.
                device.set_away(true);
                let _ = strike.send(());
                pending::<()>().await;
            })
        });
    } else {
        drop(strike);
    }
    crossings.start();
    let dies = struck.then(|struck| async move {
        if struck.is_err() {
            pending::<()>().await;
        }
    });
    let lives = async {
        order(&world, deed).await;
        world.until("the deed is done", |world| is_done(world, deed)).await;
    };
    let died = match select(Box::pin(lives), Box::pin(dies)).await {
        Either::Left(((), _)) => false,
        Either::Right(_) => true,
    };
    crossings.stop();
    assert_eq!(died, death.is_some(), "{death:?} of {:?}", crossings.names().len());
    if died {
        let around = world.stop().await;
        around.device.set_away(false);
        world = World::over(around).await;
        // As a client does that got no answer. One that did not see its Deployment go asks for it again.
        order(&world, deed).await;
        world.until("the deed is done", |world| is_done(world, deed)).await;
    }
    // Time for what is late, and for a second row, should somebody make one.
    sleep(Duration::from_secs(60)).await;
    let end = end(&world);
    for pod in world.list("Pod") {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let row = world.device.row("container", &format!("default_{name}_c")).expect("a row");
        let image = if deed == Deed::Create { "web:1" } else { "web:2" };
        assert_eq!(row["file"], FakeTarballs::path(image).as_str(), "{death:?}");
    }
    for reason in ["RolloutFailed", "BackOff", "OrphanRemoved", "RepairFailed"] {
        assert_eq!(world.events(reason), Vec::<String>::new(), "{death:?}");
    }
    world.stop().await;
    (end, crossings.names())
}

/// `of`: every so many of the deaths, from that one on.
async fn every_death(deed: Deed, least: usize, (of, from): (usize, usize)) {
    tokio::time::pause();
    let (expected, crossings) = life(deed, None).await;
    // A death at a reading is one between the calls before and after it.
    let moves: Vec<usize> =
        crossings.iter().enumerate().filter(|(_, name)| !name.contains(" GET ")).map(|(number, _)| number).collect();
    assert!(moves.len() >= least, "{crossings:?}");
    for number in moves.into_iter().skip(from).step_by(of) {
        let (end, _) = life(deed, Some(number)).await;
        assert_eq!(end, expected, "died at {number}: {}", crossings[number]);
    }
}

#[actix::test]
async fn a_deployment_is_made_whenever_the_program_dies() {
    every_death(Deed::Create, 40, (1, 0)).await;
}

#[actix::test]
async fn a_deployment_is_rolled_whenever_the_program_dies() {
    every_death(Deed::Roll, 40, (2, 0)).await;
}

#[actix::test]
async fn a_deployment_is_rolled_whenever_else_the_program_dies() {
    every_death(Deed::Roll, 40, (2, 1)).await;
}

#[actix::test]
async fn a_deployment_is_deleted_with_all_it_has_whenever_the_program_dies() {
    every_death(Deed::Delete, 20, (1, 0)).await;
}
