//! What must be on the device, and what of it must never have changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dev::http::is_running;
use crate::dev::{SOON, container_status, eventually, names_in};
use crate::kinds::KINDS;
use crate::site::Site;
use crate::truth::served;

/// Menus mkube works in, the key by which a row belongs to a pod, and how many rows a pod has there.
const MENUS: [(&str, &str, usize); 5] = [
    ("/container", "name", 1),
    ("/interface/veth", "name", 1),
    ("/interface/bridge/port", "interface", 1),
    ("/container/mounts", "list", 1),
    ("/container/envs", "list", 2),
];

/// Fields that move by themselves.
const MOVING: [&str; 4] = ["memory-current", "cpu-usage", "uptime", "rx-byte"];

/// Names of somebody else's container and interface, close to ours.
const NAME: &str = "default_foreign_exporter";
const VETH: &str = "veth_default_foreign_7";

/// Releases say it in one of two ways.
fn has_status(row: &Value, status: &str) -> bool {
    row["status"] == status || row[status] == "true"
}

/// Rows of somebody else.
pub struct Foreign(BTreeMap<&'static str, Vec<Value>>);

fn fixed(mut row: Value) -> Value {
    if let Some(fields) = row.as_object_mut() {
        fields.retain(|key, _| !MOVING.contains(&key.as_str()));
    }
    row
}

impl Foreign {
    /// Puts somebody else's things there, with names close to ours; the container runs.
    pub fn plant(site: &Site) -> Self {
        let host = site.machine.host_api();
        let prefix = &site.machine.prefix;
        host.post("/interface/bridge/add", &json!({"name": "bridge-lan"}));
        let address = format!("{prefix}.250/24");
        let veth = json!({"name": VETH, "address": address, "gateway": format!("{prefix}.1")});
        host.post("/interface/veth/add", &veth);
        let port = json!({"bridge": "bridge-lan", "interface": VETH});
        host.post("/interface/bridge/port/add", &port);
        let mount = json!({"list": "default_foreign", "src": "/disk1/foreign", "dst": "/data"});
        host.post("/container/mounts/add", &mount);
        host.post("/container/envs/add", &json!({"list": "default_foreign", "key": "A", "value": "1"}));
        let container = json!({
            "name": NAME, "file": "disk1/cache/hello-latest.tar", "interface": VETH,
            "root-dir": "/disk1/foreign-root", "mountlists": "default_foreign", "envlists": "default_foreign",
            "cmd": "/bin/sleep 100000", "logging": "false",
        });
        host.post("/container/add", &container);
        let row = |what: &str, status: &str| {
            eventually(what, SOON, || {
                let rows = site.rows("/container");
                let row = rows.iter().find(|row| row["name"] == NAME).cloned().unwrap_or_default();
                if has_status(&row, status) { Ok(row) } else { Err(row.to_string()) }
            })
        };
        let unpacked = row("the foreign container is unpacked", "stopped");
        host.post("/container/start", &json!({".id": unpacked[".id"]}));
        row("the foreign container runs", "running");
        let rows = MENUS.map(|(menu, ..)| (menu, site.rows(menu).into_iter().map(fixed).collect()));
        Self(rows.into())
    }

    /// Takes it away again, as its owner would.
    pub fn remove(&self, site: &Site) {
        let host = site.machine.host_api();
        let id = self.0["/container"].iter().find(|row| row["name"] == NAME).expect("it was planted")[".id"].clone();
        host.post("/container/stop", &json!({".id": id}));
        eventually("the foreign container has stopped", SOON, || {
            let rows = site.rows("/container");
            let row = rows.iter().find(|row| row["name"] == NAME).cloned().unwrap_or_default();
            if has_status(&row, "stopped") { Ok(()) } else { Err(row.to_string()) }
        });
        host.post("/container/remove", &json!({".id": id}));
        eventually("the foreign container is gone", SOON, || {
            let rows = site.rows("/container");
            if rows.iter().any(|row| row["name"] == NAME) { Err(format!("{rows:?}")) } else { Ok(()) }
        });
        let veth = site.rows("/interface/veth").into_iter().find(|row| row["name"] == VETH).expect("it was planted");
        host.post("/interface/veth/remove", &json!({".id": veth[".id"]}));
    }

    /// Nothing of it was touched.
    pub fn untouched(&self, site: &Site) -> Result<(), String> {
        for (menu, planted) in &self.0 {
            let now: Vec<Value> = site.rows(menu).into_iter().map(fixed).collect();
            if let Some(missing) = planted.iter().find(|row| !now.contains(row)) {
                return Err(format!("{menu}: {missing} of somebody else is not as it was: {now:?}"));
            }
        }
        Ok(())
    }

    /// Whether everything runs that is wanted, and nothing else is there.
    pub fn at_rest(&self, site: &Site) -> Result<(), String> {
        let api = site.machine.api();
        let pods = served(&api, KINDS[2].path)?;
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let goes = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
        if let Some(late) = pods.iter().find(|pod| !is_running(pod) || goes(pod)) {
            return Err(format!("{} is not at rest: {}", name(late), late["status"]));
        }
        for deployment in served(&api, KINDS[3].path)? {
            let uid = &deployment["metadata"]["uid"];
            let own = pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == *uid).count() as u64;
            if deployment["spec"]["replicas"] != own || goes(&deployment) {
                return Err(format!("{} has {own} pods: {deployment}", name(&deployment)));
            }
        }
        self.and_only(site, &pods)
    }

    /// Whether the device has exactly what these pods need, and what is somebody else's.
    pub fn and_only(&self, site: &Site, pods: &[Value]) -> Result<(), String> {
        for (menu, key, each) in MENUS {
            let mut wanted: Vec<String> = Vec::new();
            for pod in pods {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let row = match key {
                    "interface" => format!("veth_default_{name}_0"),
                    _ if menu == "/interface/veth" => format!("veth_default_{name}_0"),
                    _ => format!("default_{name}_main"),
                };
                wanted.extend(std::iter::repeat_n(row, each));
            }
            let text = |row: &Value| row[key].as_str().unwrap_or_default().to_owned();
            wanted.extend(self.0[menu].iter().map(text));
            let mut found: Vec<String> = site.rows(menu).iter().map(text).collect();
            wanted.sort();
            found.sort();
            if wanted != found {
                return Err(format!("{menu}: wanted {wanted:?}, found {found:?}"));
            }
        }
        // A root directory for each container, and no other.
        let rows = site.rows("/container");
        let of_rows = rows.iter().filter_map(|row| row["root-dir"].as_str()?.rsplit_once("disk1/images/"));
        let mut wanted: Vec<String> = of_rows.map(|(_, name)| name.to_owned()).collect();
        let mut found = names_in(&site.machine.dir.join("host/disk1/images"));
        wanted.sort();
        found.sort();
        if wanted != found {
            return Err(format!("root directories: wanted {wanted:?}, found {found:?}"));
        }
        self.untouched(site)
    }
}

/// Containers that were seen to run, by uid of their pod: each goes on as it is for as long as its pod is there. (One whose host dies while it
/// starts never ran; it is started again, and that is counted.)
#[derive(Default)]
pub struct Seen(BTreeMap<String, [Value; 3]>);

impl Seen {
    /// No container that ran was made anew or started again.
    #[track_caller]
    pub fn look(&mut self, site: &Site, pods: &[Value]) {
        for pod in pods.iter().filter(|pod| is_running(pod)) {
            let status = container_status(pod, "main");
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let started = status["state"]["running"]["startedAt"].clone();
            let now = [status["containerID"].clone(), status["restartCount"].clone(), started];
            let before = self.0.entry(uid).or_insert_with(|| now.clone());
            assert_eq!(*before, now, "restarted without cause: {pod}\n{:?}", site.rows("/container"));
        }
    }
}
