//! One, a hundred and a thousand pods on the simulated engine, its host in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob, Limits, Progress, SourceImage, convert};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::machine::{Http, Running, archive, millis, pod, quantile, runs, scratch, text};
use crate::registry_client::sha256;
use mkube_free_ports::free_address;

pub const IMAGE: &str = "load:1";
/// Length of the quiet watch.
const QUIET: Duration = Duration::from_secs(60);
/// One reading of the device.
pub const TICK: Duration = Duration::from_secs(10);
/// Lists asked for under churn.
const LISTS: usize = 300;
/// Consistency runs.
const RUNS: usize = 50;

pub async fn run() -> anyhow::Result<()> {
    println!("## Pods on the simulated engine (host in its own process, figures of `serve` alone)\n");
    println!(
        "| pods | all Ready after | RSS | idle CPU | device calls a tick | calls a create | calls a delete | list p50 | list p99 | list size | consistency p50 | consistency longest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for pods in [1, 100, 1000] {
        one(pods).await?;
    }
    println!(
        "\nlist: `GET /api/v1/pods`, {LISTS} times one after the other while 50 pods are deleted and created again without pause\nconsistency: a whole run, asked for by a dry repair, {RUNS} times\n"
    );
    Ok(())
}

async fn one(count: usize) -> anyhow::Result<()> {
    let site = Site::start().await?;
    let Site { http, serve, .. } = &site;
    let all = format!("{}/api/v1/pods", site.api);
    let collection = format!("{}/api/v1/namespaces/default/pods", site.api);
    let calls = site.calls.clone();

    http.delete(&calls).await?;
    let begin = Instant::now();
    let mut posts = tokio::task::JoinSet::new();
    for batch in 0..8 {
        let (http, collection) = (http.clone(), collection.clone());
        posts.spawn(async move {
            for index in (batch..count).step_by(8) {
                http.post(&collection, &pod(&format!("p{index}"), IMAGE, &["serve"])).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(posted) = posts.join_next().await {
        posted??;
    }
    let everybody =
        |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == count && items.iter().all(runs));
    http.until(&all, Duration::from_secs(600), everybody).await?;
    let ready_after = begin.elapsed();
    let created = changes(&http.get(&calls).await?);

    // Quiet: whatever follows the creation has settled after a tick.
    tokio::time::sleep(TICK * 2).await;
    http.delete(&calls).await?;
    let before = serve.processor();
    tokio::time::sleep(QUIET).await;
    let idle = (serve.processor() - before).as_secs_f64() / QUIET.as_secs_f64() * 100.0;
    let quiet = http.get(&calls).await?["total"].as_u64().unwrap_or(0) as f64;
    let per_tick = quiet / (QUIET.as_secs_f64() / TICK.as_secs_f64());
    let resident = serve.resident();

    let repair = format!("{}/api/v1/consistency/repair", site.api);
    let mut consistency = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        http.post(&repair, &json!({"dryRun": ["All"]})).await?;
        consistency.push(begin.elapsed());
    }

    let churn = Churn::start(http, &collection, count.min(50));
    let mut times = Vec::new();
    let mut size = 0;
    for _ in 0..LISTS {
        let begin = Instant::now();
        size = http.size(&all).await?;
        times.push(begin.elapsed());
    }
    churn.stop().await?;
    http.until(&all, Duration::from_secs(120), everybody).await?;

    http.delete(&calls).await?;
    http.delete(&format!("{collection}/p0")).await?;
    let without = |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == count - 1);
    http.until(&all, Duration::from_secs(60), without).await?;
    let deleted = changes(&http.get(&calls).await?);
    println!(
        "| {count} | {:.1} s | {resident:.1} MiB | {idle:.2} % | {per_tick:.1} | {:.1} | {deleted} | {} | {} | {} KiB | {} | {} |",
        ready_after.as_secs_f64(),
        created as f64 / count as f64,
        millis(quantile(&mut times, 0.5)),
        millis(quantile(&mut times, 0.99)),
        size / 1024,
        millis(quantile(&mut consistency, 0.5)),
        millis(quantile(&mut consistency, 1.0)),
    );
    site.stop();
    Ok(())
}

/// `mkube serve` and the simulated device it drives, in processes of their own.
pub struct Site {
    /// A client.
    pub http: Http,
    /// The controller.
    pub serve: Running,
    /// Base of its API.
    pub api: String,
    /// Where the device counts its calls.
    pub calls: String,
    host: Running,
    _directory: TempDir,
}

impl Site {
    /// Starts both; returns when pods can be created.
    pub async fn start() -> anyhow::Result<Self> {
        let directory = scratch()?;
        let host_listen = free_address();
        let listen = free_address();
        let host_data = directory.path().join("host");
        let host_words = ["host", "--engine", "simulated", "--data-dir", &text(&host_data), "--listen", &host_listen];
        let host = Running::start(&host_words)?;
        let cache = host_data.join("disk1/cache");
        std::fs::create_dir_all(&cache)?;
        empty_image(&archive(&cache, IMAGE), IMAGE)?;
        let config = directory.path().join("config.yaml");
        std::fs::write(&config, serve_config(&host_listen, &listen, directory.path()).to_string())?;
        let serve = Running::quiet(&["serve", "--config", &text(&config)])?;
        let (http, api) = (Http::new()?, format!("http://{listen}"));
        http.until(&format!("{api}/api/v1/pods"), Duration::from_secs(30), |_| true).await?;
        http.until(&format!("{api}/api/v1/nodes/node"), Duration::from_secs(30), runs).await?;
        let calls = format!("http://{host_listen}/rest/_mkube/calls");
        Ok(Self { http, serve, api, calls, host, _directory: directory })
    }

    /// Ends both.
    pub fn stop(self) {
        self.serve.stop();
        self.host.stop();
    }
}

/// An archive of nothing: the simulated engine looks at no file of it, and the cache takes only whole ones.
fn empty_image(path: &Path, name: &str) -> anyhow::Result<()> {
    let (nothing, digest) = ([0; 1024], format!("sha256:{}", sha256(&[0; 1024])));
    let layer = LayerBlob {
        digest: digest.clone(),
        source: BlobSource::Stream(Box::new(move || Ok(Box::new(std::io::Cursor::new(nothing))))),
        trust: BlobTrust::Verified,
    };
    let config = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}});
    let image = SourceImage { name: name.to_owned(), config: config.to_string().into_bytes(), layers: vec![layer] };
    convert(&image, path, &Limits::default(), &Progress::default())?;
    Ok(())
}

