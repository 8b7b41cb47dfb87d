//! Boot order, drain and cordon with real containers: a host and a controller of their own, and the commands people type.

mod dev;

use std::process::{Command, Output};

use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, SOON, binary, container_status, eventually, pod, real_containers};
use serde_json::{Value, json};

const MANIFEST: &str = "kind: Secret
apiVersion: v1
metadata: {name: login, namespace: infra}
stringData: {password: unguessable}
---
metadata:
  name: nats
  namespace: infra
  annotations: {vkube.io/boot-priority: '5'}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'hello:latest', imagePullPolicy: IfNotPresent, command: [/bin/sleep, '100000']}]}
---
kind: Pod
metadata:
  name: dns
  namespace: infra
  annotations: {vkube.io/boot-priority: '11'}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: 'hello:latest', imagePullPolicy: IfNotPresent, command: [/bin/sleep, '100000']}]}
";

const ALL: [&str; 4] = ["infra/nats", "infra/dns", "app", "plain"];

fn run(machine: &Machine, arguments: &[&str]) -> Output {
    let server = format!("http://{}", machine.listen);
    let output = Command::new(binary()).args(arguments).env("MKUBE_SERVER", server).output();
    output.expect("the binary runs")
}

fn done(machine: &Machine, arguments: &[&str]) -> String {
    let output = run(machine, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn refused(machine: &Machine, arguments: &[&str]) -> String {
    let output = run(machine, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// When the processes of these pods started, in ticks of the machine's clock.
fn started(machine: &Machine, pods: &[&str]) -> Vec<u64> {
    let api = machine.api();
    let ticks = |name: &&str| machine.process(&api.wait_running(name), "main").started.parse().expect("a number");
    pods.iter().map(ticks).collect()
}

#[track_caller]
fn in_order(machine: &Machine) -> Vec<u64> {
    let ticks = started(machine, &ALL);
    assert!(ticks[0] < ticks[1] && ticks[1] < ticks[2], "nats, dns, app started at {ticks:?}");
    ticks
}

/// Processes stand before the machine, so that they end first.
struct Site {
    serve: Option<Running>,
    _host: Running,
    machine: Machine,
}

fn site(name: &str) -> Site {
    let machine = Machine::new(name);
    machine.image("hello:latest");
    machine.write("boot-order.yaml", MANIFEST);
    let host = machine.host("linux", &[]);
    let serve = Some(machine.serve());
    Site { serve, _host: host, machine }
}

fn create_others(machine: &Machine) {
    let api = machine.api();
    let mut app = plain("app");
    app["metadata"]["annotations"] = json!({"vkube.io/depends-on": "infra/dns, infra_nats_main"});
    api.create(&app);
    api.create(&plain("plain"));
}

/// The image is in the cache, and comes from nowhere else.
fn plain(name: &str) -> Value {
    pod(name, json!({"imagePullPolicy": "IfNotPresent"}), json!({}))
}

#[test]
fn what_boots_in_order_is_drained_in_reverse_and_comes_back_in_order_also_after_a_boot_of_the_device() {
    if !real_containers("boot order and drain") {
        return;
    }
    let mut site = site("order");
    let machine = &site.machine;
    create_others(machine);
    let api = machine.api();
    in_order(machine);
    let secret = api.get("/api/v1/namespaces/infra/secrets/login");
    assert_eq!(secret["metadata"]["annotations"]["vkube.io/managed-by"], "boot-manifest");
    let plan = done(machine, &["boot-plan"]);
    let row = |name: &str| plan.lines().find(|line| line.contains(name)).unwrap_or_default().trim().to_owned();
    assert!(row("infra/nats").starts_with('1') && row("infra/dns").starts_with('2'), "{plan}");
    assert!(row("default/app").starts_with('3') && row("default/plain").starts_with('-'), "{plan}");

    // The device boots: what has a place in the order is started by mkube, in order.
    machine.faults(&json!([{"match": {"path": "/container"}, "when": {"nth": 1}, "reboot": {"down": "2s"}}]));
    eventually("the device is missed", LATER, || match api.page("/readyz?verbose") {
        Err(why) if why.contains("device") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    machine.faults(&json!([]));
    api.wait_ready();
    let running = |machine: &Machine| -> Vec<Value> {
        let rows = machine.host_api().get("/container");
        rows.as_array().into_iter().flatten().filter(|row| row["running"] == "true").cloned().collect()
    };
    // What the pods say may still be of before the boot.
    eventually("every container runs again", LATER, || match running(machine).len() {
        4 => Ok(()),
        count => Err(format!("{count} of 4")),
    });
    for name in ALL {
        api.wait_pod(name, "running again", LATER, dev::http::is_running);
    }
    let booted = in_order(machine);

    let asked = refused(machine, &["drain"]);
    assert!(asked.contains("--yes"), "{asked}");
    assert_eq!(started(machine, &ALL), booted, "nobody said yes");
    machine.faults(&json!([{"match": {"method": "POST", "path": "/container/stop"}, "status": 500}]));
    let late = refused(machine, &["drain", "--yes", "--timeout", "2s"]);
    assert!(late.contains("not drained within 2s") && late.contains("infra/nats"), "{late}");
    machine.faults(&json!([]));
    let told = done(machine, &["drain", "--yes", "--timeout", "60s"]);
    assert!(told.contains("0 of 4 pods run") && told.trim_end().ends_with("in boot order"), "{told}");
    assert!(running(machine).is_empty());
    assert_eq!(machine.rows("/container", "start-on-boot", "false"), 4, "the device starts none of them either");
    for name in ALL {
        api.wait_pod(name, "told why", SOON, |pod| {
            container_status(pod, "main")["state"]["waiting"]["reason"] == "NodeDrained"
        });
    }
    api.create(&plain("new"));
    api.wait_pod("new", "pending", SOON, |pod| {
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "PodScheduled" && one["reason"] == "Unschedulable")
    });

    // The controller comes and goes: nothing starts.
    drop(site.serve.take());
    let _serve = machine.serve();
    let node = eventually("the node says that it is empty", LATER, || {
        let node = api.get("/api/v1/nodes/mkube");
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let drained = conditions.iter().any(|one| one["type"] == "Drained" && one["status"] == "True");
        if drained { Ok(node) } else { Err(node["status"]["conditions"].to_string()) }
    });
    assert_eq!(node["spec"]["unschedulable"], true);
    assert!(running(machine).is_empty());

    assert_eq!(done(machine, &["drain", "--undo"]), "node/mkube uncordoned\n");
    in_order(machine);
    api.wait_running("new");
    // One restart each: that of the boot. What was drained was not restarted, it was started.
    for name in ALL {
        assert!(container_status(&api.pod(name), "main")["restartCount"].as_u64().is_some_and(|count| count <= 1));
    }
    for name in ALL.into_iter().chain(["new"]) {
        api.delete(name);
        api.wait_gone(name);
    }
}
