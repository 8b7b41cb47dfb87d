//! Networks that people make and remove while real containers run, and an interface that vanishes behind our back.

mod dev;

use std::process::{Command, Output};

use dev::http::Http;
use dev::{Machine, SOON, eventually, pod, real_containers};
use serde_json::{Value, json};

fn kubectl(machine: &Machine, words: &[&str]) -> Output {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(machine.data().join("kubeconfig")).args(words).env("HOME", &machine.dir);
    command.output().expect("kubectl is installed")
}

#[track_caller]
fn kubectl_ok(machine: &Machine, words: &[&str]) -> String {
    let output = kubectl(machine, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn web(name: &str, annotations: Value) -> Value {
    let mut pod = pod(name, json!({"command": ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"]}), json!({}));
    pod["metadata"]["annotations"] = annotations;
    pod
}

/// The row of that name in a menu of the host.
fn row(host: &Http, menu: &str, name: &str) -> Option<Value> {
    host.get(menu).as_array()?.iter().find(|row| row["name"] == name).cloned()
}

fn id(row: &Value) -> String {
    row[".id"].as_str().unwrap_or_default().to_owned()
}

/// Somebody removes container and interface; says what is still in the way.
fn take_away(host: &Http, container: &str, veth: &str) -> Result<(), String> {
    let Some(interface) = row(host, "/interface/veth", veth) else { return Ok(()) };
    if let Some(container) = row(host, "/container", container) {
        let number = id(&container);
        let _ = host.call("POST", "/container/stop", Some(&json!({".id": number})));
        let _ = host.call("DELETE", &format!("/container/{number}"), None);
    }
    match host.call("DELETE", &format!("/interface/veth/{}", id(&interface)), None) {
        Ok((204, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn a_network_is_made_used_and_removed_while_containers_run() {
    if !real_containers("networks that come and go") {
        return;
    }
    let (machine, other) = (Machine::new("networks"), Machine::new("networks-second"));
    let dev = machine.dev(&[]);
    let (api, host) = (machine.api(), machine.dev_host(&dev));
    let manifest = json!({
        "apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": "g8"},
        "spec": {"cidr": other.cidr(), "bridge": "bridge-g8", "managed": true},
    });
    let file = machine.write("g8.json", &manifest.to_string());
    kubectl_ok(&machine, &["apply", "-f", &file.display().to_string()]);
    kubectl_ok(&machine, &["wait", "--for=condition=Ready", "network/g8", "--timeout=30s"]);
    let listed = kubectl_ok(&machine, &["get", "net"]);
    assert!(listed.contains("g8") && listed.contains("gt") && listed.contains(&other.cidr()), "{listed}");

    let address = format!("{}.50", other.prefix);
    api.create(&web("far", json!({"vkube.io/network": "g8", "vkube.io/static-ip": address})));
    api.create(&web("near", json!({"vkube.io/static-ip": format!("{}.60", machine.prefix)})));
    assert_eq!(api.wait_running("far")["status"]["podIP"], address.as_str());
    assert_eq!(api.wait_running("near")["status"]["podIP"], format!("{}.60", machine.prefix));
    for at in [&address, &format!("{}.60", machine.prefix)] {
        let web = Http::new(&format!("http://{at}"), None);
        eventually("somebody answers there", SOON, || web.call("GET", "/", None));
    }
    // Who answered was heard by the kernel, and the host tells so.
    let heard = host.get("/ip/arp");
    let is_heard = |row: &Value| row["address"] == address.as_str() && row["interface"] == "bridge-g8";
    assert!(heard.as_array().is_some_and(|rows| rows.iter().any(is_heard)), "{heard}");

    let refused = kubectl(&machine, &["delete", "network", "g8", "--wait=false"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("pod default/far"), "{told}");
    let refused = kubectl(&machine, &["delete", "network", "gt", "--wait=false"]);
    assert!(!refused.status.success(), "the network of the command line stays");

    let veth = "veth_default_far_0";
    let before = id(&row(&host, "/interface/veth", veth).expect("an interface"));
    let near = machine.process(&api.pod("near"), "main");
    eventually("container and interface are taken away", SOON, || take_away(&host, "default_far_main", veth));
    eventually("another interface is there", SOON, || {
        row(&host, "/interface/veth", veth).map(|row| id(&row)).filter(|now| *now != before).ok_or("none".to_owned())
    });
    let again = api.wait_running("far");
    assert_eq!(again["status"]["podIP"], address.as_str());
    let answers = Http::new(&format!("http://{address}"), None);
    eventually("it answers again", SOON, || answers.call("GET", "/", None));
    let ports = host.get("/interface/bridge/port");
    let dead = |port: &Value| port["interface"].as_str().is_some_and(|name| name.starts_with('*'));
    assert!(ports.as_array().is_some_and(|rows| rows.len() == 2 && !rows.iter().any(dead)), "{ports}");
    assert_eq!(machine.process(&api.pod("near"), "main"), near, "nobody else was disturbed");

    for name in ["far", "near"] {
        api.delete(name);
        api.wait_gone(name);
    }
    kubectl_ok(&machine, &["delete", "network", "g8", "--timeout=30s"]);
    assert!(row(&host, "/interface/bridge", "bridge-g8").is_none());
    assert!(row(&host, "/interface/bridge", "bridge-gt").is_some());
    let gateway = format!("{}.1", other.prefix);
    eventually("the kernel has no such address any more", SOON, || {
        let addresses = dev::text_of(Command::new("ip").args(["-4", "-o", "addr"]).output());
        if addresses.contains(&format!("{gateway}/")) { Err(addresses) } else { Ok(()) }
    });
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}
