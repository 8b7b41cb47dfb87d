//! How names are written: folded once here, so that everything else compares plain text. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use mkube_messages::dns::RecordType;

/// Longest name with its zone.
const LONGEST: usize = 253;

/// Lower case, without a final dot: the same name is the same text.
pub fn folded(name: &str) -> String {
    name.trim().trim_end_matches('.').to_ascii_lowercase()
}

/// A name inside `zone`, from what somebody wrote: a full name loses the zone, the zone itself is `@`. None when it is no name
/// that a server would answer to.
pub fn inside(written: &str, zone: &str) -> Option<String> {
    let name = folded(written);
    let name = if name == zone {
        "@"
    } else if let Some(stem) = name.strip_suffix(zone).and_then(|stem| stem.strip_suffix('.')) {
        stem
    } else {
        &name
    };
    is_name(name, zone).then(|| name.to_owned())
}

/// Whether a server takes it for a name inside `zone`, and finds it again.
pub fn is_name(name: &str, zone: &str) -> bool {
    let rest = match name.strip_prefix("*.") {
        Some(rest) => rest,
        None if matches!(name, "@" | "*") => return true,
        None => name,
    };
    rest.split('.').all(is_label) && name.len() + 1 + zone.len() <= LONGEST
}

fn is_label(label: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    !label.is_empty() && label.len() <= 63 && label.chars().all(letter)
}

/// Whether it is a zone's name.
pub fn is_zone(zone: &str) -> bool {
    zone.len() <= LONGEST && zone.split('.').all(is_label)
}

/// The type of an address's record.
pub fn type_of(address: IpAddr) -> RecordType {
    match address {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::Aaaa,
    }
}

/// The type of that name; none for those that mkube does not write.
pub fn type_named(word: &str) -> Option<RecordType> {
    [RecordType::A, RecordType::Aaaa, RecordType::Ptr].into_iter().find(|kind| kind.word() == word)
}

/// Data as it compares: addresses in their shortest form, names folded.
pub fn same_data(kind: &str, data: &str) -> String {
    match kind {
        "A" | "AAAA" => data.trim().parse::<IpAddr>().map_or_else(|_| data.to_owned(), |ip| ip.to_string()),
        "PTR" => folded(data),
        _ => data.to_owned(),
    }
}

/// The zone and the name in it under which an address's name stands: as the servers do it, a zone for each /24.
pub fn reverse_of(address: Ipv4Addr) -> (String, String) {
    let [a, b, c, d] = address.octets();
    (format!("{c}.{b}.{a}.in-addr.arpa"), d.to_string())
}

/// Zones that hold the names of a network's addresses, for those who ask elsewhere: one for each /24, of a large network one for
/// all.
pub fn reverse_zones(cidr: Ipv4Net) -> Vec<String> {
    let [a, b, c, _] = cidr.network().octets();
    match cidr.prefix_len() {
        24.. => vec![format!("{c}.{b}.{a}.in-addr.arpa")],
        prefix @ 20..24 => (0..1u8 << (24 - prefix)).map(|more| format!("{}.{b}.{a}.in-addr.arpa", c | more)).collect(),
        16..20 => vec![format!("{b}.{a}.in-addr.arpa")],
        _ => vec![format!("{a}.in-addr.arpa")],
    }
}

/// Where a forwarder asks, as it compares: with the port.
pub fn with_port(server: &str) -> String {
    match server.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("{ip}:53"),
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:53"),
        Err(_) => server.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_loses_its_zone_and_a_name_that_cannot_be_found_again_is_none() {
        let inside = |written| inside(written, "gt.lo");
        assert_eq!(inside("web").as_deref(), Some("web"));
        assert_eq!(inside("Web.GT.lo.").as_deref(), Some("web"));
        assert_eq!(inside("gt.lo").as_deref(), Some("@"));
        assert_eq!(inside("@").as_deref(), Some("@"));
        assert_eq!(inside("*.apps").as_deref(), Some("*.apps"));
        assert_eq!(inside("my_host").as_deref(), Some("my_host"));
        for bad in ["", "my host", "a..b", "ü", "a.*", &"x".repeat(64)] {
            assert_eq!(inside(bad), None, "{bad:?}");
        }
        let long = format!("{}.{0}.{0}.{0}", "x".repeat(62));
        assert_eq!(super::inside(&long, "gt.lo"), None);
    }

    #[test]
    fn reverse_zones_are_those_the_servers_make() {
        assert_eq!(reverse_of("10.9.8.7".parse().expect("a literal")), ("8.9.10.in-addr.arpa".into(), "7".into()));
        let zones = |cidr: &str| reverse_zones(cidr.parse().expect("a literal"));
        assert_eq!(zones("10.9.8.0/24"), ["8.9.10.in-addr.arpa"]);
        assert_eq!(zones("10.9.8.128/25"), ["8.9.10.in-addr.arpa"]);
        assert_eq!(zones("10.9.8.0/22").len(), 4);
        assert_eq!(zones("10.9.8.0/22")[3], "11.9.10.in-addr.arpa");
        assert_eq!(zones("10.9.0.0/16"), ["9.10.in-addr.arpa"]);
        assert_eq!(zones("10.0.0.0/8"), ["10.in-addr.arpa"]);
    }

    #[test]
    fn data_that_means_the_same_is_the_same() {
        assert_eq!(same_data("AAAA", "2001:DB8:0::5"), same_data("AAAA", "2001:db8::5"));
        assert_eq!(same_data("PTR", "Web.gt.lo."), same_data("PTR", "web.gt.lo"));
        assert_eq!(with_port("10.0.0.2"), with_port("10.0.0.2:53"));
    }
}
