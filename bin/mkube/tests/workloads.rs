//! Workloads in real containers when several things happen at once: a reboot or a crash in the middle of a rollout, kubectl's drain,
//! versions that hang, do not end, or answer probes badly.

mod dev;

use std::process::{Command, Output};
use std::time::Duration;

use dev::http::Http;
use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, SOON, container_status, eventually, pod, real_containers};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A container that serves pages, some of them strange, and its version.
fn serving(version: &str) -> Value {
    let serve = "mkdir -p /tmp/www/moved; cd /tmp/www; echo here > index.html; echo here > moved/index.html; \
        busybox dd if=/dev/zero of=big bs=1M count=10 2>/dev/null; exec busybox httpd -f -p 80 -h /tmp/www";
    json!({
        "name": "main", "image": "hello:latest", "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", serve],
        "env": [{"name": "VERSION", "value": version}],
    })
}

fn deployment(replicas: u64, container: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 12,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    })
}

fn roll(api: &Http, container: &Value) {
    api.patch(WEB, &json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
}

fn progress(api: &Http) -> String {
    let status = api.get(WEB)["status"].clone();
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one| one["type"] == "Progressing").unwrap_or_default();
    found["reason"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn rolled_out(api: &Http) {
    eventually("the Deployment is through", LATER, || {
        let object = api.get(WEB);
        let (spec, status) = (&object["spec"], &object["status"]);
        let all =
            ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == spec["replicas"]);
        let seen = status["observedGeneration"] == object["metadata"]["generation"];
        if all && seen && progress(api) == "NewReplicaSetAvailable" { Ok(()) } else { Err(status.to_string()) }
    });
}

#[track_caller]
fn given_up(api: &Http) {
    eventually("the rollout is given up", LATER, || match progress(api).as_str() {
        "ProgressDeadlineExceeded" => Ok(()),
        other => Err(other.to_owned()),
    });
}

/// Version each pod of the Deployment is to run, by name.
fn versions(api: &Http) -> Vec<String> {
    let pods = api.get(PODS);
    let version = |pod: &Value| pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default().to_owned();
    pods["items"].as_array().into_iter().flatten().map(version).collect()
}

fn restarts(api: &Http, name: &str) -> u64 {
    container_status(&api.pod(name), "main")["restartCount"].as_u64().unwrap_or_default()
}

fn events(api: &Http, reason: &str) -> Vec<String> {
    let events = api.get("/api/v1/namespaces/default/events");
    let items = events["items"].as_array().cloned().unwrap_or_default();
    let told = items.iter().filter(|event| event["reason"] == reason);
    told.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Containers of a host that run, by name.
fn running(host: &Http) -> Vec<String> {
    let rows = host.get("/container");
    let rows = rows.as_array().into_iter().flatten().filter(|row| row["running"] == "true");
    let mut names: Vec<String> = rows.map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

/// A host and a controller; the processes end before their machine is taken apart.
struct Site {
    serve: Option<Running>,
    _host: Running,
    machine: Machine,
}

fn site(name: &str) -> Site {
    let machine = Machine::new(name);
    machine.image("hello:latest");
    let host = machine.host("linux", &[]);
    Site { serve: Some(machine.serve()), _host: host, machine }
}

struct Kubectl<'a>(&'a Machine);

impl Kubectl<'_> {
    fn run(&self, line: &str) -> Output {
        let mut command = Command::new("kubectl");
        command.env("HOME", self.0.dir.join("home")).env_remove("KUBECONFIG");
        command.arg("--cache-dir").arg(self.0.dir.join("cache"));
        command.arg("--server").arg(format!("http://{}", self.0.listen));
        command.args(line.split_whitespace()).output().expect("kubectl runs")
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {line}: {out}{err}");
        format!("{out}{err}")
    }
}

fn has_kubectl() -> bool {
    let found = Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|one| one.status.success());
    if !found {
        eprintln!("!!! SKIPPED: kubectl's drain: it is not installed");
    }
    found
}

