//! A device whose store is one of its own pods: NATS is in the boot manifest, and mkube starts it before there is anything to read.

mod dev;

use std::process::Command;

use dev::process::Running;
use dev::site::LATER;
use dev::{Identity, Machine, SOON, eventually, pod, real_containers, text_of};
use mkube_linux_containers::assemble::{self, ImageFile, ImageSpec};
use serde_json::{Value, json};

const SERVER: &str = "/usr/sbin/nats-server";

/// Processes stand before the machine, so that they end first.
struct Site {
    serve: Option<Running>,
    _host: Running,
    machine: Machine,
}

impl Site {
    fn new(name: &str) -> Self {
        let machine = Machine::new(name);
        machine.image("hello:latest");
        nats_image(&machine);
        let site = |machine: &Machine| format!("{}.10", machine.prefix);
        machine.write("boot-order.yaml", &boot_manifest(&site(&machine)));
        let host = machine.host("linux", &[]);
        let mut site = Self { serve: None, _host: host, machine };
        site.start();
        site
    }

    /// Starts the controller.
    fn start(&mut self) {
        let url = format!("nats://{}.10:4222", self.machine.prefix);
        self.serve = Some(self.machine.serve_unready(|config| {
            config["nats"] = json!({"url": url});
            config["store"]["kind"] = json!("nats");
        }));
    }

    /// `kill -9` of the controller.
    fn kill(&mut self) {
        self.serve.take().expect("it runs").kill();
    }

