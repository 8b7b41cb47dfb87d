//! The API beside the floor of its framework: gets, lists, watchers and writes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::floor::Floor;
use crate::machine::{median, millis, pod, quantile, runs, scratch_on_disk};
use crate::scale::{IMAGE, Site};
use mkube_free_ports::free_address;

/// Pods of the long list.
const PODS: usize = 1000;
/// Connections that ask.
const CLIENTS: usize = 8;
/// How long one of the two is asked before it is the other's turn.
const TURN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// Watchers that do nothing.
const IDLE: usize = 2000;
/// Watchers of many changes, how many changes, and how many writers.
const BUSY: (usize, usize, usize) = (100, 10_000, 32);
/// Writes, one after the other.
const WRITES: usize = 500;

pub async fn run() -> anyhow::Result<()> {
    println!("## The API beside a bare actix-web server ({CLIENTS} connections, both on one thread)\n");
    let site = Site::start().await?;
    let pods = format!("{}/api/v1/namespaces/default/pods", site.api);
    for index in 0..PODS {
        site.http.post(&pods, &pod(&format!("p{index}"), IMAGE, &["serve"])).await?;
    }
    let all =
        |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == PODS && items.iter().all(runs));
    site.http.until(&pods, Duration::from_secs(600), all).await?;
    let listen = free_address();
    let floor = Floor::start(&listen).await?;
    let ours = site.api.trim_start_matches("http://").to_owned();
    println!(
        "| | unit | mkube | floor | ratio | mkube p50 | mkube p99 | floor p99 |\n|---|---|---|---|---|---|---|---|"
    );
    let one = "/api/v1/namespaces/default/pods/p7";
    let list = "/api/v1/namespaces/default/pods";
    compare("get of a pod", (&ours, one), (&listen, "/one")).await?;
    compare("list of 1,000 pods", (&ours, list), (&listen, "/list")).await?;
    hanging(&site, &ours, one).await?;
    idle(&site, &ours, &floor, &listen).await?;
    busy(&site, &ours).await?;
    writes(&ours).await?;
    site.stop();
    Ok(())
}

/// What one side did in its turns.
#[derive(Default)]
struct Side {
    rates: Vec<f64>,
    times: Vec<Duration>,
}

async fn compare(what: &str, ours: (&str, &str), floor: (&str, &str)) -> anyhow::Result<()> {
    let (mut here, mut there) = (Side::default(), Side::default());
    for _ in 0..ROUNDS {
        load(&mut here, ours).await?;
        load(&mut there, floor).await?;
    }
    let (rate, bound) = (median(&here.rates), median(&there.rates));
    println!(
        "| {what} | req/s | {rate:.0} | {bound:.0} | {:.2} | {} | {} | {} |",
        rate / bound,
        fine(quantile(&mut here.times, 0.5)),
        fine(quantile(&mut here.times, 0.99)),
        fine(quantile(&mut there.times, 0.99)),
    );
    Ok(())
}

fn fine(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// Asks for the same again and again, over several connections.
async fn load(side: &mut Side, (address, path): (&str, &str)) -> anyhow::Result<()> {
    let begin = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, path) = (address.to_owned(), path.to_owned());
            std::thread::spawn(move || -> anyhow::Result<Vec<Duration>> {
                let mut connection = Connection::open(&address)?;
                let mut times = Vec::new();
                while begin.elapsed() < TURN {
                    let asked = Instant::now();
                    connection.get(&path)?;
                    times.push(asked.elapsed());
                }
                Ok(times)
            })
        })
        .collect();
    let before = side.times.len();
    for client in clients {
        side.times.extend(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    side.rates.push((side.times.len() - before) as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}

/// A connection that is used again and again, and costs its side as little as can be.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 << 10] })
    }

    fn get(&mut self, path: &str) -> anyhow::Result<()> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"))
    }

    fn post(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn patch(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let length = body.len();
        self.ask(&format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/merge-patch+json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends a request and reads its answer to the end.
    fn ask(&mut self, request: &str) -> anyhow::Result<()> {
        self.stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        let (head, length) = loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                bail!("the server went");
            }
            filled += count;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                if !head.starts_with("http/1.1 20") {
                    bail!("{head}: {}", String::from_utf8_lossy(&self.buffer[end..filled]));
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                break (end + 4, length.context("a length")?.trim().parse::<usize>()?);
            }
        };
        let mut left = (head + length).saturating_sub(filled);
        while left > 0 {
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                bail!("the server went in the middle");
            }
            left = left.saturating_sub(count);
        }
        Ok(())
    }
}

/// Gets while the device answers nothing.
async fn hanging(site: &Site, ours: &str, path: &str) -> anyhow::Result<()> {
    let faults = site.calls.replace("/calls", "/faults");
    site.http.put(&faults, &json!([{"match": {}, "delay": "30s"}])).await?;
    // Long enough for the next reading of the device to hang.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut side = Side::default();
    for _ in 0..ROUNDS {
        load(&mut side, (ours, path)).await?;
    }
    site.http.put(&faults, &json!([])).await?;
    println!(
        "| get of a pod while every call of the device hangs 30 s | req/s | {:.0} | | | {} | {} | |",
        median(&side.rates),
        fine(quantile(&mut side.times, 0.5)),
        fine(quantile(&mut side.times, 0.99)),
    );
    Ok(())
}

/// Opens connections on which little is said.
async fn waiting(address: &str, path: &str, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")?;
        let mut first = [0; 512];
        let _ = stream.read(&mut first)?;
        open.push(stream);
    }
    Ok(open)
}

