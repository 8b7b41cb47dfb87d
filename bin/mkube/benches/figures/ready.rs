//! From process start to `ready`, and what an idle process costs.

use std::time::Duration;

use crate::machine::{Running, is_root, millis, quantile, scratch, text};
use mkube_free_ports::free_address;

const RUNS: usize = 10;

pub async fn run() -> anyhow::Result<()> {
    println!("## mkube dev: process start to `ready` ({RUNS} runs)\n");
    println!("| host | median | longest | RSS | idle CPU |\n|---|---|---|---|---|");
    let hosts: &[&str] = if is_root() { &["simulated", "linux"] } else { &["simulated"] };
    for host in hosts {
        let directory = scratch()?;
        let data = text(directory.path().join("dev"));
        let listen = free_address();
        let words = [
            "dev",
            "--host",
            host,
            "--data-dir",
            &data,
            "--listen",
            &listen,
            "--cidr",
            "10.96.0.0/24",
            "--registry",
            "127.0.0.1:0",
            "--dns",
            "127.0.0.1:0",
        ];
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let running = Running::start(&words)?;
            times.push(running.ready_after);
            running.stop();
        }
        let running = Running::start(&words)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = running.processor();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let share = (running.processor() - before).as_secs_f64() / 20.0 * 100.0;
        let resident = running.resident();
        running.stop();
        let _ = std::process::Command::new(crate::machine::BINARY)
            .args(["dev", "--clean", "--host", host, "--data-dir", &data])
            .output()?;
        let (median, longest) = (quantile(&mut times, 0.5), quantile(&mut times, 1.0));
        println!("| {host} | {} | {} | {resident:.1} MiB | {share:.2} % |", millis(median), millis(longest));
    }
    println!();
    Ok(())
}
