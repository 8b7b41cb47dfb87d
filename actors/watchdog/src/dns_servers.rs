//! Which containers are name servers: their address is one that a network names as such. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_messages::router::DeviceSnapshot;
use mkube_model::marks::owner_in_mark;
use mkube_model::neighbours::router::{ContainerRow, ContainerState};

/// Others on the bridge that are asked whether packets get there.
const MOST_WITNESSES: usize = 4;

/// An address that networks name as their name server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names of those networks.
    pub networks: BTreeSet<String>,
    /// The zone it is asked for; empty: the root.
    pub zone: String,
}

/// All of them. What a network with external DNS names belongs to somebody else, whoever names it too.
pub fn listed(view: &NetworksView) -> BTreeMap<IpAddr, Listing> {
    let mut all: BTreeMap<IpAddr, Listing> = BTreeMap::new();
    for (name, network) in &view.by_name {
        for address in network.names.server.iter().chain(&network.dns) {
            let listing = all.entry(*address).or_default();
            listing.networks.insert(name.clone());
            if listing.zone.is_empty() {
                listing.zone.clone_from(&network.names.zone);
            }
        }
    }
    for network in view.by_name.values().filter(|network| network.external_dns) {
        for address in network.names.server.iter().chain(&network.dns) {
            all.remove(address);
        }
    }
    all
}

/// A pod's container that has the address.
#[derive(Debug, Clone, PartialEq)]
pub struct Behind {
    /// The pod.
    pub pod: ObjectKey,
    /// The container's row.
    pub row: Arc<ContainerRow>,
}

/// Who has these addresses, of the containers that mkube made or adopted.
pub fn behind(listed: &BTreeMap<IpAddr, Listing>, device: &DeviceSnapshot) -> BTreeMap<IpAddr, Behind> {
    let mut interfaces: BTreeMap<&str, IpAddr> = BTreeMap::new();
    if !listed.is_empty() {
        for (name, veth) in &device.veths {
            let listed = |address: &&mkube_model::IpNet| listed.contains_key(&address.addr());
            if let Some(address) = veth.addresses.iter().find(listed) {
                interfaces.insert(name, address.addr());
            }
        }
    }
    let mut found: BTreeMap<IpAddr, Behind> = BTreeMap::new();
    for row in device.containers.values().filter(|_| !interfaces.is_empty()) {
        let Some(address) = row.interfaces.iter().find_map(|interface| interfaces.get(interface.as_str())) else {
            continue;
        };
        let Some((namespace, name)) = owner_in_mark(&row.comment).and_then(|owner| owner.split_once('/')) else {
            continue;
        };
        // While one container follows another, both have the interface.
        let runs = row.state == ContainerState::Running;
        if runs || !found.contains_key(address) {
            found.insert(*address, Behind { pod: ObjectKey::new(namespace, name), row: row.clone() });
        }
    }
    found
}

/// Whom to ask whether packets reach a network and come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// An address that nobody can have. Should it be heard, somebody on the way answers for everybody, and no witness is believed.
    pub nobody: Option<IpAddr>,
    /// The server's own address, then other containers on its network. The gateway stands in where there is nobody else: it answers
    /// for the device, also when the bridge is dead.
    pub others: Vec<IpAddr>,
}

