//! `mkube registry` against Debian's docker-registry: the same client, the same bytes, taking turns.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};

use crate::limits;
use crate::machine::{mebibytes_per_second, median, settle_disk};
use crate::registry_client::{Blob, RegistryClient, Way, random_blobs};
use crate::registry_peers::{Peer, RunningRegistry, docker_registry};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Blobs of a push of many.
const SMALL: usize = 1000;
/// Looks at each registry; the median counts.
const ROUNDS: usize = 3;
/// Clients that ask small questions at once.
const CLIENTS: usize = 8;
/// Small questions of one look.
const QUESTIONS: usize = 8_000;
/// Clients that pull one image at once.
const PULLERS: usize = 200;

/// What was measured for one row: the figure, and the seconds of processor time the registry itself needed for it.
#[derive(Clone, Copy)]
struct Look {
    figure: f64,
    processor: f64,
}

/// Figures of one registry: row to what each round measured.
type Figures = BTreeMap<usize, Vec<Look>>;

/// Rows in the order of the table, each with its unit.
const ROWS: [(&str, &str); 17] = [
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
    ("peak RSS (VmHWM) before the 200 pullers", "MiB"),
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
            let mut measuring = Measuring { peer: peers[index], registry: &registry, figures: &mut figures[index] };
            let taken = one_round(&mut measuring, round as u64).await;
            registry.process.stop();
            taken?;
        }
    }
    print(&peers, &figures);
    Ok(())
}

fn print(peers: &[Peer], figures: &[Figures]) {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    let processors: Vec<String> = names.iter().map(|name| format!("processor s, {name}")).collect();
    println!("| | unit | {} | ratio | {} |", names.join(" | "), processors.join(" | "));
    println!("|---|---|{}---|", "---|".repeat(peers.len() * 2));
    for (row, (name, unit)) in ROWS.iter().enumerate() {
        let of = |pick: fn(&Look) -> f64| -> Vec<f64> {
            let looks = figures.iter().map(|all| all.get(&row).map(Vec::as_slice).unwrap_or_default());
            looks.map(|looks| median(&looks.iter().map(pick).collect::<Vec<f64>>())).collect()
        };
        let values = of(|look| look.figure);
        let cells: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
        let ratio = match values.as_slice() {
            [ours, theirs] if *theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => String::new(),
        };
        let processors: Vec<String> = of(|look| look.processor).iter().map(|value| format!("{value:.2}")).collect();
        println!("| {name} | {unit} | {} | {ratio} | {} |", cells.join(" | "), processors.join(" | "));
    }
    println!();
}

/// One registry that is being measured.
struct Measuring<'a> {
    peer: Peer,
    registry: &'a RunningRegistry,
    figures: &'a mut Figures,
}

impl Measuring<'_> {
    /// Measures one row; `figure` makes of the time what the row shows.
    async fn look(
        &mut self,
        row: usize,
        figure: impl Fn(Duration) -> f64,
        work: impl Future<Output = anyhow::Result<Duration>>,
    ) -> anyhow::Result<()> {
        let before = self.registry.process.processor();
        let took = work.await.with_context(|| format!("{}: {}", self.peer.name(), ROWS[row].0))?;
        let processor = (self.registry.process.processor() - before).as_secs_f64();
        self.note(row, Look { figure: figure(took), processor });
        Ok(())
    }

    fn note(&mut self, row: usize, look: Look) {
        // The medians come at the end; whoever waits sees that something happens.
        eprintln!("{}: {}: {:.0} {}", self.peer.name(), ROWS[row].0, look.figure, ROWS[row].1);
        self.figures.entry(row).or_default().push(look);
    }
}

async fn one_round(measuring: &mut Measuring<'_>, round: u64) -> anyhow::Result<()> {
    let client = &measuring.registry.client;
    let seed = (round + 1) * 100;
    let rate = |bytes: usize| move |took: Duration| mebibytes_per_second(bytes, took);
    let count = |count: usize| move |took: Duration| count as f64 / took.as_secs_f64();

    let pushes = [(0, 1, Way::Monolithic), (1, 4, Way::Monolithic), (2, 4, Way::Streamed), (3, 4, Way::Ranges)];
    let mut layers = Vec::new();
    for (row, at_once, way) in pushes {
        // Those of the push before are let go first.
        layers.clear();
        layers = random_blobs(seed + row as u64, 4, GIB / 4);
        settle_disk();
        measuring.look(row, rate(GIB), push_all(client, "large", &layers, at_once, way)).await?;
    }
    measuring.look(8, rate(GIB), pull_all(client, "large", &layers, 1)).await?;
    measuring.look(9, rate(GIB), pull_all(client, "large", &layers, 4)).await?;
    drop(layers);
    for (row, way) in [(4, Way::Monolithic), (5, Way::Streamed)] {
        let blobs = random_blobs(seed + row as u64, SMALL, MIB);
        settle_disk();
        measuring.look(row, rate(SMALL * MIB), push_all(client, "small", &blobs, 4, way)).await?;
        if row == 5 {
            measuring.look(10, rate(SMALL * MIB), pull_all(client, "small", &blobs, CLIENTS)).await?;
        }
    }
    for (row, way) in [(6, Way::Monolithic), (7, Way::Streamed)] {
        let blobs = random_blobs(seed + row as u64, SMALL, 4096);
        settle_disk();
        measuring.look(row, count(SMALL), push_all(client, "small", &blobs, 4, way)).await?;
    }

    let image = Image::push(client, seed + 90).await?;
    let manifests = |client: RegistryClient| async move { client.manifest("image", "one").await.map(drop) };
    measuring.look(11, count(QUESTIONS), questions(client, manifests)).await?;
    measuring.look(12, count(QUESTIONS), questions(client, |client| async move { client.ping().await })).await?;
    let peak = |measuring: &mut Measuring<'_>, row| {
        let process = &measuring.registry.process;
        let look = Look { figure: process.peak(), processor: process.processor().as_secs_f64() };
        measuring.note(row, look);
    };
    peak(measuring, 15);
    let mut errors = 0;
    let many = async {
        let (took, failed) = image.pull_by_many(client).await?;
        errors = failed;
        Ok(took)
    };
    measuring.look(13, rate(PULLERS * Image::SIZE), many).await?;
    measuring.note(14, Look { figure: errors as f64, processor: 0.0 });
    peak(measuring, 16);
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

/// Asks small questions.
async fn questions<F: Future<Output = anyhow::Result<()>>>(
    client: &RegistryClient,
    ask: impl Fn(RegistryClient) -> F,
) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let asked = futures_util::stream::iter((0..QUESTIONS).map(|_| ask(client.clone())));
    asked.buffer_unordered(CLIENTS).try_collect::<Vec<()>>().await?;
    Ok(begin.elapsed())
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
