//! What must come about when nothing goes wrong any longer.

use std::time::Duration;

use mkube_fakes::{Answer, Timings};
use mkube_messages::objects::{ObjectKey, PatchType, Verb};
use mkube_model::metadata;
use mkube_supervision::State;
use serde_json::Value;

use crate::deployed::workloads;
use crate::identity::{containers, lasts, map_of, unlike};
use crate::invariants::{KINDS, Sight, Violation, Watch, fields};
use crate::names::names_lead_to_pods;
use crate::rest::{rest, wait};
use crate::steps::{ALIVE, Image, NAMES, READY};
use crate::world::World;

/// Everything is as wanted within this time after the last trouble: pauses between restarts grow to five minutes.
const SETTLING: Duration = Duration::from_secs(1500);
/// Nothing that was asked for is later than this.
const LATEST: Duration = Duration::from_secs(35);
/// How long nothing may move once everything is as wanted.
const STILL: Duration = Duration::from_secs(45);

/// What does not become as it is wanted.
pub const SETTLES: &str = "what is wanted and what is there become the same";
/// What does not stay so.
pub const STAYS: &str = "what is as it should be is left alone";

/// Everything that goes wrong is over; waits until all is well, and looks whether it stays so.
pub async fn quiet(world: &mut World, watch: &mut Watch) -> Result<(), Violation> {
    world.tell("everything that went wrong is over");
    world.device.clear_cues();
    world.device.set_timings(Timings::default());
    world.device.come_back();
    world.store.clear_cues();
    world.find_store();
    world.names.recover();
    [ALIVE, READY, NAMES].into_iter().for_each(|port| world.prober.set(port, Answer::Good));
    if world.was_misled() {
        world.tell("the controller is started again over a store that answers truly");
        world.stop().await;
        world.start();
    }
    release_held(world).await;
    // What was sent and is late comes now.
    wait(world, watch, LATEST).await?;
    rest(world, watch).await?;
    try_held_again(world).await;
    let end = world.now() + SETTLING;
    loop {
        world.pass(Duration::from_secs(2)).await;
        watch.look(world)?;
        match settled(world, &Sight::of(world)) {
            Ok(()) => break,
            Err(what) if world.now() > end => return Err(Violation { invariant: SETTLES, what }),
            Err(_) => {}
        }
    }
    world.tell("all is well");
    let sight = Sight::of(world);
    if !sight.of_kind("Pod").all(|(_, pod)| lasts(pod) && has_its_map(&sight, pod)) {
        return Ok(());
    }
    // What was under way when everything was well already may end.
    world.pass(Duration::from_secs(15)).await;
    watch.look(world)?;
    let (before, named) = (commands(world), world.names.changes().len());
    world.pass(STILL).await;
    watch.look(world)?;
    settled(world, &Sight::of(world)).map_err(|what| Violation { invariant: STAYS, what })?;
    if let Some(call) = world.names.changes().get(named) {
        let what = format!("the name server was called, such as {call}");
        return Err(Violation { invariant: STAYS, what });
    }
    let after = commands(world);
    if after == before {
        return Ok(());
    }
    let what = format!("{} commands to the device, such as {:?}", after - before, last_command(world));
    Err(Violation { invariant: STAYS, what })
}

fn commands(world: &World) -> usize {
    world.device.calls().iter().filter(|call| !call.operation.starts_with("GET ")).count()
}

fn last_command(world: &World) -> Option<String> {
    let calls = world.device.calls();
    let last = calls.iter().rev().find(|call| !call.operation.starts_with("GET "))?;
    Some(format!("{} {}", last.operation, last.body))
}

/// Whoever looks after the controller releases what it holds.
async fn release_held(world: &mut World) {
    let Some(tree) = world.controller().map(|controller| controller.tree.clone()) else { return };
    let status = tree.status();
    let pods = status.find("mkube/pods").map(|pods| pods.children.clone()).unwrap_or_default();
    for pod in pods.into_iter().filter(|pod| pod.state == State::Held) {
        let path = format!("mkube/pods/{}", pod.name);
        world.tell(format!("{path} is released"));
        if let Err(why) = world.beside(tree.release(&path)).await {
            world.tell(why);
        }
    }
}

/// Pods that ended too often get another try, as any change of them is one.
async fn try_held_again(world: &mut World) {
    let held = |pod: &Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "vkube.io/Held" && one["status"] == "True")
    };
    let sight = Sight::of(world);
    for (pod, _) in sight.of_kind("Pod").filter(|(_, pod)| lasts(pod) && held(pod)) {
        let note =
            serde_json::json!({"metadata": {"annotations": {"simulation/try": world.now().as_secs().to_string()}}});
        let patch = Verb::Patch { patch: PatchType::Merge, body: note };
        world.send("Pod", ObjectKey::new("default", pod), patch, "");
    }
}

/// Whether everything is as wanted; else what is not.
pub fn settled(world: &World, sight: &Sight) -> Result<(), String> {
    published(world, sight)?;
    for (name, pod) in sight.of_kind("Pod") {
        if metadata::is_deleting(pod) {
            return Err(format!("pod {name} is still being deleted"));
        }
        if lasts(pod) {
            runs(world, sight, name, pod)?;
        } else {
            ends(name, pod)?;
        }
    }
    workloads(sight)?;
    names_lead_to_pods(world, sight)?;
    nothing_is_left(world, sight)
}