#[test]
fn kubectl_drains_the_node_one_replica_after_the_other_and_uncordon_brings_everything_back() {
    if !real_containers("kubectl drain") || !has_kubectl() {
        return;
    }
    let mut site = site("workloads-drain");
    let (api, host) = (site.machine.api(), site.machine.host_api());
    api.post(DEPLOYMENTS, &deployment(3, &serving("1")));
    api.create(&pod("alone", json!({"imagePullPolicy": "IfNotPresent"}), json!({})));
    rolled_out(&api);
    api.wait_running("alone");
    let told =
        Kubectl(&site.machine).ok("drain mkube --force --ignore-daemonsets --delete-emptydir-data --timeout=60s");
    assert!(told.contains("node/mkube drained"), "{told}");
    assert_eq!(running(&host), Vec::<String>::new());
    assert_eq!(host.get("/container"), json!([]), "nothing of an evicted pod stays on the device");
    assert_eq!(api.get(PODS)["items"], json!([]));
    // The host boots, the controller starts again: still nothing comes back.
    drop(site.serve.take());
    site.serve = Some(site.machine.serve());
    let kubectl = Kubectl(&site.machine);
    assert_eq!(api.get(PODS)["items"], json!([]));
    assert!(kubectl.ok("get node mkube --no-headers").contains("SchedulingDisabled"));
    kubectl.ok("uncordon mkube");
    rolled_out(&api);
    assert_eq!(running(&host), ["default_web-0_main", "default_web-1_main", "default_web-2_main"]);
    assert_eq!(events(&api, "RolloutFailed"), Vec::<String>::new());
}

