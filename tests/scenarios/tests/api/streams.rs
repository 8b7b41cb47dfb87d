//! exec and port-forward: who is upgraded, who is refused, and that nothing stays behind.

use futures_util::{SinkExt, StreamExt};
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::{PODS, pod};

pub type Socket = WebSocketStream<reqwest::Upgraded>;

pub const V5: &str = "v5.channel.k8s.io";
pub const SPDY: &str = "SPDY/3.1+portforward.k8s.io";

async fn world(setup: Setup) -> anyhow::Result<World> {
    let world = World::with(setup).await?;
    world.api().post(PODS, &pod("box")).await?.expect(201);
    world.until_pod("box", "Running").await?;
    Ok(world)
}

/// Asks for an upgrade; the protocol that was chosen and the socket, or the refusal.
pub async fn open(
    world: &World,
    path: &str,
    offered: &str,
    more: &[(&str, &str)],
) -> anyhow::Result<Result<(String, Socket), (u16, Value)>> {
    let mut request = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .get(format!("http://{}{PODS}/{path}", world.api().address()))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", offered);
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let answer = request.send().await?;
    if answer.status() != 101 {
        return Ok(Err((answer.status().as_u16(), answer.json().await?)));
    }
    let chosen =
        answer.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let chosen = chosen.to_owned();
    Ok(Ok((chosen, WebSocketStream::from_raw_socket(answer.upgrade().await?, Role::Client, None).await)))
}

pub async fn upgraded(world: &World, path: &str, offered: &str) -> anyhow::Result<(String, Socket)> {
    open(world, path, offered, &[]).await?.map_err(|refused| anyhow::anyhow!("{refused:?}"))
}

/// Everything up to the end, by channel.
pub async fn all(socket: &mut Socket) -> Vec<(u8, String)> {
    let mut all: Vec<(u8, String)> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            all.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned()));
        }
    }
    all
}

