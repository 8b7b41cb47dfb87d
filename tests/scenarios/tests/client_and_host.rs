//! The device's client against the host it is made for, in every release, and on bad days.

use std::time::Duration;

use mkube_model::neighbours::router::{
    ContainerState, NewContainer, NewMount, NewVeth, Outcome, Router, RouterFault, RowId,
};
use mkube_routeros::{Password, RestOptions, RestRouter};
use mkube_routeros_host::{EngineKind, FaultRule, HostOptions, RunningHost, Timings, start};
use serde_json::{Value, json};
use tempfile::TempDir;

const RELEASES: [&str; 6] = ["7.19.6", "7.20.8", "7.21.5", "7.22.3", "7.23.2", "7.24"];

struct Pair {
    host: RunningHost,
    router: RestRouter,
    directory: TempDir,
}

fn options(host: &RunningHost) -> RestOptions {
    RestOptions {
        base_url: format!("http://{}/rest", host.address()),
        password: Password::new("s3cret"),
        timeout: Duration::from_secs(5),
        long_timeout: Duration::from_secs(5),
        ..RestOptions::default()
    }
}

async fn pair(version: &str, rules: Value) -> Pair {
    let directory = tempfile::tempdir().expect("a directory");
    let rules: Vec<FaultRule> = serde_json::from_value(rules).expect("rules");
    let quick = Duration::from_millis(20);
    let host = start(HostOptions {
        listen: "127.0.0.1:0".parse().expect("an address"),
        tls_listen: Some("127.0.0.1:0".parse().expect("an address")),
        data_dir: directory.path().to_owned(),
        engine: EngineKind::Simulated,
        ros_version: version.to_owned(),
        user: "admin".to_owned(),
        password: "s3cret".to_owned(),
        latency: Duration::ZERO,
        faults: rules,
        timings: Timings { extract: quick, start: quick, stop: quick, remove: quick, ..Timings::default() },
    })
    .await
    .expect("a host");
    std::fs::write(directory.path().join("disk1/img.tar"), "an archive").expect("an archive");
    let router = RestRouter::new(options(&host)).expect("a client");
    Pair { host, router, directory }
}

fn veth(name: &str) -> NewVeth {
    NewVeth {
        name: name.to_owned(),
        address: "10.90.0.2/24".parse().expect("a network"),
        gateway: Some("10.90.0.1".parse().expect("an address")),
        comment: "mkube".to_owned(),
    }
}

fn container() -> NewContainer {
    NewContainer {
        name: "web".to_owned(),
        file: "disk1/img.tar".to_owned(),
        interface: "veth-web".to_owned(),
        root_dir: "disk1/web".to_owned(),
        mount_list: Some("m-web".to_owned()),
        env_list: Some("e-web".to_owned()),
        cmd: "serve \"a b\"".to_owned(),
        entrypoint: "/bin/web".to_owned(),
        workdir: "/srv".to_owned(),
        user: "1000:1000".to_owned(),
        hostname: "web".to_owned(),
        dns: vec!["10.90.0.1".parse().expect("an address")],
        logging: true,
        start_on_boot: true,
        memory_limit: Some(64 << 20),
        stop_time: Some(Duration::from_secs(2)),
        comment: "mkube".to_owned(),
    }
}

