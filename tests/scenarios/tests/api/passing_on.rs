//! Two nodes over one store: whichever API is asked for a pod's output, commands and ports, the node that has it answers. And nodes
//! that are away, or lie.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use mkube_fakes::MemoryStore;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use crate::streams::{SPDY, V5, all, open, piece, spdy, upgraded};
use crate::{PODS, pod};

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` answers yes.
async fn eventually(what: &str, look: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !look().await? {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn at_node(name: &str, node: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// Two worlds, and a pod `box` of the second that was made through the first.
async fn two() -> anyhow::Result<(World, World)> {
    let store = MemoryStore::default();
    let setup = |node, store| Setup { node: Some(node), store: Some(Arc::new(store)), ..Setup::default() };
    let other = store.sharing();
    let one = World::with(setup("one", store)).await?;
    let two = World::with(setup("two", other)).await?;
    one.api().post(PODS, &at_node("box", "two")).await?.expect(201);
    two.until_pod("box", "Running").await?;
    eventually("the other node's address, and its pod", async || {
        let node = one.api().get("/api/v1/nodes/two").await?.body;
        let pod = one.api().get(&format!("{PODS}/box")).await?.body;
        let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
        Ok(*port == two.api().address().port() && pod["status"]["phase"] == "Running")
    })
    .await?;
    Ok((one, two))
}

async fn stop(one: World, two: World) {
    one.stop().await;
    two.stop().await;
}

/// The node `three` and its pod `far`, which the first node knows of; the API of that node is said to listen here.
async fn third(one: &World, address: Option<SocketAddr>) -> anyhow::Result<()> {
    let api = one.api();
    if api.get("/api/v1/nodes/three").await?.code == 404 {
        api.post("/api/v1/nodes", &json!({"metadata": {"name": "three"}})).await?.expect(201);
        api.post(PODS, &at_node("far", "three")).await?.expect(201);
    }
    let port = address.map_or(0, |address| address.port());
    let addresses = address.map(|address| json!({"type": "InternalIP", "address": address.ip().to_string()}));
    let status = json!({"addresses": addresses.as_slice(), "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    api.patch("/api/v1/nodes/three/status", "merge", &json!({"status": status})).await?.expect(200);
    Ok(())
}

/// Somebody who is asked, notes the heads of the requests, answers always the same and holds the connection until its client goes.
struct Somebody {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    gone: Arc<Notify>,
}

impl Somebody {
    async fn answering(answer: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self { address: listener.local_addr()?, asked: Arc::default(), gone: Arc::default() };
        let (asked, gone) = (this.asked.clone(), this.gone.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answered(client, answer, asked.clone(), gone.clone()));
            }
        });
        Ok(this)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

async fn answered(mut client: TcpStream, answer: &str, asked: Arc<Mutex<Vec<String>>>, gone: Arc<Notify>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    asked.lock().expect("nobody panics with it").push(String::from_utf8_lossy(&head).into_owned());
    if answer.is_empty() || client.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    while !matches!(client.read_buf(&mut head).await, Ok(0) | Err(_)) {}
    gone.notify_one();
}

/// Another address of somebody, and how many connections came to it.
struct Roundabout {
    address: SocketAddr,
    passed: Arc<AtomicUsize>,
}

impl Roundabout {
    async fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self { address: listener.local_addr()?, passed: Arc::default() };
        let passed = this.passed.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                passed.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(address).await {
                        // It ends as either side does.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(this)
    }
}

#[actix_rt::test]
async fn whichever_api_is_asked_the_node_that_has_the_pod_answers() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let ip = one.api().get(&format!("{PODS}/box")).await?.body["status"]["podIP"].clone();
    let ip = ip.as_str().expect("an address");
    let success = "{\"metadata\":{},\"status\":\"Success\"}".to_owned();
    for path in ["box/log", "box/log?tailLines=1&timestamps=true"] {
        let path = format!("{PODS}/{path}");
        let [here, there] = [&two, &one].map(|world| world.api().get(&path));
        let (here, there) = (here.await?.expect(200), there.await?.expect(200));
        assert!(!here.text.is_empty());
        assert_eq!((&there.text, there.header("content-type")), (&here.text, here.header("content-type")), "{path}");
        assert_eq!(there.warnings(), here.warnings());
    }

    let (chosen, mut socket) =
        upgraded(&one, "box/exec?command=both&stdout=true&stderr=true", "v9.channel.k8s.io, v4.channel.k8s.io").await?;
    assert_eq!(chosen, "v4.channel.k8s.io");
    assert_eq!(all(&mut socket).await, [(1, "out".into()), (2, "err".into()), (3, success.clone())]);
    let (_, mut socket) = upgraded(&one, "box/exec?command=exit&command=3&stdout=true", V5).await?;
    let end = all(&mut socket).await;
    assert!(end.len() == 1 && end[0].0 == 3 && end[0].1.contains("\"NonZeroExitCode\""), "{end:?}");
    let (_, mut socket) = upgraded(&one, "box/exec?command=cat&stdin=true&stdout=true", V5).await?;
    let much = "x".repeat(200_000);
    socket.send(Message::Binary(format!("\0{much}").into_bytes().into())).await?;
    socket.send(Message::Binary([255, 0].as_slice().into())).await?;
    assert_eq!(all(&mut socket).await, [(1, much), (3, success.clone())]);

    let (chosen, mut socket) = upgraded(&one, "box/portforward", SPDY).await?;
    assert_eq!(chosen, SPDY);
    let first = socket.next().await.expect("a message")?;
    assert_eq!(first.into_text()?.as_str(), format!("default/box {ip} Spdy"));
    socket.send(Message::Binary(b"there and back".as_slice().into())).await?;
    assert_eq!(socket.next().await.expect("a message")?.into_data().as_ref(), b"there and back");
    socket.send(Message::Binary(b"end".as_slice().into())).await?;
    assert!(all(&mut socket).await.is_empty(), "its end is that of the client's connection");

    let (chosen, mut connection) =
        spdy(&one, "box/exec?command=cat&stdin=true&stdout=true", &["v5.channel.k8s.io", "v4.channel.k8s.io"]).await?;
    assert_eq!(chosen, "v4.channel.k8s.io");
    assert!(piece(&mut connection).await?.starts_with("StandardStreams { stdin: true"));
    connection.write_all(b"\x00there and back").await?;
    assert_eq!(piece(&mut connection).await?, "\u{1}there and back");
    connection.write_all(&[255, 0]).await?;
    assert_eq!(piece(&mut connection).await?, format!("\u{3}{success}"));

    // What is refused there is refused here, in the same words.
    for path in [
        "box/log?container=zz",
        "box/log?tailLines=x",
        "box/exec?stdout=true",
        "box/exec?command=true&stdout=true",
        "box/attach?stdin=true&stdout=true",
        "box/portforward",
    ] {
        let path = format!("{PODS}/{path}");
        let [here, there] = [&two, &one].map(|world| world.api().get(&path));
        let (here, there) = (here.await?, there.await?);
        assert!(here.code >= 400);
        assert_eq!((there.code, &there.body), (here.code, &here.body), "{path}");
    }
    let ask = |world| open(world, "box/portforward?ports=0", "v4.channel.k8s.io", &[]);
    assert_eq!(ask(&one).await?.err(), ask(&two).await?.err());

    // A followed log ends with its container, an attached client too.
    let url = |world: &World| format!("http://{}{PODS}/box/log?follow=true", world.api().address());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let followed = client.get(url(&one)).send().await?;
    assert_eq!(followed.status(), 200);
    let (_, mut attached) = upgraded(&one, "box/attach?stdout=true", V5).await?;
    one.api().delete(&format!("{PODS}/box")).await?.expect(200);
    let text = tokio::time::timeout(PATIENCE, followed.text()).await??;
    assert!(!text.is_empty());
    assert_eq!(all(&mut attached).await.last(), Some(&(3, success)));
    stop(one, two).await;
    Ok(())
}

async fn streams(world: &World) -> anyhow::Result<String> {
    let page = world.api().get("/metrics").await?.text;
    let line = page.lines().find_map(|line| line.strip_prefix("mkube_http_streams "));
    Ok(line.unwrap_or_default().to_owned())
}

#[actix_rt::test]
async fn what_is_passed_on_is_bounded_and_ends_with_its_client() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let (_, socket) = upgraded(&one, "box/exec?command=hang&stdout=true", V5).await?;
    for world in [&one, &two] {
        assert_eq!(streams(world).await?, "1");
    }
    drop(socket);
    for world in [&one, &two] {
        eventually("the end of a command whose client went", async || Ok(streams(world).await? == "0")).await?;
    }

    // Also where nothing comes that could not be sent to it.
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nx-mkube-node: three\r\nconnection: upgrade\r\nupgrade: \
                    websocket\r\nsec-websocket-accept: x\r\n\r\n";
    let node = Somebody::answering(upgraded).await?;
    third(&one, Some(node.address)).await?;
    let (_, socket) = self::upgraded(&one, "far/exec?command=hang&stdout=true", V5).await?;
    drop(socket);
    tokio::time::timeout(PATIENCE, node.gone.notified()).await?;

    // A log that somebody follows ends there when nobody follows it any more here, and what is lost on the way is no end.
    let begun = "HTTP/1.1 200 OK\r\nx-mkube-node: three\r\ncontent-type: text/plain\r\ntransfer-encoding: \
                 chunked\r\n\r\n5\r\nfirst\r\n";
    let node = Somebody::answering(begun).await?;
    third(&one, Some(node.address)).await?;
    let log = format!("http://{}{PODS}/far/log?follow=true", one.api().address());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut followed = client.get(&log).send().await?;
    assert_eq!(followed.chunk().await?.as_deref(), Some(&b"first"[..]));
    drop(followed);
    tokio::time::timeout(PATIENCE, node.gone.notified()).await?;

    let mut open = Vec::new();
    let refused = loop {
        let mut answer = client.get(&log).send().await?;
        if answer.status() != 200 {
            break answer.status();
        }
        assert_eq!(answer.chunk().await?.as_deref(), Some(&b"first"[..]));
        open.push(answer);
        assert!(open.len() <= 128, "there is no bound");
    };
    assert_eq!((refused.as_u16(), open.len()), (429, 128));
    drop(open);
    eventually("the end of all of them", async || Ok(streams(&one).await? == "0")).await?;
    stop(one, two).await;
    Ok(())
}

#[actix_rt::test]
async fn a_log_that_is_lost_on_the_way_does_not_look_complete() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let torn = "HTTP/1.1 200 OK\r\nx-mkube-node: three\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\nnonsense\r\n";
    let node = Somebody::answering(torn).await?;
    third(&one, Some(node.address)).await?;
    let answer = reqwest::get(format!("http://{}{PODS}/far/log", one.api().address())).await?;
    assert_eq!(answer.status(), 200);
    answer.text().await.expect_err("an end that is none");
    stop(one, two).await;
    Ok(())
}

#[actix_rt::test]
async fn a_node_that_is_away_or_lies_makes_a_clear_refusal_and_no_loop() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let log = format!("{PODS}/far/log");
    let ask = async || one.api().get(&log).await;

    third(&one, None).await?;
    ask().await?.refused(400, "BadRequest").saying("pod far runs on node three: ask the API of that node");
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    third(&one, Some(closed)).await?;
    let away =
        ask().await?.refused(503, "ServiceUnavailable").saying(&format!("node three, and its API, http://{closed}"));
    assert_eq!(away.header("retry-after"), "", "clients would ask again and again before they say why");
    let silent = Somebody::answering("").await?;
    third(&one, Some(silent.address)).await?;
    ask().await?.refused(503, "ServiceUnavailable").saying("cannot be reached");

    // The first itself, also under an address that it cannot know; and the second, which knows no more.
    let own = one.api().address();
    third(&one, Some(own)).await?;
    ask().await?.refused(400, "BadRequest").saying(&format!("http://{own}"));
    let way = Roundabout::to(own).await?;
    third(&one, Some(way.address)).await?;
    ask().await?.refused(502, "BadGateway").saying("is not its API, but says that it is \"one\"");
    let refused = open(&one, "far/exec?command=true&stdout=true", V5, &[]).await?.expect_err("no socket");
    assert_eq!(refused.0, 502);
    assert_eq!(way.passed.load(Ordering::Relaxed), 2, "each went round once");
    third(&one, Some(two.api().address())).await?;
    ask().await?.refused(502, "BadGateway").saying("is not its API, but says that it is \"two\"");
    let again = [("x-mkube-passed-on", "two")];
    let once = two.api().send("GET", &log, &again, "").await?.refused(503, "ServiceUnavailable");
    assert_eq!(once.saying("passed on to node \"two\" for pod far").header("x-mkube-node"), "two");

    // Whatever a stranger says is not shown.
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret",
        "HTTP/1.1 302 Found\r\nlocation: /secret\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-mkube-node: two\r\ncontent-length: 6\r\n\r\nsecret",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nsecret",
        "SSH-2.0-secret\r\n",
    ] {
        let stranger = Somebody::answering(answer).await?;
        third(&one, Some(stranger.address)).await?;
        let refused = ask().await?;
        assert!([502, 503].contains(&refused.code) && !refused.text.contains("secret"), "{answer}: {}", refused.text);
        assert!(refused.text.contains(&stranger.address.to_string()), "{}", refused.text);
        let socket = open(&one, "far/exec?command=true&stdout=true", V5, &[]).await?;
        assert!([502, 503].contains(&socket.expect_err("no socket").0), "{answer}");
    }
    // Nor what the right one says that is no answer to what was asked.
    let upgraded =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\nx-mkube-node: three\r\n\r\n";
    third(&one, Some(Somebody::answering(upgraded).await?.address)).await?;
    ask().await?.refused(502, "BadGateway");
    let torn = "HTTP/1.1 400 Bad Request\r\nx-mkube-node: three\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n";
    third(&one, Some(Somebody::answering(torn).await?.address)).await?;
    let refused = open(&one, "far/exec?command=true&stdout=true", V5, &[]).await?.expect_err("no socket");
    assert!(refused.0 == 503 && refused.1["message"].to_string().contains("did not come to an end"), "{refused:?}");
    assert_eq!(streams(&one).await?, "0");
    stop(one, two).await;
    Ok(())
}

#[actix_rt::test]
async fn nothing_goes_along_that_lets_somebody_in() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let node = Somebody::answering(
        "HTTP/1.1 404 Not Found\r\nx-mkube-node: three\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n",
    );
    let node = node.await?;
    third(&one, Some(node.address)).await?;
    let path = "far/exec?command=a%20b&command=%26&stdout=true";
    let offered = "base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io";
    let words = [
        ("authorization", "Bearer secret"),
        ("cookie", "secret=1"),
        ("x-forwarded-for", "secret"),
        ("x-remote-user", "secret"),
        ("user-agent", "a client"),
    ];
    let refused = open(&one, path, offered, &words).await;
    assert!(refused.is_err(), "an answer without a body is no Status");
    let seen = node.asked().concat().to_lowercase();
    assert!(seen.starts_with(&format!("get {PODS}/{path} http/1.1\r\n")), "{seen}");
    let uid = one.api().get(&format!("{PODS}/far")).await?.body["metadata"]["uid"].clone();
    let uid = format!("x-mkube-pod-uid: {}", uid.as_str().expect("a uid"));
    let host = format!("host: {}", node.address);
    for line in [
        host.as_str(),
        &uid,
        "x-mkube-passed-on: three",
        "user-agent: a client",
        "upgrade: websocket",
        "sec-websocket-protocol: v5.channel.k8s.io",
    ] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line}: {seen}");
    }
    for word in ["secret", "c2vjcmv0", "authorization", "cookie", "forwarded-for"] {
        assert!(!seen.contains(word), "{word}: {seen}");
    }
    let answer = one.api().send("GET", &format!("{PODS}/far/log"), &[], "").await?;
    assert_eq!((answer.code, answer.header("set-cookie")), (404, ""));
    stop(one, two).await;
    Ok(())
}

#[actix_rt::test]
async fn a_pod_that_took_the_name_of_another_is_not_meant() -> anyhow::Result<()> {
    let (one, two) = two().await?;
    let log = format!("{PODS}/box/log");
    let passed = |uid| [("x-mkube-passed-on", "two"), ("x-mkube-pod-uid", uid)];
    let uid = two.api().get(&format!("{PODS}/box")).await?.body["metadata"]["uid"].clone();
    two.api().send("GET", &log, &passed(uid.as_str().expect("a uid")), "").await?.expect(200);
    let refused = two.api().send("GET", &log, &passed("another"), "").await?.refused(409, "Conflict");
    assert_eq!(refused.saying("another pod has this name").header("x-mkube-node"), "two");
    stop(one, two).await;
    Ok(())
}
