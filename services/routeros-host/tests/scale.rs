//! A thousand containers on the simulated engine.

#[path = "conformance/router.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which use more of it")]
mod router;

use router::{Router, until};
use serde_json::json;
use tokio::time::Instant;

const MANY: usize = 1000;

#[tokio::test]
async fn a_thousand_containers_are_added_started_and_listed() {
    let router = Router::new().await;
    router.archives().await;
    let begun = Instant::now();
    for count in 0..MANY {
        let address = format!("10.90.{}.{}/16", count / 250, count % 250 + 1);
        router.post("/interface/veth/add", json!({"name": format!("v{count}"), "address": address})).await.ok(200);
        let body = json!({
            "file": "disk1/img.tar", "interface": format!("v{count}"), "root-dir": format!("disk1/c{count}"), "name": format!("c{count}"),
        });
        let id = router.post("/container/add", body).await.ok(200)["ret"].clone();
        assert!(id.is_string());
    }
    let added = begun.elapsed();
    for count in 0..MANY {
        let path = format!("/container/c{count}");
        until("it is unpacked", || async { (router.get(&path).await.body["stopped"] == "true").then_some(()) }).await;
        router.post("/container/start", json!({"numbers": format!("c{count}")})).await.ok(200);
    }
    let running = || async { router.rows("/container?running=true&.proplist=name").await.len() };
    until("all run", || async { (running().await == MANY).then_some(()) }).await;
    let started = begun.elapsed() - added;
    for menu in ["/container", "/interface/veth", "/interface"] {
        assert_eq!(router.rows(menu).await.len(), MANY, "{menu}");
    }
    eprintln!("added in {added:?}, started in {started:?}");
}
