//! Hosts with real containers: they die and come back, they are two on one machine, and nothing of them stays behind.
#![cfg(target_os = "linux")]

mod machine;

use std::path::Path;
use std::process::{Command, Stdio};

use machine::{Machine, OBEDIENT, eventually, kill};
use mkube_router_machine::engine::{Engine, Found};

#[tokio::test]
async fn a_host_that_comes_back_finds_its_containers_and_what_happened_meanwhile() {
    let Some(mut machine) = Machine::new("a host that comes back", 19).await else { return };
    let go = machine.mount("go", "/go", false);
    std::fs::create_dir(&go.source).expect("made");
    let script =
        "echo before; while ! [ -e /go/on ]; do sleep 0.05; done; echo meanwhile; touch /go/said; exec sleep 1000";
    let mut lives = machine.shell(2, script);
    let mut ends = machine.shell(3, &script.replace("exec sleep 1000", "exit 7"));
    for launch in [&mut lives, &mut ends] {
        launch.mounts = vec![go.clone()];
    }
    let pid = machine.engine.start(&lives).await.expect("started");
    let other = machine.engine.start(&ends).await.expect("started");
    machine.line("c2", "before").await;
    machine.line("c3", "before").await;
    let Found::Running { since, .. } = machine.engine.find(&lives.key).await else { panic!("it runs") };

    // A line that was told and not yet noted as told would be told twice.
    let read = |path: &str| std::fs::read_to_string(machine.directory.join("engine").join(path)).unwrap_or_default();
    eventually("it is noted", || read("read/c2") == read("logs/c2.log").len().to_string()).await;

    // Gone while it happens: nobody reads, nobody waits.
    let away = machine.die();
    std::fs::write(go.source.join("on"), "").expect("written");
    eventually("it goes on by itself", || go.source.join("said").exists()).await;
    eventually("the other ends by itself", || !Path::new(&format!("/proc/{other}")).exists()).await;

    let mut machine = away.come_back();
    machine.engine.sweep(&["c2".into(), "c3".into()]).await.expect("swept");
    assert_eq!(machine.engine.find(&lives.key).await, Found::Running { pid, since });
    machine.line("c2", "meanwhile").await;
    assert_eq!(machine.lines("c2", false), ["meanwhile"], "what was told before is not told again");
    assert!(matches!(machine.engine.find(&ends.key).await, Found::Exited { code: Some(7), .. }));
    machine.line("c3", "meanwhile").await;
    machine.engine.signal(&lives.key, 9).await.expect("sent");
    assert_eq!(machine.exit("c2").await.0, 137, "it is followed again");
}

/// Runs in a process of its own, which is killed; see below.
const HOST: &str = "MKUBE_TEST_HOST_DIRECTORY";

#[tokio::test]
async fn containers_outlive_the_process_that_started_them() {
    const NAME: &str = "containers_outlive_the_process_that_started_them";
    if let Some(directory) = std::env::var_os(HOST) {
        let host = Machine::at(Path::new(&directory), 20);
        host.engine.start(&host.shell(2, OBEDIENT)).await.expect("started");
        std::fs::write(Path::new(&directory).join("started"), "").expect("written");
        std::future::pending::<()>().await;
    }
    let Some(machine) = Machine::new("containers outlive their host", 20).await else { return };
    let mut host = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", NAME, "--test-threads=1"])
        .env(HOST, &machine.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a host");
    let started = machine.directory.join("started");
    eventually("the host starts it", || started.exists()).await;
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", host.id())).expect("alive");
    host.kill().expect("killed");
    host.wait().expect("gone");
    let mut machine = machine.die().come_back();
    let Found::Running { pid, .. } = machine.engine.find(&"c2".to_owned()).await else { panic!("it runs on") };
    let log = machine.directory.join("engine/logs/c2.log");
    eventually("it has set its trap", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))).await;
    let id = machine.id(pid);
    let conmon = std::fs::read_to_string(machine.directory.join("engine/persist/c2/conmon.pid")).expect("conmon");
    let conmon: u32 = conmon.trim().parse().expect("a number");
    let group = std::fs::read_to_string(format!("/proc/{conmon}/cgroup")).expect("conmon is alive");
    let tracked = |text: &str| text.lines().rfind(|line| line.starts_with("0::")).map(str::to_owned);
    assert_ne!(tracked(&group), tracked(&own), "conmon is not among the host's processes");
    assert!(group.contains(&format!("/mkube/{id}-conmon")), "{group}");
    let stat = std::fs::read_to_string(format!("/proc/{conmon}/stat")).expect("alive");
    let session = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)).expect("a session");
    assert_ne!(session, host.id().to_string(), "and has a session of its own");
    machine.engine.signal(&"c2".to_owned(), 15).await.expect("sent");
    assert_eq!(machine.exit("c2").await, (143, false), "its exit is known all the same");
}

