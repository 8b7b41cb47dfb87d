//! Real containers: what a launch says is what the process sees, and what it does is told.
#![cfg(target_os = "linux")]

mod machine;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use machine::{Machine, OBEDIENT, PATIENCE, eventually};
use mkube_router_machine::engine::{Engine, EngineEvent, EngineFault, Found};
use tokio::time::Instant;

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
    let page = machine.fetch(machine.address(2), 80).await;
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
async fn a_line_and_an_exit_are_told_of_a_container_that_goes_on_in_silence() {
    let Some(mut machine) = Machine::new("what is told of a silent container", 14).await else { return };
    let launch = machine.shell(2, OBEDIENT);
    machine.engine.start(&launch).await.expect("started");
    machine.line("c2", "ready").await;
    machine.engine.signal(&launch.key, 9).await.expect("sent");
    assert_eq!(machine.exit("c2").await, (137, false));
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
    assert!(!Path::new("oom").exists(), "nothing is noted where the host happens to run");
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
    assert_eq!(machine.fetch(machine.address(2), 80).await, "hello\n", "from the host");
    if with_ipv6 {
        assert_eq!(
            machine.fetch("fd00:213:26::2".parse().expect("an address"), 80).await,
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
    assert_eq!(machine.fetch(machine.address(2), 80).await, "hello\n");
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
    assert_eq!((machine.fetch(address, 80).await, machine.fetch(address, 81).await), ("80\n".into(), "81\n".into()));
    machine.engine.forget(&first.key).await.expect("forgotten");
    assert_eq!(machine.fetch(address, 81).await, "81\n", "the first is gone, its network is not");
    machine.engine.start(&first).await.expect("started again, into the same network");
    assert_eq!((machine.fetch(address, 80).await, machine.fetch(address, 81).await), ("80\n".into(), "81\n".into()));
    for key in [&second.key, &first.key] {
        machine.engine.forget(key).await.expect("forgotten");
    }
    assert_eq!(machine.leftovers(&prefix).len(), 1, "only the bridge: {:?}", machine.leftovers(&prefix));
}
