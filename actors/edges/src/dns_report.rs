//! What `GET /api/v1/dns/validate` says, from what is published. Pure: nobody is asked, and what is not known is not called good.

use std::collections::BTreeSet;

use mkube_messages::dns::{NamesView, Purpose, RecordSight, RecordType, ZoneSight};
use mkube_messages::forwards::ForwardsView;
use serde::Serialize;

/// The name of the router in every network's zone.
const ROUTER: &str = "rose1";

/// One check, in the shape of the consistency report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DnsCheck {
    pub name: String,
    pub status: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// How many checks ended how.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub pass: usize,
    pub fail: usize,
    pub warn: usize,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct DnsReport {
    pub timestamp: String,
    pub summary: Summary,
    pub checks: Vec<DnsCheck>,
}

fn check(name: String, status: &'static str, message: impl Into<String>) -> DnsCheck {
    DnsCheck { name, status, message: message.into(), details: String::new() }
}

const PASS: &str = "pass";
const WARN: &str = "warn";
const FAIL: &str = "fail";

/// Zones of addresses; they are made for the others.
pub fn is_reverse(zone: &str) -> bool {
    zone.ends_with(".in-addr.arpa") || zone.ends_with(".ip6.arpa")
}

/// Whether a zone is that of a network, and not one made inside of it or for its addresses.
pub fn is_base(name: &str, zone: &ZoneSight) -> bool {
    zone.namespace.is_none() && zone.parent.is_empty() && !is_reverse(name)
}

/// The report at this time.
pub fn report(names: &NamesView, forwards: &ForwardsView, timestamp: String) -> DnsReport {
    let records: usize = names.zones.values().map(|zone| zone.records.len()).sum();
    let mut checks = Vec::with_capacity(records + names.zones.len() * 2 + 1);
    checks.push(client(names));
    for (name, zone) in &names.zones {
        // Checks of a network's own zone are called after the network, as they always were.
        let of = if is_base(name, zone) { &zone.network } else { name };
        check_zone(of, zone, &mut checks);
    }
    check_forwards(names, forwards, &mut checks);
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let summary = Summary { pass: count(PASS), fail: count(FAIL), warn: count(WARN) };
    DnsReport { timestamp, summary, checks }
}

fn client(names: &NamesView) -> DnsCheck {
    let name = "dns-client".to_owned();
    if !names.loaded {
        return check(name, WARN, "names are not known yet: networks and objects are being read");
    }
    match names.zones.values().filter(|zone| !zone.endpoint.is_empty()).count() {
        0 => check(name, WARN, "no network has a zone and a name server whose records are kept"),
        zones => check(name, PASS, format!("{zones} zones are kept")),
    }
}

fn check_zone(of: &str, zone: &ZoneSight, checks: &mut Vec<DnsCheck>) {
    let reachable = format!("zone/{of}/reachable");
    checks.push(if zone.endpoint.is_empty() {
        check(reachable, WARN, "no name server is kept: the zone is served by nobody, or by somebody else")
    } else if let Some(fault) = &zone.fault {
        let mut check = check(reachable, FAIL, fault.as_str());
        check.details = zone.endpoint.clone();
        check
    } else if zone.compared {
        let others = if zone.foreign > 0 { format!(", {} of others", zone.foreign) } else { String::new() };
        let mut check = check(reachable, PASS, format!("{} names{others}", zone.records.len()));
        check.details = zone.endpoint.clone();
        check
    } else {
        check(reachable, WARN, "what the name server has was not compared with what is wanted yet")
    });
    for ((name, kind), record) in &zone.records {
        checks.push(check_record(of, name, *kind, record, zone.compared));
    }
    for name in &zone.duplicates {
        checks.push(check(format!("zone/{of}/duplicate/{name}"), WARN, "the same record is there more than once"));
    }
}

fn check_record(of: &str, name: &str, kind: RecordType, record: &RecordSight, compared: bool) -> DnsCheck {
    let section = match &record.purpose {
        Purpose::Leftover => "leftover",
        Purpose::Pods(_) => "pod",
        Purpose::Service(_) => "service",
        Purpose::Static => "static",
        Purpose::Reservation => "reservation",
        Purpose::Infra => "infra",
        Purpose::Reverse => "reverse",
    };
    let suffix = if kind == RecordType::Aaaa { "/AAAA" } else { "" };
    let name = format!("zone/{of}/{section}/{name}{suffix}");
    if !compared {
        let wanted = listed(&record.wanted);
        return check(name, WARN, format!("{wanted} is wanted; what the name server has is not known"));
    }
    let missing: BTreeSet<&String> = record.wanted.difference(&record.found).collect();
    let surplus: BTreeSet<&String> = record.found.difference(&record.wanted).collect();
    match (missing.is_empty(), surplus.is_empty()) {
        (true, true) if record.wanted.is_empty() => check(name, PASS, "answers nothing, as is wanted"),
        (true, true) => check(name, PASS, listed(&record.wanted)),
        (true, false) if record.wanted.is_empty() => {
            check(name, WARN, format!("nobody wants {} any more", listed(surplus)))
        }
        (true, false) => check(name, FAIL, format!("answers {} too, which is wrong", listed(surplus))),
        (false, true) => check(name, FAIL, format!("{} is missing", listed(missing))),
        (false, false) => {
            check(name, FAIL, format!("{} is missing, and it answers {}", listed(missing), listed(surplus)))
        }
    }
}

