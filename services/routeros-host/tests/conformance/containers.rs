//! H. Containers.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::router::{NOT_FOUND, Router, id_of, until};

fn body(more: Value) -> Value {
    let mut body = json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1"});
    for (name, value) in more.as_object().expect("properties") {
        body[name] = value.clone();
    }
    body
}

async fn prepared(version: &str) -> Router {
    let router = Router::of(version).await;
    router.veth().await;
    router.archives().await;
    router
}

#[tokio::test]
async fn s080_to_s083_a_container_needs_an_image_and_an_interface_that_are_there() {
    let router = prepared("7.23.2").await;
    let put = async |body: Value| router.put("/container", body).await;
    put(json!({"interface": "veth-a", "root-dir": "disk1/c1"})).await.refuses(400, "No file or remote-image");
    put(json!({"file": "disk1/img.tar", "root-dir": "disk1/c1"})).await.refuses(400, "missing =interface=");
    put(body(json!({"file": "nosuch.tar"}))).await.refuses(400, "input does not match any value of file");
    put(body(json!({"interface": "nope"}))).await.refuses(400, "input does not match any value of interface");
    put(body(json!({"root-dir": "/"}))).await.refuses(400, "root-dir");
    assert_eq!(router.rows("/container").await.len(), 0);
}

#[tokio::test]
async fn s084_each_release_knows_its_own_names() {
    let router = prepared("7.23.2").await;
    router.put("/container", body(json!({"mounts": "m1"}))).await.refuses(400, "unknown parameter mounts");
    router.put("/container", body(json!({"envlist": "e1"}))).await.refuses(400, "unknown parameter envlist");
    let old = prepared("7.19.6").await;
    old.put("/container/envs", json!({"name": "e1", "key": "A", "value": "1"})).await.ok(201);
    old.put("/container/mounts", json!({"name": "m1", "src": "disk1/v", "dst": "/data"})).await.ok(201);
    let row = old.put("/container", body(json!({"mounts": "m1", "envlist": "e1"}))).await.ok(201);
    assert_eq!(row["status"], "extracting");
    assert_eq!((row.get("running"), &row["stop-signal"]), (None, &json!("15")));
    old.post("/container/set", json!({".id": row[".id"], "stop-signal": "15-SIGTERM"}))
        .await
        .refuses(400, "value of stop-signal contains invalid trailing characters");
    old.get("/container/log").await.is_exactly(404, NOT_FOUND);
}

