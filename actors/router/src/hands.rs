//! What is done to the device, step by step. Every function can be repeated: it looks at what is known, does what is missing,
//! and after an answer that leaves the outcome open it looks at the device before it concludes anything.

use std::net::IpAddr;
use std::sync::Arc;

use mkube_messages::router::DeviceSnapshot;
use mkube_model::IpNet;
use mkube_model::neighbours::router::{
    BridgePortRow, ContainerRow, ContainerState, EnvRow, MountRow, NewContainer, NewMount, NewVeth, Outcome, Router,
    RouterFault, RowId, VethRow,
};

use crate::picture::Learned;

/// What a step taught us, and how it ended.
pub struct Done {
    /// To be folded into the picture, in order.
    pub learned: Vec<Learned>,
    /// How it ended.
    pub result: Result<(), RouterFault>,
}

/// Whether the device may hold something other than we believe.
fn worth_a_look(fault: &RouterFault) -> bool {
    matches!(fault, RouterFault::AlreadyExists { .. } | RouterFault::NotFound { .. } | RouterFault::WrongState { .. })
        || fault.outcome() == Outcome::Unknown
}

async fn look_at_veths(
    router: &dyn Router,
    learned: &mut Vec<Learned>,
) -> Result<(Vec<VethRow>, Vec<BridgePortRow>), RouterFault> {
    let veths = router.veths().await?;
    let ports = router.bridge_ports().await?;
    learned.push(Learned::Veths(veths.clone()));
    learned.push(Learned::Ports(ports.clone()));
    Ok((veths, ports))
}

pub async fn ensure_veth(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, want: NewVeth, bridge: String) -> Done {
    let mut learned = Vec::new();
    let mut veth = seen.veths.get(&want.name).map(|row| (**row).clone());
    let mut port = seen.ports.get(&want.name).map(|row| (**row).clone());
    let mut looked = false;
    loop {
        let once = ensure_veth_once(&*router, veth.as_ref(), port.as_ref(), &want, &bridge, &mut learned).await;
        match once {
            Err(fault) if !looked && worth_a_look(&fault) => {
                looked = true;
                match look_at_veths(&*router, &mut learned).await {
                    Ok((veths, ports)) => {
                        veth = veths.into_iter().find(|row| row.name == want.name);
                        port = ports.into_iter().find(|row| row.interface == want.name);
                    }
                    Err(fault) => return Done { learned, result: Err(fault) },
                }
            }
            result => return Done { learned, result },
        }
    }
}

async fn ensure_veth_once(
    router: &dyn Router,
    veth: Option<&VethRow>,
    port: Option<&BridgePortRow>,
    want: &NewVeth,
    bridge: &str,
    learned: &mut Vec<Learned>,
) -> Result<(), RouterFault> {
    let made = |id: RowId| VethRow {
        id,
        name: want.name.clone(),
        addresses: vec![want.address],
        gateway: want.gateway,
        comment: want.comment.clone(),
        running: false,
    };
    match veth {
        None => {
            let id = router.add_veth(want).await?;
            learned.push(Learned::Veth(made(id)));
        }
        Some(row) if row.addresses.contains(&want.address) && row.gateway == want.gateway => {}
        Some(row) => {
            router.set_veth(&row.id, want).await?;
            learned.push(Learned::Veth(made(row.id.clone())));
        }
    }
    match port {
        Some(row) if row.bridge == bridge => return Ok(()),
        Some(row) if row.dynamic => return Ok(()),
        Some(row) => {
            router.remove_bridge_port(&row.id).await?;
            learned.push(Learned::PortGone(want.name.clone()));
        }
        None => {}
    }
    let id = router.add_bridge_port(bridge, &want.name, &want.comment).await?;
    learned.push(Learned::Port(BridgePortRow {
        id,
        bridge: bridge.to_owned(),
        interface: want.name.clone(),
        dynamic: false,
        comment: want.comment.clone(),
    }));
    Ok(())
}

pub async fn remove_veth(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, name: String) -> Done {
    let mut learned = Vec::new();
    let mut veth = seen.veths.get(&name).map(|row| row.id.clone());
    let mut port = seen.ports.get(&name).filter(|row| !row.dynamic).map(|row| row.id.clone());
    let mut looked = false;
    loop {
        match remove_veth_once(&*router, &name, veth.as_ref(), port.as_ref(), &mut learned).await {
            Err(fault) if !looked && worth_a_look(&fault) => {
                looked = true;
                match look_at_veths(&*router, &mut learned).await {
                    Ok((veths, ports)) => {
                        veth = veths.into_iter().find(|row| row.name == name).map(|row| row.id);
                        port = ports.into_iter().find(|row| row.interface == name && !row.dynamic).map(|row| row.id);
                    }
                    Err(fault) => return Done { learned, result: Err(fault) },
                }
            }
            result => return Done { learned, result },
        }
    }
}

