//! Probes of real containers, over the network that the machine gives them.

mod dev;

use std::path::PathBuf;
use std::time::Duration;

use dev::http::Http;
use dev::{Machine, SOON, container_status, eventually, pod, real_containers, shell};
use serde_json::{Value, json};

/// A crash loop takes its pauses.
const LATER: Duration = Duration::from_secs(60);

/// A directory that containers see as `/www`, and whose files are what their server answers with.
struct Web(PathBuf);

impl Web {
    fn new(machine: &Machine) -> Self {
        let directory = machine.dir.join("www");
        std::fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }

    fn put(&self, page: &str) {
        std::fs::write(self.0.join(page), "here").expect("written");
    }

    fn take(&self, page: &str) {
        std::fs::remove_file(self.0.join(page)).expect("removed");
    }

    /// A pod that serves the directory on port 80, by the name `web`, with these probes.
    fn pod(&self, name: &str, command: &Value, probes: Value) -> Value {
        let mut container = json!({
            "command": command,
            "ports": [{"name": "web", "containerPort": 80}],
            "volumeMounts": [{"name": "www", "mountPath": "/www"}],
        });
        container.as_object_mut().expect("a map").extend(probes.as_object().expect("a map").clone());
        pod(name, container, json!({"volumes": [{"name": "www", "hostPath": {"path": self.0}}]}))
    }
}

fn httpd() -> Value {
    json!(["/bin/httpd", "-f", "-p", "80", "-h", "/www"])
}

/// Asks for a page every second; three bad answers are enough.
fn page(page: &str) -> Value {
    json!({"httpGet": {"path": format!("/{page}"), "port": "web"}, "periodSeconds": 1, "failureThreshold": 3})
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    container_status(pod, "main")["ready"] == true && conditions.is_some_and(|all| all.iter().any(ready))
}

fn restarts(pod: &Value) -> u64 {
    container_status(pod, "main")["restartCount"].as_u64().unwrap_or_default()
}