#[tokio::test]
async fn s085_a_container_is_answered_with_everything_it_has() {
    let router = prepared("7.23.2").await;
    let row = router.put("/container", body(json!({}))).await.ok(201);
    for (name, value) in [
        ("interface", "veth-a"),
        ("root-dir", "/disk1/c1"),
        ("name", "img:latest"),
        ("logging", "false"),
        ("start-on-boot", "false"),
        ("stop-signal", "15-SIGTERM"),
        ("stop-time", "10s"),
        ("memory-high", "unlimited"),
        ("restart-policy", "no"),
        ("downloading/extracting", "true"),
        ("stopped", "false"),
        ("running", "false"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert!(id_of(&row).starts_with('*'));
}

#[tokio::test]
async fn s086_an_archive_is_unpacked_and_nothing_starts_by_itself() {
    let router = prepared("7.23.2").await;
    let id = id_of(&router.put("/container", body(json!({}))).await.ok(201));
    let row = until("it is unpacked", || async {
        let row = router.get(&format!("/container/{id}")).await.ok(200);
        assert_eq!((&row["running"], &row["starting"]), (&json!("false"), &json!("false")));
        (row["stopped"] == "true").then_some(row)
    })
    .await;
    assert_eq!(row["os"], "linux");
    for name in ["arch", "tag", "image-id", "container-size"] {
        assert!(row[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
}

#[tokio::test]
async fn s087_two_containers_never_share_a_root() {
    let router = prepared("7.23.2").await;
    router.put("/container", body(json!({"name": "c"}))).await.ok(201);
    for root in ["disk1/c1", "/disk1/c1/", "disk1/c1/inner", "disk1"] {
        router.put("/container", body(json!({"name": "d", "root-dir": root}))).await.refuses(400, "root-dir overlap");
    }
    let named = router.put("/container", body(json!({"name": "c", "root-dir": "disk1/c2"}))).await;
    named.refuses(400, "container with such name already exists");
}

#[tokio::test]
async fn a_name_nobody_gave_is_made_the_only_one() {
    let router = prepared("7.23.2").await;
    let mut names = Vec::new();
    for count in 1..=3 {
        let row = router.put("/container", body(json!({"root-dir": format!("disk1/c{count}")}))).await.ok(201);
        names.push(row["name"].as_str().expect("a name").to_owned());
    }
    names.dedup();
    assert_eq!((names.len(), names[0].as_str()), (3, "img:latest"));
}

#[tokio::test]
async fn a_root_that_is_there_is_refused_from_7_23_and_moved_aside_before() {
    let router = prepared("7.23.2").await;
    router.put("/file", json!({"name": "disk1/c1/old", "contents": "x"})).await.ok(201);
    router.put("/container", body(json!({}))).await.refuses(400, "root-dir already exists");
    let older = prepared("7.22.3").await;
    older.put("/file", json!({"name": "disk1/c1/old", "contents": "x"})).await.ok(201);
    let id = id_of(&older.put("/container", body(json!({}))).await.ok(201));
    older.reaches(&id, "stopped").await;
    assert_eq!(older.rows("/file?name=disk1/c1/old").await.len(), 0);
    assert_eq!(older.get("/file/disk1/c1.backup/old").await.ok(200)["contents"], "x");
    // What is not the device's own is left alone in every release.
    let own = tempfile::tempdir().expect("a directory");
    older.put("/container", body(json!({"root-dir": own.path(), "name": "d"}))).await.refuses(400, "already exists");
}

#[tokio::test]
async fn s088_a_container_is_started_by_id_or_name_under_three_keys() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    for (key, value) in [(".id", id.as_str()), ("numbers", id.as_str()), ("numbers", "c"), ("number", id.as_str())] {
        assert_eq!(router.post("/container/start", json!({key: value})).await.ok(200), json!([]), "{key} {value}");
        router.reaches(&id, "running").await;
        router.post("/container/start", json!({key: value})).await.refuses(400, "already running");
        assert_eq!(router.post("/container/stop", json!({key: value})).await.ok(200), json!([]));
        router.reaches(&id, "stopped").await;
        router.post("/container/stop", json!({key: value})).await.refuses(400, "not running");
    }
}

#[tokio::test]
async fn s089_and_s090_a_running_container_uses_its_veth_and_cannot_be_removed() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    assert_eq!(router.get("/interface/veth/veth-a").await.ok(200)["running"], "false");
    router.run(&id).await;
    assert_eq!(router.get("/interface/veth/veth-a").await.ok(200)["running"], "true");
    assert_eq!(router.get("/interface/veth-a").await.ok(200)["running"], "true");
    router.delete(&format!("/container/{id}")).await.refuses(400, "cannot remove running");
    router.post("/container/remove", json!({".id": id})).await.refuses(400, "cannot remove running");
    router.delete("/interface/veth/veth-a").await.refuses(400, "in use by container");
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200)["running"], "true");
}

#[tokio::test]
async fn s091_and_s092_stop_answers_at_once_and_removing_has_to_wait() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    router.run(&id).await;
    assert_eq!(router.post("/container/stop", json!({".id": id})).await.ok(200), json!([]));
    let row = router.get(&format!("/container/{id}")).await.ok(200);
    assert_eq!(
        (&row["stopping"], &row["running"], &row["stopped"]),
        (&json!("true"), &json!("false"), &json!("false"))
    );
    router.delete(&format!("/container/{id}")).await.refuses(400, "cannot remove running");
    router.reaches(&id, "stopped").await;
    router.logs("c: exited with status 143").await;
}

#[tokio::test]
async fn s093_a_removed_container_goes_with_its_root_and_frees_both_late() {
    let router = Router::new().await;
    router.put("/container/mounts", json!({"list": "m1", "src": "disk1/v", "dst": "/data"})).await.ok(201);
    let id = router.container(json!({"mountlists": "m1"})).await;
    router.run(&id).await;
    router.post("/container/stop", json!({".id": id})).await.ok(200);
    router.reaches(&id, "stopped").await;
    assert_eq!(router.rows("/file?name=disk1/c1").await.len(), 1);
    router.delete(&format!("/container/{id}")).await.is_exactly(204, "");
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200)["deleting"], "true");
    let held = router.put("/container", body(json!({"name": "d", "root-dir": "disk1/c2"}))).await;
    held.refuses(400, "input does not match any value of interface");
    router.delete("/interface/veth/veth-a").await.refuses(400, "in use by container");
    router.put("/interface/veth", json!({"name": "veth-b"})).await.ok(201);
    router.put("/container", body(json!({"interface": "veth-b"}))).await.refuses(400, "root-dir overlap");
    until("the row is gone", || async { router.rows("/container").await.is_empty().then_some(()) }).await;
    router.delete(&format!("/container/{id}")).await.is_exactly(404, NOT_FOUND);
    assert_eq!(router.rows("/file?name=disk1/c1").await.len(), 0, "the root went with it");
    assert_eq!(router.rows("/file?name=disk1/v").await.len(), 1, "the mounted directory stayed");
    assert_eq!(router.rows("/file?name=disk1/img.tar").await.len(), 1, "so did the archive");
    router.put("/container", body(json!({"name": "d"}))).await.ok(201);
}

