//! The addresses of a name, asked for over UDP. What does not fit into a datagram is not wanted here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use mkube_model::neighbours::resolver::Resolver;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Bytes of an answer without extensions.
const READ: usize = 512;
/// Datagrams that are looked at before nothing more is expected of who sends them.
const MOST_DATAGRAMS: usize = 32;

/// Asks servers on this port.
pub struct NetworkResolver {
    port: u16,
}

impl Default for NetworkResolver {
    fn default() -> Self {
        Self { port: 53 }
    }
}

impl NetworkResolver {
    /// Servers on another port than theirs.
    pub fn on_port(port: u16) -> Self {
        Self { port }
    }
}

#[async_trait]
impl Resolver for NetworkResolver {
    async fn addresses(&self, server: IpAddr, name: &str, patience: Duration) -> Result<BTreeSet<IpAddr>, String> {
        let asked = timeout(patience, ask(SocketAddr::new(server, self.port), name)).await;
        asked.unwrap_or_else(|_| Err(format!("{server} did not answer within {patience:?}")))
    }
}

async fn ask(server: SocketAddr, name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let failed = |error: std::io::Error| format!("{server}: {error}");
    let mut fqdn = Name::from_ascii(name).map_err(|error| format!("{name:?} cannot be asked for: {error}"))?;
    fqdn.set_fqdn(true);
    let query = Query::query(fqdn, RecordType::A);
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(query.clone());
    let bytes = question.to_vec().map_err(|error| format!("{name:?} cannot be asked for: {error}"))?;
    let from: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((from, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(&bytes).await.map_err(failed)?;
    let mut buffer = [0; READ];
    // Whatever else comes is passed over: it may be late, or of somebody who guesses.
    for _ in 0..MOST_DATAGRAMS {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default()) else { continue };
        let head = &answer.metadata;
        let is_ours = head.id == question.metadata.id
            && head.message_type == MessageType::Response
            && answer.queries.first() == Some(&query);
        if !is_ours {
            continue;
        }
        return match head.response_code {
            ResponseCode::NoError => Ok(addresses(&answer)),
            ResponseCode::NXDomain => Err(format!("{server} says that there is no {name}")),
            other => Err(format!("{server} answers {other}")),
        };
    }
    Err(format!("{MOST_DATAGRAMS} datagrams from {server}, and no answer among them"))
}

fn addresses(answer: &Message) -> BTreeSet<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}
