//! The client against a server that says what a test wrote down for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mkube_microdns_client::MicrodnsClient;
use mkube_model::neighbours::name_servers::{NameFault, NameServers, NewRecord, Origin};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers each request with what `answer` makes of its line; gives its endpoint and what it was sent.
async fn server(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> (String, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let seen = Seen::default();
    let told = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (read, mut write) = stream.split();
            let mut read = BufReader::new(read);
            let (mut line, mut length) = (String::new(), 0);
            let _ = read.read_line(&mut line).await;
            loop {
                let mut header = String::new();
                if read.read_line(&mut header).await.unwrap_or(0) <= 2 {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length];
            let _ = read.read_exact(&mut body).await;
            let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
            let (status, text) = answer(&line);
            told.lock().expect("nobody panics with it").push((line, serde_json::from_slice(&body).unwrap_or_default()));
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
            let _ = write.write_all(format!("{head}{text}").as_bytes()).await;
        }
    });
    (format!("http://{address}"), seen)
}

fn record(number: usize) -> Value {
    json!({"id": format!("r{number}"), "zone_id": "z", "name": format!("h{number}"), "ttl": 60, "type": "A",
        "data": {"type": "A", "data": "10.0.0.5"}, "enabled": true, "health_check": null, "source": "manual", "origin": null,
        "created_at": "2026-03-01T10:00:00+00:00"})
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page_and_a_row_that_moves_is_taken_once() {
    let (endpoint, seen) = server(|line| {
        let offset: usize = line.rsplit('=').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        // While it was read, somebody made a record before the first page's end.
        let from = offset.saturating_sub(1);
        (200, Value::from_iter((from..2500).take(1000).map(record)).to_string())
    })
    .await;
    let client = MicrodnsClient::new().expect("a client");
    let rows = client.records(&endpoint, "z").await.expect("a list");
    assert_eq!(rows.len(), 2500);
    let lines: Vec<String> = seen.lock().expect("nobody panics with it").iter().map(|(line, _)| line.clone()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], "GET /api/v1/zones/z/records?limit=1000&offset=1000");
}

#[tokio::test]
async fn a_record_is_made_as_the_server_reads_it_and_one_that_was_there_is_told() {
    let (endpoint, seen) =
        server(
            |line| {
                if line.contains("/zones/old/") { (200, record(1).to_string()) } else { (201, record(1).to_string()) }
            },
        )
        .await;
    let client = MicrodnsClient::new().expect("a client");
    let new = NewRecord { name: "web".into(), kind: "A", data: "10.0.0.5".into(), ttl: 60, origin: "mkube/a".into() };
    let made = client.create_record(&endpoint, "new", &new).await.expect("made");
    assert!(made.new && made.row.origin == Origin::Unsaid);
    assert!(!client.create_record(&endpoint, "old", &new).await.expect("there").new);
    let (line, body) = seen.lock().expect("nobody panics with it")[0].clone();
    assert_eq!(line, "POST /api/v1/zones/new/records");
    let wanted = json!({"name": "web", "ttl": 60, "data": {"type": "A", "data": "10.0.0.5"}, "origin": "mkube/a"});
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn what_an_answer_means_is_told_apart() {
    let (endpoint, _) = server(|line| match line {
        "GET /api/v1/dns/forwarders" => (404, String::new()),
        "DELETE /api/v1/zones/z/records/gone" => (404, "record not found".to_owned()),
        "POST /api/v1/zones" => (409, "duplicate zone: gt.lo".to_owned()),
        "GET /api/v1/health" => (200, "<html>".to_owned()),
        _ => (500, "internal server error".to_owned()),
    })
    .await;
    let client = MicrodnsClient::new().expect("a client");
    assert!(matches!(client.forwarders(&endpoint).await, Err(NameFault::Unsupported(_))));
    assert!(matches!(client.delete_record(&endpoint, "z", "gone").await, Err(NameFault::NotFound(_))));
    assert!(matches!(client.create_zone(&endpoint, "gt.lo").await, Err(NameFault::Exists(_))));
    assert!(matches!(client.delete_record(&endpoint, "z", "other").await, Err(NameFault::Unknown(_))));
    assert!(matches!(client.health(&endpoint).await, Err(NameFault::Unknown(_))));
    // Nobody listens there.
    assert!(matches!(client.health("http://127.0.0.1:1").await, Err(NameFault::Away(_))));
}