#[tokio::test]
async fn an_unpacking_is_given_up_when_its_container_is_removed() {
    let router = prepared("7.23.2").await;
    router.faults(json!([{"extract": "slow"}])).await;
    let id = id_of(&router.put("/container", body(json!({}))).await.ok(201));
    router.post("/container/start", json!({".id": id})).await.refuses(400, "extracting");
    router.post("/container/stop", json!({".id": id})).await.refuses(400, "not running");
    let begun = Instant::now();
    router.delete(&format!("/container/{id}")).await.ok(204);
    until("the row is gone", || async { router.rows("/container").await.is_empty().then_some(()) }).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it did not wait for the archive");
}

#[tokio::test]
async fn s094_and_s095_start_needs_a_container_that_is_there() {
    let router = Router::new().await;
    router.post("/container/start", json!({".id": "*FFFFF"})).await.is_exactly(404, NOT_FOUND);
    router.post("/container/start", json!({"numbers": "nobody"})).await.is_exactly(404, NOT_FOUND);
    router.post("/container/start", json!({})).await.refuses(400, "missing =");
}

#[tokio::test]
async fn s096_an_image_without_a_command_stays_stopped_and_says_why() {
    let router = Router::new().await;
    let id = router.container(json!({"file": "disk1/empty.tar"})).await;
    assert_eq!(router.post("/container/start", json!({".id": id})).await.ok(200), json!([]));
    router.logs("no command specified").await;
    let row = router.reaches(&id, "stopped").await;
    assert!(row[".about"].as_str().is_some_and(|text| text.contains("no command specified")), "{row}");
    router.post("/container/set", json!({".id": id, "cmd": "/bin/x"})).await.ok(200);
    router.run(&id).await;
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200).get(".about"), None);
}

#[tokio::test]
async fn s097_an_image_that_cannot_be_had_leaves_a_failed_row() {
    let router = prepared("7.23.2").await;
    let image = json!({"remote-image": "registry.example/none:1", "interface": "veth-a", "root-dir": "disk1/r"});
    let id = id_of(&router.put("/container", image).await.ok(201));
    let row = router.reaches(&id, "download/extract failed").await;
    assert_eq!(row["name"], "none:1");
    let line = router.logs("download/extract error").await;
    assert!(line["topics"].as_str().is_some_and(|topics| topics.contains("container")), "{line}");
    router.post("/container/start", json!({".id": id})).await.refuses(400, "need repull");
    router.delete(&format!("/container/{id}")).await.ok(204);
}

#[tokio::test]
async fn s103_a_quoted_command_is_three_words_and_its_end_is_seen() {
    let router = Router::new().await;
    let id = router.container(json!({"cmd": "sh -c \"sleep 0.2; exit 3\""})).await;
    router.run(&id).await;
    router.reaches(&id, "stopped").await;
    router.logs("c: exited with status 3").await;
    assert_eq!(router.rows("/container/log?container=c&message=exited with status 3").await.len(), 1);
}

#[tokio::test]
async fn s104_output_goes_to_the_log_only_when_asked_for() {
    let router = Router::new().await;
    let id = router.container(json!({"cmd": "sh -c \"echo hello world; exit 0\"", "logging": "yes"})).await;
    router.post("/container/start", json!({".id": id})).await.ok(200);
    let line = router.logs("hello world").await;
    assert_eq!(line["message"], "c: hello world");
    assert!(
        line["topics"].as_str().is_some_and(|topics| topics.split(',').any(|topic| topic == "container")),
        "{line}"
    );
    assert_eq!(router.rows("/container/log?message=hello world").await.len(), 1);
    router.logs("c: exited with status 0").await;
    router
        .post("/container/set", json!({".id": id, "logging": "no", "cmd": "sh -c \"echo quiet; exit 0\""}))
        .await
        .ok(200);
    router.post("/container/start", json!({".id": id})).await.ok(200);
    until("the container's own log has it", || async {
        (router.rows("/container/log?message=quiet").await.len() == 1).then_some(())
    })
    .await;
    assert!(router.rows("/log").await.iter().all(|row| row["message"] != "c: quiet"));
}

