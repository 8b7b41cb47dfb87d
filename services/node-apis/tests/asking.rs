//! Asking somebody who answers well, badly or not at all.

use std::net::SocketAddr;
use std::time::Duration;

use mkube_model::neighbours::node_apis::{NodeAnswer, NodeApis, NodeBody, NodeRequest, Unanswered};
use mkube_node_apis::{HttpNodeApis, Patience};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

fn apis() -> HttpNodeApis {
    HttpNodeApis::new(Patience { connection: LONG, head: LONG }).expect("a client")
}

fn request(to: SocketAddr, headers: &[(&str, &str)]) -> NodeRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    NodeRequest { to, method: "POST".to_owned(), path: "/a%20b?c=d&c=%26".to_owned(), headers }
}

/// Answers each of so many connections; the heads of what was asked on them, and the connections.
async fn somebody<const TIMES: usize>(
    answers: [&'static str; TIMES],
) -> (SocketAddr, JoinHandle<Vec<(String, TcpStream)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let answering = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(client.read_buf(&mut head).await.expect("it asks") > 0, "it went");
            }
            client.write_all(answer.as_bytes()).await.expect("it listens");
            asked.push((String::from_utf8_lossy(&head).into_owned(), client));
        }
        asked
    });
    (address, answering)
}

/// The body, or what became of it.
async fn body(answer: NodeAnswer) -> Result<String, String> {
    let NodeBody::Pieces(mut pieces) = answer.body else { return Err("it was upgraded".to_owned()) };
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

#[tokio::test]
async fn a_request_goes_there_as_it_is_on_a_connection_of_its_own() {
    let good = "HTTP/1.1 200 OK\r\nX-A: b\r\nconnection: keep-alive\r\ncontent-length: 4\r\n\r\nword";
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n";
    let (to, answering) = somebody(["HTTP/1.1 204 No Content\r\n\r\n", good, elsewhere]).await;
    let apis = apis();
    let answer =
        apis.ask(request(to, &[("accept", "text/plain"), ("x-a", "1"), ("x-a", "2")])).await.expect("answered");
    assert_eq!((answer.code, body(answer).await), (204, Ok(String::new())));
    let answer = apis.ask(request(to, &[])).await.expect("answered");
    assert_eq!((answer.code, answer.header("x-a"), answer.header("x-b")), (200, Some("b"), None));
    assert_eq!(body(answer).await.as_deref(), Ok("word"));
    assert_eq!(apis.ask(request(to, &[])).await.expect("answered").code, 307, "what it says is not done");
    let asked = answering.await.expect("three connections");
    let mut lines: Vec<&str> = asked[0].0.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.remove(0), "POST /a%20b?c=d&c=%26 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {to}");
    assert_eq!(lines, ["accept: text/plain", host.as_str(), "x-a: 1", "x-a: 2"]);
}

#[tokio::test]
async fn an_upgraded_connection_has_bytes_both_ways_and_ends_with_whoever_holds_it() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\nat once";
    let (to, answering) = somebody([switching]).await;
    let asked = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let answer = apis().ask(request(to, &asked)).await.expect("answered");
    assert_eq!((answer.code, answer.header("upgrade")), (101, Some("SPDY/3.1")));
    let NodeBody::Upgraded(mut stream) = answer.body else { panic!("it is upgraded") };
    let mut read = [0; 7];
    stream.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"at once");
    stream.write_all(b"and back").await.expect("written");
    stream.flush().await.expect("written");
    let (_, mut there) = answering.await.expect("a connection").remove(0);
    let mut read = [0; 8];
    there.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"and back");
    drop(stream);
    assert_eq!(there.read(&mut read).await.expect("its end"), 0);
}

#[tokio::test]
async fn whoever_is_not_there_or_speaks_something_else_is_away_and_who_says_nothing_late() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let to = listener.local_addr().expect("bound");
    let impatient = Patience { connection: LONG, head: Duration::from_millis(50) };
    let late = HttpNodeApis::new(impatient).expect("a client").ask(request(to, &[])).await;
    assert_eq!(late.err(), Some(Unanswered::Late));
    drop(listener);
    let away = async |to| match apis().ask(request(to, &[("authorization", "x")])).await {
        Err(Unanswered::Away(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(answer) => panic!("{}", answer.code),
    };
    let why = away(to).await;
    assert!(why.contains("refused") && !why.contains("c=d"), "{why}");
    let (to, _there) = somebody(["SSH-2.0-hello\r\n"]).await;
    away(to).await;
}

#[tokio::test]
async fn a_body_that_is_lost_on_the_way_is_no_end() {
    let torn = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nword";
    let (to, answering) = somebody([torn]).await;
    let answer = apis().ask(request(to, &[])).await.expect("answered");
    drop(answering.await.expect("a connection"));
    body(answer).await.expect_err("it was longer");
}
