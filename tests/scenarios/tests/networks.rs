//! Networks that come, change and go while mkube runs, and the interfaces of pods in them.

mod world;

use std::time::Duration;

use mkube_fakes::Verb as DeviceVerb;
use mkube_messages::objects::{PatchType, Verb};
use serde_json::{Value, json};
use tokio::time::sleep;
use world::{World, pod};

const VETH: &str = "veth_default_web_0";

fn network(name: &str, cidr: &str, managed: bool) -> Value {
    json!({
        "apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": name},
        "spec": {"cidr": cidr, "bridge": format!("bridge-{name}"), "managed": managed},
    })
}

fn pod_in(name: &str, annotations: Value) -> Value {
    let mut body = pod(name);
    body["metadata"]["annotations"] = annotations;
    body
}

fn address(world: &World, pod: &str) -> String {
    world.status(pod)["podIP"].as_str().unwrap_or_default().to_owned()
}

fn veth_address(world: &World, veth: &str) -> Option<String> {
    Some(world.device.row("interface/veth", veth)?["address"].as_str()?.to_owned())
}

fn bridge_of(world: &World, veth: &str) -> Option<String> {
    let ports = world.device.rows("interface/bridge/port");
    let port = ports.iter().find(|port| port["interface"] == veth)?;
    Some(port["bridge"].as_str()?.to_owned())
}

fn has_bridge(world: &World, name: &str) -> bool {
    world.device.row("interface/bridge", name).is_some()
}

fn ready(world: &World, network: &str) -> Value {
    world.get("Network", network).map(|one| one["status"]["conditions"][0].clone()).unwrap_or_default()
}

#[actix::test]
async fn a_network_that_is_made_while_mkube_runs_takes_pods_and_leaves_nothing_behind() {
    let world = World::new().await;
    world.create("Network", network("g8", "10.8.0.0/24", true)).await;
    world.until("bridge and gateway are there", |world| ready(world, "g8")["status"] == "True").await;
    assert!(has_bridge(&world, "bridge-g8"));
    world.create("Pod", pod_in("web", json!({"vkube.io/network": "g8"}))).await;
    world.until_ready("web").await;
    assert_eq!(address(&world, "web"), "10.8.0.2");
    assert_eq!(bridge_of(&world, VETH).as_deref(), Some("bridge-g8"));

    let refused = world.write("Network", "g8", Verb::Delete { options: Value::Null }).await;
    let refused = refused.expect_err("a pod is in it");
    assert_eq!(refused.code, 409);
    assert!(refused.to_string().contains("pod default/web"), "{refused}");

    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.delete("Network", "g8").await;
    world.until("it is gone", |world| world.get("Network", "g8").is_none()).await;
    assert!(!has_bridge(&world, "bridge-g8"));
    let addresses = world.device.rows("ip/address");
    assert!(addresses.iter().all(|row| row["address"] != "10.8.0.1/24"), "{addresses:?}");
    world.create("Pod", pod_in("late", json!({"vkube.io/network": "g8"}))).await;
    world.until("it is told", |world| world.status("late").to_string().contains("is not configured")).await;
    world.nothing_is_left();
}

#[actix::test]
async fn what_somebody_else_made_or_uses_stays_when_its_network_goes() {
    let world = World::new().await;
    let there = json!({"name": "bridge-g8", "comment": "of the house"});
    world.device.operate(DeviceVerb::Put, "interface/bridge", there);
    world.create("Network", network("g8", "10.8.0.0/24", true)).await;
    world.create("Network", network("g9", "10.9.0.0/24", true)).await;
    world.until("both are there", |world| ["g8", "g9"].iter().all(|name| ready(world, name)["status"] == "True")).await;
    world.device.operate(DeviceVerb::Put, "interface/veth", json!({"name": "camera", "comment": "camera"}));
    let port = json!({"interface": "camera", "bridge": "bridge-g9"});
    world.device.operate(DeviceVerb::Put, "interface/bridge/port", port);
    for name in ["g8", "g9"] {
        world.delete("Network", name).await;
        world.until("it is gone", |world| world.get("Network", name).is_none()).await;
    }
    assert!(has_bridge(&world, "bridge-g8"), "it was there before");
    assert!(has_bridge(&world, "bridge-g9"), "somebody is on it");
    let addresses = world.device.rows("ip/address");
    let ours = addresses.iter().filter(|row| row["interface"] == "bridge-g8" || row["interface"] == "bridge-g9");
    assert_eq!(ours.count(), 0, "the addresses were ours: {addresses:?}");
}

#[actix::test]
async fn a_deletion_that_a_crash_cut_short_is_carried_through_afterwards() {
    let world = World::new().await;
    world.create("Network", network("g8", "10.8.0.0/24", true)).await;
    world.until("it is ready", |world| ready(world, "g8")["status"] == "True").await;
    world.device.set_away(true);
    world.delete("Network", "g8").await;
    sleep(Duration::from_secs(5)).await;
    assert!(world.get("Network", "g8").is_some(), "what was made for it is still there");
    let around = world.stop().await;
    around.device.set_away(false);
    let world = World::over(around).await;
    world.until("it is gone", |world| world.get("Network", "g8").is_none()).await;
    assert!(!has_bridge(&world, "bridge-g8"));
}