#[tokio::test]
async fn without_conmon_an_exit_is_told_but_its_code_is_not_known() {
    let Some(mut machine) = Machine::new("conmon killed", 21).await else { return };
    let launch = machine.launch(2, &["sleep", "1000"]);
    let pid = machine.engine.start(&launch).await.expect("started");
    let prefix = machine.id(pid).trim_end_matches("c2").to_owned();
    let conmon = std::fs::read_to_string(machine.directory.join("engine/persist/c2/conmon.pid")).expect("conmon");
    kill(conmon.trim().parse().expect("a number"));
    assert!(matches!(machine.engine.find(&launch.key).await, Found::Running { pid: found, .. } if found == pid));
    kill(pid);
    assert_eq!(machine.exit("c2").await, (255, false), "what the device says of an exit it does not know");
    let machine = machine.die().come_back();
    assert!(matches!(machine.engine.find(&launch.key).await, Found::Exited { code: None, .. }));
    machine.engine.forget(&launch.key).await.expect("forgotten");
    assert_eq!(machine.leftovers(&prefix).len(), 1, "only the bridge is left: {:?}", machine.leftovers(&prefix));
}

#[tokio::test]
async fn nothing_is_left_when_everything_was_removed() {
    let Some(mut machine) = Machine::new("leftovers", 22).await else { return };
    let pid = machine.engine.start(&machine.shell(2, OBEDIENT)).await.expect("started");
    let id = machine.id(pid);
    let prefix = id.trim_end_matches("c2").to_owned();
    let running = machine.leftovers(&prefix);
    for part in [
        "/run/netns/",
        "/sys/class/net/",
        "/sys/fs/cgroup/",
        "/bundles/",
        "/persist/",
        "/logs/",
        "/runtime/",
        "process",
    ] {
        assert!(running.iter().any(|left| left.contains(part)), "the look for leftovers sees {part}: {running:?}");
    }
    machine.line("c2", "ready").await;

    machine.engine.clean_up(&"c2".to_owned()).await.expect("done");
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "what runs is not cleaned up");
    machine.engine.signal(&"c2".to_owned(), 15).await.expect("sent");
    machine.exit("c2").await;
    for _ in 0..2 {
        machine.engine.clean_up(&"c2".to_owned()).await.expect("done, also twice");
    }
    let left = machine.leftovers(&prefix);
    assert!(
        left.iter().all(|left| left.contains("/logs/") || left.contains("/read/") || left.contains("/net/")),
        "{left:?}"
    );
    assert_eq!(machine.engine.find(&"c2".to_owned()).await, Found::Nothing);

    machine.engine.start(&machine.shell(2, OBEDIENT)).await.expect("started");
    for _ in 0..2 {
        machine.engine.forget(&"c2".to_owned()).await.expect("forgotten, running or not");
    }
    assert_eq!(machine.leftovers(&prefix).len(), 1, "{:?}", machine.leftovers(&prefix));
    machine.engine.remove_files(machine.directory.join("image")).await.expect("removed");
    machine.engine.remove_files(machine.directory.join("image")).await.expect("nothing to remove");
    assert!(!machine.directory.join("image").exists());
    let gateway = "10.213.22.1/24".parse().expect("an address");
    for _ in 0..2 {
        machine.engine.remove_address("gt", gateway).await.expect("removed, also twice");
    }
    for _ in 0..2 {
        machine.engine.remove_bridge("gt").await.expect("removed, also twice");
    }
    assert_eq!(machine.leftovers(&prefix), Vec::<String>::new());
}

