//! An answer, written straight into the bytes that are sent.

use crate::index::{OWNER, RecordSet};
use crate::question::{Extension, HEADER, Question};
use crate::rdata::kinds;

/// Bytes we take over UDP and never exceed: what fits every path without fragments.
pub const PAYLOAD: u16 = 1232;
/// What a client without EDNS takes.
const PLAIN: usize = 512;
/// Length of our own OPT record.
const OPT: usize = 11;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// Flags of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// We are the authority.
    pub authoritative: bool,
    /// We would ask others.
    pub recursion_available: bool,
}

/// A refusal without a question: as long as a header, so never longer than what it answers.
pub fn refuse(packet: &[u8], code: u16, into: &mut Vec<u8>) {
    into.clear();
    let Some(head) = packet.get(..4) else { return };
    into.extend([head[0], head[1], 0x80 | (head[2] & 0x79), (code & 0x0f) as u8]);
    into.extend([0u8; HEADER - 4]);
}

/// An answer that is being written.
pub struct Reply<'b> {
    bytes: &'b mut Vec<u8>,
    room: usize,
    question_end: usize,
    extension: Option<Extension>,
    answers: u16,
    authorities: u16,
    full: bool,
}

impl<'b> Reply<'b> {
    /// Begins with header and question.
    pub fn new(packet: &[u8], question: &Question, transport: Transport, flags: Flags, bytes: &'b mut Vec<u8>) -> Self {
        bytes.clear();
        bytes.extend(question.id.to_be_bytes());
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        bytes.push(0x80 | bit(flags.authoritative, 4) | bit(question.recursion, 1));
        bytes.push(bit(flags.recursion_available, 0x80) | bit(question.checking_disabled, 0x10));
        bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&packet[HEADER..question.end]);
        Self {
            bytes,
            room: room(question.extension, transport),
            question_end: question.end,
            extension: question.extension,
            answers: 0,
            authorities: 0,
            full: false,
        }
    }

    fn fits(&mut self, more: usize) -> bool {
        let opt = if self.extension.is_some() { OPT } else { 0 };
        self.full |= self.bytes.len() + more + opt > self.room;
        !self.full
    }

    /// Adds a set, its owner at `owner` in the message.
    pub fn set(&mut self, set: &RecordSet, owner: u16) {
        let (first, last) = set.rotated();
        if !self.fits(first.len() + last.len()) {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(first);
        self.bytes.extend_from_slice(last);
        self.own(start, owner);
        self.answers = self.answers.saturating_add(u16::try_from(set.len()).unwrap_or(u16::MAX));
    }

    /// Adds an alias; where in the message its target stands.
    pub fn alias(&mut self, set: &RecordSet, owner: u16) -> Option<u16> {
        let one = set.one();
        if !self.fits(one.len()) {
            return None;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(one);
        self.own(start, owner);
        self.answers += 1;
        // A pointer has fourteen bits.
        u16::try_from(start + 12).ok().filter(|at| *at < 0x4000)
    }

    /// Adds one record, its owner at `owner`, to the answers.
    pub fn one(&mut self, record: &[u8], owner: u16) {
        if self.fits(record.len()) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(record);
            self.own(start, owner);
            self.answers += 1;
        }
    }

    /// Adds the SOA that says how long nothing will be there. `below` is how many bytes the zone's name begins into the owner.
    pub fn nothing(&mut self, soa: &[u8], ttl: u32, owner: u16) {
        if self.fits(soa.len()) {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(soa);
            self.own(start, owner);
            self.bytes[start + 6..start + 10].copy_from_slice(&ttl.to_be_bytes());
            self.authorities += 1;
        }
    }

    /// Points the owners of the records from `start` on somewhere else than at the question.
    fn own(&mut self, start: usize, owner: u16) {
        if owner == HEADER as u16 {
            return;
        }
        let pointer = (0xc000 | owner).to_be_bytes();
        let mut at = start;
        while let Some(record) = self.bytes.get_mut(at..).filter(|record| record.len() >= 12) {
            debug_assert_eq!(record[..2], OWNER);
            record[..2].copy_from_slice(&pointer);
            at += 12 + usize::from(u16::from_be_bytes([record[10], record[11]]));
        }
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// Ends with a code. What did not fit is left out whole, and said to be missing.
    pub fn end(self, code: u16) {
        let Self { bytes, full, extension, .. } = self;
        let (mut answers, mut authorities) = (self.answers, self.authorities);
        if full {
            bytes.truncate(self.question_end);
            bytes[2] |= 2;
            (answers, authorities) = (0, 0);
        }
        bytes[3] |= (code & 0x0f) as u8;
        bytes[6..8].copy_from_slice(&answers.to_be_bytes());
        bytes[8..10].copy_from_slice(&authorities.to_be_bytes());
        if let Some(extension) = extension {
            bytes[10..12].copy_from_slice(&1u16.to_be_bytes());
            bytes.extend(opt(code, extension.dnssec_ok));
        }
    }
}

/// Bytes an answer may have.
pub fn room(extension: Option<Extension>, transport: Transport) -> usize {
    match (transport, extension) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN,
        (Transport::Udp, Some(extension)) => usize::from(extension.payload.min(PAYLOAD)).max(PLAIN),
    }
}

/// Our OPT record.
pub fn opt(code: u16, dnssec_ok: bool) -> [u8; OPT] {
    let [size_high, size_low] = PAYLOAD.to_be_bytes();
    let [_, kind] = kinds::OPT.to_be_bytes();
    [0, 0, kind, size_high, size_low, (code >> 4) as u8, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]
}

/// A short answer with the question: nothing but a code.
pub fn only(packet: &[u8], question: &Question, transport: Transport, flags: Flags, code: u16, into: &mut Vec<u8>) {
    Reply::new(packet, question, transport, flags, into).end(code);
}