/// Waits until the only container is in a state.
async fn reaches(router: &RestRouter, state: ContainerState) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let rows = router.containers().await.expect("rows");
        if rows.iter().any(|row| row.state == state) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "never {state:?}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_release_is_driven_through_the_whole_life_of_a_container() {
    for release in RELEASES {
        let Pair { router, .. } = &pair(release, json!([])).await;
        let resource = router.resource().await.expect("a resource");
        assert!(resource.version.starts_with(release) && resource.memory_total > 0 && resource.disk_total > 0);
        router.add_bridge("br", "mkube").await.expect("a bridge");
        router.add_address("10.90.0.1/24".parse().expect("a network"), "br", "mkube").await.expect("an address");
        assert_eq!(bridges(router).await, ["br"]);
        assert_eq!(router.addresses().await.expect("addresses")[0].interface, "br");
        let veth_id = router.add_veth(&veth("veth-web")).await.expect("a veth");
        let port = router.add_bridge_port("br", "veth-web", "mkube").await.expect("a port");
        assert_eq!(router.bridge_ports().await.expect("ports")[0].interface, "veth-web");
        for read_only in [false, true] {
            let dst = format!("/data-{read_only}");
            let mount = NewMount { list: "m-web".into(), src: "disk1/v".into(), dst, read_only };
            router.add_mount(&mount).await.expect("a mount");
        }
        let mounts = router.mounts("m-web").await.expect("mounts");
        // Before 7.20 a mount cannot be made read-only.
        assert_eq!(
            mounts.iter().map(|mount| mount.read_only).collect::<Vec<_>>(),
            [false, release != "7.19.6"],
            "{release}"
        );
        let env = router.add_env("e-web", "A", "").await.expect("a variable");
        assert_eq!(router.envs("e-web").await.expect("variables")[0].key, "A");

        let id = router.add_container(&container()).await.expect("a container");
        reaches(router, ContainerState::Stopped).await;
        let row = router.containers().await.expect("rows").remove(0);
        let asked = container();
        assert_eq!((&row.id, &row.name, row.interfaces.as_slice()), (&id, &asked.name, [asked.interface].as_slice()));
        assert_eq!(
            (row.root_dir.as_str(), row.mount_lists, row.env_lists),
            ("/disk1/web", vec!["m-web".to_owned()], vec!["e-web".to_owned()])
        );
        assert_eq!((row.cmd, row.entrypoint, row.workdir), (asked.cmd, asked.entrypoint, asked.workdir));
        assert_eq!(
            (row.user, row.hostname, row.dns, row.comment),
            (asked.user, asked.hostname, asked.dns, asked.comment)
        );
        assert!(row.logging && row.start_on_boot, "{release}");

        router.start_container(&id).await.expect("started");
        reaches(router, ContainerState::Running).await;
        assert!(router.veths().await.expect("veths")[0].running, "{release}");
        let again = router.start_container(&id).await.expect_err("it runs");
        assert!(matches!(again, RouterFault::WrongState { .. }), "{again:?}");
        let running = router.remove_container(&id).await.expect_err("it runs");
        assert!(matches!(running, RouterFault::WrongState { .. }), "{running:?}");
        router.set_start_on_boot(&id, false).await.expect("set");
        router.set_container_comment(&id, "other").await.expect("set");
        router.stop_container(&id).await.expect("stopped");
        reaches(router, ContainerState::Stopped).await;
        let log = router.container_log("web").await.expect("a log");
        assert!(log.iter().any(|row| row.message == "exited with status 143"), "{release}: {log:?}");
        assert!(router.log().await.expect("the log").iter().any(|row| row.message == "web: exited with status 143"));

        router.remove_container(&id).await.expect("removed");
        let held = router.remove_veth(&veth_id).await.expect_err("held to the end");
        assert!(matches!(held, RouterFault::WrongState { .. }), "{held:?}");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !router.containers().await.expect("rows").is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "{release}: never gone");
        }
        router.remove_bridge_port(&port).await.expect("removed");
        router.remove_veth(&veth_id).await.expect("removed");
        router.remove_env(&env).await.expect("removed");
        for mount in mounts {
            router.remove_mount(&mount.id).await.expect("removed");
        }
        let gone = router.remove_veth(&veth_id).await.expect_err("gone");
        assert!(matches!(gone, RouterFault::NotFound { .. }), "{gone:?}");
    }
}

#[tokio::test]
async fn a_reply_lost_after_the_work_leaves_exactly_one_thing_to_find() {
    // Connection cut, 500 after success, and the limit of 60 seconds, which the client only knows by its words.
    for rule in [json!({"drop": "after"}), json!({"drop": "after", "status": 500})] {
        let mut hit = rule.clone();
        hit["match"] = json!({"path": "/interface/veth/add"});
        let Pair { router, .. } = &pair("7.23.2", json!([hit])).await;
        let fault = router.add_veth(&veth("veth-web")).await.expect_err("lost");
        assert_eq!(fault.outcome(), Outcome::Unknown, "{rule}: {fault:?}");
        assert_eq!(router.veths().await.expect("veths").len(), 1, "{rule}: looking tells");
        let mut hit = rule.clone();
        hit["match"] = json!({"path": "/container/start"});
        let Pair { router, .. } = &pair("7.23.2", json!([hit])).await;
        router.add_veth(&veth("veth-web")).await.expect("a veth");
        let id = bare_container(router).await;
        assert_eq!(router.start_container(&id).await.expect_err("lost").outcome(), Outcome::Unknown);
        reaches(router, ContainerState::Running).await;
    }
}

