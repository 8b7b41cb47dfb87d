//! The machine against the conformance statements of its reference, by their numbers.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::effects::Happened;
use crate::engine::ImageConfig;

struct Bench {
    device: Device,
}

impl Bench {
    fn of(version: &str) -> Self {
        let release = Release::parse(version).expect("a release");
        let mut bench = Self { device: Device::new(release, "admin", "") };
        bench.put("interface/bridge", json!({"name": "br-t"}), 201);
        bench.put(
            "interface/veth",
            json!({"name": "veth-a", "address": "172.17.0.2/24", "gateway": "172.17.0.1"}),
            201,
        );
        bench
    }

    fn send(&mut self, verb: Verb, path: &str, body: Value) -> (Answer, Vec<Effect>) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = Request {
            verb,
            segments: path.split('/').map(str::to_owned).collect(),
            query: query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
            body,
        };
        let here = here();
        self.device.request(&request, &here)
    }

    fn expect(&mut self, verb: Verb, path: &str, body: Value, status: u16) -> Value {
        let (answer, _) = self.send(verb, path, body);
        assert_eq!(answer.status, status, "{verb:?} {path}: {:?}", answer.body);
        answer.body.unwrap_or(Value::Null)
    }

    fn put(&mut self, path: &str, body: Value, status: u16) -> Value {
        self.expect(Verb::Put, path, body, status)
    }

    fn post(&mut self, path: &str, body: Value, status: u16) -> Value {
        self.expect(Verb::Post, path, body, status)
    }

    fn get(&mut self, path: &str) -> Value {
        self.expect(Verb::Get, path, Value::Null, 200)
    }

    fn happen(&mut self, what: Happened) -> Vec<Effect> {
        self.device.happened(what, &here())
    }

    fn container(&mut self) -> String {
        let row = self.put(
            "container",
            json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1", "name": "c"}),
            201,
        );
        let image = ImageConfig {
            cmd: vec!["/bin/x".into()],
            architecture: "amd64".into(),
            tag: "x:1".into(),
            ..ImageConfig::default()
        };
        self.happen(Happened::Extracted { number: 1, result: Ok(image) });
        row[".id"].as_str().expect("an id").to_owned()
    }
}

fn here() -> Circumstances<'static> {
    Circumstances {
        stamp: "2026-01-01 00:00:00".into(),
        uptime: Duration::from_secs(5),
        exists: &|path| path.ends_with("img.tar"),
        local: &|path| PathBuf::from(format!("/data/{}", path.trim_start_matches('/'))),
        sizes: [1, 2, 3, 4],
        cpus: 2,
        cpu_load: 7,
    }
}

fn detail(body: &Value) -> &str {
    body["detail"].as_str().unwrap_or_default()
}

#[test]
fn statements_6_14_to_22_directories_and_settings_menus() {
    let mut bench = Bench::of("7.23.2");
    assert!(
        detail(&bench.expect(Verb::Get, "nonexistent/path", Value::Null, 400))
            .contains("no such command or directory (nonexistent)")
    );
    let resource = bench.get("system/resource");
    assert_eq!((&resource["platform"], &resource["version"]), (&json!("MikroTik"), &json!("7.23.2 (stable)")));
    assert_eq!(resource["uptime"], "5s");
    bench.post("system/identity/set", json!({"name": "r1"}), 200);
    assert_eq!(bench.get("system/identity"), json!({"name": "r1"}));
    assert!(
        detail(&bench.expect(Verb::Patch, "system/identity", json!({"name": "x"}), 400))
            .contains("missing or invalid resource identifier")
    );
    assert_eq!(bench.get("system/device-mode")["container"], "true");
    let refused = bench.post("container/config/set", json!({"tmpdir": "disk1/tmp", "dns-servers": "1.1.1.1"}), 400);
    assert_eq!(detail(&refused), "unknown parameter dns-servers");
    assert_eq!(bench.get("container/config")["tmpdir"], "");
    bench.post("container/config/set", json!({"memory-high": "200M", "password": "secret"}), 200);
    let config = bench.get("container/config");
    assert_eq!((&config["memory-high"], config.get("password")), (&json!("209715200"), None));
}

