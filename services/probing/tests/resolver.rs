//! A name server that answers well, badly, and not at all.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use mkube_model::neighbours::resolver::Resolver;
use mkube_probing::NetworkResolver;
use tokio::net::UdpSocket;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_secs(30);

/// Answers the next question with what is made of it; before that come datagrams that are no answer to it.
async fn server(answer: fn(Message) -> Message) -> NetworkResolver {
    let socket = UdpSocket::bind((LOCAL, 0)).await.expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
        let question = Message::from_vec(&buffer[..length]).expect("a question");
        let answer = answer(question);
        let mut guess = answer.clone();
        guess.metadata.id = guess.metadata.id.wrapping_add(1);
        for bytes in [b"hostile".to_vec(), guess.to_vec().expect("bytes"), answer.to_vec().expect("bytes")] {
            socket.send_to(&bytes, from).await.expect("sent");
        }
    });
    NetworkResolver::on_port(port)
}

fn answered(question: Message, code: ResponseCode, addresses: &[[u8; 4]]) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = hickory_proto::op::MessageType::Response;
    answer.metadata.response_code = code;
    for address in addresses {
        let name = question.queries[0].name().clone();
        answer.add_answer(Record::from_rdata(name, 60, RData::A(A::from(Ipv4Addr::from(*address)))));
    }
    answer
}

#[tokio::test]
async fn the_addresses_of_an_answer_are_told_whatever_comes_before_it() {
    let resolver = server(|question| answered(question, ResponseCode::NoError, &[[10, 0, 0, 1], [10, 0, 0, 2]])).await;
    let found = resolver.addresses(LOCAL, "rose1.gt.lo", LONG).await.expect("an answer");
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
}

#[tokio::test]
async fn who_knows_no_such_name_or_says_nothing_is_told_apart() {
    let resolver = server(|question| answered(question, ResponseCode::NXDomain, &[])).await;
    let why = resolver.addresses(LOCAL, "rose1.gt.lo", LONG).await.expect_err("no answer");
    assert!(why.contains("there is no rose1.gt.lo"), "{why}");
    let silent = UdpSocket::bind((LOCAL, 0)).await.expect("a socket");
    let resolver = NetworkResolver::on_port(silent.local_addr().expect("an address").port());
    let why = resolver.addresses(LOCAL, "rose1.gt.lo", Duration::from_millis(50)).await.expect_err("no answer");
    assert!(why.contains("did not answer"), "{why}");
}
