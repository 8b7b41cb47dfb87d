//! The disk of the store is full: writes are refused with words, what is there stays and is served, containers go on, and all is well when
//! there is room again.

mod dev;

use std::path::PathBuf;
use std::process::Command;

use dev::http::Http;
use dev::process::Running;
use dev::{Machine, SOON, eventually, pod, real_containers};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A small file system in memory, gone with the story.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a tmpfs can be mounted");
        Self(at)
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(grown.is_ok_and(|status| status.success()), "a tmpfs can grow");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn map(name: &str, bytes: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"filling": "x".repeat(bytes)}})
}

fn serve(machine: &Machine, disk: &Disk) -> Running {
    let serve = machine.serve_unready(|config| config["store"]["path"] = json!(disk.0.join("state.redb")));
    machine.api().wait_ready();
    serve
}

fn names(api: &Http) -> Vec<String> {
    let list = api.get(MAPS);
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_full_disk_refuses_writes_with_words_loses_nothing_and_all_is_well_when_there_is_room_again() {
    // Not for containers: only root mounts.
    if !real_containers("a full disk") {
        return;
    }
    let machine = Machine::new("full-disk");
    // Ended in this order: the processes, the disk, the machine.
    let disk = Disk::mount(machine.dir.join("small"), "2m");
    let _host = machine.host("simulated", &[]);
    machine.image("hello:latest");
    let running = serve(&machine, &disk);
    let api = machine.api();
    api.create(&pod("there", json!({"imagePullPolicy": "Never"}), json!({})));
    let before = api.wait_running("there")["status"]["containerStatuses"][0]["containerID"].clone();

    let mut kept = Vec::new();
    let refused = (0..60).find_map(|number| {
        let name = format!("map-{number:02}");
        match api.call("POST", MAPS, Some(&map(&name, 100_000))) {
            Ok((201, _)) => {
                kept.push(name);
                None
            }
            other => Some(other),
        }
    });
    let (status, text) = refused.expect("two megabytes are less than six").expect("an answer");
    assert_eq!(status, 503, "{text}");
    let told: Value = serde_json::from_str(&text).expect("a Status");
    let message = told["message"].as_str().expect("a message").to_lowercase();
    assert!(message.contains("the store cannot be written") && message.contains("no space left"), "{message}");
    assert!(kept.len() > 3, "{kept:?}");

    // Nothing is lost, nothing is half there, and who starts now finds the same.
    eventually("what is there is served", SOON, || {
        if names(&api) == kept { Ok(()) } else { Err(format!("{:?}", names(&api))) }
    });
    running.kill();
    let running = serve(&machine, &disk);
    assert_eq!(names(&api), kept);
    let (status, text) = api.call("POST", MAPS, Some(&map("one-more", 500_000))).expect("an answer");
    assert_eq!(status, 503, "{text}");
    assert_eq!(api.wait_running("there")["status"]["containerStatuses"][0]["containerID"], before);

    disk.grow("16m");
    eventually("writes work again by themselves", SOON, || {
        match api.call("POST", MAPS, Some(&map("one-more", 500_000))) {
            Ok((201, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    kept.push("one-more".to_owned());
    assert_eq!(names(&api), kept);
    let now = api.wait_running("there");
    assert_eq!(now["status"]["containerStatuses"][0]["containerID"], before, "its container went on through all of it");
    drop(running);
}