#[test]
fn statements_23_to_46_rows_are_added_changed_and_removed() {
    let mut bench = Bench::of("7.23.2");
    let bridge = bench.get("interface/bridge/br-t");
    assert_eq!(
        (&bridge["protocol-mode"], &bridge["vlan-filtering"], &bridge["disabled"]),
        (&json!("rstp"), &json!("false"), &json!("false"))
    );
    assert!(
        detail(&bench.put("interface/bridge", json!({"name": "br-t"}), 400))
            .contains("already have interface with such name")
    );
    assert_eq!(bench.get("interface/br-t")["type"], "bridge");
    let id = bridge[".id"].as_str().expect("an id").to_owned();
    assert_eq!(
        bench.expect(Verb::Patch, &format!("interface/bridge/{id}"), json!({"comment": "c1"}), 200)["comment"],
        "c1"
    );
    assert_eq!(bench.expect(Verb::Patch, "interface/bridge/br-t", json!({"comment": ""}), 200).get("comment"), None);
    assert_eq!(
        detail(&bench.expect(Verb::Patch, &format!("interface/bridge/{id}"), json!({"nosuch": "1"}), 400)),
        "unknown parameter nosuch"
    );
    assert_eq!(bench.get("interface/bridge?.id=*FFFFF"), json!([]));
    for disabled in [json!("yes"), json!("true"), json!(true)] {
        assert_eq!(
            bench.expect(Verb::Patch, "interface/bridge/br-t", json!({"disabled": disabled}), 200)["disabled"],
            "true"
        );
    }
    let address = bench.put("ip/address", json!({"address": "192.168.111.111", "interface": "br-t"}), 201);
    assert_eq!((&address["address"], &address["network"]), (&json!("192.168.111.111/32"), &json!("192.168.111.111")));
    assert_eq!(detail(&bench.put("ip/address", json!({"address": "10.0.0.1/24"}), 400)), "missing =interface=");
    assert_eq!(
        detail(&bench.put("ip/address", json!({"address": "10.0.0.1/24", "interface": "nope"}), 400)),
        "input does not match any value of interface"
    );
    assert!(
        detail(&bench.put("ip/address", json!({"address": "300.1.1.1/24", "interface": "br-t"}), 400))
            .contains("address")
    );
    assert_eq!(detail(&bench.post("ip/address", json!({}), 400)), "no such command");
    let added = bench.post("ip/address/add", json!({"address": "10.9.9.1/24", "interface": "br-t"}), 200);
    let id = added["ret"].as_str().expect("an id").to_owned();
    bench.post("ip/address/set", json!({".id": id, "comment": "x"}), 200);
    bench.post("ip/address/disable", json!({"numbers": id}), 200);
    assert_eq!(bench.get(&format!("ip/address/{id}"))["disabled"], "true");
    assert_eq!(bench.post("ip/address/remove", json!({".id": id}), 200), json!([]));
    let gone = bench.post("ip/address/remove", json!({".id": id}), 404);
    assert_eq!(gone, json!({"error": 404, "message": "Not Found"}));
    assert_eq!(detail(&bench.expect(Verb::Get, "ip/address/print", Value::Null, 400)), "no such command");
    assert_eq!(detail(&bench.expect(Verb::Delete, "log/*1", Value::Null, 400)), "no such command");
    assert_eq!(bench.send(Verb::Delete, "interface/bridge/br-t", Value::Null).0, Answer::nothing());
}

#[test]
fn statements_47_to_55_print_picks_and_queries() {
    let mut bench = Bench::of("7.23.2");
    bench.put("ip/address", json!({"address": "10.0.0.1/24", "interface": "br-t"}), 201);
    let all = bench.get("ip/address");
    assert_eq!(bench.post("ip/address/print", json!({}), 200), all);
    assert_eq!(
        bench.post("ip/address/print", json!({".proplist": "address,interface"}), 200),
        json!([{"address": "10.0.0.1/24", "interface": "br-t"}])
    );
    assert_eq!(bench.get("ip/address?.proplist=address"), json!([{".id": "*1", "address": "10.0.0.1/24"}]));
    let names = bench.post(
        "interface/print",
        json!({".query": ["type=bridge", "type=veth", "#|"], ".proplist": ["name"]}),
        200,
    );
    assert_eq!(names, json!([{"name": "br-t"}, {"name": "veth-a"}]));
    assert_eq!(bench.post("ip/address/print", json!({"count-only": ""}), 200), json!({"ret": "1"}));
    bench.post("ip/address/print", json!({"?name": "x"}), 400);
}

