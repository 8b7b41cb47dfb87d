//! C. Adding, changing, removing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::router::{NOT_FOUND, Router, id_of};

#[tokio::test]
async fn s023_put_creates_and_answers_the_whole_object() {
    let router = Router::new().await;
    let bridge = router.put("/interface/bridge", json!({"name": "br-t"})).await.ok(201);
    let id = id_of(&bridge);
    let digits = id.strip_prefix('*').expect("a star");
    assert!(!digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c)), "{id}");
    for (name, value) in [
        ("name", "br-t"),
        ("disabled", "false"),
        ("protocol-mode", "rstp"),
        ("mtu", "auto"),
        ("vlan-filtering", "false"),
    ] {
        assert_eq!(bridge[name], value, "{name}");
    }
    assert!(bridge["running"].is_string());
}

#[tokio::test]
async fn s024_a_name_is_taken_once() {
    let router = Router::new().await;
    router.bridge().await;
    let again = router.put("/interface/bridge", json!({"name": "br-t"})).await;
    again.refuses(400, "failure: already have interface with such name");
    assert_eq!(router.rows("/interface/bridge").await.len(), 1);
}

#[tokio::test]
async fn s025_a_row_is_found_in_the_list_by_id_and_by_name() {
    let router = Router::new().await;
    let id = router.bridge().await;
    let listed = router.rows("/interface/bridge").await;
    let by_id = router.get(&format!("/interface/bridge/{id}")).await.ok(200);
    assert_eq!(listed, std::slice::from_ref(&by_id));
    assert_eq!(router.get("/interface/bridge/br-t").await.ok(200), by_id);
    router.get("/interface/bridge/nobody").await.is_exactly(404, NOT_FOUND);
}

#[tokio::test]
async fn s026_an_interface_has_one_id_in_every_menu() {
    let router = Router::new().await;
    let (bridge, veth) = (router.bridge().await, router.veth().await);
    assert_ne!(bridge, veth, "interfaces of all kinds are numbered together");
    let interface = router.get("/interface/br-t").await.ok(200);
    assert_eq!((&interface["type"], id_of(&interface)), (&json!("bridge"), bridge));
    let by_id = router.get(&format!("/interface/{veth}")).await.ok(200);
    assert_eq!((&by_id["type"], &by_id["name"]), (&json!("veth"), &json!("veth-a")));
}

#[tokio::test]
async fn s027_and_s028_patch_changes_and_an_empty_comment_is_none() {
    let router = Router::new().await;
    let id = router.bridge().await;
    let changed = router.patch(&format!("/interface/bridge/{id}"), json!({"comment": "c1"})).await.ok(200);
    assert_eq!((&changed["comment"], &changed["name"]), (&json!("c1"), &json!("br-t")));
    let changed = router.patch("/interface/bridge/br-t", json!({"comment": ""})).await.ok(200);
    assert_eq!((changed.get("comment"), &changed["name"]), (None, &json!("br-t")));
}

#[tokio::test]
async fn s029_an_unknown_property_changes_nothing() {
    let router = Router::new().await;
    let id = router.bridge().await;
    let reply = router.patch(&format!("/interface/bridge/{id}"), json!({"comment": "x", "nosuch": "1"})).await;
    reply.refuses(400, "unknown parameter nosuch");
    assert_eq!(router.get("/interface/bridge/br-t").await.ok(200).get("comment"), None);
}

#[tokio::test]
async fn s030_and_s031_delete_answers_nothing_and_then_not_found() {
    let router = Router::new().await;
    let id = router.bridge().await;
    router.delete(&format!("/interface/bridge/{id}")).await.is_exactly(204, "");
    router.delete(&format!("/interface/bridge/{id}")).await.is_exactly(404, NOT_FOUND);
    assert_eq!(router.rows("/interface/bridge").await.len(), 0);
    let next = router.bridge().await;
    assert_ne!(next, id, "an id is never used again");
}

#[tokio::test]
async fn s032_an_id_that_is_not_there_is_not_found() {
    let router = Router::new().await;
    router.get("/interface/bridge/*FFFFF").await.is_exactly(404, NOT_FOUND);
    router.patch("/interface/bridge/*FFFFF", json!({"comment": "x"})).await.is_exactly(404, NOT_FOUND);
}

#[tokio::test]
async fn s033_a_filter_by_id_finds_nothing_without_an_error() {
    let router = Router::new().await;
    let id = router.bridge().await;
    assert_eq!(router.rows("/interface/bridge?.id=*FFFFF").await.len(), 0);
    assert_eq!(router.rows(&format!("/interface/bridge?.id={id}")).await.len(), 1);
}

#[tokio::test]
async fn s034_filters_hold_together_and_compare_as_printed() {
    let router = Router::new().await;
    router.bridge().await;
    assert_eq!(router.rows("/interface/bridge?name=br-t&disabled=false").await.len(), 1);
    for query in ["name=br-t&disabled=true", "name=other&disabled=false", "disabled=no", "nosuch=x"] {
        assert_eq!(router.rows(&format!("/interface/bridge?{query}")).await.len(), 0, "{query}");
    }
}

#[tokio::test]
async fn s035_yes_and_true_are_one() {
    let router = Router::new().await;
    let id = router.bridge().await;
    let path = format!("/interface/bridge/{id}");
    for on in [json!("yes"), json!("true"), json!(true)] {
        router.patch(&path, json!({"disabled": "no"})).await.ok(200);
        assert_eq!(router.patch(&path, json!({"disabled": on})).await.ok(200)["disabled"], "true");
    }
    router.patch(&path, json!({"disabled": "perhaps"})).await.refuses(400, "disabled");
}

