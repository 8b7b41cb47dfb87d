//! ConfigMaps that follow from the networks, and the pods that mount them.

mod world;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::{ObjectKey, PatchType, Verb};
use mkube_model::network::Network;
use mkube_supervision::CrashHow;
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{Surroundings, World};

const ACTOR: &str = "mkube/deciders/generated";

/// Networks `default` and those named: each with a zone and a name server.
fn tell(around: &Surroundings, loaded: bool, others: &[&str]) {
    let network = |(number, name): (usize, &&str)| {
        let mut network = Network::plain(*name, format!("10.{number}.0.0/24").parse().expect("a cidr"), "bridge");
        network.names.zone = format!("{name}.lo");
        network.names.server = Some(IpAddr::V4(network.last));
        (network.name.clone(), Arc::new(network))
    };
    let names = [&["default"][..], others].concat();
    let by_name = names.iter().enumerate().map(network).collect();
    around.networks.0.send_replace(Arc::new(NetworksView { loaded, default: "default".into(), by_name }));
}

fn config(world: &World, namespace: &str) -> Option<String> {
    let kind = world.reader().kinds().named("ConfigMap").expect("a kind").id();
    let map = world.reader().view().get(&kind, &ObjectKey::new(namespace, "dns-config"))?;
    map.value()["data"]["microdns.toml"].as_str().map(str::to_owned)
}

async fn until_forwards(world: &World, zone: &str) {
    let says = |world: &World| config(world, "default").is_some_and(|text| text.contains(&format!("\"{zone}\"")));
    world.until(&format!("{zone} is forwarded"), says).await;
}

/// How often a ConfigMap was written.
fn writes(world: &World) -> usize {
    let kind = world.reader().kinds().named("ConfigMap").expect("a kind").id();
    world.reader().view().kind(&kind).history.len()
}

/// A name server as sites run it.
fn name_server() -> Value {
    json!({"metadata": {"name": "dns"}, "spec": {
        "volumes": [{"name": "config", "configMap": {"name": "dns-config"}}],
        "containers": [{"name": "microdns", "image": "web:1",
            "volumeMounts": [{"name": "config", "mountPath": "/etc/microdns"}]}]}})
}

#[actix::test]
async fn each_network_has_its_file_which_follows_and_goes_with_it() {
    let world = World::new().await;
    tell(&world.around, true, &["g10"]);
    until_forwards(&world, "g10.lo").await;
    assert!(config(&world, "g10").is_some_and(|text| text.contains("id = \"microdns-g10\"")), "with its namespace");
    tell(&world.around, true, &["g10", "g11"]);
    until_forwards(&world, "g11.lo").await;
    let before = writes(&world);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(writes(&world), before, "nothing is written when nothing changed");
    tell(&world.around, true, &["g11"]);
    world.until("its file is gone", |world| config(world, "g10").is_none()).await;
    world.until("nobody asks it", |world| config(world, "default").is_some_and(|text| !text.contains("g10"))).await;
    assert!(config(&world, "g11").is_some());
}

#[actix::test]
async fn nothing_is_written_or_removed_before_all_networks_are_known() {
    let around = Surroundings::new();
    tell(&around, true, &["g10"]);
    let world = World::over(around).await;
    until_forwards(&world, "g10.lo").await;
    let around = world.stop().await;
    tell(&around, false, &[]);
    let world = World::over(around).await;
    let before = writes(&world);
    sleep(Duration::from_secs(120)).await;
    assert!(config(&world, "g10").is_some(), "what is not known is not gone");
    assert_eq!(writes(&world), before);
    tell(&world.around, true, &[]);
    world.until("it is gone", |world| config(world, "g10").is_none()).await;
}

#[actix::test]
async fn an_edit_is_put_back_also_after_a_death_unless_its_owner_says_that_it_is_his() {
    let world = World::new().await;
    tell(&world.around, true, &[]);
    world.until("it is there", |world| config(world, "default").is_some()).await;
    let written = config(&world, "default");
    let edit = |text: &str| json!({"data": {"microdns.toml": text}});
    world.patch("ConfigMap", "dns-config", edit("mine")).await;
    world.tree.crash(ACTOR, CrashHow::Panic).await.expect("the actor");
    world.until("it is put back", |world| config(world, "default") == written).await;
    let own = json!({"metadata": {"annotations": {"vkube.io/generated": "false"}}, "data": {"microdns.toml": "mine"}});
    world.patch("ConfigMap", "dns-config", own).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(config(&world, "default").as_deref(), Some("mine"));
}

#[actix::test]
async fn a_name_server_gets_its_new_file_and_goes_on_running() {
    let world = World::new().await;
    // As another controller left it.
    let stored = json!({"metadata": {"name": "dns-config"}, "data": {"microdns.toml": "of another controller"}});
    world.create("ConfigMap", stored).await;
    world.create("Pod", name_server()).await;
    world.until_ready("dns").await;
    let started = world.device.count("POST /container/start");
    tell(&world.around, true, &[]);
    world
        .until("it is adopted", |world| config(world, "default").is_some_and(|text| text.contains("[instance]")))
        .await;
    tell(&world.around, true, &["g10"]);
    until_forwards(&world, "g10.lo").await;
    let file = |world: &World| {
        let text = world.around.disk.text("default_dns_microdns", "config", "microdns.toml");
        text.is_some_and(|text| text.contains("g10.lo"))
    };
    world.until("its file is renewed", file).await;
    sleep(Duration::from_secs(60)).await;
    assert!(world.is_ready("dns"));
    assert_eq!(world.device.count("POST /container/start"), started, "it was not restarted");
    assert_eq!(world.device.count("POST /container/stop"), 0);
    // What is not ours restarts as ever.
    let own = json!({"metadata": {"annotations": {"vkube.io/generated": "false"}}, "data": {"microdns.toml": "own"}});
    let verb = Verb::Patch { patch: PatchType::Merge, body: own };
    world.write("ConfigMap", "dns-config", verb).await.expect("a write");
    world.until("it is made anew", |world| world.device.count("POST /container/start") > started).await;
}
