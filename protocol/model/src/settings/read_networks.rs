//! `networks`, and what must hold between them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::read::{is_dns_name, not_a_url};
use super::section::{Notes, Section};
use super::types::*;
use super::{SettingsProblem, Warning};

pub(super) fn networks(file: &Section<'_>) -> Vec<NetworkSettings> {
    let mut networks: Vec<NetworkSettings> = Vec::new();
    let sections = file.sections("networks");
    if sections.is_empty() {
        file.problem("networks", "must hold at least one network: the first is where pods go");
    }
    let written = sections.len();
    let mut relayed: Vec<(String, String)> = Vec::new();
    for section in sections {
        if let Some((network, dhcp_key)) = network(&section) {
            for before in &networks {
                for (key, text) in clashes(&network, before) {
                    section.problem(key, text);
                }
            }
            if !network.dhcp.server_network.is_empty() {
                relayed.push((format!("{dhcp_key}.serverNetwork"), network.dhcp.server_network.clone()));
            }
            networks.push(network);
        }
        section.finish();
    }
    // A network that could not be read may be the one that is named.
    for (key, server) in relayed.into_iter().filter(|_| networks.len() == written) {
        if !networks.iter().any(|network| network.name == server) {
            file.problem(&key, format!("there is no network {server:?}"));
        }
    }
    networks
}

/// What keeps two networks from being there together: keys of the first, and why.
fn clashes(network: &NetworkSettings, other: &NetworkSettings) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if other.name == network.name {
        found.push(("name", format!("{:?} is used twice", network.name)));
    }
    if other.cidr.contains(&network.cidr) || network.cidr.contains(&other.cidr) {
        found.push(("cidr", format!("{} overlaps {} of network {}", network.cidr, other.cidr, other.name)));
    }
    if !network.dns.zone.is_empty() && other.dns.zone == network.dns.zone {
        found.push(("dns.zone", format!("{} is the zone of network {} already", network.dns.zone, other.name)));
    }
    found
}

/// Reads the `spec` of a network that is an object of the API, by the rules of the file. Problems name the fields of the object.
pub fn read_network_spec(name: &str, spec: &Value) -> Result<(NetworkSettings, Vec<Warning>), Vec<SettingsProblem>> {
    let notes = Notes::default();
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("name".to_owned(), json!(name));
    }
    let section = Section::element("spec".to_owned(), spec, &notes);
    let found = network(&section);
    section.finish();
    let read = notes.into_result(found).map_err(|problems| {
        let named = |problem: SettingsProblem| match problem.key.as_str() {
            "spec.name" => SettingsProblem { key: "metadata.name".to_owned(), ..problem },
            _ => problem,
        };
        problems.into_iter().map(named).collect::<Vec<_>>()
    })?;
    match read {
        (Some((network, _)), warnings) => Ok((network, warnings)),
        // What could not be read was told.
        (None, _) => Err(Vec::new()),
    }
}

/// What keeps a network that is an object of the API from being there beside these, by the rules of the file.
pub fn network_among<'a>(
    network: &NetworkSettings,
    others: impl Iterator<Item = &'a NetworkSettings>,
) -> Vec<SettingsProblem> {
    let server = network.dhcp.server_network.as_str();
    let mut known = server.is_empty() || server == network.name;
    let mut problems = Vec::new();
    for other in others {
        known |= other.name == server;
        let clashes = clashes(network, other);
        problems.extend(clashes.into_iter().map(|(key, text)| SettingsProblem { key: format!("spec.{key}"), text }));
    }
    if !known {
        let text = format!("there is no network {server:?}");
        problems.push(SettingsProblem { key: "spec.dhcp.serverNetwork".to_owned(), text });
    }
    problems
}