#[test]
fn statements_61_to_67_interfaces_and_bridge_ports() {
    let mut bench = Bench::of("7.23.2");
    let veth = bench.get("interface/veth/veth-a");
    assert_eq!((&veth["gateway6"], &veth["dhcp"], &veth["running"]), (&json!(""), &json!("false"), &json!("false")));
    assert!(
        detail(&bench.put("interface/veth", json!({"name": "veth-a"}), 400))
            .contains("already have interface with such name")
    );
    bench.put("interface/bridge/port", json!({"bridge": "br-t", "interface": "veth-a"}), 201);
    assert_eq!(bench.get("interface/bridge/port?interface=veth-a").as_array().map(Vec::len), Some(1));
    assert!(
        detail(&bench.put("interface/bridge/port", json!({"bridge": "br-t", "interface": "veth-a"}), 400))
            .contains("already added")
    );
    assert_eq!(
        detail(&bench.put("interface/bridge/port", json!({"bridge": "nope", "interface": "veth-a"}), 400)),
        "input does not match any value of bridge"
    );
    bench.expect(Verb::Delete, "interface/veth/veth-a", Value::Null, 204);
    let port = bench.get("interface/bridge/port");
    assert!(port[0]["interface"].as_str().is_some_and(|name| name.starts_with('*')), "{port}");
}

