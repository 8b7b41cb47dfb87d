//! `mkube registry` against Debian's docker-registry: the same client, the same bytes, taking turns.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};

use crate::limits;
use crate::machine::{mebibytes_per_second, median, settle_disk};
use crate::registry_client::{Blob, RegistryClient, Way, random_blobs};
use crate::registry_peers::{Peer, RunningRegistry, docker_registry};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Looks at each registry; the median counts.
const ROUNDS: usize = 3;
/// Clients that ask small questions at once.
const CLIENTS: usize = 8;
/// Small questions of one look.
const QUESTIONS: usize = 8_000;
/// Clients that pull one image at once.
const PULLERS: usize = 200;

/// Figures of one registry: name of the row to what each round measured.
type Figures = BTreeMap<&'static str, Vec<f64>>;

/// Rows in the order of the table, each with its unit.
const ROWS: [(&str, &str); 16] = [
    ("push 1 GiB, 4 layers in turn, monolithic", "MiB/s"),
    ("push 1 GiB, 4 layers at once, monolithic", "MiB/s"),
    ("push 1 GiB, 4 layers at once, streamed", "MiB/s"),
    ("push 1 GiB, 4 layers at once, ranges of 16 MiB", "MiB/s"),
    ("push 1,000 blobs of 1 MiB, 4 at once, monolithic", "MiB/s"),
    ("push 1,000 blobs of 1 MiB, 4 at once, streamed", "MiB/s"),
    ("push 1,000 blobs of 4 KiB, 4 at once, monolithic", "blobs/s"),
    ("push 1,000 blobs of 4 KiB, 4 at once, streamed", "blobs/s"),
    ("pull 1 GiB, 4 layers in turn", "MiB/s"),
    ("pull 1 GiB, 4 layers at once", "MiB/s"),
    ("pull 1,000 blobs of 1 MiB, 8 at once", "MiB/s"),
    ("manifest GET, 8 clients", "req/s"),
    ("GET /v2/, 8 clients", "req/s"),
    ("200 pullers of a 10 MiB image at once", "MiB/s"),
    ("200 pullers, errors", "errors"),
    ("peak RSS (VmHWM) of the whole round", "MiB"),
];

/// Takes the figures.
pub async fn run() -> anyhow::Result<()> {
    println!("## Registry: `mkube registry` against docker-registry (medians of {ROUNDS} rounds, taking turns)\n");
    let mut peers = vec![Peer::Ours];
    match docker_registry() {
        Some(_) => peers.push(Peer::Docker),
        None => println!("docker-registry is not installed (scripts/bench gets it): no comparison\n"),
    }
    let pieces: Vec<Bytes> = random_blobs(1, 4, GIB / 4).into_iter().map(|blob| blob.bytes).collect();
    limits::print(&pieces)?;
    drop(pieces);
    let mut figures: Vec<Figures> = peers.iter().map(|_| Figures::new()).collect();
    for round in 0..ROUNDS {
        // Who begins changes, so that nobody always finds the warmer machine.
        let mut order: Vec<usize> = (0..peers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            settle_disk();
            let registry = peers[index].start().await?;
            let taken = one_round(&registry, round as u64, &mut figures[index]).await;
            registry.process.stop();
            taken?;
        }
    }
    print(&peers, &figures);
    Ok(())
}

fn print(peers: &[Peer], figures: &[Figures]) {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    println!("| | unit | {} | ratio |\n|---|---|{}---|", names.join(" | "), "---|".repeat(peers.len()));
    for (row, unit) in ROWS {
        let values: Vec<f64> =
            figures.iter().map(|all| median(all.get(row).map(Vec::as_slice).unwrap_or_default())).collect();
        let cells: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
        let ratio = match values.as_slice() {
            [ours, theirs] if *theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => String::new(),
        };
        println!("| {row} | {unit} | {} | {ratio} |", cells.join(" | "));
    }
    println!();
}

