//! Every call the client makes, for each release, held against the console schema of that release.

#[allow(dead_code, reason = "shared by tests that each need a part of it")]
mod device;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use device::{Act, Asked, Device};
use mkube_model::neighbours::router::{NewContainer, NewMount, NewVeth, Router, RowId};
use mkube_routeros::RestRouter;
use serde_json::json;

const RELEASES: [&str; 6] = ["7.19.6", "7.20.8", "7.21.5", "7.22.3", "7.23.2", "7.24"];

/// Menu, then command, then arguments.
type Schema = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn schema(release: &str) -> Schema {
    let release = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/fixtures/routeros-schema/{release}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a schema")
}

fn everything() -> NewContainer {
    NewContainer {
        name: "web".into(),
        file: "disk1/web.tar".into(),
        interface: "veth-web".into(),
        root_dir: "/disk1/web".into(),
        mount_list: Some("m-web".into()),
        env_list: Some("e-web".into()),
        cmd: "serve \"a b\"".into(),
        entrypoint: "/bin/web".into(),
        workdir: "/srv".into(),
        user: "1000:1000".into(),
        hostname: "web".into(),
        dns: vec!["10.0.0.1".parse().expect("an address")],
        logging: true,
        start_on_boot: true,
        memory_limit: Some(64 << 20),
        stop_time: Some(Duration::from_secs(30)),
        comment: "mkube".into(),
    }
}

/// Makes every call there is.
async fn call_everything(router: &RestRouter) {
    let id = RowId("*1F".into());
    let veth = NewVeth {
        name: "veth-web".into(),
        address: "10.0.0.2/24".parse().expect("a network"),
        gateway: Some("10.0.0.1".parse().expect("an address")),
        comment: "mkube".into(),
    };
    let mount = NewMount { list: "m-web".into(), src: "/disk1/v".into(), dst: "/v".into(), read_only: true };
    router.resource().await.expect("answered");
    router.containers().await.expect("answered");
    router.veths().await.expect("answered");
    router.bridge_ports().await.expect("answered");
    router.bridges().await.expect("answered");
    router.addresses().await.expect("answered");
    router.mounts("m-web").await.expect("answered");
    router.envs("e-web").await.expect("answered");
    router.log().await.expect("answered");
    router.container_log("web").await.expect("answered");
    router.add_container(&everything()).await.expect("answered");
    router.start_container(&id).await.expect("answered");
    router.stop_container(&id).await.expect("answered");
    router.remove_container(&id).await.expect("answered");
    router.set_start_on_boot(&id, true).await.expect("answered");
    router.set_container_comment(&id, "mkube").await.expect("answered");
    router.set_container_interface(&id, "veth-web").await.expect("answered");
    router.add_veth(&veth).await.expect("answered");
    router.set_veth(&id, &veth).await.expect("answered");
    router.remove_veth(&id).await.expect("answered");
    router.add_bridge("br", "mkube").await.expect("answered");
    router.add_address("10.0.0.1/24".parse().expect("a network"), "br", "mkube").await.expect("answered");
    router.add_bridge_port("br", "veth-web", "mkube").await.expect("answered");
    router.remove_bridge_port(&id).await.expect("answered");
    router.add_mount(&mount).await.expect("answered");
    router.remove_mount(&id).await.expect("answered");
    router.add_env("e-web", "A", "").await.expect("answered");
    router.remove_env(&id).await.expect("answered");
    let url = mkube_model::secret::Secret::new("http://10.0.0.1:8082/offers/token");
    router.file_size("/disk1/x.tar").await.expect("answered");
    router.disk_free("/disk1/x.tar").await.expect("answered");
    router.fetch_file(&url, "/disk1/x.tar").await.expect_err("a quiet device says nothing of how it went");
    router.fetch_file_as_job(&url, "/disk1/x.tar").await.expect("answered");
    router.rename_file("/disk1/x.tar", "/disk1/y.tar").await.expect("answered");
    router.remove_file("/disk1/x.tar").await.expect("answered");
    router.add_file("/disk1/x.txt", "x").await.expect("answered");
    router.set_file("/disk1/x.txt", "x").await.expect("answered");
}

async fn calls_of(release: &str) -> Vec<Asked> {
    let device = Device::start(release, |_| None).await;
    call_everything(&device.router()).await;
    device.asked()
}

/// Words a request may name of a menu: what can be written, and what is only shown.
fn shown(schema: &Schema, menu: &str) -> BTreeSet<String> {
    let written = schema.get(menu).into_iter().flat_map(|commands| commands.get("add").into_iter().flatten().cloned());
    written.chain([".id", ".proplist", "dynamic", "container", "size", "slot", "free"].map(str::to_owned)).collect()
}

