//! What a packet asks. Read with hickory's decoder: whatever a stranger sends ends here in a question, a refusal or silence.

use hickory_proto::op::{Header, Message, MessageType, OpCode, Query};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Length of a header.
pub const HEADER: usize = 12;

/// Response codes.
pub mod code {
    #![allow(missing_docs, reason = "the names are those of DNS")]
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;
}

/// A name as it stands in a packet, folded; no longer than a name may be.
#[derive(Clone)]
pub struct Folded {
    bytes: [u8; 256],
    length: usize,
}

impl Folded {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Folds a name that stands uncompressed in a message.
    pub fn of(wire: &[u8]) -> Self {
        let mut folded = Self { bytes: [0; 256], length: wire.len().min(256) };
        folded.bytes[..folded.length].copy_from_slice(&wire[..folded.length]);
        // Lengths of labels are below 64 and stay what they are.
        folded.bytes[..folded.length].make_ascii_lowercase();
        folded
    }
}

/// What a client says about itself (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Bytes it can take over UDP.
    pub payload: u16,
    /// Version.
    pub version: u8,
    /// Whether it wants signatures.
    pub dnssec_ok: bool,
}

/// A question.
#[derive(Clone)]
pub struct Question {
    /// Id of the packet.
    pub id: u16,
    /// Whether we are to ask others.
    pub recursion: bool,
    /// Whether nothing is to be checked.
    pub checking_disabled: bool,
    /// The name, folded.
    pub name: Folded,
    /// Number of the type.
    pub kind: u16,
    /// Number of the class.
    pub class: u16,
    /// Where the question ends in the packet; it begins behind the header.
    pub end: usize,
    /// What the client says about itself.
    pub extension: Option<Extension>,
}

/// What is to be done with a packet.
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, never stored: a box would be an allocation for every question"
)]
pub enum Packet {
    /// Nothing: it is no query, or not even a header.
    Silence,
    /// A refusal of twelve bytes.
    Refuse(u16),
    /// A question.
    Ask(Question),
}

/// Reads a packet.
pub fn read(packet: &[u8]) -> Packet {
    let mut decoder = BinDecoder::new(packet);
    let Ok(header) = Header::read(&mut decoder) else { return Packet::Silence };
    // An answer is never answered: two servers could talk for ever.
    if header.metadata.message_type == MessageType::Response {
        return Packet::Silence;
    }
    if header.metadata.op_code != OpCode::Query {
        return Packet::Refuse(code::NOTIMP);
    }
    if header.counts.queries != 1 {
        return Packet::Refuse(code::FORMERR);
    }
    let Ok(query) = Query::read(&mut decoder) else { return Packet::Refuse(code::FORMERR) };
    let end = decoder.index();
    // The first name of a message has nothing before it to point at.
    let written = query.name().iter().map(|label| label.len() + 1).sum::<usize>() + 1;
    if written != end.saturating_sub(HEADER + 4) {
        return Packet::Refuse(code::FORMERR);
    }
    let counts = header.counts;
    let mut extension = None;
    if counts.answers > 0 || counts.authorities > 0 || counts.additionals > 0 {
        let mut read = |count: u16, last| Message::read_records(&mut decoder, usize::from(count), last, OpCode::Query);
        let Ok(_) = read(counts.answers, false) else { return Packet::Refuse(code::FORMERR) };
        let Ok(_) = read(counts.authorities, false) else { return Packet::Refuse(code::FORMERR) };
        let Ok((_, edns, _)) = read(counts.additionals, true) else { return Packet::Refuse(code::FORMERR) };
        extension = edns.map(|edns| Extension {
            payload: edns.max_payload(),
            version: edns.version(),
            dnssec_ok: edns.flags().dnssec_ok,
        });
    }
    Packet::Ask(Question {
        id: header.metadata.id,
        recursion: header.metadata.recursion_desired,
        checking_disabled: header.metadata.checking_disabled,
        name: Folded::of(&packet[HEADER..end - 4]),
        kind: u16::from(query.query_type()),
        class: u16::from(query.query_class()),
        end,
        extension,
    })
}
