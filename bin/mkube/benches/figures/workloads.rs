//! Workloads that keep themselves alive: how soon a deleted replica is back on real containers, and a thousand Deployments on the
//! simulated engine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::{BINARY, Http, Running, is_root, millis, pod, quantile, runs, scratch, text};
use crate::scale::{IMAGE, Site, TICK};
use mkube_free_ports::free_address;

const RUNS: usize = 20;
/// Deployments of one pod each.
const MANY: usize = 1000;
/// Length of the quiet watch.
const QUIET: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run() -> anyhow::Result<()> {
    replaced().await?;
    many().await
}

async fn replaced() -> anyhow::Result<()> {
    if !is_root() {
        println!("## Deleted replica: skipped, real containers need root\n");
        return Ok(());
    }
    let directory = scratch()?;
    let data = text(directory.path().join("dev"));
    let listen = free_address();
    let words = ["--host", "linux", "--data-dir", &data, "--listen", &listen, "--cidr", "10.96.3.0/24"];
    let words = [&["dev"], words.as_slice(), &["--registry", "127.0.0.1:0", "--dns", "127.0.0.1:0"]].concat();
    let measured = measure(&words, &format!("http://{listen}")).await;
    let _ = std::process::Command::new(BINARY).args(["dev", "--clean", "--data-dir", &data]).output()?;
    measured
}

async fn measure(words: &[&str], api: &str) -> anyhow::Result<()> {
    let running = Running::start(words)?;
    let http = Http::new()?;
    let deployments = format!("{api}/apis/apps/v1/namespaces/default/deployments");
    http.post(&deployments, &deployment("web", "hello:latest", &["httpd", "-f", "-p", "80"])).await?;
    let url = format!("{api}/api/v1/namespaces/default/pods/web-0");
    http.until(&url, PATIENCE, runs).await?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let before = http.get(&url).await?["metadata"]["uid"].clone();
        let begin = Instant::now();
        http.delete(&url).await?;
        http.until(&url, PATIENCE, |pod| pod["metadata"]["uid"] != before && runs(pod)).await?;
        times.push(begin.elapsed());
    }
    println!("## Deleted replica on real containers ({RUNS} runs one after the other, image cached)\n");
    println!("| | median | longest |\n|---|---|---|");
    println!(
        "| DELETE of the only replica to its successor Ready | {} | {} |\n",
        millis(quantile(&mut times, 0.5)),
        millis(quantile(&mut times, 1.0))
    );
    running.stop();
    Ok(())
}

async fn many() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let Site { http, serve, .. } = &site;
    let collection = format!("{}/apis/apps/v1/namespaces/default/deployments", site.api);
    let all = format!("{}/apis/apps/v1/deployments", site.api);
    let begin = Instant::now();
    let mut posts = tokio::task::JoinSet::new();
    for batch in 0..8 {
        let (http, collection) = (http.clone(), collection.clone());
        posts.spawn(async move {
            for index in (batch..MANY).step_by(8) {
                http.post(&collection, &deployment(&format!("d{index}"), IMAGE, &["serve"])).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(posted) = posts.join_next().await {
        posted??;
    }
    let settled = |list: &Value| {
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.len() == MANY && items.iter().all(|one| one["status"]["availableReplicas"] == 1)
    };
    http.until(&all, Duration::from_secs(600), settled).await?;
    let settled_after = begin.elapsed();
    // Quiet: whatever follows has settled after a tick.
    tokio::time::sleep(TICK * 2).await;
    http.delete(&site.calls).await?;
    let before = serve.processor();
    tokio::time::sleep(QUIET).await;
    let idle = (serve.processor() - before).as_secs_f64() / QUIET.as_secs_f64() * 100.0;
    let calls = http.get(&site.calls).await?["total"].as_u64().unwrap_or(0) as f64;
    let per_tick = calls / (QUIET.as_secs_f64() / TICK.as_secs_f64());
    let consistency = format!("{}/api/v1/consistency", site.api);
    let report = http.get(&consistency).await?;
    println!("## {MANY} Deployments of one pod on the simulated engine\n");
    println!("| all Available after | RSS | idle CPU | device calls a tick |\n|---|---|---|---|");
    println!(
        "| {:.1} s | {:.1} MiB | {idle:.2} % | {per_tick:.1} |\n\nconsistency: {}\n",
        settled_after.as_secs_f64(),
        serve.resident(),
        report["summary"]
    );
    site.stop();
    Ok(())
}

fn deployment(name: &str, image: &str, args: &[&str]) -> Value {
    let spec = pod(name, image, args)["spec"].clone();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
                 "template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    })
}
