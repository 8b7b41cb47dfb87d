//! `kill -9` of the process that writes, at any instant.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use mkube_desired_store::JetStreamStore;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange};
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, at, options};

const FILE: &str = "MKUBE_TEST_STORE_WRITER";
const SERVER: &str = "MKUBE_TEST_NATS";
/// Rounds of writing and killing; `make crash` raises it.
const ROUNDS: &str = "MKUBE_CRASH_ROUNDS";

/// Not a test by itself: the process that is killed. Writes numbered keys and says each only after it was acknowledged.
#[tokio::test]
async fn writer() {
    let (Ok(path), Ok(url)) = (std::env::var(FILE), std::env::var(SERVER)) else { return };
    let store = JetStreamStore::open(options(&url, path.as_ref())).await.expect("readable after every kill");
    let contents = store.load().await.expect("readable");
    assert_eq!(contents.stale, None);
    for number in contents.revision_of("PODS").. {
        let value = Some(Bytes::from(vec![b'x'; 900]));
        let change = StoreChange { at: at(&format!("k{number}")), value, expected: Expected::Absent, behind: false };
        store.commit(vec![change]).await.expect("there").remove(0).expect("nobody else writes");
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged k{number}").and_then(|()| out.flush()).expect("a reader");
    }
}

/// Lets a process write until it has said so many, and kills it: what it has said.
fn written_until_killed(path: &Path, url: &str, enough: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "killed::writer", "--nocapture"])
        .env(FILE, path)
        .env(SERVER, url)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        // The harness writes its own words in front of the first line.
        if let Some((_, key)) = line.split_once("acknowledged ") {
            said.push(key.to_owned());
            if said.len() == enough {
                child.kill().expect("ours");
            }
        }
    }
    child.wait().expect("ours");
    assert!(!said.is_empty(), "the writer wrote nothing");
    said
}

async fn lost(url: &str, path: &Path, acknowledged: &[String]) -> Vec<String> {
    let bench = Bench::with(|_| options(url, path)).await;
    let kept: Vec<String> = bench.complete().await.values.into_iter().map(|one| one.at.key).collect();
    acknowledged.iter().filter(|key| !kept.contains(key)).cloned().collect()
}

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9_of_the_writer_and_of_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let mut server = NatsServer::start();
    let rounds: usize = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..rounds {
        acknowledged.extend(written_until_killed(&path, &server.url(), 20 + 13 * round));
        server.kill();
        server.start_again();
    }
    assert_eq!(lost(&server.url(), &path, &acknowledged).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_acknowledged_write_survives_a_server_that_forgets_it_while_the_writer_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let mut server = NatsServer::start();
    let bench = Bench::with(|_| options(&server.url(), &path)).await;
    bench.complete().await;
    drop(bench.closed().await);
    server.stop();
    let empty = tempfile::tempdir().expect("a directory");
    server.copy_data_to(empty.path());
    server.start_again();
    let acknowledged = written_until_killed(&path, &server.url(), 20);
    // As after a power loss: JetStream had not synced any of it.
    server.kill();
    server.replace_data(Some(empty.path()));
    server.start_again();
    assert_eq!(lost(&server.url(), &path, &acknowledged).await, Vec::<String>::new());
}