fn events(api: &Http, reason: &str) -> Vec<String> {
    let events = api.get("/api/v1/namespaces/default/events");
    let items = events["items"].as_array().cloned().unwrap_or_default();
    let told = items.iter().filter(|event| event["reason"] == reason);
    told.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_pod_is_ready_as_long_as_its_page_is_there_and_what_is_known_of_it_survives_kill_9() {
    if !real_containers("readiness probes") {
        return;
    }
    let machine = Machine::new("probes-ready");
    let web = Web::new(&machine);
    let dev = machine.dev(&[]);
    let api = machine.api();
    let tcp = json!({"tcpSocket": {"port": 80}, "periodSeconds": 1});
    web.put("alive");
    api.create(&web.pod("web", &httpd(), json!({"readinessProbe": page("ready"), "livenessProbe": tcp})));
    let running = api.wait_pod("web", "running, not ready", SOON, |pod| {
        container_status(pod, "main")["state"]["running"].is_object() && !is_ready(pod)
    });
    let process = machine.process(&running, "main");
    eventually("why it is not ready", SOON, || {
        let told = events(&api, "Unhealthy");
        let wanted = "Readiness probe failed: HTTP probe failed with statuscode: 404";
        if told.iter().any(|event| event == wanted) { Ok(()) } else { Err(format!("{told:?}")) }
    });
    web.put("ready");
    api.wait_pod("web", "ready", SOON, is_ready);
    web.take("ready");
    api.wait_pod("web", "not ready any more", SOON, |pod| !is_ready(pod));
    web.put("ready");
    api.wait_pod("web", "ready again", SOON, is_ready);

    dev.kill();
    let _second = machine.dev(&[]);
    let api = machine.api();
    let found = api.pod("web");
    assert!(is_ready(&found), "a restart of mkube takes nobody out of service: {found:#}");
    web.take("ready");
    let after = api.wait_pod("web", "probes go on", SOON, |pod| !is_ready(pod));
    assert_eq!((machine.process(&after, "main"), restarts(&after)), (process, 0));
}

#[test]
fn a_container_that_runs_and_is_dead_is_restarted_also_when_it_ignores_sigterm() {
    if !real_containers("liveness probes") {
        return;
    }
    let machine = Machine::new("probes-alive");
    let web = Web::new(&machine);
    let _dev = machine.dev(&[]);
    let api = machine.api();
    web.put("alive");
    let deaf = json!(["/bin/sh", "-c", "trap 'echo deaf' TERM; httpd -p 80 -h /www; while true; do sleep 0.1; done"]);
    api.create(&web.pod("web", &deaf, json!({"livenessProbe": page("alive"), "readinessProbe": page("alive")})));
    let before = machine.process(&api.wait_pod("web", "ready", SOON, is_ready), "main");
    web.take("alive");
    eventually("it is killed", SOON, || {
        if dev::identity(before.pid).as_ref() == Some(&before) { Err("it lives".into()) } else { Ok(()) }
    });
    web.put("alive");
    let after = api.wait_pod("web", "ready again", LATER, |pod| is_ready(pod) && restarts(pod) == 1);
    assert_ne!(machine.process(&after, "main"), before);
    assert_eq!(container_status(&after, "main")["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(events(&api, "Killing"), ["Container main failed liveness probe, will be restarted"]);
    let told = events(&api, "Unhealthy");
    assert!(told.iter().any(|event| event.starts_with("Liveness probe failed: HTTP probe failed")), "{told:?}");
}

/// Whether there is a process anywhere with this word in its command line.
fn is_there(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("there").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes()))
}

#[test]
fn a_command_in_the_container_judges_it_and_one_that_hangs_is_ended() {
    if !real_containers("probes that are commands") {
        return;
    }
    let machine = Machine::new("probes-exec");
    let web = Web::new(&machine);
    let dev = machine.dev(&[]);
    let api = machine.api();
    let line = |line: &str| json!({"exec": {"command": ["/bin/sh", "-c", line]}, "periodSeconds": 1});
    let ready = line("test -f /www/ready || { echo no page; exit 3; }");
    web.put("alive");
    let probes = json!({"readinessProbe": ready, "livenessProbe": line("test -f /www/alive")});
    api.create(&web.pod("web", &json!(["/bin/sleep", "100000"]), probes));
    let once = |command: &[&str]| json!({"readinessProbe": {"exec": {"command": command}, "periodSeconds": 60}});
    let word = "7654321";
    api.create(&pod("hangs", once(&["/bin/sleep", word]), json!({})));
    api.create(&pod("nosuch", once(&["/bin/nosuch"]), json!({})));
    let is_told = |is_it: &dyn Fn(&String) -> bool| {
        eventually("it is told", SOON, || {
            let told = events(&api, "Unhealthy");
            if told.iter().any(is_it) { Ok(()) } else { Err(format!("{told:?}")) }
        });
    };
    is_told(&|event| event == "Readiness probe failed: command exited with code 3: no page");
    is_told(&|event| event.contains("probe failed: command exited with code") && event.contains("/bin/nosuch"));
    is_told(&|event| event == "Readiness probe failed: command timed out after 1 s");
    eventually("it is ended", SOON, || if is_there(word) { Err("it goes on".into()) } else { Ok(()) });
    let running = api.pod("web");
    assert!(!is_ready(&running));
    let process = machine.process(&running, "main");
    web.put("ready");
    api.wait_pod("web", "ready", SOON, is_ready);

    dev.kill();
    let _second = machine.dev(&[]);
    let api = machine.api();
    let found = api.pod("web");
    assert!(is_ready(&found), "a restart of mkube takes nobody out of service: {found:#}");
    web.take("ready");
    let after = api.wait_pod("web", "not ready any more", SOON, |pod| !is_ready(pod));
    assert_eq!((machine.process(&after, "main"), restarts(&after)), (process, 0));
    web.put("ready");
    web.take("alive");
    api.wait_pod("web", "restarted", SOON, |pod| restarts(pod) == 1);
    web.put("alive");
    api.wait_pod("web", "ready again", LATER, is_ready);
    assert_eq!(events(&api, "Killing"), ["Container main failed liveness probe, will be restarted"]);
}

#[test]
fn a_slow_start_is_waited_for() {
    if !real_containers("startup probes") {
        return;
    }
    let machine = Machine::new("probes-slow");
    let web = Web::new(&machine);
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let mut startup = page("started");
    startup["failureThreshold"] = json!(100);
    let mut liveness = page("started");
    liveness["failureThreshold"] = json!(1);
    api.create(&web.pod("web", &httpd(), json!({"startupProbe": startup, "livenessProbe": liveness})));
    // By now a liveness probe that did not wait would have killed it.
    eventually("the startup probe fails", SOON, || {
        let told = events(&api, "Unhealthy");
        if told.iter().any(|event| event.starts_with("Startup probe failed")) {
            Ok(())
        } else {
            Err(format!("{told:?}"))
        }
    });
    let waiting = api.pod("web");
    assert_eq!(container_status(&waiting, "main")["started"], false);
    web.put("started");
    let started = api.wait_pod("web", "started", SOON, is_ready);
    assert_eq!((restarts(&started), &container_status(&started, "main")["started"]), (0, &json!(true)));
    assert_eq!(events(&api, "Killing"), Vec::<String>::new());
}

#[test]
fn a_container_that_exits_at_once_waits_longer_each_time_and_a_paused_one_stays_stopped() {
    if !real_containers("crash loops and paused pods") {
        return;
    }
    let machine = Machine::new("probes-loop");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    api.create(&shell("loops", "exit 3", json!({})));
    api.create(&shell("stays", "sleep 100000", json!({})));
    api.wait_running("stays");
    let stays = "/api/v1/namespaces/default/pods/stays";
    api.patch(stays, &json!({"metadata": {"annotations": {"vkube.io/paused": "true"}}}));
    let looping = api.wait_pod("loops", "in its second pause", LATER, |pod| {
        let waiting = &container_status(pod, "main")["state"]["waiting"];
        restarts(pod) == 2
            && waiting["reason"] == "CrashLoopBackOff"
            && waiting["message"].as_str().is_some_and(|message| message.contains("back-off 20s"))
    });
    assert_eq!(container_status(&looping, "main")["lastState"]["terminated"]["exitCode"], 3);
    // An operator stops the paused one by hand; with the other on its way a restart of it would be seen.
    let host = machine.dev_host(&_dev);
    host.post("/container/stop", &json!({"numbers": "default_stays_main"}));
    let stopped =
        api.wait_pod("stays", "stopped", SOON, |pod| container_status(pod, "main")["state"]["terminated"].is_object());
    assert_eq!(restarts(&stopped), 0);
    api.wait_pod("loops", "restarted once more", LATER, |pod| restarts(pod) == 3);
    assert!(container_status(&api.pod("stays"), "main")["state"]["terminated"].is_object());
    api.patch(stays, &json!({"metadata": {"annotations": {"vkube.io/paused": null}}}));
    assert_eq!(restarts(&api.wait_running("stays")), 1);
}
