//! Deployments with real containers, as kubectl drives them; and what serves goes on serving.

mod dev;

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dev::http::{Http, is_running};
use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, eventually, real_containers};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A Deployment whose pods serve a page with their version.
fn web(replicas: u64) -> Value {
    let serve =
        "mkdir -p /tmp/www; echo version $VERSION > /tmp/www/index.html; exec busybox httpd -f -p 80 -h /tmp/www";
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "main", "image": "hello:latest", "command": ["/bin/sh", "-c", serve],
                    "env": [{"name": "VERSION", "value": "1"}],
                }]},
            },
        },
    })
}

struct Kubectl<'a>(&'a Machine);

impl Kubectl<'_> {
    fn run(&self, line: &str) -> Output {
        let mut command = Command::new("kubectl");
        command.env("HOME", self.0.dir.join("home")).env_remove("KUBECONFIG");
        command
            .arg("--cache-dir")
            .arg(self.0.dir.join("cache"))
            .arg("--server")
            .arg(format!("http://{}", self.0.listen));
        command.args(line.split_whitespace()).output().expect("kubectl runs")
    }

    /// A command that must succeed; what it printed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {line}: {out}{err}");
        out.trim().to_owned()
    }

    /// A command that must fail; what it complained of.
    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[track_caller]
    fn rolled_out(&self) {
        let said = self.ok("rollout status deploy/web --timeout=60s");
        assert!(said.ends_with("successfully rolled out"), "{said}");
    }
}

fn has_kubectl() -> bool {
    let found = Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|one| one.status.success());
    if !found {
        eprintln!("!!! SKIPPED: deployments as kubectl drives them: it is not installed");
    }
    found
}

fn address(api: &Http, pod: &str) -> String {
    api.pod(pod)["status"]["podIP"].as_str().expect("an address").to_owned()
}

fn page(api: &Http, pod: &str) -> Result<String, String> {
    Http::new(&format!("http://{}", address(api, pod)), None).page("/").map(|text| text.trim().to_owned())
}

