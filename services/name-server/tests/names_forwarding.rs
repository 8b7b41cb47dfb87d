//! Asking others: who is asked, what is believed, what is kept.

mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use server::{has_dig, start, text};
use tokio::net::UdpSocket;

/// Another server that answers every packet in its own way; how many came.
async fn stranger(answer: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind(server::loopback()).await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            for reply in answer(&packet[..length], number) {
                let _ = socket.send_to(&reply, from).await;
            }
        }
    });
    (address, count)
}

/// An answer to a query: its question, and one address.
fn address(query: &[u8], last: u8, ttl: u8) -> Vec<u8> {
    let mut reply = query[..12].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
    reply.extend_from_slice(&query[12..end]);
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 10, 1, 1, last]);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_asked_when_one_is_silent_closed_or_does_not_know() {
    if !has_dig("forwarding") {
        return;
    }
    let peer = start(|_| {}).await;
    let zone = peer.zone("peer.test").await;
    peer.record(&zone, "web", "A", json!("10.0.0.5")).await;
    let (silent, asked) = stranger(|_, _| Vec::new()).await;
    let unknowing = start(|_| {}).await;
    let closed = UdpSocket::bind(server::loopback()).await.expect("a port").local_addr().expect("an address");
    let server = start(|_| {}).await;
    let servers = [silent, closed, unknowing.dns, peer.dns].map(|address| address.to_string());
    server.made("/dns/forwarders", json!({"zone": "Peer.test.", "servers": servers})).await;
    let told = server.dig("dig", "+tries=1 web.peer.test A").await;
    assert!(told.contains("10.0.0.5") && told.contains("flags: qr rd ra;"), "not the authority: {told}");
    assert_eq!(server.status("none.peer.test A").await, "NXDOMAIN");
    assert_eq!(server.short("+tcp web.peer.test A").await, ["10.0.0.5"]);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "who was silent is asked last for a while");
    assert_eq!(server.status("web.other.test A").await, "REFUSED");
    assert_eq!(server.status("+norec fresh.peer.test A").await, "REFUSED", "only who wants it is asked for");
    // Longest zone wins, and our own zones come before all.
    server.made("/dns/forwarders", json!({"zone": "web.peer.test", "servers": [closed.to_string()]})).await;
    assert_eq!(server.status("web.peer.test A").await, "SERVFAIL");
    let own = server.zone("web.peer.test").await;
    server.record(&own, "@", "A", json!("10.0.0.6")).await;
    assert_eq!(server.short("web.peer.test A").await, ["10.0.0.6"]);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_only_with_the_id_and_the_question_that_were_sent() {
    if !has_dig("answers of strangers") {
        return;
    }
    let (liar, _) = stranger(|query, _| {
        let mut other_id = address(query, 66, 60);
        other_id[1] ^= 1;
        let mut other_name = address(query, 66, 60);
        other_name[13] ^= 1;
        vec![vec![0; 5], other_id, other_name, query.to_vec(), address(query, 1, 60)]
    })
    .await;
    let server = start(|_| {}).await;
    server.made("/dns/forwarders", json!({"zone": "@", "servers": [liar.to_string()]})).await;
    assert_eq!(server.short("web.peer.test A").await, ["10.1.1.1"]);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_kept_counted_down_and_forgotten_on_a_write() {
    if !has_dig("the cache") {
        return;
    }
    let (peer, asked) = stranger(|query, number| vec![address(query, u8::try_from(number).expect("few"), 60)]).await;
    let server = start(|_| {}).await;
    server.made("/dns/forwarders", json!({"zone": "peer.test", "servers": [peer.to_string()]})).await;
    for _ in 0..3 {
        assert_eq!(server.short("web.peer.test A").await, ["10.1.1.0"]);
    }
    assert_eq!(server.short("WEB.peer.test A").await, ["10.1.1.0"]);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    server::until("its time runs", || async {
        let told = server.dig("dig", "+noall +answer web.peer.test A").await;
        told.split_whitespace().nth(1).and_then(|ttl| ttl.parse::<u32>().ok()).is_some_and(|ttl| ttl < 60)
    })
    .await;
    let zone = server.zone("lab.test").await;
    assert_eq!(server.short("web.peer.test A").await, ["10.1.1.1"], "a write may have changed what holds");
    // An alias of ours leads to others, and is followed there.
    server.record(&zone, "alias", "CNAME", json!("web.peer.test")).await;
    assert_eq!(server.short("alias.lab.test A").await, ["10.1.1.2", "web.peer.test."]);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_there_is_nothing_is_kept_too_and_a_long_answer_is_fetched_over_tcp() {
    if !has_dig("negative answers and truncation") {
        return;
    }
    let peer = start(|_| {}).await;
    let zone = peer.zone("peer.test").await;
    for last in 0..120 {
        peer.record(&zone, "many", "A", json!(format!("10.0.1.{last}"))).await;
    }
    let server = start(|_| {}).await;
    server.made("/dns/forwarders", json!({"zone": "peer.test", "servers": [peer.dns.to_string()]})).await;
    assert_eq!(server.short("many.peer.test A").await.len(), 120);
    assert_eq!(server.status("gone.peer.test A").await, "NXDOMAIN");
    peer.running.stop().await;
    let told = server.dig("dig", "gone.peer.test A").await;
    assert!(told.contains("status: NXDOMAIN") && told.contains("\tSOA\t"), "kept for as long as the SOA says: {told}");
    assert_eq!(server.status("new.peer.test A").await, "SERVFAIL", "nobody is there to ask");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarders_of_the_configuration_come_once_and_stay_deleted() {
    let seed = |options: &mut mkube_name_server::Options| {
        options.seed.forwarders = vec![mkube_name_server::records::NewForwarder {
            zone: "peer.test".into(),
            servers: vec!["10.0.0.2".into()],
        }];
    };
    let server = start(seed).await;
    let all = server.call("GET", "/dns/forwarders", Value::Null).await.json();
    assert_eq!((all.as_array().map(Vec::len), text(&all[0]["zone"])), (Some(1), "peer.test".to_owned()));
    assert_eq!(server.call("DELETE", "/dns/forwarders/Peer.test", Value::Null).await.status, 204);
    assert_eq!(server.call("DELETE", "/zone-transfer/config", Value::Null).await.status, 204);
    server.running.stop().await;
    let server = server::start_in(server.directory, seed).await;
    assert_eq!(server.call("GET", "/dns/forwarders", Value::Null).await.json(), json!([]));
    let config = server.call("GET", "/zone-transfer/config", Value::Null).await.json();
    assert_eq!(config["allow_transfer"], json!([]), "what was closed stays closed");
    server.running.stop().await;
}
