use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::names::{record_wire, zone_wire};

const ZONE: &str = "lab.test";

fn zone() -> ZoneIndex {
    ZoneIndex::new(zone_wire(ZONE).expect("a name"), b"soa", 300, 60)
}

fn a(last: u8) -> Row {
    Row { kind: kinds::A, ttl: 60, data: vec![10, 0, 0, last], enabled: true }
}

fn name(text: &str) -> WireName {
    record_wire(text, ZONE).expect("a name")
}

/// What is found, in a word.
fn word(zone: &ZoneIndex, text: &str, kind: u16) -> &'static str {
    match zone.find(name(text).bytes(), kind) {
        Found::Set(_) => "set",
        Found::Alias(_) => "alias",
        Found::Soa => "soa",
        Found::NoData => "no data",
        Found::NoName => "no name",
    }
}

#[test]
fn a_name_is_there_as_long_as_something_below_it_is() {
    let mut zone = zone();
    zone.put(&name("a.b.c"), &[a(1)]);
    for (text, found) in [("a.b.c", "set"), ("b.c", "no data"), ("c", "no data"), ("x.c", "no name"), ("@", "no data")]
    {
        assert_eq!(word(&zone, text, kinds::A), found, "{text}");
    }
    zone.put(&name("x.b.c"), &[a(1)]);
    zone.put(&name("a.b.c"), &[]);
    assert_eq!((word(&zone, "b.c", kinds::A), word(&zone, "a.b.c", kinds::A)), ("no data", "no name"));
    zone.put(&name("x.b.c"), &[]);
    assert_eq!(word(&zone, "c", kinds::A), "no name");
    assert_eq!(zone.names(), 0);
}

#[test]
fn a_wildcard_covers_what_is_not_there_and_nothing_else() {
    let mut zone = zone();
    zone.put(&name("*"), &[a(1)]);
    zone.put(&name("web"), &[a(2)]);
    zone.put(&name("deep.sub"), &[a(3)]);
    for (text, kind, found) in [
        ("other", kinds::A, "set"),
        ("two.levels", kinds::A, "set"),
        ("other", kinds::AAAA, "no data"),
        ("web", kinds::AAAA, "no data"),
        ("sub", kinds::A, "no data"),
        ("x.sub", kinds::A, "no name"),
        ("x.web", kinds::A, "no name"),
        ("@", kinds::A, "no data"),
        ("*", kinds::A, "set"),
    ] {
        assert_eq!(word(&zone, text, kind), found, "{text} {kind}");
    }
}

#[test]
fn what_is_switched_off_keeps_its_name() {
    let mut zone = zone();
    zone.put(&name("web"), &[Row { enabled: false, ..a(1) }]);
    assert_eq!(word(&zone, "web", kinds::A), "no data");
}

#[test]
fn answers_begin_with_another_record_each_time() {
    let mut zone = zone();
    zone.put(&name("web"), &[a(1), a(2), a(3), a(2)]);
    let full = name("web");
    let Found::Set(set) = zone.find(full.bytes(), kinds::A) else { panic!("it is there") };
    assert_eq!(set.len(), 3, "the same data is answered once");
    let firsts: Vec<u8> = (0..6).map(|_| set.rotated().0[15]).collect();
    assert_eq!(firsts, [1, 2, 3, 1, 2, 3]);
    let (first, last) = set.rotated();
    assert_eq!(first.len() + last.len(), 3 * 16);
    assert_eq!(set.each().count(), 3);
}

#[test]
fn the_longest_zone_has_a_name_and_we_come_before_others() {
    let mut index = Index::default();
    for text in ["lab.test", "sub.lab.test", "test"] {
        let apex = zone_wire(text).expect("a name");
        index.zones.insert(apex.clone(), Arc::new(ZoneIndex::new(apex, b"", 1, 1)));
    }
    for text in ["sub.lab.test", "peer.sub.lab.test", "org"] {
        index.forwarders.insert(zone_wire(text).expect("a name"), Arc::from([]));
    }
    let of = |text: &str| match index.owner_of(zone_wire(text).expect("a name").bytes()) {
        Owner::Zone(zone) => Some(crate::names::text_of(zone.apex.bytes())),
        Owner::Others(_) => Some("others".to_owned()),
        Owner::Nobody => None,
    };
    assert_eq!(of("a.peer.sub.lab.test").as_deref(), Some("others"), "below our zone, and longer");
    assert_eq!(of("example.org").as_deref(), Some("others"));
    assert_eq!(of("a.sub.lab.test").as_deref(), Some("sub.lab.test"));
    assert_eq!(of("sublab.test").as_deref(), Some("test"));
    assert_eq!(of("example.com"), None);
}

/// What RFC 4592 says, word for word, over a plain map.
fn model(rows: &BTreeMap<String, u8>, text: &str) -> &'static str {
    let exists = |text: &str| rows.keys().any(|row| row == text || row.ends_with(&format!(".{text}")));
    if rows.contains_key(text) {
        return "set";
    }
    if exists(text) {
        return "no data";
    }
    // A wildcard that is there only for what is below it holds nothing, but is there.
    let covered = |wildcard: &str| match (rows.contains_key(wildcard), exists(wildcard)) {
        (true, _) => "set",
        (false, true) => "no data",
        (false, false) => "no name",
    };
    let mut above = text;
    while let Some((_, rest)) = above.split_once('.') {
        above = rest;
        if exists(above) {
            return covered(&format!("*.{above}"));
        }
    }
    covered("*")
}

proptest! {
    #[test]
    fn any_history_of_names_is_answered_as_the_rfc_says(
        steps in prop::collection::vec(("([abc]\\.){0,3}[abc*]", any::<bool>()), 1..40),
        asked in prop::collection::vec("([abcd]\\.){0,3}[abcd]", 20),
    ) {
        let mut zone = zone();
        let mut rows = BTreeMap::new();
        for (text, there) in steps {
            let held = if there { rows.insert(text.clone(), 1); vec![a(1)] } else { rows.remove(&text); Vec::new() };
            // Published pictures stay as they were: the next step works on a copy.
            let before = zone.clone();
            zone.put(&name(&text), &held);
            drop(before);
        }
        for text in asked.iter().chain(rows.keys()) {
            prop_assert_eq!(word(&zone, text, kinds::A), model(&rows, text), "{} of {:?}", text, rows);
        }
        for text in rows.keys().cloned().collect::<Vec<_>>() {
            zone.put(&name(&text), &[]);
        }
        prop_assert_eq!(zone.names(), 0);
    }
}
