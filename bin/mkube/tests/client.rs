//! The small client for people without kubectl, against a running `mkube dev`.

mod dev;

use std::process::{Command, Output};

use dev::{Machine, SOON, binary, eventually};

const MANIFEST: &str = "kind: ConfigMap
apiVersion: v1
metadata: {name: page}
data: {index.html: hello}
---
kind: Pod
apiVersion: v1
metadata: {name: web}
spec:
  containers: [{name: c, image: 'hello:latest', command: [serve]}]
";

fn run(machine: &Machine, arguments: &[&str]) -> Output {
    let server = format!("http://{}", machine.listen);
    let output = Command::new(binary()).args(arguments).env("MKUBE_SERVER", server).output();
    output.expect("the binary runs")
}

fn done(machine: &Machine, arguments: &[&str]) -> String {
    let output = run(machine, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn objects_are_applied_shown_and_deleted_without_kubectl() {
    let machine = Machine::new("client");
    let _dev = machine.dev(&["--host", "simulated"]);
    let manifest = machine.write("site.yaml", MANIFEST);
    let file = manifest.display().to_string();

    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page created\npod/web created\n");
    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page unchanged\npod/web unchanged\n");
    std::fs::write(&manifest, MANIFEST.replace("hello}", "bye}")).expect("written");
    assert_eq!(done(&machine, &["apply", "-f", &file]), "configmap/page configured\npod/web unchanged\n");

    eventually("the table shows the pod running", SOON, || {
        let table = done(&machine, &["get", "po", "-A"]);
        let row = table.lines().find(|line| line.contains("web")).unwrap_or_default().to_owned();
        if row.contains("default") && row.contains("Running") { Ok(()) } else { Err(table) }
    });
    assert!(done(&machine, &["get", "pods", "web", "-o", "wide"]).contains("NOMINATED NODE"));
    assert!(done(&machine, &["get", "cm", "page", "-o", "yaml"]).contains("index.html: bye"));
    assert!(done(&machine, &["get", "images", "-o", "json"]).starts_with('['));
    let unknown = run(&machine, &["get", "images", "nope:1"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("image \"nope:1\" not found"));
    let tree = done(&machine, &["status"]);
    assert!(tree.contains("default/web") && tree.contains("object-layer"), "{tree}");
    done(&machine, &["logs", "web"]);
    let all = done(&machine, &["consistency", "--all"]);
    assert!(all.contains("container/web/c") && all.contains(" 0 fail"), "{all}");
    assert!(!done(&machine, &["consistency"]).contains("container/web/c"), "only what is not as it should be");
    let repaired = done(&machine, &["consistency", "--repair", "--dry-run", "-o", "json"]);
    assert!(repaired.contains("\"actions\": []") && repaired.contains("\"count\": 0"), "{repaired}");
    assert_eq!(run(&machine, &["consistency", "--dry-run"]).status.code(), Some(2), "a dry run of what?");

    assert_eq!(done(&machine, &["delete", "pod", "web"]), "pod/web deleted\n");
    eventually("the pod is gone", SOON, || {
        let output = run(&machine, &["get", "pod", "web"]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(1) && errors.contains("not found") { Ok(()) } else { Err(errors) }
    });
    let unknown = run(&machine, &["get", "gadgets"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no resource type \"gadgets\""));
}

#[test]
fn a_server_that_is_not_there_is_said_with_what_to_do() {
    let machine = Machine::new("client-alone");
    let output = run(&machine, &["get", "pods"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains("error: ") && errors.contains("hint: is mkube running at"), "{errors}");
}