#[actix::test]
async fn networks_of_the_file_are_shown_and_only_the_file_changes_them() {
    let world = World::new().await;
    world.until("it is shown", |world| ready(world, "gt")["status"] == "True").await;
    let shown = world.get("Network", "gt").expect("shown");
    assert_eq!(shown["metadata"]["annotations"]["vkube.io/configured-in"], "config.yaml");
    assert_eq!(shown["spec"]["cidr"], "10.90.0.0/24");
    let body = json!({"spec": {"bridge": "another"}});
    let changed = world.write("Network", "gt", Verb::Patch { patch: PatchType::Merge, body }).await;
    let deleted = world.write("Network", "gt", Verb::Delete { options: Value::Null }).await;
    for refused in [changed.expect_err("a change"), deleted.expect_err("a deletion")] {
        assert_eq!(refused.code, 403);
        assert!(refused.to_string().contains("config.yaml"), "{refused}");
    }
    let mut forged = network("g8", "10.8.0.0/24", false);
    forged["metadata"]["annotations"] = json!({"vkube.io/configured-in": "config.yaml"});
    let forged = world.write("Network", "g8", Verb::Create { body: forged }).await.expect_err("it stands nowhere");
    assert_eq!(forged.code, 422);
}

#[actix::test]
async fn a_network_without_its_bridge_says_so_and_is_used_as_soon_as_the_bridge_is_there() {
    let world = World::new().await;
    world.create("Network", network("g8", "10.8.0.0/24", false)).await;
    world.until("it says what is missing", |world| ready(world, "g8")["status"] == "False").await;
    assert!(ready(&world, "g8")["message"].as_str().is_some_and(|text| text.contains("bridge \"bridge-g8\"")));
    world.device.operate(DeviceVerb::Put, "interface/bridge", json!({"name": "bridge-g8"}));
    let address = json!({"address": "10.8.0.1/24", "interface": "bridge-g8"});
    world.device.operate(DeviceVerb::Put, "ip/address", address);
    world.until("it is found", |world| ready(world, "g8")["status"] == "True").await;
}

#[actix::test]
async fn a_bridge_that_changes_under_a_network_takes_its_pods_along() {
    let world = World::new().await;
    for bridge in ["bridge-g8", "bridge-new"] {
        world.device.operate(DeviceVerb::Put, "interface/bridge", json!({"name": bridge}));
        let address = json!({"address": "10.8.0.1/24", "interface": bridge});
        world.device.operate(DeviceVerb::Put, "ip/address", address);
    }
    world.create("Network", network("g8", "10.8.0.0/24", false)).await;
    world.create("Pod", pod_in("web", json!({"vkube.io/network": "g8"}))).await;
    world.until_ready("web").await;
    world.patch("Network", "g8", json!({"spec": {"bridge": "bridge-new"}})).await;
    world.until("the port has moved", |world| bridge_of(world, VETH).as_deref() == Some("bridge-new")).await;
    assert_eq!(world.device.count("POST /container/stop"), 0, "the process goes on");
    let body = json!({"spec": {"cidr": "10.7.0.0/24"}});
    let moved = world.write("Network", "g8", Verb::Patch { patch: PatchType::Merge, body }).await;
    let moved = moved.expect_err("a pod has an address of it");
    assert_eq!(moved.code, 422);
    assert!(moved.to_string().contains("pod default/web"), "{moved}");
}

#[actix::test]
async fn each_container_gets_the_address_it_asks_for() {
    let world = World::new().await;
    let two = |name: &str, addresses: &str| {
        let mut body = pod_in(name, json!({"vkube.io/static-ip": addresses}));
        body["spec"]["containers"] = json!([{"name": "web", "image": "web:1"}, {"name": "db", "image": "side:1"}]);
        body
    };
    world.create("Pod", two("row", "10.90.0.40")).await;
    world.create("Pod", two("each", "db=10.90.0.50,web=10.90.0.60")).await;
    for (pod, first, second) in [("row", "10.90.0.40/24", "10.90.0.41/24"), ("each", "10.90.0.60/24", "10.90.0.50/24")]
    {
        world.until_ready(pod).await;
        assert_eq!(veth_address(&world, &format!("veth_default_{pod}_0")).as_deref(), Some(first));
        assert_eq!(veth_address(&world, &format!("veth_default_{pod}_1")).as_deref(), Some(second));
    }
}

#[actix::test]
async fn a_pod_that_is_made_anew_under_its_name_gets_its_address_back() {
    let world = World::new().await;
    for name in ["a", "web", "b"] {
        world.create("Pod", pod(name)).await;
        world.until_ready(name).await;
    }
    let before = address(&world, "web");
    world.delete("Pod", "web").await;
    world.until_gone("web").await;
    world.create("Pod", pod("other")).await;
    world.until_ready("other").await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    assert_eq!(address(&world, "web"), before);
}

