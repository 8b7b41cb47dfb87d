//! Any actor may die at any moment: nothing is lost, no container notices, and a second later all is as before.

mod dev;

use std::time::Duration;

use tokio::time::Instant;

use dev::http::Http;
use dev::{Machine, SOON, eventually, pod, real_containers};
use serde_json::{Value, json};

/// All actors of the tree: path and restarts.
fn actors(tree: &Value) -> Vec<(String, Value)> {
    fn walk(node: &Value, above: &str, found: &mut Vec<(String, Value)>) {
        let name = node["name"].as_str().expect("a name");
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        if node["kind"] == "actor" {
            found.push((path.clone(), node.clone()));
        }
        for child in node["children"].as_array().into_iter().flatten() {
            walk(child, &path, found);
        }
    }
    let mut found = Vec::new();
    walk(tree, "", &mut found);
    found
}

fn actor(api: &Http, path: &str) -> Result<Value, String> {
    let text = api.page("/api/v1/supervisor")?;
    let tree: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    actors(&tree).into_iter().find(|(at, _)| at == path).map(|(_, node)| node).ok_or_else(|| format!("no {path}"))
}

fn crash(api: &Http, path: &str, how: &str) {
    let answer = api.call("POST", &format!("/api/v1/supervisor/{path}/crash"), Some(&json!({"how": how})));
    match answer {
        Ok((status, _)) if (200..300).contains(&status) => {}
        // The one that answers is the one that dies.
        Err(_) if path.ends_with("/http") => {}
        other => panic!("crash of {path}: {other:?}"),
    }
}

/// Strikes each actor once. A process of its own for each way: an actor that dies again and again is given pauses.
fn every_actor_is_struck(how: &str, reasons: &[&str]) {
    if !real_containers("chaos") {
        return;
    }
    let machine = Machine::new(&format!("chaos-{how}"));
    let dev = machine.dev(&[]);
    let api = machine.api();
    api.create(&pod("lasting", json!({}), json!({})));
    let before = api.wait_running("lasting");
    let process = machine.process(&before, "main");
    let paths: Vec<String> = actors(&api.get("/api/v1/supervisor")).into_iter().map(|(path, _)| path).collect();
    for wanted in ["objects", "ipam", "images", "pod/default/lasting", "store", "router", "http"] {
        assert!(paths.iter().any(|path| path.ends_with(wanted)), "{wanted} in {paths:?}");
    }
    for path in &paths {
        let restarts = actor(&api, path).expect("it is in the tree")["restarts"].as_u64().expect("a count");
        let struck = Instant::now();
        crash(&api, path, how);
        let back = eventually(&format!("{path} is back"), SOON, || {
            let node = actor(&api, path)?;
            let risen = node["state"] == "running" && node["restarts"].as_u64().is_some_and(|now| now > restarts);
            if risen { Ok(node) } else { Err(node.to_string()) }
        });
        let took = struck.elapsed();
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
        let exit = back["lastExit"]["reason"].as_str().unwrap_or_default();
        assert!(reasons.contains(&exit), "{path}: {}", back["lastExit"]);
        // Work goes on through it, within the same second.
        let name = format!("after-{}", path.rsplit('/').next().unwrap_or_default());
        let wanted = pod(&name, json!({}), json!({}));
        eventually(&format!("a write after {path} was struck"), Duration::from_secs(1), || {
            match api.call("POST", "/api/v1/namespaces/default/pods", Some(&wanted)) {
                Ok((201, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!(api.pod("lasting")["metadata"]["uid"], before["metadata"]["uid"]);
        api.wait_running(&name);
        api.delete(&name);
        api.wait_gone(&name);
    }
    let after = api.wait_running("lasting");
    assert_eq!(machine.process(&after, "main"), process, "no container noticed");
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert!(dev.terminate().success());
}

#[test]
fn every_actor_may_panic_and_nothing_is_lost() {
    every_actor_is_struck("panic", &["panicked"]);
}

#[test]
fn every_actor_may_fail_and_nothing_is_lost() {
    every_actor_is_struck("error", &["failed", "error"]);
}

#[test]
fn every_actor_may_be_stopped_and_nothing_is_lost() {
    every_actor_is_struck("stop", &["stopped", "completed"]);
}

#[test]
fn strikes_while_pods_come_and_go_leave_each_pod_once_and_nothing_else() {
    let machine = Machine::new("chaos-storm");
    let running = machine.dev(&["--host", "simulated"]);
    let (api, host) = (machine.api(), machine.dev_host(&running));
    let mut targets: Vec<String> = actors(&api.get("/api/v1/supervisor")).into_iter().map(|(path, _)| path).collect();
    targets.retain(|path| !path.ends_with("/http"));
    let hows = ["panic", "error", "stop"];
    let strike = |number: usize| {
        let path = &targets[number % targets.len()];
        // A second strike may meet it before it is back: then it is refused, and that is an answer too.
        let order = json!({"how": hows[number % hows.len()]});
        drop(api.call("POST", &format!("/api/v1/supervisor/{path}/crash"), Some(&order)));
    };
    let mut acknowledged = Vec::new();
    for number in 0..12 {
        let name = format!("storm-{number}");
        let mut wanted = pod(&name, json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}), json!({}));
        wanted["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
        if number % 2 == 0 {
            strike(number / 2);
        }
        // A write during a strike may be refused; acknowledged is acknowledged.
        eventually(&format!("{name} is taken"), SOON, || {
            match api.call("POST", "/api/v1/namespaces/default/pods", Some(&wanted)) {
                Ok((201, _)) => Ok(()),
                // Made by the try before, whose outcome was not told.
                Ok((409, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        acknowledged.push(name);
    }
    for name in &acknowledged {
        api.wait_pod(name, "running", Duration::from_secs(60), dev::http::is_running);
    }
    let menus = ["/container", "/interface/veth", "/interface/bridge/port", "/container/mounts", "/container/envs"];
    for menu in menus {
        assert_eq!(host.get(menu).as_array().map_or(0, Vec::len), acknowledged.len(), "{menu}");
    }
    for (number, name) in acknowledged.iter().enumerate() {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        eventually(&format!("{name} may go"), SOON, || match api.call("DELETE", &path, None) {
            Ok((200 | 202 | 404, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        if number % 2 == 0 {
            strike(number / 2);
        }
    }
    eventually("all are gone", Duration::from_secs(60), || {
        let left: Vec<usize> = menus.iter().map(|menu| host.get(menu).as_array().map_or(0, Vec::len)).collect();
        let pods = api.get("/api/v1/pods")["items"].as_array().map_or(0, Vec::len);
        if pods == 0 && left.iter().all(|count| *count == 0) { Ok(()) } else { Err(format!("{pods} pods, {left:?}")) }
    });
}

#[test]
fn without_the_flag_nobody_can_be_struck() {
    let machine = Machine::new("chaos-off");
    let mut command = std::process::Command::new(dev::binary());
    command.args(["dev", "--host", "simulated", "--listen", &machine.listen, "--cidr", &machine.cidr(), "--data-dir"]);
    command.arg(machine.data()).args(["--registry", "127.0.0.1:0", "--dns", "127.0.0.1:0"]);
    let running = dev::process::Running::start(command);
    running.wait_for("ready", SOON);
    let answer =
        machine.api().call("POST", "/api/v1/supervisor/mkube/keepers/ipam/crash", Some(&json!({"how": "panic"})));
    assert!(matches!(answer, Ok((403..=405, _))), "{answer:?}");
    assert_eq!(actor(&machine.api(), "mkube/keepers/ipam").expect("it is there")["restarts"], 0);
}
