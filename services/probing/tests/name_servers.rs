//! Name servers on loopback, honest ones and liars, over real UDP and TCP sockets.

use std::net::SocketAddr;
use std::time::Duration;

use mkube_model::neighbours::prober::{Prober, Question, Verdict};
use mkube_probing::NetworkProber;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Longer than any good answer takes here.
const LONG: Duration = Duration::from_secs(20);
/// For answers that never come; each way has a half of it.
const SHORT: Duration = Duration::from_millis(600);

/// What comes back for a question; nothing: silence.
type Reply = fn(&[u8]) -> Vec<Vec<u8>>;

/// A server with these manners over UDP and over TCP, on the same port; without manners nobody listens there.
async fn server(udp: Option<Reply>, tcp: Option<Reply>) -> u16 {
    let (listener, socket) = both().await;
    let port = socket.local_addr().expect("an address").port();
    if let Some(reply) = udp {
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                for answer in reply(&question[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
    }
    if let Some(reply) = tcp {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(length) = stream.read_u16().await else { continue };
                let mut question = vec![0; length.into()];
                if stream.read_exact(&mut question).await.is_err() {
                    continue;
                }
                let answers = reply(&question);
                for answer in &answers {
                    let length = u16::try_from(answer.len()).expect("it fits");
                    let _ = stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await;
                }
                if answers.is_empty() {
                    // It hangs with the connection open.
                    tokio::spawn(async move {
                        let _kept = stream;
                        std::future::pending::<()>().await;
                    });
                }
            }
        });
    }
    port
}

/// A port that is free for UDP and TCP.
async fn both() -> (TcpListener, UdpSocket) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("an address")).await {
            return (listener, socket);
        }
    }
}

/// The question as an answer, with this result.
fn answered(question: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = rcode;
    answer
}

fn silence(_: &[u8]) -> Vec<Vec<u8>> {
    vec![]
}

fn honest(question: &[u8]) -> Vec<Vec<u8>> {
    vec![answered(question, 0)]
}

fn wrong_id(question: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = answered(question, 0);
    answer[0] ^= 0xff;
    vec![answer]
}

fn another_question(question: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = answered(question, 0);
    answer[13] ^= 0x01;
    vec![answer]
}

fn echo(question: &[u8]) -> Vec<Vec<u8>> {
    vec![question.to_vec()]
}

fn garbage(_: &[u8]) -> Vec<Vec<u8>> {
    vec![vec![], vec![0xff; 3], vec![0xc0; 40], b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), vec![0xff; 10 * 1024]]
}

fn flood(_: &[u8]) -> Vec<Vec<u8>> {
    vec![vec![0x5a; 100]; 200]
}

fn late_ones_first(question: &[u8]) -> Vec<Vec<u8>> {
    [wrong_id(question), vec![vec![1, 2, 3]], honest(question)].concat()
}

/// Ten kilobytes behind a head and question that are right.
fn long(question: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = answered(question, 0);
    answer.resize(10 * 1024, 0);
    vec![answer]
}

async fn ask_at(host: &str, port: u16, zone: &str, patience: Duration) -> Verdict {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let question = Question::Dns { host: host.into(), port, zone: zone.into() };
    NetworkProber::new().expect("a client").ask(&question, patience).await
}

async fn ask(port: u16, patience: Duration) -> Verdict {
    ask_at("127.0.0.1", port, "gt.lo", patience).await
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Bad(why) => why,
        good => panic!("{good:?}"),
    }
}

#[tokio::test]
async fn whatever_a_server_answers_it_is_alive() {
    // NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED.
    let replies: [Reply; 6] = [
        honest,
        |question| vec![answered(question, 1)],
        |question| vec![answered(question, 2)],
        |question| vec![answered(question, 3)],
        |question| vec![answered(question, 4)],
        |question| vec![answered(question, 5)],
    ];
    for (rcode, reply) in replies.into_iter().enumerate() {
        assert_eq!(ask(server(Some(reply), None).await, LONG).await, Verdict::Good, "rcode {rcode}");
    }
    let head_only: Reply = |question| {
        let mut head = answered(question, 1)[..12].to_vec();
        head[5] = 0;
        vec![head]
    };
    assert_eq!(ask(server(Some(head_only), None).await, LONG).await, Verdict::Good, "it did not understand");
}

#[tokio::test]
async fn the_question_is_for_the_soa_of_the_zone_or_else_of_the_root() {
    let root: Reply = |question| if question[12..] == [0, 0, 6, 0, 1] { honest(question) } else { vec![] };
    assert_eq!(ask_at("127.0.0.1", server(Some(root), None).await, "", LONG).await, Verdict::Good);
    let zone: Reply =
        |question| if question[12..] == *b"\x02gt\x02lo\x00\x00\x06\x00\x01" { honest(question) } else { vec![] };
    for name in ["gt.lo", "gt.lo."] {
        assert_eq!(ask_at("127.0.0.1", server(Some(zone), None).await, name, LONG).await, Verdict::Good);
    }
    assert!(why(ask_at("127.0.0.1", 1, "no..name", LONG).await).contains("no name of a zone"));
}

#[tokio::test]
async fn answers_to_other_questions_and_garbage_are_none_over_either_way() {
    let lies: [Reply; 5] = [wrong_id, another_question, echo, garbage, flood];
    for (number, lie) in lies.into_iter().enumerate() {
        let why = why(ask(server(Some(lie), Some(lie)).await, SHORT).await);
        assert!(why.contains("over UDP") && why.contains("over TCP"), "{number}: {why}");
    }
}

#[tokio::test]
async fn a_right_answer_counts_after_wrong_ones_and_however_long_it_is() {
    assert_eq!(ask(server(Some(late_ones_first), None).await, LONG).await, Verdict::Good);
    assert_eq!(ask(server(Some(long), None).await, LONG).await, Verdict::Good);
    let verdict = ask(server(Some(silence), Some(long)).await, SHORT).await;
    assert!(matches!(verdict, Verdict::Doubtful(_)), "{verdict:?}");
}

#[tokio::test]
async fn an_answer_over_tcp_is_a_second_opinion_and_is_noted() {
    match ask(server(Some(silence), Some(honest)).await, SHORT).await {
        Verdict::Doubtful(note) => assert!(note.contains("over TCP only"), "{note}"),
        other => panic!("{other:?}"),
    }
    match ask(server(Some(garbage), Some(honest)).await, SHORT).await {
        Verdict::Doubtful(_) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_is_silent_over_both_is_given_up_in_time() {
    let port = server(Some(silence), Some(silence)).await;
    let began = tokio::time::Instant::now();
    assert!(why(ask(port, SHORT).await).contains("within"));
    assert!(began.elapsed() < LONG);
}

#[tokio::test]
async fn a_closed_port_is_a_bad_answer_at_once_and_its_machine_is_reached() {
    let port = {
        let (_listener, socket) = both().await;
        let address: SocketAddr = socket.local_addr().expect("an address");
        address.port()
    };
    assert!(why(ask(port, LONG).await).contains("refused"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let prober = NetworkProber::new().expect("a client");
    assert_eq!(prober.ask(&Question::Reach { host: "127.0.0.1".into() }, LONG).await, Verdict::Good);
    // No connection is made to everybody, so no packet leaves.
    let nobody = Question::Reach { host: "255.255.255.255".into() };
    assert!(matches!(prober.ask(&nobody, SHORT).await, Verdict::Bad(_)));
}
