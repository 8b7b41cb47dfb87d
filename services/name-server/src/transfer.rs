//! A whole zone for another server (RFC 5936): its SOA, every record that is answered, its SOA again, in messages of their own.

use std::sync::Arc;

use crate::index::{Node, ZoneIndex};
use crate::names::WireName;
use crate::question::{HEADER, Question};

/// Records of one message.
const RECORDS: u16 = 100;
/// Bytes at which a message is full; one record more still fits the 65,535 of a connection.
const BYTES: usize = 4096;

/// The messages of a transfer, one at a time.
pub struct Messages {
    head: Vec<u8>,
    soa: Arc<[u8]>,
    apex: WireName,
    names: std::vec::IntoIter<(WireName, Arc<Node>)>,
    /// Records of the name at hand.
    waiting: std::collections::VecDeque<Vec<u8>>,
    first: bool,
    done: bool,
}

impl Messages {
    /// Of a zone as it is now, for the question of `packet`.
    pub fn new(packet: &[u8], question: &Question, zone: &ZoneIndex) -> Self {
        let mut head = Vec::from(question.id.to_be_bytes());
        head.extend([0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        head.extend_from_slice(&packet[HEADER..question.end]);
        Self {
            head,
            soa: zone.soa.clone(),
            apex: zone.apex.clone(),
            names: zone.everything().into_iter(),
            waiting: std::collections::VecDeque::new(),
            first: true,
            done: false,
        }
    }

    fn next_record(&mut self) -> Option<Vec<u8>> {
        while self.waiting.is_empty() {
            let (name, node) = self.names.next()?;
            let records = node.sets().iter().flat_map(|set| set.each());
            self.waiting.extend(records.map(|record| owned(&name, record)));
        }
        self.waiting.pop_front()
    }
}

/// A record with its owner written out.
fn owned(name: &WireName, record: &[u8]) -> Vec<u8> {
    let mut bytes = name.bytes().to_vec();
    bytes.extend_from_slice(record.get(2..).unwrap_or_default());
    bytes
}

impl Iterator for Messages {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let mut bytes = self.head.clone();
        let mut count: u16 = 0;
        if std::mem::take(&mut self.first) {
            bytes.extend(owned(&self.apex, &self.soa));
            count += 1;
        }
        while count < RECORDS && bytes.len() < BYTES {
            count += 1;
            match self.next_record() {
                Some(record) => bytes.extend(record),
                None => {
                    bytes.extend(owned(&self.apex, &self.soa));
                    self.done = true;
                    break;
                }
            }
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        Some(bytes)
    }
}
