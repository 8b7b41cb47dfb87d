//! Hostile and clumsy clients: what they send stays without effect, and others are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mkube_scenarios::{Setup, World};
use serde_json::json;
use tokio::time::Instant;

use crate::{JSON, MAPS, PODS, map, quiet};

#[actix_rt::test]
async fn foreign_hosts_and_web_pages_are_refused_where_the_api_is_guarded() -> anyhow::Result<()> {
    let world = World::with(Setup { guarded: true, ..Setup::default() }).await?;
    let api = world.api();
    let before = world.stored();
    api.get(PODS).await?.expect(200);
    for host in ["evil.example", "evil.example:8082", "127.0.0.1.evil.example", "127.0.0.1:1"] {
        api.send("GET", PODS, &[("host", host)], "").await?.refused(403, "Forbidden").saying(host);
    }
    let own = format!("http://{}", api.address());
    for origin in ["http://evil.example", "null", own.as_str()] {
        api.send("GET", PODS, &[("origin", origin)], "").await?.refused(403, "Forbidden");
        let headers = [("origin", origin), ("content-type", "text/plain")];
        api.send("POST", MAPS, &headers, map("x", json!({})).to_string()).await?.refused(403, "Forbidden");
    }
    api.send("GET", PODS, &[("host", &format!("localhost:{}", api.address().port()))], "").await?.expect(200);
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn percent_encoding_does_not_move_a_path() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({}))).await?.expect(201);
    let before = world.stored();
    api.get("/api/v1/namespaces/default/config%6Daps/m").await?.expect(200);
    for path in [
        "/api/v1/namespaces/default%2Fconfigmaps%2Fm",
        "/api/v1/namespaces/default/configmaps/..%2Fconfigmaps%2Fm",
        "/api/v1/namespaces/default/configmaps/m%00",
        "/api/v1/namespaces/default/configmaps/m%2F",
        "/api/v1/namespaces/default/pods/m%2Flog",
        "/api%2Fv1/pods",
    ] {
        assert_eq!(api.get(path).await?.code, 404, "{path}");
        assert_eq!(api.delete(path).await?.code, 404, "{path}");
    }
    // Libraries of clients tidy such paths up; here they arrive as they are.
    let here = "/api/v1/namespaces/default/configmaps";
    for path in [format!("{here}/%2E%2E"), format!("{here}/../configmaps/m"), format!("{here}/./m")] {
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(&world, &request).await?, "404", "{path}");
    }
    for path in ["/api/v1/namespaces/default/configmaps/%", "/api/v1/pods?labelSelector=%ff", "/api/v1/pods?%zz=1"] {
        assert_eq!(
            raw(&world, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await?,
            "400",
            "{path}"
        );
    }
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

/// Sends bytes on a fresh connection; the status code of the answer, or nothing when the server just closes.
async fn raw(world: &World, text: &str) -> anyhow::Result<String> {
    let (address, text) = (world.api().address(), text.to_owned());
    let work = move || -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // The server may close before it has read everything.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        Ok(line.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    tokio::task::spawn_blocking(work).await?
}

#[actix_rt::test]
async fn garbage_on_a_connection_ends_that_connection_only() -> anyhow::Result<()> {
    let world = quiet().await?;
    let before = world.stored();
    let get = format!("GET {PODS} HTTP/1.1\r\nHost: x\r\n\r\n");
    let long = "a".repeat(300_000);
    for (garbage, expected) in [
        ("\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        ("GARBAGE\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        (format!("{get}\u{16}\u{3}\u{1}garbage\r\n\r\n"), "200"),
        (
            format!(
                "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{get}"
            ),
            "400",
        ),
        (format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), "400"),
        (format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "400"),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "431"),
    ] {
        let shown: String = garbage.chars().take(60).collect();
        let code = raw(&world, &garbage).await?;
        assert!(
            code == expected || code.is_empty() || (expected != "200" && code.starts_with('4')),
            "{shown:?}: {code}"
        );
        world.api().get(PODS).await?.expect(200);
    }
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_slow_client_that_sends_everything_before_it_reads_gets_its_413() -> anyhow::Result<()> {
    let world = quiet().await?;
    let address = world.api().address();
    let slow = move || -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let length = 6 << 20;
        write!(stream, "POST {MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
        for _ in 0..6 {
            // Longer in all than a server waits for a client it has answered.
            #[allow(clippy::disallowed_methods, reason = "a client of its own thread that is slow")]
            std::thread::sleep(Duration::from_millis(500));
            stream.write_all(&vec![b' '; length / 6])?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = tokio::task::spawn_blocking(slow).await??;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn requests_that_clients_abandon_do_not_use_up_the_server() -> anyhow::Result<()> {
    let world = quiet().await?;
    let address = world.api().address();
    for _ in 0..4 {
        // More than are worked on at the same time: a body is promised and never sent.
        let mut open = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address)?;
            write!(stream, "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 100\r\n\r\n{{")?;
            open.push(stream);
        }
        tokio::task::yield_now().await;
        drop(open);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let figures = world.api().get("/metrics").await?;
        let refused = figures.code == 429;
        if !refused && world.api().post(MAPS, &map("after", json!({}))).await?.code == 201 {
            break;
        }
        assert!(Instant::now() < deadline, "abandoned requests are still counted");
    }
    // All of them were seen, and none is left.
    for number in 0..300 {
        let code = world.api().get(&format!("{MAPS}?n={number}")).await?.code;
        assert_eq!(code, 200);
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn bodies_that_arrive_slowly_do_not_fill_the_memory() -> anyhow::Result<()> {
    let world = quiet().await?;
    let address = world.api().address();
    let flood = move || -> anyhow::Result<(Vec<TcpStream>, usize)> {
        let (mut open, mut refused) = (Vec::new(), 0);
        for _ in 0..24 {
            let mut stream = TcpStream::connect(address)?;
            stream.set_write_timeout(Some(Duration::from_secs(20)))?;
            let length = 3 << 20;
            write!(
                stream,
                "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
            )?;
            // All but the last byte; a refusal may come before that.
            let _ = stream.write_all(&vec![b' '; length - 1]);
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
            let mut answer = [0; 64];
            if let Ok(bytes) = stream.read(&mut answer)
                && String::from_utf8_lossy(&answer[..bytes]).contains(" 429 ")
            {
                refused += 1;
            }
            open.push(stream);
        }
        Ok((open, refused))
    };
    let (open, refused) = tokio::task::spawn_blocking(flood).await??;
    assert!((4..=20).contains(&refused), "{refused} of 24 were refused");
    world.api().get(MAPS).await?.expect(200);
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.api().post(MAPS, &map("after", json!({}))).await?.code != 201 {
        assert!(Instant::now() < deadline, "bodies of clients that left are still counted");
    }
    world.stop().await;
    Ok(())
}
