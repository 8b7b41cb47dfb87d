//! What the tools people use see: dig and kdig, over UDP and TCP, on loopback.

mod server;

use serde_json::{Value, json};
use server::{has_dig, start, start_in, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_answered_as_it_was_written() {
    if !has_dig("types of records") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    let long = "x".repeat(300);
    let srv = json!({"priority": 1, "weight": 5, "port": 8080, "target": "web.lab.test"});
    let caa = json!({"flags": 0, "tag": "iodef", "value": "mailto:a@lab.test"});
    for (name, kind, data, asked, told) in [
        ("web", "A", json!("10.0.0.5"), "web.lab.test A", "10.0.0.5".to_owned()),
        ("web", "AAAA", json!("2001:0db8::0005"), "web.lab.test AAAA", "2001:db8::5".to_owned()),
        (
            "@",
            "MX",
            json!({"preference": 10, "exchange": "mail.lab.test"}),
            "lab.test MX",
            "10 mail.lab.test.".to_owned(),
        ),
        ("@", "NS", json!("ns1.lab.test."), "lab.test NS", "ns1.lab.test.".to_owned()),
        ("_http._tcp", "SRV", srv, "_http._tcp.lab.test SRV", "1 5 8080 web.lab.test.".to_owned()),
        ("text", "TXT", json!("hello world"), "text.lab.test TXT", "\"hello world\"".to_owned()),
        ("long", "TXT", json!(long), "long.lab.test TXT", format!("\"{}\" \"{}\"", &long[..255], &long[255..])),
        ("@", "CAA", caa, "lab.test CAA", "0 iodef \"mailto:a@lab.test\"".to_owned()),
        ("Odd\\040Name", "A", json!("10.0.0.6"), "odd\\032name.lab.test A", "10.0.0.6".to_owned()),
    ] {
        server.record(&zone, name, kind, data).await;
        assert_eq!(server.short(asked).await, [told.as_str()], "{asked}");
        assert_eq!(server.short(&format!("+tcp {asked}")).await, [told.as_str()], "{asked} over TCP");
    }
    server.record(&zone, "www", "CNAME", json!("web.lab.test")).await;
    assert_eq!(server.short("www.lab.test A").await, ["10.0.0.5", "web.lab.test."]);
    let kdig = server.dig("kdig", "+edns +bufsize=1232 web.lab.test A").await;
    assert!(kdig.contains("EDNS PSEUDOSECTION") && kdig.contains("10.0.0.5"), "{kdig}");
    assert_eq!(server.status("+edns=1 +noednsnegotiation web.lab.test").await, "BADVERS");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_what_is_empty_and_what_is_missing_are_told_apart() {
    if !has_dig("codes of answers") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("Lab.Test").await;
    server.record(&zone, "WEB", "A", json!("10.0.0.5")).await;
    server.record(&zone, "*.wild", "A", json!("10.0.0.7")).await;
    server.record(&zone, "deep.er", "A", json!("10.0.0.8")).await;
    let off = server.record(&zone, "off", "A", json!("10.0.0.9")).await;
    let path = format!("/zones/{zone}/records/{}", text(&off["id"]));
    assert_eq!(server.call("PUT", &path, json!({"enabled": false})).await.status, 200);
    for (asked, status, answers) in [
        ("web.lab.test A", "NOERROR", 1),
        ("WEB.LAB.test A", "NOERROR", 1),
        ("web.lab.test AAAA", "NOERROR", 0),
        ("lab.test A", "NOERROR", 0),
        ("er.lab.test A", "NOERROR", 0),
        ("off.lab.test A", "NOERROR", 0),
        ("a.b.wild.lab.test A", "NOERROR", 1),
        ("a.wild.lab.test AAAA", "NOERROR", 0),
        ("none.lab.test A", "NXDOMAIN", 0),
        ("x.web.lab.test A", "NXDOMAIN", 0),
        ("example.org A", "REFUSED", 0),
    ] {
        assert_eq!(
            (server.status(asked).await.as_str(), server.short(asked).await.len()),
            (status, answers),
            "{asked}"
        );
    }
    assert_eq!(server.call("PUT", &path, json!({"enabled": true})).await.status, 200);
    assert_eq!(server.short("off.lab.test A").await, ["10.0.0.9"], "switched on again");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_takes_turns_and_one_that_is_too_long_comes_over_tcp() {
    if !has_dig("round robin") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    for last in 1..=3 {
        server.record(&zone, "web", "A", json!(format!("10.0.0.{last}"))).await;
    }
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let told = server.dig("dig", "+short web.lab.test A").await;
        assert_eq!(told.lines().count(), 3);
        firsts.extend(told.lines().next().map(str::to_owned));
    }
    assert_eq!(firsts.len(), 3, "each was first once");
    for last in 0..100 {
        server.record(&zone, "many", "A", json!(format!("10.0.1.{last}"))).await;
    }
    let told = server.dig("dig", "many.lab.test A").await;
    assert!(told.contains("Truncated, retrying in TCP mode") && told.contains("ANSWER: 100,"), "{told}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_record_answers_under_its_new_name_only_and_serials_grow() {
    if !has_dig("renamed records") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    let record = server.record(&zone, "old", "A", json!("10.0.0.5")).await;
    let serial = |zone: Value| zone["soa"]["serial"].as_u64().expect("a number");
    let before = serial(server.call("GET", &format!("/zones/{zone}"), Value::Null).await.json());
    let path = format!("/zones/{zone}/records/{}", text(&record["id"]));
    let data = json!({"type": "AAAA", "data": "2001:db8::1"});
    assert_eq!(server.call("PUT", &path, json!({"name": "new", "data": data})).await.status, 200);
    assert_eq!(server.status("old.lab.test A").await, "NXDOMAIN");
    assert_eq!(server.short("new.lab.test AAAA").await, ["2001:db8::1"]);
    assert!(server.short("new.lab.test A").await.is_empty());
    let after = serial(server.call("GET", &format!("/zones/{zone}"), Value::Null).await.json());
    assert_eq!(after, before + 1);
    assert_eq!(server.short("-x 10.0.0.5").await.len(), 0);
    assert_eq!(server.short("-x 2001:db8::1").await, ["new.lab.test."]);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_copied_by_whoever_may_and_by_nobody_else() {
    if !has_dig("zone transfers") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    for number in 0..250 {
        server.record(&zone, &format!("n{number}"), "TXT", json!(format!("text {number}"))).await;
    }
    let off = json!({"name": "off", "enabled": false, "data": {"type": "A", "data": "10.0.0.1"}});
    server.made(&format!("/zones/{zone}/records"), off).await;
    let told = server.dig("dig", "lab.test AXFR").await;
    assert_eq!(told.lines().filter(|line| line.contains("\tTXT\t")).count(), 250);
    assert_eq!(told.lines().filter(|line| line.contains("\tSOA\t")).count(), 2);
    assert!(!told.contains("off.lab.test"), "what is switched off is not copied");
    // Another of our servers takes it over whole.
    let copy = start(|_| {}).await;
    let wanted = json!({"zone": "lab.test", "primary": server.dns.to_string()});
    let done = copy.call("POST", "/zones/transfer", wanted.clone()).await;
    assert_eq!((done.status, done.json()), (200, json!({"zone_name": "lab.test", "records_imported": 250})));
    assert_eq!(copy.short("n77.lab.test TXT").await, ["\"text 77\""]);
    assert_eq!(copy.short("lab.test SOA").await, server.short("lab.test SOA").await);
    let none = json!({"allow_transfer": ["192.0.2.0/24"]});
    assert_eq!(server.call("PUT", "/zone-transfer/config", none).await.status, 200);
    assert!(server.dig("dig", "lab.test AXFR").await.contains("Transfer failed"));
    assert_eq!(copy.call("POST", "/zones/transfer", wanted).await.status, 500);
    assert_eq!(copy.short("n77.lab.test TXT").await, ["\"text 77\""], "a copy that fails changes nothing");
    copy.running.stop().await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_and_go_while_it_runs_and_what_was_written_is_there_after_a_restart() {
    if !has_dig("addresses that come and go") {
        return;
    }
    let server = start(|_| {}).await;
    let zone = server.zone("lab.test").await;
    server.record(&zone, "web", "A", json!("10.0.0.5")).await;
    let second = server::loopback();
    let mkube_name_server::Bound::Now(at) = server.running.listen(second).await else { panic!("it is free") };
    // The wish for any port and the one it got are one address: asked twice it is the same.
    assert!(server.running.dns_addrs().contains(&at));
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let busy = taken.local_addr().expect("an address");
    assert!(matches!(server.running.listen(busy).await, mkube_name_server::Bound::Later(_)));
    drop(taken);
    server::until("it listens as soon as it can", || async { server.running.dns_addrs().contains(&busy) }).await;
    assert_eq!(server::dig("dig", busy, "+short web.lab.test").await.trim(), "10.0.0.5");
    server.running.unlisten(busy).await;
    assert!(std::net::UdpSocket::bind(busy).is_ok() && std::net::TcpListener::bind(busy).is_ok(), "the port is free");
    server.running.stop().await;
    let server = start_in(server.directory, |_| {}).await;
    assert_eq!(server.short("web.lab.test").await, ["10.0.0.5"]);
    server.running.stop().await;
}
