//! `microdns.toml` of a network's name server. Pure: equal networks give equal bytes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mkube_model::network::Network;
use serde::Serialize;

const DNS_PORT: u16 = 53;
/// Where names learnt by DHCP live on, seconds.
const LEASE_NAME_TTL: u32 = 300;
const LEASE_SECS: u64 = 3600;

/// Tables in the order in which TOML wants them: what holds tables comes last.
#[derive(Serialize)]
struct File {
    instance: Instance,
    dns: Dns,
    api: Api,
    database: Database,
    logging: Logging,
    #[serde(skip_serializing_if = "Option::is_none")]
    dhcp: Option<Dhcp>,
}

#[derive(Serialize)]
struct Instance {
    id: String,
    mode: &'static str,
}

#[derive(Serialize)]
struct Dns {
    auth: Auth,
    recursor: Recursor,
}

#[derive(Serialize)]
struct Auth {
    enabled: bool,
    listen: &'static str,
    zones: Vec<String>,
}

#[derive(Serialize)]
struct Recursor {
    enabled: bool,
    listen: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    forward_zones: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct Api {
    rest: Listener,
}

#[derive(Serialize)]
struct Listener {
    enabled: bool,
    listen: &'static str,
}

#[derive(Serialize)]
struct Database {
    path: &'static str,
}

#[derive(Serialize)]
struct Logging {
    level: &'static str,
    format: &'static str,
}

#[derive(Serialize)]
struct Dhcp {
    v4: DhcpV4,
    dns_registration: Registration,
}

#[derive(Serialize)]
struct DhcpV4 {
    enabled: bool,
    interface: &'static str,
    server_ip: String,
    listen_ports: [u16; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<Pool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reservations: Vec<Reservation>,
}

#[derive(Serialize)]
struct Pool {
    range_start: String,
    range_end: String,
    subnet: String,
    gateway: String,
    dns: Vec<String>,
    domain: String,
    lease_time_secs: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_server: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    boot_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ipxe_boot_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    boot_file_efi: String,
}

#[derive(Serialize)]
struct Reservation {
    mac: String,
    ip: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
}

#[derive(Serialize)]
struct Registration {
    enabled: bool,
    forward_zone: String,
    reverse_zone_v4: String,
    reverse_zone_v6: &'static str,
    default_ttl: u32,
}

/// Zone and name server of a network that has both.
pub fn served(network: &Network) -> Option<(&str, IpAddr)> {
    let zone = network.names.zone.trim_end_matches('.');
    (!zone.is_empty()).then_some(())?;
    Some((zone, network.names.server?))
}

/// The file for `network` among all there are, by name; none for a network without a zone or without a name server.
pub fn dns_config(network: &Network, all: &[&Network]) -> Option<String> {
    let (zone, server) = served(network)?;
    let file = File {
        instance: Instance { id: format!("microdns-{}", network.name), mode: "standalone" },
        dns: Dns {
            auth: Auth { enabled: true, listen: "0.0.0.0:15353", zones: vec![zone.to_owned()] },
            recursor: Recursor { enabled: true, listen: "0.0.0.0:53", forward_zones: forward_zones(zone, server, all) },
        },
        api: Api { rest: Listener { enabled: true, listen: "0.0.0.0:8080" } },
        // From the root: relative to the program's directory it would be lost with the container.
        database: Database { path: "/data/microdns.redb" },
        logging: Logging { level: "info", format: "text" },
        dhcp: dhcp(network, zone, server, all),
    };
    Some(toml::to_string(&file).expect("tables with names as keys are always TOML"))
}

/// Zones of the others and who answers for them. Not what is answered by the server itself: it would ask itself without end.
fn forward_zones(zone: &str, server: IpAddr, all: &[&Network]) -> BTreeMap<String, Vec<String>> {
    let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (peer, at) in all.iter().filter_map(|one| served(one)).filter(|(peer, at)| *peer != zone && *at != server) {
        let servers = zones.entry(peer.to_owned()).or_default();
        let at = SocketAddr::new(at, DNS_PORT).to_string();
        if !servers.contains(&at) {
            servers.push(at);
        }
    }
    zones
}

/// Whose machines get their addresses from the server of `network`: its own, and those of networks that relay to it. All of them
/// stand in one table, in the order of their names with its own first.
fn dhcp(network: &Network, zone: &str, server: IpAddr, all: &[&Network]) -> Option<Dhcp> {
    let is_served = |one: &&Network| {
        let by = one.dhcp.server_network.as_str();
        one.dhcp.enabled && if one.name == network.name { by.is_empty() || by == one.name } else { by == network.name }
    };
    let mut clients: Vec<&Network> = all.iter().copied().filter(is_served).collect();
    if clients.is_empty() {
        return None;
    }
    clients.sort_by_key(|one| (one.name != network.name, one.name.as_str()));
    let reservations = clients.iter().flat_map(|one| &one.dhcp.reservations);
    Some(Dhcp {
        v4: DhcpV4 {
            enabled: true,
            interface: "eth0",
            server_ip: server.to_string(),
            listen_ports: [67],
            pools: clients.iter().filter_map(|one| pool(one, zone, server)).collect(),
            reservations: reservations
                .map(|one| Reservation { mac: one.mac.clone(), ip: one.ip.to_string(), hostname: one.hostname.clone() })
                .collect(),
        },
        dns_registration: Registration {
            enabled: true,
            forward_zone: zone.to_owned(),
            reverse_zone_v4: reverse_zone(network),
            reverse_zone_v6: "",
            default_ttl: LEASE_NAME_TTL,
        },
    })
}

/// A network without a zone or a name server of its own uses those of whoever serves it.
fn pool(network: &Network, zone: &str, server: IpAddr) -> Option<Pool> {
    let dhcp = &network.dhcp;
    let (zone, server) = (
        Some(network.names.zone.trim_end_matches('.')).filter(|own| !own.is_empty()).unwrap_or(zone),
        network.names.server.unwrap_or(server),
    );
    let boots = !dhcp.boot_file.is_empty() && !dhcp.next_server.is_empty();
    let lease = dhcp.lease_time.as_secs();
    Some(Pool {
        range_start: dhcp.range_start?.to_string(),
        range_end: dhcp.range_end?.to_string(),
        subnet: network.cidr.trunc().to_string(),
        gateway: network.gateway.to_string(),
        dns: vec![server.to_string()],
        domain: zone.to_owned(),
        lease_time_secs: if lease == 0 { LEASE_SECS } else { lease },
        next_server: dhcp.next_server.clone(),
        boot_file: dhcp.boot_file.clone(),
        ipxe_boot_url: if boots { format!("http://{}:8080/boot.ipxe", dhcp.next_server) } else { String::new() },
        boot_file_efi: dhcp.boot_file_efi.clone(),
    })
}

/// The zone in which servers and mkube itself keep the names of addresses is that of a /24. The file has room for one: of a larger
/// network it is the one in which leases begin.
fn reverse_zone(network: &Network) -> String {
    let [a, b, c, _] = network.dhcp.range_start.unwrap_or(network.cidr.network()).octets();
    format!("{c}.{b}.{a}.in-addr.arpa")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::settings::{DhcpSettings, Reservation as Machine};
    use std::time::Duration;

    fn network(name: &str, cidr: &str, server: &str) -> Network {
        let mut network = Network::plain(name, cidr.parse().expect("a literal"), "bridge");
        network.names.zone = format!("{name}.lo");
        network.names.server = server.parse().ok();
        network
    }

    fn with_dhcp(network: Network, first: &str, last: &str, by: &str) -> Network {
        let dhcp = DhcpSettings {
            enabled: true,
            range_start: first.parse().ok(),
            range_end: last.parse().ok(),
            server_network: by.to_owned(),
            ..DhcpSettings::default()
        };
        Network { dhcp, ..network }
    }

    fn file(name: &str, all: &[Network]) -> String {
        let network = all.iter().find(|one| one.name == name).expect("a network");
        dns_config(network, &all.iter().collect::<Vec<_>>()).expect("a file")
    }

    #[test]
    fn each_key_of_a_name_server_is_as_it_was_always_written() {
        let mut gt = network("gt", "192.0.2.0/24", "192.0.2.252");
        gt = with_dhcp(gt, "192.0.2.100", "192.0.2.199", "");
        gt.dhcp.lease_time = Duration::ZERO;
        gt.dhcp.next_server = "192.0.2.5".into();
        gt.dhcp.boot_file = "undionly.kpxe".into();
        gt.dhcp.boot_file_efi = "ipxe.efi".into();
        let ip = "192.0.2.7".parse().expect("a literal");
        gt.dhcp.reservations = vec![
            Machine { mac: "aa:bb:cc:dd:ee:ff".into(), ip, hostname: "nas".into() },
            Machine { mac: "aa:bb:cc:dd:ee:00".into(), ip, hostname: String::new() },
        ];
        let all = [network("g11", "198.51.100.0/24", "198.51.100.2"), gt, network("g10", "10.1.0.0/20", "10.1.0.2")];
        assert_eq!(
            file("gt", &all),
            r#"[instance]
id = "microdns-gt"
mode = "standalone"

[dns.auth]
enabled = true
listen = "0.0.0.0:15353"
zones = ["gt.lo"]

[dns.recursor]
enabled = true
listen = "0.0.0.0:53"

[dns.recursor.forward_zones]
"g10.lo" = ["10.1.0.2:53"]
"g11.lo" = ["198.51.100.2:53"]

[api.rest]
enabled = true
listen = "0.0.0.0:8080"

[database]
path = "/data/microdns.redb"

[logging]
level = "info"
format = "text"

[dhcp.v4]
enabled = true
interface = "eth0"
server_ip = "192.0.2.252"
listen_ports = [67]

[[dhcp.v4.pools]]
range_start = "192.0.2.100"
range_end = "192.0.2.199"
subnet = "192.0.2.0/24"
gateway = "192.0.2.1"
dns = ["192.0.2.252"]
domain = "gt.lo"
lease_time_secs = 3600
next_server = "192.0.2.5"
boot_file = "undionly.kpxe"
ipxe_boot_url = "http://192.0.2.5:8080/boot.ipxe"
boot_file_efi = "ipxe.efi"

[[dhcp.v4.reservations]]
mac = "aa:bb:cc:dd:ee:ff"
ip = "192.0.2.7"
hostname = "nas"

[[dhcp.v4.reservations]]
mac = "aa:bb:cc:dd:ee:00"
ip = "192.0.2.7"

[dhcp.dns_registration]
enabled = true
forward_zone = "gt.lo"
reverse_zone_v4 = "2.0.192.in-addr.arpa"
reverse_zone_v6 = ""
default_ttl = 300
"#
        );
        let mut reversed = all.clone();
        reversed.reverse();
        assert_eq!(file("gt", &reversed), file("gt", &all), "the order in which networks are told says nothing");
    }

    #[test]
    fn many_relays_to_one_server_make_one_valid_file() {
        let all = [
            with_dhcp(network("b", "10.2.0.0/24", "10.2.0.2"), "10.2.0.50", "10.2.0.60", ""),
            with_dhcp(network("c", "10.3.0.0/24", "10.3.0.2"), "10.3.0.50", "10.3.0.60", "b"),
            with_dhcp(network("a", "10.1.0.0/24", "none"), "10.1.0.50", "10.1.0.60", "b"),
            with_dhcp(network("d", "10.4.0.0/24", "10.4.0.2"), "10.4.0.50", "10.4.0.60", "elsewhere"),
        ];
        let parsed: toml::Table = toml::from_str(&file("b", &all)).expect("valid TOML");
        let v4 = &parsed["dhcp"]["v4"];
        assert_eq!(v4["server_ip"].as_str(), Some("10.2.0.2"), "who answers, not who relays");
        let pools: Vec<(&str, &str, &str)> = v4["pools"]
            .as_array()
            .expect("pools")
            .iter()
            .map(|pool| {
                let text = |key: &str| pool[key].as_str().expect("a text");
                (text("subnet"), text("domain"), pool["dns"][0].as_str().expect("a text"))
            })
            .collect();
        assert_eq!(
            pools,
            [
                ("10.2.0.0/24", "b.lo", "10.2.0.2"),
                ("10.1.0.0/24", "a.lo", "10.2.0.2"),
                ("10.3.0.0/24", "c.lo", "10.3.0.2")
            ]
        );
        for name in ["c", "d"] {
            let parsed: toml::Table = toml::from_str(&file(name, &all)).expect("valid TOML");
            assert!(!parsed.contains_key("dhcp"), "{name} is served elsewhere");
        }
        assert_eq!(
            dns_config(&all[2], &all.iter().collect::<Vec<_>>()),
            None,
            "a network without a server has no file"
        );
    }

    #[test]
    fn a_server_never_forwards_to_itself() {
        let mut twin = network("twin", "10.2.0.0/24", "10.1.0.2");
        twin.names.zone = "twin.lo.".into();
        let mut same = network("same", "10.3.0.0/24", "10.3.0.2");
        same.names.zone = "a.lo".into();
        let all = [network("a", "10.1.0.0/24", "10.1.0.2"), twin, same, network("six", "10.4.0.0/24", "fd00::2")];
        let parsed: toml::Table = toml::from_str(&file("a", &all)).expect("valid TOML");
        let forwarded = parsed["dns"]["recursor"]["forward_zones"].as_table().expect("a table");
        assert_eq!(forwarded.keys().collect::<Vec<_>>(), ["six.lo"]);
        assert_eq!(forwarded["six.lo"][0].as_str(), Some("[fd00::2]:53"));
    }

    #[test]
    fn the_reverse_zone_is_that_in_which_the_names_of_addresses_are_kept() {
        for (cidr, zone) in [
            ("10.1.2.0/24", "2.1.10.in-addr.arpa"),
            ("10.1.2.128/25", "2.1.10.in-addr.arpa"),
            ("10.1.0.0/20", "0.1.10.in-addr.arpa"),
            ("10.0.0.0/8", "0.0.10.in-addr.arpa"),
        ] {
            assert_eq!(reverse_zone(&network("n", cidr, "10.0.0.2")), zone, "{cidr}");
        }
        let large = with_dhcp(network("n", "10.1.0.0/20", "10.1.0.2"), "10.1.7.10", "10.1.7.99", "");
        assert_eq!(reverse_zone(&large), "7.1.10.in-addr.arpa", "where leases are");
    }
}
