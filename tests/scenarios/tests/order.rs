//! The order pods start in: after they are made, after the device was booted, and in reverse when the node is emptied.

mod world;

use std::time::Duration;

use mkube_messages::objects::{ChangeType, ObjectsView, Verb as Write};
use mkube_model::workloads::ready_since;
use mkube_scenarios::{Setup, World as Whole};
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use world::{World, pod};

const NODE: &str = "rose1";

fn ordered(name: &str, annotations: Value) -> Value {
    let mut body = pod(name);
    body["metadata"]["annotations"] = annotations;
    body
}

fn prioritized(name: &str, priority: i64) -> Value {
    ordered(name, json!({"vkube.io/boot-priority": priority.to_string()}))
}

fn dependent(name: &str, on: &str) -> Value {
    ordered(name, json!({"vkube.io/depends-on": on}))
}

/// Names of the pods whose container was told to do this, in order.
fn orders(world: &World, operation: &str) -> Vec<String> {
    let rows = world.device.rows("container");
    let of_id = |id: &Value| {
        let row = rows.iter().find(|row| row[".id"] == *id)?;
        row["name"].as_str()?.split('_').nth(1).map(str::to_owned)
    };
    let calls = world.device.calls();
    calls.iter().filter(|call| call.operation == operation).filter_map(|call| of_id(&call.body[".id"])).collect()
}

fn starts(world: &World) -> Vec<String> {
    orders(world, "POST /container/start")
}

async fn drain(world: &World, on: bool) {
    let value = if on { json!("true") } else { Value::Null };
    world.patch("Node", NODE, json!({"metadata": {"annotations": {"vkube.io/drain": value}}})).await;
}

async fn cordon(world: &World, on: bool) {
    let value = if on { json!(true) } else { Value::Null };
    world.patch("Node", NODE, json!({"spec": {"unschedulable": value}})).await;
}

async fn with_node() -> World {
    let world = World::new().await;
    world.create("Node", json!({"metadata": {"name": NODE}})).await;
    world
}

#[actix::test]
async fn pods_start_in_the_order_of_priorities_and_dependencies_whatever_the_order_they_are_made_in() {
    let world = World::new().await;
    for body in [dependent("app", "db"), prioritized("late", 20), prioritized("early", 5), pod("db"), pod("plain")] {
        world.create("Pod", body).await;
    }
    for name in ["app", "late", "early", "db", "plain"] {
        world.until_ready(name).await;
    }
    let order = starts(&world);
    let at = |name: &str| order.iter().position(|one| one == name).expect("started");
    assert!(at("early") < at("late") && at("db") < at("app"), "{order:?}");
    assert_eq!(order.len(), 5, "each once: {order:?}");
    // What has a place in the order is started by mkube alone, also after a boot of the device.
    for (name, on_boot) in [("app", "false"), ("late", "false"), ("db", "true"), ("plain", "true")] {
        let row = world.device.row("container", &format!("default_{name}_c")).expect("a row");
        assert_eq!(row["start-on-boot"], on_boot, "{name}");
    }
}

#[actix::test]
async fn a_dependency_that_never_becomes_ready_is_waited_for_until_the_deadline_and_that_is_told() {
    let world = World::new().await;
    let began = Instant::now();
    let mut broken = pod("db");
    broken["spec"]["containers"][0]["image"] = json!("missing:1");
    world.create("Pod", broken).await;
    world.create("Pod", dependent("app", "db")).await;
    world.until("it waits", |world| world.waits_for("app", "WaitingForDependencies")).await;
    let waiting = world.status("app").pointer("/containerStatuses/0/state/waiting/message").cloned();
    assert_eq!(waiting, Some(json!("waits until these are ready: default/db")));
    let row = world.device.row("container", "default_app_c").expect("everything but its process is made");
    assert_eq!(row["running"], "false", "{row}");
    world.until_ready("app").await;
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
    world.until("it is told", |world| !world.events("DependencyNotReady").is_empty()).await;
    assert_eq!(world.events("DependencyNotReady"), ["starts without waiting any longer for default/db"]);
    assert_eq!(world.status("app")["containerStatuses"][0]["restartCount"], 0);
}

