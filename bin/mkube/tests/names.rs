//! Names on real containers: who asks `dig` or a pod's own resolver finds the pods that are ready, and nobody else.

mod dev;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output};

use dev::http::Http;
use dev::process::Running;
use dev::site::LATER;
use dev::{Identity, Machine, SOON, eventually, pod, real_containers, shell, text_of};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Whether this machine has what the stories need; says loudly when not.
fn can(story: &str) -> bool {
    for program in ["dig", "kubectl"] {
        if Command::new(program).arg("--help").output().is_err() {
            let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: {program} is not installed\n");
            return false;
        }
    }
    real_containers(story)
}

/// Two pods that serve a page with their name. They are ready while `/tmp/www/ok` is there.
fn deployment() -> Value {
    let serve = "busybox mkdir -p /tmp/www; hostname > /tmp/www/index.html; echo > /tmp/www/ok; exec httpd -f -p 80 -h /tmp/www";
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"vkube.io/aliases": "www"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "main", "image": "hello:latest", "command": ["/bin/sh", "-c", serve],
                    "readinessProbe": {"httpGet": {"path": "/ok", "port": 80}, "periodSeconds": 1, "failureThreshold": 1},
                }]},
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "site", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

/// `mkube dev` that runs, and where it answers.
struct Site {
    dev: Running,
    api: Http,
    /// Where it says that names are answered.
    dns: String,
}

fn site(machine: &Machine) -> Site {
    let dev = machine.dev(&[]);
    let output = dev.output();
    let line =
        output.lines().find_map(|line| line.trim_start().strip_prefix("names ")).expect("dev says where names are");
    let dns = line.split_whitespace().next().expect("an address").to_owned();
    Site { dev, api: machine.api(), dns }
}

impl Site {
    /// Addresses of a name, or names of an address, as they come.
    fn dig(&self, words: &[&str]) -> Vec<String> {
        dig(&self.dns, words)
    }

    #[track_caller]
    fn until(&self, name: &str, wanted: &[&str]) {
        until(&self.dns, name, wanted);
    }

    /// Two replicas and their service, all ready; the addresses of the two.
    #[track_caller]
    fn deploy(&self) -> [String; 2] {
        self.api.post(SERVICES, &service());
        self.api.post(DEPLOYMENTS, &deployment());
        ["web-0", "web-1"].map(|name| {
            eventually("the pod is there", SOON, || self.api.page(&format!("/api/v1/namespaces/default/pods/{name}")));
            address(&self.api.wait_running(name))
        })
    }

    /// The REST surface of the name server, as the API tells it.
    fn rest(&self) -> (Http, String) {
        let endpoint = self.api.get("/api/v1/instances/mdns-gt")["endpoint"].as_str().expect("an endpoint").to_owned();
        (Http::new(&endpoint, None), endpoint)
    }

    /// A zone as the name server has it.
    fn zone(&self, name: &str) -> Value {
        let zones = self.rest().0.get("/api/v1/zones");
        let found = zones.as_array().and_then(|zones| zones.iter().find(|zone| zone["name"] == name));
        found.unwrap_or_else(|| panic!("zone {name} is not in {zones}")).clone()
    }

    /// Every check of the names passes.
    #[track_caller]
    fn validated(&self) -> Value {
        eventually("all names are right", LATER, || {
            let report = self.api.get("/api/v1/dns/validate");
            let summary = &report["summary"];
            if summary["fail"] == 0 && summary["warn"] == 0 { Ok(report) } else { Err(report.to_string()) }
        })
    }
}

fn dig(at: &str, words: &[&str]) -> Vec<String> {
    let (host, port) = at.rsplit_once(':').expect("a port");
    let mut command = Command::new("dig");
    command.arg(format!("@{host}")).args(["-p", port, "+short", "+time=3", "+tries=2"]).args(words);
    text_of(command.output()).lines().map(str::to_owned).collect()
}

