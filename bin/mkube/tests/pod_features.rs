//! What a pod's spec says is what its containers get.

mod dev;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use dev::http::Http;
use dev::{Machine, SOON, container_status, eventually, pod, real_containers, shell, text_of};
use serde_json::{Value, json};
use tokio::time::Instant;

fn wait_log(api: &Http, pod: &str, query: &str, wanted: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{pod}/log?{query}");
    eventually(&format!("log of {pod}"), SOON, || match api.page(&path) {
        Ok(text) if text == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

fn wait_phase(api: &Http, name: &str, phase: &str) -> Value {
    api.wait_pod(name, phase, SOON, |pod| pod["status"]["phase"] == phase)
}

#[test]
fn variables_directory_command_and_arguments_reach_the_process() {
    if !real_containers("env, workingDir, command and args") {
        return;
    }
    let machine = Machine::new("features-env");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    api.post(
        "/api/v1/namespaces/default/configmaps",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": "fast and loose"}}),
    );
    let line = "echo $PLAIN '|' $MODE '|' $POD '|' $IP '|' $NODE '|' $BOTH '|' `pwd` '|' `hostname` '|' $0 '|' $1";
    let asked = json!({
        "command": ["/bin/sh", "-c"],
        "args": [line, "zero", "$(PLAIN) one"],
        "workingDir": "/var/lib/somewhere",
        "env": [
            {"name": "PLAIN", "value": "a 'quoted' value"},
            {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "BOTH", "value": "$(POD)-$(MODE)-$$(POD)"},
        ],
    });
    api.create(&pod("teller", asked, json!({"restartPolicy": "Never"})));
    let ended = wait_phase(&api, "teller", "Succeeded");
    let ip = ended["status"]["podIP"].as_str().expect("an address").to_owned();
    let told = format!(
        "a 'quoted' value | fast and loose | teller | {ip} | mkube | teller-fast and loose-$(POD) | /var/lib/somewhere | teller | zero | a 'quoted' value one\n"
    );
    wait_log(&api, "teller", "", &told);
}

#[test]
fn a_job_ends_as_its_code_and_policy_say() {
    if !real_containers("restart policies") {
        return;
    }
    let machine = Machine::new("features-job");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    api.create(&shell("fine", "exit 0", json!({"restartPolicy": "OnFailure"})));
    api.create(&shell("bad", "exit 42", json!({"restartPolicy": "Never"})));
    let mut second_time = shell(
        "second-time",
        "[ -e /was/here ] && exit 0; echo > /was/here; exit 5",
        json!({"restartPolicy": "OnFailure"}),
    );
    second_time["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "was", "mountPath": "/was"}]);
    api.create(&second_time);
    let terminated = |pod: &Value| container_status(pod, "main")["state"]["terminated"].clone();
    let fine = terminated(&wait_phase(&api, "fine", "Succeeded"));
    assert_eq!((&fine["exitCode"], &fine["reason"]), (&json!(0), &json!("Completed")));
    let bad = wait_phase(&api, "bad", "Failed");
    assert_eq!((&terminated(&bad)["exitCode"], &terminated(&bad)["reason"]), (&json!(42), &json!("Error")));
    assert_eq!(container_status(&bad, "main")["restartCount"], 0);
    let second = wait_phase(&api, "second-time", "Succeeded");
    assert_eq!(container_status(&second, "main")["restartCount"], 1);
    for time in ["startedAt", "finishedAt"] {
        let text = terminated(&second)[time].as_str().expect("a time").to_owned();
        text.parse::<jiff::Timestamp>().unwrap_or_else(|why| panic!("{time} {text:?}: {why}"));
    }
}

#[test]
fn volumes_are_shared_mounted_and_given_their_modes() {
    if !real_containers("volumes") {
        return;
    }
    let machine = Machine::new("features-volumes");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    api.post(
        "/api/v1/namespaces/default/configmaps",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"},
            "data": {"key": "text of key", "script": "#!/bin/sh\necho ran the script", "left-out": "x"}}),
    );
    let host_directory = machine.dir.join("from-the-machine");
    std::fs::create_dir_all(&host_directory).expect("a directory");
    std::fs::write(host_directory.join("note"), "from outside").expect("written");
    let reader = "while [ ! -e /shared/word ]; do sleep 0.1; done; cat /shared/word; cat /files/renamed; echo; /files/run; \
                  ls /files; stat -c %a /files/renamed; stat -c %a /files/run; cat /outside/note; echo; \
                  (echo x > /files/renamed) 2>/dev/null || echo files are read only; echo back > /outside/answer; sleep 100000";
    let mut pair = shell("pair", reader, json!({}));
    pair["spec"]["volumes"] = json!([
        {"name": "shared", "emptyDir": {}},
        {"name": "files", "configMap": {"name": "files", "defaultMode": 420,
            "items": [{"key": "key", "path": "renamed"}, {"key": "script", "path": "run", "mode": 493}]}},
        {"name": "outside", "hostPath": {"path": host_directory}},
    ]);
    pair["spec"]["containers"][0]["volumeMounts"] = json!([
        {"name": "shared", "mountPath": "/shared"},
        {"name": "files", "mountPath": "/files", "readOnly": true},
        {"name": "outside", "mountPath": "/outside"},
    ]);
    pair["spec"]["containers"].as_array_mut().expect("containers").push(json!({
        "name": "writer", "image": "hello:latest",
        "command": ["/bin/sh", "-c", "echo through the empty directory > /shared/word; sleep 100000"],
        "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
    }));
    api.create(&pair);
    let running = api.wait_running("pair");
    let addresses = running["status"]["podIPs"].as_array().expect("addresses");
    assert_eq!(addresses.len(), 2, "each container has its own: {addresses:?}");
    let told = "through the empty directory\ntext of key\nran the script\nrenamed\nrun\n644\n755\nfrom outside\n\
                files are read only\n";
    eventually("what the reader saw", SOON, || {
        match api.page("/api/v1/namespaces/default/pods/pair/log?container=main") {
            Ok(text) if text == told => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let answer = host_directory.join("answer");
    assert_eq!(
        eventually("the answer", SOON, || std::fs::read_to_string(&answer).map_err(|e| e.to_string())),
        "back\n"
    );
    assert!(std::fs::metadata(&answer).is_ok_and(|meta| meta.permissions().mode() & 0o400 != 0));

    // Deleted means gone, except what belongs to the machine.
    api.delete("pair");
    api.wait_gone("pair");
    eventually("nothing left of the pod", SOON, || {
        let left = machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    assert!(answer.exists());
}

#[test]
fn an_undeclared_volume_is_kept_when_its_container_is_made_anew() {
    if !real_containers("persistent volumes and spec changes") {
        return;
    }
    let machine = Machine::new("features-change");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let line = "echo $WORD >> /data/words; cat /data/words; sleep 100000";
    let mut keeper = shell("keeper", line, json!({}));
    keeper["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    keeper["spec"]["containers"][0]["env"] = json!([{"name": "WORD", "value": "first"}]);
    api.create(&keeper);
    let before = api.wait_running("keeper");
    let process = machine.process(&before, "main");
    wait_log(&api, "keeper", "", "first\n");

    // Labels are no reason to touch a container.
    api.patch("/api/v1/namespaces/default/pods/keeper", &json!({"metadata": {"labels": {"a": "b"}}}));
    keeper["spec"]["containers"][0]["env"][0]["value"] = json!("second");
    let mut changed = api.pod("keeper");
    assert_eq!(machine.process(&changed, "main"), process);
    changed["spec"]["containers"][0]["env"][0]["value"] = json!("second");
    api.good("PUT", "/api/v1/namespaces/default/pods/keeper", Some(&changed));
    wait_log(&api, "keeper", "", "first\nsecond\n");
    let after = api.wait_running("keeper");
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"], "the address stays");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let host = machine.dev_host(&_dev);
    let rows = host.get("/container");
    let root = rows[0]["root-dir"].as_str().expect("a root-dir").to_owned();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert!(root.ends_with("images/default_keeper_main.2"), "a root-dir is never used twice: {root}");
    // Making it anew left nothing of the first generation.
    let images = machine.data().join("host/disk1/images");
    eventually("the old root directory is gone", SOON, || {
        let names: Vec<_> =
            std::fs::read_dir(&images).expect("images").flatten().map(|entry| entry.file_name()).collect();
        if names == ["default_keeper_main.2"] { Ok(()) } else { Err(format!("{names:?}")) }
    });
}

#[test]
fn a_static_address_is_given_kept_and_never_given_twice() {
    if !real_containers("static addresses") {
        return;
    }
    let machine = Machine::new("features-static");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let wanted = format!("{}.77", machine.prefix);
    let at = |name: &str, address: &str| {
        let mut pod = pod(name, json!({"command": ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"]}), json!({}));
        pod["metadata"]["annotations"] = json!({"vkube.io/static-ip": address});
        pod
    };
    api.create(&at("owner", &wanted));
    assert_eq!(api.wait_running("owner")["status"]["podIP"], wanted.as_str());
    let web = Http::new(&format!("http://{wanted}"), None);
    eventually("somebody answers there", SOON, || web.call("GET", "/", None));

    // The second is told why it waits, and gets the address when the first is gone.
    api.create(&at("heir", &wanted));
    let told = api.wait_pod("heir", "told why", SOON, |pod| {
        container_status(pod, "main")["state"]["waiting"]["message"].as_str().is_some_and(|text| text.contains("owner"))
    });
    assert_eq!(told["status"]["phase"], "Pending");
    let message = container_status(&told, "main")["state"]["waiting"]["message"].to_string();
    assert!(message.contains("next try in"), "{message}");
    api.create(&pod("bystander", json!({}), json!({})));
    assert_ne!(api.wait_running("bystander")["status"]["podIP"], wanted.as_str());
    api.delete("owner");
    api.wait_gone("owner");
    let heir = api.wait_pod("heir", "running", Duration::from_secs(70), dev::http::is_running);
    assert_eq!(heir["status"]["podIP"], wanted.as_str());
}

#[test]
fn memory_limits_are_the_kernels() {
    if !real_containers("memory limits") {
        return;
    }
    let machine = Machine::new("features-memory");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let limited = json!({"resources": {"limits": {"memory": "32Mi"}}});
    api.create(&pod("small", limited, json!({})));
    let process = machine.process(&api.wait_running("small"), "main");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).expect("its cgroups");
    let limit = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let read = |file: String| std::fs::read_to_string(file).ok();
        if controllers.split(',').any(|one| one == "memory") {
            read(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"))
        } else if controllers.is_empty() {
            read(format!("/sys/fs/cgroup{path}/memory.max"))
        } else {
            None
        }
    });
    assert_eq!(limit.as_deref().map(str::trim), Some((32 << 20).to_string().as_str()), "{groups}");
    // Taking more than that ends it, and the status says why.
    let greedy = json!({
        "resources": {"limits": {"memory": "16Mi"}},
        "command": ["/bin/sh", "-c", "a=0123456789abcdef; while true; do a=$a$a; done"],
    });
    api.create(&pod("greedy", greedy, json!({"restartPolicy": "Never"})));
    let ended = api.wait_pod("greedy", "Failed", SOON, |pod| pod["status"]["phase"] == "Failed");
    let terminated = container_status(&ended, "main")["state"]["terminated"].clone();
    assert_eq!((&terminated["exitCode"], &terminated["reason"]), (&json!(137), &json!("OOMKilled")));
}

#[test]
fn a_stop_waits_as_long_as_the_pod_asks_and_no_longer() {
    if !real_containers("terminationGracePeriodSeconds") {
        return;
    }
    let machine = Machine::new("features-grace");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let cleans_up = "trap 'sleep 1; echo cleaned > /out/up; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
    let mut polite = shell("polite", cleans_up, json!({"terminationGracePeriodSeconds": 10}));
    let out = machine.dir.join("out");
    std::fs::create_dir_all(&out).expect("a directory");
    polite["spec"]["volumes"] = json!([{"name": "out", "hostPath": {"path": out}}]);
    polite["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
    api.create(&polite);
    let deaf = "trap 'echo deaf' TERM; echo ready; while true; do sleep 0.1; done";
    api.create(&shell("deaf", deaf, json!({"terminationGracePeriodSeconds": 2})));
    for name in ["polite", "deaf"] {
        api.wait_running(name);
        wait_log(&api, name, "", "ready\n");
    }
    api.delete("polite");
    api.wait_gone("polite");
    assert_eq!(std::fs::read_to_string(out.join("up")).ok().as_deref(), Some("cleaned\n"));
    let asked = Instant::now();
    api.delete("deaf");
    api.wait_gone("deaf");
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn what_kubectl_does_works_from_apply_to_delete() {
    if !real_containers("kubectl") {
        return;
    }
    if std::process::Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\n!!! SKIPPED: kubectl: it is not installed\n\n");
        return;
    }
    let machine = Machine::new("features-kubectl");
    let _dev = machine.dev(&[]);
    let manifest = machine.write("pod.json", &shell("typed", "echo hello; sleep 100000", json!({})).to_string());
    let config = machine.data().join("kubeconfig");
    let kubectl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("kubectl");
        command.arg("--kubeconfig").arg(&config).args(arguments).env("HOME", &machine.dir);
        let output = command.output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        text_of(Ok(output))
    };
    assert_eq!(kubectl(&["apply", "-f", &manifest.display().to_string()]), "pod/typed created\n");
    assert_eq!(kubectl(&["apply", "-f", &manifest.display().to_string()]), "pod/typed unchanged\n");
    kubectl(&["wait", "--for=condition=Ready", "pod/typed", "--timeout=30s"]);
    let listed = kubectl(&["get", "pods", "-o", "wide"]);
    let row: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..4], ["typed", "1/1", "Running", "0"], "{listed}");
    assert!(row[5].starts_with(&machine.prefix), "{listed}");
    let described = kubectl(&["describe", "pod", "typed"]);
    for wanted in ["Started", "Ready", "hello:latest"] {
        assert!(described.contains(wanted), "{wanted}: {described}");
    }
    assert_eq!(kubectl(&["logs", "typed"]), "hello\n");
    assert!(kubectl(&["delete", "pod", "typed"]).starts_with("pod \"typed\" deleted"));
    assert_eq!(kubectl(&["get", "pods", "-o", "name"]), "");
}