#[actix::test]
async fn an_address_somebody_is_heard_under_is_not_given_to_a_pod() {
    let world = World::new().await;
    world.until("the bridge is there", |world| has_bridge(world, "bridge-gt")).await;
    let heard = json!({"address": "10.90.0.2", "interface": "bridge-gt", "mac-address": "02:00:00:00:00:99"});
    world.device.operate(DeviceVerb::Put, "ip/arp", heard);
    // The same address behind another bridge is somebody else's business.
    let elsewhere = json!({"address": "10.90.0.3", "interface": "bridge-g10", "mac-address": "02:00:00:00:00:98"});
    world.until("the other bridge is there", |world| has_bridge(world, "bridge-g10")).await;
    world.device.operate(DeviceVerb::Put, "ip/arp", elsewhere);
    for name in ["a", "b", "c"] {
        world.create("Pod", pod(name)).await;
    }
    let mut addresses = Vec::new();
    for name in ["a", "b", "c"] {
        world.until_ready(name).await;
        addresses.push(address(&world, name));
    }
    addresses.sort();
    assert_eq!(addresses, ["10.90.0.3", "10.90.0.4", "10.90.0.5"]);
    assert!(world.device.count("GET /ip/arp") <= 2, "it is not asked for each pod");
    let asked = world.device.count("GET /ip/arp");
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.device.count("GET /ip/arp"), asked, "nobody needs to know");
}

#[actix::test]
async fn an_interface_that_somebody_changed_is_mended_and_the_process_left_alone() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    let path = format!("interface/veth/{VETH}");
    world.device.operate(DeviceVerb::Patch, &path, json!({"address": "10.90.0.77/24"}));
    world.until("it has its address", |world| veth_address(world, VETH).as_deref() == Some("10.90.0.2/24")).await;
    world.device.operate(DeviceVerb::Patch, &path, json!({"gateway": "10.90.0.200"}));
    world
        .until("it has its gateway", |world| {
            world.device.row("interface/veth", VETH).is_some_and(|row| row["gateway"] == "10.90.0.1")
        })
        .await;
    let port = world.device.rows("interface/bridge/port")[0][".id"].as_str().unwrap_or_default().to_owned();
    let elsewhere = json!({"bridge": "bridge-g10"});
    world.device.operate(DeviceVerb::Patch, &format!("interface/bridge/port/{port}"), elsewhere);
    world.until("it is where it was", |world| bridge_of(world, VETH).as_deref() == Some("bridge-gt")).await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
    // A second address that somebody gave it is theirs to give.
    world.device.operate(DeviceVerb::Patch, &path, json!({"address": "10.90.0.2/24,fd00::2/64"}));
    sleep(Duration::from_secs(25)).await;
    assert_eq!(veth_address(&world, VETH).as_deref(), Some("10.90.0.2/24,fd00::2/64"));
}

#[actix::test]
async fn an_interface_that_is_lost_is_made_again_with_its_address_and_no_dead_port_is_left() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    let before = address(&world, "web");
    world.device.lose_veth(VETH);
    let id = |world: &World| world.device.row("interface/veth", VETH).map(|row| row[".id"].clone());
    world.until("it is back", |world| id(world).is_some() && world.is_ready("web")).await;
    assert_eq!(address(&world, "web"), before);
    let ports = world.device.rows("interface/bridge/port");
    let names: Vec<&str> = ports.iter().filter_map(|port| port["interface"].as_str()).collect();
    assert_eq!(names, [VETH]);
}

#[actix::test]
async fn a_move_to_an_address_that_is_taken_leaves_the_pod_where_it_is() {
    let world = World::new().await;
    for name in ["web", "other"] {
        world.create("Pod", pod(name)).await;
        world.until_ready(name).await;
    }
    let (before, taken) = (address(&world, "web"), address(&world, "other"));
    let annotations = json!({"vkube.io/static-ip": taken});
    world.patch("Pod", "web", json!({"metadata": {"annotations": annotations}})).await;
    world.until("it is told", |world| world.all_events().contains("already allocated to")).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
    assert_eq!(address(&world, "web"), before);
    let free = json!({"vkube.io/static-ip": "10.90.0.99"});
    world.patch("Pod", "web", json!({"metadata": {"annotations": free}})).await;
    world.until("it has moved", |world| address(world, "web") == "10.90.0.99" && world.is_ready("web")).await;
    assert_eq!(veth_address(&world, VETH).as_deref(), Some("10.90.0.99/24"));
    world.create("Pod", pod_in("next", json!({"vkube.io/static-ip": before}))).await;
    world.until_ready("next").await;
}

#[actix::test]
async fn a_bridge_that_somebody_removed_is_made_again() {
    let world = World::new().await;
    world.create("Pod", pod("web")).await;
    world.until_ready("web").await;
    world.device.operate(DeviceVerb::Delete, "interface/bridge/bridge-gt", Value::Null);
    world
        .until("bridge and port are back", |world| {
            has_bridge(world, "bridge-gt") && bridge_of(world, VETH).as_deref() == Some("bridge-gt")
        })
        .await;
    assert_eq!(world.device.count("POST /container/stop"), 0);
}