/// The port goes first: a port row outlives its interface and can then no longer be found by name.
async fn remove_veth_once(
    router: &dyn Router,
    name: &str,
    veth: Option<&RowId>,
    port: Option<&RowId>,
    learned: &mut Vec<Learned>,
) -> Result<(), RouterFault> {
    if let Some(id) = port {
        router.remove_bridge_port(id).await?;
        learned.push(Learned::PortGone(name.to_owned()));
    }
    if let Some(id) = veth {
        router.remove_veth(id).await?;
        learned.push(Learned::VethGone(name.to_owned()));
    }
    Ok(())
}

/// Makes the list hold exactly `want`. `known` is what we last knew of it. Returns what it holds now, `None` when unknown.
pub async fn ensure_mounts(
    router: Arc<dyn Router>,
    known: Option<Vec<MountRow>>,
    list: String,
    want: Vec<NewMount>,
) -> (Option<Vec<MountRow>>, Result<(), RouterFault>) {
    let mut looked = known.is_none();
    let mut rows = match known {
        Some(rows) => rows,
        None => match router.mounts(&list).await {
            Ok(rows) => rows,
            Err(fault) => return (None, Err(fault)),
        },
    };
    loop {
        match ensure_mounts_once(&*router, &mut rows, &want).await {
            Err(fault) if !looked && worth_a_look(&fault) => {
                looked = true;
                rows = match router.mounts(&list).await {
                    Ok(rows) => rows,
                    Err(fault) => return (None, Err(fault)),
                };
            }
            Err(fault) => return (None, Err(fault)),
            Ok(()) => return (Some(rows), Ok(())),
        }
    }
}

async fn ensure_mounts_once(
    router: &dyn Router,
    rows: &mut Vec<MountRow>,
    want: &[NewMount],
) -> Result<(), RouterFault> {
    let fits = |row: &MountRow, new: &NewMount| {
        row.dst == new.dst && row.src.trim_matches('/') == new.src.trim_matches('/') && row.read_only == new.read_only
    };
    let mut kept: Vec<&NewMount> = Vec::new();
    let mut index = 0;
    while index < rows.len() {
        let match_ = want.iter().find(|new| fits(&rows[index], new) && !kept.contains(new));
        if let Some(new) = match_ {
            kept.push(new);
            index += 1;
        } else {
            router.remove_mount(&rows[index].id).await?;
            rows.remove(index);
        }
    }
    for new in want.iter().filter(|new| !kept.contains(new)) {
        let id = router.add_mount(new).await?;
        rows.push(MountRow {
            id,
            list: new.list.clone(),
            src: new.src.clone(),
            dst: new.dst.clone(),
            read_only: new.read_only,
        });
    }
    Ok(())
}

/// Makes the list hold exactly `want`. As [`ensure_mounts`].
pub async fn ensure_envs(
    router: Arc<dyn Router>,
    known: Option<Vec<EnvRow>>,
    list: String,
    want: Vec<(String, String)>,
) -> (Option<Vec<EnvRow>>, Result<(), RouterFault>) {
    let mut looked = known.is_none();
    let mut rows = match known {
        Some(rows) => rows,
        None => match router.envs(&list).await {
            Ok(rows) => rows,
            Err(fault) => return (None, Err(fault)),
        },
    };
    loop {
        match ensure_envs_once(&*router, &mut rows, &list, &want).await {
            Err(fault) if !looked && worth_a_look(&fault) => {
                looked = true;
                rows = match router.envs(&list).await {
                    Ok(rows) => rows,
                    Err(fault) => return (None, Err(fault)),
                };
            }
            Err(fault) => return (None, Err(fault)),
            Ok(()) => return (Some(rows), Ok(())),
        }
    }
}

async fn ensure_envs_once(
    router: &dyn Router,
    rows: &mut Vec<EnvRow>,
    list: &str,
    want: &[(String, String)],
) -> Result<(), RouterFault> {
    let mut index = 0;
    let mut kept: Vec<&str> = Vec::new();
    while index < rows.len() {
        let row = &rows[index];
        let fits = want.iter().find(|(key, value)| *key == row.key && *value == row.value);
        match fits {
            Some((key, _)) if !kept.contains(&key.as_str()) => {
                kept.push(key);
                index += 1;
            }
            _ => {
                router.remove_env(&row.id).await?;
                rows.remove(index);
            }
        }
    }
    for (key, value) in want.iter().filter(|(key, _)| !kept.contains(&key.as_str())) {
        let id = router.add_env(list, key, value).await?;
        rows.push(EnvRow { id, list: list.to_owned(), key: key.clone(), value: value.clone() });
    }
    Ok(())
}

async fn look_for_container(
    router: &dyn Router,
    name: &str,
    learned: &mut Vec<Learned>,
) -> Result<Option<ContainerRow>, RouterFault> {
    let rows = router.containers().await?;
    let row = rows.iter().find(|row| row.name == name).cloned();
    learned.push(Learned::Containers(rows));
    Ok(row)
}

