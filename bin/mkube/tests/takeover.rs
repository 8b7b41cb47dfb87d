//! A site that the Go controller laid down, and the day mkube takes its place: nothing is restarted, everything is ours, and what
//! is not ours is not touched.

mod dev;

use dev::{Identity, Machine, eventually, real_containers};
use serde_json::{Value, json};

const IMAGE: &str = "192.168.200.3:5000/busy:edge";
const ARCHIVE: &str = "disk1/cache/192-168-200-3-5000-busy-edge.tar";

/// Two networks, bridges that are the owner's, and the boot order of the site.
struct Site {
    machine: Machine,
    /// namespace, pod, container, network, last number of the address.
    pods: [(&'static str, &'static str, &'static str, &'static str, u8); 3],
}

impl Site {
    fn new() -> Self {
        let pods = [
            ("infra", "nats", "nats", "gt", 10),
            ("g10", "dns", "microdns", "g10", 252),
            ("gt", "dns", "microdns", "gt", 99),
        ];
        Self { machine: Machine::new("takeover"), pods }
    }

    fn address(&self, last: u8) -> String {
        format!("{}.{last}", self.machine.prefix)
    }

    fn boot_order(&self) -> String {
        let documents = self.pods.iter().map(|(namespace, pod, container, network, last)| {
            let document = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": pod, "namespace": namespace, "annotations": {
                    "vkube.io/network": network, "vkube.io/static-ip": self.address(*last), "vkube.io/boot-priority": "5",
                }},
                "spec": {"restartPolicy": "Always", "containers": [{
                    "name": container, "image": IMAGE, "command": ["/bin/sleep", "100000"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }]},
            });
            format!("{document}\n")
        });
        documents.collect::<Vec<_>>().join("---\n")
    }

    /// As `pkg/runtime` and `pkg/network` of the Go controller did: veth, port, mounts, container without a comment, start.
    fn lay_down(&self) {
        let host = self.machine.host_api();
        for (bridge, gateway) in [("bridge-gt", 1), ("bridge", 129)] {
            host.post("/interface/bridge/add", &json!({"name": bridge}));
            let address = format!("{}/25", self.address(gateway));
            host.post("/ip/address/add", &json!({"address": address, "interface": bridge}));
        }
        for (namespace, pod, container, network, last) in &self.pods {
            let (gateway, bridge) = if *network == "gt" { (1, "bridge-gt") } else { (129, "bridge") };
            self.container(
                &format!("{namespace}_{pod}_{container}"),
                &format!("veth_{namespace}_{pod}_0"),
                (*last, gateway, bridge),
                pod,
            );
        }
        // The owner's own things, some of them with names close to ours.
        self.container("registry.gt.lo", "veth-registry", (3, 1, "bridge-gt"), "registry");
        self.container("homeassistant", "lan-veth", (4, 1, "bridge-gt"), "ha");
        self.container("infra_nats_exporter", "veth_infra_nats_7", (5, 1, "bridge-gt"), "exporter");
    }

    fn container(&self, name: &str, veth: &str, (last, gateway, bridge): (u8, u8, &str), hostname: &str) {
        let host = self.machine.host_api();
        let address = format!("{}/25", self.address(last));
        host.post("/interface/veth/add", &json!({"name": veth, "address": address, "gateway": self.address(gateway)}));
        host.post("/interface/bridge/port/add", &json!({"bridge": bridge, "interface": veth}));
        let src = format!("/disk1/volumes/{name}/data");
        host.post("/container/mounts/add", &json!({"list": name, "src": src, "dst": "/data"}));
        host.post(
            "/container/add",
            &json!({
                "name": name, "file": ARCHIVE, "interface": veth, "root-dir": format!("/disk1/images/{name}"),
                "mountlists": name, "cmd": "/bin/sleep 100000", "hostname": hostname, "logging": "true", "start-on-boot": "true",
            }),
        );
        let id = eventually("unpacked", dev::SOON, || {
            let row = self.row("/container", "name", name);
            if row["stopped"] == "true" || row["status"] == "stopped" {
                Ok(row[".id"].clone())
            } else {
                Err(row.to_string())
            }
        });
        host.post("/container/start", &json!({".id": id}));
        eventually("running", dev::SOON, || {
            let row = self.row("/container", "name", name);
            if row["running"] == "true" || row["status"] == "running" { Ok(()) } else { Err(row.to_string()) }
        });
    }

    fn row(&self, menu: &str, key: &str, name: &str) -> Value {
        let rows = self.machine.host_api().get(menu);
        rows.as_array().and_then(|all| all.iter().find(|row| row[key] == name)).cloned().unwrap_or(Value::Null)
    }

    /// Name and main process of every container.
    fn processes(&self) -> Vec<(String, Identity)> {
        let rows = self.machine.host_api().get("/container");
        let rows = rows.as_array().expect("rows").iter();
        let one = |row: &Value| {
            let text = |key: &str| row[key].as_str().expect("text").to_owned();
            (text("name"), self.machine.process_of_row(&text(".id")))
        };
        rows.map(one).collect()
    }

    /// All rows of the menus mkube works in, without what moves by itself and without its mark.
    fn rows(&self) -> Vec<Value> {
        let menus = [
            "/container",
            "/interface/veth",
            "/interface/bridge/port",
            "/container/mounts",
            "/interface/bridge",
            "/ip/address",
        ];
        let mut all = Vec::new();
        for menu in menus {
            for mut row in self.machine.host_api().get(menu).as_array().expect("rows").clone() {
                let row_fields = row.as_object_mut().expect("a row");
                row_fields.retain(|key, _| {
                    !["comment", "memory-current", "cpu-usage", "last-started", "uptime"].contains(&key.as_str())
                });
                all.push(row);
            }
        }
        all
    }

    fn config(&self, config: &mut Value) {
        let network = |name: &str, first: u8, bridge: &str| {
            json!({
                "name": name, "cidr": format!("{}/25", self.address(first)), "gateway": self.address(first + 1), "bridge": bridge,
                "ipamStart": self.address(first + 20), "ipamEnd": self.address(first + 90), "dns": {"zone": format!("{name}.lo")},
            })
        };
        config["networks"] = json!([network("gt", 0, "bridge-gt"), network("g10", 128, "bridge")]);
    }
}

