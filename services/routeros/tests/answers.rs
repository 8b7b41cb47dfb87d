//! What the device shows, made uniform: both ways of telling a state, odd strings, answers that are none.

#[allow(dead_code, reason = "shared by tests that each need a part of it")]
mod device;

use std::time::Duration;

use device::{Act, Device};
use mkube_model::neighbours::router::{ContainerState as S, Outcome, Router, RouterFault};
use serde_json::{Value, json};

async fn answering(path: &'static str, body: Vec<u8>) -> Device {
    Device::start("7.23.2", move |asked| asked.is("GET", path).then(|| Act::Reply(200, body.clone()))).await
}

fn row(state: &Value) -> Value {
    let mut row = json!({".id": "*1", "name": "web", "root-dir": "disk1/web", "interface": "veth-web"});
    for (name, value) in state.as_object().expect("properties") {
        row[name] = value.clone();
    }
    row
}

#[tokio::test]
async fn both_ways_of_telling_a_state_are_understood() {
    for (state, expected) in [
        (json!({"status": "extracting"}), S::Extracting),
        (json!({"status": "running"}), S::Running),
        (json!({"status": "stopping"}), S::Stopping),
        (json!({"status": "stopped"}), S::Stopped),
        (json!({"status": "error"}), S::Failed),
        (json!({"extracting": "true", "stopped": "false", "running": "false"}), S::Extracting),
        (json!({"running": "false", "stopped": "true"}), S::Stopped),
        (json!({"downloading/extracting": "true"}), S::Extracting),
        (json!({"download/extract failed": "true"}), S::Failed),
        (json!({"starting": "true"}), S::Starting),
        (json!({"healthy": "true"}), S::Running),
        (json!({"deleting": "true"}), S::Deleting),
        // Nothing known is never taken for stopped.
        (json!({"running": "false"}), S::Unknown),
    ] {
        let device = answering("/container", json!([row(&state)]).to_string().into_bytes()).await;
        let rows = device.router().containers().await.expect("rows");
        assert_eq!((rows[0].state, rows[0].root_dir.as_str()), (expected, "/disk1/web"), "{state}");
    }
}

#[tokio::test]
async fn rows_of_other_lists_are_not_taken_for_those_that_were_asked_for() {
    let body = json!([
        {".id": "*1", "list": "theirs", "key": "A", "value": "1", "src": "/theirs", "dst": "/data"},
        {".id": "*2", "list": "ours", "key": "B", "value": "2", "src": "/ours", "dst": "/data"},
    ]);
    let body = body.to_string().into_bytes();
    let envs = answering("/container/envs", body.clone()).await.router().envs("ours").await.expect("rows");
    let mounts = answering("/container/mounts", body).await.router().mounts("ours").await.expect("rows");
    assert_eq!(envs.iter().map(|row| row.id.0.as_str()).collect::<Vec<_>>(), ["*2"]);
    assert_eq!(mounts.iter().map(|row| row.id.0.as_str()).collect::<Vec<_>>(), ["*2"]);
}

#[tokio::test]
async fn control_characters_in_strings_are_taken_as_they_are() {
    let body =
        b"[{\".id\":\"*1\",\"time\":\"t\",\"topics\":\"container\",\"message\":\"a\x01b\tc\x1b[0m \\\"d\\\" e\nf\"}]"
            .to_vec();
    let device = answering("/log", body).await;
    let rows = device.router().log().await.expect("rows");
    assert_eq!(rows[0].message, "a\u{1}b\tc\u{1b}[0m \"d\" e\nf");
}

#[tokio::test]
async fn answers_that_are_none_are_gibberish_and_leave_open_what_was_done() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for body in [
        b"<html>busy</html>".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[1,2]".to_vec(),
        b"[[]]".to_vec(),
        b"{\"version\":\"7.23.2\"}".to_vec(),
        deep,
    ] {
        let device = answering("/container", body.clone()).await;
        let fault = device.router().containers().await.expect_err("no rows");
        assert!(
            matches!(fault, RouterFault::Gibberish { .. }),
            "{:?}: {fault:?}",
            String::from_utf8_lossy(&body[..9.min(body.len())])
        );
        assert_eq!(fault.outcome(), Outcome::Unknown);
        assert!(fault.to_string().len() < 1000, "a fault does not repeat all it was told");
    }
}

#[tokio::test]
async fn rows_of_another_menu_are_not_taken_for_ours() {
    let veth = json!([{".id": "*1", "name": "veth-a", "address": "", "gateway": ""}]);
    let device = answering("/container", veth.to_string().into_bytes()).await;
    device.router().containers().await.expect_err("these are no containers");
    let device = answering("/interface/veth", json!([row(&json!({"running": "true"}))]).to_string().into_bytes()).await;
    device.router().veths().await.expect_err("these are no veths");
    let device = answering("/system/resource", b"{\"name\":\"MikroTik\"}".to_vec()).await;
    device.router().resource().await.expect_err("this is no resource");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let device = Device::start("7.23.2", |asked| asked.is("GET", "/log").then_some(Act::Endless)).await;
    let fault = device.router().log().await.expect_err("too much");
    assert!(matches!(fault, RouterFault::Gibberish { .. }), "{fault:?}");
    // And one that drips is given up in time.
    let options = mkube_routeros::RestOptions { timeout: Duration::from_millis(200), ..device.options() };
    let begun = tokio::time::Instant::now();
    mkube_routeros::RestRouter::new(options).expect("a client").log().await.expect_err("too much or too late");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_long_listing_comes_whole() {
    let rows: Vec<Value> = (0..3000)
        .map(|count| json!({".id": format!("*{count:X}"), "time": "t", "topics": "script,info", "message": "x".repeat(200)}))
        .collect();
    let device = answering("/log", json!(rows).to_string().into_bytes()).await;
    assert_eq!(device.router().log().await.expect("rows").len(), 3000);
}

#[tokio::test]
async fn a_version_that_is_none_is_not_guessed() {
    let device = answering("/system/resource", b"{\"version\":\"unknown\"}".to_vec()).await;
    let router = device.router();
    assert!(matches!(router.resource().await, Err(RouterFault::Gibberish { .. })));
    let fault = router.add_env("e", "A", "1").await.expect_err("no shape is known");
    assert!(fault.to_string().contains("version"), "{fault}");
    assert!(device.asked().iter().all(|asked| asked.path == "/system/resource"), "nothing was written");
}