/// A name is looked for before it is added: no release is known to refuse a second row of the same name.
pub async fn ensure_container(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, want: NewContainer) -> Done {
    let mut learned = Vec::new();
    if seen.containers.contains_key(&want.name) {
        return Done { learned, result: Ok(()) };
    }
    let result = match router.add_container(&want).await {
        Ok(id) => {
            learned.push(Learned::Container(row_of(id, &want)));
            Ok(())
        }
        Err(fault) if fault.outcome() == Outcome::Unknown => {
            match look_for_container(&*router, &want.name, &mut learned).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(fault),
                Err(fault) => Err(fault),
            }
        }
        Err(fault) => Err(fault),
    };
    Done { learned, result }
}

fn row_of(id: RowId, want: &NewContainer) -> ContainerRow {
    ContainerRow {
        id,
        name: want.name.clone(),
        state: ContainerState::Extracting,
        file: want.file.clone(),
        interfaces: vec![want.interface.clone()],
        root_dir: want.root_dir.clone(),
        mount_lists: want.mount_list.iter().cloned().collect(),
        env_lists: want.env_list.iter().cloned().collect(),
        cmd: want.cmd.clone(),
        entrypoint: want.entrypoint.clone(),
        workdir: want.workdir.clone(),
        user: want.user.clone(),
        hostname: want.hostname.clone(),
        dns: want.dns.clone(),
        logging: want.logging,
        start_on_boot: want.start_on_boot,
        comment: want.comment.clone(),
        about: String::new(),
        memory_current: None,
        cpu_percent: None,
    }
}

/// One of the three commands that move a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// To running.
    Start,
    /// To stopped.
    Stop,
    /// To gone.
    Remove,
}

impl Move {
    /// Whether a container in `state` (`None`: no row) is there already, or on its way.
    fn achieved(self, state: Option<ContainerState>) -> bool {
        match self {
            Self::Start => matches!(state, Some(ContainerState::Running | ContainerState::Starting)),
            Self::Stop => matches!(
                state,
                None | Some(ContainerState::Stopped | ContainerState::Stopping | ContainerState::Deleting)
            ),
            Self::Remove => matches!(state, None | Some(ContainerState::Deleting)),
        }
    }

    fn accepted_state(self) -> ContainerState {
        match self {
            Self::Start => ContainerState::Starting,
            Self::Stop => ContainerState::Stopping,
            Self::Remove => ContainerState::Deleting,
        }
    }
}

pub async fn move_container(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, name: String, to: Move) -> Done {
    let mut learned = Vec::new();
    let mut row = seen.containers.get(&name).map(|row| (**row).clone());
    let mut looked = false;
    loop {
        if to.achieved(row.as_ref().map(|row| row.state)) {
            return Done { learned, result: Ok(()) };
        }
        let operation = format!("{to:?} {name}");
        let Some(known) = &row else {
            return Done { learned, result: Err(RouterFault::NotFound { operation }) };
        };
        let result = match to {
            Move::Start => router.start_container(&known.id).await,
            Move::Stop => router.stop_container(&known.id).await,
            Move::Remove => router.remove_container(&known.id).await,
        };
        match result {
            Ok(()) => {
                learned.push(Learned::State(name, to.accepted_state()));
                return Done { learned, result: Ok(()) };
            }
            Err(fault) if !looked && worth_a_look(&fault) => {
                looked = true;
                match look_for_container(&*router, &name, &mut learned).await {
                    Ok(found) if found.as_ref().map(|row| row.state) == row.as_ref().map(|row| row.state) => {
                        // Nothing moved: repeating at once would get the same answer.
                        if fault.outcome() != Outcome::Unknown {
                            return Done { learned, result: Err(fault) };
                        }
                        row = found;
                    }
                    Ok(found) => row = found,
                    Err(fault) => return Done { learned, result: Err(fault) },
                }
            }
            Err(fault) => return Done { learned, result: Err(fault) },
        }
    }
}

pub async fn mark_container(router: Arc<dyn Router>, seen: Arc<DeviceSnapshot>, name: String, comment: String) -> Done {
    let Some(row) = seen.containers.get(&name) else {
        return Done { learned: vec![], result: Err(RouterFault::NotFound { operation: format!("mark {name}") }) };
    };
    match router.set_container_comment(&row.id, &comment).await {
        Ok(()) => Done { learned: vec![Learned::Comment(name, comment)], result: Ok(()) },
        Err(fault) => Done { learned: vec![], result: Err(fault) },
    }
}

pub async fn ensure_bridge(router: Arc<dyn Router>, bridge: String, address: IpNet) -> Result<(), RouterFault> {
    if !router.bridges().await?.contains(&bridge) {
        let added = router.add_bridge(&bridge, "mkube").await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && router.bridges().await?.contains(&bridge))
        {
            return Err(fault);
        }
    }
    let has = |rows: &[mkube_model::neighbours::router::AddressRow]| {
        rows.iter().any(|row| row.interface == bridge && same_host(row.address.addr(), address.addr()))
    };
    if !has(&router.addresses().await?) {
        let added = router.add_address(address, &bridge, "mkube").await;
        if let Err(fault) = added
            && !(worth_a_look(&fault) && has(&router.addresses().await?))
        {
            return Err(fault);
        }
    }
    Ok(())
}

fn same_host(one: IpAddr, other: IpAddr) -> bool {
    one == other
}
