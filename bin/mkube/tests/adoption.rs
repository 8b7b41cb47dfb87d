//! What runs goes on running, whoever of us dies.

mod dev;

use std::path::Path;

use dev::site::LATER;
use dev::{Machine, container_status, eventually, pod, real_containers, shell};
use serde_json::{Value, json};

/// What must not change while mkube comes and goes.
fn footprint(machine: &Machine, pod: &Value) -> (dev::Identity, Value, Value) {
    let status = container_status(pod, "main");
    (machine.process(pod, "main"), pod["status"]["podIP"].clone(), status["restartCount"].clone())
}

#[test]
fn a_dev_that_was_killed_finds_its_container_as_it_left_it() {
    if !real_containers("adoption after kill -9 of mkube dev") {
        return;
    }
    let machine = Machine::new("adopt-dev");
    let first = machine.dev(&[]);
    machine.api().create(&pod("lasting", json!({}), json!({})));
    let before = footprint(&machine, &machine.api().wait_running("lasting"));
    let started = container_status(&machine.api().pod("lasting"), "main")["state"]["running"]["startedAt"].clone();
    first.kill();
    assert_eq!(dev::identity(before.0.pid).as_ref(), Some(&before.0), "the container outlives its host");

    let second = machine.dev(&[]);
    machine.api().wait_ready();
    let after = machine.api().wait_running("lasting");
    assert_eq!(footprint(&machine, &after), before);
    assert_eq!(container_status(&after, "main")["state"]["running"]["startedAt"], started);
    // A new spec still reaches it: it is ours as before.
    machine.api().delete("lasting");
    machine.api().wait_gone("lasting");
    assert_eq!(dev::identity(before.0.pid), None, "deleted means stopped");
    assert!(second.terminate().success());
}

#[test]
fn controller_and_host_may_die_one_by_one_and_together() {
    if !real_containers("adoption with host and controller as two processes") {
        return;
    }
    let machine = Machine::new("adopt-two");
    let host = machine.host("linux", &[]);
    machine.image("hello:latest");
    let serve = machine.serve();
    machine.api().create(&pod("lasting", json!({}), json!({})));
    let before = footprint(&machine, &machine.api().wait_running("lasting"));

    serve.kill();
    let serve = machine.serve();
    assert_eq!(footprint(&machine, &machine.api().wait_running("lasting")), before, "after the controller died");

    host.kill();
    assert_eq!(dev::identity(before.0.pid).as_ref(), Some(&before.0));
    // Reads go on while the device is away, and the pod is not taken for dead.
    eventually("the device is missed", LATER, || match machine.api().page("/readyz?verbose") {
        Ok(text) => Err(text),
        Err(why) if why.contains("device") => Ok(()),
        Err(why) => Err(why),
    });
    assert_eq!(machine.api().pod("lasting")["status"]["phase"], "Running");
    let host = machine.host("linux", &[]);
    machine.api().wait_ready();
    assert_eq!(footprint(&machine, &machine.api().wait_running("lasting")), before, "after the host died");

    host.kill();
    serve.kill();
    let _host = machine.host("linux", &[]);
    let _serve = machine.serve();
    assert_eq!(footprint(&machine, &machine.api().wait_running("lasting")), before, "after both died");
}

/// A container that ends with code 7 once this file is there, and the file.
fn waits_for_the_word(machine: &Machine, name: &str, policy: &str) -> (Value, std::path::PathBuf) {
    let directory = machine.dir.join(format!("word-{name}"));
    std::fs::create_dir_all(&directory).expect("a directory");
    // The word is used up, so that a second run does not end at once.
    let line = "while [ ! -e /word/now ]; do sleep 0.1; done; mv /word/now /word/used; exit 7";
    let mut pod = shell(name, line, json!({"restartPolicy": policy}));
    pod["spec"]["volumes"] = json!([{"name": "word", "hostPath": {"path": directory}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "word", "mountPath": "/word"}]);
    (pod, directory)
}

fn say_the_word(directory: &Path, process: &dev::Identity) {
    std::fs::write(directory.join("now"), "").expect("written");
    eventually("the end of the container", LATER, || match dev::identity(process.pid) {
        Some(still) if still == *process => Err("it runs".to_owned()),
        _ => Ok(()),
    });
}

#[test]
fn an_exit_while_everything_is_down_is_known_afterwards_and_the_restart_policy_acts() {
    if !real_containers("exits while mkube is down") {
        return;
    }
    let machine = Machine::new("adopt-exit");
    let first = machine.dev(&[]);
    let (always, always_word) = waits_for_the_word(&machine, "always", "Always");
    let (never, never_word) = waits_for_the_word(&machine, "never", "Never");
    machine.api().create(&always);
    machine.api().create(&never);
    let always = footprint(&machine, &machine.api().wait_running("always"));
    let never = footprint(&machine, &machine.api().wait_running("never"));
    first.kill();
    say_the_word(&always_word, &always.0);
    say_the_word(&never_word, &never.0);

    let _second = machine.dev(&[]);
    let ended = machine.api().wait_pod("never", "Failed", LATER, |pod| pod["status"]["phase"] == "Failed");
    let terminated = container_status(&ended, "main")["state"]["terminated"].clone();
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(7), &json!("Error")));
    let again = machine.api().wait_pod("always", "started once more", LATER, |pod| {
        dev::http::is_running(pod) && container_status(pod, "main")["restartCount"] == 1
    });
    assert_eq!(container_status(&again, "main")["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!(again["status"]["podIP"], always.1);
    assert_ne!(machine.process(&again, "main"), always.0);
}
