//! `/tool/fetch`: files come to the device's disks whole or not at all, and what goes wrong is said as a router says it.

#[path = "conformance/router.rs"]
#[allow(dead_code, reason = "shared with the conformance tests, which use more of it")]
mod router;

use std::net::SocketAddr;
use std::time::Duration;

use mkube_routeros_host::Timings;
use router::{Router, timings, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of the file that is served.
const SIZE: usize = 300_000;

fn contents() -> Vec<u8> {
    (0..SIZE).map(|index| (index % 251) as u8).collect()
}

/// What the server does with a request, by its path.
async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let all = contents();
    let ok = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let (answer, body): (String, &[u8]) = match path {
        "/file.tar" => (ok(SIZE), &all),
        "/empty" => (ok(0), &[]),
        "/text" => (ok(5), b"hello"),
        "/cut" => (ok(SIZE), &all[..SIZE / 2]),
        "/huge" => (ok(usize::MAX / 4), &[]),
        "/slow" => {
            socket.write_all(ok(SIZE).as_bytes()).await?;
            for part in all.chunks(SIZE / 10) {
                socket.write_all(part).await?;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            return Ok(());
        }
        "/stuck" => {
            socket.write_all(ok(SIZE).as_bytes()).await?;
            // Until the other side has had enough.
            let _ = socket.read_u8().await;
            return Ok(());
        }
        "/secret" if head.contains("authorization: Basic dTpwYXNz\r\n") && head.contains("x-a: b\r\n") => {
            (ok(5), b"hello")
        }
        "/moved" => {
            ("HTTP/1.1 302 Found\r\nlocation: /text\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(), &[])
        }
        _ => ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(), &[]),
    };
    socket.write_all(answer.as_bytes()).await?;
    socket.write_all(body).await?;
    socket.shutdown().await
}

async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// Everything that lies on the device, without the disks themselves.
async fn files(router: &Router) -> Vec<(String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let rows = router.rows("/file?.proplist=name,type,size").await;
    let files = rows.iter().filter(|row| row["type"] != "disk" && row["type"] != "directory");
    files.map(|row| (text(row, "name"), text(row, "size"))).collect()
}

fn half_done(router: &Router) -> usize {
    std::fs::read_dir(router.directory.path().join("fetching")).map_or(0, Iterator::count)
}

async fn fetch(router: &Router, server: SocketAddr, path: &str, more: Value) -> router::Reply {
    let mut body = json!({"url": format!("http://{server}{path}"), "dst-path": "disk1/cache/f.tar"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    router.post("/tool/fetch", body).await
}

#[tokio::test]
async fn a_file_is_there_whole_with_its_directories_and_its_size_is_told() {
    let (router, server) = (Router::new().await, server().await);
    let frames = fetch(&router, server, "/file.tar", json!({})).await.ok(200);
    let last = frames.as_array().and_then(|frames| frames.last()).expect("a frame").clone();
    assert_eq!(
        (&last["status"], &last["downloaded"], &last["total"]),
        (&json!("finished"), &json!("293"), &json!("293"))
    );
    assert!(last[".section"].is_string() && last["duration"].is_string(), "{last}");
    assert_eq!(files(&router).await, [("disk1/cache/f.tar".into(), SIZE.to_string())]);
    let path = router.directory.path().join("disk1/cache/f.tar");
    assert_eq!(std::fs::read(path).expect("readable"), contents());
    let size = json!({"number": "disk1/cache/f.tar", "value-name": "size"});
    assert_eq!(router.post("/file/get", size).await.ok(200), json!({"ret": SIZE.to_string()}));
    router
        .post("/file/get", json!({"number": "disk1/none", "value-name": "size"}))
        .await
        .is_exactly(404, router::NOT_FOUND);
    // Another one takes its place.
    fetch(&router, server, "/text", json!({})).await.ok(200);
    assert_eq!(files(&router).await, [("disk1/cache/f.tar".into(), "5".into())]);
    fetch(&router, server, "/empty", json!({"dst-path": "e"})).await.ok(200);
    assert_eq!(half_done(&router), 0);
}

#[tokio::test]
async fn what_does_not_come_whole_leaves_nothing() {
    let (router, server) = (Router::new().await, server().await);
    for (path, more, words) in [
        ("/none", json!({}), "failure: Fetch failed with status 404"),
        ("/cut", json!({}), "failure: Fetch failed: connection closed"),
        ("/huge", json!({}), "failure: no space left on disk"),
        ("/stuck", json!({"idle-timeout": "1s"}), "failure: Fetch failed: idle timeout"),
        ("/stuck", json!({"duration": "1s"}), "failure: Fetch failed: timeout"),
        ("/moved", json!({}), "failure: Fetch failed with status 302"),
        ("/file.tar", json!({"dst-path": "../up"}), "failure: invalid dst-path"),
        ("/file.tar", json!({"dst-path": "disk1"}), "failure: can not create file"),
        ("/file.tar", json!({"url": "http://127.0.0.1:1/x"}), "failure: Fetch failed: could not connect"),
        ("/file.tar", json!({"url": "http://:x/"}), "failure: Fetch failed: invalid url"),
    ] {
        fetch(&router, server, path, more).await.refuses(400, words);
        assert_eq!(files(&router).await, [], "{path}: {words}");
        assert_eq!(half_done(&router), 0, "{path}: {words}");
    }
}

#[tokio::test]
async fn an_older_file_stays_when_the_new_one_does_not_come() {
    let (router, server) = (Router::new().await, server().await);
    fetch(&router, server, "/text", json!({})).await.ok(200);
    fetch(&router, server, "/cut", json!({})).await.refuses(400, "connection closed");
    assert_eq!(files(&router).await, [("disk1/cache/f.tar".into(), "5".into())]);
}

#[tokio::test]
async fn headers_user_redirections_and_output_are_those_asked_for() {
    let (router, server) = (Router::new().await, server().await);
    let asked = json!({"user": "u", "password": "pass", "http-header-field": "x-a: b", "output": "user"});
    let frames = fetch(&router, server, "/secret", asked).await.ok(200);
    assert_eq!(frames[1]["data"], "hello");
    fetch(&router, server, "/secret", json!({})).await.refuses(400, "status 404");
    let followed = json!({"http-max-redirect-count": "2", "output": "user-with-headers"});
    let frames = fetch(&router, server, "/moved", followed).await.ok(200);
    assert_eq!(frames[1]["data"], "hello");
    assert!(frames[1]["http-headers"].as_str().is_some_and(|text| text.contains("content-length: 5")), "{frames}");
    fetch(&router, server, "/file.tar", json!({"output": "user"})).await.refuses(400, "too much data");
    fetch(&router, server, "/text", json!({"output": "none"})).await.ok(200);
    assert_eq!(files(&router).await, []);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_taken_unless_it_is_to_be_checked() {
    let (router, other) = (Router::new().await, Router::new().await);
    let url = format!("https://{}/", other.host.tls_address().expect("it serves TLS"));
    let ask = |check: &str| json!({"url": url, "output": "user", "check-certificate": check});
    router.post("/tool/fetch", ask("yes")).await.refuses(400, "SSL: ssl: no trusted CA certificate found (6)");
    let frames = router.post("/tool/fetch", ask("no")).await.ok(200);
    assert!(frames[1]["data"].as_str().is_some_and(|page| page.contains("RouterOS")), "{frames}");
}

#[tokio::test]
async fn a_download_outlives_the_session_that_began_it() {
    let router = Router::with("7.23.2", Timings { longest: Duration::from_millis(100), ..timings() }).await;
    let server = server().await;
    fetch(&router, server, "/slow", json!({})).await.refuses(400, "Session closed");
    assert_eq!(files(&router).await, [], "not before it is whole");
    until("the file is there", || async { (files(&router).await.len() == 1).then_some(()) }).await;
    assert_eq!(files(&router).await, [("disk1/cache/f.tar".into(), SIZE.to_string())]);
}

#[tokio::test]
async fn a_job_fetches_without_anybody_waiting() {
    let (router, server) = (Router::new().await, server().await);
    let script = format!("/tool/fetch url=\"http://{server}/file.tar\" dst-path=\"disk1/j.tar\"");
    let job = router.post("/execute", json!({"script": script})).await.ok(200);
    assert!(job["ret"].as_str().is_some_and(|id| id.starts_with('*')), "{job}");
    until("the file is there", || async { (files(&router).await.len() == 1).then_some(()) }).await;
    router.post("/execute", json!({"script": ":put 1"})).await.refuses(400, "runs no scripts");
}

#[tokio::test]
async fn downloads_go_wrong_on_request() {
    let (router, server) = (Router::new().await, server().await);
    for (rule, words) in [
        (json!({"fetch": "cut"}), "connection closed"),
        (json!({"match": {"path": "/tool/fetch"}, "disk_full": true}), "no space left on disk"),
    ] {
        router.faults(json!([rule])).await;
        fetch(&router, server, "/file.tar", json!({})).await.refuses(400, words);
        assert_eq!(files(&router).await, [], "{words}");
        assert_eq!(half_done(&router), 0);
    }
    router.faults(json!([{"fetch": "short", "when": {"nth": 1}}])).await;
    fetch(&router, server, "/file.tar", json!({})).await.ok(200);
    assert_eq!(
        files(&router).await,
        [("disk1/cache/f.tar".into(), (SIZE / 2).to_string())],
        "half of it, and it says finished"
    );
    fetch(&router, server, "/file.tar", json!({})).await.ok(200);
    assert_eq!(files(&router).await, [("disk1/cache/f.tar".into(), SIZE.to_string())]);
}

#[tokio::test]
async fn who_may_not_write_files_may_not_fetch() {
    let (mut router, server) = (Router::new().await, server().await);
    router.put("/user", json!({"name": "w", "group": "write", "password": "p"})).await.ok(201);
    router.log_in("w", "p");
    fetch(&router, server, "/text", json!({})).await.refuses(500, "not enough permissions (9)");
}