#[tokio::test]
async fn no_call_uses_a_name_that_its_release_does_not_have() {
    for release in RELEASES {
        let schema = schema(release);
        let calls = calls_of(release).await;
        assert!(calls.len() >= 36, "{release}: {} calls", calls.len());
        for call in calls {
            let words: Vec<&str> = call.path.trim_start_matches('/').split('/').collect();
            if call.method == "GET" {
                let menu = words.join("/");
                assert!(schema.contains_key(&menu), "{release}: no menu {menu}");
                assert!(schema[&menu].contains_key("print"), "{release}: {menu} cannot be printed");
                let known = shown(&schema, &menu);
                for (name, value) in &call.query {
                    assert!(known.contains(name), "{release}: GET {menu} filters by {name}");
                    for name in value.split(',').filter(|_| name == ".proplist") {
                        assert!(known.contains(name), "{release}: GET {menu} asks for {name}");
                    }
                }
            } else {
                assert_eq!(call.method, "POST", "commands are posted");
                let (command, menu) = words.split_last().expect("a command");
                let menu = menu.join("/");
                let known = schema.get(&menu).and_then(|commands| commands.get(*command));
                // A command beside the menus, such as `/tool/fetch`.
                let known = known.or_else(|| schema.get(&words.join("/"))?.get(""));
                let known = known.unwrap_or_else(|| panic!("{release}: no command {menu}/{command}"));
                for name in call.body.as_object().expect("properties").keys() {
                    // The API's own name for the row a command is about.
                    let alias = name == ".id" && *command != "add";
                    assert!(alias || known.contains(name), "{release}: {menu}/{command} is sent {name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn each_release_is_spoken_to_in_its_own_words() {
    let body = async |release: &str, path: &str| {
        let calls = calls_of(release).await;
        calls.into_iter().find(|call| call.is("POST", path)).expect("called").body
    };
    for (release, lists, memory) in [
        ("7.19.6", ["envlist", "mounts"], None),
        ("7.20.8", ["envlists", "mounts"], Some("memory-high")),
        ("7.21.5", ["envlists", "mountlists"], Some("memory-high")),
        ("7.22.3", ["envlists", "mountlists"], Some("memory-high")),
        ("7.23.2", ["envlists", "mountlists"], Some("memory-max")),
        ("7.24", ["envlists", "mountlists"], Some("memory-max")),
    ] {
        let container = body(release, "/container/add").await;
        assert_eq!((&container[lists[0]], &container[lists[1]]), (&json!("e-web"), &json!("m-web")), "{release}");
        for name in ["memory-high", "memory-max"] {
            let expected = if memory == Some(name) { json!("67108864") } else { json!(null) };
            assert_eq!(container[name], expected, "{release}: {name}");
        }
        assert_eq!(container.get("stop-time").is_some(), !["7.19.6", "7.20.8"].contains(&release), "{release}");
        assert_eq!(container["cmd"], "serve \"a b\"");
    }
    for (release, list, read_only) in [
        ("7.19.6", "name", json!({})),
        ("7.20.8", "name", json!({"read-only": "true"})),
        ("7.21.5", "list", json!({"read-only": "true"})),
        ("7.23.2", "list", json!({"mode": "ro"})),
    ] {
        let mut expected = json!({list: "m-web", "src": "/disk1/v", "dst": "/v"});
        for (name, value) in read_only.as_object().expect("properties") {
            expected[name] = value.clone();
        }
        assert_eq!(body(release, "/container/mounts/add").await, expected, "{release}");
    }
    assert_eq!(body("7.19.6", "/container/envs/add").await, json!({"name": "e-web", "key": "A", "value": ""}));
    assert_eq!(body("7.20.8", "/container/envs/add").await, json!({"list": "e-web", "key": "A", "value": ""}));
}

#[tokio::test]
async fn every_request_carries_what_a_device_insists_on() {
    for call in calls_of("7.23.2").await {
        assert_eq!(call.headers["authorization"], "Basic YWRtaW46czNjcmV0", "{call:?}");
        if call.method == "POST" {
            // Literally: some releases refuse it with a character set behind it.
            assert_eq!(call.headers["content-type"], "application/json", "{call:?}");
        }
    }
}

#[tokio::test]
async fn the_release_is_learnt_once_and_one_call_is_one_request() {
    let device = Device::start("7.23.2", |_| None).await;
    let router = device.router();
    router.add_env("e", "A", "1").await.expect("answered");
    router.add_env("e", "B", "2").await.expect("answered");
    let paths: Vec<String> = device.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/system/resource", "/container/envs/add", "/container/envs/add"]);
}

#[tokio::test]
async fn a_release_before_7_20_has_one_log_for_all_and_the_containers_lines_are_picked() {
    let device = Device::start("7.19.6", |asked| {
        let rows = json!([
            {".id": "*1", "time": "t", "topics": "container,info,debug", "message": "web: hello"},
            {".id": "*2", "time": "t", "topics": "container,info,debug", "message": "web2: other"},
            {".id": "*3", "time": "t", "topics": "system,info", "message": "web: not a container"},
        ]);
        asked.is("GET", "/log").then(|| Act::json(200, &rows))
    })
    .await;
    let rows = device.router().container_log("web").await.expect("answered");
    assert_eq!(rows.iter().map(|row| row.message.as_str()).collect::<Vec<_>>(), ["hello"]);
}
