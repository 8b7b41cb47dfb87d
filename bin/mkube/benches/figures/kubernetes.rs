//! The same requests to mkube and to kube-apiserver with etcd, what a user would otherwise run. That one speaks TLS and nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::machine::{Running, median, millis, quantile, scratch_on_disk, text};
use crate::scale::Site;
use mkube_free_ports::free_port;

/// ConfigMaps in the long list, and bytes of text in each.
const MAPS: (usize, usize) = (1000, 1200);
/// Connections that ask and write at the same time.
const CLIENTS: usize = 8;
/// How long one of the two is asked before it is the other's turn.
const TURN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// Writes one after the other.
const WRITES: usize = 300;
/// Watchers that are told of a change, and changes.
const WATCHERS: (usize, usize) = (200, 50);

pub async fn run() -> anyhow::Result<()> {
    println!("## Beside kube-apiserver and etcd ({CLIENTS} connections; theirs are TLS)\n");
    let Some(folder) = found() else {
        println!("left out: no kube-apiserver here (scripts/kube-apiserver builds one)\n");
        return Ok(());
    };
    let site = Site::start().await?;
    let theirs = Theirs::start(&folder).await?;
    let ours = Side::of(&site.api, "", vec![&site.serve])?;
    let them = Side::of(&theirs.api, Theirs::TOKEN, vec![&theirs.server, &theirs.etcd])?;
    println!(
        "| | unit | mkube | kube-apiserver, etcd | ratio | mkube p50, p99 | theirs |\n|---|---|---|---|---|---|---|"
    );
    row("resident, nothing in it", "MiB", [ours.resident(), them.resident()]);
    one_writer([&ours, &them]).await?;
    many_writers([&ours, &them]).await?;
    let one = format!("{}/m-0-0", Side::MAPS);
    gets([&ours, &them], "get of a ConfigMap", &one).await?;
    let list = format!("list of {} ConfigMaps", MAPS.0 + WRITES);
    gets([&ours, &them], &list, Side::MAPS).await?;
    watchers([&ours, &them]).await?;
    row("resident afterwards", "MiB", [ours.resident(), them.resident()]);
    println!();
    drop((ours, them));
    theirs.stop();
    site.stop();
    Ok(())
}

fn row(what: &str, unit: &str, [ours, theirs]: [f64; 2]) {
    println!("| {what} | {unit} | {ours:.1} | {theirs:.1} | {:.2} | | |", ours / theirs);
}

fn timed(what: &str, unit: &str, rates: [f64; 2], times: [&mut Vec<Duration>; 2]) {
    let [ours, theirs] =
        times.map(|times| format!("{}, {}", millis(quantile(times, 0.5)), millis(quantile(times, 0.99))));
    println!(
        "| {what} | {unit} | {:.0} | {:.0} | {:.2} | {ours} | {theirs} |",
        rates[0],
        rates[1],
        rates[0] / rates[1]
    );
}

/// Where scripts/kube-apiserver has put it.
fn found() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| folder.join("kube-apiserver").is_file() && folder.join("etcd").is_file())
}

/// A kube-apiserver of its own with an etcd of its own.
struct Theirs {
    api: String,
    server: Running,
    etcd: Running,
    _directory: tempfile::TempDir,
}

impl Theirs {
    const TOKEN: &str = "figures";