/// Waits until a name has exactly these answers, whatever their order.
#[track_caller]
fn until(at: &str, name: &str, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|one| (*one).to_owned()).collect();
    eventually(&format!("{name} is {wanted:?}"), SOON, || {
        let found: BTreeSet<String> = dig(at, &[name]).into_iter().collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[track_caller]
fn address(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().expect("an address").to_owned()
}

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

/// What a pod printed once it says that it is done.
#[track_caller]
fn told_by(api: &Http, pod: &str) -> String {
    eventually(&format!("{pod} is done"), SOON, || {
        let said = api.page(&format!("/api/v1/namespaces/default/pods/{pod}/log"))?;
        if said.contains("--end") { Ok(said) } else { Err(said) }
    })
}

/// A file of a container's, seen from outside.
fn file_of(process: &Identity, path: &str) -> std::path::PathBuf {
    format!("/proc/{}/root{path}", process.pid).into()
}

#[test]
fn pods_and_services_are_found_by_name_while_they_are_ready() {
    if !can("names of real pods") {
        return;
    }
    let machine = Machine::new("names");
    let site = site(&machine);
    let [first, second] = site.deploy();

    // Whoever is ready is known by all its names.
    for name in ["web-0.gt.lo", "main.web-0.gt.lo"] {
        site.until(name, &[&first]);
    }
    for name in ["www.gt.lo", "site.gt.lo", "site.default.gt.lo"] {
        site.until(name, &[&first, &second]);
        let mut begins = BTreeSet::new();
        eventually("each of the two comes first now and then", SOON, || {
            begins.extend(site.dig(&[name]).into_iter().next());
            if begins.len() == 2 { Ok(()) } else { Err(format!("{begins:?}")) }
        });
    }
    assert_eq!(site.dig(&["+tcp", "web-1.gt.lo"]), [second.as_str()]);
    assert_eq!(site.dig(&["-x", &first]), ["web-0.gt.lo."]);
    assert_eq!(site.dig(&["-x", &second]), ["web-1.gt.lo."]);
    assert_eq!(site.dig(&["nobody.gt.lo"]), Vec::<String>::new());

    // A pod asks its own resolver, which is the gateway.
    let gateway = format!("{}.1", machine.prefix);
    let ask = "cat /etc/resolv.conf; busybox nslookup site.gt.lo; wget -q -O - http://site.gt.lo/; wget -q -O - http://web-1.gt.lo/; \
               echo --end; exec sleep 100000";
    site.api.create(&shell("asker", ask, json!({})));
    let said = told_by(&site.api, "asker");
    assert!(said.lines().any(|line| line.trim() == format!("nameserver {gateway}")), "{said}");
    for wanted in [&first, &second] {
        assert!(said.lines().any(|line| line.contains(wanted.as_str())), "{wanted} in {said}");
    }
    let pages: Vec<&str> = said.lines().filter(|line| matches!(*line, "web-0" | "web-1")).collect();
    assert!(matches!(pages[..], [_, "web-1"]), "{said}");
    assert_eq!(dig(&format!("{gateway}:53"), &["web-0.gt.lo"]), [first.as_str()]);

    // One is not ready any more, and is again.
    let process = machine.process(&site.api.pod("web-0"), "main");
    std::fs::remove_file(file_of(&process, "/tmp/www/ok")).expect("it was there");
    for name in ["www.gt.lo", "site.gt.lo", "site.default.gt.lo"] {
        site.until(name, &[&second]);
    }
    site.until("web-0.gt.lo", &[]);
    std::fs::write(file_of(&process, "/tmp/www/ok"), "").expect("written");
    for name in ["www.gt.lo", "site.gt.lo", "site.default.gt.lo"] {
        site.until(name, &[&first, &second]);
    }
    assert_eq!(machine.process(&site.api.pod("web-0"), "main"), process, "nobody was restarted");
    site.validated();

    // All of it goes with its owners.
    site.api.good("DELETE", &format!("{SERVICES}/site"), None);
    site.until("site.gt.lo", &[]);
    site.until("www.gt.lo", &[&first, &second]);
    site.api.good("DELETE", &format!("{DEPLOYMENTS}/web"), None);
    site.api.delete("asker");
    for name in ["web-0", "web-1", "asker"] {
        site.api.wait_gone(name);
        site.until(&format!("{name}.gt.lo"), &[]);
    }
    assert_eq!(site.dig(&["-x", &first]), Vec::<String>::new());
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[test]
fn a_deleted_pod_is_unknown_before_its_process_is_told_to_end() {
    if !can("names of pods that end") {
        return;
    }
    let machine = Machine::new("names-end");
    let site = site(&machine);
    let line = "trap 'echo told > /tmp/told; sleep 2; exit 0' TERM; while :; do sleep 0.05; done";
    site.api.create(&shell("slow", line, json!({"terminationGracePeriodSeconds": 20})));
    let pod = site.api.wait_running("slow");
    let (at, process) = (address(&pod), machine.process(&pod, "main"));
    site.until("slow.gt.lo", &[&at]);
    site.api.delete("slow");
    let told = file_of(&process, "/tmp/told");
    eventually("it is told to end", SOON, || if told.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    // It has two seconds left, and is known by no name any more.
    for words in [["slow.gt.lo"].as_slice(), &["main.slow.gt.lo"], &["-x", &at]] {
        assert_eq!(site.dig(words), Vec::<String>::new(), "{words:?}");
    }
    assert_eq!(dev::identity(process.pid), Some(process), "it still runs");
    site.api.wait_gone("slow");
}

#[test]
fn names_survive_kill_9_and_no_record_is_written_again() {
    if !can("names after a crash") {
        return;
    }
    let machine = Machine::new("names-crash");
    let mut now = site(&machine);
    let [first, second] = now.deploy();
    let (rest, endpoint) = now.rest();
    let printer = format!("{}.200", machine.prefix);
    let records = format!("/api/v1/zones/{}/records", now.zone("gt.lo")["id"].as_str().expect("an id"));
    // Somebody else's: a name of their own, and one more address for a name of ours.
    for name in ["printer", "www"] {
        rest.post(&records, &json!({"name": name, "ttl": 77, "data": {"type": "A", "data": printer}}));
    }
    now.until("printer.gt.lo", &[&printer]);
    now.until("www.gt.lo", &[&first, &second, &printer]);
    let reverse = format!("{}.in-addr.arpa", machine.prefix.split('.').rev().collect::<Vec<_>>().join("."));
    let serials =
        |site: &Site| ["gt.lo", &reverse].map(|zone| site.zone(zone)["soa"]["serial"].as_u64().expect("a serial"));
    now.validated();
    let before = serials(&now);
    assert_eq!(now.dig(&["gt.lo", "SOA"]).join(" ").split(' ').nth(2), Some(before[0].to_string().as_str()));
    for _ in 0..3 {
        let processes = ["web-0", "web-1"].map(|name| machine.process(&now.api.pod(name), "main"));
        now.dev.kill();
        now = site(&machine);
        // At once, out of the file.
        assert_eq!(now.dig(&["web-0.gt.lo"]), [first.as_str()]);
        assert_eq!(now.rest().1, endpoint, "the server is the same");
        for name in ["web-0", "web-1"] {
            now.api.wait_running(name);
        }
        now.validated();
        now.until("www.gt.lo", &[&first, &second, &printer]);
        assert_eq!(serials(&now), before, "nothing was written");
        assert_eq!(["web-0", "web-1"].map(|name| machine.process(&now.api.pod(name), "main")), processes);
    }
    // Somebody else has the port of its REST surface now: it gets another one, and is the same server all the same.
    now.dev.kill();
    let taken = TcpListener::bind(endpoint.trim_start_matches("http://")).expect("the port is free");
    now = site(&machine);
    assert_eq!(now.dig(&["web-0.gt.lo"]), [first.as_str()]);
    now.validated();
    assert_ne!(now.rest().1, endpoint);
    assert_eq!(serials(&now), before, "nothing was written");
    drop(taken);
    // What is theirs stays when ours goes.
    now.api.good("DELETE", &format!("{DEPLOYMENTS}/web"), None);
    now.until("www.gt.lo", &[&printer]);
    now.until("printer.gt.lo", &[&printer]);
    assert_eq!(now.dig(&["-x", &printer]).len(), 1);
}

#[test]
fn a_network_made_at_run_time_has_names_and_knows_those_of_the_first() {
    if !can("names of two networks") {
        return;
    }
    let (machine, other) = (Machine::new("names-two"), Machine::new("names-two-second"));
    let site = site(&machine);
    let near = pod("near", json!({"command": ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"]}), json!({}));
    site.api.create(&near);
    let near = address(&site.api.wait_running("near"));
    let (gateway, nas) = (format!("{}.1", other.prefix), format!("{}.9", other.prefix));
    let manifest = json!({
        "apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": "g8"},
        "spec": {
            "cidr": other.cidr(), "bridge": "bridge-g8", "managed": true,
            "dns": {"zone": "g8.lo", "server": gateway, "endpoint": site.rest().1, "staticRecords": [{"name": "nas", "ip": nas}]},
        },
    });
    let file = machine.write("g8.json", &manifest.to_string());
    kubectl_ok(&machine, &["apply", "-f", &file.display().to_string()]);
    kubectl_ok(&machine, &["wait", "--for=condition=Ready", "network/g8", "--timeout=30s"]);
    let there = format!("{gateway}:53");
    until(&there, "nas.g8.lo", &[&nas]);
    until(&there, "near.gt.lo", &[&near]);

    let ask =
        "cat /etc/resolv.conf; busybox nslookup near.gt.lo; busybox nslookup nas.g8.lo; echo --end; exec sleep 100000";
    let mut far = shell("far", ask, json!({}));
    far["metadata"]["annotations"] = json!({"vkube.io/network": "g8"});
    site.api.create(&far);
    let far = address(&site.api.wait_running("far"));
    let said = told_by(&site.api, "far");
    assert!(said.lines().any(|line| line.trim() == format!("nameserver {gateway}")), "{said}");
    assert!(said.contains(&near) && said.contains(&nas), "{said}");
    for at in [&site.dns, &there, &format!("{}.1:53", machine.prefix)] {
        until(at, "far.g8.lo", &[&far]);
        until(at, "far.gt.lo", &[]);
    }
    let report = site.validated();
    let checks: Vec<&str> =
        report["checks"].as_array().into_iter().flatten().filter_map(|check| check["name"].as_str()).collect();
    for wanted in
        ["zone/g8/static/nas", "zone/g8/pod/far", "zone/gt/pod/near", "forward/g8->gt/rose1", "forward/gt->g8/rose1"]
    {
        assert!(checks.contains(&wanted), "{wanted}: {checks:?}");
    }

    // With the network goes what was answered for it, and where.
    site.api.delete("far");
    site.api.wait_gone("far");
    kubectl_ok(&machine, &["delete", "network", "g8", "--timeout=30s"]);
    site.until("nas.g8.lo", &[]);
    site.until("far.g8.lo", &[]);
    site.until("near.gt.lo", &[&near]);
    site.validated();
}
