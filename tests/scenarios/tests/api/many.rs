//! Many clients, slow clients, and clients that leave: others are served, and nothing stays behind.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mkube_edges::HttpLimits;
use mkube_scenarios::{Setup, World};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::{JSON, MAPS, map, quiet};

const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that are opened at the same time.
const TOGETHER: usize = 64;

/// Opens connections and says something on each.
async fn open(address: SocketAddr, count: usize, words: &str) -> anyhow::Result<Vec<TcpStream>> {
    let opened = stream::iter(0..count).map(|_| async move {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(words.as_bytes()).await?;
        anyhow::Ok(connection)
    });
    opened.buffer_unordered(TOGETHER).try_collect().await
}

fn watch_request(from: &str) -> String {
    format!("GET {MAPS}?watch=true&resourceVersion={from} HTTP/1.1\r\nHost: x\r\nAccept: {JSON}\r\n\r\n")
}

/// Reads until the words have come.
async fn until(connection: &mut TcpStream, words: &str) -> anyhow::Result<()> {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&heard).contains(words) {
        let count = timeout(PATIENCE, connection.read(&mut piece)).await.context("it is silent")??;
        anyhow::ensure!(count > 0, "it ended before {words:?}: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..count]);
    }
    Ok(())
}

/// Waits until so many watches are open, and as many connections as `connections` allows, by the kernel's own count.
async fn until_open(world: &World, watches: usize, connections: impl Fn(usize) -> bool) -> anyhow::Result<()> {
    let figure = format!("\nmkube_http_watches {watches}\n");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counted = world.api().get("/metrics").await?.text.contains(&figure);
        if counted && connections(established(world.api().address())?) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{watches} watches: {}", established(world.api().address())?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connections that the server holds.
fn established(address: SocketAddr) -> anyhow::Result<usize> {
    let own = format!("0100007F:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let fields = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(fields.filter(|fields| fields.get(1) == Some(&own.as_str()) && fields.get(3) == Some(&"01")).count())
}

#[actix_rt::test]
async fn a_thousand_slow_clients_keep_nobody_from_being_served_and_are_cut() -> anyhow::Result<()> {
    let world = quiet().await?;
    let (api, address) = (world.api(), world.api().address());
    let heads = open(address, 500, &format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\nX-Slow: ")).await?;
    let begun =
        format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 1000\r\n\r\n{{\"kind\": ");
    let mut bodies = open(address, 500, &begun).await?;
    for number in 0..50 {
        // They go on, a byte at a time.
        for slow in bodies.iter_mut().skip(number * 10).take(10) {
            slow.write_all(b" ").await?;
        }
        api.get(MAPS).await?.expect(200);
        api.post(MAPS, &map(&format!("m{number}"), json!({}))).await?.expect(201);
    }
    // Whoever does not come to the end of his headers has five seconds.
    let cut = stream::iter(heads).map(|mut slow| async move {
        let mut rest = Vec::new();
        timeout(PATIENCE, slow.read_to_end(&mut rest)).await.context("a slow client is still there").map(|_| ())
    });
    cut.buffer_unordered(500).try_collect::<Vec<()>>().await?;
    drop(bodies);
    until_open(&world, 0, |connections| connections < 10).await?;
    assert_eq!(api.get(MAPS).await?.names().len(), 50);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn five_thousand_watchers_hear_of_a_change_and_leave_nothing_behind() -> anyhow::Result<()> {
    const WATCHERS: usize = 5000;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files })?;
    if files.maximum.is_some_and(|most| most < WATCHERS as u64 * 2 + 1000) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"\n!!! SKIPPED: five thousand watchers: this process may not open so many files\n",
        );
        return Ok(());
    }
    let limits = HttpLimits { connections: 8192, watches: 6144, ..HttpLimits::of_this_process() };
    let world = World::with(Setup { tick: Duration::from_secs(3600), limits, ..Setup::default() }).await?;
    let api = world.api();
    let from = api.get(MAPS).await?.version().to_owned();
    let watchers = open(api.address(), WATCHERS, &watch_request(&from)).await?;
    let waiting = stream::iter(watchers).map(|mut watcher| async move {
        until(&mut watcher, "\r\n\r\n").await?;
        anyhow::Ok(watcher)
    });
    let watchers: Vec<TcpStream> = waiting.buffer_unordered(TOGETHER).try_collect().await?;
    api.post(MAPS, &map("news", json!({}))).await?.expect(201);
    let hearing = stream::iter(watchers).map(|mut watcher| async move {
        until(&mut watcher, "\"name\":\"news\"").await?;
        anyhow::Ok(watcher)
    });
    let watchers: Vec<TcpStream> = hearing.buffer_unordered(WATCHERS).try_collect().await?;
    assert_eq!(watchers.len(), WATCHERS);
    // They leave while something is under way to them.
    let more = map("more", json!({"text": "x".repeat(10_000)}));
    let posting = api.post(MAPS, &more);
    let leaving = async { drop(watchers) };
    let (posted, ()) = futures_util::join!(posting, leaving);
    posted?.expect(201);
    until_open(&world, 0, |connections| connections < 10).await?;
    world.stop().await;
    Ok(())
}

/// Kibibytes that this process has in memory.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is one")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

#[actix_rt::test]
async fn a_watcher_that_never_reads_is_cut_goes_on_from_its_last_line_and_costs_little() -> anyhow::Result<()> {
    const WATCHERS: usize = 20;
    const CHANGES: usize = 40;
    let limits = HttpLimits { unread: Duration::from_secs(1), ..HttpLimits::of_this_process() };
    let world = World::with(Setup { tick: Duration::from_secs(3600), limits, ..Setup::default() }).await?;
    let api = world.api();
    let made = api.post(MAPS, &map("m", json!({"number": "0"}))).await?.expect(201);
    let mut deaf = Vec::new();
    for _ in 0..WATCHERS {
        let socket = TcpSocket::new_v4()?;
        set_socket_recv_buffer_size(&socket, 256 << 10)?;
        let mut connection = socket.connect(api.address()).await?;
        connection.write_all(watch_request(made.version()).as_bytes()).await?;
        deaf.push(connection);
    }
    until_open(&world, WATCHERS, |_| true).await?;
    let before = resident()?;
    let padding = "x".repeat(800_000);
    for number in 1..=CHANGES {
        let data = json!({"data": {"number": number.to_string(), "padding": padding}});
        api.patch(&format!("{MAPS}/m"), "merge", &data).await?.expect(200);
    }
    // A queue for each of them would hold half a gigabyte; the history, which all share, holds a twentieth of it.
    let grown = resident()?.saturating_sub(before) / 1024;
    assert!(grown < 350, "{grown} MiB");
    until_open(&world, 0, |connections| connections < 10).await?;
    let mut heard = Vec::new();
    let mut first = deaf.swap_remove(0);
    // What had come before it was cut is still there for it.
    let _ = first.read_to_end(&mut heard).await;
    let text = String::from_utf8_lossy(&heard);
    let lines = text.split('\n').map(str::trim).filter(|line| line.starts_with("{\"type\""));
    let last = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
    let number = |object: &Value| object["data"]["number"].as_str().and_then(|text| text.parse::<usize>().ok());
    let (version, seen) = match &last {
        Some(event) => {
            let version = event["object"]["metadata"]["resourceVersion"].as_str().context("each line has one")?;
            (version, number(&event["object"]).context("it is numbered")?)
        }
        None => (made.version(), 0),
    };
    assert!(seen < CHANGES, "it read nothing, and everything came");
    let mut again = api.watch(&format!("{MAPS}?watch=true&resourceVersion={version}"), JSON).await?;
    let next = again.next().await?.context("there is more")?;
    assert_eq!(number(&next["object"]), Some(seen + 1), "nothing is repeated, nothing is missing");
    world.stop().await;
    Ok(())
}