/// Calls that are not the shared readings of the whole device.
fn changes(calls: &Value) -> u64 {
    let shared = ["GET /container", "GET /interface/veth", "GET /interface/bridge/port", "GET /system/resource"];
    // The pods here have no lists of their own; of many containers those are looked at one by one that move.
    let lists = ["GET /container/mounts", "GET /container/envs", "GET /container/*"];
    let shared: Vec<&str> = shared.into_iter().chain(lists).collect();
    let routes = calls["routes"].as_object().cloned().unwrap_or_default();
    routes.iter().filter(|(route, _)| !shared.contains(&route.as_str())).filter_map(|(_, count)| count.as_u64()).sum()
}

/// Configuration of a controller for this host, with everything below one directory.
pub fn serve_config(host: &str, listen: &str, directory: &Path) -> Value {
    let disk = directory.join("host/disk1");
    json!({
        "nodeName": "node", "standalone": true,
        "routeros": {"restUrl": format!("http://{host}/rest"), "user": "admin"},
        "networks": [{"name": "gt", "cidr": "10.96.0.0/16", "gateway": "10.96.0.1", "bridge": "bridge-gt", "managed": true}],
        "storage": {
            "basePath": "/disk1/images", "tarballCache": text(disk.join("cache")),
            "persistentMounts": [{"containerPath": text(&disk), "hostPath": "disk1"}],
        },
        "lifecycle": {"bootManifestPath": text(directory.join("none.yaml"))},
        "store": {"kind": "embedded", "path": text(directory.join("state.redb"))},
        "api": {"listen": listen},
    })
}

/// Pods that are deleted and made again until told to stop.
struct Churn {
    stop: Arc<AtomicBool>,
    work: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Churn {
    fn start(http: &Http, collection: &str, pods: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, http, collection) = (stop.clone(), http.clone(), collection.to_owned());
        let work = tokio::spawn(async move {
            let mut index = 0;
            while !told.load(Ordering::Relaxed) {
                let name = format!("p{}", index % pods);
                let url = format!("{collection}/{name}");
                http.delete(&url).await?;
                // The name is free once the pod is gone from the device.
                let new = pod(&name, IMAGE, &["serve"]);
                while http.post(&collection, &new).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                index += 1;
            }
            Ok(())
        });
        Self { stop, work }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await?
    }
}
