//! Real servers on loopback, good ones and hostile ones, and what is made of their answers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use mkube_model::neighbours::prober::{Prober, Question, Verdict};
use mkube_probing::NetworkProber;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than any good answer takes here.
const LONG: Duration = Duration::from_secs(20);
/// For answers that never come.
const SHORT: Duration = Duration::from_millis(300);

/// A server that does this with each connection; its port and how many there were.
async fn server<F, W>(serve: F) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (port, connections)
}

/// The head of a request.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server that answers every request with these bytes.
async fn answering(text: &'static str) -> u16 {
    let serve = move |mut stream: TcpStream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(text.as_bytes()).await;
    };
    server(serve).await.0
}

fn get(port: u16, path: &str) -> Question {
    Question::Http { https: false, host: "127.0.0.1".into(), port, path: path.into(), headers: vec![] }
}

async fn ask(question: &Question, patience: Duration) -> Verdict {
    let _ = rustls::crypto::ring::default_provider().install_default();
    NetworkProber::new().expect("a client").ask(question, patience).await
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Bad(why) => why,
        good => panic!("{good:?}"),
    }
}

#[tokio::test]
async fn statuses_from_200_to_399_are_good_and_others_are_named() {
    for text in ["200 OK", "204 No Content", "304 Not Modified"] {
        let answer: &'static str = Box::leak(format!("HTTP/1.1 {text}\r\ncontent-length: 0\r\n\r\n").into_boxed_str());
        let verdict = ask(&get(answering(answer).await, "/"), LONG).await;
        assert!(!matches!(verdict, Verdict::Bad(_)), "{text}: {verdict:?}");
    }
    let port = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(why(ask(&get(port, "/"), LONG).await), "HTTP probe failed with statuscode: 503");
}

