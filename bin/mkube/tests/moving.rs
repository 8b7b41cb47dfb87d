//! Objects leave a running controller as text and come back, with the commands people use.

mod dev;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use dev::{Machine, SOON, binary, eventually};

const SITE: &str = "kind: Secret
apiVersion: v1
metadata: {name: key}
stringData: {word: in-the-clear}
---
kind: Pod
apiVersion: v1
metadata: {name: web}
spec:
  containers: [{name: c, image: 'hello:latest', command: [serve]}]
";

fn run(machine: &Machine, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("MKUBE_SERVER", format!("http://{}", machine.listen));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    child.wait_with_output().expect("it ends")
}

fn done(machine: &Machine, arguments: &[&str], input: &str) -> String {
    let output = run(machine, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_site_is_saved_and_brought_back_by_hand() {
    let machine = Machine::new("moving");
    let _dev = machine.dev(&["--host", "simulated"]);
    let dry = done(&machine, &["import", "--dry-run", "-"], SITE);
    assert!(dry.contains("2 created, 0 configured, 0 unchanged, 0 failed"), "{dry}");
    let made = done(&machine, &["import", "-"], SITE);
    assert!(made.contains("Secret") && made.contains("2 created"), "{made}");
    eventually("the pod runs", SOON, || {
        let table = done(&machine, &["get", "pods"], "");
        if table.contains("Running") { Ok(()) } else { Err(table) }
    });

    let file = machine.dir.join("site.yaml");
    let path = file.display().to_string();
    assert_eq!(done(&machine, &["export", "-o", &path], ""), "");
    let text = std::fs::read_to_string(&file).expect("written");
    assert!(text.contains("name: web") && !text.contains("kind: Secret"), "{text}");
    assert_eq!(done(&machine, &["export"], ""), text);
    done(&machine, &["export", "--secrets", "-o", &path], "");
    let whole = std::fs::read_to_string(&file).expect("written");
    assert!(whole.contains("kind: Secret") && whole.len() > text.len(), "{whole}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600, "there are Secrets in it");
    assert!(done(&machine, &["import", &path], "").contains(" 0 failed"));

    done(&machine, &["delete", "pod", "web"], "");
    eventually("the pod is gone", SOON, || {
        let output = run(&machine, &["get", "pod", "web"], "");
        if output.status.code() == Some(1) { Ok(()) } else { Err("it is there".to_owned()) }
    });
    let back = done(&machine, &["import", &path], "");
    assert!(back.contains("web") && back.contains("1 created, 0 configured") && back.contains(" 0 failed"), "{back}");
    assert_eq!(done(&machine, &["export", "--secrets"], ""), whole);

    let bad = run(
        &machine,
        &["import", "-"],
        "kind: Gadget\nmetadata: {name: g}\n---\nkind: ConfigMap\nmetadata: {name: m}\n",
    );
    let (shown, errors) = (String::from_utf8_lossy(&bad.stdout), String::from_utf8_lossy(&bad.stderr));
    assert_eq!(bad.status.code(), Some(1), "{errors}");
    assert!(
        shown.contains("no kind \"Gadget\"") && errors.contains("1 of 2 documents were refused"),
        "{shown}{errors}"
    );
    let refused = run(&machine, &["export", "--kinds", "gadgets", "-o", &path], "");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), whole, "what fails leaves the file as it was");
}

#[test]
fn a_server_that_is_not_there_and_a_file_that_is_not_there_are_said() {
    let machine = Machine::new("moving-alone");
    assert_eq!(run(&machine, &["export"], "").status.code(), Some(69));
    let file = machine.dir.join("out.yaml");
    assert_eq!(run(&machine, &["export", "-o", &file.display().to_string()], "").status.code(), Some(69));
    assert!(std::fs::read_dir(&machine.dir).expect("a directory").next().is_none(), "nothing is left behind");
    let missing = run(&machine, &["import", "/nowhere/site.yaml"], "");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/site.yaml"));
}
