//! Two controllers on one JetStream: the one that drives is killed, and how long until the other does.

use std::path::Path;
use std::time::{Duration, Instant};

use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

use crate::machine::{Http, Running, median, scratch_on_disk, text};
use crate::scale::serve_config;
use mkube_free_ports::free_address;

const TIMES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run() -> anyhow::Result<()> {
    println!("## The standby takes over\n");
    let directory = scratch_on_disk()?;
    let nats = NatsServer::start_in(directory.path().join("nats"));
    let host_listen = free_address();
    let host_data = text(directory.path().join("host"));
    let host = Running::start(&["host", "--engine", "simulated", "--data-dir", &host_data, "--listen", &host_listen])?;
    let http = Http::new()?;
    let mut sides = Vec::new();
    for name in ["a", "b"] {
        let listen = free_address();
        let config = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&config, configuration(&nats.url(), &host_listen, &listen, directory.path(), name).to_string())?;
        sides.push((config, listen));
    }
    let start = |config: &Path| Running::quiet(&["serve", "--config", &text(config)]);
    let (mut driving, mut standing) = (start(&sides[0].0)?, None);
    until(&http, &sides[0].1, |message| message.contains("drives node")).await?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let second = start(&sides[1].0)?;
        until(&http, &sides[1].1, |message| message.ends_with(" drives")).await?;
        // It is acknowledged, and nothing long is under way.
        let supervisor = format!("http://{}/api/v1/supervisor", sides[1].1);
        http.until(&supervisor, PATIENCE, |tree| tree["lease"]["announcedSeconds"] == 0).await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(standing.replace(driving));
        let killed = Instant::now();
        drop(standing.take());
        until(&http, &sides[1].1, |message| message.contains("drives node")).await?;
        times.push(killed.elapsed().as_secs_f64());
        driving = second;
        sides.swap(0, 1);
    }
    let longest = times.iter().copied().fold(0.0, f64::max);
    println!(
        "from `kill -9` of the holder until the other drives, {TIMES} times: median {:.1} s, longest {longest:.1} s\n",
        median(&times)
    );
    driving.stop();
    host.stop();
    Ok(())
}

async fn until(http: &Http, listen: &str, done: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let says = |tree: &Value| tree["lease"]["message"].as_str().is_some_and(&done);
    http.until(&format!("http://{listen}/api/v1/supervisor"), PATIENCE, says).await.map(drop)
}

fn configuration(nats: &str, host: &str, listen: &str, directory: &Path, name: &str) -> Value {
    let mut config = serve_config(host, listen, directory);
    config["nats"] = json!({"url": nats});
    config["store"] = json!({"kind": "nats", "path": text(directory.join(name).join("state.redb"))});
    config
}