#[tokio::test]
async fn the_request_is_what_the_spec_says_and_no_connection_serves_twice() {
    let heard = Arc::new(std::sync::Mutex::new(String::new()));
    let hears = heard.clone();
    let (port, connections) = server(move |mut stream| {
        let hears = hears.clone();
        async move {
            loop {
                let request = head(&mut stream).await;
                if request.is_empty() {
                    return;
                }
                *hears.lock().expect("no poison") = request;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let headers = vec![("Host".into(), "shop.example".into()), ("X-Probe".into(), "one".into())];
    let question = Question::Http { https: false, host: "127.0.0.1".into(), port, path: "up?deep=1".into(), headers };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prober = NetworkProber::new().expect("a client");
    for _ in 0..3 {
        assert_eq!(prober.ask(&question, LONG).await, Verdict::Good);
    }
    let request = heard.lock().expect("no poison").to_lowercase();
    assert!(request.starts_with("get /up?deep=1 http/1.1\r\n"), "{request}");
    for line in ["host: shop.example\r\n", "x-probe: one\r\n", "user-agent: kube-probe/", "connection: close\r\n"] {
        assert!(request.contains(line), "{line:?} is not in {request}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn nobody_there_is_a_bad_answer_with_its_cause() {
    let port = mkube_free_ports::free_port();
    for question in [
        get(port, "/"),
        Question::Tcp { host: "127.0.0.1".into(), port },
        Question::Grpc { host: "127.0.0.1".into(), port, service: String::new() },
    ] {
        let why = why(ask(&question, LONG).await);
        assert!(why.contains("refused"), "{why}");
    }
}

#[tokio::test]
async fn whoever_hangs_at_whatever_moment_is_given_up() {
    let silent = server(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    });
    let in_the_head = server(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").await;
        loop {
            if stream.write_all(b"z").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let in_the_body = server(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12").await;
        std::future::pending::<()>().await;
    });
    for port in [silent.await.0, in_the_head.await.0, in_the_body.await.0] {
        let why = why(ask(&get(port, "/"), SHORT).await);
        assert!(why.contains("within"), "{why}");
    }
    let (port, _) = server(|stream| async move {
        let _kept = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let grpc = Question::Grpc { host: "127.0.0.1".into(), port, service: String::new() };
    assert!(why(ask(&grpc, SHORT).await).contains("within"));
}

#[tokio::test]
async fn of_an_endless_body_only_the_beginning_is_read() {
    let (port, _) = server(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(ask(&get(port, "/"), LONG).await, Verdict::Good);
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_and_not_without_end() {
    let (port, connections) = server(|mut stream| async move {
        let request = head(&mut stream).await;
        let answer = if request.starts_with("GET /good ") {
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()
        } else if request.starts_with("GET /bad ") {
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned()
        } else {
            let to = request.split(' ').nth(1).and_then(|path| path.split_once("to=")).map_or("/loop", |(_, to)| to);
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    assert_eq!(ask(&get(port, "/?to=/good"), LONG).await, Verdict::Good);
    assert_eq!(why(ask(&get(port, "/?to=/bad"), LONG).await), "HTTP probe failed with statuscode: 500");
    let before = connections.load(Ordering::SeqCst);
    let endless = why(ask(&get(port, "/loop"), LONG).await);
    assert!(endless.contains("redirect"), "{endless}");
    assert!(connections.load(Ordering::SeqCst) - before <= 12);
    match ask(&get(port, "/?to=http://another.example/"), LONG).await {
        Verdict::Doubtful(note) => assert!(note.contains("another.example"), "{note}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_is_a_bad_answer_and_nothing_worse() {
    for garbage in ["", "\u{0}\u{1}\u{2}", "HTTP/1.1 999999 what\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "SSH-2.0-x\r\n"] {
        let port = answering(garbage).await;
        why(ask(&get(port, "/"), LONG).await);
        let grpc = Question::Grpc { host: "127.0.0.1".into(), port, service: "s".into() };
        why(ask(&grpc, LONG).await);
    }
    let endless_head = server(|mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"x-more: and more and more and more\r\n").await.is_ok() {}
    });
    why(ask(&get(endless_head.await.0, "/"), LONG).await);
    let headers = vec![("not a name".into(), "x".into())];
    let question = Question::Http { https: false, host: "127.0.0.1".into(), port: 1, path: "/".into(), headers };
    assert!(why(ask(&question, LONG).await).contains("header"));
}

#[tokio::test]
async fn https_is_asked_whoever_signed_the_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["somebody.example".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (port, _) = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let question = Question::Http { https: true, host: "127.0.0.1".into(), port, path: "/".into(), headers: vec![] };
    assert_eq!(ask(&question, LONG).await, Verdict::Good);
}

/// A gRPC server: `up` serves, `down` does not, others are not known to it.
async fn health_server() -> u16 {
    let serve = |stream: TcpStream| async move {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut body = request.into_body();
                let mut asked = Vec::new();
                while let Some(Ok(chunk)) = body.data().await {
                    let _ = body.flow_control().release_capacity(chunk.len());
                    asked.extend_from_slice(&chunk);
                }
                let service = String::from_utf8_lossy(asked.get(7..).unwrap_or_default()).into_owned();
                let head = Response::builder().header("content-type", "application/grpc");
                let status = match service.as_str() {
                    "" | "up" => 1,
                    "down" => 2,
                    _ => {
                        let head = head.header("grpc-status", "5").header("grpc-message", "who is that");
                        let _ = respond.send_response(head.body(()).expect("a head"), true);
                        return;
                    }
                };
                let Ok(mut stream) = respond.send_response(head.body(()).expect("a head"), false) else { return };
                let _ = stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let _ = stream.send_trailers(trailers);
            });
        }
    };
    server(serve).await.0
}

#[tokio::test]
async fn a_grpc_server_is_asked_for_the_service_and_believed() {
    let port = health_server().await;
    let asked = |service: &str| Question::Grpc { host: "127.0.0.1".into(), port, service: service.into() };
    assert_eq!(ask(&asked(""), LONG).await, Verdict::Good);
    assert_eq!(ask(&asked("up"), LONG).await, Verdict::Good);
    assert!(why(ask(&asked("down"), LONG).await).contains("NOT_SERVING"));
    assert!(why(ask(&asked("nobody"), LONG).await).contains("who is that"));
}

#[tokio::test]
async fn a_connection_is_all_a_tcp_probe_wants() {
    let (port, _) = server(|stream| async move { drop(stream) }).await;
    assert_eq!(ask(&Question::Tcp { host: "127.0.0.1".into(), port }, LONG).await, Verdict::Good);
}