/// What is published is what is stored.
fn published(world: &World, sight: &Sight) -> Result<(), String> {
    let Some(controller) = world.controller() else { return Err("there is no controller".into()) };
    let view = controller.objects.view();
    if let Some(why) = &view.not_loaded_because {
        return Err(format!("objects are not loaded: {why}"));
    }
    let mut known = 0;
    for ((kind, name), stored) in &sight.stored {
        let Some(kind) = controller.objects.kinds().named(kind) else { continue };
        let namespace = if kind.namespaced { metadata::namespace(stored) } else { "" };
        let found = view.get(&kind.id(), &ObjectKey::new(namespace, name.as_str()));
        let mut published = found.as_ref().map(|object| object.value()).unwrap_or_default();
        metadata::of_mut(&mut published).remove("resourceVersion");
        let mut stored = stored.clone();
        if kind.kind == "Namespace" {
            // What the Go controller reads of one stands beside it.
            let object = stored.as_object_mut().ok_or("a Namespace is no object")?;
            object.retain(|field, _| {
                !["containers", "domain", "mode", "name", "network", "zone"].contains(&field.as_str())
            });
        }
        if published != stored {
            return Err(format!("{} {name} is stored as {stored} and published as {published}", kind.kind));
        }
        known += 1;
    }
    let all: usize = KINDS
        .iter()
        .filter_map(|name| controller.objects.kinds().named(name))
        .map(|kind| view.kind(&kind.id()).objects.len())
        .sum();
    if all == known { Ok(()) } else { Err(format!("{all} objects are published and {known} stored")) }
}

/// Whether the ConfigMap that a pod mounts is there.
fn has_its_map(sight: &Sight, pod: &Value) -> bool {
    map_of(pod).is_none_or(|map| sight.stored.contains_key(&("ConfigMap", map.to_owned())))
}

/// A pod whose containers run until somebody stops them.
fn runs(world: &World, sight: &Sight, name: &str, pod: &Value) -> Result<(), String> {
    // Without its ConfigMap a new pod waits, and one that runs is left alone.
    if !has_its_map(sight, pod) {
        return Ok(());
    }
    if let Some(why) = unlike(world, sight, name, pod) {
        return Err(why);
    }
    let status = &pod["status"];
    let ready = status["conditions"]
        .as_array()
        .is_some_and(|conditions| conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    if status["phase"] != "Running" || !ready {
        return Err(format!("pod {name} runs and says {status}"));
    }
    let veth = mkube_model::names::veth_name("default", name, 0);
    let address = sight.veths.iter().find(|row| row["name"] == veth.as_str()).and_then(|row| row["address"].as_str());
    let address = address.and_then(|address| address.split('/').next());
    if status["podIP"].as_str() != address {
        return Err(format!("pod {name} says that its address is {}, and has {address:?}", status["podIP"]));
    }
    Ok(())
}

/// A pod of one container that ends by itself and is not started again.
fn ends(name: &str, pod: &Value) -> Result<(), String> {
    let code = pod.pointer("/metadata/annotations/simulation~1ends").and_then(Value::as_str);
    let [container] = containers(pod) else { return Ok(()) };
    let image = container["image"].as_str().unwrap_or_default();
    let (Some(code), true, None) = (code, image.starts_with("web:"), map_of(pod)) else { return Ok(()) };
    let wanted: &[&str] = match (pod.pointer("/spec/restartPolicy").and_then(Value::as_str), code) {
        (Some("OnFailure"), "0") => &["Succeeded"],
        // It may have been ended before its time.
        (Some("Never"), _) => &["Succeeded", "Failed"],
        _ => return Ok(()),
    };
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if wanted.contains(&phase) { Ok(()) } else { Err(format!("pod {name} says {}, not {wanted:?}", pod["status"])) }
}

/// Everything of ours on device and disk belongs to a pod that exists.
fn nothing_is_left(world: &World, sight: &Sight) -> Result<(), String> {
    let mut rows = Vec::new();
    let mut veths = Vec::new();
    for (name, pod) in sight.of_kind("Pod") {
        for (index, container) in containers(pod).iter().enumerate() {
            let container = container["name"].as_str().unwrap_or_default();
            rows.push(mkube_model::names::container_name("default", name, container));
            veths.push(mkube_model::names::veth_name("default", name, index));
        }
    }
    let left = |what: &str, found: &[Value], field: &str, wanted: &[String]| -> Result<(), String> {
        let mut names = fields(found, field).filter(|name| !name.contains("theirs"));
        match names.find(|name| !wanted.iter().any(|one| one == name)) {
            Some(name) => Err(format!("{what} {name} is left behind")),
            None => Ok(()),
        }
    };
    left("the container", &sight.containers, "name", &rows)?;
    left("the interface", &sight.veths, "name", &veths)?;
    // A pod that waits for its ConfigMap or its image is not made whole before it comes: its dead ports wait with it.
    let lacks = |pod: &Value| containers(pod).iter().any(|one| one["image"] == Image::Missing.name().as_str());
    let waits = |row: &Value| {
        let mut pods = sight.of_kind("Pod").filter(|(_, pod)| !has_its_map(sight, pod) || lacks(pod));
        pods.any(|(name, _)| row["comment"] == format!("mkube default/{name}"))
    };
    let ports: Vec<Value> = sight.ports.iter().filter(|row| !waits(row)).cloned().collect();
    left("the port of", &ports, "interface", &veths)?;
    left("the environment", &world.device.rows("container/envs"), "list", &rows)?;
    left("the mount list", &world.device.rows("container/mounts"), "list", &rows)?;
    match world.disk.containers().into_iter().find(|name| !rows.contains(name)) {
        Some(name) => Err(format!("files of {name} are left behind")),
        None => Ok(()),
    }
}