/// Those for the network of this server.
pub fn witnesses(server: IpAddr, device: &DeviceSnapshot) -> Witnesses {
    let has_it = |address: &&mkube_model::IpNet| address.addr() == server;
    let own = device.veths.values().find_map(|veth| Some((veth, *veth.addresses.iter().find(has_it)?)));
    let Some((veth, net)) = own else { return Witnesses { nobody: None, others: vec![server] } };
    let running = device.containers.values().filter(|row| row.state == ContainerState::Running);
    let veths = running.flat_map(|row| &row.interfaces).filter_map(|interface| device.veths.get(interface));
    let addresses = veths.flat_map(|veth| &veth.addresses).map(mkube_model::IpNet::addr);
    let mut others: Vec<IpAddr> =
        addresses.filter(|other| *other != server && net.contains(other)).take(MOST_WITNESSES).collect();
    if others.is_empty() {
        others.extend(veth.gateway);
    }
    // The first address of a subnet is the subnet's, where it has room for one.
    let nobody = (net.max_prefix_len() - net.prefix_len() >= 2).then(|| net.network());
    Witnesses { nobody, others: [server].into_iter().chain(others).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::marks::mark;
    use mkube_model::neighbours::router::{RowId, VethRow};
    use mkube_model::network::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a literal")
    }

    fn network(name: &str, cidr: &str, server: Option<&str>, more: &[&str]) -> Network {
        let mut network = Network::plain(name, cidr.parse().expect("a literal"), "bridge");
        network.names.server = server.map(ip);
        network.names.zone = format!("{name}.lo");
        network.dns = more.iter().map(|address| ip(address)).collect();
        network
    }

    fn view(networks: Vec<Network>) -> NetworksView {
        let by_name = networks.into_iter().map(|network| (network.name.clone(), Arc::new(network))).collect();
        NetworksView { loaded: true, default: "gt".into(), by_name }
    }

    fn veth(device: &mut DeviceSnapshot, name: &str, address: &str) {
        let row = VethRow {
            id: RowId(name.into()),
            name: name.into(),
            addresses: vec![address.parse().expect("a literal")],
            gateway: Some(ip("10.90.0.1")),
            comment: String::new(),
            running: true,
        };
        device.veths.insert(name.into(), Arc::new(row));
    }

    fn container(device: &mut DeviceSnapshot, name: &str, veth: &str, comment: &str, state: ContainerState) {
        let row = ContainerRow {
            id: RowId(name.into()),
            name: name.into(),
            interfaces: vec![veth.into()],
            comment: comment.into(),
            state,
            ..a_row()
        };
        device.containers.insert(name.into(), Arc::new(row));
    }

    fn a_row() -> ContainerRow {
        ContainerRow {
            id: RowId(String::new()),
            name: String::new(),
            state: ContainerState::Running,
            file: String::new(),
            interfaces: vec![],
            root_dir: String::new(),
            mount_lists: vec![],
            env_lists: vec![],
            cmd: String::new(),
            entrypoint: String::new(),
            workdir: String::new(),
            user: String::new(),
            hostname: String::new(),
            dns: vec![],
            logging: false,
            start_on_boot: false,
            comment: String::new(),
            about: String::new(),
            memory_current: None,
            cpu_percent: None,
        }
    }

    #[test]
    fn every_server_a_network_names_is_listed_with_all_its_networks_and_external_ones_never() {
        let mut external = network("ext", "10.92.0.0/24", Some("10.92.0.53"), &["10.90.0.54"]);
        external.external_dns = true;
        let all = listed(&view(vec![
            network("gt", "10.90.0.0/24", Some("10.90.0.53"), &["10.90.0.53", "10.90.0.54"]),
            network("g10", "10.91.0.0/24", None, &["10.90.0.53"]),
            external,
        ]));
        assert_eq!(
            all.keys().copied().collect::<Vec<_>>(),
            [ip("10.90.0.53")],
            "the second belongs to somebody else too"
        );
        let listing = &all[&ip("10.90.0.53")];
        assert_eq!(listing.networks, BTreeSet::from(["gt".to_owned(), "g10".to_owned()]));
        assert_eq!(listing.zone, "g10.lo");
    }

    #[test]
    fn the_container_with_the_address_is_found_by_its_mark_and_nobody_elses() {
        let mut device = DeviceSnapshot::default();
        for (name, address) in [("v1", "10.90.0.53/24"), ("v2", "10.90.0.54/24"), ("v3", "10.90.0.9/24")] {
            veth(&mut device, name, address);
        }
        let mine = mark("gt", "dns", "0123456789abcdef");
        container(&mut device, "a-old", "v1", &mine, ContainerState::Running);
        container(&mut device, "z-new", "v1", &mine, ContainerState::Stopped);
        container(&mut device, "theirs", "v2", "a resolver of mine", ContainerState::Running);
        let all = listed(&view(vec![network("gt", "10.90.0.0/24", Some("10.90.0.53"), &["10.90.0.54"])]));
        let found = behind(&all, &device);
        assert_eq!(found.len(), 1);
        let server = &found[&ip("10.90.0.53")];
        assert_eq!((server.pod.to_string(), server.row.name.as_str()), ("gt/dns".into(), "a-old"));
        assert!(behind(&BTreeMap::new(), &device).is_empty());
    }

    #[test]
    fn others_on_the_network_are_witnesses_and_the_gateway_only_where_there_are_none() {
        let mut device = DeviceSnapshot::default();
        veth(&mut device, "v1", "10.90.0.53/24");
        veth(&mut device, "elsewhere", "10.91.0.9/24");
        container(&mut device, "dns", "v1", "", ContainerState::Running);
        container(&mut device, "far", "elsewhere", "", ContainerState::Running);
        let asked = witnesses(ip("10.90.0.53"), &device);
        assert_eq!((asked.nobody, asked.others), (Some(ip("10.90.0.0")), vec![ip("10.90.0.53"), ip("10.90.0.1")]));
        for number in 2..20 {
            let name = format!("w{number}");
            veth(&mut device, &name, &format!("10.90.0.{number}/24"));
            let state = if number % 2 == 0 { ContainerState::Running } else { ContainerState::Stopped };
            container(&mut device, &name, &name, "", state);
        }
        let asked = witnesses(ip("10.90.0.53"), &device).others;
        assert_eq!(asked.len(), 1 + MOST_WITNESSES);
        assert!(!asked.contains(&ip("10.90.0.1")) && !asked.contains(&ip("10.90.0.3")), "{asked:?}");
        veth(&mut device, "v1", "10.90.0.53/31");
        assert_eq!(witnesses(ip("10.90.0.53"), &device).nobody, None);
    }
}
