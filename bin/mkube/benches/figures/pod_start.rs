//! From the POST of a pod to `Ready`, on real containers, and where the time goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::machine::{BINARY, Http, Running, is_root, millis, pod, quantile, runs, scratch, text};
use mkube_free_ports::free_address;

const RUNS: usize = 20;

pub async fn run() -> anyhow::Result<()> {
    if !is_root() {
        println!("## Pod start: skipped, real containers need root\n");
        return Ok(());
    }
    let directory = scratch()?;
    let data = text(directory.path().join("dev"));
    let listen = free_address();
    let words = [
        "dev",
        "--host",
        "linux",
        "--data-dir",
        &data,
        "--listen",
        &listen,
        "--cidr",
        "10.96.1.0/24",
        "--registry",
        "127.0.0.1:0",
        "--dns",
        "127.0.0.1:0",
    ];
    let measured = measure(&words, &listen).await;
    let _ = std::process::Command::new(BINARY).args(["dev", "--clean", "--data-dir", &data]).output()?;
    measured
}

async fn measure(words: &[&str], listen: &str) -> anyhow::Result<()> {
    let running = Running::start(words)?;
    let http = Http::new()?;
    let pods = format!("http://{listen}/api/v1/namespaces/default/pods");
    let device =
        running.printed.iter().find_map(|line| line.trim().strip_prefix("host")).unwrap_or_default().to_owned();
    let (mut accepted, mut started, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let name = format!("bench-{run}");
        let url = format!("{pods}/{name}");
        let begin = Instant::now();
        http.post(&pods, &pod(&name, "hello:latest", &["httpd", "-f", "-p", "80"])).await?;
        accepted.push(begin.elapsed());
        http.until(&url, Duration::from_secs(30), runs).await?;
        started.push(begin.elapsed());
        let begin = Instant::now();
        http.delete(&url).await?;
        http.until(&pods, Duration::from_secs(30), |list| list["items"].as_array().is_some_and(Vec::is_empty)).await?;
        deleted.push(begin.elapsed());
    }
    println!("## Pod start on real containers ({RUNS} runs one after the other, image cached; {})\n", device.trim());
    println!("| step | median | longest |\n|---|---|---|");
    let mut rows: BTreeMap<&str, &mut Vec<Duration>> = BTreeMap::new();
    rows.insert("1 POST answered (durable)", &mut accepted);
    rows.insert("2 POST to Ready", &mut started);
    rows.insert("3 DELETE to gone", &mut deleted);
    for (name, values) in rows {
        println!("| {name} | {} | {} |", millis(quantile(values, 0.5)), millis(quantile(values, 1.0)));
    }
    println!();
    running.stop();
    Ok(())
}