/// One network, and the path of its DHCP block as written.
fn network(section: &Section<'_>) -> Option<(NetworkSettings, String)> {
    let name = section.filled("name").unwrap_or_default();
    if !is_dns_name(&name) || name.contains('.') || name.len() > 63 {
        section.problem("name", format!("is {name:?}, where lower case letters, digits and '-' are wanted"));
    }
    let bridge = section.filled("bridge").unwrap_or_default();
    if bridge.is_empty()
        || bridge.len() > 63
        || bridge.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',')
    {
        section.problem("bridge", format!("is {bridge:?}, where the name of a bridge on the device is wanted"));
    }
    let managed = section.flag("managed").unwrap_or(false);
    let external_dns = section.flag("externalDNS").unwrap_or(false);
    let gateway = section.address("gateway");
    let start = section.address("ipamStart");
    let end = section.address("ipamEnd");
    let dns_section = section.section("dns");
    let nested_dhcp = dns_section.section("dhcp");
    let own_dhcp = section.section("dhcp");
    let cidr = cidr(section);
    let dns = dns(&dns_section);
    if nested_dhcp.is_present() && own_dhcp.is_present() {
        own_dhcp.warning_here("is there twice, here and under dns; this one is used");
    }
    let (dhcp_key, dhcp_section) = if own_dhcp.is_present() { ("dhcp", own_dhcp) } else { ("dns.dhcp", nested_dhcp) };
    let dhcp = dhcp(&dhcp_section, cidr);
    dhcp_section.finish();
    dns_section.finish();
    section.inert(&["vlan", "type"], "has no effect in mkube; the line can go");

    let cidr = cidr?;
    let base = u32::from(cidr.network());
    let last = u32::from(cidr.broadcast());
    let gateway = gateway.unwrap_or_else(|| Ipv4Addr::from(base + 1));
    let ipam_start = start.unwrap_or_else(|| Ipv4Addr::from(base + 2));
    let ipam_end = end.unwrap_or_else(|| Ipv4Addr::from(last - 1));
    let mut all_inside = true;
    for (key, address) in [("gateway", gateway), ("ipamStart", ipam_start), ("ipamEnd", ipam_end)] {
        if !is_host_of(cidr, address) {
            section.problem(key, format!("{address} is not a host address of {cidr}"));
            all_inside = false;
        }
    }
    if all_inside && ipam_start > ipam_end {
        section.problem("ipamEnd", format!("{ipam_end} lies before ipamStart {ipam_start}"));
    }
    for (nth, record) in dns.static_records.iter().enumerate() {
        if dns.static_records[..nth].contains(record) {
            section.problem(
                &format!("dns.staticRecords[{nth}]"),
                format!("{} {} is listed twice", record.name, record.ip),
            );
        }
    }
    if let (true, Some(first), Some(last)) = (dhcp.enabled, dhcp.range_start, dhcp.range_end)
        && first <= ipam_end
        && ipam_start <= last
    {
        section.warning(
            dhcp_key,
            format!("range {first} to {last} and the pods' range {ipam_start} to {ipam_end} overlap"),
        );
    }
    let dhcp_key = section.key(dhcp_key);
    Some((
        NetworkSettings { name, cidr, gateway, bridge, managed, ipam_start, ipam_end, external_dns, dns, dhcp },
        dhcp_key,
    ))
}

fn cidr(section: &Section<'_>) -> Option<Ipv4Net> {
    let written = section.filled("cidr");
    let older = section.filled("podCIDR");
    if let (Some(one), Some(other)) = (&written, &older)
        && one != other
    {
        section.problem("podCIDR", format!("is {other}, but cidr is {one}; one of them is enough"));
    }
    let Some(text) = written.or(older) else {
        section.problem("cidr", "is needed, such as \"192.168.200.0/24\"");
        return None;
    };
    match text.parse::<Ipv4Net>() {
        Ok(net) if (8..=30).contains(&net.prefix_len()) => Some(net.trunc()),
        Ok(net) => {
            section.problem("cidr", format!("{net} has a prefix outside /8 to /30"));
            None
        }
        Err(_) => {
            section
                .problem("cidr", format!("is {text:?}, where an IPv4 subnet such as \"192.168.200.0/24\" is wanted"));
            None
        }
    }
}

fn is_host_of(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
    cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast()
}

fn any_address(section: &Section<'_>, key: &str, text: &str) -> Option<IpAddr> {
    let parsed = text.trim().parse().ok();
    if parsed.is_none() {
        section.problem(key, format!("is {text:?}, where an IP address is wanted"));
    }
    parsed
}

