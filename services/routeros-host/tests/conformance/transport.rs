//! A. Transport and authentication.

use std::time::Duration;

use mkube_routeros_host::Timings;
use reqwest::Method;
use serde_json::json;

use crate::router::{Reply, Router, UNAUTHORIZED, timings};

#[tokio::test]
async fn s001_the_root_answers_anybody() {
    let router = Router::new().await;
    let answer = router.client.get(format!("http://{}/", router.host.address())).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn s002_nothing_is_told_to_somebody_without_a_name() {
    let router = Router::new().await;
    let answer = router.client.get(router.url("/system/resource")).send().await.expect("an answer");
    Reply::of(answer).await.is_exactly(401, UNAUTHORIZED);
}

#[tokio::test]
async fn s003_a_wrong_password_is_refused_and_logged() {
    let mut router = Router::new().await;
    router.log_in("admin", "guess");
    router.get("/system/resource").await.is_exactly(401, UNAUTHORIZED);
    router.log_in("admin", "");
    let rows = router.rows("/log?topics=system,error,critical").await;
    let message = rows[0]["message"].as_str().expect("a message");
    assert!(message.starts_with("login failure for user"), "{message}");
}

#[tokio::test]
async fn s004_a_factory_device_knows_admin_without_a_password() {
    let router = Router::new().await;
    let request = router.client.get(router.url("/system/resource")).header("authorization", "Basic YWRtaW46");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn s006_an_unknown_directory_is_named() {
    let router = Router::new().await;
    router.get("/nonexistent/path").await.refuses(400, "no such command or directory (nonexistent)");
    router.get("/system/nonexistent").await.refuses(400, "no such command or directory (nonexistent)");
    router.get("/ip/firewall/nat").await.refuses(400, "no such command or directory (firewall)");
}

#[tokio::test]
async fn s007_http_and_https_answer_alike() {
    let router = Router::new().await;
    let address = router.host.tls_address().expect("an HTTPS listener");
    let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().expect("a client");
    for path in ["/system/identity", "/container/config", "/user", "/system/device-mode"] {
        let url = format!("https://{address}/rest{path}");
        let answer = client.get(url).basic_auth("admin", Some("")).send().await.expect("an answer");
        assert_eq!(Reply::of(answer).await.ok(200), router.get(path).await.ok(200), "{path}");
    }
}

#[tokio::test]
async fn s008_and_s012_no_cookies_and_every_value_is_a_string() {
    let router = Router::new().await;
    router.bridge().await;
    let id = router.container(json!({})).await;
    router.run(&id).await;
    for path in [
        "/container",
        "/container/config",
        "/container/envs",
        "/container/mounts",
        "/container/log",
        "/interface",
        "/interface/veth",
        "/interface/bridge",
        "/interface/bridge/port",
        "/ip/address",
        "/ip/route",
        "/file",
        "/disk",
        "/log",
        "/user",
        "/system/resource",
        "/system/identity",
        "/system/device-mode",
        "/system/package",
    ] {
        // `Reply::of` looks at cookies, media type and every leaf.
        let body = router.get(path).await.ok(200);
        assert!(body.is_array() || body.is_object(), "{path}: {body}");
    }
}

#[tokio::test]
async fn s009_a_body_of_another_media_type_is_not_read() {
    let router = Router::new().await;
    for kind in ["text/plain", "application/json; charset=utf-8"] {
        let request = router.client.put(router.url("/interface/bridge")).basic_auth("admin", Some(""));
        let answer = request.header("content-type", kind).body(r#"{"name":"br-t"}"#).send().await.expect("an answer");
        assert_eq!(Reply::of(answer).await.status, 415, "{kind}");
    }
    assert_eq!(router.rows("/interface/bridge").await.len(), 0);
}

#[tokio::test]
async fn s010_half_a_body_creates_nothing() {
    let router = Router::new().await;
    router.bridge().await;
    for body in [r#"{"address":"#, r#"{"address":"10.0.0.1/24","interface":"br-t""#] {
        let request = router.client.put(router.url("/ip/address")).basic_auth("admin", Some(""));
        let answer = request.header("content-type", "application/json").body(body).send().await.expect("an answer");
        let reply = Reply::of(answer).await;
        assert!(reply.status == 400 && reply.body["detail"].as_str().is_some_and(|text| !text.is_empty()), "{reply:?}");
    }
    assert_eq!(router.rows("/ip/address").await.len(), 0);
}

#[tokio::test]
async fn s010_a_body_without_end_is_cut_off_at_a_mebibyte() {
    let router = Router::new().await;
    let answer = router.put("/file", json!({"name": "disk1/x", "contents": "x".repeat(2 << 20)})).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn s011_head_is_not_implemented() {
    let router = Router::new().await;
    let answer = router.try_send(Method::HEAD, "/interface", None).await.expect("an answer");
    assert_eq!(answer.status(), 501);
}

#[tokio::test]
async fn s013_keys_come_in_byte_order() {
    let router = Router::new().await;
    router.bridge().await;
    let id = router.container(json!({"comment": "last"})).await;
    for path in [&format!("/container/{id}"), "/interface/bridge/br-t", "/system/resource"] {
        let text = router.get(path).await.text;
        let keys: Vec<&str> =
            text.trim_matches(['{', '}']).split("\",\"").filter_map(|pair| pair.split("\":\"").next()).collect();
        let keys: Vec<&str> = keys.into_iter().map(|key| key.trim_start_matches('"')).collect();
        assert!(keys.len() > 5 && keys.is_sorted(), "{path}: {keys:?}");
        assert!(path.starts_with("/system") || keys[0] == ".id", "{path}: {keys:?}");
    }
    let error = router.get("/nonexistent").await.text;
    assert_eq!(error, r#"{"detail":"no such command or directory (nonexistent)","error":400,"message":"Bad Request"}"#);
}

#[tokio::test]
async fn s059_what_takes_too_long_is_answered_with_session_closed_and_goes_on() {
    let router = Router::with("7.23.2", Timings { longest: Duration::from_millis(200), ..timings() }).await;
    router.faults(json!([{"match": {"method": "PUT", "path": "/interface/bridge"}, "delay": "500ms"}])).await;
    router.put("/interface/bridge", json!({"name": "br-t"})).await.refuses(400, "Session closed");
    assert_eq!(router.rows("/interface/bridge").await.len(), 0, "not yet");
    crate::router::until("the bridge is there", || async {
        (router.rows("/interface/bridge").await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ids_may_be_written_with_percent_signs_and_in_small_letters() {
    let router = Router::new().await;
    for count in 1..=11 {
        router.put("/interface/bridge", json!({"name": format!("b{count}")})).await.ok(201);
    }
    for path in ["/interface/bridge/*B", "/interface/bridge/%2AB", "/interface/bridge/*b"] {
        assert_eq!(router.get(path).await.ok(200)["name"], "b11", "{path}");
    }
    assert_eq!(router.rows("/interface/bridge?.id=*b").await.len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_what_it_began() {
    let router = Router::new().await;
    router.faults(json!([{"match": {"method": "PUT"}, "delay": "300ms"}])).await;
    let request = router.client.put(router.url("/interface/bridge")).basic_auth("admin", Some(""));
    let request = request.header("content-type", "application/json").timeout(Duration::from_millis(100));
    let error = request.body(r#"{"name":"br-t"}"#).send().await.expect_err("no answer in time");
    assert!(error.is_timeout(), "{error}");
    crate::router::until("the bridge is there", || async {
        (router.rows("/interface/bridge").await.len() == 1).then_some(())
    })
    .await;
}