#[tokio::test]
async fn the_last_hundred_messages_of_a_container_are_kept() {
    let router = Router::new().await;
    let lines: Vec<String> = (0..150).map(|count| format!("echo l{count}")).collect();
    let id = router.container(json!({"cmd": format!("sh -c \"{}; exit 0\"", lines.join("; "))})).await;
    router.post("/container/start", json!({".id": id})).await.ok(200);
    router.logs("c: exited with status 0").await;
    let kept = router.rows("/container/log?container=c").await;
    assert_eq!((kept.len(), &kept[98]["message"]), (100, &json!("l149")));
}

#[tokio::test]
async fn s105_a_running_container_takes_changes_and_goes_on() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    router.run(&id).await;
    let row = router.patch(&format!("/container/{id}"), json!({"comment": "k"})).await.ok(200);
    assert_eq!((&row["comment"], &row["running"]), (&json!("k"), &json!("true")));
    assert!(
        router.rows("/log").await.iter().all(|row| !row["message"].as_str().unwrap_or_default().contains("exited"))
    );
}

#[tokio::test]
async fn s107_kill_ends_it_at_once() {
    let router = Router::new().await;
    let id = router.container(json!({"cmd": "sh -c \"trap '' TERM; wait\""})).await;
    router.run(&id).await;
    let reply = router.post("/container/kill", json!({"number": id, "signal": "9-SIGKILL"})).await;
    assert_eq!(reply.ok(200), json!([]));
    router.reaches(&id, "stopped").await;
    router.logs("c: exited with status 137").await;
    router.post("/container/kill", json!({"number": id})).await.refuses(400, "not running");
}

#[tokio::test]
async fn s108_a_deaf_process_is_killed_after_its_time() {
    let router = Router::new().await;
    let id = router.container(json!({"cmd": "sh -c \"trap '' TERM; wait\"", "stop-time": "2s"})).await;
    router.run(&id).await;
    let begun = Instant::now();
    router.post("/container/stop", json!({".id": id})).await.ok(200);
    router.reaches(&id, "stopped").await;
    let took = begun.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
    router.logs("c: exited with status 137").await;
}

#[tokio::test]
async fn s109_the_device_mode_can_forbid_containers() {
    let router = Router::new().await;
    let id = router.container(json!({})).await;
    router.post("/system/device-mode/update", json!({"mode": "odd"})).await.refuses(400, "mode");
    // The change waits for the power to be cut; the rule cuts it at the next look at the identity.
    router.faults(json!([{"match": {"path": "/system/identity"}, "reboot": {"down": "50ms"}}])).await;
    let update = router.try_send(Method::POST, "/system/device-mode/update", Some(json!({"container": "no"})));
    let cut = async {
        until("the second update waits", || async {
            let calls = router.get("/_mkube/calls").await.ok_numbers();
            (calls["routes"]["POST /system/device-mode/update"] == 2).then_some(())
        })
        .await;
        router.try_send(Method::GET, "/system/identity", None).await.expect_err("no answer without power");
    };
    let (update, ()) = tokio::join!(update, cut);
    update.expect_err("no answer without power");
    router.faults(json!([])).await;
    router.comes_back().await;
    assert_eq!(router.get("/system/device-mode").await.ok(200)["container"], "false");
    for (path, body) in
        [("/container/add", body(json!({"root-dir": "disk1/c2"}))), ("/container/start", json!({".id": id}))]
    {
        let reply = router.post(path, body).await;
        assert!([400, 500].contains(&reply.status));
        reply.refuses(reply.status, "not allowed by device-mode");
    }
    assert_eq!(router.rows("/container").await.len(), 1, "what is there can be looked at");
}

#[tokio::test]
async fn s110_without_its_package_the_menu_is_not_there() {
    let router = Router::new().await;
    let id = router.container(json!({"start-on-boot": "yes"})).await;
    router.run(&id).await;
    router.post("/system/package/disable", json!({"numbers": "container"})).await.ok(200);
    assert_eq!(router.get("/system/package/container").await.ok(200)["scheduled"], "scheduled for disable");
    router.post("/system/package/apply-changes", json!({})).await.ok(200);
    router.comes_back().await;
    router.get("/container").await.refuses(400, "no such command or directory (container)");
    router.put("/container/envs", json!({})).await.refuses(400, "no such command or directory (container)");
    router.post("/system/package/enable", json!({"numbers": "container"})).await.ok(200);
    router.post("/system/package/apply-changes", json!({})).await.ok(200);
    router.comes_back().await;
    router.reaches(&id, "running").await;
}
