//! Real containers: what a launch says is what the process sees, what it does is told, and nothing of it stays behind.
#![cfg(target_os = "linux")]

mod machine;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use machine::{Machine, PATIENCE, eventually, kill};
use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, Found};

/// Keeps a container alive until it is told to end with code 143.
const OBEDIENT: &str = "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done";

#[tokio::test]
async fn a_container_sees_the_network_the_names_and_the_limits_of_its_launch() {
    let Some(machine) = Machine::new("the network, names and limits of a launch", 11).await else { return };
    let script = "mkdir -p /tmp/www; { hostname; pwd; echo \"$GREETING\"; cat /etc/hosts /etc/resolv.conf; route -n; } \
                  >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www";
    let mut launch = machine.shell(2, script);
    launch.workdir = "/var".into();
    launch.memory_max = Some(64 << 20);
    launch.memory_high = Some(32 << 20);
    launch.cpus = vec![0];
    let pid = machine.engine.start(&launch).await.expect("started");
    let page = machine.fetch(machine.address(2), 80);
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(lines[..3], ["test-2", "/var", "good day"], "host name, directory, environment");
    assert!(lines.contains(&"10.213.11.2\ttest-2") && lines.contains(&"127.0.0.1\tlocalhost"), "{page}");
    assert!(lines.contains(&"nameserver 10.213.11.1"), "{page}");
    let route = lines.iter().find(|line| line.starts_with("0.0.0.0")).expect("a default route");
    assert!(route.contains("10.213.11.1") && route.ends_with("eth0"), "{route}");

    let id = machine.id(pid);
    assert_eq!(machine.group_file(&id, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(machine.group_file(&id, "memory", "memory.soft_limit_in_bytes", "memory.high"), (32 << 20).to_string());
    assert_eq!(machine.group_file(&id, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let usage = machine.engine.usage(&launch.key).await.expect("it runs");
    assert!(usage.memory > 0 && usage.memory <= 64 << 20 && usage.cpu_time > Duration::ZERO, "{usage:?}");
    assert!(matches!(machine.engine.find(&launch.key).await, Found::Running { pid: found, .. } if found == pid));
    assert_eq!(machine.engine.usage(&"c99".to_owned()).await, None);
}

#[tokio::test]
async fn users_and_mounts_are_those_of_the_launch() {
    let Some(mut machine) = Machine::new("users and mounts", 12).await else { return };
    std::fs::create_dir(machine.directory.join("fixed")).expect("made");
    std::fs::write(machine.directory.join("fixed/given"), "from outside").expect("written");
    let script =
        "cat /fixed/given; echo; touch /fixed/x 2>/dev/null || echo read-only; echo written >/made/file; id -u; id -g";
    let mut launch = machine.shell(2, script);
    launch.mounts = vec![machine.mount("fixed", "/fixed", true), machine.mount("made", "/made", false)];
    let (code, lines) = machine.run(&launch).await;
    assert_eq!((code, lines), (0, ["from outside", "read-only", "0", "0"].map(str::to_owned).into()));
    let outside = machine.directory.join("made/file");
    assert_eq!(std::fs::read_to_string(outside).expect("the directory was made"), "written\n");
    for (user, seen) in [("33:7", ["33", "7"]), ("web", ["33", "44"]), ("1000", ["1000", "0"])] {
        let mut launch = machine.shell(2, "id -u; id -g; touch /etc/x 2>/dev/null || exit 0; exit 9");
        launch.user = user.into();
        let (code, lines) = machine.run(&launch).await;
        assert_eq!((code, lines), (0, seen.map(str::to_owned).into()), "{user}");
    }
    let mut launch = machine.shell(2, "true");
    launch.user = "nobody-here".into();
    let fault = machine.engine.start(&launch).await.expect_err("refused");
    assert!(fault.to_string().contains("nobody-here"), "{fault}");
}

#[tokio::test]
async fn lines_come_in_order_and_whole_and_before_the_exit() {
    let Some(mut machine) = Machine::new("output", 13).await else { return };
    let script = "echo one; echo err one >&2; printf par; sleep 0.2; echo tial; echo '  blanks '; echo; echo err two >&2; \
                  i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; printf end; exit 3";
    let (code, lines) = machine.run(&machine.shell(2, script)).await;
    assert_eq!(code, 3);
    let mut wanted: Vec<String> = ["one", "partial", "  blanks ", ""].map(str::to_owned).into();
    wanted.extend((0..500).map(|number| format!("line {number}")));
    wanted.push("end".into());
    assert_eq!(lines, wanted);
    assert_eq!(machine.lines("c2", true), ["err one", "err two"]);
    assert!(matches!(machine.seen.last(), Some(EngineEvent::Exited { code: 3, .. })), "the exit comes last");
    let long = "x".repeat(40_000);
    let (_, lines) = machine.run(&machine.shell(2, &format!("echo {long}"))).await;
    assert_eq!(lines, [long], "longer than what is read at once");
}

#[tokio::test]
async fn a_line_and_an_exit_are_told_at_once() {
    let Some(mut machine) = Machine::new("how soon things are told", 14).await else { return };
    let launch = machine.shell(2, OBEDIENT);
    machine.engine.start(&launch).await.expect("started");
    machine.line("c2", "ready").await;
    let EngineEvent::Output { at, .. } = machine.seen.last().expect("seen").clone() else { panic!("a line") };
    let late = SystemTime::now().duration_since(at).unwrap_or_default();
    assert!(late < Duration::from_secs(1), "a line was told {late:?} after it was written");
    machine.engine.signal(&launch.key, 9).await.expect("sent");
    let begun = Instant::now();
    assert_eq!(machine.exit("c2").await, (137, false));
    assert!(begun.elapsed() < Duration::from_secs(2), "an exit was told after {:?}", begun.elapsed());
}

#[tokio::test]
async fn exit_codes_are_those_of_the_process_and_a_name_can_be_used_again_at_once() {
    let Some(mut machine) = Machine::new("exit codes", 15).await else { return };
    for code in [0, 3, 255, 0, 1] {
        let (told, _) = machine.run(&machine.shell(2, &format!("exit {code}"))).await;
        assert_eq!(told, code);
        let found = machine.engine.find(&"c2".to_owned()).await;
        assert!(matches!(found, Found::Exited { code: Some(found), .. } if found == code), "{found:?}");
    }
    for (signal, code) in [(9, 137), (15, 143)] {
        let launch = machine.shell(2, OBEDIENT);
        machine.seen.clear();
        machine.engine.start(&launch).await.expect("started");
        machine.line("c2", "ready").await;
        assert!(!machine.engine.ignores_signal(&launch.key, signal).await);
        machine.engine.signal(&launch.key, signal).await.expect("sent");
        assert_eq!(machine.exit("c2").await, (code, false));
        machine.engine.signal(&launch.key, signal).await.expect("nothing to do");
    }
}

#[tokio::test]
async fn a_first_process_without_a_handler_is_known_to_ignore_the_signal() {
    let Some(mut machine) = Machine::new("ignored signals", 16).await else { return };
    let launch = machine.launch(2, &["sleep", "1000"]);
    let pid = machine.engine.start(&launch).await.expect("started");
    eventually("it executes", || {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("sleep"))
    })
    .await;
    assert!(machine.engine.ignores_signal(&launch.key, 15).await);
    assert!(!machine.engine.ignores_signal(&launch.key, 9).await, "nobody ignores this one");
    machine.engine.signal(&launch.key, 9).await.expect("sent");
    assert_eq!(machine.exit("c2").await.0, 137);
    assert!(!machine.engine.ignores_signal(&launch.key, 15).await, "nobody is there to ignore it");
}

#[tokio::test]
async fn lack_of_memory_is_told_as_such() {
    let Some(mut machine) = Machine::new("lack of memory", 17).await else { return };
    let mut launch = machine.launch(2, &["tail", "/dev/zero"]);
    launch.memory_max = Some(16 << 20);
    machine.engine.start(&launch).await.expect("started");
    assert_eq!(machine.exit("c2").await, (137, true));
    let mut launch = machine.shell(3, "tail /dev/zero");
    launch.memory_max = Some(16 << 20);
    machine.engine.start(&launch).await.expect("started");
    assert_eq!(machine.exit("c3").await, (137, true), "the shell's child was killed");
    let mut launch = machine.shell(4, "exit 3");
    launch.memory_max = Some(16 << 20);
    machine.engine.start(&launch).await.expect("started");
    assert_eq!(machine.exit("c4").await, (3, false));
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let Some(machine) = Machine::new("failed starts", 18).await else { return };
    let pid = machine.engine.start(&machine.launch(9, &["sleep", "1000"])).await.expect("started");
    let prefix = machine.id(pid).trim_end_matches("c9").to_owned();
    machine.engine.forget(&"c9".to_owned()).await.expect("forgotten");
    let bridge = machine.leftovers(&prefix);
    assert_eq!(bridge.len(), 1, "only the bridge is left: {bridge:?}");
    for (program, cause) in
        [("/bin/none", "No such file"), ("none", "No such file"), ("/etc/plain", "ermission denied")]
    {
        match machine.engine.start(&machine.launch(2, &[program])).await {
            Err(EngineFault::CannotExecute { program: said, cause: why }) => {
                assert!(said == program && why.contains(cause), "{said:?} {why:?}");
            }
            other => panic!("{program}: {other:?}"),
        }
        assert_eq!(machine.leftovers(&prefix), bridge, "{program}");
    }
    let mut launch = machine.launch(2, &["sleep", "1000"]);
    launch.veths[0].bridge = Some("missing".into());
    assert!(matches!(machine.engine.start(&launch).await, Err(EngineFault::Interface(_))));
    assert_eq!(machine.leftovers(&prefix), bridge, "no bridge");
    let mut launch = machine.launch(2, &["sleep", "1000"]);
    launch.root_dir = machine.directory.join("missing");
    machine.engine.start(&launch).await.expect_err("no root directory");
    assert_eq!(machine.leftovers(&prefix), bridge, "no root directory");
    assert_eq!(machine.engine.find(&"c2".to_owned()).await, Found::Nothing);
}

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
    assert_eq!((one.fetch(one.address(2), 80), two.fetch(two.address(2), 80)), ("one\n".into(), "two\n".into()));
    one.engine.sweep(&[]).await.expect("swept");
    one.engine.remove_bridge("gt").await.expect("removed");
    assert_eq!(two.fetch(two.address(2), 80), "two\n", "the other goes on");
    drop(one);
    assert!(matches!(two.engine.find(&second.key).await, Found::Running { pid, .. } if pid == other));
}

#[tokio::test]
async fn containers_of_one_bridge_reach_one_another_and_no_rule_of_the_machine_changes() {
    let before = rules();
    let Some(mut machine) = Machine::new("containers of one bridge", 26).await else { return };
    let mut web =
        machine.shell(2, "mkdir -p /tmp/www; echo hello >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www");
    let with_ipv6 = Path::new("/proc/net/if_inet6").exists();
    if with_ipv6 {
        machine
            .engine
            .ensure_address("gt", "fd00:213:26::1/64".parse().expect("an address"))
            .await
            .expect("an address");
        web.veths[0].addresses.push("fd00:213:26::2/64".parse().expect("an address"));
    }
    let pid = machine.engine.start(&web).await.expect("started");
    assert_eq!(machine.fetch(machine.address(2), 80), "hello\n", "from the host");
    if with_ipv6 {
        assert_eq!(
            machine.fetch("fd00:213:26::2".parse().expect("an address"), 80),
            "hello\n",
            "by its second address"
        );
    }
    let ask = "wget -q -O - http://10.213.26.2/index.html; wget -q -O - http://10.213.26.1:1/ 2>&1 | tail -n 1";
    let (_, lines) = machine.run(&machine.shell(3, ask)).await;
    assert_eq!(lines[0], "hello", "from another container");
    assert!(lines[1].contains("refused"), "the gateway is there and answers: {lines:?}");

    // Off the bridge and on it again, while it runs.
    machine.engine.attach("veth_gt_test-2_0", None).await.expect("detached");
    let (_, lines) =
        machine.run(&machine.shell(3, "wget -T 1 -q -O - http://10.213.26.2/index.html || echo none")).await;
    assert_eq!(lines, ["none"]);
    machine.engine.attach("veth_gt_test-2_0", Some("gt")).await.expect("attached");
    assert_eq!(machine.fetch(machine.address(2), 80), "hello\n");
    machine.engine.remove_veth("veth_gt_test-2_0").await.expect("removed");
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "cut off, but running");
    machine.engine.forget(&web.key).await.expect("forgotten");
    assert_eq!(rules(), before);
}

/// Forwarding, filters and the like.
fn rules() -> Vec<String> {
    let mut rules = Vec::new();
    let mut read = |path: &Path| {
        if let Ok(text) = std::fs::read_to_string(path) {
            rules.push(format!("{} {}", path.display(), text.trim()));
        }
    };
    for place in ["ipv4", "ipv4/conf/all", "ipv4/conf/default", "ipv6/conf/all", "ipv6/conf/default", "bridge"] {
        let Ok(entries) = std::fs::read_dir(Path::new("/proc/sys/net").join(place)) else { continue };
        entries.flatten().filter(|entry| entry.path().is_file()).for_each(|entry| read(&entry.path()));
    }
    for (program, arguments) in [("iptables-save", &[][..]), ("ip6tables-save", &[]), ("nft", &["list", "ruleset"])] {
        if let Ok(output) = Command::new(program).args(arguments).output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            rules.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
        }
    }
    assert!(rules.iter().any(|rule| rule.contains("ip_forward")), "the look at rules sees something");
    rules
}