#[actix_rt::test]
async fn a_command_has_its_streams_on_channels_and_its_end_closes_the_connection() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    // The first of the client's that is spoken here.
    let (chosen, mut socket) = upgraded(
        &world,
        "box/exec?command=both&stdout=true&stderr=true",
        "v9.channel.k8s.io, v4.channel.k8s.io, v5.channel.k8s.io",
    )
    .await?;
    assert_eq!(chosen, "v4.channel.k8s.io");
    let success = "{\"metadata\":{},\"status\":\"Success\"}".to_owned();
    assert_eq!(all(&mut socket).await, [(1, "out".into()), (2, "err".into()), (3, success.clone())]);
    let (_, mut socket) = upgraded(&world, "box/exec?command=both&stderr=true", V5).await?;
    assert_eq!(all(&mut socket).await, [(2, "err".into()), (3, success.clone())], "what was not asked for is left out");
    let (_, mut socket) = upgraded(&world, "box/exec?command=exit&command=3&stdout=true", V5).await?;
    let end = all(&mut socket).await;
    assert!(end.len() == 1 && end[0].0 == 3 && end[0].1.contains("\"NonZeroExitCode\""), "{end:?}");
    let (_, mut socket) = upgraded(&world, "box/exec?command=cat&stdin=true&stdout=true", V5).await?;
    socket.send(Message::Binary(b"\x00a word".as_slice().into())).await?;
    socket.send(Message::Text("\u{0} as text".into())).await?;
    socket.send(Message::Binary([255, 0].as_slice().into())).await?;
    assert_eq!(all(&mut socket).await, [(1, "a word".into()), (1, " as text".into()), (3, success.clone())]);
    let (_, mut socket) = upgraded(&world, "box/exec?command=size&stdin=true&stdout=true&tty=true", V5).await?;
    socket.send(Message::Binary(b"\x04{\"Width\":99,\"Height\":33}\n".as_slice().into())).await?;
    socket.send(Message::Binary([255, 0].as_slice().into())).await?;
    assert_eq!(all(&mut socket).await, [(1, "99x33\n".into()), (3, success)]);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn what_a_client_cannot_mean_ends_its_command_with_words() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    for (odd, words) in [(&b"\x04[1]"[..], "Width"), (b"\x09x", "channel 9")] {
        let (_, mut socket) = upgraded(&world, "box/exec?command=cat&stdin=true&stdout=true", V5).await?;
        socket.send(Message::Binary(odd.into())).await?;
        let end = all(&mut socket).await;
        assert!(end.len() == 1 && end[0].0 == 3 && end[0].1.contains(words), "{end:?}");
    }
    let (_, mut socket) = upgraded(&world, "box/exec?command=lost&stdout=true", V5).await?;
    let end = all(&mut socket).await;
    assert!(end[0].1.contains("was lost"), "{end:?}");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn requests_that_are_no_such_upgrade_are_refused_with_a_status() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let before = world.stored();
    let api = world.api();
    let exec = format!("{PODS}/box/exec?command=true&stdout=true");
    api.get(&exec).await?.refused(400, "BadRequest").saying("Upgrade request required");
    api.get(&format!("{PODS}/box/portforward")).await?.refused(400, "BadRequest").saying("Upgrade request required");
    let other = [("connection", "Upgrade"), ("upgrade", "h2c")];
    api.send("POST", &exec, &other, "").await?.refused(400, "BadRequest").saying("h2c is not spoken here");
    let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v9.channel.k8s.io")];
    api.send("POST", &exec, &spdy, "").await?.refused(400, "BadRequest").saying("none of the protocols");
    let attach = format!("{PODS}/box/attach");
    api.get(&format!("{attach}?stdout=true")).await?.refused(400, "BadRequest").saying("Upgrade request required");
    api.get(&attach).await?.refused(400, "BadRequest").saying("stdin, stdout, stderr");
    let typing = format!("{attach}?stdin=true&stdout=true");
    api.get(&typing).await?.refused(501, "NotImplemented").saying("kubectl exec -it");
    api.send("DELETE", &exec, &[], "").await?.refused(405, "MethodNotAllowed");
    for (path, code, words) in [
        ("box/exec?stdout=true", 400, "at least 1 command"),
        ("box/exec?command=&stdout=true", 400, "at least 1 command"),
        ("box/exec?command=true", 400, "stdin, stdout, stderr"),
        ("box/exec?command=true&stdout=true&container=zz", 400, "container zz is not valid for pod box"),
        ("nosuch/exec?command=true&stdout=true", 404, "pods \"nosuch\" not found"),
        ("nosuch/portforward?ports=80", 404, "pods \"nosuch\" not found"),
    ] {
        let refused = open(&world, path, V5, &[]).await?.expect_err(path);
        assert!(
            refused.0 == code && refused.1["message"].as_str().is_some_and(|text| text.contains(words)),
            "{path}: {refused:?}"
        );
    }
    for (query, offered, words) in [
        ("?ports=80", V5, "none of the protocols"),
        ("", "v4.channel.k8s.io", "ports"),
        ("?ports=0", "v4.channel.k8s.io", "no port"),
        ("?ports=80,x", "v4.channel.k8s.io", "no port"),
        ("?ports=65536", "v4.channel.k8s.io", "no port"),
    ] {
        let refused = open(&world, &format!("box/portforward{query}"), offered, &[]).await?.expect_err(query);
        assert!(refused.0 == 400 && refused.1["message"].to_string().contains(words), "{query}: {refused:?}");
    }
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn ports_are_forwarded_in_the_framing_that_the_client_speaks() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let ip = world.api().get(&format!("{PODS}/box")).await?.expect(200).body["status"]["podIP"].clone();
    let ip = ip.as_str().expect("an address");
    for (path, offered, framing) in [
        ("box/portforward", SPDY, "Spdy".to_owned()),
        (
            "box/portforward?ports=80&ports=443,8080",
            "v5.channel.k8s.io,v4.channel.k8s.io",
            "Channels([80, 443, 8080])".to_owned(),
        ),
    ] {
        let (_, mut socket) = upgraded(&world, path, offered).await?;
        let first = socket.next().await.expect("a message")?;
        assert_eq!(first.into_text()?.as_str(), format!("default/box {ip} {framing}"));
        socket.send(Message::Binary(b"there and back".as_slice().into())).await?;
        assert_eq!(socket.next().await.expect("a message")?.into_data().as_ref(), b"there and back");
        socket.send(Message::Binary(b"end".as_slice().into())).await?;
        assert!(all(&mut socket).await.is_empty());
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn upgraded_connections_are_bounded_and_leave_no_trace() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let mut sockets = Vec::new();
    let refused = loop {
        match open(&world, "box/exec?command=hang&stdout=true", V5, &[]).await? {
            Ok((_, socket)) => sockets.push(socket),
            Err(refused) => break refused,
        }
        assert!(sockets.len() <= 128, "there is no bound");
    };
    assert_eq!((refused.0, sockets.len()), (429, 128), "{refused:?}");
    drop(sockets);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let page = world.api().get("/metrics").await?;
        if page.text.contains("mkube_http_streams 0\n") {
            break;
        }
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "connections of clients that left are still there");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    upgraded(&world, "box/exec?command=both&stdout=true", V5).await?;
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_guarded_api_takes_sockets_of_its_own_origin_only() -> anyhow::Result<()> {
    let world = world(Setup { guarded: true, ..Setup::default() }).await?;
    let own = format!("http://{}", world.api().address());
    let path = "box/exec?command=both&stdout=true";
    open(&world, path, V5, &[("origin", own.as_str())]).await?.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    for origin in ["http://evil.example", "null", "http://127.0.0.1.evil.example"] {
        let refused = open(&world, path, V5, &[("origin", origin)]).await?.expect_err(origin);
        assert_eq!((refused.0, &refused.1["reason"]), (403, &json!("Forbidden")), "{origin}");
    }
    world.stop().await;
    Ok(())
}

