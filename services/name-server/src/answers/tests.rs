use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::index::Row;
use crate::names::{record_wire, target_wire, zone_wire};
use crate::question::code;

fn zone(text: &str, rows: &[(&str, u16, Vec<u8>)]) -> ZoneIndex {
    let soa = crate::rdata::soa_wire(&crate::records::NewSoa::default().complete(text, 2_026_010_100)).expect("a soa");
    let mut zone = ZoneIndex::new(zone_wire(text).expect("a name"), &soa, 300, 60);
    let mut names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    names.dedup();
    for name in names {
        let own = rows.iter().filter(|row| row.0 == name);
        let own: Vec<Row> =
            own.map(|(_, kind, data)| Row { kind: *kind, ttl: 60, data: data.clone(), enabled: true }).collect();
        zone.put(&record_wire(name, text).expect("a name"), &own);
    }
    zone
}

fn alias(target: &str) -> Vec<u8> {
    target_wire(target).expect("a name").bytes().to_vec()
}

fn index() -> Index {
    let many: Vec<(&str, u16, Vec<u8>)> = (0..60).map(|last| ("many", kinds::A, vec![10, 0, 1, last])).collect();
    let mut rows = vec![
        ("web", kinds::A, vec![10, 0, 0, 1]),
        ("web", kinds::A, vec![10, 0, 0, 2]),
        ("www", kinds::CNAME, alias("web.lab.test")),
        ("far", kinds::CNAME, alias("x.other.test")),
        ("out", kinds::CNAME, alias("example.org")),
        ("loop", kinds::CNAME, alias("loop.lab.test")),
        ("to-nothing", kinds::CNAME, alias("missing.lab.test")),
        ("a.b", kinds::TXT, vec![1, b'x']),
    ];
    rows.extend(many);
    let mut index = Index::default();
    for zone in [zone("lab.test", &rows), zone("other.test", &[("x", kinds::A, vec![10, 9, 9, 9])])] {
        index.zones.insert(zone.apex.clone(), Arc::new(zone));
    }
    index
}

fn packet(name: &str, kind: RecordType, edns: Option<(u16, u8)>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    if let Some((payload, version)) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns.set_version(version);
        message.set_edns(edns);
    }
    message.to_vec().expect("a packet")
}

fn told(packet: &[u8], transport: Transport) -> Message {
    let mut reply = Vec::new();
    answer(&index(), packet, transport, &mut reply);
    Message::from_vec(&reply).expect("a well-formed answer")
}

fn ask(name: &str, kind: RecordType) -> Message {
    told(&packet(name, kind, None), Transport::Udp)
}

fn owners(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| format!("{} {}", record.name, record.record_type())).collect()
}

#[test]
fn an_answer_keeps_the_spelling_of_the_question_and_says_who_is_the_authority() {
    let told = ask("WeB.lab.TEST.", RecordType::A);
    assert_eq!((told.metadata.id, told.metadata.authoritative, told.answers.len()), (4711, true, 2));
    assert!(told.metadata.recursion_desired && !told.metadata.recursion_available);
    assert_eq!(told.queries[0].name().to_ascii(), "WeB.lab.TEST.");
    assert!(told.edns.is_none());
}

#[test]
fn what_is_not_there_comes_with_the_soa_of_the_zone_and_its_negative_time() {
    for (name, kind, code) in [
        ("web.lab.test.", RecordType::AAAA, ResponseCode::NoError),
        ("b.lab.test.", RecordType::A, ResponseCode::NoError),
        ("lab.test.", RecordType::A, ResponseCode::NoError),
        ("no.lab.test.", RecordType::A, ResponseCode::NXDomain),
        ("web.lab.test.", RecordType::SOA, ResponseCode::NoError),
    ] {
        let told = ask(name, kind);
        assert_eq!((told.metadata.response_code, told.answers.len()), (code, 0), "{name} {kind}");
        let soa = &told.authorities[0];
        assert_eq!((soa.name.to_ascii().as_str(), soa.record_type(), soa.ttl), ("lab.test.", RecordType::SOA, 60));
    }
    let apex = ask("lab.test.", RecordType::SOA);
    assert_eq!((owners(&apex), apex.answers[0].ttl), (vec!["lab.test. SOA".to_owned()], 300));
}