    async fn start(folder: &Path) -> anyhow::Result<Self> {
        let directory = scratch_on_disk()?;
        let place = |name: &str| text(directory.path().join(name));
        let [client, peer, port] = [free_port(), free_port(), free_port()];
        let [store, peers] = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let cluster = format!("default={peers}");
        let etcd = Running::other(
            &folder.join("etcd"),
            &[
                "--data-dir",
                &place("etcd"),
                "--listen-client-urls",
                &store,
                "--advertise-client-urls",
                &store,
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster",
                &cluster,
            ],
        )?;
        std::fs::write(directory.path().join("tokens"), format!("{},figures,figures,system:masters\n", Self::TOKEN))?;
        let key = text(folder.join("service-accounts.key"));
        let words = [
            format!("--etcd-servers={store}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--cert-dir={}", place("certificates")),
            format!("--token-auth-file={}", place("tokens")),
            "--authorization-mode=AlwaysAllow".to_owned(),
            "--service-account-issuer=figures".to_owned(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = Running::other(&folder.join("kube-apiserver"), &words)?;
        let theirs = Self { api: format!("https://127.0.0.1:{port}"), server, etcd, _directory: directory };
        let side = Side::of(&theirs.api, Self::TOKEN, Vec::new())?;
        let end = Instant::now() + Duration::from_secs(60);
        // Its namespace `default` comes a moment after it is ready.
        while side.get("/api/v1/namespaces/default").await.is_err() {
            anyhow::ensure!(Instant::now() < end, "kube-apiserver is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(theirs)
    }

    fn stop(self) {
        self.server.stop();
        self.etcd.stop();
    }
}

/// One of the two, as a client and as processes.
struct Side<'p> {
    client: reqwest::Client,
    api: String,
    processes: Vec<&'p Running>,
}

impl<'p> Side<'p> {
    const MAPS: &'static str = "/api/v1/namespaces/default/configmaps";

    fn of(api: &str, token: &str, processes: Vec<&'p Running>) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
        // Its certificate is its own.
        let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).default_headers(headers);
        Ok(Self { client: client.http1_only().tcp_nodelay(true).build()?, api: api.to_owned(), processes })
    }

    fn resident(&self) -> f64 {
        self.processes.iter().map(|process| process.resident()).sum()
    }

    fn processor(&self) -> Duration {
        self.processes.iter().map(|process| process.processor()).sum()
    }

    async fn get(&self, path: &str) -> anyhow::Result<bytes::Bytes> {
        Ok(self.client.get(format!("{}{path}", self.api)).send().await?.error_for_status()?.bytes().await?)
    }

    async fn create(&self, name: &str) -> anyhow::Result<Duration> {
        let map = json!({"metadata": {"name": name}, "data": {"text": "x".repeat(MAPS.1)}});
        let begin = Instant::now();
        let answer = self.client.post(format!("{}{}", self.api, Self::MAPS)).json(&map).send().await?;
        answer.error_for_status()?.bytes().await?;
        Ok(begin.elapsed())
    }
}

/// In turns: the disk is not the same from one second to the next.
async fn one_writer(sides: [&Side<'_>; 2]) -> anyhow::Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..WRITES {
        for (side, times) in sides.iter().zip(&mut times) {
            times.push(side.create(&format!("w{number}")).await?);
        }
    }
    let rates = [0, 1].map(|side: usize| WRITES as f64 / times[side].iter().sum::<Duration>().as_secs_f64());
    let [ours, theirs] = &mut times;
    timed("create, one after the other", "writes/s", rates, [ours, theirs]);
    Ok(())
}

async fn many_writers(sides: [&Side<'_>; 2]) -> anyhow::Result<()> {
    let (mut rates, mut times) = ([0.0; 2], [Vec::new(), Vec::new()]);
    for (index, side) in sides.iter().enumerate() {
        let begin = Instant::now();
        let writing = (0..CLIENTS).map(async |writer| {
            let mut times = Vec::new();
            for number in 0..MAPS.0 / CLIENTS {
                times.push(side.create(&format!("m-{writer}-{number}")).await?);
            }
            anyhow::Ok(times)
        });
        for done in futures_util::future::join_all(writing).await {
            times[index].extend(done?);
        }
        rates[index] = times[index].len() as f64 / begin.elapsed().as_secs_f64();
    }
    let [ours, theirs] = &mut times;
    timed(&format!("create, {CLIENTS} at once"), "writes/s", rates, [ours, theirs]);
    Ok(())
}

async fn gets(sides: [&Side<'_>; 2], what: &str, path: &str) -> anyhow::Result<()> {
    let (mut rates, mut times, mut each) = ([vec![], vec![]], [vec![], vec![]], [0.0; 2]);
    for _ in 0..ROUNDS {
        for (index, side) in sides.iter().enumerate() {
            let (begin, before, already) = (Instant::now(), side.processor(), times[index].len());
            let asking = (0..CLIENTS).map(async |_| {
                let mut times = Vec::new();
                while begin.elapsed() < TURN {
                    let asked = Instant::now();
                    side.get(path).await?;
                    times.push(asked.elapsed());
                }
                anyhow::Ok(times)
            });
            for done in futures_util::future::join_all(asking).await {
                times[index].extend(done?);
            }
            let count = (times[index].len() - already) as f64;
            rates[index].push(count / begin.elapsed().as_secs_f64());
            each[index] = (side.processor() - before).as_secs_f64() * 1e6 / count;
        }
    }
    let [ours, theirs] = &mut times;
    timed(what, "req/s", [median(&rates[0]), median(&rates[1])], [ours, theirs]);
    row(&format!("processor time of one: {what}"), "µs", each);
    Ok(())
}

/// One change and those who watch: how long until the last of them has it.
async fn watchers(sides: [&Side<'_>; 2]) -> anyhow::Result<()> {
    let (mut last, mut memory) = ([Vec::new(), Vec::new()], [0.0; 2]);
    for (index, side) in sides.iter().enumerate() {
        let list: Value = serde_json::from_slice(&side.get(Side::MAPS).await?)?;
        let revision = list["metadata"]["resourceVersion"].as_str().context("a list has one")?;
        let before = side.resident();
        let (heard, mut all) = mpsc::unbounded_channel();
        let mut watching = tokio::task::JoinSet::new();
        let path = format!("{}{}?watch=true&resourceVersion={revision}", side.api, Side::MAPS);
        for _ in 0..WATCHERS.0 {
            // One connection each, as of so many programs.
            let other = Side::of(&side.api, Theirs::TOKEN, Vec::new())?;
            let (mut body, heard) = (other.client.get(&path).send().await?.error_for_status()?, heard.clone());
            watching.spawn(async move {
                let _client = other;
                while let Ok(Some(more)) = body.chunk().await {
                    for _ in more.iter().filter(|byte| **byte == b'\n') {
                        let _ = heard.send(Instant::now());
                    }
                }
            });
        }
        memory[index] = (side.resident() - before) * 1024.0 / WATCHERS.0 as f64;
        for change in 0..WATCHERS.1 {
            let begin = Instant::now();
            side.create(&format!("watched{change}")).await?;
            let mut latest = begin;
            for _ in 0..WATCHERS.0 {
                let at = tokio::time::timeout(Duration::from_secs(10), all.recv()).await?.context("they watch")?;
                latest = latest.max(at);
            }
            last[index].push(latest - begin);
        }
    }
    row(&format!("memory of one of {} idle watchers", WATCHERS.0), "KiB", memory);
    let [mut ours, mut theirs] = last;
    let middle = [&mut ours, &mut theirs].map(|times| quantile(times, 0.5).as_secs_f64() * 1000.0);
    timed(&format!("one change to the last of {} watchers", WATCHERS.0), "ms", middle, [&mut ours, &mut theirs]);
    Ok(())
}