#[tokio::test]
async fn s036_a_bare_address_is_one_host() {
    let router = Router::new().await;
    router.bridge().await;
    let row = router.put("/ip/address", json!({"address": "192.168.111.111", "interface": "br-t"})).await.ok(201);
    for (name, value) in [
        ("address", "192.168.111.111/32"),
        ("network", "192.168.111.111"),
        ("actual-interface", "br-t"),
        ("dynamic", "false"),
        ("invalid", "false"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    let again = router.put("/ip/address", json!({"address": "192.168.111.111/32", "interface": "br-t"})).await;
    again.refuses(400, "failure: already have such address");
}

#[tokio::test]
async fn s037_to_s039_an_address_needs_an_interface_and_four_bytes() {
    let router = Router::new().await;
    router.bridge().await;
    let put = async |body: Value| router.put("/ip/address", body).await;
    put(json!({"address": "10.0.0.1/24"})).await.refuses(400, "missing =interface=");
    let nowhere = put(json!({"address": "10.0.0.1/24", "interface": "nope"})).await;
    nowhere.refuses(400, "input does not match any value of interface");
    put(json!({"address": "300.1.1.1/24", "interface": "br-t"})).await.refuses(400, "address");
    assert_eq!(router.rows("/ip/address").await.len(), 0);
}

#[tokio::test]
async fn s040_post_on_a_menu_is_no_command() {
    let router = Router::new().await;
    router.bridge().await;
    let reply = router.post("/ip/address", json!({"address": "10.9.9.1/24", "interface": "br-t"})).await;
    reply.refuses(400, "no such command");
    assert_eq!(router.rows("/ip/address").await.len(), 0);
}

async fn added(router: &Router) -> String {
    router.bridge().await;
    let reply = router.post("/ip/address/add", json!({"address": "10.9.9.1/24", "interface": "br-t"})).await.ok(200);
    reply["ret"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn s041_the_command_add_answers_the_id_only() {
    let router = Router::new().await;
    let id = added(&router).await;
    assert_eq!(router.get(&format!("/ip/address/{id}")).await.ok(200)["address"], "10.9.9.1/24");
}

#[tokio::test]
async fn s042_the_command_set_takes_id_or_numbers() {
    let router = Router::new().await;
    let id = added(&router).await;
    for (key, comment) in [(".id", "x"), ("numbers", "y")] {
        assert_eq!(router.post("/ip/address/set", json!({key: id, "comment": comment})).await.ok(200), json!([]));
        assert_eq!(router.get(&format!("/ip/address/{id}")).await.ok(200)["comment"], comment);
    }
    // A bare number is a position: gotcha 44.
    router.post("/ip/address/set", json!({"numbers": "0", "comment": "first"})).await.ok(200);
    assert_eq!(router.get(&format!("/ip/address/{id}")).await.ok(200)["comment"], "first");
    router.post("/ip/address/set", json!({"comment": "x"})).await.refuses(400, "missing =");
}

#[tokio::test]
async fn s043_disable_and_enable() {
    let router = Router::new().await;
    let id = added(&router).await;
    for (command, value) in [("disable", "true"), ("enable", "false")] {
        let reply = router.post(&format!("/ip/address/{command}"), json!({"numbers": id})).await;
        assert_eq!(reply.ok(200), json!([]));
        assert_eq!(router.get(&format!("/ip/address/{id}")).await.ok(200)["disabled"], value);
    }
}

#[tokio::test]
async fn s044_the_command_remove_works_once() {
    let router = Router::new().await;
    let id = added(&router).await;
    assert_eq!(router.post("/ip/address/remove", json!({".id": id})).await.ok(200), json!([]));
    router.post("/ip/address/remove", json!({".id": id})).await.is_exactly(404, NOT_FOUND);
}

#[tokio::test]
async fn s045_a_command_cannot_be_gotten() {
    let router = Router::new().await;
    for menu in ["/ip/address", "/container", "/log", "/interface", "/file"] {
        router.get(&format!("{menu}/print")).await.refuses(400, "no such command");
    }
}

#[tokio::test]
async fn s046_what_cannot_be_removed_has_no_such_command() {
    let router = Router::new().await;
    router.post("/log/info", json!({"message": "m"})).await.ok(200);
    for path in ["/log/*1", "/container/log/*1", "/ip/route/*1", "/disk/*1", "/interface/*1"] {
        let reply = router.delete(path).await;
        assert!([400, 406].contains(&reply.status), "{path}: {reply:?}");
        reply.refuses(reply.status, "no such command");
    }
}

#[tokio::test]
async fn a_menu_without_names_knows_only_ids() {
    let router = Router::new().await;
    added(&router).await;
    router.get("/ip/address/br-t").await.refuses(400, "no such command prefix");
    let reply = router.send(Method::DELETE, "/ip/address", None).await;
    reply.refuses(400, "missing or invalid resource identifier");
}

#[tokio::test]
async fn commands_take_no_keys_they_do_not_know() {
    let router = Router::new().await;
    let id = added(&router).await;
    router.post("/ip/address/remove", json!({".id": id, "force": "yes"})).await.refuses(400, "unknown parameter force");
    assert_eq!(router.rows("/ip/address").await.len(), 1);
}
