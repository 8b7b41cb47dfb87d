//! F. Interfaces and bridge ports; routes.

use serde_json::{Value, json};

use crate::router::{Router, id_of};

#[tokio::test]
async fn s061_a_veth_is_answered_with_everything_it_has() {
    let router = Router::new().await;
    let body = json!({"name": "veth-a", "address": "172.17.0.2/24", "gateway": "172.17.0.1"});
    let veth = router.put("/interface/veth", body).await.ok(201);
    for (name, value) in [
        ("address", "172.17.0.2/24"),
        ("gateway", "172.17.0.1"),
        ("gateway6", ""),
        ("dhcp", "false"),
        ("disabled", "false"),
        ("running", "false"),
    ] {
        assert_eq!(veth[name], value, "{name}");
    }
    for name in ["mac-address", "container-mac-address"] {
        let mac = veth[name].as_str().expect("a MAC");
        assert!(mac.len() == 17 && mac.to_uppercase() == mac, "{name}: {mac}");
    }
    assert_ne!(veth["mac-address"], veth["container-mac-address"]);
    let written = json!({"name": "veth-b", "mac-address": "02:ab:cd:ef:00:01"});
    assert_eq!(router.put("/interface/veth", written).await.ok(201)["mac-address"], "02:AB:CD:EF:00:01");
}

#[tokio::test]
async fn s062_veths_and_bridges_share_their_names() {
    let router = Router::new().await;
    router.veth().await;
    for menu in ["/interface/veth", "/interface/bridge"] {
        router.put(menu, json!({"name": "veth-a"})).await.refuses(400, "already have interface with such name");
    }
}

#[tokio::test]
async fn s063_a_veth_takes_addresses_of_both_families() {
    let router = Router::new().await;
    router.veth().await;
    let body = json!({"address": "172.17.0.2/24,fd00::2/64", "gateway6": "fd00::1"});
    let veth = router.patch("/interface/veth/veth-a", body).await.ok(200);
    assert_eq!((&veth["address"], &veth["gateway6"]), (&json!("172.17.0.2/24,fd00::2/64"), &json!("fd00::1")));
    router.patch("/interface/veth/veth-a", json!({"gateway6": "10.0.0.1"})).await.refuses(400, "gateway6");
    router.patch("/interface/veth/veth-a", json!({"address": "10.0.0.1/33"})).await.refuses(400, "address");
}

async fn with_port() -> Router {
    let router = Router::new().await;
    router.bridge().await;
    router.veth().await;
    router.put("/interface/bridge/port", json!({"bridge": "br-t", "interface": "veth-a"})).await.ok(201);
    router
}

#[tokio::test]
async fn s064_and_s065_an_interface_is_a_port_once() {
    let router = with_port().await;
    assert_eq!(router.rows("/interface/bridge/port?interface=veth-a").await.len(), 1);
    let again = router.put("/interface/bridge/port", json!({"bridge": "br-t", "interface": "veth-a"})).await;
    again.refuses(400, "already added");
}

#[tokio::test]
async fn s066_a_port_needs_a_bridge_that_is_there() {
    let router = Router::new().await;
    router.veth().await;
    let put = async |body: Value| router.put("/interface/bridge/port", body).await;
    let reply = put(json!({"bridge": "nope", "interface": "veth-a"})).await;
    reply.refuses(400, "input does not match any value of bridge");
    put(json!({"bridge": "nope"})).await.refuses(400, "missing =interface=");
}

#[tokio::test]
async fn s067_a_port_outlives_its_interface_and_shows_its_number() {
    let router = with_port().await;
    let veth = id_of(&router.get("/interface/veth/veth-a").await.ok(200));
    router.delete("/interface/veth/veth-a").await.ok(204);
    let port = router.rows("/interface/bridge/port").await.remove(0);
    assert_eq!(port["interface"], json!(veth));
    // A new interface of the old name is another one: gotchas 28 and 45.
    router.veth().await;
    let port_path = format!("/interface/bridge/port/{}", id_of(&port));
    assert_eq!(router.get(&port_path).await.ok(200)["interface"], json!(veth));
    assert_eq!(router.patch(&port_path, json!({"comment": "orphan"})).await.ok(200)["comment"], "orphan");
    router.delete(&port_path).await.ok(204);
}

#[tokio::test]
async fn references_follow_a_new_name() {
    let router = with_port().await;
    router.put("/ip/address", json!({"address": "172.17.0.1/24", "interface": "br-t"})).await.ok(201);
    router.patch("/interface/bridge/br-t", json!({"name": "br-new"})).await.ok(200);
    router.patch("/interface/veth/veth-a", json!({"name": "veth-new"})).await.ok(200);
    let port = router.rows("/interface/bridge/port").await.remove(0);
    assert_eq!((&port["bridge"], &port["interface"]), (&json!("br-new"), &json!("veth-new")));
    let address = router.rows("/ip/address").await.remove(0);
    assert_eq!((&address["interface"], &address["invalid"]), (&json!("br-new"), &json!("false")));
    router.delete("/interface/bridge/br-new").await.ok(204);
    assert_eq!(router.rows("/ip/address").await[0]["invalid"], "true");
}

#[tokio::test]
async fn s115_interfaces_are_listed_by_type() {
    let router = with_port().await;
    let rows = router.rows("/interface?type=veth").await;
    assert_eq!(rows.len(), 1);
    for (name, value) in [("name", "veth-a"), ("type", "veth"), ("running", "false"), ("disabled", "false")] {
        assert_eq!(rows[0][name], value, "{name}");
    }
}

#[tokio::test]
async fn routes_are_those_of_the_devices_own_addresses() {
    let router = with_port().await;
    router.put("/ip/address", json!({"address": "172.17.0.1/24", "interface": "br-t"})).await.ok(201);
    let route = router.rows("/ip/route").await.remove(0);
    assert_eq!(
        (&route["dst-address"], &route["gateway"], &route["active"]),
        (&json!("172.17.0.0/24"), &json!("br-t"), &json!("true"))
    );
    let id = id_of(&route);
    assert!(id.starts_with("*2018"), "{id}");
    router.post("/ip/address/disable", json!({"numbers": "*1"})).await.ok(200);
    assert_eq!(router.rows("/ip/route").await.len(), 0);
}

#[tokio::test]
async fn a_fresh_host_has_one_disk_and_no_bridge() {
    let router = Router::new().await;
    assert_eq!(router.rows("/interface").await.len(), 0);
    let disks = router.rows("/disk").await;
    assert_eq!((disks.len(), &disks[0]["slot"], &disks[0]["mounted"]), (1, &json!("disk1"), &json!("true")));
    assert_eq!(router.get("/disk/disk1").await.ok(200)["mount-point"], "disk1");
}