#[test]
fn aliases_are_told_and_followed_through_our_own_zones() {
    assert_eq!(
        owners(&ask("www.lab.test.", RecordType::A)),
        ["www.lab.test. CNAME", "web.lab.test. A", "web.lab.test. A"]
    );
    assert_eq!(owners(&ask("far.lab.test.", RecordType::A)), ["far.lab.test. CNAME", "x.other.test. A"]);
    assert_eq!(owners(&ask("out.lab.test.", RecordType::A)), ["out.lab.test. CNAME"]);
    assert_eq!(owners(&ask("www.lab.test.", RecordType::CNAME)), ["www.lab.test. CNAME"]);
    let nowhere = ask("to-nothing.lab.test.", RecordType::A);
    assert_eq!(nowhere.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(nowhere.authorities[0].name.to_ascii(), "lab.test.");
    assert_eq!(ask("loop.lab.test.", RecordType::A).answers.len(), ALIASES, "a circle ends");
}

#[test]
fn what_does_not_fit_a_datagram_is_told_over_a_connection() {
    let name = "many.lab.test.";
    let short = ask(name, RecordType::A);
    assert!(short.metadata.truncation && short.answers.is_empty());
    let packet = packet(name, RecordType::A, Some((4096, 0)));
    let larger = told(&packet, Transport::Udp);
    assert!(!larger.metadata.truncation && larger.answers.len() == 60, "991 bytes fit 1232");
    assert_eq!(larger.edns.as_ref().map(Edns::max_payload), Some(1232));
    assert_eq!(told(&packet, Transport::Tcp).answers.len(), 60);
}

#[test]
fn what_is_not_ours_and_what_nobody_implements_is_refused() {
    let refused = ask("example.org.", RecordType::A);
    assert_eq!((refused.metadata.response_code, refused.metadata.authoritative), (ResponseCode::Refused, false));
    let version = told(&packet("web.lab.test.", RecordType::A, Some((1232, 1))), Transport::Udp);
    assert_eq!(version.edns.map(|edns| edns.rcode_high()), Some(1), "BADVERS");
    assert_eq!(ask("lab.test.", RecordType::AXFR).metadata.response_code, ResponseCode::NotImp, "not over UDP");
    let mut notify = packet("lab.test.", RecordType::SOA, None);
    notify[2] |= 4 << 3;
    let mut reply = Vec::new();
    answer(&index(), &notify, Transport::Udp, &mut reply);
    assert_eq!((reply.len(), reply[3] & 15), (12, code::NOTIMP as u8));
}

#[test]
fn others_are_asked_about_what_is_not_ours_only_when_that_is_wanted() {
    let mut index = index();
    index
        .forwarders
        .insert(zone_wire("org").expect("a name"), Arc::from(["127.0.0.1:53".parse().expect("an address")]));
    let mut reply = Vec::new();
    let mut query = packet("www.example.org.", RecordType::A, None);
    assert!(
        matches!(answer(&index, &query, Transport::Udp, &mut reply), Outcome::Forward(ask) if !ask.through_aliases)
    );
    let through = packet("out.lab.test.", RecordType::A, None);
    let Outcome::Forward(ask) = answer(&index, &through, Transport::Udp, &mut reply) else { panic!("it leads there") };
    assert_eq!((ask.name.bytes(), ask.through_aliases), (&b"\x07example\x03org\0"[..], true));
    query[2] &= !1;
    assert!(matches!(answer(&index, &query, Transport::Udp, &mut reply), Outcome::Answer));
    assert_eq!(reply[3] & 15, code::REFUSED as u8);
}

/// Packets that are nearly right: most of what strangers send that gets anywhere.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let names = ["web.lab.test.", "www.lab.test.", "many.lab.test.", "x.y.z.lab.test.", "loop.lab.test.", "org.", "."];
    let good = (prop::sample::select(names.to_vec()), any::<u16>(), prop::option::of((any::<u16>(), 0u8..3)))
        .prop_map(|(name, kind, edns)| packet(name, RecordType::from(kind), edns));
    (
        good,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(mut bytes, changes, cut, whole)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        })
}

proptest! {
    #[test]
    fn whatever_comes_is_answered_well_or_not_at_all(
        packet in prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..600)],
        tcp in any::<bool>(),
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let mut reply = Vec::new();
        match answer(&index(), &packet, transport, &mut reply) {
            Outcome::Silence | Outcome::Transfer(_) => prop_assert!(reply.is_empty()),
            Outcome::Answer | Outcome::Forward(_) => {
                let told = Message::from_vec(&reply);
                prop_assert!(told.is_ok(), "{:?} to {:?}: {:?}", reply, packet, told.err());
                prop_assert_eq!(&reply[..2], &packet[..2]);
                prop_assert!(packet[2] & 0x80 == 0, "an answer is never answered");
                prop_assert!(tcp || reply.len() <= 1232);
                // Nothing but a whole question is answered with more than it was.
                let whole = matches!(read(&packet), Packet::Ask(_));
                prop_assert!(whole || reply.len() <= packet.len());
            }
        }
    }
}