/// Asks for SPDY, as kubectl before 1.30 does; the protocol that was chosen and the connection.
pub async fn spdy(world: &World, path: &str, offered: &[&str]) -> anyhow::Result<(String, reqwest::Upgraded)> {
    let mut request = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("http://{}{PODS}/{path}", world.api().address()))
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1");
    for protocol in offered {
        request = request.header("x-stream-protocol-version", *protocol);
    }
    let answer = request.send().await?;
    anyhow::ensure!(answer.status() == 101, "{}: {}", answer.status(), answer.text().await?);
    anyhow::ensure!(answer.headers()["upgrade"] == "SPDY/3.1");
    let chosen = answer.headers()["x-stream-protocol-version"].to_str()?.to_owned();
    Ok((chosen, answer.upgrade().await?))
}

/// What comes next, in one piece.
pub async fn piece(connection: &mut reqwest::Upgraded) -> anyhow::Result<String> {
    let mut buffer = [0; 1024];
    let read = connection.read(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
}

#[actix_rt::test]
async fn who_asks_for_spdy_gets_commands_and_ports_over_it() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let (chosen, mut connection) = spdy(
        &world,
        "box/exec?command=cat&stdin=true&stdout=true&stderr=true&tty=true",
        &["v5.channel.k8s.io", "v4.channel.k8s.io"],
    )
    .await?;
    assert_eq!(chosen, "v4.channel.k8s.io", "the last one before WebSockets");
    // A terminal has no standard error of its own, and sizes.
    assert_eq!(
        piece(&mut connection).await?,
        "StandardStreams { stdin: true, stdout: true, stderr: false, sizes: true }\n"
    );
    connection.write_all(b"\x00there and back").await?;
    assert_eq!(piece(&mut connection).await?, "\u{1}there and back");
    connection.write_all(&[255, 0]).await?;
    assert_eq!(piece(&mut connection).await?, "\u{3}{\"metadata\":{},\"status\":\"Success\"}");
    let (chosen, mut connection) = spdy(&world, "box/portforward", &["portforward.k8s.io"]).await?;
    assert_eq!(chosen, "portforward.k8s.io");
    assert!(piece(&mut connection).await?.ends_with(" Spdy"));
    connection.write_all(b"bytes").await?;
    assert_eq!(piece(&mut connection).await?, "bytes");
    connection.write_all(b"end").await?;
    assert_eq!(piece(&mut connection).await?, "", "it is closed when there is no more to carry");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn spdy_is_refused_on_a_connection_that_was_used_before() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let mut connection = tokio::net::TcpStream::connect(world.api().address().to_string()).await?;
    connection.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"ok") {
        anyhow::ensure!(connection.read_buf(&mut seen).await? > 0, "it ended");
    }
    let ask = format!(
        "POST {PODS}/box/exec?command=true&stdout=true HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
         SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    connection.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("from the first request of a connection on"),
        "{answer}"
    );
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn attach_shows_what_is_written_from_now_on_until_the_container_has_gone() -> anyhow::Result<()> {
    let world = world(Setup::default()).await?;
    let before = world.api().get(&format!("{PODS}/box/log")).await?.expect(200).text;
    assert!(!before.is_empty(), "the device wrote something of it before");
    let (_, mut socket) = upgraded(&world, "box/attach?stdout=true&stderr=true", V5).await?;
    // What it opens with is there: from now on, output is followed.
    assert_eq!(socket.next().await.expect("a message")?.into_data().as_ref(), b"\x01");
    world.api().delete(&format!("{PODS}/box")).await?.expect(200);
    let seen = all(&mut socket).await;
    let (end, shown) = seen.split_last().expect("it is told the end");
    assert_eq!(*end, (3, "{\"metadata\":{},\"status\":\"Success\"}".to_owned()));
    let shown: String = shown.iter().map(|(_, text)| text.as_str()).collect();
    assert!(before.lines().all(|line| !shown.lines().any(|one| one == line)), "{shown:?} was there before: {before:?}");
    world.stop().await;
    Ok(())
}