#[test]
fn mkube_takes_over_a_site_of_the_go_controller_without_a_restart() {
    if !real_containers("taking over a site of the Go controller") {
        return;
    }
    let site = Site::new();
    let _host = site.machine.host("linux", &[]);
    site.machine.image(IMAGE);
    site.lay_down();
    let processes = site.processes();
    assert_eq!(processes.len(), 6);
    let mut rows = site.rows();
    let ours = site.pods.map(|(namespace, pod, container, ..)| format!("{namespace}_{pod}_{container}"));
    for row in rows.iter_mut().filter(|row| ours.iter().any(|name| row["name"] == name.as_str())) {
        row["start-on-boot"] = json!("false");
    }
    site.machine.write("boot-order.yaml", &site.boot_order());
    site.machine.host_api().good("DELETE", "/_mkube/calls", None);

    let serve = site.machine.serve_unready(|config| site.config(config));
    let api = site.machine.api();
    api.wait_ready();
    for (namespace, pod, _, _, last) in &site.pods {
        let pod = api.wait_running(&format!("{namespace}/{pod}"));
        assert_eq!(pod["status"]["podIP"], site.address(*last).as_str());
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    }
    // Three marks, and who starts them at boot: they have a place in the boot order, which mkube keeps. Nothing else was done.
    let marked = |name: &str| site.row("/container", "name", name)["comment"].as_str().unwrap_or_default().to_owned();
    eventually("our three are marked", dev::site::LATER, || {
        let calls = site.machine.host_api().get("/_mkube/calls")["routes"].clone();
        let set = site.rows().iter().filter(|row| row["start-on-boot"] == "false").count();
        if marked("gt_dns_microdns").starts_with("mkube gt/dns ") && set == 3 { Ok(()) } else { Err(calls.to_string()) }
    });
    let calls = site.machine.host_api().get("/_mkube/calls")["routes"].clone();
    let changing: Vec<&String> = calls
        .as_object()
        .expect("routes")
        .keys()
        .filter(|route| !route.starts_with("GET ") && !route.ends_with("/print") && !route.ends_with("/container/set"))
        .filter(|route| *route != "PATCH /container/*")
        .collect();
    assert!(changing.is_empty(), "{changing:?}");
    assert_eq!(site.rows(), rows);
    assert_eq!(site.processes(), processes);
    for foreign in ["registry.gt.lo", "homeassistant", "infra_nats_exporter"] {
        assert_eq!(marked(foreign), "", "{foreign}");
    }

    // A restart of mkube changes nothing either, and brings nothing in twice.
    serve.kill();
    let _serve = site.machine.serve_unready(|config| site.config(config));
    api.wait_ready();
    api.wait_running("infra/nats");
    assert_eq!(site.processes(), processes);

    // What was adopted can be deleted, whole; the rest does not notice.
    api.delete("infra/nats");
    api.wait_gone("infra/nats");
    let ours = |row: &Value| {
        row["name"] == "infra_nats_nats"
            || row["list"] == "infra_nats_nats"
            || row["name"] == "veth_infra_nats_0"
            || row["interface"] == "veth_infra_nats_0"
    };
    let left: Vec<Value> = rows.iter().filter(|row| !ours(row)).cloned().collect();
    assert_eq!(rows.len() - left.len(), 4, "container, veth, port, mount");
    eventually("the rows of the deleted pod are gone", dev::SOON, || {
        let now = site.rows();
        if now == left { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let others: Vec<_> = processes.iter().filter(|(name, _)| name != "infra_nats_nats").cloned().collect();
    assert_eq!(site.processes(), others);
    assert!(site.machine.dir.join("host/disk1/volumes/infra_nats_nats/data").exists(), "data outlives its pod");
}
