//! Names against what their servers have, and against the addresses of the pods they stand for.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::consistency::Section;
use mkube_messages::dns::{Purpose, RecordSight, RecordType, ZoneSight};
use mkube_messages::objects::ObjectKey;

use crate::facts::Facts;
use crate::finding::Finding;

/// Says that nobody has to do anything: whoever keeps names does.
const BY_ITSELF: &str = "it is repaired as soon as the name server takes it";

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    found.push(client(facts));
    let held = holders(facts);
    for (name, zone) in facts.names.zones.iter().filter(|(_, zone)| !zone.endpoint.is_empty()) {
        let of = if zone.namespace.is_none() && zone.parent.is_empty() && !name.ends_with(".arpa") {
            &zone.network
        } else {
            name
        };
        found.push(server(of, zone));
        for ((name, kind), record) in &zone.records {
            let name = if *kind == RecordType::Aaaa { format!("{name}/AAAA") } else { name.clone() };
            // What a server has is unknown before it was compared, and once for the zone is enough to say so.
            if zone.compared {
                found.extend(answers(facts, &format!("dns/{of}/{name}"), record));
            }
            if let (Purpose::Pods(pods), true) = (&record.purpose, facts.leases.loaded) {
                found.extend(leads_astray(facts, &held, format!("dns-address/{of}/{name}"), record, pods));
            }
        }
    }
}

fn client(facts: &Facts<'_>) -> Finding {
    let (section, name) = (Section::Dns, "dns-client");
    if !facts.names.loaded {
        return Finding::warn(section, name, "names are not known yet");
    }
    match facts.names.zones.values().filter(|zone| !zone.endpoint.is_empty()).count() {
        0 => Finding::warn(section, name, "there is no name server to compare with"),
        zones => Finding::pass(section, name, format!("{zones} zones are kept")),
    }
}

fn server(of: &str, zone: &ZoneSight) -> Finding {
    let name = format!("dns-zone/{of}");
    match &zone.fault {
        Some(why) => Finding::fail(Section::Dns, name, why.as_str()).saying(zone.endpoint.as_str()),
        None if zone.compared => {
            Finding::pass(Section::Dns, name, format!("{} names", zone.records.len())).saying(zone.endpoint.as_str())
        }
        None => Finding::warn(Section::Dns, name, "what the name server has was not compared yet"),
    }
}

/// Whether the server has what is wanted.
fn answers(facts: &Facts<'_>, name: &str, record: &RecordSight) -> Option<Finding> {
    let list = |data: &BTreeSet<String>| match data.iter().map(String::as_str).collect::<Vec<_>>().join(", ") {
        text if text.is_empty() => "nothing".to_owned(),
        text => text,
    };
    let (wanted, there) = (list(&record.wanted), list(&record.found));
    if record.wanted == record.found {
        return (!record.wanted.is_empty()).then(|| Finding::pass(Section::Dns, name, wanted));
    }
    let finding = match &record.purpose {
        Purpose::Leftover => {
            Finding::warn(Section::Dns, name, format!("{there} is there, and nobody wants it any more"))
        }
        _ => Finding::fail(Section::Dns, name, format!("{wanted} is wanted, and {there} is there")),
    };
    let finding = Finding { repairable: true, ..finding.saying(BY_ITSELF) };
    Some(match &record.purpose {
        Purpose::Pods(pods) => match pods.iter().find_map(|key| facts.sights.pods.get(key)) {
            Some(pod) => finding.of_pod(&pod.key, pods.iter().any(|key| is_in_flight(facts, key))),
            None => finding,
        },
        _ => finding,
    })
}

fn is_in_flight(facts: &Facts<'_>, key: &ObjectKey) -> bool {
    facts.sights.pods.get(key).is_none_or(|pod| facts.in_flight(pod))
}

/// Who holds which address.
fn holders<'a>(facts: &Facts<'a>) -> BTreeMap<String, &'a ObjectKey> {
    let leases = facts.leases.by_veth.values();
    leases.filter_map(|held| Some((held.address.to_string(), held.pod.as_ref()?))).collect()
}

/// A name that answers with an address of somebody else: worse than one that answers nothing.
fn leads_astray(
    facts: &Facts<'_>,
    held: &BTreeMap<String, &ObjectKey>,
    name: String,
    record: &RecordSight,
    pods: &BTreeSet<ObjectKey>,
) -> Option<Finding> {
    let wrong = record.found.iter().find(|address| !held.get(*address).is_some_and(|holder| pods.contains(*holder)))?;
    let whose = match held.get(wrong) {
        Some(other) => format!("which is {other}'s"),
        None => "which nobody was given".to_owned(),
    };
    let finding = Finding::fail(Section::Dns, name, format!("answers {wrong}, {whose}"));
    let first = pods.first()?;
    let settled = finding.critical().saying(BY_ITSELF);
    Some(settled.of_pod(first, pods.iter().any(|key| is_in_flight(facts, key))))
}
