//! An image of 1 GiB from our registry into the archive RouterOS unpacks, the way a pod asks for it: against reading, hashing and
//! copying the same bytes, and against skopeo from the same registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::images::{Content, Image, Packing};
use crate::machine::{Http, Running, mebibytes_per_second, median, pod, scratch_on_disk, settle_disk, text};
use crate::registry_peers::Peer;
use mkube_free_ports::free_address;

const GIB: usize = 1 << 30;
const ROUNDS: usize = 3;
/// The longest one pull may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What one round measured; rates in MiB of archive a second.
struct Round {
    ours: f64,
    sum_and_copy: f64,
    sum_and_lasting_copy: f64,
    skopeo: Option<f64>,
    /// MiB.
    idle: f64,
    /// MiB.
    above_idle: f64,
}

/// Takes the figures.
pub async fn run() -> anyhow::Result<()> {
    println!(
        "## Pull and conversion of a 1 GiB image of 4 layers (medians of {ROUNDS} rounds, rates in MiB/s of archive)\n"
    );
    println!(
        "| image | as packed | mkube | sha256sum + cp | ratio | sha256sum + cp + sync | ratio | skopeo | ratio | idle RSS | RSS above idle |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let registry = Peer::Ours.start().await?;
    let cases = [
        ("random, tar", Content::Random, Packing::Tar),
        ("random, gzip", Content::Random, Packing::Gzip),
        ("compressible, tar", Content::Compressible, Packing::Tar),
        ("compressible, gzip", Content::Compressible, Packing::Gzip),
    ];
    for (index, (name, content, packing)) in cases.into_iter().enumerate() {
        let tag = format!("case{index}");
        let packed = {
            let image = Image::new(index as u64 * 10 + 1, GIB, content, packing)?;
            image.push(&registry.client, "big", &tag).await?;
            image.packed_bytes()
        };
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&registry.address, &tag).await?);
        }
        print(name, packed, &rounds);
    }
    println!();
    registry.process.stop();
    Ok(())
}

fn print(name: &str, packed: usize, rounds: &[Round]) {
    let of = |pick: fn(&Round) -> f64| median(&rounds.iter().map(pick).collect::<Vec<f64>>());
    let ours = of(|round| round.ours);
    let (copy, lasting) = (of(|round| round.sum_and_copy), of(|round| round.sum_and_lasting_copy));
    let skopeo: Vec<f64> = rounds.iter().filter_map(|round| round.skopeo).collect();
    let (skopeo, ratio) = match median(&skopeo) {
        rate if rate.is_nan() => ("not installed".to_owned(), String::new()),
        rate => (format!("{rate:.0}"), format!("{:.2}", ours / rate)),
    };
    println!(
        "| {name} | {} MiB | {ours:.0} | {copy:.0} | {:.2} | {lasting:.0} | {:.2} | {skopeo} | {ratio} | {:.1} MiB | {:.1} MiB |",
        packed >> 20,
        ours / copy,
        ours / lasting,
        of(|round| round.idle),
        rounds.iter().map(|round| round.above_idle).fold(0.0, f64::max),
    );
}

