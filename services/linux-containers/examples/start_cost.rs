//! What starting, hearing and cleaning up real containers costs here: `cargo run --release --example start_cost`, as root.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
#[tokio::main(flavor = "current_thread")]
async fn main() {
    linux::run().await;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use mkube_linux_containers::{LinuxEngine, LinuxOptions, assemble};
    use mkube_router_machine::engine::{Engine, EngineEvent, EngineVeth, Launch};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    const ROUNDS: usize = 30;
    const MANY: u8 = 50;

    fn report(what: &str, times: &mut [Duration]) {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
        println!("{what:<44} median {:7.1} ms   p90 {:7.1} ms   max {:7.1} ms", at(50), at(90), at(100));
    }

    fn launch(root: &Path, host: u8, script: &str) -> Launch {
        Launch {
            key: format!("c{host}"),
            name: format!("cost-{host}"),
            root_dir: root.to_owned(),
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            workdir: "/".into(),
            user: String::new(),
            hostname: format!("cost-{host}"),
            dns: vec!["10.214.0.1".parse().expect("an address")],
            mounts: vec![],
            veths: vec![EngineVeth {
                name: format!("veth_gt_cost-{host}_0"),
                addresses: vec![format!("10.214.0.{host}/24").parse().expect("an address")],
                gateway: Some("10.214.0.1".parse().expect("an address")),
                bridge: Some("gt".into()),
                inside_name: "eth0".into(),
            }],
            memory_high: None,
            memory_max: None,
            cpus: vec![],
        }
    }

    fn cpu_time() -> Duration {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("alive");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("fields").1.split_whitespace().collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    #[allow(clippy::disallowed_methods, reason = "how late a line is")]
    fn now() -> SystemTime {
        SystemTime::now()
    }

    pub async fn run() {
        let directory = std::env::temp_dir().join(format!("mkube-start-cost-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("made");
        let (sender, mut events) = mpsc::channel(4096);
        let engine = LinuxEngine::new(LinuxOptions::new(directory.join("engine")), sender).expect("an engine");
        engine.ensure_bridge("gt").await.expect("a bridge");
        engine.ensure_address("gt", "10.214.0.1/24".parse().expect("an address")).await.expect("an address");
        let spec = assemble::busybox("cost:1", Path::new("/bin/busybox"), &["sh", "sleep", "echo"]).expect("busybox");
        let (archive, root) = (directory.join("image.tar"), directory.join("root"));
        assemble::write(&spec, &archive).expect("an archive");
        let begun = Instant::now();
        engine.extract(&"c1".to_owned(), archive, root.clone()).await.expect("unpacked");
        println!("unpacking a busybox image {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);

        let (mut start, mut line, mut exit, mut clean) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let one = launch(&root, 2, "echo ready; exec sleep 1000");
            let begun = Instant::now();
            engine.start(&one).await.expect("started");
            start.push(begun.elapsed());
            loop {
                if let EngineEvent::Output { at, .. } = events.recv().await.expect("an event") {
                    line.push(now().duration_since(at).unwrap_or_default());
                    break;
                }
            }
            engine.signal(&one.key, 9).await.expect("sent");
            let begun = Instant::now();
            while !matches!(events.recv().await, Some(EngineEvent::Exited { .. })) {}
            exit.push(begun.elapsed());
            let begun = Instant::now();
            engine.clean_up(&one.key).await.expect("clean");
            clean.push(begun.elapsed());
        }
        report("start() until the process runs", &mut start);
        report("a line: written until told", &mut line);
        report("an exit: KILL sent until told", &mut exit);
        report("clean_up()", &mut clean);

        for host in 2..2 + MANY {
            engine.start(&launch(&root, host, "exec sleep 1000")).await.expect("started");
        }
        let before = cpu_time();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let spent = (cpu_time() - before).as_secs_f64() / 10.0 * 100.0;
        println!("{MANY} silent containers: {spent:.2} % of a core");
        engine.sweep(&[]).await.expect("swept");
        engine.remove_bridge("gt").await.expect("removed");
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