#[test]
fn mkubes_drain_in_the_middle_of_a_rollout_is_no_failure_of_it() {
    if !real_containers("a drain in the middle of a rollout") {
        return;
    }
    let site = site("workloads-rollout-drain");
    let (api, host) = (site.machine.api(), site.machine.host_api());
    let mut body = deployment(2, &serving("1"));
    body["metadata"]["annotations"] = json!({"vkube.io/auto-rollback": "true"});
    body["spec"]["progressDeadlineSeconds"] = json!(6);
    body["spec"]["minReadySeconds"] = json!(4);
    api.post(DEPLOYMENTS, &body);
    rolled_out(&api);
    roll(&api, &serving("2"));
    eventually("the first one is replaced", SOON, || match versions(&api) {
        versions if versions == ["2", "1"] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let node = "/api/v1/nodes/mkube";
    let set = |on: Option<bool>| {
        let drain = on.map(|_| "true");
        api.patch(
            node,
            &json!({"metadata": {"annotations": {"vkube.io/drain": drain}}, "spec": {"unschedulable": on}}),
        );
    };
    set(Some(true));
    eventually("the node is empty", SOON, || match running(&host) {
        names if names.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Longer than the rollout may stand still.
    dev::pause(Duration::from_secs(8));
    assert_eq!((versions(&api), running(&host)), (vec!["2".to_owned(), "1".to_owned()], vec![]));
    set(None);
    rolled_out(&api);
    assert_eq!(versions(&api), ["2", "2"]);
    assert_eq!((restarts(&api, "web-0"), restarts(&api, "web-1")), (0, 0));
    for reason in ["RolloutFailed", "RolledBack"] {
        assert_eq!(events(&api, reason), Vec::<String>::new());
    }
}

#[test]
fn a_boot_of_the_device_and_a_crash_of_the_controller_in_the_middle_of_a_rollout_only_make_it_longer() {
    if !real_containers("a reboot in the middle of a rollout") {
        return;
    }
    let mut site = site("workloads-reboot");
    let api = site.machine.api();
    let mut body = deployment(3, &serving("1"));
    body["spec"]["progressDeadlineSeconds"] = json!(60);
    api.post(DEPLOYMENTS, &body);
    rolled_out(&api);
    let reboot =
        json!({"match": {"method": "POST", "path": "/container/remove"}, "when": {"nth": 2}, "reboot": {"down": "2s"}});
    site.machine.faults(&json!([reboot]));
    roll(&api, &serving("2"));
    eventually("the first one is replaced", LATER, || match versions(&api) {
        versions if versions[0] == "2" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    site.serve.take().expect("it runs").kill();
    site.serve = Some(site.machine.serve());
    eventually("all pods are of the new version", LATER, || match versions(&api) {
        versions if versions == ["2", "2", "2"] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    rolled_out(&api);
    for pod in ["web-0", "web-1", "web-2"] {
        assert_eq!(site.machine.rows("/container", "name", &format!("default_{pod}_main")), 1, "{pod}");
    }
    assert_eq!(events(&api, "RolloutFailed"), Vec::<String>::new());
}

#[test]
fn versions_that_do_not_serve_take_one_pod_and_no_more_and_strange_answers_are_understood() {
    if !real_containers("versions that do not serve") {
        return;
    }
    let site = site("workloads-bad");
    let api = site.machine.api();
    let probed = |version: &str, path: &str| {
        let mut container = serving(version);
        container["readinessProbe"] =
            json!({"httpGet": {"path": path, "port": 80}, "periodSeconds": 1, "timeoutSeconds": 1});
        container
    };
    api.post(DEPLOYMENTS, &deployment(2, &probed("1", "/")));
    rolled_out(&api);
    let other = api.pod("web-1")["metadata"]["uid"].clone();
    let still_serves = |what: &str| {
        let pod = api.pod("web-1");
        assert!(pod["metadata"]["uid"] == other && dev::http::is_running(&pod), "{what}: {}", pod["status"]);
        assert_eq!(restarts(&api, "web-1"), 0, "{what}");
    };
    // It listens and never answers.
    let mut hangs = probed("hangs", "/");
    hangs["command"] = json!(["/bin/sh", "-c", "exec busybox nc -lk -p 80 -e /bin/sleep 1000"]);
    // It never comes to listen, and does not end when it is told to.
    let mut deaf = probed("deaf", "/");
    deaf["command"] = json!(["/bin/sh", "-c", "trap '' TERM; while true; do sleep 1; done"]);
    // It ends at once.
    let mut ends = probed("ends", "/");
    ends["command"] = json!(["/bin/false"]);
    for (what, container) in [("hangs", hangs), ("deaf", deaf), ("ends", ends)] {
        roll(&api, &container);
        eventually("it is tried", LATER, || match versions(&api) {
            versions if versions[0] == what => Ok(()),
            other => Err(format!("{other:?}")),
        });
        given_up(&api);
        still_serves(what);
        assert_eq!(versions(&api), [what, "1"]);
    }
    // A redirect on the same host and ten megabytes are answers like others.
    for (version, path) in [("moved", "/moved"), ("big", "/big")] {
        roll(&api, &probed(version, path));
        eventually("all pods are of it", LATER, || match versions(&api) {
            versions if versions == [version, version] => Ok(()),
            other => Err(format!("{other:?}")),
        });
        rolled_out(&api);
    }
}

#[test]
fn a_healthy_site_passes_every_check_and_its_workloads_take_their_pods_along() {
    if !real_containers("the checks of a healthy site") {
        return;
    }
    let site = site("workloads-checks");
    let (api, host) = (site.machine.api(), site.machine.host_api());
    let mut container = serving("1");
    container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1});
    let mut body = deployment(2, &container);
    body["spec"]["template"]["metadata"]["annotations"] = json!({"vkube.io/depends-on": "first"});
    api.post(DEPLOYMENTS, &body);
    let mut first = pod("first", json!({"imagePullPolicy": "IfNotPresent"}), json!({}));
    first["metadata"]["annotations"] = json!({"vkube.io/boot-priority": "1"});
    api.create(&first);
    let command =
        json!({"name": "main", "image": "hello:latest", "imagePullPolicy": "IfNotPresent", "command": ["/bin/true"]});
    api.post(
        "/apis/batch/v1/namespaces/default/jobs",
        &json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [command]}}},
        }),
    );
    rolled_out(&api);
    let job = "/apis/batch/v1/namespaces/default/jobs/once";
    eventually("the Job is done", LATER, || match &api.get(job)["status"] {
        status if status["succeeded"] == 1 => Ok(()),
        other => Err(other.to_string()),
    });
    roll(&api, &{
        let mut container = container.clone();
        container["env"][0]["value"] = json!("2");
        container
    });
    rolled_out(&api);
    eventually("no check fails", LATER, || {
        let report = api.get("/api/v1/consistency");
        let checks = report["checks"].as_object().into_iter().flat_map(|all| all.values()).filter_map(Value::as_array);
        let failed: Vec<&Value> = checks.flatten().filter(|check| check["status"] == "fail").collect();
        let is_newest = report.to_string().contains("container/web-1/main");
        if failed.is_empty() && is_newest { Ok(()) } else { Err(format!("{failed:?}")) }
    });
    for path in [WEB, job] {
        api.good("DELETE", path, None);
    }
    eventually("only the pod that is nobody's is left", SOON, || match running(&host) {
        names if names == ["default_first_main"] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    api.wait_gone("web-0");
    api.wait_gone("web-1");
}
