//! Volumes keep what is in them: through new containers, deaths of the controller, lost stores and deleted pods. Only what was made
//! for one pod goes with it.

mod dev;

use std::path::{Path, PathBuf};
use std::process::Command;

use dev::http::is_running;
use dev::site::LATER;
use dev::{Machine, SOON, container_status, eventually, pod, real_containers, shell, text_of};
use serde_json::{Value, json};

fn disk(machine: &Machine) -> PathBuf {
    machine.dir.join("host/disk1")
}

fn volume(machine: &Machine, pod: &str, name: &str) -> PathBuf {
    disk(machine).join(format!("volumes/default_{pod}_main/{name}"))
}

/// A pod with one volume of each kind.
fn with_volumes(mut pod: Value) -> Value {
    pod["spec"]["volumes"] = json!([
        {"name": "scratch", "emptyDir": {}}, {"name": "files", "configMap": {"name": "files"}},
        {"name": "given", "hostPath": {"path": "/disk1/given"}},
    ]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "data", "mountPath": "/data"}, {"name": "scratch", "mountPath": "/scratch"},
        {"name": "files", "mountPath": "/files"}, {"name": "given", "mountPath": "/given"},
    ]);
    pod
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": {"key": "text"}})
}

fn listed(machine: &Machine) -> Vec<String> {
    // Right after a start nothing is known.
    let answer = machine.api().call("GET", "/api/v1/volumes", None).map(|(_, text)| text).unwrap_or_default();
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let line = |item: &Value| {
        let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {} {} {}", text("pod"), text("name"), text("kind"), item["used"], text("path"))
    };
    items.iter().map(line).collect()
}

#[track_caller]
fn wait_listed(machine: &Machine, what: &str, wanted: &[&str]) {
    eventually(what, LATER, || {
        let lines = listed(machine);
        if wanted.iter().all(|line| lines.iter().any(|one| one == line)) { Ok(()) } else { Err(lines.join("\n")) }
    });
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn data_outlives_containers_controllers_and_pods_and_scratch_goes_with_its_pod() {
    if !real_containers("volumes that persist") {
        return;
    }
    let machine = Machine::new("volumes-real");
    let _host = machine.host("linux", &[]);
    machine.image("hello:latest");
    let serve = machine.serve();
    let api = machine.api();
    api.post("/api/v1/namespaces/default/configmaps", &config_map());
    let line = "echo $WORD >> /data/words; echo $WORD >> /scratch/words; echo $WORD >> /given/words; sleep 100000";
    let keeper = |word: &str| {
        let mut pod = with_volumes(shell("keeper", line, json!({})));
        pod["spec"]["containers"][0]["env"] = json!([{"name": "WORD", "value": word}]);
        pod
    };
    let (data, scratch) = (volume(&machine, "keeper", "data"), volume(&machine, "keeper", "scratch"));
    let given = disk(&machine).join("given");
    let words = |directory: &Path| text(&directory.join("words"));
    api.create(&keeper("one"));
    api.wait_running("keeper");
    eventually("the first word", SOON, || if words(&given) == "one\n" { Ok(()) } else { Err(words(&given)) });

    // A new container, made by a controller that was killed in between.
    serve.kill();
    let serve = machine.serve();
    let mut changed = api.pod("keeper");
    changed["spec"]["containers"][0]["env"][0]["value"] = json!("two");
    api.good("PUT", "/api/v1/namespaces/default/pods/keeper", Some(&changed));
    for directory in [&data, &scratch, &given] {
        eventually("the second word", LATER, || {
            if words(directory) == "one\ntwo\n" { Ok(()) } else { Err(words(directory)) }
        });
    }
    wait_listed(
        &machine,
        "the volumes of the pod",
        &[
            "keeper data volume true /disk1/volumes/default_keeper_main/data",
            "keeper scratch emptyDir true /disk1/volumes/default_keeper_main/scratch",
            "keeper given hostPath true /disk1/given",
        ],
    );
    let mut command = Command::new(dev::binary());
    let shown = text_of(command.args(["get", "volumes", "--server", &format!("http://{}", machine.listen)]).output());
    let row = shown.lines().find(|line| line.contains(" data ")).unwrap_or_default().to_owned();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..6], ["default", "keeper", "main", "data", "volume", "yes"], "{shown}");

    api.delete("keeper");
    api.wait_gone("keeper");
    assert!(!scratch.exists(), "what was made for the pod went with it");
    assert_eq!((words(&data).as_str(), words(&given).as_str()), ("one\ntwo\n", "one\ntwo\n"));
    wait_listed(&machine, "what nobody mounts", &[" data volume false /disk1/volumes/default_keeper_main/data"]);
    api.create(&keeper("three"));
    api.wait_running("keeper");
    eventually("the third word", SOON, || if words(&data) == "one\ntwo\nthree\n" { Ok(()) } else { Err(words(&data)) });
    assert_eq!(words(&scratch), "three\n", "a new pod begins with an empty one");
    drop(serve);
}

