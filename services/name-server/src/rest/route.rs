//! The table of routes: which paths there are, and what may be done with them.

use mkube_model::percent;

/// Where everything is.
const BASE: &str = "/api/v1/";

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/health`
    Health,
    /// `/watch`
    Watch,
    /// `/zones`
    Zones,
    /// `/zones/{id}`
    Zone(String),
    /// `/zones/transfer`
    Transfer,
    /// `/zones/{id}/records`
    Records(String),
    /// `/zones/{id}/records/{id}`
    Record(String, String),
    /// `/zones/{id}/records/lb/{name}/{type}`
    HealthChecks(String, String, String),
    /// `/dns/forwarders`
    Forwarders,
    /// `/dns/forwarders/{zone}`
    Forwarder(String),
    /// `/zone-transfer/config`
    TransferConfig,
    /// What this server has nothing of.
    Absent(Absent),
}

/// Routes of what this server has nothing of. They answer as an instance where nobody set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// A list that is always empty.
    List,
    /// `/dhcp/status`
    DhcpStatus,
    /// `/dhcp/pools` and `/dhcp/reservations`: empty lists, and nothing can be added.
    DhcpList,
    /// One of them, and what is below it: not there. What it would be, and whether it can be changed.
    DhcpOne(&'static str),
    /// `/dhcp/pools/{id}/routes`
    DhcpRoutes,
    /// `/dhcp/pools/{id}/routes/{id}`
    DhcpRoute,
    /// `/dhcp/config`
    DhcpConfig,
    /// `/ipam/allocate`
    Allocate,
    /// `/ipam/allocations/{id}`
    Allocation(String),
    /// `/cluster/status`
    Cluster,
    /// `/connectivity`
    Connectivity,
    /// `/logs`
    Logs,
    /// `/lb/status`
    BalancerStatus,
    /// `/lb/debug`
    BalancerDebug,
    /// `/lb/probe/{id}`
    Probe(String),
    /// `/mdns/status`
    MdnsStatus,
    /// `/mdns/discovered`
    MdnsDiscovered,
    /// `/mdns/config`
    MdnsConfig,
}

impl Route {
    /// The route of a path; none when there is no such route.
    pub fn of(path: &str) -> Option<Self> {
        let parts: Vec<String> = path.strip_prefix(BASE)?.split('/').map(percent::decoded).collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let own = |text: &str| text.to_owned();
        Some(match parts.as_slice() {
            ["health"] => Self::Health,
            ["watch"] => Self::Watch,
            ["zones"] => Self::Zones,
            ["zones", "transfer"] => Self::Transfer,
            ["zones", id] if !id.is_empty() => Self::Zone(own(id)),
            ["zones", zone, "records"] => Self::Records(own(zone)),
            ["zones", zone, "records", "lb", name, kind] => Self::HealthChecks(own(zone), own(name), own(kind)),
            ["zones", zone, "records", id] if !id.is_empty() => Self::Record(own(zone), own(id)),
            ["dns", "forwarders"] => Self::Forwarders,
            ["dns", "forwarders", zone] if !zone.is_empty() => Self::Forwarder(own(zone)),
            ["zone-transfer", "config"] => Self::TransferConfig,
            other => Self::Absent(Absent::of(other)?),
        })
    }

    /// What may be done; `HEAD` goes with `GET`.
    pub fn methods(&self) -> &'static [&'static str] {
        const READ: &[&str] = &["GET"];
        const LIST: &[&str] = &["GET", "POST"];
        const ONE: &[&str] = &["GET", "PUT", "DELETE"];
        const PATCHED: &[&str] = &["GET", "PATCH", "DELETE"];
        match self {
            Self::Health | Self::Watch => READ,
            Self::Zones | Self::Records(_) | Self::Forwarders => LIST,
            Self::Zone(_) | Self::Forwarder(_) => &["GET", "DELETE"],
            Self::Transfer => &["POST"],
            Self::Record(..) | Self::TransferConfig => ONE,
            Self::HealthChecks(..) => &["PUT", "DELETE"],
            Self::Absent(absent) => match absent {
                Absent::DhcpList | Absent::DhcpRoutes => LIST,
                Absent::DhcpOne(_) => PATCHED,
                Absent::DhcpRoute | Absent::Allocation(_) => &["DELETE"],
                Absent::DhcpConfig => &["GET", "PATCH"],
                Absent::Allocate | Absent::Probe(_) => &["POST"],
                Absent::MdnsConfig => ONE,
                _ => READ,
            },
        }
    }
}

impl Absent {
    fn of(parts: &[&str]) -> Option<Self> {
        Some(match parts {
            ["leases"] | ["ipam", "pools" | "allocations"] | ["lb", "groups" | "records" | "log" | "resolutions"] => {
                Self::List
            }
            ["dhcp", "status"] => Self::DhcpStatus,
            ["dhcp", "pools" | "reservations"] => Self::DhcpList,
            ["dhcp", "pools", id] if !id.is_empty() => Self::DhcpOne("pool"),
            ["dhcp", "reservations", mac] if !mac.is_empty() => Self::DhcpOne("reservation"),
            ["dhcp", "pools", _, "routes"] => Self::DhcpRoutes,
            ["dhcp", "pools", _, "routes", id] if !id.is_empty() => Self::DhcpRoute,
            ["dhcp", "config"] => Self::DhcpConfig,
            ["ipam", "allocate"] => Self::Allocate,
            ["ipam", "allocations", id] if !id.is_empty() => Self::Allocation((*id).to_owned()),
            ["cluster", "status"] => Self::Cluster,
            ["connectivity"] => Self::Connectivity,
            ["logs"] => Self::Logs,
            ["lb", "status"] => Self::BalancerStatus,
            ["lb", "debug"] => Self::BalancerDebug,
            ["lb", "probe", id] if !id.is_empty() => Self::Probe((*id).to_owned()),
            ["mdns", "status"] => Self::MdnsStatus,
            ["mdns", "discovered"] => Self::MdnsDiscovered,
            ["mdns", "config"] => Self::MdnsConfig,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_to_the_letter() {
        assert_eq!(Route::of("/api/v1/zones"), Some(Route::Zones));
        for path in ["/api/v1/zones/", "/zones", "/api/v1", "/api/v1/", "/api/v1/zones/a/b", "/api/v1/%zz"] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        assert_eq!(Route::of("/api/v1/dns/forwarders/a%2Eb"), Some(Route::Forwarder("a.b".into())));
        assert_eq!(
            Route::of("/api/v1/zones/z/records/lb/%40/a"),
            Some(Route::HealthChecks("z".into(), "@".into(), "a".into()))
        );
    }
}
