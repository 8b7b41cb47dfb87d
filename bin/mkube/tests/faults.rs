//! A device on its bad days. Whatever goes wrong: exactly one of each wanted thing afterwards, nothing twice, nothing left
//! behind, and until then the pod's status says what is wrong and when the next try is.

mod dev;

use std::time::Duration;

use dev::site::LATER;
use dev::{Machine, SOON, container_status, eventually, pod};
use serde_json::{Value, json};

/// Every kind of thing a pod has on a device: interface, bridge port, mount, variable, container.
fn rich(name: &str) -> Value {
    let asked = json!({
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "more", "mountPath": "/more"}],
    });
    pod(name, asked, json!({}))
}

/// What the device has of a pod made by [`rich`].
fn on_device(machine: &Machine, name: &str) -> [usize; 5] {
    let row = format!("default_{name}_main");
    let veth = format!("veth_default_{name}_0");
    [
        machine.rows("/container", "name", &row),
        machine.rows("/interface/veth", "name", &veth),
        machine.rows("/interface/bridge/port", "interface", &veth),
        machine.rows("/container/mounts", "list", &row),
        machine.rows("/container/envs", "list", &row),
    ]
}

const WHOLE: [usize; 5] = [1, 1, 1, 2, 2];
const NOTHING: [usize; 5] = [0; 5];

fn bad_day(story: &str) -> (Machine, dev::process::Running, dev::process::Running) {
    let machine = Machine::new(story);
    let host = machine.host("simulated", &[]);
    machine.image("hello:latest");
    let serve = machine.serve();
    (machine, host, serve)
}

