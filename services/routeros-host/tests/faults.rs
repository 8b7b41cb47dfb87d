//! The fault file, rule by rule, over HTTP; and the counters beside it.

#[path = "conformance/router.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which use more of it")]
mod router;

use std::time::Duration;

use reqwest::Method;
use router::{Router, until};
use serde_json::{Value, json};
use tokio::time::Instant;

async fn with(rules: Value) -> Router {
    let router = Router::new().await;
    router.faults(rules).await;
    router
}

async fn names(router: &Router) -> usize {
    router.faults(json!([])).await;
    router.rows("/interface/bridge").await.len()
}

const ADD: &str = "/interface/bridge/add";

#[tokio::test]
async fn a_delay_holds_the_request_it_matches_and_no_other() {
    let router = with(json!([{"match": {"method": "POST", "path": ADD}, "delay": "300ms"}])).await;
    let begun = Instant::now();
    // The others are answered while the delayed one is still held.
    let held = router.post(ADD, json!({"name": "a"}));
    tokio::pin!(held);
    tokio::select! {
        biased;
        _ = &mut held => panic!("it was not held"),
        other = router.get("/interface/bridge") => drop(other.ok(200)),
    }
    held.await.ok(200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let begun = Instant::now();
    router.post(ADD, json!({"name": "b"})).await.ok(200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(names(&router).await, 2);
}

#[tokio::test]
async fn a_status_comes_instead_of_the_work() {
    let router = with(json!([{"match": {"path": ADD}, "status": 500}])).await;
    router.post(ADD, json!({"name": "b"})).await.refuses(500, "fault on request");
    assert_eq!(names(&router).await, 0);
}

#[tokio::test]
async fn a_status_with_drop_after_comes_in_place_of_the_answer_to_work_that_was_done() {
    let router = with(json!([{"match": {"path": ADD}, "status": 500, "drop": "after"}])).await;
    router.post(ADD, json!({"name": "b"})).await.refuses(500, "fault on request");
    assert_eq!(names(&router).await, 1);
}

#[tokio::test]
async fn a_connection_is_cut_before_the_work_or_after_it() {
    for (when, made) in [("before", 0), ("after", 1)] {
        let router = with(json!([{"match": {"path": ADD}, "drop": when}])).await;
        let error = router.try_send(Method::POST, ADD, Some(json!({"name": "b"}))).await.expect_err("no answer at all");
        assert!(!error.is_timeout() && !error.is_connect(), "{when}: {error:?}");
        assert_eq!(names(&router).await, made, "{when}");
    }
}

#[tokio::test]
async fn sessions_beyond_the_limit_are_refused() {
    let rules = json!([{"session_limit": 2}, {"match": {"path": "/log"}, "delay": "300ms"}]);
    let router = with(rules).await;
    let look = || async { router.get("/log").await.status };
    let (a, b, c, d) = tokio::join!(look(), look(), look(), look());
    let mut statuses = [a, b, c, d];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert_eq!(look().await, 200, "sessions end");
}

#[tokio::test]
async fn a_reboot_takes_the_device_away_and_the_request_with_it() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    router.run(&id).await;
    router.faults(json!([{"match": {"path": ADD}, "reboot": {"down": "400ms"}}])).await;
    let begun = Instant::now();
    router.try_send(Method::POST, ADD, Some(json!({"name": "b"}))).await.expect_err("no answer at all");
    router.try_send(Method::GET, "/container", None).await.expect_err("nobody is there");
    router.comes_back().await;
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(names(&router).await, 0, "the work was not done");
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200)["stopped"], "true");
}

#[tokio::test]
async fn unpacking_fails_is_slow_or_finds_the_disk_full() {
    for (rule, words) in
        [(json!({"extract": "fail"}), "extract layer failed"), (json!({"disk_full": true}), "no space left on disk")]
    {
        let router = with(json!([rule])).await;
        router.veth().await;
        router.archives().await;
        let body = json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1", "name": "c"});
        let id = router::id_of(&router.put("/container", body).await.ok(201));
        let row = router.reaches(&id, "download/extract failed").await;
        assert!(row[".about"].as_str().is_some_and(|text| text.contains(words)), "{row}");
        router.logs(&format!("c: download/extract error: {words}")).await;
        assert_eq!(router.rows("/file?name=disk1/c1").await.len(), 0, "nothing is left behind");
    }
    let router = with(json!([{"extract": "slow"}])).await;
    let begun = Instant::now();
    router.container(json!({})).await;
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn the_nth_unpacking_fails_whatever_requests_come_between() {
    let router = with(json!([{"extract": "fail", "when": {"nth": 2}}])).await;
    router.veth().await;
    router.archives().await;
    let mut failed = Vec::new();
    for count in 1..=3 {
        let root = format!("disk1/c{count}");
        let body = json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": root, "name": root});
        let id = router::id_of(&router.put("/container", body).await.ok(201));
        let path = format!("/container/{id}");
        let row = until("unpacking is over", || async {
            let row = router.get(&path).await.ok(200);
            (row["downloading/extracting"] == "false").then_some(row)
        })
        .await;
        failed.push(row["download/extract failed"] == "true");
    }
    assert_eq!(failed, [false, true, false]);
}

#[tokio::test]
async fn the_nth_request_is_hit_once() {
    let router = with(json!([{"match": {"method": "GET", "path": "/log"}, "when": {"nth": 2}, "status": 502}])).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        router.get("/container").await.ok(200);
        statuses.push(router.get("/log").await.status);
    }
    assert_eq!(statuses, [200, 502, 200]);
}

