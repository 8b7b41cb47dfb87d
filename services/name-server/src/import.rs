//! A whole zone from another server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout_at};

use crate::forwarding::{connect, receive_framed, send_framed};
use crate::names::{is_within, text_of, zone_wire};
use crate::rdata;
use crate::records::{Data, Soa};

/// How long a whole zone may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// Records and bytes of a zone.
const RECORDS: usize = 100_000;
const BYTES: usize = 100 << 20;

/// What another server has.
pub struct Pulled {
    /// The zone's SOA, its serial included.
    pub soa: Soa,
    /// Name within the zone, TTL and data.
    pub rows: Vec<(String, u32, Data)>,
}

/// Copies a zone.
///
/// # Errors
/// Who is asked refuses, or stops in the middle.
pub async fn pull(primary: SocketAddr, zone: &str) -> io::Result<Pulled> {
    let until = Instant::now() + PATIENCE;
    let apex = zone_wire(zone).map_err(io::Error::other)?;
    let name = Name::read(&mut BinDecoder::new(apex.bytes())).map_err(io::Error::other)?;
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).map_err(|_| io::Error::other("no random numbers"))?;
    let id = u16::from_be_bytes(id);
    let mut asked = Message::new(id, MessageType::Query, OpCode::Query);
    asked.add_query(Query::query(name.clone(), RecordType::AXFR));
    let mut stream = connect(primary, CONNECTING).await?;
    send_framed(&mut stream, &asked.to_vec().map_err(io::Error::other)?).await?;
    let (mut soa, mut rows, mut bytes) = (None, Vec::new(), 0);
    loop {
        let packet = timeout_at(until, receive_framed(&mut stream)).await??;
        bytes += packet.len();
        let message = Message::from_vec(&packet).map_err(io::Error::other)?;
        let code = message.metadata.response_code;
        if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
            return Err(io::Error::other("the answer belongs to another question"));
        }
        if code != ResponseCode::NoError || message.answers.is_empty() {
            return Err(io::Error::other(format!("it answered {code} without records")));
        }
        for record in &message.answers {
            match (&record.data, &soa) {
                // Only the zone's own SOA begins and ends it.
                (RData::SOA(data), _) if record.name == name => {
                    if let Some(soa) = soa {
                        return Ok(Pulled { soa, rows });
                    }
                    soa = Some(Soa {
                        mname: dotless(&data.mname),
                        rname: dotless(&data.rname),
                        serial: data.serial,
                        refresh: data.refresh.unsigned_abs(),
                        retry: data.retry.unsigned_abs(),
                        expire: data.expire.unsigned_abs(),
                        minimum: data.minimum,
                    });
                }
                (_, None) => return Err(io::Error::other("it does not begin with the zone's SOA")),
                _ => rows.extend(row(record, apex.bytes())),
            }
        }
        if rows.len() > RECORDS || bytes > BYTES {
            return Err(io::Error::other(format!("it has more than {RECORDS} records or {BYTES} bytes")));
        }
    }
}

fn wire(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.iter() {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.to_ascii_lowercase());
    }
    bytes.push(0);
    bytes
}

fn dotless(name: &Name) -> String {
    text_of(&wire(name))
}

fn dotted(name: &Name) -> String {
    format!("{}.", text_of(&wire(name)))
}

/// A record as we keep it; none where it is outside the zone or of a type we do not keep.
fn row(record: &Record, apex: &[u8]) -> Option<(String, u32, Data)> {
    let name = wire(&record.name);
    if !is_within(&name, apex) {
        return None;
    }
    let mut own = name[..name.len() - apex.len()].to_vec();
    own.push(0);
    let own = if own.len() == 1 { "@".to_owned() } else { text_of(&own) };
    let data = match &record.data {
        RData::A(address) => Data::A(address.0),
        RData::AAAA(address) => Data::AAAA(address.0),
        RData::CNAME(target) => Data::CNAME(dotted(&target.0)),
        RData::NS(target) => Data::NS(dotted(&target.0)),
        RData::PTR(target) => Data::PTR(dotted(&target.0)),
        RData::MX(mx) => Data::MX { preference: mx.preference, exchange: dotted(&mx.exchange) },
        RData::SRV(srv) => {
            Data::SRV { priority: srv.priority, weight: srv.weight, port: srv.port, target: dotted(&srv.target) }
        }
        RData::TXT(text) => {
            let bytes: Vec<u8> = text.txt_data.iter().flat_map(|string| string.iter().copied()).collect();
            Data::TXT(String::from_utf8(bytes).ok()?)
        }
        _ => return None,
    };
    // What could not be answered is not kept.
    rdata::wire(&data).ok()?;
    Some((own, record.ttl, data))
}
