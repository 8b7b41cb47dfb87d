//! From a packet to an answer, as far as our own zones and what others told before go. Pure: a picture and bytes in, bytes out.

use crate::index::{Found, Index, Owner, ZoneIndex};
use crate::question::{Folded, HEADER, Packet, Question, code, read};
use crate::rdata::kinds;
use crate::reply::{Flags, Reply, Transport, only, refuse};

/// Aliases that are followed in one answer.
const ALIASES: usize = 8;
const INTERNET: u16 = 1;

/// What is to be done next.
pub enum Outcome {
    /// Nothing is sent.
    Silence,
    /// What was written is sent.
    Answer,
    /// Others are to be asked about `name`; what was written so far leads there.
    Forward(Box<Ask>),
    /// The zone is to be copied to whoever asks.
    Transfer(Box<Question>),
}

/// What others are to be asked.
pub struct Ask {
    /// The client's question.
    pub question: Question,
    /// The name others are asked about: the client's, or where its aliases lead.
    pub name: Folded,
    /// Whether aliases of ours lead there.
    pub through_aliases: bool,
}

/// Answers a packet.
pub fn answer(index: &Index, packet: &[u8], transport: Transport, into: &mut Vec<u8>) -> Outcome {
    into.clear();
    let question = match read(packet) {
        Packet::Silence => return Outcome::Silence,
        Packet::Refuse(code) => {
            refuse(packet, code, into);
            return Outcome::Answer;
        }
        Packet::Ask(question) => question,
    };
    let flags = Flags { authoritative: false, recursion_available: !index.forwarders.is_empty() };
    let only = |code, into: &mut Vec<u8>| {
        only(packet, &question, transport, flags, code, into);
        Outcome::Answer
    };
    if question.extension.is_some_and(|extension| extension.version > 0) {
        return only(code::BADVERS, into);
    }
    if question.class != INTERNET {
        return only(code::REFUSED, into);
    }
    match question.kind {
        kinds::AXFR | kinds::IXFR if transport == Transport::Tcp => return Outcome::Transfer(Box::new(question)),
        kinds::AXFR | kinds::IXFR => return only(code::NOTIMP, into),
        kinds::OPT => return only(code::FORMERR, into),
        _ => {}
    }
    match index.owner_of(question.name.bytes()) {
        Owner::Zone(zone) => {
            let reply = Reply::new(packet, &question, transport, Flags { authoritative: true, ..flags }, into);
            match own(index, zone, &question, reply) {
                None => Outcome::Answer,
                Some(name) => Outcome::Forward(Box::new(Ask { question, name, through_aliases: true })),
            }
        }
        Owner::Others(_) if question.recursion => {
            let name = question.name.clone();
            Outcome::Forward(Box::new(Ask { question, name, through_aliases: false }))
        }
        Owner::Others(_) | Owner::Nobody => only(code::REFUSED, into),
    }
}

/// Answers from our zones; gives the name where aliases leave them and others know more.
fn own(index: &Index, zone: &ZoneIndex, question: &Question, mut reply: Reply<'_>) -> Option<Folded> {
    let mut zone = zone;
    let mut name = question.name.clone();
    let mut owner = HEADER as u16;
    for _ in 0..ALIASES {
        // How far into the name the zone's own begins: it is written once and pointed at.
        let apex = owner + (name.bytes().len() - zone.apex.bytes().len()) as u16;
        match zone.find(name.bytes(), question.kind) {
            Found::Set(set) => {
                reply.set(set, owner);
                return finish(reply, code::NOERROR);
            }
            Found::Soa => {
                reply.one(&zone.soa, apex);
                return finish(reply, code::NOERROR);
            }
            Found::NoData => {
                reply.nothing(&zone.soa, zone.negative_ttl, apex);
                return finish(reply, code::NOERROR);
            }
            Found::NoName => {
                reply.nothing(&zone.soa, zone.negative_ttl, apex);
                return finish(reply, code::NXDOMAIN);
            }
            Found::Alias(set) => {
                let Some(target) = reply.alias(set, owner) else { return finish(reply, code::NOERROR) };
                let set_end = reply.bytes().len();
                name = Folded::of(&reply.bytes()[usize::from(target)..set_end]);
                owner = target;
                match index.owner_of(name.bytes()) {
                    Owner::Zone(next) => zone = next,
                    Owner::Others(_) if question.recursion => {
                        reply.end(code::NOERROR);
                        return Some(name);
                    }
                    Owner::Others(_) | Owner::Nobody => return finish(reply, code::NOERROR),
                }
            }
        }
    }
    // A circle, or too long a way: what there is, is said.
    finish(reply, code::NOERROR)
}

fn finish(reply: Reply<'_>, code: u16) -> Option<Folded> {
    reply.end(code);
    None
}

#[cfg(test)]
mod tests;