#[actix::test]
async fn a_circle_is_refused_by_the_write_that_closes_it_and_changes_nothing() {
    let world = World::new().await;
    world.create("Pod", dependent("a", "b")).await;
    let refused = world.write("Pod", "", Write::Create { body: dependent("b", "a") }).await.expect_err("refused");
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("dependency cycle: b → a → b"), "{}", refused.message);
    assert!(refused.message.contains("metadata.annotations[vkube.io/depends-on]"), "{}", refused.message);
    assert!(world.get("Pod", "b").is_none());
    world.create("Pod", pod("b")).await;
    world.until_ready("a").await;
}

#[actix::test]
async fn a_circle_that_came_about_all_the_same_is_held_and_spelled_out_until_somebody_opens_it() {
    let world = World::new().await;
    world.create("Pod", dependent("a", "web")).await;
    world.create("Pod", dependent("b", "a")).await;
    world.create("Pod", pod("other")).await;
    // What closes it here is a name that b has from now on, not what it depends on.
    world.patch("Pod", "b", json!({"metadata": {"annotations": {"vkube.io/owner-deployment": "web"}}})).await;
    world.until("they are held", |world| ["a", "b"].iter().all(|name| world.waits_for(name, "DependencyCycle"))).await;
    let message = world.status("a").pointer("/containerStatuses/0/state/waiting/message").cloned();
    assert_eq!(message, Some(json!("dependency cycle: a → b → a")));
    world.until("it is told", |world| world.events("DependencyCycle").len() == 2).await;
    world.until_ready("other").await;
    sleep(Duration::from_secs(600)).await;
    assert!(!["a", "b"].iter().any(|name| world.device.is_running(&format!("default_{name}_c"))));
    world.patch("Pod", "a", json!({"metadata": {"annotations": {"vkube.io/depends-on": "other"}}})).await;
    world.until_ready("a").await;
    world.until_ready("b").await;
}

#[actix::test]
async fn a_crash_of_one_that_had_its_turn_is_not_held_up_by_the_order() {
    let world = World::new().await;
    world.create("Pod", prioritized("early", 1)).await;
    world.create("Pod", prioritized("late", 2)).await;
    world.until_ready("late").await;
    world.patch("Pod", "early", json!({"spec": {"containers": [{"name": "c", "image": "missing:1"}]}})).await;
    world.device.end_process("default_late_c", 1);
    world
        .until("it was restarted", |world| {
            world.status("late")["containerStatuses"][0]["restartCount"] == 1 && world.is_ready("late")
        })
        .await;
}

#[actix::test]
async fn the_order_survives_the_death_of_whoever_keeps_it() {
    let world = World::new().await;
    let mut broken = pod("db");
    broken["spec"]["containers"][0]["image"] = json!("missing:1");
    world.create("Pod", broken).await;
    world.create("Pod", dependent("app", "db")).await;
    world.create("Pod", prioritized("up", 1)).await;
    world.until_ready("up").await;
    world.until("it waits", |world| world.waits_for("app", "WaitingForDependencies")).await;
    let before = world.device.row("container", "default_up_c");
    world.tree.crash("mkube/deciders/order", CrashHow::Panic).await.expect("crashed");
    sleep(Duration::from_secs(5)).await;
    assert!(world.waits_for("app", "WaitingForDependencies"), "{}", world.status("app"));
    assert_eq!(world.device.row("container", "default_up_c"), before);
    world.until_ready("app").await;
}