#[tokio::test]
async fn a_chance_is_kept_roughly_and_its_ends_exactly() {
    for (share, least, most) in [(0.0, 0, 0), (0.5, 60, 140), (1.0, 200, 200)] {
        let router = with(json!([{"match": {"path": "/log"}, "when": {"probability": share}, "status": 500}])).await;
        let mut hits = 0;
        for _ in 0..200 {
            hits += u32::from(router.get("/log").await.status == 500);
        }
        assert!((least..=most).contains(&hits), "{share}: {hits} of 200");
    }
}

#[tokio::test]
async fn a_rule_begins_after_a_while_and_ends() {
    let begun = Instant::now();
    let router = with(json!([{"when": {"after": "300ms", "for": "300ms"}, "status": 500}])).await;
    let mut hit: Vec<(Duration, u16)> = Vec::new();
    while begun.elapsed() < Duration::from_millis(300)
        || hit.last().is_some_and(|(_, status)| *status == 500)
        || hit.iter().all(|(_, status)| *status == 200)
    {
        assert!(begun.elapsed() < Duration::from_secs(5), "the rule never came and went");
        let status = router.get("/log").await.status;
        hit.push((begun.elapsed(), status));
    }
    let first = hit.iter().find(|(_, status)| *status == 500).expect("a hit").0;
    let last = hit.last().expect("the end").0;
    assert!(first >= Duration::from_millis(300) && last >= Duration::from_millis(600), "{first:?} {last:?}");
}

#[tokio::test]
async fn ids_in_a_rule_are_written_as_stars() {
    let router = Router::new().await;
    let id = router.bridge().await;
    router.faults(json!([{"match": {"method": "DELETE", "path": "/interface/bridge/*"}, "status": 500}])).await;
    router.delete(&format!("/interface/bridge/{id}")).await.refuses(500, "fault");
    assert_eq!(names(&router).await, 1);
}

#[tokio::test]
async fn rules_are_read_back_replaced_and_refused_when_wrong() {
    let rules = json!([{"match": {"method": "POST", "path": "/container/stop"}, "when": {"nth": 3}, "drop": "after"}]);
    let router = with(rules.clone()).await;
    assert_eq!(router.get("/_mkube/faults").await.ok_numbers(), rules);
    for wrong in [
        json!([{"delai": "2s"}]),
        json!([{"delay": "soon"}]),
        json!([{"drop": "sometimes"}]),
        json!([{"match": {"path": "/log"}}]),
        json!([{"status": 200}]),
        json!([{"status": 500, "when": {"nth": 0}}]),
        json!([{"status": 500, "when": {"probability": 2.0}}]),
        json!({"status": 500}),
    ] {
        assert_eq!(router.put("/_mkube/faults", wrong.clone()).await.status, 400, "{wrong}");
        assert_eq!(router.get("/_mkube/faults").await.ok_numbers(), rules, "{wrong}");
    }
    router.faults(json!([])).await;
    assert_eq!(router.get("/_mkube/faults").await.ok_numbers(), json!([]));
}

#[tokio::test]
async fn calls_are_counted_by_route_and_the_hosts_own_menu_is_not() {
    let router = Router::new().await;
    let id = router.bridge().await;
    for _ in 0..2 {
        router.get(&format!("/interface/bridge/{id}")).await.ok(200);
    }
    router.get("/interface/bridge?name=br-t").await.ok(200);
    router.get("/nonexistent").await.refuses(400, "");
    let calls = router.get("/_mkube/calls").await.ok_numbers();
    let expected = json!({
        "total": 5,
        "routes": {"PUT /interface/bridge": 1, "GET /interface/bridge/*": 2, "GET /interface/bridge": 1, "GET /nonexistent": 1},
    });
    assert_eq!(calls, expected);
    router.delete("/_mkube/calls").await.is_exactly(204, "");
    assert_eq!(router.get("/_mkube/calls").await.ok_numbers(), json!({"total": 0, "routes": {}}));
}
