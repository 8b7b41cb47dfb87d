//! Networks pods can live in.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

/// One network, checked: gateway and range lie inside the CIDR.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl Network {
    /// Number of addresses in the dynamic range.
    pub fn size(&self) -> usize {
        (u32::from(self.last).saturating_sub(u32::from(self.first)) as usize).saturating_add(1)
    }
}
