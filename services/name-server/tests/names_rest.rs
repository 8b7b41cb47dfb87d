//! The REST surface, walked along the route table of the reference.

mod server;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use server::{Server, request, start, text};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Every key of an object, in order.
fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    keys
}

fn sorted(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

#[tokio::test]
async fn every_route_of_the_table_answers_with_its_status() {
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    let record = text(&server.record(&zone, "web", "A", json!("10.0.0.5")).await["id"]);
    server.made("/dns/forwarders", json!({"zone": "peer.test", "servers": ["10.0.0.2", "10.0.0.3:5353"]})).await;
    let (records, own) = (format!("/zones/{zone}/records"), format!("/zones/{zone}/records/{record}"));
    let a = |address: &str| json!({"type": "A", "data": address});
    let check = json!({"probe_type": "tcp", "interval_secs": 1, "timeout_secs": 1, "unhealthy_threshold": 1, "healthy_threshold": 1});
    let none = Value::Null;
    let table: Vec<(&str, String, Value, u16)> = vec![
        ("GET", "/health".into(), none.clone(), 200),
        ("GET", "/zones".into(), none.clone(), 200),
        ("GET", "/zones?limit=x".into(), none.clone(), 400),
        ("GET", "/zones/".into(), none.clone(), 404),
        ("POST", "/zones".into(), json!({"name": "new.test", "unknown": 1}), 201),
        ("POST", "/zones".into(), json!({"name": "NEW.test."}), 409),
        ("POST", "/zones".into(), json!({"name": "a..b"}), 400),
        ("POST", "/zones".into(), json!({}), 422),
        ("POST", "/zones".into(), json!({"name": 5}), 422),
        ("GET", format!("/zones/{zone}"), none.clone(), 200),
        ("GET", "/zones/abc".into(), none.clone(), 400),
        ("GET", format!("/zones/{NOBODY}"), none.clone(), 404),
        ("DELETE", format!("/zones/{NOBODY}"), none.clone(), 404),
        ("POST", "/zones/transfer".into(), json!({"zone": "x.test", "primary": "10.0.0.1"}), 400),
        ("POST", "/zones/transfer".into(), json!({"zone": "x.test", "primary": "127.0.0.1:1"}), 500),
        ("GET", records.clone(), none.clone(), 200),
        ("GET", format!("/zones/{NOBODY}/records"), none.clone(), 404),
        ("POST", records.clone(), json!({"name": "new", "data": a("10.0.0.6")}), 201),
        ("POST", records.clone(), json!({"name": "new", "data": a("10.0.0.6"), "ttl": 7}), 200),
        ("POST", records.clone(), json!({"name": "a b", "data": a("10.0.0.6")}), 400),
        ("POST", records.clone(), json!({"name": "x".repeat(64), "data": a("10.0.0.6")}), 400),
        ("POST", records.clone(), json!({"name": "x", "data": a("nowhere")}), 422),
        ("POST", records.clone(), json!({"name": "x", "data": {"type": "a", "data": "10.0.0.6"}}), 422),
        ("POST", records.clone(), json!({"name": "x", "data": {"type": "CNAME", "data": "a..b"}}), 400),
        ("POST", records.clone(), json!({"name": "x"}), 422),
        ("POST", format!("/zones/{NOBODY}/records"), json!({"name": "x", "data": a("10.0.0.6")}), 404),
        ("GET", own.clone(), none.clone(), 200),
        ("PUT", own.clone(), json!({"ttl": 60, "health_check": check}), 200),
        ("PUT", own.clone(), json!({"ttl": "x"}), 422),
        ("GET", format!("{records}/{NOBODY}"), none.clone(), 404),
        ("PUT", format!("{records}/{NOBODY}"), json!({}), 404),
        ("DELETE", format!("{records}/{NOBODY}"), none.clone(), 404),
        ("PUT", format!("{records}/lb/web/a"), check.clone(), 200),
        ("PUT", format!("{records}/lb/web/A"), json!({"probe_type": "tcp"}), 422),
        ("DELETE", format!("{records}/lb/web/A"), none.clone(), 200),
        ("DELETE", own.clone(), none.clone(), 204),
        ("DELETE", own, none.clone(), 404),
        ("GET", "/leases".into(), none.clone(), 200),
        ("GET", "/dhcp/status".into(), none.clone(), 200),
        ("GET", "/dhcp/pools".into(), none.clone(), 200),
        ("POST", "/dhcp/pools".into(), json!({}), 501),
        ("GET", format!("/dhcp/pools/{NOBODY}"), none.clone(), 404),
        ("GET", format!("/dhcp/pools/{NOBODY}/routes"), none.clone(), 404),
        ("DELETE", format!("/dhcp/pools/{NOBODY}/routes/{NOBODY}"), none.clone(), 404),
        ("GET", "/dhcp/reservations".into(), none.clone(), 200),
        ("GET", "/dhcp/reservations/aa:bb:cc:00:00:01".into(), none.clone(), 404),
        ("GET", "/dhcp/config".into(), none.clone(), 200),
        ("GET", "/dns/forwarders".into(), none.clone(), 200),
        ("POST", "/dns/forwarders".into(), json!({"zone": "peer.test", "servers": ["10.0.0.4"]}), 201),
        ("POST", "/dns/forwarders".into(), json!({"zone": "peer.test", "servers": []}), 400),
        ("POST", "/dns/forwarders".into(), json!({"zone": "peer.test", "servers": ["ns.example"]}), 400),
        ("GET", "/dns/forwarders/PEER.test".into(), none.clone(), 200),
        ("DELETE", "/dns/forwarders/peer.test".into(), none.clone(), 204),
        ("DELETE", "/dns/forwarders/peer.test".into(), none.clone(), 404),
        ("GET", "/ipam/pools".into(), none.clone(), 200),
        ("GET", "/ipam/allocations".into(), none.clone(), 200),
        ("POST", "/ipam/allocate".into(), json!({"pool": "p", "container": "c"}), 404),
        ("DELETE", format!("/ipam/allocations/{NOBODY}"), none.clone(), 204),
        ("DELETE", "/ipam/allocations/x".into(), none.clone(), 400),
        ("GET", "/cluster/status".into(), none.clone(), 200),
        ("GET", "/connectivity".into(), none.clone(), 200),
        ("GET", "/logs?limit=5&level=warn".into(), none.clone(), 200),
        ("GET", "/lb/status".into(), none.clone(), 200),
        ("GET", "/lb/groups".into(), none.clone(), 200),
        ("GET", "/lb/records".into(), none.clone(), 200),
        ("GET", "/lb/log".into(), none.clone(), 200),
        ("GET", "/lb/resolutions".into(), none.clone(), 200),
        ("GET", "/lb/debug".into(), none.clone(), 200),
        ("POST", "/lb/probe/x".into(), json!({}), 400),
        ("GET", "/mdns/status".into(), none.clone(), 200),
        ("GET", "/mdns/discovered".into(), none.clone(), 200),
        ("GET", "/mdns/config".into(), none.clone(), 404),
        ("GET", "/zone-transfer/config".into(), none.clone(), 200),
        ("PUT", "/zone-transfer/config".into(), json!({"notify": ["10.0.0.9"]}), 200),
        ("PUT", "/zone-transfer/config".into(), json!({"allow_transfer": ["x"]}), 400),
        ("DELETE", "/zone-transfer/config".into(), none.clone(), 204),
        ("PATCH", "/zones".into(), json!({}), 405),
        ("DELETE", "/health".into(), none.clone(), 405),
        ("GET", "/nothing".into(), none.clone(), 404),
    ];
    for (method, path, body, status) in table {
        let reply = server.call(method, &path, body.clone()).await;
        assert_eq!(reply.status, status, "{method} {path} {body}: {reply:?}");
        let head = reply.head.to_ascii_lowercase();
        let json = head.contains("content-type: application/json");
        match status {
            200 | 201 => assert!(json, "{path}: {head}"),
            204 => assert!(reply.body.is_empty()),
            405 => assert!(head.contains("allow: ") && reply.body.is_empty()),
            _ => assert!(!json && !reply.body.starts_with('{'), "errors are sentences: {path}: {}", reply.body),
        }
    }
    server.running.stop().await;
}

#[tokio::test]
async fn bodies_have_a_type_a_form_and_a_limit() {
    let server = start(|_| {}).await;
    let to = server.rest;
    let work = move || {
        let json = [("Content-Type", "application/json")];
        let post = |headers: &[(&str, &str)], body: &str| request(to, "POST", "/api/v1/zones", headers, body);
        assert_eq!(post(&[], r#"{"name":"a.test"}"#).status, 415);
        assert_eq!(post(&json, "{").status, 400);
        assert_eq!(post(&json, &"[".repeat(100_000)).status, 400, "depth has a limit too");
        assert_eq!(post(&json, &format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20))).status, 413);
        let refused = post(&json, r#"{"name":"a.test","soa":{"refresh":"x"}}"#);
        assert!(refused.status == 422 && refused.body.starts_with("soa.refresh: "), "the field is named: {refused:?}");
        assert_eq!(post(&[("Content-Type", "application/json; charset=utf-8")], r#"{"name":"a.test"}"#).status, 201);
        let soa = json!({"name": "soa.test", "soa": {"mname": "a..b"}}).to_string();
        assert_eq!(post(&json, &soa).status, 400);
    };
    tokio::task::spawn_blocking(work).await.expect("all of it holds");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_have_the_shapes_of_the_reference() {
    let server = start(|options| options.instance = "edge-1".into()).await;
    let soa = json!({"mname": "ns1.lab.test", "minimum": 60});
    let zone = server.made("/zones", json!({"name": "lab.test", "default_ttl": 300, "soa": soa})).await;
    assert_eq!(keys(&zone), sorted("id name soa default_ttl record_count created_at updated_at"));
    assert_eq!(keys(&zone["soa"]), sorted("mname rname serial refresh retry expire minimum"));
    assert_eq!(
        (&zone["soa"]["rname"], &zone["soa"]["retry"], &zone["soa"]["minimum"]),
        (&json!("admin.lab.test"), &json!(900), &json!(60))
    );
    assert!(zone["soa"]["serial"].as_u64().is_some_and(|serial| serial % 100 == 0 && serial > 2_020_000_000));
    assert!(text(&zone["created_at"]).ends_with("+00:00"));
    let record = server.record(&text(&zone["id"]), "web", "A", json!("10.0.0.1")).await;
    let names = "id zone_id name ttl type data enabled health_check source origin created_at updated_at";
    assert_eq!(keys(&record), sorted(names));
    assert_eq!((&record["ttl"], &record["type"], &record["source"]), (&json!(300), &json!("A"), &json!("manual")));
    assert_eq!((&record["data"], &record["health_check"]), (&json!({"type": "A", "data": "10.0.0.1"}), &Value::Null));
    let forwarder = server.made("/dns/forwarders", json!({"zone": "Peer.test.", "servers": ["10.0.0.2:53"]})).await;
    assert_eq!(keys(&forwarder), sorted("zone servers created_at updated_at"));
    assert!(forwarder["zone"] == "peer.test" && text(&forwarder["created_at"]).ends_with('Z'));
    let health = server.call("GET", "/health", Value::Null).await.json();
    assert_eq!(keys(&health), sorted("status version zones uptime_seconds uptime"));
    // The zone, and that of the address.
    assert_eq!((&health["status"], &health["zones"]), (&json!("ok"), &json!(2)));
    let cluster = server.call("GET", "/cluster/status", Value::Null).await.json();
    assert_eq!(cluster, json!({"instance_id": "edge-1", "instances": []}));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_made_by_many_at_once_is_there_once() {
    let server = std::sync::Arc::new(start(|_| {}).await);
    let zone = server.zone("lab.test").await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (server, path) = (server.clone(), format!("/zones/{zone}/records"));
        let body = json!({"name": "Web", "data": {"type": "CNAME", "data": "X.lab.test."}});
        all.spawn(async move { server.call("POST", &path, body).await.status });
    }
    let mut statuses = all.join_all().await;
    statuses.sort_unstable();
    assert_eq!((statuses[10], statuses[11]), (200, 201));
    let again = json!({"name": "web", "data": {"type": "CNAME", "data": "x.lab.test"}});
    assert_eq!(
        server.call("POST", &format!("/zones/{zone}/records"), again).await.status,
        200,
        "the same said otherwise"
    );
    assert_eq!(server.rows("lab.test").await, ["web CNAME X.lab.test."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_belong_to_their_zone_and_null_takes_a_health_check_away() {
    let server = start(|_| {}).await;
    let (one, two) = (server.zone("one.test").await, server.zone("two.test").await);
    let record = text(&server.record(&one, "web", "A", json!("10.0.0.1")).await["id"]);
    let other = format!("/zones/{two}/records/{record}");
    for (method, body) in [("GET", Value::Null), ("PUT", json!({"ttl": 1})), ("DELETE", Value::Null)] {
        assert_eq!(server.call(method, &other, body).await.status, 404, "{method}");
    }
    let path = format!("/zones/{one}/records/{record}");
    let check = json!({"probe_type": "http", "interval_secs": 1, "timeout_secs": 1, "unhealthy_threshold": 1, "healthy_threshold": 1});
    let put = async |body: Value| server.call("PUT", &path, body).await.json();
    assert_eq!(put(json!({"health_check": check})).await["health_check"]["probe_type"], "http");
    assert_eq!(put(json!({"ttl": 5})).await["health_check"]["probe_type"], "http", "what is not said stays");
    assert_eq!(put(json!({"health_check": null})).await["health_check"], Value::Null);
    server.record(&one, "web", "A", json!("10.0.0.2")).await;
    let twin = server.call("PUT", &path, json!({"data": {"type": "A", "data": "10.0.0.2"}})).await;
    assert_eq!(twin.status, 409, "the same twice: {twin:?}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_in_their_order() {
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    for number in (0..130).rev() {
        server.record(&zone, &format!("n{number:03}"), "TXT", json!("x")).await;
    }
    let page = async |query: &str| {
        let rows = server.call("GET", &format!("/zones/{zone}/records{query}"), Value::Null).await.json();
        rows.as_array().expect("a list").iter().map(|row| text(&row["name"])).collect::<Vec<_>>()
    };
    let first = page("").await;
    assert_eq!((first.len(), first[0].as_str(), first[99].as_str()), (100, "n000", "n099"));
    assert_eq!(page("?offset=100").await.len(), 30);
    assert_eq!(page("?limit=5000").await.len(), 130);
    assert_eq!(page("?offset=129&limit=2&name=ignored").await, ["n129"]);
    let zone = server.call("GET", &format!("/zones/{zone}"), Value::Null).await.json();
    assert_eq!(zone["record_count"], 130);
    server.running.stop().await;
}

#[tokio::test]
async fn an_address_has_one_name_and_keeps_none_that_is_gone() {
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    let reverse = "9.9.10.in-addr.arpa";
    let first = server.record(&zone, "a", "A", json!("10.9.9.9")).await;
    let second = server.record(&zone, "b", "A", json!("10.9.9.9")).await;
    server.record(&zone, "*", "A", json!("10.9.9.8")).await;
    assert_eq!(server.rows(reverse).await, ["9 PTR b.lab.test."], "the last one wins, and a wildcard has no name");
    let path = |record: &Value| format!("/zones/{zone}/records/{}", text(&record["id"]));
    assert_eq!(server.call("PUT", &path(&second), json!({"enabled": false})).await.status, 200);
    assert_eq!(server.rows(reverse).await, ["9 PTR a.lab.test."], "the other one is back");
    assert_eq!(server.call("DELETE", &path(&first), Value::Null).await.status, 204);
    assert!(server.rows(reverse).await.is_empty());
    server.record(&zone, "@", "A", json!("10.9.9.9")).await;
    assert_eq!(server.rows(reverse).await, ["9 PTR lab.test."]);
    assert_eq!(server.call("DELETE", &format!("/zones/{zone}"), Value::Null).await.status, 204);
    assert!(server.rows(reverse).await.is_empty(), "a zone takes the names of its addresses along");
    // What somebody wrote by hand is left alone.
    let zones = server.call("GET", "/zones", Value::Null).await.json();
    let place = text(&zones[0]["id"]);
    server.record(&place, "7", "PTR", json!("by.hand.test.")).await;
    let zone = server.zone("lab.test").await;
    server.record(&zone, "c", "A", json!("10.9.9.7")).await;
    assert_eq!(server.rows(reverse).await, ["7 PTR by.hand.test."]);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_guards_what_changes_and_pages_are_kept_out_where_that_is_wanted() {
    let server = start(|options| options.api_key = Some("hunter2".into())).await;
    let with = |method: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let to = server.rest;
        tokio::task::block_in_place(move || request(to, method, "/api/v1/zones", &headers, r#"{"name":"a.test"}"#))
    };
    let json = ("Content-Type", "application/json");
    assert_eq!(with("POST", vec![json]).status, 401);
    assert_eq!(with("POST", vec![json, ("X-API-Key", "hunter3")]).status, 401);
    assert_eq!(with("POST", vec![json, ("X-API-Key", "hunter2")]).status, 201);
    assert_eq!(with("GET", vec![]).status, 200);
    assert_eq!(with("HEAD", vec![]).status, 200, "looking is no change");
    let preflight = vec![("Origin", "http://x"), ("Access-Control-Request-Method", "POST")];
    let allowed = with("OPTIONS", preflight);
    assert!(allowed.status == 200 && allowed.head.contains("access-control-allow-origin: *"), "{allowed:?}");
    let closed = start(|options| options.only_here = true).await;
    let to = closed.rest;
    tokio::task::block_in_place(|| {
        assert_eq!(request(to, "GET", "/api/v1/zones", &[("Origin", "http://x")], "").status, 403);
        assert_eq!(request(to, "GET", "/api/v1/zones", &[], "").status, 200);
    });
}

/// Reads a stream of events until it holds what is wanted.
fn listen(server: &Server, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.rest).expect("it listens");
    stream.set_read_timeout(Some(server::SOON)).expect("a deadline");
    let text = format!("GET /api/v1/watch{query} HTTP/1.1\r\nHost: {}\r\n\r\n", server.rest);
    stream.write_all(text.as_bytes()).expect("sent");
    let mut head = String::new();
    while !head.contains("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(char::from(byte[0]));
    }
    assert!(head.contains("text/event-stream"), "{head}");
    stream
}

fn heard(stream: &mut TcpStream, events: usize) -> Vec<Value> {
    let mut all = String::new();
    while all.matches("data: ").count() < events || !all.ends_with("\n\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).expect("events come");
        assert!(length > 0, "the stream ended: {all}");
        all.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    let lines = all.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_told_what_happens_and_end_with_the_server() {
    let server = start(|_| {}).await;
    let mut all = tokio::task::block_in_place(|| listen(&server, ""));
    let mut zones = tokio::task::block_in_place(|| listen(&server, "?types=zones,leases"));
    let zone = server.zone("watch.test").await;
    let record = text(&server.record(&zone, "w", "A", json!("10.0.0.1")).await["id"]);
    server.call("PUT", &format!("/zones/{zone}/records/{record}"), json!({"ttl": 5})).await;
    server.made("/dns/forwarders", json!({"zone": "peer.test", "servers": ["10.0.0.2"]})).await;
    server.call("DELETE", &format!("/zones/{zone}"), Value::Null).await;
    let event = |kind: &str, action: &str| json!({"type": kind, "action": action, "zone_id": zone});
    let with = |mut event: Value, key: &str, value: &str| {
        event[key] = value.into();
        event
    };
    let added = with(event("ZoneChanged", "ADDED"), "zone_name", "watch.test");
    let gone = with(event("ZoneChanged", "DELETED"), "zone_name", "watch.test");
    let told = tokio::task::block_in_place(|| heard(&mut all, 5));
    let wanted = [
        added.clone(),
        with(event("RecordChanged", "ADDED"), "record_name", "w"),
        with(event("RecordChanged", "MODIFIED"), "record_name", "w"),
        json!({"type": "DnsForwarderChanged", "action": "ADDED", "zone": "peer.test"}),
        gone.clone(),
    ];
    assert_eq!(told, wanted);
    assert_eq!(tokio::task::block_in_place(|| heard(&mut zones, 2)), [added, gone]);
    let stopped = tokio::time::timeout(server::SOON, server.running.stop()).await;
    assert!(stopped.is_ok(), "watchers do not hold it up");
}
