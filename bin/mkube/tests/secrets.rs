//! A Secret on its way into real containers: who reads it, and where it never shows.

mod dev;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dev::site::LATER;
use dev::{Machine, eventually, real_containers, shell};
use serde_json::json;

/// Stands nowhere but where it belongs.
const CANARY: &str = "canary-4f1c9e";
/// The same in base 64, as objects have it.
const ENCODED: &str = "Y2FuYXJ5LTRmMWM5ZQ==";

/// Directories of this name below a place.
fn directories(below: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(below).into_iter().flatten().flatten();
    let inside = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    inside
        .flat_map(
            |path| {
                if path.file_name().is_some_and(|last| last == name) { vec![path] } else { directories(&path, name) }
            },
        )
        .collect()
}

#[test]
fn a_container_reads_its_secrets_whoever_it_runs_as_and_they_show_nowhere_else() {
    if !real_containers("secrets") {
        return;
    }
    let machine = Machine::new("secrets");
    let dev = machine.dev(&["--log-level", "debug"]);
    let api = machine.api();
    api.post(
        "/api/v1/namespaces/default/secrets",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": CANARY}}),
    );
    let line = "[ $PW = $(cat /keys/password) ] && echo both are there; stat -c %a /keys/password; sleep 100000";
    let mut pod = shell("reader", line, json!({"securityContext": {"runAsUser": 1000}}));
    pod["spec"]["volumes"] = json!([{"name": "keys", "secret": {"secretName": "db"}}]);
    let container = &mut pod["spec"]["containers"][0];
    container["env"] = json!([{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    container["volumeMounts"] = json!([{"name": "keys", "mountPath": "/keys", "readOnly": true}]);
    api.create(&pod);
    api.wait_running("reader");
    eventually("what the reader saw", LATER, || match api.page("/api/v1/namespaces/default/pods/reader/log") {
        Ok(text) if text == "both are there\n644\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let secrets = directories(&machine.data(), "secrets");
    assert_eq!(secrets.len(), 1, "{secrets:?}");
    let mode = std::fs::metadata(&secrets[0]).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else on the machine comes to them");

    for path in ["/api/v1/pods", "/api/v1/events", "/api/v1/supervisor", "/metrics"] {
        let text = api.page(path).expect("an answer");
        assert!(!text.contains(CANARY) && !text.contains(ENCODED), "{path}: {text}");
    }
    api.delete("reader");
    api.wait_gone("reader");
    eventually("no file of it is left", LATER, || {
        let left: Vec<_> = std::fs::read_dir(&secrets[0]).into_iter().flatten().flatten().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let told = dev.output();
    assert!(told.contains("POST /container"), "the log was written: {told}");
    assert!(!told.contains(CANARY) && !told.contains(ENCODED), "{told}");
}