#[track_caller]
fn serves(api: &Http, pods: &[&str], version: &str) {
    for pod in pods {
        eventually(&format!("{pod} serves version {version}"), LATER, || match page(api, pod) {
            Ok(text) if text == format!("version {version}") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn uids(api: &Http) -> Vec<String> {
    let pods = api.get("/api/v1/namespaces/default/pods");
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    pods["items"].as_array().into_iter().flatten().map(uid).collect()
}

/// Asks a server again and again; the first answer that was not the right one ends it.
struct Asking {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<usize, String>>>,
}

impl Asking {
    fn start(address: &str, right: &'static str) -> Self {
        let (http, enough) = (Http::new(&format!("http://{address}"), None), Arc::new(AtomicBool::new(false)));
        let ended = enough.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !ended.load(Ordering::Relaxed) {
                let answer = http.page("/")?;
                if answer.trim() != right {
                    return Err(answer);
                }
                count += 1;
                dev::pause(Duration::from_millis(5));
            }
            Ok(count)
        });
        Self { enough, thread: Some(thread) }
    }

    /// How many answers were right, or the first that was not.
    fn end(mut self) -> Result<usize, String> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("no panic")
    }

    #[track_caller]
    fn all_were_right(self) {
        let count = self.end().unwrap_or_else(|wrong| panic!("it was not served: {wrong}"));
        assert!(count > 50, "asked {count} times");
    }
}

struct Site {
    _dev: Running,
    machine: Machine,
}

fn site(name: &str) -> Site {
    let machine = Machine::new(name);
    Site { _dev: machine.dev(&[]), machine }
}

#[test]
fn kubectl_applies_rolls_restarts_pauses_and_undoes() {
    if !real_containers("deployments as kubectl drives them") || !has_kubectl() {
        return;
    }
    let site = site("deployments");
    let (api, kubectl) = (site.machine.api(), Kubectl(&site.machine));
    let manifest = site.machine.write("web.json", &web(2).to_string());
    kubectl.ok(&format!("apply -f {}", manifest.display()));
    kubectl.rolled_out();
    assert!(kubectl.ok("get deploy web --no-headers").contains("2/2"));
    serves(&api, &["web-0", "web-1"], "1");
    api.patch(&format!("{DEPLOYMENTS}/web"), &json!({"spec": {"replicas": 3}}));
    kubectl.rolled_out();

    kubectl.ok("set env deploy/web VERSION=2");
    kubectl.rolled_out();
    serves(&api, &["web-0", "web-1", "web-2"], "2");
    let history = kubectl.ok("rollout history deploy/web");
    let revisions: Vec<&str> = history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(revisions, ["1", "2"], "{history}");
    assert!(kubectl.ok("rollout history deploy/web --revision=1").contains("VERSION:\t1"));
    assert_eq!(kubectl.ok("get rs --no-headers").lines().count(), 2);

    let before = uids(&api);
    kubectl.ok("rollout restart deploy/web");
    kubectl.rolled_out();
    assert!(uids(&api).iter().all(|uid| !before.contains(uid)), "every pod is another");

    kubectl.ok("rollout undo deploy/web --to-revision=1");
    kubectl.rolled_out();
    serves(&api, &["web-0", "web-1", "web-2"], "1");

    kubectl.ok("rollout pause deploy/web");
    let paused = uids(&api);
    kubectl.ok("set env deploy/web VERSION=3");
    eventually("the pause is told", LATER, || {
        let conditions = api.get(&format!("{DEPLOYMENTS}/web"))["status"]["conditions"].to_string();
        if conditions.contains("DeploymentPaused") { Ok(()) } else { Err(conditions) }
    });
    assert_eq!(uids(&api), paused);
    kubectl.ok("rollout resume deploy/web");
    kubectl.rolled_out();
    serves(&api, &["web-0", "web-1", "web-2"], "3");
}

#[test]
fn a_bad_image_never_takes_down_what_serves_and_a_lost_pod_is_back_at_once() {
    if !real_containers("a bad image of a deployment") || !has_kubectl() {
        return;
    }
    let site = site("deployments-bad");
    let (api, kubectl) = (site.machine.api(), Kubectl(&site.machine));
    api.post(DEPLOYMENTS, &web(2));
    kubectl.rolled_out();
    let pods = ["web-0", "web-1"];
    serves(&api, &pods, "1");
    let asking: Vec<Asking> = pods.iter().map(|pod| Asking::start(&address(&api, pod), "version 1")).collect();
    // Nobody listens there.
    kubectl.ok("set image deploy/web main=127.0.0.1:1/none:1");
    let said = kubectl.fails("rollout status deploy/web --timeout=60s");
    assert!(said.contains("exceeded its progress deadline"), "{said}");
    for one in asking {
        one.all_were_right();
    }
    kubectl.ok("rollout undo deploy/web");
    kubectl.rolled_out();
    serves(&api, &pods, "1");

    // A version that crashes takes one pod and no more.
    let asking: Vec<Asking> = pods.iter().map(|pod| Asking::start(&address(&api, pod), "version 1")).collect();
    let crash = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["/bin/false"]}]);
    kubectl.ok(&format!("patch deploy web --type=json -p={crash}"));
    let said = kubectl.fails("rollout status deploy/web --timeout=60s");
    assert!(said.contains("exceeded its progress deadline"), "{said}");
    let ended: Vec<Result<usize, String>> = asking.into_iter().map(Asking::end).collect();
    assert!(ended.iter().any(|one| one.as_ref().is_ok_and(|count| *count > 50)), "{ended:?}");
    kubectl.ok("rollout undo deploy/web");
    kubectl.rolled_out();
    serves(&api, &pods, "1");

    let before = uids(&api);
    api.delete("web-0");
    api.wait_pod("web-0", "another one runs", LATER, |pod| {
        is_running(pod) && !before.contains(&pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
    });
}