fn listed<'a>(data: impl IntoIterator<Item = &'a String>) -> String {
    let data: Vec<&str> = data.into_iter().map(String::as_str).collect();
    if data.is_empty() { "nothing".to_owned() } else { data.join(", ") }
}

/// Names of one network asked for at the server of another. Two zones of one server need no forwarding.
fn check_forwards(names: &NamesView, forwards: &ForwardsView, checks: &mut Vec<DnsCheck>) {
    let bases = || names.zones.iter().filter(|(name, zone)| is_base(name, zone) && zone.server.is_some());
    for (from, asked) in bases() {
        for (to, wanted) in bases().filter(|(to, zone)| *to != from && zone.server != asked.server) {
            let name = format!("forward/{}->{}/{ROUTER}", asked.network, wanted.network);
            let wanted = wanted.records.get(&(ROUTER.to_owned(), RecordType::A)).map(|record| &record.wanted);
            checks.push(match forwards.by_pair.get(&(from.clone(), to.clone())) {
                None => check(name, WARN, "was not asked yet"),
                Some(sight) => {
                    let asked_at = format!("asked at {}", sight.asked_at);
                    let found = match &sight.answer {
                        Err(why) => check(name, FAIL, why.as_str()),
                        Ok(found) => {
                            let found: BTreeSet<String> = found.iter().map(ToString::to_string).collect();
                            match wanted.filter(|wanted| !wanted.is_empty()) {
                                Some(wanted) if *wanted == found => check(name, PASS, listed(&found)),
                                Some(wanted) => check(
                                    name,
                                    FAIL,
                                    format!("{} is wanted, and {} came", listed(wanted), listed(&found)),
                                ),
                                None => {
                                    check(name, WARN, format!("{} came; what is right is not known", listed(&found)))
                                }
                            }
                        }
                    };
                    DnsCheck { details: asked_at, ..found }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use jiff::Timestamp;
    use mkube_messages::forwards::ForwardSight;
    use mkube_messages::objects::ObjectKey;

    fn set(data: &[&str]) -> BTreeSet<String> {
        data.iter().map(|one| (*one).to_owned()).collect()
    }

    fn record(purpose: Purpose, wanted: &[&str], found: &[&str]) -> RecordSight {
        RecordSight { wanted: set(wanted), found: set(found), purpose }
    }

    fn zone(network: &str, server: &str) -> ZoneSight {
        ZoneSight {
            network: network.into(),
            endpoint: format!("http://{server}:8080"),
            server: server.parse().ok(),
            compared: true,
            ..ZoneSight::default()
        }
    }

    fn view(zones: Vec<(&str, ZoneSight)>) -> NamesView {
        let zones = zones.into_iter().map(|(name, zone)| (name.to_owned(), Arc::new(zone))).collect();
        NamesView { loaded: true, zones }
    }

    fn ends(names: &NamesView, forwards: &ForwardsView) -> Vec<(String, &'static str)> {
        report(names, forwards, String::new()).checks.into_iter().map(|check| (check.name, check.status)).collect()
    }

    #[test]
    fn each_record_is_compared_under_the_name_of_what_it_is_for() {
        let mut gt = zone("gt", "10.0.0.2");
        let pod = || Purpose::Pods([ObjectKey::new("default", "web")].into());
        let a = |name: &str| (name.to_owned(), RecordType::A);
        for (key, record) in [
            (a("dns"), record(Purpose::Infra, &["10.0.0.2"], &["10.0.0.2"])),
            (a("gone"), record(Purpose::Leftover, &[], &["10.0.0.9"])),
            (a("idle.default"), record(Purpose::Service(ObjectKey::new("default", "idle")), &[], &[])),
            (a("nas"), record(Purpose::Reservation, &["10.0.0.7"], &[])),
            (a("rose1"), record(Purpose::Infra, &["10.0.0.1"], &["10.0.0.1", "10.0.0.3"])),
            (a("web"), record(pod(), &["10.0.0.5", "10.0.0.6"], &["10.0.0.6", "10.0.0.5"])),
            ((String::from("web"), RecordType::Aaaa), record(Purpose::Static, &["fd00::1"], &["fd00::2"])),
        ] {
            gt.records.insert(key, record);
        }
        gt.duplicates = set(&["web"]);
        let view = view(vec![("gt.lo", gt)]);
        let found = ends(&view, &ForwardsView::default());
        let found: Vec<(&str, &str)> = found.iter().map(|(name, status)| (name.as_str(), *status)).collect();
        assert_eq!(
            found,
            [
                ("dns-client", "pass"),
                ("zone/gt/reachable", "pass"),
                ("zone/gt/infra/dns", "pass"),
                ("zone/gt/leftover/gone", "warn"),
                ("zone/gt/service/idle.default", "pass"),
                ("zone/gt/reservation/nas", "fail"),
                ("zone/gt/infra/rose1", "fail"),
                ("zone/gt/pod/web", "pass"),
                ("zone/gt/static/web/AAAA", "fail"),
                ("zone/gt/duplicate/web", "warn"),
            ]
        );
        let whole = report(&view, &ForwardsView::default(), String::new());
        assert_eq!(whole.summary, Summary { pass: 5, fail: 3, warn: 2 });
    }

    #[test]
    fn what_is_not_known_is_not_good() {
        assert_eq!(ends(&NamesView::default(), &ForwardsView::default()), [("dns-client".to_owned(), "warn")]);
        let mut unseen = ZoneSight { compared: false, ..zone("gt", "10.0.0.2") };
        unseen.records.insert(("web".into(), RecordType::A), record(Purpose::Static, &["10.0.0.5"], &[]));
        let mut away = unseen.clone();
        away.network = "g10".into();
        away.fault = Some("http://10.1.0.2:8080 does not answer".into());
        let mut nobody = zone("g11", "none");
        nobody.endpoint.clear();
        let inner = ZoneSight { namespace: Some("team".into()), parent: "gt.lo".into(), ..unseen.clone() };
        let view = view(vec![("g10.lo", away), ("g11.lo", nobody), ("gt.lo", unseen), ("team.gt.lo", inner)]);
        let found = ends(&view, &ForwardsView::default());
        let of_zones: Vec<(&str, &str)> = found
            .iter()
            .filter(|(name, _)| name.starts_with("zone/"))
            .map(|(name, status)| (name.as_str(), *status))
            .collect();
        assert_eq!(
            of_zones,
            [
                ("zone/g10/reachable", "fail"),
                ("zone/g10/static/web", "warn"),
                ("zone/g11/reachable", "warn"),
                ("zone/gt/reachable", "warn"),
                ("zone/gt/static/web", "warn"),
                ("zone/team.gt.lo/reachable", "warn"),
                ("zone/team.gt.lo/static/web", "warn"),
            ]
        );
    }

    #[test]
    fn every_pair_of_servers_is_to_know_the_others_router() {
        let base = |network: &str, server: &str, router: &str| {
            let mut zone = zone(network, server);
            zone.records.insert((ROUTER.into(), RecordType::A), record(Purpose::Infra, &[router], &[router]));
            zone
        };
        let view = view(vec![
            ("a.lo", base("a", "10.1.0.2", "10.1.0.1")),
            ("b.lo", base("b", "10.2.0.2", "10.2.0.1")),
            ("c.lo", base("c", "10.2.0.2", "10.3.0.1")),
            ("1.10.in-addr.arpa", zone("a", "10.1.0.2")),
        ]);
        let mut forwards = ForwardsView::default();
        let mut told = |from: &str, to: &str, answer: Result<&str, &str>| {
            let answer = answer.map(|ip| BTreeSet::from([ip.parse().expect("a literal")])).map_err(str::to_owned);
            let sight = ForwardSight { answer, asked_at: Timestamp::UNIX_EPOCH };
            forwards.by_pair.insert((from.into(), to.into()), sight);
        };
        told("a.lo", "b.lo", Ok("10.2.0.1"));
        told("a.lo", "c.lo", Ok("10.9.9.9"));
        told("b.lo", "a.lo", Err("no answer within 3s"));
        let found = ends(&view, &forwards);
        let of_pairs: Vec<(&str, &str)> = found
            .iter()
            .filter(|(name, _)| name.starts_with("forward/"))
            .map(|(name, status)| (name.as_str(), *status))
            .collect();
        assert_eq!(
            of_pairs,
            [
                ("forward/a->b/rose1", "pass"),
                ("forward/a->c/rose1", "fail"),
                ("forward/b->a/rose1", "fail"),
                ("forward/c->a/rose1", "warn"),
            ]
        );
    }
}
