//! Networks pods can live in.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::settings::{DhcpSettings, DnsSettings};

/// One network, checked: gateway and range lie inside the CIDR.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Unique name, such as `gt`.
    pub name: String,
    /// Subnet.
    pub cidr: Ipv4Net,
    /// Default route of the pods; the device's own address in the subnet.
    pub gateway: Ipv4Addr,
    /// RouterOS bridge.
    pub bridge: String,
    /// Whether mkube makes the bridge and the gateway address when they are missing.
    pub managed: bool,
    /// First address handed out to pods that ask for none in particular.
    pub first: Ipv4Addr,
    /// Last address handed out to pods that ask for none in particular.
    pub last: Ipv4Addr,
    /// Name servers of the pods.
    pub dns: Vec<IpAddr>,
    /// Addresses never handed out dynamically, and what they are for.
    pub reserved: Vec<(Ipv4Addr, String)>,
    /// Zone, its name server, and names that are always there.
    pub names: DnsSettings,
    /// The name server belongs to somebody else: records are written to it, servers and zones are not made or restarted.
    pub external_dns: bool,
    /// Addresses for machines that are not pods.
    pub dhcp: DhcpSettings,
    /// It stands in the configuration file, which wins over what the API holds under its name.
    pub from_config: bool,
}

impl Network {
    /// One with nothing special: its first address is the gateway, pods get all others.
    pub fn plain(name: impl Into<String>, cidr: Ipv4Net, bridge: impl Into<String>) -> Self {
        let (base, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
        let gateway = Ipv4Addr::from(base + 1);
        Self {
            name: name.into(),
            cidr,
            gateway,
            bridge: bridge.into(),
            managed: false,
            first: Ipv4Addr::from(base + 2),
            last: Ipv4Addr::from(last - 1),
            dns: Vec::new(),
            reserved: Vec::new(),
            names: DnsSettings::default(),
            external_dns: false,
            dhcp: DhcpSettings::default(),
            from_config: false,
        }
    }

    /// Whether pods only get this address when they ask for it: the gateway, what is reserved, and what DHCP gives out.
    pub fn keeps_for_itself(&self, address: Ipv4Addr) -> bool {
        let by_dhcp = match (self.dhcp.enabled, self.dhcp.range_start, self.dhcp.range_end) {
            (true, Some(first), Some(last)) => (first..=last).contains(&address),
            _ => false,
        };
        by_dhcp || address == self.gateway || self.reserved.iter().any(|(reserved, _)| *reserved == address)
    }

    /// Number of addresses in the dynamic range.
    pub fn size(&self) -> usize {
        (u32::from(self.last).saturating_sub(u32::from(self.first)) as usize).saturating_add(1)
    }
}