fn waiting(pod: &Value) -> (String, String) {
    let waiting = container_status(pod, "main")["state"]["waiting"].clone();
    let text = |key: &str| waiting[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

/// Creates, changes and deletes a pod under each rule and looks at what is there afterwards.
fn whole_life_under(machine: &Machine, name: &str, rule: &Value) {
    let api = machine.api();
    machine.faults(&json!([rule]));
    api.create(&rich(name));
    api.wait_pod(name, &format!("running in spite of {rule}"), LATER, dev::http::is_running);
    assert_eq!(on_device(machine, name), WHOLE, "after create under {rule}");
    let mut changed = api.pod(name);
    assert_eq!(container_status(&changed, "main")["restartCount"], 0, "under {rule}");
    let first = container_status(&changed, "main")["containerID"].clone();
    changed["spec"]["containers"][0]["env"][0]["value"] = json!("3");
    // The rule hits again on the way to the second container.
    machine.faults(&json!([rule]));
    api.good("PUT", &format!("/api/v1/namespaces/default/pods/{name}"), Some(&changed));
    api.wait_pod(name, &format!("made anew in spite of {rule}"), LATER, |pod| {
        dev::http::is_running(pod) && container_status(pod, "main")["containerID"] != first
    });
    assert_eq!(on_device(machine, name), WHOLE, "after a change under {rule}");
    machine.faults(&json!([rule]));
    api.delete(name);
    eventually(&format!("the end of the pod in spite of {rule}"), LATER, || {
        match api.call("GET", &format!("/api/v1/namespaces/default/pods/{name}"), None) {
            Ok((404, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    machine.faults(&json!([]));
    assert_eq!(on_device(machine, name), NOTHING, "after delete under {rule}");
}

/// Every mutating call that a whole life needs.
const MUTATING: [(&str, &str); 12] = [
    ("POST", "/container/add"),
    ("POST", "/container/start"),
    ("POST", "/container/stop"),
    ("POST", "/container/remove"),
    ("POST", "/interface/veth/add"),
    ("POST", "/interface/veth/remove"),
    ("POST", "/interface/bridge/port/add"),
    ("POST", "/interface/bridge/port/remove"),
    ("POST", "/container/mounts/add"),
    ("POST", "/container/mounts/remove"),
    ("POST", "/container/envs/add"),
    ("POST", "/container/envs/remove"),
];

/// A whole life under a fault at each mutating call, on a few machines side by side.
fn at_each_mutating_call(story: &str, fault: &Value) {
    std::thread::scope(|scope| {
        for (part, calls) in MUTATING.chunks(3).enumerate() {
            scope.spawn(move || {
                let (machine, _host, _serve) = bad_day(&format!("{story}-{part}"));
                for (index, (method, path)) in calls.iter().enumerate() {
                    let before = machine.calls(&format!("{method} {path}"));
                    let mut rule = json!({"match": {"method": method, "path": path}, "when": {"nth": 1}});
                    rule.as_object_mut().expect("a rule").extend(fault.as_object().expect("a fault").clone());
                    whole_life_under(&machine, &format!("pod-{index}"), &rule);
                    assert!(machine.calls(&format!("{method} {path}")) > before, "{method} {path} is a call we make");
                }
            });
        }
    });
}

#[test]
fn a_reply_lost_after_success_makes_nothing_twice_and_leaves_nothing_behind() {
    at_each_mutating_call("lost", &json!({"drop": "after"}));
}

#[test]
fn a_request_lost_before_it_arrived_is_made_again() {
    at_each_mutating_call("unheard", &json!({"drop": "before"}));
}

#[test]
fn an_internal_error_of_the_device_is_tried_again() {
    at_each_mutating_call("inner", &json!({"status": 500}));
}

#[test]
fn every_fourth_call_failing_somehow_only_takes_longer() {
    let (machine, _host, _serve) = bad_day("faults-chance");
    let api = machine.api();
    machine.faults(&json!([
        {"match": {"method": "POST"}, "when": {"probability": 0.12}, "drop": "after"},
        {"match": {"method": "POST"}, "when": {"probability": 0.12}, "status": 500},
        {"match": {"method": "GET"}, "when": {"probability": 0.08}, "drop": "before"},
    ]));
    let names: Vec<String> = (0..5).map(|number| format!("storm-{number}")).collect();
    for name in &names {
        api.create(&rich(name));
    }
    for name in &names {
        api.wait_pod(name, "running in spite of all", Duration::from_secs(120), dev::http::is_running);
    }
    machine.faults(&json!([]));
    for name in &names {
        assert_eq!(on_device(&machine, name), WHOLE, "{name}");
    }
}

#[test]
fn a_device_that_closes_sessions_is_asked_less_and_all_pods_run() {
    let (machine, _host, _serve) = bad_day("faults-sessions");
    let api = machine.api();
    machine.faults(&json!([{"session_limit": 2, "delay": "5ms"}]));
    for number in 0..8 {
        api.create(&rich(&format!("many-{number}")));
    }
    for number in 0..8 {
        let name = format!("many-{number}");
        api.wait_pod(&name, "running", LATER, dev::http::is_running);
        // The story's own look must not be refused either.
        machine.faults(&json!([]));
        assert_eq!(on_device(&machine, &name), WHOLE);
    }
}

#[test]
fn a_device_away_at_start_is_said_and_waited_for() {
    let machine = Machine::new("faults-away");
    machine.image("hello:latest");
    let serve = machine.serve_unready(|_| {});
    let api = machine.api();
    let why = eventually("an answer", SOON, || match api.call("GET", "/readyz?verbose", None) {
        Ok((503 | 500, text)) => Ok(text),
        other => Err(format!("{other:?}")),
    });
    assert!(why.contains("device"), "{why}");
    // Reads and writes do not wait for the device.
    api.create(&rich("patient"));
    assert_eq!(api.pod("patient")["metadata"]["name"], "patient");
    let told = api.wait_pod("patient", "told why", SOON, |pod| {
        waiting(pod).0 == "DeviceUnreachable" && !waiting(pod).1.is_empty()
    });
    assert_eq!(told["status"]["phase"], "Pending");
    let _host = machine.host("simulated", &[]);
    api.wait_running("patient");
    api.wait_ready();
    assert_eq!(on_device(&machine, "patient"), WHOLE);
    drop(serve);
}

#[test]
fn a_reboot_of_the_device_brings_every_pod_back_once() {
    let (machine, _host, _serve) = bad_day("faults-reboot");
    let api = machine.api();
    for name in ["one", "two"] {
        api.create(&rich(name));
    }
    let before: Vec<Value> = ["one", "two"].iter().map(|name| api.wait_running(name)).collect();
    machine.faults(&json!([{"match": {"path": "/container"}, "when": {"nth": 1}, "reboot": {"down": "2s"}}]));
    eventually("the device is missed", LATER, || match api.page("/readyz?verbose") {
        Err(why) if why.contains("device") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    api.wait_ready();
    for (name, before) in ["one", "two"].iter().zip(&before) {
        let after = api.wait_pod(name, "running again", LATER, dev::http::is_running);
        assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
        assert_eq!(container_status(&after, "main")["containerID"], container_status(before, "main")["containerID"]);
        assert_eq!(on_device(&machine, name), WHOLE);
    }
}

#[test]
fn an_image_that_cannot_be_unpacked_is_said_tried_again_later_and_heals() {
    let (machine, _host, _serve) = bad_day("faults-extract");
    let api = machine.api();
    for (name, rule, word) in
        [("full", json!({"disk_full": true}), "no space left"), ("torn", json!({"extract": "fail"}), "extract")]
    {
        machine.faults(&json!([rule]));
        api.create(&rich(name));
        let told = api.wait_pod(name, "told why", LATER, |pod| {
            waiting(pod).1.contains(word) && waiting(pod).1.contains("next try in")
        });
        assert_eq!(told["status"]["phase"], "Pending");
        assert!(on_device(&machine, name)[0] <= 1, "not one row for each try");
        machine.faults(&json!([]));
        api.wait_pod(name, "running after all", Duration::from_secs(90), dev::http::is_running);
        assert_eq!(on_device(&machine, name), WHOLE);
    }
}

#[test]
fn a_missing_archive_is_named_and_found_once_it_is_there() {
    let (machine, _host, _serve) = bad_day("faults-missing");
    let api = machine.api();
    let mut absent = rich("absent");
    absent["spec"]["containers"][0]["image"] = json!("127.0.0.1:1/absent:1");
    api.create(&absent);
    let told = api.wait_pod("absent", "told why", SOON, |pod| waiting(pod).1.contains("next try in"));
    let (reason, message) = waiting(&told);
    assert!(reason.starts_with("ErrImage") || reason == "ImagePullBackOff", "{reason}");
    assert!(message.contains("absent"), "{message}");
    assert_eq!(on_device(&machine, "absent")[0], 0);
    machine.image("127.0.0.1:1/absent:1");
    api.wait_pod("absent", "running", LATER, dev::http::is_running);
    // A file named by annotation that the device does not have.
    let mut filed = rich("filed");
    filed["metadata"]["annotations"] = json!({"vkube.io/file": "disk1/nowhere.tar"});
    api.create(&filed);
    let told = api.wait_pod("filed", "told why", SOON, |pod| waiting(pod).1.contains("next try in"));
    assert!(waiting(&told).0.starts_with("ErrImage"), "{:?}", waiting(&told));
}

#[test]
fn a_wrong_password_and_a_foreign_certificate_are_named_and_reads_go_on() {
    let machine = Machine::new("faults-login");
    let tls = dev::free_address();
    let _host = machine.host("simulated", &["--tls-listen", &tls]);
    machine.image("hello:latest");
    type Change = Box<dyn Fn(&mut Value)>;
    let https = format!("https://{tls}/rest");
    let cases: [(&str, Change, &[&str]); 2] = [
        ("password", Box::new(|config| config["routeros"]["password"] = json!("wrong")), &["401", "password", "user"]),
        (
            "certificate",
            Box::new(move |config| {
                config["routeros"]["restUrl"] = json!(https);
                config["routeros"]["insecureVerify"] = json!(false);
            }),
            &["certificate", "Certificate", "UnknownIssuer"],
        ),
    ];
    for (what, change, words) in cases {
        let serve = machine.serve_unready(change);
        let api = machine.api();
        let why = eventually(&format!("{what} is said"), SOON, || match api.call("GET", "/readyz?verbose", None) {
            Ok((500 | 503, text)) if words.iter().any(|word| text.contains(word)) => Ok(text),
            other => Err(format!("{other:?}")),
        });
        assert!(!why.contains(dev::site::PASSWORD) && !why.contains("wrong"), "no secrets: {why}");
        assert_eq!(api.get("/api/v1/pods")["items"], json!([]));
        assert!(!serve.output().contains(dev::site::PASSWORD));
        serve.kill();
    }
    // With the right password and verification off the same host does.
    let https = format!("https://{tls}/rest");
    let _serve = machine.serve_unready(|config| {
        config["routeros"]["restUrl"] = json!(https);
        config["routeros"]["insecureVerify"] = json!(true);
    });
    machine.api().wait_ready();
    machine.api().create(&rich("over-tls"));
    machine.api().wait_running("over-tls");
}

#[test]
fn a_root_directory_that_exists_is_never_unpacked_over() {
    let (machine, _host, _serve) = bad_day("faults-root");
    let api = machine.api();
    let images = machine.dir.join("host/disk1/images");
    let taken = images.join("default_taken_main");
    std::fs::create_dir_all(&taken).expect("a directory");
    std::fs::write(taken.join("precious"), "keep me").expect("written");
    api.create(&rich("taken"));
    api.wait_running("taken");
    let rows = machine.host_api().get("/container");
    let root = rows[0]["root-dir"].as_str().expect("a root-dir");
    assert!(root.ends_with("images/default_taken_main.2"), "{root}");
    assert_eq!(std::fs::read_to_string(taken.join("precious")).expect("still there"), "keep me");
    api.delete("taken");
    api.wait_gone("taken");
    assert_eq!(std::fs::read_to_string(taken.join("precious")).expect("still there"), "keep me");
}

#[test]
fn what_is_removed_behind_our_back_is_made_again() {
    let (machine, _host, _serve) = bad_day("faults-behind");
    let (api, host) = (machine.api(), machine.host_api());
    api.create(&rich("robbed"));
    let before = api.wait_running("robbed");
    let id_of = |menu: &str, key: &str, name: &str| {
        let rows = host.get(menu);
        let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row[key] == name)).cloned();
        row.unwrap_or_else(|| panic!("{name} is in {menu}"))[".id"].clone()
    };
    let removed = |menu: &str, id: &Value| {
        eventually(&format!("{menu} lets go of {id}"), SOON, || {
            match host.call("POST", &format!("{menu}/remove"), Some(&json!({".id": id}))) {
                Ok((200..300, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    // The container.
    let id = id_of("/container", "name", "default_robbed_main");
    host.post("/container/stop", &json!({".id": id}));
    removed("/container", &id);
    let again = api.wait_pod("robbed", "a new container", LATER, |pod| {
        dev::http::is_running(pod)
            && container_status(pod, "main")["containerID"] != container_status(&before, "main")["containerID"]
    });
    assert_eq!(again["status"]["podIP"], before["status"]["podIP"]);
    assert_eq!(on_device(&machine, "robbed"), WHOLE);
    // Container and interface.
    let id = id_of("/container", "name", "default_robbed_main");
    host.post("/container/stop", &json!({".id": id}));
    removed("/container", &id);
    if let Some(port) = host.get("/interface/bridge/port").as_array().and_then(|all| all.first()) {
        host.call("POST", "/interface/bridge/port/remove", Some(&json!({".id": port[".id"]}))).expect("an answer");
    }
    let veth = host.get("/interface/veth");
    if let Some(veth) = veth.as_array().and_then(|all| all.first()) {
        host.call("POST", "/interface/veth/remove", Some(&json!({".id": veth[".id"]}))).expect("an answer");
    }
    eventually("everything is back", LATER, || {
        let there = on_device(&machine, "robbed");
        if there == WHOLE && dev::http::is_running(&api.pod("robbed")) { Ok(()) } else { Err(format!("{there:?}")) }
    });
    assert_eq!(api.pod("robbed")["status"]["podIP"], before["status"]["podIP"]);
    // Stopped by somebody: started again, with the count saying so.
    let id = id_of("/container", "name", "default_robbed_main");
    host.post("/container/stop", &json!({".id": id}));
    let started = api.wait_pod("robbed", "started again", LATER, |pod| {
        dev::http::is_running(pod)
            && container_status(pod, "main")["restartCount"].as_u64().is_some_and(|count| count >= 1)
    });
    assert_eq!(
        container_status(&started, "main")["containerID"].as_str(),
        id.as_str().map(|id| format!("routeros://{}", id.trim_start_matches('*'))).as_deref()
    );
}