#[actix::test]
async fn a_cordoned_node_takes_no_new_pods_and_keeps_what_it_has() {
    let world = with_node().await;
    world.create("Pod", pod("old")).await;
    world.until_ready("old").await;
    sleep(Duration::from_secs(2)).await;
    cordon(&world, true).await;
    world.create("Pod", pod("new")).await;
    let condition = |world: &World| {
        let status = world.status("new");
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["type"] == "PodScheduled")
    };
    world
        .until("it is told", |world| {
            condition(world).is_some_and(|one| one["status"] == "False" && one["reason"] == "Unschedulable")
        })
        .await;
    world.device.end_process("default_old_c", 1);
    world
        .until("what was there is restarted", |world| {
            world.status("old")["containerStatuses"][0]["restartCount"] == 1 && world.is_ready("old")
        })
        .await;
    assert_eq!(world.phase("new"), "Pending");
    assert_eq!(world.device.count("POST /container/add"), 1);
    assert_eq!(world.device.count("POST /interface/veth/add"), 1);
    // A change makes the row anew, and for a moment there is none.
    world.patch("Pod", "old", json!({"spec": {"containers": [{"name": "c", "image": "web:2"}]}})).await;
    world.until("the change is carried out", |world| world.device.count("POST /container/add") == 2).await;
    world.until_ready("old").await;
    cordon(&world, false).await;
    world.until_ready("new").await;
}

#[actix::test]
async fn a_drain_stops_in_reverse_order_loses_nothing_and_is_undone_in_order() {
    let world = with_node().await;
    for body in [prioritized("nats", 5), prioritized("dns", 11), dependent("app", "dns"), pod("web")] {
        world.create("Pod", body).await;
    }
    for name in ["nats", "dns", "app", "web"] {
        world.until_ready(name).await;
    }
    sleep(Duration::from_secs(2)).await;
    let running = |world: &World, name: &str| world.device.is_running(&format!("default_{name}_c"));
    drain(&world, true).await;
    world
        .until("all are stopped", |world| !["nats", "dns", "app", "web"].iter().any(|name| running(world, name)))
        .await;
    let stops = orders(&world, "POST /container/stop");
    assert_eq!(stops, ["web", "app", "dns", "nats"]);
    world.until("they say why", |world| world.waits_for("nats", "NodeDrained")).await;
    // A boot of the device must not start them either.
    world
        .until("the device leaves them alone", |world| {
            world.device.row("container", "default_web_c").is_some_and(|row| row["start-on-boot"] == "false")
        })
        .await;
    world.create("Pod", pod("new")).await;
    sleep(Duration::from_secs(30)).await;
    assert!(!["nats", "dns", "app", "web", "new"].iter().any(|name| running(&world, name)));
    let before = starts(&world).len();

    // mkube may come and go meanwhile.
    let world = World::over(world.stop().await).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(starts(&world).len(), before);
    drain(&world, false).await;
    for name in ["nats", "dns", "app", "web", "new"] {
        world.until_ready(name).await;
        assert_eq!(world.status(name)["containerStatuses"][0]["restartCount"], 0, "{name}");
    }
    let again = starts(&world).split_off(before);
    let at = |name: &str| again.iter().position(|one| one == name).expect("started");
    assert!(at("nats") < at("dns") && at("dns") < at("app"), "{again:?}");
    world
        .until("the device starts it again", |world| {
            world.device.row("container", "default_web_c").is_some_and(|row| row["start-on-boot"] == "true")
        })
        .await;
}

#[actix::test]
async fn a_place_given_later_changes_the_row_and_restarts_nothing() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    let on_boot =
        |world: &World| world.device.row("container", "default_web_c").expect("a row")["start-on-boot"].clone();
    assert_eq!(on_boot(&world), "true");
    world.patch("Pod", "web", json!({"metadata": {"annotations": {"vkube.io/boot-priority": "7"}}})).await;
    world.until("the row is told", |world| on_boot(world) == "false").await;
    world.patch("Pod", "web", json!({"metadata": {"annotations": {"vkube.io/boot-priority": null}}})).await;
    world.until("the row is told again", |world| on_boot(world) == "true").await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
    assert_eq!(world.device.count("POST /container/start"), 1);
}