async fn one_round(registry: &RunningRegistry, round: u64, figures: &mut Figures) -> anyhow::Result<()> {
    let client = &registry.client;
    let mut note = |row: &'static str, value: f64| figures.entry(row).or_default().push(value);
    let seed = (round + 1) * 100;

    let pushes = [(0, 1, Way::Monolithic), (1, 4, Way::Monolithic), (2, 4, Way::Streamed), (3, 4, Way::Ranges)];
    let mut layers = Vec::new();
    for (row, at_once, way) in pushes {
        layers = random_blobs(seed + row as u64, 4, GIB / 4);
        settle_disk();
        note(ROWS[row].0, mebibytes_per_second(GIB, push_all(client, "large", &layers, at_once, way).await?));
    }
    for (row, size, way) in
        [(4, MIB, Way::Monolithic), (5, MIB, Way::Streamed), (6, 4096, Way::Monolithic), (7, 4096, Way::Streamed)]
    {
        let blobs = random_blobs(seed + row as u64, 1000, size);
        settle_disk();
        let took = push_all(client, "small", &blobs, 4, way).await?;
        let bytes = 1000 * size;
        note(ROWS[row].0, if size == MIB { mebibytes_per_second(bytes, took) } else { 1000.0 / took.as_secs_f64() });
        if row == 4 {
            note(ROWS[10].0, mebibytes_per_second(bytes, pull_all(client, "small", &blobs, CLIENTS).await?));
        }
    }
    note(ROWS[8].0, mebibytes_per_second(GIB, pull_all(client, "large", &layers, 1).await?));
    note(ROWS[9].0, mebibytes_per_second(GIB, pull_all(client, "large", &layers, 4).await?));
    drop(layers);

    let image = Image::push(client, seed + 90).await?;
    let manifests = |client: RegistryClient| async move { client.manifest("image", "one").await.map(drop) };
    note(ROWS[11].0, questions(client, manifests).await?);
    note(ROWS[12].0, questions(client, |client| async move { client.ping().await }).await?);
    let (took, errors) = image.pull_by_many(client).await?;
    note(ROWS[13].0, mebibytes_per_second(PULLERS * Image::SIZE, took));
    note(ROWS[14].0, errors as f64);
    note(ROWS[15].0, registry.process.peak());
    Ok(())
}

async fn push_all(
    client: &RegistryClient,
    repository: &str,
    blobs: &[Blob],
    at_once: usize,
    way: Way,
) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let pushes = futures_util::stream::iter(blobs.iter().map(|blob| client.push(repository, blob, way)));
    pushes.buffer_unordered(at_once).try_collect::<Vec<()>>().await?;
    Ok(begin.elapsed())
}

async fn pull_all(
    client: &RegistryClient,
    repository: &str,
    blobs: &[Blob],
    at_once: usize,
) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let pulls = futures_util::stream::iter(blobs.iter().map(|blob| client.pull(repository, blob, false)));
    pulls.buffer_unordered(at_once).try_collect::<Vec<()>>().await?;
    Ok(begin.elapsed())
}

/// Small questions a second.
async fn questions<F: Future<Output = anyhow::Result<()>>>(
    client: &RegistryClient,
    ask: impl Fn(RegistryClient) -> F,
) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let asked = futures_util::stream::iter((0..QUESTIONS).map(|_| ask(client.clone())));
    asked.buffer_unordered(CLIENTS).try_collect::<Vec<()>>().await?;
    Ok(QUESTIONS as f64 / begin.elapsed().as_secs_f64())
}

/// An image that many pull at once.
struct Image {
    config: Blob,
    layer: Blob,
}

impl Image {
    const SIZE: usize = 10 * MIB;

    async fn push(client: &RegistryClient, seed: u64) -> anyhow::Result<Self> {
        let config =
            Blob::new(Bytes::from(r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#));
        let mut layers = random_blobs(seed, 1, Self::SIZE);
        let image = Self { config, layer: layers.remove(0) };
        for blob in [&image.config, &image.layer] {
            client.push("image", blob, Way::Monolithic).await?;
        }
        let layers = [image.layer.descriptor("application/vnd.oci.image.layer.v1.tar")];
        client.tag("image", "one", &image.config, &layers).await?;
        Ok(image)
    }

    /// Everybody pulls manifest, config and layer, on a connection of their own, and verifies the bytes; answers the time and how
    /// many failed.
    async fn pull_by_many(&self, registry: &RegistryClient) -> anyhow::Result<(Duration, usize)> {
        let errors = Arc::new(AtomicUsize::new(0));
        let mut pulls = tokio::task::JoinSet::new();
        let begin = Instant::now();
        for _ in 0..PULLERS {
            let (client, errors) = (registry.another()?, errors.clone());
            let (config, layer) = (self.config.clone(), self.layer.clone());
            pulls.spawn(async move {
                let pulled = async {
                    client.manifest("image", "one").await?;
                    client.pull("image", &config, true).await?;
                    client.pull("image", &layer, true).await
                };
                if let Err(error) = pulled.await {
                    eprintln!("a puller failed: {error:#}");
                    errors.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(pulled) = pulls.join_next().await {
            pulled?;
        }
        Ok((begin.elapsed(), errors.load(Ordering::Relaxed)))
    }
}
