//! What cannot be done is said at once, with the exit code that scripts rely on and a hint for people.

mod dev;

use std::os::unix::process::CommandExt;
use std::process::Command;

use dev::process::Running;
use dev::{Machine, SOON, binary};
use serde_json::json;

fn run(command: Command) -> (Option<i32>, String) {
    let (status, output) = Running::start(command).wait(SOON);
    (status.code(), output)
}

fn mkube(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

#[test]
fn without_root_dev_says_so_and_offers_simulated_containers() {
    let machine = Machine::new("refuse-root");
    // The build's directory may not be readable for others.
    let copy = machine.dir.join("mkube");
    std::fs::copy(binary(), &copy).expect("copied");
    let mut command = Command::new(&copy);
    command.args(["dev", "--listen", &machine.listen, "--data-dir", "/tmp/mkube-never-made"]);
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if root {
        command.uid(65534).gid(65534);
    }
    let (code, output) = run(command);
    assert_eq!(code, Some(77), "{output}");
    assert!(output.contains("error: ") && output.contains("hint: ") && output.contains("--host simulated"), "{output}");
    assert!(!std::path::Path::new("/tmp/mkube-never-made").exists());
}

#[test]
fn a_configuration_with_mistakes_lists_them_all_and_ends_with_64() {
    let machine = Machine::new("refuse-config");
    let bad =
        machine.write("bad.yaml", "nodenam: x\nnetworks: [{name: gt, cidr: nonsense, gateway: 10.0.0.1, bridge: b}]\n");
    for arguments in [vec!["check-config"], vec!["serve", "--config"]] {
        let mut command = mkube(&arguments);
        command.arg(&bad);
        let (code, output) = run(command);
        assert_eq!(code, Some(64), "{output}");
        assert!(output.contains("nodeName") && output.contains("nonsense"), "all problems, the closest name: {output}");
    }
    let mut command = mkube(&["check-config"]);
    command.arg(machine.write("good.yaml", &machine.config().to_string()));
    let (code, output) = run(command);
    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains(dev::site::PASSWORD), "secrets are not printed: {output}");
    let (code, output) = run(mkube(&["check-config", "/nowhere/at/all.yaml"]));
    assert_eq!(code, Some(64), "{output}");
}

#[test]
fn a_second_dev_on_the_same_directory_and_one_on_a_taken_port_are_refused() {
    let machine = Machine::new("refuse-second");
    let _first = machine.dev(&["--host", "simulated"]);
    let other = dev::free_address();
    let data = machine.data().display().to_string();
    let cidr = machine.cidr();
    let (code, output) = run(mkube(&[
        "dev",
        "--host",
        "simulated",
        "--registry",
        "127.0.0.1:0",
        "--dns",
        "127.0.0.1:0",
        "--listen",
        &other,
        "--cidr",
        &cidr,
        "--data-dir",
        &data,
    ]));
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("error: ") && output.contains("hint: "), "{output}");
    let elsewhere = machine.dir.join("elsewhere").display().to_string();
    let taken = &machine.listen;
    let (code, output) = run(mkube(&[
        "dev",
        "--host",
        "simulated",
        "--registry",
        "127.0.0.1:0",
        "--dns",
        "127.0.0.1:0",
        "--listen",
        taken,
        "--cidr",
        &cidr,
        "--data-dir",
        &elsewhere,
    ]));
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(taken.as_str()) && output.contains("hint: "), "{output}");
    // The first one did not suffer.
    machine.api().wait_ready();
    machine.api().create(&dev::pod("still-there", json!({}), json!({})));
    machine.api().wait_running("still-there");
    // Nor may it be cleaned away under its feet.
    let (code, output) = run(mkube(&["dev", "--host", "simulated", "--clean", "--data-dir", &data]));
    assert_ne!(code, Some(0), "{output}");
    assert_eq!(machine.api().pod("still-there")["status"]["phase"], "Running");
}

#[test]
fn a_store_that_cannot_be_read_is_never_taken_for_an_empty_one() {
    let machine = Machine::new("refuse-store");
    machine.dev(&["--host", "simulated"]).kill();
    let store = machine.data().join("state.redb");
    std::fs::write(&store, b"this is no store").expect("written");
    let (status, output) = machine.dev_unready(&["--host", "simulated"]).wait(SOON);
    assert_eq!(status.code(), Some(69), "{output}");
    assert!(output.contains("state.redb") && output.contains("hint: "), "{output}");
    assert_eq!(std::fs::read(&store).expect("still there"), b"this is no store");
}
