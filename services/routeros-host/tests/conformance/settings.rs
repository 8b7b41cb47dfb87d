//! B. Settings menus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::router::{Router, until};

#[tokio::test]
async fn s014_the_resource_is_an_object_with_its_figures() {
    let router = Router::new().await;
    let resource = router.get("/system/resource").await.ok(200);
    for name in [
        "version",
        "uptime",
        "architecture-name",
        "board-name",
        "platform",
        "cpu-count",
        "cpu-load",
        "free-memory",
        "total-memory",
        "free-hdd-space",
        "total-hdd-space",
        "build-time",
    ] {
        assert!(resource[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {resource}");
    }
    assert_eq!(resource["platform"], "MikroTik");
    for name in ["total-memory", "total-hdd-space", "free-hdd-space"] {
        assert!(
            resource[name].as_str().and_then(|text| text.parse::<u64>().ok()).is_some_and(|size| size > 0),
            "{name}"
        );
    }
}

#[tokio::test]
async fn s014_the_load_of_the_processors_is_that_of_this_machine() {
    let router = Router::new().await;
    let working = Arc::new(AtomicBool::new(true));
    let still = working.clone();
    let worker = std::thread::spawn(move || {
        while still.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let load = || async {
        let resource = router.get("/system/resource").await.ok(200);
        let load = resource["cpu-load"].as_str().and_then(|text| text.parse::<u8>().ok()).expect("percent");
        assert!(load <= 100, "{load}");
        (load > 0).then_some(())
    };
    until("somebody is seen to work", load).await;
    working.store(false, Ordering::Relaxed);
    worker.join().expect("it ended");
}

#[tokio::test]
async fn s015_the_version_says_number_and_channel() {
    for (asked, shown) in
        [("7.23.2", "7.23.2 (stable)"), ("7.19", "7.19 (stable)"), ("7.24beta1 (testing)", "7.24beta1 (testing)")]
    {
        let router = Router::of(asked).await;
        assert_eq!(router.get("/system/resource").await.ok(200)["version"], shown);
    }
}

#[tokio::test]
async fn s016_the_uptime_is_a_duration_and_grows() {
    let router = Router::new().await;
    let uptime = || async {
        let resource = router.get("/system/resource").await.ok(200);
        mkube_router_machine::duration(resource["uptime"].as_str().expect("text")).expect("a duration")
    };
    let first = uptime().await;
    until("the uptime has grown", || async { (uptime().await > first).then_some(()) }).await;
}

#[tokio::test]
async fn s017_the_identity_is_set_by_its_command() {
    let router = Router::new().await;
    assert_eq!(router.get("/system/identity").await.ok(200), json!({"name": "MikroTik"}));
    assert_eq!(router.post("/system/identity/set", json!({"name": "r1"})).await.ok(200), json!([]));
    assert_eq!(router.get("/system/identity").await.ok(200), json!({"name": "r1"}));
    router.post("/system/identity/set", json!({"nosuch": "r1"})).await.refuses(400, "unknown parameter nosuch");
}

#[tokio::test]
async fn s018_settings_cannot_be_patched() {
    let router = Router::new().await;
    for menu in ["/system/identity", "/container/config"] {
        router.patch(menu, json!({"name": "x"})).await.refuses(400, "missing or invalid resource identifier");
    }
    assert_eq!(router.get("/system/identity").await.ok(200), json!({"name": "MikroTik"}));
}

#[tokio::test]
async fn s019_the_device_mode_says_whether_containers_may_run() {
    let router = Router::new().await;
    let mode = router.get("/system/device-mode").await.ok(200);
    assert_eq!(
        (&mode["container"], &mode["attempt-count"], &mode["flagged"]),
        (&json!("true"), &json!("0"), &json!("false"))
    );
    assert_eq!(mode["mode"], "rose");
}

#[tokio::test]
async fn s020_container_settings_never_show_their_password() {
    let router = Router::new().await;
    router.post("/container/config/set", json!({"username": "u", "password": "secret"})).await.ok(200);
    let reply = router.get("/container/config").await;
    assert!(!reply.text.contains("secret"));
    let config = reply.ok(200);
    for (name, value) in
        [("registry-url", ""), ("tmpdir", ""), ("layer-dir", ""), ("memory-high", "unlimited"), ("username", "u")]
    {
        assert_eq!(config[name], value, "{name}");
    }
    let old = Router::of("7.19.6").await.get("/container/config").await.ok(200);
    assert_eq!((&old["ram-high"], old.get("memory-high")), (&json!("unlimited"), None));
}

#[tokio::test]
async fn s021_one_unknown_key_refuses_all_of_them() {
    let router = Router::new().await;
    let reply = router.post("/container/config/set", json!({"tmpdir": "disk1/tmp", "dns-servers": "1.1.1.1"})).await;
    reply.refuses(400, "unknown parameter dns-servers");
    assert_eq!(router.get("/container/config").await.ok(200)["tmpdir"], "");
}

#[tokio::test]
async fn s022_sizes_are_read_with_suffixes_and_printed_in_bytes() {
    let router = Router::new().await;
    router.post("/container/config/set", json!({"memory-high": "200M"})).await.ok(200);
    assert_eq!(router.get("/container/config").await.ok(200)["memory-high"], "209715200");
    router.post("/container/config/set", json!({"memory-high": "lots"})).await.refuses(400, "memory-high");
}
