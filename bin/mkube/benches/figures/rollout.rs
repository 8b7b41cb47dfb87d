//! From a push to the replaced pod, on real containers: `mkube dev` with its registry, one pod that follows its image, new 10 MiB
//! each time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::images::config;
use crate::machine::{BINARY, Http, Running, is_root, millis, pod, quantile, runs, scratch_on_disk, text};
use crate::registry_client::{Blob, RegistryClient, Way, random_blobs, sha256};
use mkube_free_ports::free_address;

const RUNS: usize = 5;
const SIZE: usize = 10 << 20;
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const PATIENCE: Duration = Duration::from_secs(60);
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// One run: when each thing was first seen, counted from the first byte of the push.
#[derive(Default)]
struct Seen {
    /// The registry has acknowledged the tag.
    pushed: Duration,
    /// The pod is told to run the new digest: its archive is in the cache.
    told: Duration,
    /// The old container is no longer said to be ready.
    down: Duration,
    /// The new digest runs and is ready.
    ready: Duration,
    /// It counts as proven.
    proven: Duration,
}

/// Takes the figures.
pub async fn run() -> anyhow::Result<()> {
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.is_file()) else {
        println!("## Rollout: skipped, no busybox to make an image from\n");
        return Ok(());
    };
    if !is_root() {
        println!("## Rollout: skipped, real containers need root\n");
        return Ok(());
    }
    let directory = scratch_on_disk()?;
    let data = text(directory.path().join("dev"));
    let listen = free_address();
    let registry = free_address();
    let words = [
        "dev",
        "--host",
        "linux",
        "--data-dir",
        &data,
        "--listen",
        &listen,
        "--registry",
        &registry,
        "--dns",
        "127.0.0.1:0",
        "--cidr",
        "10.96.2.0/24",
    ];
    let measured = measure(&words, &listen, &registry, &std::fs::read(busybox)?).await;
    let _ = std::process::Command::new(BINARY).args(["dev", "--clean", "--data-dir", &data]).output()?;
    measured
}

async fn measure(words: &[&str], listen: &str, registry: &str, busybox: &[u8]) -> anyhow::Result<()> {
    let running = Running::start(words)?;
    let http = Http::new()?;
    let client = RegistryClient::new(registry)?;
    let pods = format!("http://{listen}/api/v1/namespaces/default/pods");
    let url = format!("{pods}/follower");
    let first = Release::new(0, busybox)?.push(&client).await?;
    let mut follower = pod("follower", &format!("{registry}/app:edge"), &["busybox", "sleep", "1000000"]);
    follower["metadata"]["annotations"] = json!({"vkube.io/image-policy": "auto"});
    http.post(&pods, &follower).await?;
    http.until(&url, PATIENCE, |pod| runs(pod) && image(pod).ends_with(&first)).await?;
    let mut all = Vec::new();
    for run in 1..=RUNS {
        let release = Release::new(run as u64, busybox)?;
        // What is done for the one before is over.
        tokio::time::sleep(Duration::from_secs(1)).await;
        all.push(one(&http, &client, &url, &release).await.with_context(|| format!("run {run}"))?);
    }
    print(&all);
    running.stop();
    Ok(())
}

async fn one(http: &Http, client: &RegistryClient, url: &str, release: &Release) -> anyhow::Result<Seen> {
    let begin = Instant::now();
    let digest = release.push(client).await?;
    let mut seen = Seen { pushed: begin.elapsed(), ..Seen::default() };
    let told = |pod: &Value| annotation(pod, "vkube.io/image-pin").contains(&digest);
    http.until(url, PATIENCE, told).await?;
    seen.told = begin.elapsed();
    http.until(url, PATIENCE, |pod| !runs(pod) || image(pod).ends_with(&digest)).await?;
    seen.down = begin.elapsed();
    http.until(url, PATIENCE, |pod| runs(pod) && image(pod).ends_with(&digest)).await?;
    seen.ready = begin.elapsed();
    http.until(url, PATIENCE, |pod| annotation(pod, "vkube.io/image-rollout").is_empty()).await?;
    seen.proven = begin.elapsed();
    Ok(seen)
}

fn print(all: &[Seen]) {
    println!("## Push to replaced pod, real containers, image of 10 MiB ({RUNS} runs one after the other)\n");
    println!("| | median | longest |\n|---|---|---|");
    let row = |name: &str, pick: fn(&Seen) -> Duration| {
        let mut values: Vec<Duration> = all.iter().map(pick).collect();
        println!("| {name} | {} | {} |", millis(quantile(&mut values, 0.5)), millis(quantile(&mut values, 1.0)));
    };
    row("push begins to replaced pod Ready with the new digest", |seen| seen.ready);
    row("of it: push, until the tag is acknowledged", |seen| seen.pushed);
    row("of it: notice, pull and conversion, until the pod is told", |seen| seen.told.saturating_sub(seen.pushed));
    row("of it: until the old container is seen to be down", |seen| seen.down.saturating_sub(seen.told));
    row("of it: until the new one is Ready", |seen| seen.ready.saturating_sub(seen.down));
    row("afterwards, as proof and not as delay: settling", |seen| seen.proven.saturating_sub(seen.ready));
    println!();
}

fn annotation<'a>(pod: &'a Value, name: &str) -> &'a str {
    pod["metadata"]["annotations"][name].as_str().unwrap_or_default()
}

fn image(pod: &Value) -> &str {
    pod.pointer("/status/containerStatuses/0/imageID").and_then(Value::as_str).unwrap_or_default()
}

/// What is pushed each time.
struct Release {
    config: Blob,
    layers: [Blob; 2],
}

impl Release {
    /// Busybox, and a layer that is new.
    fn new(seed: u64, busybox: &[u8]) -> anyhow::Result<Self> {
        let payload = random_blobs(seed + 7, 1, SIZE).remove(0).bytes;
        let layers = [layer("bin/busybox", busybox)?, layer("payload", &payload)?];
        let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(&layer.bytes))).collect();
        Ok(Self { config: config(&json!({"Env": ["PATH=/bin"]}), &diff_ids), layers })
    }

    async fn push(&self, client: &RegistryClient) -> anyhow::Result<String> {
        for blob in self.layers.iter().chain([&self.config]) {
            client.push("app", blob, Way::Streamed).await?;
        }
        let descriptors: Vec<Value> = self.layers.iter().map(|layer| layer.descriptor(TAR)).collect();
        client.tag("app", "edge", &self.config, &descriptors).await
    }
}

fn layer(name: &str, bytes: &[u8]) -> anyhow::Result<Blob> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, bytes)?;
    Ok(Blob::new(Bytes::from(tar.into_inner()?)))
}
