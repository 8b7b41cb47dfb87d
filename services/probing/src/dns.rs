//! The SOA record of a zone: over UDP, and when that brings nothing, over TCP. Only the head of an answer and its question are read:
//! whether it is an answer to this question is all that is wanted to be known.

use std::time::Duration;

use hickory_proto::op::{Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use mkube_model::neighbours::prober::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::network_prober::address;

/// What is read of an answer: head and question are never longer.
const READ: usize = 512;
/// Datagrams that are looked at before nothing more is expected of who sends them.
const MOST_DATAGRAMS: usize = 32;
/// The head of a message.
const HEAD: usize = 12;

/// Asks within `patience`, of which each way has a half.
pub(crate) async fn ask(host: &str, port: u16, zone: &str, patience: Duration) -> Verdict {
    let address = address(host, port);
    let question = match Question::of(zone) {
        Ok(question) => question,
        Err(why) => return Verdict::Bad(why),
    };
    let half = patience / 2;
    let over_udp = match timeout(half, udp(&address, &question)).await {
        Ok(Ok(())) => return Verdict::Good,
        Ok(Err(why)) => why,
        Err(_) => format!("no answer within {half:?}"),
    };
    match timeout(half, tcp(&address, &question)).await {
        Ok(Ok(())) => Verdict::Doubtful(format!("{address} answers over TCP only; over UDP: {over_udp}")),
        Ok(Err(why)) => Verdict::Bad(format!("{address} over UDP: {over_udp}; over TCP: {why}")),
        Err(_) => Verdict::Bad(format!("{address} over UDP: {over_udp}; over TCP: no answer within {half:?}")),
    }
}

/// One question, and its bytes.
struct Question {
    id: u16,
    query: Query,
    bytes: Vec<u8>,
}

impl Question {
    fn of(zone: &str) -> Result<Self, String> {
        let mut name = Name::from_ascii(zone).map_err(|error| format!("{zone:?} is no name of a zone: {error}"))?;
        name.set_fqdn(true);
        let query = Query::query(name, RecordType::SOA);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let bytes = message.to_vec().map_err(|error| format!("the question for {zone:?} cannot be asked: {error}"))?;
        Ok(Self { id: message.metadata.id, query, bytes })
    }

    /// Whether these bytes begin an answer to it, of whatever kind.
    fn check(&self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() < HEAD {
            return Err(format!("{} bytes are no answer", bytes.len()));
        }
        let mut decoder = BinDecoder::new(bytes);
        let head = Header::read(&mut decoder).map_err(|error| format!("what came is no answer: {error}"))?;
        if head.metadata.id != self.id {
            return Err(format!("an answer to question {}, not to {}", head.metadata.id, self.id));
        }
        if head.metadata.message_type != MessageType::Response {
            return Err("a question came back, not an answer".to_owned());
        }
        match head.counts.queries {
            // Who could not read the question does not repeat it.
            0 if head.metadata.response_code == ResponseCode::FormErr => Ok(()),
            1 => {
                let asked = Query::read(&mut decoder).map_err(|error| format!("its question is none: {error}"))?;
                if asked == self.query { Ok(()) } else { Err(format!("an answer to another question: {asked}")) }
            }
            others => Err(format!("an answer to {others} questions")),
        }
    }
}

/// An answer over UDP. Whatever else comes is passed over: it may be late, or of somebody who guesses.
async fn udp(address: &str, question: &Question) -> Result<(), String> {
    let from = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(from).await.map_err(|error| error.to_string())?;
    socket.connect(address).await.map_err(|error| error.to_string())?;
    socket.send(&question.bytes).await.map_err(|error| error.to_string())?;
    let mut buffer = [0; READ];
    let mut last = String::new();
    for _ in 0..MOST_DATAGRAMS {
        let length = socket.recv(&mut buffer).await.map_err(|error| error.to_string())?;
        match question.check(buffer.get(..length).unwrap_or_default()) {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(format!("{MOST_DATAGRAMS} datagrams and no answer among them: {last}"))
}

/// An answer over TCP, which has its length before it.
async fn tcp(address: &str, question: &Question) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let length = u16::try_from(question.bytes.len()).map_err(|error| error.to_string())?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&question.bytes);
    stream.write_all(&message).await.map_err(|error| error.to_string())?;
    let length = stream.read_u16().await.map_err(|error| error.to_string())?;
    let mut answer = vec![0; usize::from(length).min(READ)];
    stream.read_exact(&mut answer).await.map_err(|error| error.to_string())?;
    question.check(&answer)
}