async fn bare_container(router: &RestRouter) -> RowId {
    let new = NewContainer { mount_list: None, env_list: None, ..container() };
    let id = router.add_container(&new).await.expect("a container");
    reaches(router, ContainerState::Stopped).await;
    id
}

#[tokio::test]
async fn a_connection_cut_before_the_work_looks_the_same_and_leaves_nothing() {
    let rules = json!([{"match": {"path": "/interface/veth/add"}, "drop": "before", "when": {"nth": 1}}]);
    let Pair { router, .. } = &pair("7.23.2", rules).await;
    let fault = router.add_veth(&veth("veth-web")).await.expect_err("lost");
    assert_eq!(fault.outcome(), Outcome::Unknown);
    assert!(router.veths().await.expect("veths").is_empty());
    router.add_veth(&veth("veth-web")).await.expect("a veth");
}

#[tokio::test]
async fn session_closed_is_no_verdict_and_the_work_goes_on() {
    let rules = json!([{"match": {"path": "/container/add"}, "delay": "700ms"}]);
    let directory = tempfile::tempdir().expect("a directory");
    let host = start(HostOptions {
        listen: "127.0.0.1:0".parse().expect("an address"),
        tls_listen: None,
        data_dir: directory.path().to_owned(),
        engine: EngineKind::Simulated,
        ros_version: "7.23.2".to_owned(),
        user: "admin".to_owned(),
        password: "s3cret".to_owned(),
        latency: Duration::ZERO,
        faults: serde_json::from_value(rules).expect("rules"),
        timings: Timings { longest: Duration::from_millis(200), ..Timings::default() },
    })
    .await
    .expect("a host");
    std::fs::write(directory.path().join("disk1/img.tar"), "an archive").expect("an archive");
    let router = RestRouter::new(options(&host)).expect("a client");
    router.add_veth(&veth("veth-web")).await.expect("a veth");
    let new = NewContainer { mount_list: None, env_list: None, ..container() };
    let fault = router.add_container(&new).await.expect_err("cut off");
    assert!(fault.to_string().contains("Session closed"), "{fault}");
    assert_eq!(fault.outcome(), Outcome::Unknown);
    reaches(&router, ContainerState::Stopped).await;
    assert_eq!(router.containers().await.expect("rows").len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_said_as_such_and_nothing_is_done() {
    let Pair { host, router, .. } = &pair("7.23.2", json!([])).await;
    let wrong = RestRouter::new(RestOptions { password: Password::new("guess"), ..options(host) }).expect("a client");
    for fault in [wrong.add_bridge("br", "").await.expect_err("refused"), wrong.resource().await.expect_err("refused")]
    {
        assert!(matches!(fault, RouterFault::Unauthorized { .. }), "{fault:?}");
        assert_eq!(fault.outcome(), Outcome::Refused);
    }
    assert!(router.bridges().await.expect("bridges").is_empty());
}

#[tokio::test]
async fn certificates_and_plain_http_are_not_mixed_up() {
    let Pair { host, router, .. } = &pair("7.23.2", json!([])).await;
    let tls = host.tls_address().expect("HTTPS");
    let ask = async |base_url: String, insecure: bool| {
        let router = RestRouter::new(RestOptions { base_url, insecure, ..options(host) }).expect("a client");
        router.add_bridge("br", "").await
    };
    let fault = ask(format!("https://{tls}/rest"), false).await.expect_err("not trusted");
    assert!(matches!(fault, RouterFault::Unreachable { .. }), "{fault:?}");
    let fault = ask(format!("https://{}/rest", host.address()), true).await.expect_err("no TLS there");
    assert!(matches!(fault, RouterFault::Unreachable { .. }), "{fault:?}");
    ask(format!("http://{tls}/rest"), false).await.expect_err("TLS there");
    assert!(router.bridges().await.expect("bridges").is_empty());
    ask(format!("https://{tls}/rest"), true).await.expect("any certificate will do");
    assert_eq!(bridges(router).await, ["br"]);
}

#[tokio::test]
async fn too_many_sessions_pass_with_time() {
    let rules = json!([{"session_limit": 0, "when": {"for": "300ms"}}]);
    let Pair { router, .. } = &pair("7.23.2", rules).await;
    let fault = router.add_bridge("br", "").await.expect_err("no session");
    assert!(matches!(fault, RouterFault::Overloaded { .. }), "{fault:?}");
    assert_eq!(fault.outcome(), Outcome::NotDone);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Err(fault) = router.add_bridge("br", "").await {
        assert!(matches!(fault, RouterFault::Overloaded { .. }), "{fault:?}");
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_device_that_reboots_is_lost_and_found_by_the_same_client() {
    let rules = json!([{"match": {"path": "/log"}, "reboot": {"down": "300ms"}, "when": {"nth": 1}}]);
    let Pair { router, .. } = &pair("7.23.2", rules).await;
    router.add_veth(&veth("veth-web")).await.expect("a veth");
    let id = bare_container(router).await;
    router.start_container(&id).await.expect("started");
    reaches(router, ContainerState::Running).await;
    let fault = router.log().await.expect_err("the power is cut");
    assert_eq!(fault.outcome(), Outcome::NotDone, "{fault:?}");
    assert_eq!(router.containers().await.expect_err("nobody is there").outcome(), Outcome::NotDone);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while router.containers().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It starts on boot, and is the same row.
    reaches(router, ContainerState::Running).await;
    assert_eq!(router.containers().await.expect("rows")[0].id, id);
}

#[tokio::test]
async fn an_archive_that_cannot_be_unpacked_is_a_failed_row_with_a_reason() {
    for (rule, words) in
        [(json!({"disk_full": true}), "no space left"), (json!({"extract": "fail"}), "extract layer failed")]
    {
        for release in ["7.19.6", "7.20.8", "7.23.2"] {
            let Pair { router, .. } = &pair(release, json!([rule])).await;
            router.add_veth(&veth("veth-web")).await.expect("a veth");
            let new = NewContainer { mount_list: None, env_list: None, ..container() };
            router.add_container(&new).await.expect("a row");
            // A device of 7.20 has no word for it: such a row is stopped, with a reason.
            let state = if release == "7.20.8" { ContainerState::Stopped } else { ContainerState::Failed };
            reaches(router, state).await;
            let row = router.containers().await.expect("rows").remove(0);
            assert!(row.about.contains(words), "{release}: {}", row.about);
            router.start_container(&row.id).await.expect_err("there is nothing to start");
        }
    }
}

#[tokio::test]
async fn a_root_that_is_there_is_refused_and_said_so() {
    let Pair { router, directory, .. } = &pair("7.23.2", json!([])).await;
    std::fs::create_dir(directory.path().join("disk1/web")).expect("in the way");
    router.add_veth(&veth("veth-web")).await.expect("a veth");
    let new = NewContainer { mount_list: None, env_list: None, ..container() };
    let fault = router.add_container(&new).await.expect_err("in the way");
    assert!(matches!(fault, RouterFault::AlreadyExists { .. }), "{fault:?}");
    assert!(router.containers().await.expect("rows").is_empty());
}

#[tokio::test]
async fn an_interface_taken_away_under_a_port_shows_as_its_number() {
    let Pair { router, .. } = &pair("7.23.2", json!([])).await;
    router.add_bridge("br", "").await.expect("a bridge");
    let id = router.add_veth(&veth("veth-web")).await.expect("a veth");
    router.add_bridge_port("br", "veth-web", "").await.expect("a port");
    let again = router.add_bridge_port("br", "veth-web", "").await.expect_err("a port once");
    assert!(matches!(again, RouterFault::AlreadyExists { .. }), "{again:?}");
    router.remove_veth(&id).await.expect("removed");
    assert_eq!(router.bridge_ports().await.expect("ports")[0].interface, id.0);
}

/// Names of the bridges.
async fn bridges(router: &RestRouter) -> Vec<String> {
    router.bridges().await.expect("bridges").into_iter().map(|row| row.name).collect()
}
