//! Networks and addresses: as objects, and in the shapes of the Go controller.

use mkube_scenarios::World;
use serde_json::{Value, json};

use crate::{PODS, TABLE, pod, quiet};

const NETWORKS: &str = "/apis/vkube.io/v1alpha1/networks";

fn network(name: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": name},
        "spec": {"cidr": cidr, "bridge": format!("bridge-{name}"), "managed": true, "dns": {"zone": format!("{name}.lo")}},
    })
}

async fn until_ready(world: &World, name: &str) -> anyhow::Result<()> {
    world
        .until("the network is ready", |view| {
            let networks = view.kinds.iter().find(|(id, _)| id.plural == "networks").map(|(_, kind)| kind.clone());
            let object = networks.and_then(|kind| kind.objects.values().find(|one| one.key.name == name).cloned());
            object.is_some_and(|object| object.value()["status"]["conditions"][0]["status"] == "True")
        })
        .await
}

#[actix_rt::test]
async fn a_plain_question_gets_the_shapes_scripts_are_used_to() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    api.post(NETWORKS, &network("g8", "10.8.0.0/24")).await?.expect(201);
    until_ready(&world, "g8").await?;
    let mut body = pod("web");
    body["metadata"]["annotations"] = json!({"vkube.io/network": "g8"});
    api.post(PODS, &body).await?.expect(201);
    world.until_pod("web", "Running").await?;
    let g8 = json!({"name": "g8", "bridge": "bridge-g8", "cidr": "10.8.0.0/24", "gateway": "10.8.0.1"});
    let gt = json!({"name": "gt", "bridge": "bridge-gt", "cidr": "10.90.0.0/24", "gateway": "10.90.0.1"});
    assert_eq!(api.get("/api/v1/networks").await?.expect(200).body, json!([g8, gt]));
    let mut one = g8;
    one["dnsZone"] = json!("g8.lo");
    one["ports"] = json!(1);
    assert_eq!(api.get("/api/v1/networks/g8").await?.expect(200).body, one);
    let container = body["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
    let port = json!({"name": "veth_default_web_0", "ip": "10.8.0.2", "hostname": format!("{container}.web")});
    assert_eq!(api.get("/api/v1/networks/g8/ports").await?.expect(200).body, json!([port]));
    let all = json!({"veth_default_web_0": "10.8.0.2"});
    assert_eq!(api.get("/api/v1/allocations").await?.expect(200).body, all);
    api.get("/api/v1/networks/nope").await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn whoever_asks_as_kubernetes_does_gets_objects_from_the_same_path() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    until_ready(&world, "gt").await?;
    let table = api.get_as("/api/v1/networks", TABLE).await?.expect(200);
    assert_eq!(table.body["kind"], "Table");
    assert_eq!(table.body["rows"][0]["cells"][1], "10.90.0.0/24");
    let list = api.get("/api/v1/networks?limit=500").await?.expect(200);
    assert_eq!((&list.body["kind"], list.names()), (&json!("NetworkList"), vec!["gt"]));
    // Documents written for the Go controller say another version.
    let mut old = network("g8", "10.8.0.0/24");
    old["apiVersion"] = json!("v1");
    let made = api.post("/api/v1/networks", &old).await?.expect(201);
    assert_eq!(made.body["apiVersion"], "vkube.io/v1alpha1");
    assert_eq!(api.get(&format!("{NETWORKS}/g8")).await?.expect(200).body["spec"], old["spec"]);
    let found = api.get("/apis/vkube.io/v1alpha1").await?.expect(200);
    assert!(found.text.contains("\"shortNames\":[\"net\"]"), "{}", found.text);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn bad_networks_are_refused_with_their_field_and_change_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    until_ready(&world, "gt").await?;
    api.post(NETWORKS, &network("g8", "10.8.0.0/24")).await?.expect(201);
    until_ready(&world, "g8").await?;
    let before = world.stored();
    let with = |change: fn(&mut Value)| {
        let mut body = network("g9", "10.9.0.0/24");
        change(&mut body);
        body
    };
    for (body, field) in [
        (with(|body| body["spec"]["cidr"] = json!("10.8.0.128/25")), "spec.cidr"),
        (with(|body| body["spec"]["cidr"] = json!("10.90.0.0/16")), "spec.cidr"),
        (with(|body| body["spec"]["dns"]["zone"] = json!("g8.lo")), "spec.dns.zone"),
        (with(|body| body["spec"]["ipamEnd"] = json!("10.10.0.9")), "spec.ipamEnd"),
        (with(|body| body["spec"]["bridge"] = json!("")), "spec.bridge"),
        (with(|body| body["spec"]["dhcp"] = json!({"serverNetwork": "nope"})), "spec.dhcp.serverNetwork"),
        (with(|body| body["metadata"]["name"] = json!("a.b")), "metadata.name"),
    ] {
        let refused = api.post(NETWORKS, &body).await?.refused(422, "Invalid");
        assert!(refused.fields().contains(&field), "{field}: {}", refused.text);
    }
    let mut moved = api.get(&format!("{NETWORKS}/g8")).await?.expect(200).body;
    moved["spec"]["bridge"] = json!("another");
    let refused = api.put(&format!("{NETWORKS}/g8"), &moved).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["spec.bridge"]);
    api.delete(&format!("{NETWORKS}/gt")).await?.refused(403, "Forbidden").saying("/etc/mkube/config.yaml");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}
