//! `make bench`, section `store`: writes of both stores, each beside what it cannot do without; and reading 10,000 objects.
#![allow(clippy::disallowed_methods, reason = "what is measured is the time of real processes")]

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mkube_desired_store::{EmbeddedStore, JetStreamOptions, JetStreamStore};
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreKey};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

type Done<T> = Result<T, Box<dyn std::error::Error>>;

/// Writes of each figure.
const WRITES: usize = 500;
/// Changes of one batch, where many are written together.
const BATCH: usize = 256;
/// Objects that are read.
const OBJECTS: usize = 10_000;
/// A pod, about.
const SIZE: usize = 1500;

fn main() -> Done<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if !words.is_empty() && !words.iter().any(|word| word == "store") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Done<()> {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let server = NatsServer::start_in(scratch.path().join("nats"));
    println!("store: {WRITES} writes of {SIZE} bytes one after the other, NATS and both files on this disk\n");
    println!("{:<52} {:>10} {:>10} {:>10}", "", "median", "p99", "longest");

    let mut fsyncs = Vec::new();
    let mut file = std::fs::File::create(scratch.path().join("plain"))?;
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[b'x'; SIZE])?;
        file.sync_data()?;
        fsyncs.push(began.elapsed());
    }
    report("write and fsync of a plain file", fsyncs.clone());

    let client = async_nats::connect(server.url()).await?;
    let context = async_nats::jetstream::new(client.clone());
    let stream = async_nats::jetstream::stream::Config {
        name: "KV_RAW".into(),
        subjects: vec!["$KV.RAW.>".into()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    context.create_stream(stream).await?;
    let mut puts = Vec::new();
    for number in 0..WRITES {
        let began = Instant::now();
        context.publish(format!("$KV.RAW.k{number}"), vec![b'x'; SIZE].into()).await?.await?;
        puts.push(began.elapsed());
    }
    report("async-nats put, acknowledged and not synced", puts.clone());
    report("the two together", puts.iter().zip(&fsyncs).map(|(put, fsync)| *put + *fsync).collect());

    let store = jetstream(&server, &scratch.path().join("jetstream.redb")).await?;
    report("JetStream store, acknowledged and synced here", one_by_one(&store).await?);
    let embedded = EmbeddedStore::open(scratch.path().join("embedded.redb")).await?;
    report("embedded store", one_by_one(&embedded).await?);

    let begun = Instant::now();
    for from in (0..OBJECTS).step_by(BATCH) {
        let batch = (from..OBJECTS.min(from + BATCH)).map(|number| change(&format!("o{number}"))).collect();
        for outcome in store.commit(batch).await? {
            outcome?;
        }
    }
    let each = begun.elapsed() / OBJECTS as u32;
    println!("\nJetStream store, {OBJECTS} objects in batches of {BATCH}: {each:.1?} each");
    store.close().await;

    let fresh = Instant::now();
    let store = jetstream(&server, &scratch.path().join("fresh.redb")).await?;
    println!(
        "connect and read {} objects, no local file yet: {:.0?}",
        store.load().await?.values.len(),
        fresh.elapsed()
    );
    store.close().await;
    let again = Instant::now();
    let store = jetstream(&server, &scratch.path().join("fresh.redb")).await?;
    println!("the same with a local file of them: {:.0?}", again.elapsed());
    let loading = Instant::now();
    let found = store.load().await?.values.len();
    println!("{found} objects read again: {:.0?}\n", loading.elapsed());
    Ok(())
}

async fn jetstream(server: &NatsServer, path: &Path) -> Done<JetStreamStore> {
    let store = JetStreamStore::open(JetStreamOptions {
        nats: NatsSettings { url: SecretUrl::new(server.url()), replicas: 1, ..NatsSettings::default() },
        buckets: vec!["PODS".into(), "CONFIGMAPS".into()],
        path: path.to_owned(),
        write_behind: false,
        name: "mkube".into(),
        copy: |_, _, _| Ok(()),
    })
    .await?;
    match store.load().await?.stale {
        None => Ok(store),
        Some(why) => Err(why.into()),
    }
}

fn change(key: &str) -> StoreChange {
    let at = StoreKey { bucket: "PODS".into(), key: key.into() };
    StoreChange { at, value: Some(Bytes::from(vec![b'x'; SIZE])), expected: Expected::Absent, behind: false }
}

async fn one_by_one(store: &dyn DesiredStore) -> Done<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..WRITES {
        let began = Instant::now();
        store.commit(vec![change(&format!("w{number}"))]).await?.remove(0)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what:<52} {:>10.2?} {:>10.2?} {:>10.2?}", at(0.5), at(0.99), at(1.0));
}