async fn revision(site: &Site) -> anyhow::Result<String> {
    let list = site.http.get(&format!("{}/api/v1/namespaces/default/configmaps", site.api)).await?;
    Ok(list["metadata"]["resourceVersion"].as_str().context("a list has one")?.to_owned())
}

async fn idle(site: &Site, ours: &str, floor: &Floor, bare: &str) -> anyhow::Result<()> {
    let watch = format!("/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={}", revision(site).await?);
    let (before, under) = (site.serve.resident() * 1024.0, floor.resident());
    let watchers = waiting(ours, &watch, IDLE).await?;
    let idlers = waiting(bare, "/idle", IDLE).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = |kib: f64| kib / IDLE as f64;
    let (here, there) = (each(site.serve.resident() * 1024.0 - before), each(floor.resident() - under));
    println!("| memory of one of {IDLE} idle watchers | KiB | {here:.1} | {there:.1} | {:.2} | | | |", here / there);
    drop((watchers, idlers));
    Ok(())
}

/// Many watchers of many changes: whether each hears of all, and how quickly they come.
async fn busy(site: &Site, ours: &str) -> anyhow::Result<()> {
    let (watchers, changes, writers) = BUSY;
    let maps = "/api/v1/namespaces/default/configmaps";
    for writer in 0..writers {
        let body = json!({"metadata": {"name": format!("busy{writer}")}, "data": {"text": "x".repeat(1000)}});
        site.http.post(&format!("{}{maps}", site.api), &body).await?;
    }
    let path = format!("{maps}?watch=true&resourceVersion={}", revision(site).await?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut hearing = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        let mut body = client.get(format!("{}{path}", site.api)).send().await?.error_for_status()?;
        hearing.spawn(async move {
            let mut lines = 0;
            while lines < changes {
                match tokio::time::timeout(Duration::from_secs(20), body.chunk()).await {
                    Ok(Ok(Some(chunk))) => lines += chunk.iter().filter(|byte| **byte == b'\n').count(),
                    _ => break,
                }
            }
            lines
        });
    }
    let begin = Instant::now();
    let writing: Vec<_> = (0..writers)
        .map(|writer| {
            let (address, path) = (ours.to_owned(), format!("{maps}/busy{writer}"));
            let share = changes / writers + usize::from(writer < changes % writers);
            std::thread::spawn(move || -> anyhow::Result<()> {
                let mut connection = Connection::open(&address)?;
                for number in 0..share {
                    connection.patch(&path, &format!("{{\"data\":{{\"number\":\"{number}\"}}}}"))?;
                }
                Ok(())
            })
        })
        .collect();
    let mut heard = Vec::new();
    while let Some(lines) = hearing.join_next().await {
        heard.push(lines?);
    }
    let took = begin.elapsed();
    for writer in writing {
        writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
    }
    let lost: usize = heard.iter().map(|lines| changes.saturating_sub(*lines)).sum();
    let rate = changes as f64 / took.as_secs_f64();
    println!(
        "| changes to each of {watchers} watchers, until the last has the last of {changes} | changes/s | {rate:.0} | | | | | |"
    );
    println!("| lost of them | events | {lost} | | | | | |");
    Ok(())
}

/// Durable creates beside bare commits: a line and a sync.
async fn writes(ours: &str) -> anyhow::Result<()> {
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = |name: &str| json!({"metadata": {"name": name}, "data": {"text": "x".repeat(1200)}}).to_string();
    let directory = scratch_on_disk()?;
    let mut file = std::fs::File::create(directory.path().join("commits"))?;
    let mut connection = Connection::open(ours)?;
    let (mut bare, mut times) = (Vec::new(), Vec::new());
    // In turns: the disk is not the same from one second to the next.
    for number in 0..WRITES {
        let begin = Instant::now();
        file.write_all(&[b'x'; 1500])?;
        file.sync_data()?;
        bare.push(begin.elapsed());
        let text = body(&format!("w{number}"));
        let begin = Instant::now();
        connection.post(maps, &text)?;
        times.push(begin.elapsed());
    }
    let rate = |times: &[Duration]| times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let (one, raw) = (rate(&times), rate(&bare));
    println!(
        "| durable create, one after the other, beside bare commits | writes/s | {one:.0} | {raw:.0} | {:.2} | {} | {} | {} |",
        one / raw,
        millis(quantile(&mut times, 0.5)),
        millis(quantile(&mut times, 0.99)),
        millis(quantile(&mut bare, 0.99))
    );
    for writers in [8usize, 64] {
        let begin = Instant::now();
        let each = 4000 / writers;
        let writing: Vec<_> = (0..writers)
            .map(|writer| {
                let address = ours.to_owned();
                let texts: Vec<String> =
                    (0..each).map(|number| body(&format!("g{writers}-{writer}-{number}"))).collect();
                std::thread::spawn(move || -> anyhow::Result<()> {
                    let mut connection = Connection::open(&address)?;
                    texts.iter().try_for_each(|text| connection.post(maps, text))
                })
            })
            .collect();
        for writer in writing {
            writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        let many = (writers * each) as f64 / begin.elapsed().as_secs_f64();
        println!(
            "| durable create, {writers} writers, beside bare commits one after the other | writes/s | {many:.0} | {raw:.0} | {:.2} | | | |",
            many / raw
        );
    }
    println!();
    Ok(())
}
