//! Asking others: one after the other, each for a short time, whoever did not answer lately last.
//!
//! Each try has a socket of its own, connected, so that the port is new, nobody else's packet comes in, and a closed port is heard
//! of at once. An answer counts only with the id and the question that were sent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cache::{Cache, Told};
use crate::question::HEADER;
use crate::reply::PAYLOAD;

/// Questions that are with others at once.
const IN_FLIGHT: usize = 1000;
/// How long each is waited for, in the first and in the second round.
const PATIENCE: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(1200)];
/// How long all of it may take: stub resolvers give up after five seconds.
const DEADLINE: Duration = Duration::from_millis(4500);
/// How long one that did not answer is asked last.
const SILENT: Duration = Duration::from_secs(20);
/// Servers that are remembered.
const REMEMBERED: usize = 1024;
/// Longest life of an answer, and of one that says that there is nothing.
const LONGEST: [u32; 2] = [86_400, 3_600];

/// What came of a try.
enum Try {
    /// It knows, or knows that there is nothing.
    Told(Box<Message>),
    /// It does not know.
    Unhelpful,
    /// Nothing came.
    Silence,
}

/// Who asks, and what is remembered of it.
pub struct Forwarding {
    cache: Cache,
    silent: Mutex<BTreeMap<SocketAddr, Instant>>,
    in_flight: Arc<Semaphore>,
    random: SystemRandom,
}

impl Forwarding {
    /// With room for so many answers.
    pub fn new(cache: usize) -> Self {
        Self {
            cache: Cache::new(cache),
            silent: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            random: SystemRandom::new(),
        }
    }

    /// What others told before.
    pub fn known(&self, name: &[u8], kind: u16) -> Option<Arc<Told>> {
        self.cache.get(name, kind, Instant::now())
    }

    /// Forgets what others told: it may not hold any more.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// Room for one more question; none when too many are with others.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.in_flight.clone().try_acquire_owned().ok()
    }

    fn silent(&self) -> std::sync::MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks; nothing when nobody answers in time.
    pub async fn ask(&self, servers: &[SocketAddr], name: &[u8], kind: u16) -> Option<Arc<Told>> {
        let deadline = Instant::now() + DEADLINE;
        let generation = self.cache.generation();
        let query = query(name, kind)?;
        for patience in PATIENCE {
            let mut someone_may = false;
            for server in self.in_order(servers) {
                let until = (Instant::now() + patience).min(deadline);
                if until <= Instant::now() {
                    return None;
                }
                match self.try_one(server, &query, until).await {
                    Try::Told(message) => {
                        self.silent().remove(&server);
                        let told = Arc::new(told(*message)?);
                        self.cache.put(name, kind, &told, generation);
                        return Some(told);
                    }
                    Try::Unhelpful => {
                        self.silent().remove(&server);
                    }
                    Try::Silence => {
                        someone_may = true;
                        self.note_silent(server);
                    }
                }
            }
            // Who answered that it does not know says the same again.
            if !someone_may {
                return None;
            }
        }
        None
    }

    /// As they were given, but those that were silent lately last.
    fn in_order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let now = Instant::now();
        let silent = self.silent();
        let mut order = servers.to_vec();
        order.sort_by_key(|server| silent.get(server).is_some_and(|until| *until > now));
        order
    }

    fn note_silent(&self, server: SocketAddr) {
        let mut silent = self.silent();
        if silent.len() >= REMEMBERED {
            silent.clear();
        }
        silent.insert(server, Instant::now() + SILENT);
    }

    async fn try_one(&self, server: SocketAddr, query: &Query, until: Instant) -> Try {
        let mut id = [0; 2];
        if self.random.fill(&mut id).is_err() {
            return Try::Silence;
        }
        let mut message = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
        let Ok(bytes) = message.to_vec() else { return Try::Silence };
        let over_udp = timeout_at(until, ask_udp(server, &bytes, &message)).await;
        let told = match over_udp {
            Ok(Ok(told)) if !told.metadata.truncation => told,
            Ok(Ok(_)) => match timeout_at(until, ask_tcp(server, &bytes, &message)).await {
                Ok(Ok(told)) => told,
                _ => return Try::Silence,
            },
            _ => return Try::Silence,
        };
        match told.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Try::Told(Box::new(told)),
            _ => Try::Unhelpful,
        }
    }
}

fn query(name: &[u8], kind: u16) -> Option<Query> {
    let name = Name::read(&mut BinDecoder::new(name)).ok()?;
    Some(Query::query(name, RecordType::from(kind)))
}

/// Whether a message answers what was asked.
fn answers(message: &Message, asked: &Message) -> bool {
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == asked.metadata.id
        && message.metadata.op_code == OpCode::Query
        && message.queries.len() == 1
        && message.queries.first() == asked.queries.first()
}

fn anywhere(server: SocketAddr) -> SocketAddr {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

async fn ask_udp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let socket = UdpSocket::bind(anywhere(server)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(message) if answers(&message, asked) => return Ok(message),
            // A stranger's guess: the right one may still come.
            _ => {}
        }
    }
}

async fn ask_tcp(server: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    send_framed(&mut stream, bytes).await?;
    let answer = receive_framed(&mut stream).await?;
    let message = Message::from_vec(&answer).map_err(io::Error::other)?;
    if answers(&message, asked) { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Sends a message on a connection, its length before it, in one piece.
pub async fn send_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(bytes.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await
}

/// Receives a message on a connection.
pub async fn receive_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A fresh connection with a deadline.
pub async fn connect(server: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    timeout(patience, TcpStream::connect(server)).await.map_err(io::Error::from)?
}

/// What is kept of an answer: question, answers and authorities, in our own encoding.
fn told(mut message: Message) -> Option<Told> {
    message.edns = None;
    message.signature = None;
    message.additionals.clear();
    for query in &message.queries {
        if query.query_class() != DNSClass::IN {
            return None;
        }
    }
    let code = message.metadata.response_code;
    let nothing = code == ResponseCode::NXDomain || message.answers.is_empty();
    let seconds = if nothing {
        // RFC 2308: the lesser of the SOA's own TTL and its minimum; without one, for this once only.
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        soa.unwrap_or(0).min(LONGEST[1])
    } else {
        message.answers.iter().map(|record| record.ttl).min().unwrap_or(0).min(LONGEST[0])
    };
    let bytes = message.to_vec().ok()?;
    let ttls = ttls(&bytes)?;
    Some(Told { message: bytes, ttls, life: Duration::from_secs(seconds.into()), at: Instant::now() })
}

/// Where TTLs stand in a message of ours.
fn ttls(bytes: &[u8]) -> Option<Vec<usize>> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let mut at = after_name(bytes, HEADER)? + 4;
    let mut found = Vec::new();
    for _ in 0..count(6)? + count(8)? + count(10)? {
        at = after_name(bytes, at)?;
        found.push(at + 4);
        at += 10 + count(at + 8)?;
    }
    (at == bytes.len()).then_some(found)
}

fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}
