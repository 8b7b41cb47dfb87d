//! What others told, made into an answer to a question: its id, its spelling, what is left of its time.

use hickory_proto::op::Message;
use tokio::time::Instant;

use crate::cache::Told;
use crate::question::{HEADER, Question};
use crate::reply::{Transport, opt, room};

/// Writes what was told as an answer to the question of `packet`.
pub fn pass_on(packet: &[u8], question: &Question, told: &Told, transport: Transport, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&aged(told));
    if into.len() < question.end {
        into.clear();
        return;
    }
    into[HEADER..question.end].copy_from_slice(&packet[HEADER..question.end]);
    finish(question, transport, into);
}

/// Writes what was told behind our own answer, whose aliases lead there. `into` holds ours.
pub fn add(question: &Question, told: &Told, transport: Transport, into: &mut Vec<u8>) {
    let (Ok(mut ours), Ok(theirs)) = (Message::from_vec(into), Message::from_vec(&aged(told))) else { return };
    ours.edns = None;
    ours.answers.extend(theirs.answers);
    ours.authorities.extend(theirs.authorities);
    ours.metadata.response_code = theirs.metadata.response_code;
    let (Ok(bytes), Some(spelling)) = (ours.to_vec(), into.get(HEADER..question.end).map(<[u8]>::to_vec)) else {
        return;
    };
    *into = bytes;
    if let Some(place) = into.get_mut(HEADER..question.end) {
        place.copy_from_slice(&spelling);
    }
    finish(question, transport, into);
}

/// The message with what is left of its time.
fn aged(told: &Told) -> Vec<u8> {
    let age = u32::try_from(Instant::now().saturating_duration_since(told.at).as_secs()).unwrap_or(u32::MAX);
    let mut bytes = told.message.clone();
    for at in &told.ttls {
        if let Some(place) = bytes.get_mut(*at..at + 4) {
            let left = u32::from_be_bytes([place[0], place[1], place[2], place[3]]).saturating_sub(age);
            place.copy_from_slice(&left.to_be_bytes());
        }
    }
    bytes
}

/// Id and flags of the question, our OPT record, and no more than the client takes.
fn finish(question: &Question, transport: Transport, bytes: &mut Vec<u8>) {
    let code = bytes[3] & 0x0f;
    bytes[..2].copy_from_slice(&question.id.to_be_bytes());
    bytes[2] = 0x80 | u8::from(question.recursion);
    // Recursion is available; nothing was checked.
    bytes[3] = 0x80 | if question.checking_disabled { 0x10 } else { 0 } | code;
    let extension = question.extension.map(|extension| opt(code.into(), extension.dnssec_ok));
    let more = extension.map_or(0, |opt| opt.len());
    if bytes.len() + more > room(question.extension, transport) {
        bytes.truncate(question.end);
        bytes[2] |= 2;
        bytes[6..12].fill(0);
    }
    if let Some(opt) = extension {
        bytes[10..12].copy_from_slice(&1u16.to_be_bytes());
        bytes.extend(opt);
    }
}