/// Names of pods in the order in which they became ready after this revision.
fn became_ready(view: &ObjectsView, after: u64) -> Vec<String> {
    let pods = view.kinds.iter().find(|(id, _)| id.plural == "pods").map(|(_, pods)| pods.clone()).unwrap_or_default();
    let news = pods.history.iter().filter(|change| change.revision > after && change.change == ChangeType::Modified);
    let newly = news.filter(|change| {
        let was = change.previous.as_ref().is_some_and(|pod| ready_since(&pod.value()).is_some());
        !was && ready_since(&change.object.value()).is_some()
    });
    newly.map(|change| change.object.key.name.clone()).collect()
}

fn pods_revision(view: &ObjectsView) -> u64 {
    view.kinds.iter().find(|(id, _)| id.plural == "pods").map_or(0, |(_, pods)| pods.revision)
}

#[actix_rt::test]
async fn after_a_boot_of_the_device_the_order_is_the_same() -> anyhow::Result<()> {
    let setup = Setup { tick: Duration::from_millis(300), ..Setup::default() };
    let world = Whole::with(setup).await?;
    let pods = "/api/v1/namespaces/default/pods";
    let hello = |mut body: Value| {
        body["spec"]["containers"][0]["image"] = json!("hello:latest");
        body
    };
    let bodies = [prioritized("nats", 5), dependent("app", "dns"), prioritized("dns", 11), prioritized("gt", 30)];
    for body in bodies {
        world.api().post(pods, &hello(body)).await?.expect(201);
    }
    let all = ["nats", "dns", "app", "gt"];
    let ready =
        |view: &ObjectsView, after: u64| all.iter().all(|name| became_ready(view, after).iter().any(|one| one == name));
    world.until("all are ready", |view| ready(view, 0)).await?;
    let in_order = |order: &[String]| {
        let at = |name: &str| order.iter().position(|one| one == name);
        at("nats") < at("dns") && at("dns") < at("app") && at("dns") < at("gt")
    };
    let first = became_ready(&world.view(), 0);
    assert!(in_order(&first), "{first:?}");

    let before = pods_revision(&world.view());
    let host = reqwest::Client::builder().no_proxy().build()?;
    let rules = json!([{"match": {"path": "/container"}, "when": {"nth": 1}, "reboot": {"down": "500ms"}}]);
    let url = format!("http://{}/rest/_mkube/faults", world.host_address());
    let told = host.put(url).basic_auth("mkube", Some("secret")).json(&rules).send().await?;
    assert!(told.status().is_success(), "{}", told.text().await?);
    world.until("all are ready again", |view| ready(view, before)).await?;
    let second = became_ready(&world.view(), before);
    assert!(in_order(&second), "{second:?}");

    let plan = world.api().get("/api/v1/boot-plan").await?.expect(200);
    let names: Vec<Vec<&str>> = plan.body["levels"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|level| {
            let pods = level["pods"].as_array().into_iter().flatten();
            pods.filter_map(|pod| pod["name"].as_str()).collect()
        })
        .collect();
    assert_eq!(names, [vec!["nats"], vec!["dns"], vec!["gt", "app"]], "{}", plan.text);
    assert!(plan.text.contains("\"state\":\"Ready\"") && !plan.text.contains("Waiting"), "{}", plan.text);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_place_that_cannot_be_is_refused_with_the_annotation_named() -> anyhow::Result<()> {
    let world = Whole::start().await?;
    let pods = "/api/v1/namespaces/default/pods";
    for (annotation, value) in
        [("boot-priority", "first"), ("depends-on", ""), ("depends-on", "a,,b"), ("depends-on", "x")]
    {
        let body = ordered("x", json!({format!("vkube.io/{annotation}"): value}));
        let refused = world.api().post(pods, &body).await?.refused(422, "Invalid");
        assert_eq!(refused.fields(), [format!("metadata.annotations[vkube.io/{annotation}]")]);
    }
    assert!(world.api().get(pods).await?.expect(200).names().is_empty());
    world.stop().await;
    Ok(())
}