#[test]
fn no_store_however_it_is_broken_deletes_a_volume() {
    let machine = Machine::new("volumes-stores");
    let _host = machine.host("simulated", &[]);
    machine.image("hello:latest");
    let serve = machine.serve();
    let api = machine.api();
    api.post("/api/v1/namespaces/default/configmaps", &config_map());
    api.create(&with_volumes(pod("web", json!({}), json!({}))));
    api.wait_running("web");
    let kept: Vec<PathBuf> = ["data", "scratch"].map(|name| volume(&machine, "web", name).join("kept")).into();
    for path in &kept {
        std::fs::write(path, "dear").expect("written");
    }
    serve.kill();
    let store = machine.dir.join("state.redb");
    let journal = machine.dir.join("state.redb.journal");
    let whole = [&store, &journal].map(|file| std::fs::read(file).expect("the store, as it was left"));
    let all_there = |story: &str| {
        for path in &kept {
            assert_eq!(text(path), "dear", "{story}: {}", path.display());
        }
    };

    // Unreadable: it does not even start.
    std::fs::write(&store, &whole[0][..whole[0].len() / 2]).expect("written");
    let (status, _) = machine.serve_unready(|_| {}).wait(SOON);
    assert_eq!(status.code(), Some(69));
    all_there("half a store");

    // Gone, but not all of it: nor then.
    std::fs::remove_file(&store).expect("removed");
    let (status, output) = machine.serve_unready(|_| {}).wait(SOON);
    assert!(status.code() == Some(69) && output.contains("put it back, or remove"), "{output}");

    // Empty: nobody is known to want anything, and nothing is touched.
    std::fs::remove_file(&journal).expect("removed");
    let serve = machine.serve();
    wait_listed(&machine, "everything unused", &[" data volume false /disk1/volumes/default_web_main/data"]);
    all_there("an empty store");
    serve.kill();

    // As it was.
    for (file, bytes) in [&store, &journal].into_iter().zip(&whole) {
        std::fs::write(file, bytes).expect("written");
    }
    let serve = machine.serve();
    api.wait_pod("web", "running", LATER, is_running);
    all_there("the store as it was");
    assert!(serve.terminate().success());
    assert!(!journal.exists(), "stopped in order, it is one file");
}

#[test]
fn no_container_starts_without_what_it_mounts() {
    let machine = Machine::new("volumes-missing");
    let _host = machine.host("simulated", &[]);
    machine.image("hello:latest");
    let _serve = machine.serve();
    let api = machine.api();
    let mut strict = pod("strict", json!({}), json!({}));
    strict["spec"]["volumes"] = json!([{"name": "given", "hostPath": {"path": "/disk1/must-be", "type": "Directory"}}]);
    strict["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "given", "mountPath": "/given"}]);
    api.create(&strict);
    let waiting = |pod: &Value| container_status(pod, "main")["state"]["waiting"].clone();
    let told = api.wait_pod("strict", "told why", SOON, |pod| waiting(pod)["reason"] == "FailedMount");
    assert!(waiting(&told)["message"].as_str().is_some_and(|text| text.contains("is not there")), "{told}");
    assert_eq!(machine.rows("/container", "name", "default_strict_main"), 0);
    std::fs::create_dir_all(disk(&machine).join("must-be")).expect("made");
    api.wait_pod("strict", "running", LATER, is_running);

    // A device that refuses one of two mounts.
    machine.faults(&json!([{"match": {"path": "/container/mounts/add"}, "when": {"nth": 2}, "status": 400}]));
    let mut two = pod("two", json!({}), json!({}));
    two["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}, {"name": "more", "mountPath": "/more"}]);
    api.create(&two);
    api.wait_pod("two", "told why", SOON, |pod| waiting(pod)["reason"] == "FailedMount");
    assert_eq!(machine.rows("/container", "name", "default_two_main"), 0, "no container without its mounts");
    api.wait_pod("two", "running", LATER, is_running);
    assert_eq!(machine.rows("/container/mounts", "list", "default_two_main"), 2);
    assert!(volume(&machine, "two", "more").is_dir());
}