#[tokio::test]
async fn many_silent_containers_cost_nothing_and_all_are_heard() {
    let Some(mut machine) = Machine::new("many containers", 27).await else { return };
    let launches: Vec<_> = (2..10).map(|host| machine.shell(host, OBEDIENT)).collect();
    let begun = Instant::now();
    for launch in &launches {
        machine.engine.start(launch).await.expect("started");
    }
    assert!(begun.elapsed() < PATIENCE);
    for launch in &launches {
        machine.line(&launch.key, "ready").await;
    }
    for launch in &launches {
        machine.engine.signal(&launch.key, 15).await.expect("sent");
    }
    for launch in &launches {
        assert_eq!(machine.exit(&launch.key).await.0, 143, "{}", launch.key);
    }
}

#[tokio::test]
async fn containers_with_the_same_interface_share_one_network_until_the_last_has_ended() {
    let Some(machine) = Machine::new("a shared interface", 28).await else { return };
    let page = |port: u16| {
        format!("mkdir -p /tmp/w{port}; echo {port} >/tmp/w{port}/index.html; exec httpd -f -p {port} -h /tmp/w{port}")
    };
    let first = machine.shell(2, &page(80));
    let mut second = machine.shell(3, &page(81));
    second.veths = first.veths.clone();
    let pid = machine.engine.start(&first).await.expect("started");
    let prefix = machine.id(pid).trim_end_matches("c2").to_owned();
    let other = machine.engine.start(&second).await.expect("started");
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("alive");
    assert_eq!(namespace(pid), namespace(other));
    let address = machine.address(2);
    assert_eq!((machine.fetch(address, 80), machine.fetch(address, 81)), ("80\n".into(), "81\n".into()));
    machine.engine.forget(&first.key).await.expect("forgotten");
    assert_eq!(machine.fetch(address, 81), "81\n", "the first is gone, its network is not");
    machine.engine.start(&first).await.expect("started again, into the same network");
    assert_eq!((machine.fetch(address, 80), machine.fetch(address, 81)), ("80\n".into(), "81\n".into()));
    for key in [&second.key, &first.key] {
        machine.engine.forget(key).await.expect("forgotten");
    }
    assert_eq!(machine.leftovers(&prefix).len(), 1, "only the bridge: {:?}", machine.leftovers(&prefix));
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
