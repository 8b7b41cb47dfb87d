//! Checked settings. They serialise in the shape of the file, secrets masked, so that what `check-config` prints is a
//! config file again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::consistency::ConsistencySettings;
use super::duration::as_text;
use super::images::ImagesSettings;
use super::nats::NatsSettings;
use crate::network::Network;
use crate::secret::Secret;

/// Everything the controller is told at start.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Name of the node in the API.
    pub node_name: String,
    /// `true`: mkube is its own cluster. `false`: it joins the one of `kubeconfig`.
    pub standalone: bool,
    /// Cluster to join; empty means in-cluster.
    pub kubeconfig: String,
    /// What runs the containers.
    pub backend: Backend,
    /// The router.
    pub routeros: RouterosSettings,
    /// The second backend.
    pub stormbase: StormbaseSettings,
    /// Networks; the first is the default. Never empty.
    pub networks: Vec<NetworkSettings>,
    /// Images, volumes and what the controller sees of the device's disk.
    pub storage: StorageSettings,
    /// The registry the device pulls from.
    pub registry: RegistrySettings,
    /// Boot manifest and restart limits.
    pub lifecycle: LifecycleSettings,
    /// Dynamic zones.
    pub dzo: DzoSettings,
    /// Namespaces.
    pub namespace: NamespaceSettings,
    /// Log shipping.
    pub logging: LoggingSettings,
    /// JetStream.
    pub nats: NatsSettings,
    /// Bare metal hosts.
    pub bmh: BmhSettings,
    /// The HTTP API.
    pub api: ApiSettings,
    /// Where objects are kept.
    pub store: StoreSettings,
    /// Where images come from.
    pub images: ImagesSettings,
    /// Pods that follow their images.
    pub rollouts: RolloutSettings,
    /// What is wanted against what is there.
    pub consistency: ConsistencySettings,
}

impl Settings {
    /// The network of pods that name none.
    pub fn default_network(&self) -> &NetworkSettings {
        self.networks.first().expect("checked settings have a network")
    }

    /// The boot manifest.
    pub fn boot_order_path(&self) -> &std::path::Path {
        &self.lifecycle.boot_manifest_path
    }
}

/// What runs the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A router, or `mkube host`.
    Routeros,
    /// StormBase.
    Stormbase,
}

/// How to reach the router.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterosSettings {
    /// Base of the REST API, `https://192.168.200.1/rest`, without a slash at the end.
    pub rest_url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Whether a certificate that cannot be verified is accepted.
    pub insecure_verify: bool,
    /// Authority to trust, PEM file.
    pub ca_cert: Option<PathBuf>,
    /// Whether the connection is TLS, after the URL.
    #[serde(rename = "useTLS")]
    pub use_tls: bool,
}

/// How to reach StormBase.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StormbaseSettings {
    /// Address, `host:port`.
    pub address: String,
    /// Authority to trust, PEM file.
    pub ca_cert: Option<PathBuf>,
    /// Client certificate, PEM file.
    pub client_cert: Option<PathBuf>,
    /// Client key, PEM file.
    pub client_key: Option<PathBuf>,
    /// Whether to speak without TLS.
    pub insecure: bool,
}

/// One network of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSettings {
    /// Unique name.
    pub name: String,
    /// Subnet.
    pub cidr: Ipv4Net,
    /// Default route; the device's own address.
    pub gateway: Ipv4Addr,
    /// Bridge on the device.
    pub bridge: String,
    /// Whether mkube makes bridge and gateway address when they are missing.
    pub managed: bool,
    /// First address given to pods that ask for none in particular.
    pub ipam_start: Ipv4Addr,
    /// Last one.
    pub ipam_end: Ipv4Addr,
    /// Whether somebody else keeps the names of this network.
    #[serde(rename = "externalDNS")]
    pub external_dns: bool,
    /// Names.
    pub dns: DnsSettings,
    /// Addresses for machines that are not pods.
    pub dhcp: DhcpSettings,
}

impl NetworkSettings {
    /// What the file would say of a network.
    pub fn of(network: &Network) -> Self {
        Self {
            name: network.name.clone(),
            cidr: network.cidr,
            gateway: network.gateway,
            bridge: network.bridge.clone(),
            managed: network.managed,
            ipam_start: network.first,
            ipam_end: network.last,
            external_dns: network.external_dns,
            dns: network.names.clone(),
            dhcp: network.dhcp.clone(),
        }
    }

    /// The network as address keepers and pods see it. Gateway, name server, static records and addresses promised to
    /// machines are given only to pods that ask for them by name.
    pub fn to_network(&self) -> Network {
        let mut reserved = vec![(self.gateway, "gateway".to_owned())];
        if let Some(IpAddr::V4(server)) = self.dns.server {
            reserved.push((server, "name server".to_owned()));
        }
        for record in &self.dns.static_records {
            if let IpAddr::V4(ip) = record.ip {
                reserved.push((ip, format!("static record {}", record.name)));
            }
        }
        for reservation in &self.dhcp.reservations {
            reserved.push((reservation.ip, format!("machine {}", reservation.mac)));
        }
        Network {
            name: self.name.clone(),
            cidr: self.cidr,
            gateway: self.gateway,
            bridge: self.bridge.clone(),
            managed: self.managed,
            first: self.ipam_start,
            last: self.ipam_end,
            dns: self.dns.server.into_iter().chain(self.dns.more_servers.iter().copied()).collect(),
            reserved,
            names: self.dns.clone(),
            external_dns: self.external_dns,
            dhcp: self.dhcp.clone(),
            from_config: true,
        }
    }
}