    #[track_caller]
    fn wait_store(&self, words: &str) {
        eventually(&format!("a store that is {words}"), LATER, || match self.machine.api().page("/readyz?verbose") {
            Ok(text) if text.contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// The main processes of these pods.
    #[track_caller]
    fn processes(&self, pods: &[&str]) -> Vec<Identity> {
        pods.iter().map(|name| self.machine.process(&self.machine.api().wait_running(name), "main")).collect()
    }
}

/// The server of this machine with the libraries it needs.
fn nats_image(machine: &Machine) {
    assert!(std::path::Path::new(SERVER).is_file(), "{SERVER} is missing; scripts/need nats-server installs it");
    let libraries = text_of(Command::new("ldd").arg(SERVER).output());
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let files: Vec<ImageFile> = libraries
        .chain([SERVER])
        .map(|path| ImageFile {
            path: path.trim_start_matches('/').to_owned(),
            mode: 0o755,
            bytes: std::fs::read(path).expect("it can be read"),
        })
        .collect();
    let mut directories =
        vec!["tmp".to_owned(), "proc".into(), "sys".into(), "dev".into(), "etc".into(), "data".into()];
    for file in &files {
        for (at, _) in file.path.match_indices('/') {
            let directory = file.path[..at].to_owned();
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    let cache = machine.dir.join("host/disk1/cache");
    std::fs::create_dir_all(&cache).expect("a directory");
    let name = "nats:latest";
    let spec = ImageSpec { name: name.to_owned(), directories, files, ..ImageSpec::default() };
    let archive = format!("{}.tar", mkube_model::names::archive_name(name));
    assemble::write(&spec, &cache.join(archive)).expect("written");
}

fn boot_manifest(address: &str) -> String {
    let command = [SERVER, "-js", "-sd", "/data", "-a", "0.0.0.0", "-p", "4222"];
    json!({
        "metadata": {"name": "nats", "namespace": "infra", "annotations": {
            "vkube.io/static-ip": address, "vkube.io/boot-priority": "5",
        }},
        "spec": {"terminationGracePeriodSeconds": 1, "restartPolicy": "Always", "containers": [{
            "name": "main", "image": "nats:latest", "imagePullPolicy": "IfNotPresent", "command": command,
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }]},
    })
    .to_string()
}

/// The image is in the cache, and comes from nowhere else.
fn plain(name: &str) -> Value {
    pod(name, json!({"imagePullPolicy": "IfNotPresent"}), json!({}))
}

#[test]
fn a_store_that_is_a_pod_of_the_boot_manifest_is_started_attached_lost_and_found_and_nothing_with_it() {
    if !real_containers("a store that is one of the pods") {
        return;
    }
    let mut site = Site::new("nats");
    let api = site.machine.api();
    // Nothing is there: the pod starts, then the store.
    api.wait_running("infra/nats");
    site.wait_store("[+]store ok: connected, loaded, complete");
    let nats = site.processes(&["infra/nats"]);
    eventually("a pod is created", SOON, || {
        match api.call("POST", "/api/v1/namespaces/default/pods", Some(&plain("app"))) {
            Ok((201, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let before = site.processes(&["infra/nats", "app"]);
    assert_eq!(before[0], nats[0], "NATS was not restarted when the store was there");
    let uids =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| api.pod(name)["metadata"]["uid"].clone()).collect() };
    let known = uids(&["infra/nats", "app"]);

    // The controller dies.
    site.kill();
    site.start();
    site.wait_store("[+]store ok: connected, loaded, complete");
    assert_eq!(site.processes(&["infra/nats", "app"]), before, "nothing restarts with the controller");
    assert_eq!(uids(&["infra/nats", "app"]), known);

    // The store dies: its process ends, and its pod brings it back.
    let ended = Command::new("kill").arg("-9").arg(before[0].pid.to_string()).status();
    assert!(ended.is_ok_and(|status| status.success()));
    api.wait_pod("infra/nats", "restarted", LATER, |pod| {
        dev::http::is_running(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    site.wait_store("[+]store ok: connected, loaded, complete");
    assert_eq!(site.processes(&["app"]), before[1..], "the others do not notice");
    assert_eq!(uids(&["infra/nats", "app"]), known, "nothing is lost");

    // Both die, and the store is stopped: what is known is served, and nothing is written.
    site.kill();
    let row = "infra_nats_main";
    let id = |machine: &Machine| {
        let rows = machine.host_api().get("/container");
        rows.as_array().and_then(|all| all.iter().find(|one| one["name"] == row)).expect("it is there")[".id"].clone()
    };
    api_stop(&site.machine, &id(&site.machine));
    let paused = site.machine.host_api();
    site.machine.faults(&json!([{"match": {"method": "POST", "path": "/container/start"}, "when": {"probability": 1.0}, "status": 500}]));
    drop(paused);
    site.start();
    site.wait_store("[!]store degraded: not connected");
    assert_eq!(uids(&["infra/nats", "app"]), known);
    let (code, text) = api.call("POST", "/api/v1/namespaces/default/pods", Some(&plain("late"))).expect("an answer");
    assert!(code == 503 && text.contains("nothing was changed"), "{code}: {text}");
    let list = Command::new(dev::binary())
        .args(["get", "pods"])
        .env("MKUBE_SERVER", format!("http://{}", site.machine.listen))
        .output()
        .expect("the binary runs");
    let warned = String::from_utf8_lossy(&list.stderr);
    assert!(list.status.success() && warned.contains("this is what was last known"), "{list:?}");
    assert_eq!(site.processes(&["app"]), before[1..]);

    site.machine.faults(&json!([]));
    site.wait_store("[+]store ok: connected, loaded, complete");
    assert_eq!(uids(&["infra/nats", "app"]), known);
    assert_eq!(site.processes(&["app"]), before[1..]);
    api.create(&plain("late"));
    api.wait_running("late");
}

fn api_stop(machine: &Machine, id: &Value) {
    machine.host_api().post("/container/stop", &json!({".id": id}));
    eventually("NATS is stopped", SOON, || {
        let rows = machine.host_api().get("/container");
        let row = rows.as_array().and_then(|all| all.iter().find(|one| one[".id"] == *id)).cloned().unwrap_or_default();
        if row["stopped"] == "true" || row["status"] == "stopped" { Ok(()) } else { Err(row.to_string()) }
    });
}
