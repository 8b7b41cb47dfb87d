//! Jobs in real containers, made and looked at with kubectl.

mod dev;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, eventually, real_containers};
use serde_json::{Value, json};

/// A few containers, one after the other.
const WHILE: Duration = Duration::from_secs(90);

/// kubectl against the `mkube dev` of a machine.
struct Kubectl(PathBuf);

impl Kubectl {
    fn run(&self, line: &[&str], input: Option<&Value>) -> (bool, String) {
        let file = self.0.join("input.json");
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.0.join("dev/kubeconfig")).env("HOME", &self.0);
        command.arg("--cache-dir").arg(self.0.join("cache")).args(line);
        if let Some(input) = input {
            std::fs::write(&file, input.to_string()).expect("written");
            command.arg("-f").arg(&file);
        }
        let output = command.output().expect("kubectl is installed");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> String {
        match self.run(line, None) {
            (true, text) => text,
            (false, text) => panic!("kubectl {}: {text}", line.join(" ")),
        }
    }

    #[track_caller]
    fn apply(&self, object: &Value) {
        let (done, text) = self.run(&["apply"], Some(object));
        assert!(done, "{text}");
    }

    #[track_caller]
    fn json(&self, line: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[line, &["-o", "json"]].concat())).expect("JSON")
    }
}

fn has_kubectl() -> bool {
    Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success())
}

/// What a story runs in; the process ends before its machine is taken apart.
struct Stage {
    dev: Option<Running>,
    kubectl: Kubectl,
    machine: Machine,
}

impl Stage {
    fn new(name: &str) -> Option<Self> {
        if !real_containers(name) {
            return None;
        }
        assert!(has_kubectl(), "kubectl is installed");
        let machine = Machine::new(name);
        let dev = Some(machine.dev(&[]));
        Some(Self { dev, kubectl: Kubectl(machine.dir.clone()), machine })
    }

    /// Removes every pod, and sees that nothing is left.
    fn clean(&self) {
        self.kubectl.ok(&["delete", "cronjobs", "--all"]);
        self.kubectl.ok(&["delete", "jobs", "--all"]);
        self.kubectl.ok(&["delete", "pods", "--all"]);
        eventually("nothing is left", LATER, || {
            let left = self.machine.leftovers();
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
    }
}

fn job(name: &str, line: &str, spec: &Value) -> Value {
    let container = json!({"name": "main", "image": "hello:latest", "command": ["/bin/sh", "-c", line]});
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        job["spec"][field] = value.clone();
    }
    job
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn jobs_complete_or_fail_and_their_output_stays() {
    let Some(stage) = Stage::new("jobs") else { return };
    let kubectl = &stage.kubectl;
    kubectl.apply(&job("count", "for number in 1 2 3; do echo number $number; done", &json!({"completions": 2})));
    kubectl.ok(&["wait", "--for=condition=complete", "job/count", "--timeout=60s"]);
    let table = kubectl.ok(&["get", "jobs"]);
    let rows: Vec<Vec<&str>> = table.lines().map(words).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]);
    assert_eq!(rows[1][..3], ["count", "Complete", "2/2"]);
    assert!(kubectl.ok(&["get", "jobs", "-o", "wide"]).contains("batch.kubernetes.io/controller-uid="));
    let pods = kubectl.json(&["get", "pods", "-l", "job-name=count"]);
    let pods: Vec<&str> =
        pods["items"].as_array().expect("a list").iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    assert_eq!(pods.len(), 2);
    for pod in pods {
        assert_eq!(kubectl.ok(&["logs", pod]), "number 1\nnumber 2\nnumber 3");
    }
    assert!(kubectl.ok(&["logs", "job/count"]).contains("number 3"));
    assert!(kubectl.ok(&["describe", "job", "count"]).contains("2 Succeeded / 0 Failed"));

    kubectl.apply(&job("bad", "echo no luck; exit 3", &json!({"backoffLimit": 0})));
    kubectl.ok(&["wait", "--for=condition=failed", "job/bad", "--timeout=60s"]);
    assert!(kubectl.ok(&["logs", "job/bad"]).contains("no luck"));
    // Events are written together, a moment later.
    eventually("the event of its failure", LATER, || {
        let told = kubectl.ok(&["describe", "job", "bad"]);
        if told.contains("BackoffLimitExceeded") { Ok(()) } else { Err(told) }
    });
    let (done, refused) =
        stage.kubectl.run(&["create"], Some(&job("never", "true", &json!({"completionMode": "Indexed"}))));
    assert!(!done && refused.contains("spec.completionMode"), "{refused}");
    stage.clean();
}

#[test]
fn kubectl_makes_jobs_by_itself_and_from_a_cron_job() {
    let Some(stage) = Stage::new("create-jobs") else { return };
    let kubectl = &stage.kubectl;
    kubectl.ok(&["create", "job", "hand", "--image=hello:latest", "--", "/bin/sh", "-c", "echo by hand"]);
    kubectl.ok(&["wait", "--for=condition=complete", "job/hand", "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["logs", "job/hand"]), "by hand");

    let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "default"},
        "spec": {"schedule": "0 3 29 2 *", "timeZone": "Europe/Berlin"}});
    cron["spec"]["jobTemplate"]["spec"] = job("", "echo nightly work", &json!({"backoffLimit": 1}))["spec"].clone();
    kubectl.apply(&cron);
    let table = kubectl.ok(&["get", "cj"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(words(rows[0]), ["NAME", "SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST", "SCHEDULE", "AGE"]);
    assert_eq!(words(rows[1])[6..10], ["Europe/Berlin", "False", "0", "<none>"]);
    kubectl.ok(&["create", "job", "now", "--from=cronjob/nightly"]);
    kubectl.ok(&["wait", "--for=condition=complete", "job/now", "--timeout=60s"]);
    assert_eq!(kubectl.ok(&["logs", "job/now"]), "nightly work");
    let made = kubectl.json(&["get", "job", "now"]);
    assert_eq!(
        (&made["spec"]["backoffLimit"], &made["metadata"]["ownerReferences"][0]["kind"]),
        (&json!(1), &json!("CronJob"))
    );
    kubectl.ok(&["create", "cronjob", "hourly", "--image=hello:latest", "--schedule=@hourly", "--", "/bin/sh"]);
    assert_eq!(kubectl.json(&["get", "cronjob", "hourly"])["spec"]["schedule"], "@hourly");
    stage.clean();
}

#[test]
fn a_job_outlives_the_death_of_mkube_and_runs_its_pod_once() {
    let Some(mut stage) = Stage::new("job-crash") else { return };
    stage.kubectl.apply(&job("long", "echo begun; sleep 6; echo done", &json!({"backoffLimit": 0})));
    let api = stage.machine.api();
    let pods = || api.get("/api/v1/namespaces/default/pods")["items"].as_array().cloned().unwrap_or_default();
    eventually("its pod runs", WHILE, || {
        let pods = pods();
        if pods.iter().any(|pod| pod["status"]["phase"] == "Running") { Ok(()) } else { Err(format!("{pods:?}")) }
    });
    stage.dev.take().expect("it runs").kill();
    stage.dev = Some(stage.machine.dev(&[]));
    stage.kubectl.ok(&["wait", "--for=condition=complete", "job/long", "--timeout=60s"]);
    assert_eq!(stage.kubectl.ok(&["logs", "job/long"]), "begun\ndone");
    assert_eq!(pods().len(), 1);
    assert_eq!(stage.kubectl.json(&["get", "job", "long"])["status"]["succeeded"], 1);
    stage.clean();
}
