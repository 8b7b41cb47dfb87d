//! What a server that was killed in the middle of a write says of the end of its streams.

use std::time::Duration;

use mkube_desired_store::read_buckets;
use mkube_model::neighbours::desired_store::StoreContents;
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;

use crate::bench::{Bench, at, options};

/// Keys that are written again and again.
const KEYS: u64 = 40;
/// Rounds of writing and killing; `make crash` raises it.
const ROUNDS: &str = "MKUBE_CRASH_ROUNDS";

/// Writes without waiting for words, until the server is gone.
async fn write(url: String, from: u64) {
    let Ok(client) = async_nats::connect(url).await else { return };
    for number in from.. {
        let at = format!("$KV.PODS.k{}", number % KEYS);
        if client.publish(at, format!("{number}").into()).await.is_err() {
            return;
        }
        if number % 16 == 0 && client.flush().await.is_err() {
            return;
        }
    }
}

async fn read(url: &str) -> StoreContents {
    let nats = NatsSettings { url: SecretUrl::new(url), ..NatsSettings::default() };
    read_buckets(&nats, &["PODS".to_owned()], "mkube").await.expect("it is there").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_reading_after_a_kill_9_of_the_server_has_the_last_of_what_it_kept() {
    let rounds: u64 = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut server = NatsServer::start();
    let bench = Bench::with(|path| options(&server.url(), path)).await;
    bench.complete().await;
    drop(bench.closed().await);
    for round in 0..rounds {
        let writing = tokio::spawn(write(server.url(), round << 32));
        tokio::time::sleep(Duration::from_millis(20 + 7 * (round % 10))).await;
        server.kill();
        writing.abort();
        let _ = writing.await;
        server.start_again();
        let first = read(&server.url()).await;
        let client = async_nats::connect(server.url()).await.expect("it is there");
        let stream = async_nats::jetstream::new(client).get_stream("KV_PODS").await.expect("it is there");
        let mut late = Vec::new();
        for key in 0..KEYS {
            let at = at(&format!("k{key}"));
            let Ok(last) = stream.get_last_raw_message_by_subject(&format!("$KV.PODS.k{key}")).await else { continue };
            let seen = first.values.iter().find(|value| value.at == at).map(|value| value.revision);
            if seen != Some(last.sequence) {
                late.push((key, seen, last.sequence));
            }
        }
        let info = stream.cached_info().state.clone();
        assert!(late.is_empty(), "round {round}, the stream ends at {}: {late:?}", info.last_sequence);
    }
}