fn dns(section: &Section<'_>) -> DnsSettings {
    let zone = section.filled("zone").unwrap_or_default();
    let zone = zone.trim_end_matches('.').to_ascii_lowercase();
    if !zone.is_empty() && !is_dns_name(&zone) {
        section.problem("zone", format!("{zone:?} is not a DNS name"));
    }
    let server = section.filled("server").and_then(|text| any_address(section, "server", &text));
    let more_servers =
        section.texts("moreServers").iter().filter_map(|text| any_address(section, "moreServers", text)).collect();
    let endpoint = section.filled("endpoint").unwrap_or_default();
    if !endpoint.is_empty()
        && let Some(why) = not_a_url(&endpoint)
    {
        section.problem("endpoint", why);
    }
    let mut static_records = Vec::new();
    for record in section.sections("staticRecords") {
        let name = record.filled("name").unwrap_or_default().to_ascii_lowercase();
        if !is_dns_name(name.trim_start_matches("*.")) && name != "@" {
            record.problem("name", format!("{name:?} is not a DNS name"));
        }
        match record.filled("ip") {
            Some(text) => {
                if let Some(ip) = any_address(&record, "ip", &text) {
                    static_records.push(StaticRecord { name, ip });
                }
            }
            None => record.problem("ip", "is needed"),
        }
        record.finish();
    }
    DnsSettings { zone, server, more_servers, endpoint, static_records }
}

fn dhcp(section: &Section<'_>, cidr: Option<Ipv4Net>) -> DhcpSettings {
    let mut reservations: Vec<Reservation> = Vec::new();
    for reservation in section.sections("reservations") {
        let mac = reservation.filled("mac").unwrap_or_default().to_ascii_lowercase().replace('-', ":");
        if !is_mac(&mac) {
            reservation.problem("mac", format!("is {mac:?}, where six pairs of hexadecimal digits are wanted"));
        }
        let hostname = reservation.text("hostname").unwrap_or_default();
        match reservation.address("ip") {
            Some(ip) => {
                if reservations.iter().any(|before| before.ip == ip || before.mac == mac) {
                    reservation.problem("ip", format!("{mac} or {ip} is reserved twice"));
                }
                reservations.push(Reservation { mac, ip, hostname });
            }
            None => reservation.problem("ip", "is needed"),
        }
        reservation.finish();
    }
    let settings = DhcpSettings {
        enabled: section.flag("enabled").unwrap_or(false),
        range_start: section.address("rangeStart"),
        range_end: section.address("rangeEnd"),
        lease_time: section.duration("leaseTime", Duration::from_secs(1)).unwrap_or(Duration::from_secs(3600)),
        next_server: section.text("nextServer").unwrap_or_default(),
        boot_file: section.text("bootFile").unwrap_or_default(),
        boot_file_efi: section.text("bootFileEfi").unwrap_or_default(),
        server_network: section.text("serverNetwork").unwrap_or_default(),
        reservations,
    };
    if let (true, Some(cidr)) = (settings.enabled, cidr) {
        for (key, address) in [("rangeStart", settings.range_start), ("rangeEnd", settings.range_end)] {
            match address {
                None => section.problem(key, "is needed when DHCP is enabled"),
                Some(address) if !is_host_of(cidr, address) => {
                    section.problem(key, format!("{address} is not a host address of {cidr}"));
                }
                Some(_) => {}
            }
        }
        if settings.range_start > settings.range_end && settings.range_end.is_some() {
            section.problem("rangeEnd", "lies before rangeStart");
        }
        for (nth, Reservation { mac, ip, .. }) in settings.reservations.iter().enumerate() {
            if !is_host_of(cidr, *ip) {
                let key = format!("reservations[{nth}].ip");
                section.warning(&key, format!("{ip} is not a host address of {cidr}: {mac} will not get it"));
            }
        }
    }
    settings
}

fn is_mac(text: &str) -> bool {
    let pairs: Vec<&str> = text.split(':').collect();
    pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && pair.chars().all(|c| c.is_ascii_hexdigit()))
}