/// Names of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsSettings {
    /// Zone, such as `gt.lo`; empty: none.
    pub zone: String,
    /// Name server the pods ask.
    pub server: Option<IpAddr>,
    /// Further name servers, from the older `network.dnsServers`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_servers: Vec<IpAddr>,
    /// REST address of the name server; empty: none is managed.
    pub endpoint: String,
    /// Names that are always there.
    pub static_records: Vec<StaticRecord>,
}

/// A name that is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticRecord {
    /// Name inside the zone.
    pub name: String,
    /// Address.
    pub ip: IpAddr,
}

/// DHCP of a network.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DhcpSettings {
    /// Whether there is any.
    pub enabled: bool,
    /// First address.
    pub range_start: Option<Ipv4Addr>,
    /// Last address.
    pub range_end: Option<Ipv4Addr>,
    /// How long a lease lasts.
    #[serde(serialize_with = "as_text")]
    pub lease_time: Duration,
    /// TFTP server of PXE clients.
    pub next_server: String,
    /// Boot file of BIOS clients.
    pub boot_file: String,
    /// Boot file of EFI clients.
    pub boot_file_efi: String,
    /// Network whose server answers here through a relay.
    pub server_network: String,
    /// Fixed addresses.
    pub reservations: Vec<Reservation>,
}

impl Default for DhcpSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            range_start: None,
            range_end: None,
            lease_time: Duration::from_secs(3600),
            next_server: String::new(),
            boot_file: String::new(),
            boot_file_efi: String::new(),
            server_network: String::new(),
            reservations: Vec::new(),
        }
    }
}

/// A fixed address of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Lower case, colons.
    pub mac: String,
    /// Address.
    pub ip: Ipv4Addr,
    /// Name; empty: none.
    pub hostname: String,
}

/// Images, volumes and the device's disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageSettings {
    /// Where root directories go, a path on the device.
    pub base_path: PathBuf,
    /// Where tarballs go, a path as the controller sees it.
    pub tarball_cache: PathBuf,
    /// The controller's own root directory on the device; empty: it does not run in a container there.
    pub self_root_dir: String,
    /// Controller paths and what the device calls them; first match wins.
    pub persistent_mounts: Vec<PersistentMount>,
    /// Pause between collections of unused images.
    #[serde(rename = "gcIntervalMinutes", serialize_with = "as_text")]
    pub gc_interval: Duration,
    /// Unused images kept.
    pub gc_keep_last_n: u32,
    /// Only say what would be collected.
    pub gc_dry_run: bool,
}

/// A path of the controller and what the device calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentMount {
    /// As the controller sees it.
    pub container_path: String,
    /// As the device sees it.
    pub host_path: String,
}

/// The registry the device pulls from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrySettings {
    /// All names of the local registry, `host:port`; the first is the one images are rewritten to.
    pub local_addresses: Vec<String>,
    /// Authority of its certificate, PEM file.
    #[serde(rename = "tlsCACertFile")]
    pub tls_ca_cert_file: PathBuf,
}

/// Boot manifest and restart limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleSettings {
    /// Manifest imported into an empty store.
    pub boot_manifest_path: PathBuf,
    /// Longest pause between two looks of the watchdog.
    #[serde(rename = "watchdogIntervalSeconds", serialize_with = "as_text")]
    pub watchdog_interval: Duration,
    /// Restarts without rest before a container is made anew, and again before it is held; zero: no end.
    pub max_restarts: u32,
    /// Pause before the second restart in a row; later ones double it.
    #[serde(serialize_with = "as_text")]
    pub restart_cooldown: Duration,
    /// Pods of the boot order that are being started at the same time.
    pub parallel_starts: u32,
    /// How long pods of the boot order wait for one that is not ready.
    #[serde(serialize_with = "as_text")]
    pub start_deadline: Duration,
}

/// Dynamic zones.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DzoSettings {
    /// Whether zones are made on demand.
    pub enabled: bool,
    /// Older way to move the API; see `api.listen`.
    pub listen_addr: String,
    /// State file.
    pub state_path: PathBuf,
    /// Image of name servers made on demand.
    pub microdns_image: String,
    /// `open`, `nested` or empty.
    pub default_mode: String,
}

/// Namespaces.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSettings {
    /// State file.
    pub state_path: PathBuf,
    /// `open`, `nested` or empty.
    pub default_mode: String,
}

/// Log shipping.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggingSettings {
    /// Whether logs are asked for there.
    pub enabled: bool,
    /// Base URL.
    pub url: String,
}

/// Bare metal hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BmhSettings {
    /// PXE manager.
    #[serde(rename = "pxeManagerURL")]
    pub pxe_manager_url: String,
    /// Lease list.
    #[serde(rename = "dhcpLeaseURL")]
    pub dhcp_lease_url: String,
    /// Pause between looks.
    #[serde(serialize_with = "as_text")]
    pub watch_interval: Duration,
}

/// The HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiSettings {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSettings {
    /// Which store.
    pub kind: StoreKind,
    /// File of the embedded store, and of the last known snapshot otherwise; a path as the controller sees it.
    pub path: PathBuf,
    /// While NATS is away writes of clients are kept in the file and told to it later, instead of being refused.
    pub write_behind: bool,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file.
    Embedded,
    /// JetStream buckets.
    Nats,
}

/// How pods that follow their images get new ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSettings {
    /// Pause between two questions to a registry about one image.
    #[serde(serialize_with = "as_text")]
    pub check_interval: Duration,
    /// How long a pod must be ready without a restart before the next one is replaced.
    #[serde(serialize_with = "as_text")]
    pub settle: Duration,
    /// How long a pod may take to get there.
    #[serde(serialize_with = "as_text")]
    pub timeout: Duration,
    /// What notices of registries must be signed with; empty: nothing.
    pub notify_secret: Secret,
}
