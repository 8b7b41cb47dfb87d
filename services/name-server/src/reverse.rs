//! Where the name of an address stands: /24 zones for IPv4, /64 zones for IPv6.

use std::net::IpAddr;

/// Zone and name of an address's PTR record.
pub fn place(address: IpAddr) -> (String, String) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (format!("{c}.{b}.{a}.in-addr.arpa"), d.to_string())
        }
        IpAddr::V6(address) => {
            let nibbles: Vec<String> = address
                .octets()
                .iter()
                .rev()
                .flat_map(|byte| [byte & 15, byte >> 4])
                .map(|n| format!("{n:x}"))
                .collect();
            let (name, zone) = nibbles.split_at(16);
            (format!("{}.ip6.arpa", zone.join(".")), name.join("."))
        }
    }
}

/// Whether a zone holds names of addresses.
pub fn is_reverse(zone: &str) -> bool {
    ["in-addr.arpa", "ip6.arpa"]
        .iter()
        .any(|top| zone.strip_suffix(top).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_places() {
        let (zone, name) = place("10.9.8.7".parse().expect("an address"));
        assert_eq!((zone.as_str(), name.as_str()), ("8.9.10.in-addr.arpa", "7"));
        let (zone, name) = place("2001:db8::5".parse().expect("an address"));
        assert_eq!(zone, "0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
        assert_eq!(name, "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0");
        assert!(is_reverse(&zone) && is_reverse("in-addr.arpa") && !is_reverse("xin-addr.arpa"));
    }
}