#[tokio::test]
async fn a_sweep_ends_what_nobody_knows_and_only_that() {
    let Some(mut machine) = Machine::new("sweep", 23).await else { return };
    let kept = machine.engine.start(&machine.launch(2, &["sleep", "1000"])).await.expect("started");
    let swept = machine.engine.start(&machine.launch(3, &["sleep", "1000"])).await.expect("started");
    machine.run(&machine.shell(4, "echo done")).await;
    let prefix = machine.id(kept).trim_end_matches("c2").to_owned();
    std::fs::write(machine.directory.join("engine/logs/c5.log"), "left").expect("written");
    let machine = machine.die().come_back();
    machine.engine.sweep(&["c2".into()]).await.expect("swept");
    eventually("the unknown one is gone", || !Path::new(&format!("/proc/{swept}")).exists()).await;
    let left = machine.leftovers(&prefix);
    assert!(
        !left.iter().any(|left| ["-c3", "-c4", "/c3", "/c4", "/c5"].iter().any(|key| left.contains(key))),
        "{left:?}"
    );
    assert!(matches!(machine.engine.find(&"c2".to_owned()).await, Found::Running { pid, .. } if pid == kept));
}

#[tokio::test]
async fn two_hosts_on_one_machine_do_not_meet() {
    let Some(one) = Machine::new("two hosts", 24).await else { return };
    let Some(two) = Machine::new("two hosts", 25).await else { return };
    let page =
        |text: &str| format!("mkdir -p /tmp/www; echo {text} >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www");
    let (first, second) = (one.shell(2, &page("one")), two.shell(2, &page("two")));
    let (pid, other) = tokio::join!(one.engine.start(&first), two.engine.start(&second));
    let (pid, other) = (pid.expect("started"), other.expect("started"));
    assert_ne!(one.id(pid), two.id(other), "the same key is another container");
    assert_eq!(
        (one.fetch(one.address(2), 80).await, two.fetch(two.address(2), 80).await),
        ("one\n".into(), "two\n".into())
    );
    one.engine.sweep(&[]).await.expect("swept");
    one.engine.remove_bridge("gt").await.expect("removed");
    assert_eq!(two.fetch(two.address(2), 80).await, "two\n", "the other goes on");
    drop(one);
    assert!(matches!(two.engine.find(&second.key).await, Found::Running { pid, .. } if pid == other));
}

#[tokio::test]
async fn what_a_loss_of_power_leaves_is_no_obstacle() {
    let Some(mut machine) = Machine::new("damaged state", 29).await else { return };
    let launch = machine.shell(2, OBEDIENT);
    let pid = machine.engine.start(&launch).await.expect("started");
    let id = machine.id(pid);
    let prefix = id.trim_end_matches("c2").to_owned();
    std::fs::write(machine.directory.join("engine/runtime").join(&id).join("state.json"), "").expect("damaged");
    let pid = machine.engine.start(&launch).await.expect("started again");
    machine.line("c2", "ready").await;

    // Made but never started: what the runtime keeps until the start is still there.
    std::fs::write(machine.directory.join("engine/runtime").join(&id).join("exec.fifo"), "").expect("made");
    let machine = machine.die().come_back();
    assert_eq!(machine.engine.find(&launch.key).await, Found::Nothing);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it does not wait for ever");
    machine.engine.start(&launch).await.expect("started");
    std::fs::write(machine.directory.join("engine/runtime").join(&id).join("state.json"), "{").expect("damaged");
    machine.engine.sweep(&[]).await.expect("swept");
    assert_eq!(machine.leftovers(&prefix).len(), 1, "only the bridge: {:?}", machine.leftovers(&prefix));
}
