//! Leases against interfaces, interfaces against pods, and addresses against one another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mkube_messages::consistency::Section;
use mkube_messages::ipam::HeldAddress;
use mkube_messages::objects::ObjectKey;
use mkube_model::neighbours::router::VethRow;

use crate::facts::{Facts, commented};
use crate::finding::Finding;
use crate::pod_sight::{ContainerSight, PodSight};

pub fn check(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    if !facts.device.reachable {
        let why = facts.device.fault.as_deref().unwrap_or("the device does not answer");
        found.push(Finding::fail(Section::Ipam, "ipam-ports", "the interfaces could not be listed").saying(why));
        found.push(Finding::fail(Section::Network, "network-ports", "the interfaces could not be listed").saying(why));
    }
    if facts.leases.loaded {
        leases(facts, found);
    } else {
        found.push(Finding::warn(Section::Ipam, "ipam-leases", "which addresses are given out is not known yet"));
    }
    twice(facts, found);
    for pod in facts.pods() {
        for (index, container) in pod.containers.iter().enumerate() {
            let wanted = pod.static_ips.get(index).copied().flatten();
            found.push(interface(facts, pod, container, wanted));
            if let Some(wanted) = wanted.filter(|_| facts.leases.loaded) {
                found.push(fixed(facts, pod, container, wanted));
            }
        }
    }
}

/// The pod whose interface this is called after.
fn owners<'a>(facts: &Facts<'a>) -> BTreeMap<&'a str, &'a PodSight> {
    let of_pod =
        |pod: &'a PodSight| pod.containers.iter().flat_map(|one| &one.veths).map(move |veth| (veth.as_str(), pod));
    facts.pods().flat_map(of_pod).collect()
}

fn leases(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let owners = owners(facts);
    for (veth, held) in &facts.leases.by_veth {
        let pod = held.pod.as_ref().and_then(|pod| facts.sights.pods.get(pod)).map(AsRef::as_ref);
        let pod = pod.or_else(|| owners.get(veth.as_str()).copied());
        found.push(lease(facts, veth, held, pod));
    }
    let unknown = facts.device.veths.values().filter(|row| !facts.leases.by_veth.contains_key(&row.name));
    for row in unknown.filter(|row| !row.addresses.is_empty()) {
        let owner = owners.get(row.name.as_str());
        let name = format!("ipam/{}", row.name);
        let finding = Finding::fail(Section::Ipam, name, "on the device, and its address is not allocated");
        match owner {
            Some(pod) => found.push(finding.of_pod(&pod.key, facts.in_flight(pod))),
            None if commented(&row.comment).is_some() => found.push(finding),
            None => {}
        }
    }
}

fn lease(facts: &Facts<'_>, veth: &str, held: &HeldAddress, pod: Option<&PodSight>) -> Finding {
    let (section, name) = (Section::Ipam, format!("ipam/{veth}"));
    let of_pod = |finding: Finding| match pod {
        Some(pod) => finding.of_pod(&pod.key, facts.in_flight(pod)),
        None => finding,
    };
    let Some(row) = facts.device.veths.get(veth) else {
        return of_pod(Finding::warn(
            section,
            name,
            format!("{} is allocated, and there is no interface", held.address),
        ));
    };
    let there = Facts::addresses(row);
    if there.contains(&IpAddr::V4(held.address)) {
        let finding = Finding::pass(section, name, held.address.to_string());
        return pod.map_or_else(|| finding.clone(), |pod| finding.clone().of(&pod.key));
    }
    let told = format!("{} is allocated, and the interface has {}", held.address, listed(&there));
    of_pod(Finding::fail(section, name, told))
}

fn listed(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// The same address on two interfaces, at least one of which is ours: neither can be relied upon.
fn twice(facts: &Facts<'_>, found: &mut Vec<Finding>) {
    let mut holders: BTreeMap<IpAddr, Vec<&VethRow>> = BTreeMap::new();
    for row in facts.device.veths.values() {
        for address in Facts::addresses(row) {
            holders.entry(address).or_default().push(row);
        }
    }
    for (address, rows) in holders.into_iter().filter(|(_, rows)| rows.len() > 1) {
        let ours: Vec<ObjectKey> = rows.iter().filter_map(|row| commented(&row.comment)).collect();
        let Some(first) = ours.first() else { continue };
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let told = format!("{} interfaces have it: {}", rows.len(), names.join(", "));
        found.push(Finding::fail(Section::Ipam, format!("duplicate-address/{address}"), told).critical().of(first));
    }
}

fn fixed(facts: &Facts<'_>, pod: &PodSight, container: &ContainerSight, wanted: IpAddr) -> Finding {
    let veth = facts.veth_name(pod, container);
    let name = format!("static-ip/{}/{veth}", pod.key.name);
    match facts.leases.by_veth.get(veth).map(|held| IpAddr::V4(held.address)) {
        Some(held) if held == wanted => Finding::pass(Section::Ipam, name, wanted.to_string()).of(&pod.key),
        held => {
            let held = held.map_or("none".to_owned(), |held| held.to_string());
            let told = format!("{wanted} is wanted, and {held} is allocated");
            Finding::fail(Section::Ipam, name, told).of_pod(&pod.key, facts.in_flight(pod))
        }
    }
}

fn interface(facts: &Facts<'_>, pod: &PodSight, container: &ContainerSight, wanted: Option<IpAddr>) -> Finding {
    let veth = facts.veth_name(pod, container);
    let name = format!("network/{}/{}/{veth}", pod.key.namespace, pod.key.name);
    let fail =
        |told: String| Finding::fail(Section::Network, name.clone(), told).of_pod(&pod.key, facts.in_flight(pod));
    let Some(row) = facts.veth_of(pod, container) else {
        return fail("there is no interface".to_owned());
    };
    let there = Facts::addresses(row);
    let Some(first) = there.first() else {
        return fail("the interface has no address".to_owned());
    };
    if let Some(wanted) = wanted.filter(|wanted| !there.contains(wanted)) {
        return fail(format!("{wanted} is wanted, and the interface has {}", listed(&there)));
    }
    match facts.device.ports.get(&row.name) {
        Some(port) => {
            let told = format!("{first} on bridge {}", port.bridge);
            Finding::pass(Section::Network, name, told).of(&pod.key)
        }
        None => fail(format!("{first}, and the interface is in no bridge")),
    }
}
