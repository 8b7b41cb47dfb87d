//! The configurations and manifests of deploy/, run by `mkube serve` against a host: four networks, the boot order, the site's
//! pods. Only addresses and directories are changed.

mod dev;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dev::process::Running;
use dev::{Machine, binary, eventually};
use serde_json::{Value, json};

/// A whole site comes up within this.
const SITE: Duration = Duration::from_secs(30);
/// Bridges of the four networks and the device's own addresses on them.
const NETWORKS: [(&str, &str); 4] = [
    ("bridge-gt", "192.168.200.1/24"),
    ("bridge", "192.168.10.1/24"),
    ("bridge-boot", "192.168.11.1/24"),
    ("bridge-lan", "192.168.1.1/24"),
];

fn deploy(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file).display().to_string()
}

/// A configuration of deploy/, for a device and directories of this story.
fn config_of(machine: &Machine, file: &str) -> Value {
    let text = std::fs::read_to_string(deploy(file)).expect("a configuration");
    let mut config = mkube_manifests::parse_one(&text).expect("YAML");
    let disk = machine.dir.join("host/raid1");
    let data = disk.join("volumes/kube.gt.lo/data");
    let own = machine.config();
    config["routeros"] = own["routeros"].clone();
    config["storage"]["tarballCache"] = json!(disk.join("cache"));
    config["storage"]["persistentMounts"] = json!([
        {"containerPath": disk.join("cache"), "hostPath": "raid1/cache"},
        {"containerPath": data, "hostPath": "raid1/volumes/kube.gt.lo/data"},
    ]);
    config["lifecycle"]["bootManifestPath"] = json!(deploy("boot-order.yaml"));
    config["store"] = json!({"kind": "embedded", "path": data.join("state.redb")});
    config["api"] = own["api"].clone();
    // The site's registry is another name of one that is away, so that nobody outside this machine is asked.
    config["registry"]["localAddresses"] = json!(["127.0.0.1:1", "192.168.200.3:5000"]);
    config
}

fn a_site_runs_from(file: &str) {
    let machine = Machine::new(&format!("deploy-{}", file.trim_end_matches(".yaml")));
    let disk = machine.dir.join("host/raid1");
    std::fs::create_dir_all(disk.join("cache")).expect("a disk");
    for image in ["busybox:latest", "microdns:edge", "nats:edge"] {
        machine.image_in(&disk.join("cache"), &format!("192.168.200.3:5000/{image}"));
    }
    let _host = machine.host("simulated", &[]);
    let device = machine.host_api();
    for (bridge, address) in NETWORKS {
        device.post("/interface/bridge/add", &json!({"name": bridge}));
        device.post("/ip/address/add", &json!({"address": address, "interface": bridge}));
    }
    let config = machine.write("site-config.yaml", &config_of(&machine, file).to_string());
    let mut command = Command::new(binary());
    command.arg("serve").arg("--config").arg(config);
    let _serve = Running::start(command);
    machine.api().wait_ready();

    let running = |wanted: usize| {
        eventually("every pod runs", SITE, || {
            let list = machine.api().get("/api/v1/pods");
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            let up = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            if up == wanted && pods.len() == wanted { Ok(pods) } else { Err(format!("{up} of {wanted}: {list}")) }
        })
    };
    let pods = running(4);
    let address = |namespace: &str, name: &str| {
        let pod = pods.iter().find(|pod| pod["metadata"]["namespace"] == namespace && pod["metadata"]["name"] == name);
        pod.map(|pod| pod["status"]["podIP"].clone()).unwrap_or_default()
    };
    assert_eq!(address("infra", "nats"), "192.168.200.10");
    assert_eq!(address("g10", "dns"), "192.168.10.252");
    assert_eq!(address("g11", "dns"), "192.168.11.252");
    assert_eq!(address("gt", "dns"), "192.168.200.199");

    let mut files: Vec<_> = std::fs::read_dir(deploy("site-pods")).expect("manifests").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        let mut command = Command::new(binary());
        command.env("MKUBE_SERVER", format!("http://{}", machine.listen)).args(["apply", "-f"]).arg(file.path());
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let pods = running(9);
    let networks: std::collections::BTreeSet<String> = pods
        .iter()
        .filter_map(|pod| pod["status"]["podIP"].as_str()?.rsplit_once('.').map(|(network, _)| network.to_owned()))
        .collect();
    assert_eq!(networks.len(), 4, "pods live in all four networks: {networks:?}");
}

#[test]
fn the_configuration_with_every_key_runs_the_site() {
    a_site_runs_from("config.yaml");
}

#[test]
fn the_configuration_of_rose1_runs_the_site() {
    a_site_runs_from("rose1-config.yaml");
}