async fn round(registry: &str, tag: &str) -> anyhow::Result<Round> {
    let directory = scratch_on_disk()?;
    settle_disk();
    let pulled = pull(registry, tag, directory.path()).await?;
    let archive = std::fs::metadata(&pulled.archive).with_context(|| text(&pulled.archive))?;
    let bytes = usize::try_from(archive.len())?;
    let rate = |took| mebibytes_per_second(bytes, took);

    let copy = directory.path().join("copy");
    let (from, to) = (text(&pulled.archive), text(&copy));
    settle_disk();
    let begin = Instant::now();
    command("sha256sum", &[&from])?;
    command("cp", &[&from, &to])?;
    let sum_and_copy = rate(begin.elapsed());
    command("sync", &[&to])?;
    let sum_and_lasting_copy = rate(begin.elapsed());
    std::fs::remove_file(&copy)?;

    let target = directory.path().join("skopeo.tar");
    let words = [
        "--insecure-policy".to_owned(),
        "copy".to_owned(),
        "--quiet".to_owned(),
        "--src-tls-verify=false".to_owned(),
        format!("docker://{registry}/big:{tag}"),
        format!("docker-archive:{}", target.display()),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let skopeo = if crate::machine::is_installed("skopeo") {
        settle_disk();
        let begin = Instant::now();
        command("skopeo", &words)?;
        Some(rate(begin.elapsed()))
    } else {
        None
    };
    Ok(Round {
        ours: rate(pulled.took),
        sum_and_copy,
        sum_and_lasting_copy,
        skopeo,
        idle: pulled.idle,
        above_idle: pulled.peak - pulled.idle,
    })
}

fn command(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    let ended = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let ended = ended.with_context(|| program.to_owned())?;
    ensure!(ended.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}

struct Pulled {
    archive: PathBuf,
    /// From the POST of the pod to the archive under its name.
    took: Duration,
    /// MiB before.
    idle: f64,
    /// MiB at most meanwhile.
    peak: f64,
}

/// `mkube serve` against a simulated host, and one pod that names the image.
async fn pull(registry: &str, tag: &str, directory: &Path) -> anyhow::Result<Pulled> {
    let host_listen = free_address();
    let listen = free_address();
    let host_data = directory.join("host");
    let host_words = ["host", "--engine", "simulated", "--data-dir", &text(&host_data), "--listen", &host_listen];
    let host = Running::start(&host_words)?;
    let cache = host_data.join("disk1/cache");
    std::fs::create_dir_all(&cache)?;
    let config = directory.join("config.yaml");
    std::fs::write(&config, serve_config(&host_listen, &listen, registry, directory).to_string())?;
    let serve = Running::quiet(&["serve", "--config", &text(&config)])?;
    let http = Http::new()?;
    let node = format!("http://{listen}/api/v1/nodes/node");
    http.until(&node, Duration::from_secs(30), crate::machine::runs).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = serve.resident();
    serve.forget_peak()?;
    let pods = format!("http://{listen}/api/v1/namespaces/default/pods");
    let begin = Instant::now();
    http.post(&pods, &pod("big", &format!("{registry}/big:{tag}"), &["serve"])).await?;
    let archive = loop {
        if let Some(archive) = archive_in(&cache) {
            break archive;
        }
        if begin.elapsed() > PATIENCE {
            let pod = http.get(&format!("{pods}/big")).await?;
            bail!("no archive within {PATIENCE:?}: {}", pod["status"]);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let took = begin.elapsed();
    http.until(&format!("{pods}/big"), Duration::from_secs(30), crate::machine::runs).await?;
    let peak = serve.peak();
    serve.stop();
    host.stop();
    Ok(Pulled { archive, took, idle, peak })
}

/// The archive, once it has its name: what is on its way is hidden.
fn archive_in(cache: &Path) -> Option<PathBuf> {
    // What lies there comes and goes meanwhile.
    let mut names = std::fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let name = names.find(|name| name.to_str().is_some_and(|name| name.ends_with(".tar") && !name.starts_with('.')))?;
    Some(cache.join(name))
}

fn serve_config(host: &str, listen: &str, registry: &str, directory: &Path) -> Value {
    let disk = directory.join("host/disk1");
    json!({
        "nodeName": "node", "standalone": true,
        "routeros": {"restUrl": format!("http://{host}/rest"), "user": "admin"},
        "networks": [{"name": "gt", "cidr": "10.96.0.0/16", "gateway": "10.96.0.1", "bridge": "bridge-gt", "managed": true}],
        "storage": {
            "basePath": "/disk1/images", "tarballCache": text(disk.join("cache")),
            "persistentMounts": [{"containerPath": text(&disk), "hostPath": "disk1"}],
        },
        "images": {"registries": [{"host": registry, "plainHTTP": true}], "architecture": crate::images::ARCHITECTURE},
        "lifecycle": {"bootManifestPath": text(directory.join("none.yaml"))},
        "store": {"kind": "embedded", "path": text(directory.join("state.redb"))},
        "api": {"listen": listen},
    })
}
