//! I. System; and what a reboot does to containers.

use reqwest::Method;
use serde_json::json;

use crate::router::{Router, UNAUTHORIZED, until};

#[tokio::test]
async fn s106_and_s114_a_reboot_starts_what_starts_on_boot() {
    let router = Router::new().await;
    router.veth().await;
    router.archives().await;
    let mut ids = Vec::new();
    for (name, boot) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        let more = json!({"name": name, "root-dir": format!("disk1/{name}"), "start-on-boot": boot, "comment": name});
        ids.push(router.another_container(more).await);
    }
    for id in &ids[..2] {
        router.run(id).await;
    }
    let config = async || {
        let rows = router.rows("/container?.proplist=name,root-dir,start-on-boot,comment").await;
        (rows, router.rows("/interface/veth?.proplist=name,address").await)
    };
    let before = config().await;
    until("the device is up for two seconds", || async {
        let uptime = router.get("/system/resource").await.ok(200)["uptime"].as_str().expect("text").to_owned();
        mkube_router_machine::duration(&uptime).filter(|up| up.as_secs() >= 2)
    })
    .await;
    assert_eq!(router.post("/system/reboot", json!({})).await.ok(200), json!([]));
    until("the device is away", || async {
        router.try_send(Method::GET, "/system/resource", None).await.is_err().then_some(())
    })
    .await;
    router.comes_back().await;
    let uptime = router.get("/system/resource").await.ok(200)["uptime"].as_str().expect("text").to_owned();
    assert!(mkube_router_machine::duration(&uptime).is_some_and(|up| up.as_secs() < 2), "{uptime}");
    for id in [&ids[0], &ids[2]] {
        router.reaches(id, "running").await;
    }
    assert_eq!(router.get(&format!("/container/{}", ids[1])).await.ok(200)["stopped"], "true");
    assert_eq!(config().await, before);
    // They stay as they are: no late news of the time before the reboot.
    router.post("/container/start", json!({".id": ids[1]})).await.ok(200);
    router.reaches(&ids[1], "running").await;
    assert_eq!(router.get(&format!("/container/{}", ids[0])).await.ok(200)["running"], "true");
}

#[tokio::test]
async fn a_reboot_gives_up_changes_of_packages_that_were_not_applied() {
    let router = Router::new().await;
    router.post("/system/package/disable", json!({"numbers": "container"})).await.ok(200);
    router.post("/system/reboot", json!({})).await.ok(200);
    until("the device is away", || async {
        router.try_send(Method::GET, "/system/resource", None).await.is_err().then_some(())
    })
    .await;
    router.comes_back().await;
    assert_eq!(router.get("/system/package/container").await.ok(200)["scheduled"], "");
    assert_eq!(router.rows("/container").await.len(), 0);
    assert_eq!(router.rows("/log?message=router rebooted").await.len(), 1);
}

#[tokio::test]
async fn s111_users_have_passwords_nobody_reads_and_groups_that_count() {
    let mut router = Router::new().await;
    router.bridge().await;
    let made = router.put("/user", json!({"name": "u1", "group": "read", "password": "p"})).await.ok(201);
    assert_eq!(made.get("password"), None);
    assert!(router.rows("/user").await.iter().all(|row| row.get("password").is_none()));
    router.log_in("u1", "p");
    assert_eq!(router.rows("/interface/bridge").await.len(), 1);
    assert_eq!(router.post("/interface/print", json!({"count-only": ""})).await.ok(200), json!({"ret": "1"}));
    let address = json!({"address": "10.0.0.1/24", "interface": "br-t"});
    router.put("/ip/address", address.clone()).await.refuses(500, "not enough permissions");
    router.post("/ip/address/add", address).await.refuses(500, "not enough permissions");
    router.put("/file", json!({"name": "disk1/x"})).await.refuses(500, "not enough permissions");
    router.post("/system/reboot", json!({})).await.refuses(500, "not enough permissions");
    assert_eq!(router.rows("/ip/address").await.len(), 0);
    router.log_in("u1", "wrong");
    router.get("/user").await.is_exactly(401, UNAUTHORIZED);
}

#[tokio::test]
async fn s111_a_writer_changes_everything_but_users() {
    let mut router = Router::new().await;
    router.put("/user", json!({"name": "w", "group": "write", "password": "p"})).await.ok(201);
    router.log_in("w", "p");
    router.bridge().await;
    router.put("/user", json!({"name": "x", "group": "full"})).await.refuses(500, "not enough permissions");
}

#[tokio::test]
async fn a_user_switched_off_cannot_enter_and_the_last_one_stays() {
    let mut router = Router::new().await;
    let last = router.delete("/user/admin").await;
    last.refuses(400, "last user");
    router.put("/user", json!({"name": "u1", "group": "full", "password": "p", "disabled": "yes"})).await.ok(201);
    router.log_in("u1", "p");
    router.get("/user").await.is_exactly(401, UNAUTHORIZED);
}

#[tokio::test]
async fn s112_a_group_must_be_there() {
    let router = Router::new().await;
    let reply = router.put("/user", json!({"name": "u2", "group": "nogroup"})).await;
    reply.refuses(400, "input does not match any value of group");
    assert_eq!(router.rows("/user").await.len(), 1);
}

#[tokio::test]
async fn s113_the_container_package_is_there() {
    let router = Router::new().await;
    let packages = router.rows("/system/package").await;
    let container = packages.iter().find(|row| row["name"] == "container").expect("the package");
    assert_eq!((&container["version"], &container["disabled"]), (&json!("7.23.2"), &json!("false")));
}