#[test]
fn statements_80_to_87_what_a_container_needs() {
    let mut bench = Bench::of("7.23.2");
    let refuse = |bench: &mut Bench, body: Value| detail(&bench.put("container", body, 400)).to_owned();
    assert!(
        refuse(&mut bench, json!({"interface": "veth-a", "root-dir": "disk1/c1"})).contains("No file or remote-image")
    );
    assert_eq!(refuse(&mut bench, json!({"file": "disk1/img.tar", "root-dir": "disk1/c1"})), "missing =interface=");
    let with = |extra: Value| {
        let mut body = json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1"});
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    };
    assert_eq!(refuse(&mut bench, with(json!({"file": "nosuch.tar"}))), "input does not match any value of file");
    assert_eq!(refuse(&mut bench, with(json!({"interface": "nope"}))), "input does not match any value of interface");
    assert_eq!(refuse(&mut bench, with(json!({"mounts": "m1"}))), "unknown parameter mounts");
    assert_eq!(refuse(&mut bench, with(json!({"envlist": "e1"}))), "unknown parameter envlist");
    assert_eq!(refuse(&mut bench, with(json!({"envlists": "nolist"}))), "input does not match any value of envlists");
    bench.container();
    let row = bench.get("container/c");
    for (name, value) in [
        ("root-dir", "/disk1/c1"),
        ("logging", "false"),
        ("start-on-boot", "false"),
        ("stop-signal", "15-SIGTERM"),
        ("stop-time", "10s"),
        ("memory-high", "unlimited"),
        ("stopped", "true"),
        ("os", "linux"),
        ("arch", "amd64"),
        ("tag", "x:1"),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    assert!(refuse(&mut bench, with(json!({"name": "d"}))).contains("root-dir overlap"));
    let mut old = Bench::of("7.19.6");
    old.post("container/envs/add", json!({"name": "e1", "key": "A", "value": "1"}), 200);
    old.post("container/mounts/add", json!({"name": "m1", "src": "disk1/v", "dst": "/data"}), 200);
    old.put("container", with(json!({"mounts": "m1", "envlist": "e1"})), 201);
    assert_eq!(old.get("container")[0]["status"], "extracting");
}

#[test]
fn statements_88_to_96_the_life_of_a_container() {
    let mut bench = Bench::of("7.23.2");
    let id = bench.container();
    assert!(detail(&bench.post("container/start", json!({}), 400)).contains("missing ="));
    bench.post("container/start", json!({".id": "*FFFFF"}), 404);
    let (answer, effects) = bench.send(Verb::Post, "container/start", json!({"number": id}));
    assert_eq!(answer, Answer::done());
    assert!(matches!(effects.as_slice(), [Effect::Start { launch, .. }] if launch.argv == ["/bin/x"]), "{effects:?}");
    bench.happen(Happened::Started { number: 1, start: 1, result: Ok(()) });
    assert_eq!(bench.get("container/c")["running"], "true");
    assert_eq!(bench.get("interface/veth/veth-a")["running"], "true");
    assert!(
        detail(&bench.expect(Verb::Delete, &format!("container/{id}"), Value::Null, 400))
            .contains("cannot remove running")
    );
    let (answer, effects) = bench.send(Verb::Post, "container/stop", json!({".id": id}));
    assert_eq!(answer, Answer::done());
    assert!(matches!(effects.as_slice(), [Effect::Stop { signal: 15, .. }]), "{effects:?}");
    let row = bench.get("container/c");
    assert_eq!((&row["stopping"], &row["running"]), (&json!("true"), &json!("false")));
    assert!(
        detail(&bench.expect(Verb::Delete, &format!("container/{id}"), Value::Null, 400))
            .contains("cannot remove running")
    );
    bench.happen(Happened::Exited { number: 1, code: 143, out_of_memory: false });
    assert_eq!(bench.get("container/c")["stopped"], "true");
    assert_eq!(bench.get("container/log")[2]["message"], "exited with status 143");
    bench.expect(Verb::Delete, &format!("container/{id}"), Value::Null, 204);
    assert_eq!(bench.get("container/c")["deleting"], "true");
    assert!(
        detail(&bench.expect(Verb::Delete, "interface/veth/veth-a", Value::Null, 400)).contains("in use by container")
    );
    bench.happen(Happened::FilesRemoved { number: 1 });
    assert_eq!(bench.get("container"), json!([]));
}

#[test]
fn statements_97_to_101_failures_lists_and_mounts() {
    let mut bench = Bench::of("7.23.2");
    bench.put(
        "container",
        json!({"remote-image": "x", "interface": "veth-a", "root-dir": "disk1/r", "name": "r"}),
        201,
    );
    assert_eq!(bench.get("container/r")["download/extract failed"], "true");
    assert!(
        bench.get("log?topics=container,info")[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("download/extract error"))
    );
    assert_eq!(detail(&bench.put("container/envs", json!({"key": "A", "value": "1"}), 400)), "missing =list=");
    assert_eq!(
        detail(&bench.put("container/envs", json!({"list": "e1", "name": "A", "value": "1"}), 400)),
        "unknown parameter name"
    );
    let mount = bench.put("container/mounts", json!({"list": "m1", "src": "disk1/v", "dst": "/data"}), 201);
    assert_eq!((&mount["src"], &mount["dst"]), (&json!("/disk1/v"), &json!("/data")));
    assert!(
        detail(&bench.put("container/mounts", json!({"list": "m1", "src": "x", "dst": "/data"}), 400))
            .contains("same dst already exists")
    );
    assert!(
        detail(&bench.put("container/mounts", json!({"list": "m1", "src": "x", "dst": "/"}), 400))
            .contains("dst cannot be root")
    );
}

#[test]
fn every_value_is_a_string_and_ids_come_first() {
    let mut bench = Bench::of("7.24");
    bench.container();
    for path in [
        "container",
        "interface/veth",
        "interface/bridge",
        "system/resource",
        "user",
        "interface",
        "disk",
        "system/package",
    ] {
        let body = bench.get(path);
        let rows = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        for row in rows {
            let fields = row.as_object().expect("a row");
            assert!(fields.values().all(Value::is_string), "{path}: {row}");
            assert!(!fields.contains_key("password"), "{path}");
        }
    }
}

#[test]
fn a_restart_policy_restarts_and_gives_up_at_its_limit() {
    let mut bench = Bench::of("7.23.2");
    let id = bench.container();
    bench.post(
        "container/set",
        json!({".id": id, "restart-policy": "on-failure", "restart-max-count": "1", "restart-interval": "5s"}),
        200,
    );
    bench.post("container/start", json!({".id": id}), 200);
    bench.happen(Happened::Started { number: 1, start: 1, result: Ok(()) });
    let effects = bench.happen(Happened::Exited { number: 1, code: 1, out_of_memory: false });
    assert!(
        effects.contains(&Effect::RestartLater { number: 1, start: 1, after: Duration::from_secs(5) }),
        "{effects:?}"
    );
    bench.happen(Happened::RestartDue { number: 1, start: 1 });
    bench.happen(Happened::Started { number: 1, start: 2, result: Ok(()) });
    assert_eq!(bench.get("container/c")["restart-count"], "1");
    let effects = bench.happen(Happened::Exited { number: 1, code: 1, out_of_memory: false });
    assert_eq!(effects, [Effect::CleanUp { key: "c1".into() }]);
}

#[test]
fn every_disk_is_listed_and_found_by_its_slot() {
    let mut bench = Bench::of("7.23.2");
    bench.device.set_disks(vec!["disk1".into(), "raid1".into()]);
    let disks = bench.get("disk");
    assert_eq!((disks.as_array().map(Vec::len), &disks[1]["slot"]), (Some(2), &json!("raid1")));
    assert_eq!(bench.get("disk/raid1")[".id"], "*2");
}
