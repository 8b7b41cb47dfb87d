//! Starting again: by command, by policy, and stops that come early.

use std::time::Duration;

use mkube_routeros_host::Timings;
use serde_json::json;

use crate::router::{Router, timings, until};

#[tokio::test]
async fn restart_stops_and_starts_again() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    router.post("/container/restart", json!({"number": id})).await.refuses(400, "not running");
    router.run(&id).await;
    assert_eq!(router.post("/container/restart", json!({"number": id})).await.ok(200), json!([]));
    router.reaches(&id, "stopping").await;
    router.reaches(&id, "running").await;
    assert_eq!(router.rows("/container/log?message=started").await.len(), 2);
    let old = Router::of("7.22.3").await;
    old.post("/container/restart", json!({})).await.refuses(400, "no such command");
}

#[tokio::test]
async fn a_policy_starts_what_failed_again_until_its_limit() {
    let router = Router::new().await;
    let policy = json!({
        "cmd": "sh -c \"exit 3\"", "restart-policy": "on-failure", "restart-interval": "100ms", "restart-max-count": "2",
    });
    let id = router.container(policy).await;
    router.post("/container/start", json!({".id": id})).await.ok(200);
    until("it ended three times", || async {
        (router.rows("/container/log?message=exited with status 3").await.len() == 3).then_some(())
    })
    .await;
    let row = router.reaches(&id, "stopped").await;
    assert_eq!(row["restart-count"], "2");
    router
        .post("/container/set", json!({".id": id, "restart-policy": "sometimes"}))
        .await
        .refuses(400, "input does not match any value of restart-policy");
}

#[tokio::test]
async fn what_was_asked_to_stop_is_not_started_again() {
    let router = Router::new().await;
    let id = router.container(json!({"restart-policy": "always", "restart-interval": "10ms"})).await;
    router.run(&id).await;
    router.post("/container/stop", json!({".id": id})).await.ok(200);
    router.reaches(&id, "stopped").await;
    router.run(&id).await;
    assert_eq!(router.rows("/container/log?message=started").await.len(), 2, "once for each time it was asked for");
}

#[tokio::test]
async fn a_stop_before_the_process_is_there_ends_it_all_the_same() {
    // The signal goes out long before there is anybody to hear it.
    let timings = Timings { start: Duration::from_millis(400), stop: Duration::from_millis(10), ..timings() };
    let router = Router::with("7.23.2", timings).await;
    let id = router.container(json!({"stop-time": "1m"})).await;
    router.post("/container/start", json!({".id": id})).await.ok(200);
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200)["starting"], "true");
    router.post("/container/stop", json!({".id": id})).await.ok(200);
    router.reaches(&id, "stopped").await;
    router.delete(&format!("/container/{id}")).await.ok(204);
}
