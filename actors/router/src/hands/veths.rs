//! Interfaces and their bridge ports.

use std::sync::Arc;

use mkube_messages::router::DeviceSnapshot;
use mkube_model::neighbours::router::{BridgePortRow, NewVeth, Router, RouterFault, RowId, VethRow};

use super::{Belief, Done, TRIES, worth_a_look};
use crate::picture::Learned;

/// What there is of one interface.
#[derive(Default)]
struct There {
    veth: Option<VethRow>,
    port: Option<BridgePortRow>,
    /// Ports of the same owner whose interface is gone: they outlive it and are found by nothing but their comment.
    orphans: Vec<BridgePortRow>,
    /// Another interface that has the address.
    rival: Option<String>,
}

fn there<'a>(
    name: &str,
    owner: &str,
    want: Option<&NewVeth>,
    veths: impl Iterator<Item = &'a VethRow>,
    ports: impl Iterator<Item = &'a BridgePortRow>,
) -> There {
    let mut found = There::default();
    for row in veths {
        if row.name == name {
            found.veth = Some(row.clone());
        } else if want.is_some_and(|want| row.addresses.iter().any(|one| one.addr() == want.address.addr())) {
            found.rival = Some(row.name.clone());
        }
    }
    for row in ports {
        if row.interface == name {
            found.port = Some(row.clone());
        } else if row.interface.starts_with('*') && row.comment == owner && !row.dynamic {
            found.orphans.push(row.clone());
        }
    }
    found
}

/// An interface without a comment is adopted by its name; one with another comment is somebody else's.
fn is_foreign(row: &VethRow, owner: &str) -> bool {
    !row.comment.is_empty() && row.comment != owner
}

fn foreign(row: &VethRow) -> RouterFault {
    let detail = format!("an interface of that name belongs to somebody else (comment {:?})", row.comment);
    RouterFault::AlreadyExists { operation: format!("interface {}", row.name), detail }
}

async fn look(
    router: &dyn Router,
    name: &str,
    owner: &str,
    want: Option<&NewVeth>,
    learned: &mut Vec<Learned>,
) -> Result<There, RouterFault> {
    let veths = router.veths().await?;
    let ports = router.bridge_ports().await?;
    let found = there(name, owner, want, veths.iter(), ports.iter());
    learned.push(Learned::Veths(veths));
    learned.push(Learned::Ports(ports));
    Ok(found)
}

pub async fn ensure_veth(
    router: Arc<dyn Router>,
    seen: Arc<DeviceSnapshot>,
    want: NewVeth,
    bridge: String,
    doubt: &mut bool,
) -> Done {
    let mut learned = Vec::new();
    let rows = (seen.veths.values().map(Arc::as_ref), seen.ports.values().map(Arc::as_ref));
    let what = there(&want.name, &want.comment, Some(&want), rows.0, rows.1);
    let mut belief = Belief { what, doubt };
    let mut fault = None;
    for _ in 0..TRIES {
        if *belief.doubt || fault.is_some() {
            match look(&*router, &want.name, &want.comment, Some(&want), &mut learned).await {
                Ok(found) => (belief.what, *belief.doubt) = (found, false),
                Err(fault) => return Done { learned, result: Err(fault) },
            }
        }
        match ensure_once(&*router, &mut belief, &want, &bridge, &mut learned).await {
            Err(again) if worth_a_look(&again) && fault.as_ref() != Some(&again) => fault = Some(again),
            result => return Done { learned, result },
        }
    }
    Done { learned, result: fault.map_or(Ok(()), Err) }
}

async fn ensure_once(
    router: &dyn Router,
    belief: &mut Belief<'_, There>,
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
    if let Some(rival) = &belief.what.rival {
        let detail = format!("address {} is on interface {rival} already", want.address.addr());
        return Err(RouterFault::AlreadyExists { operation: format!("interface {}", want.name), detail });
    }
    match belief.what.veth.clone() {
        None => {
            // A port that is still shown belongs to an interface that is gone.
            let dead = belief.what.port.take().into_iter().chain(std::mem::take(&mut belief.what.orphans));
            for port in dead.filter(|port| !port.dynamic) {
                belief.noted(router.remove_bridge_port(&port.id).await)?;
                learned.push(Learned::PortGone(port.interface));
            }
            let id = belief.noted(router.add_veth(want).await)?;
            belief.what.veth = Some(made(id.clone()));
            learned.push(Learned::Veth(made(id)));
        }
        Some(row) if is_foreign(&row, &want.comment) => return Err(foreign(&row)),
        Some(row) if row.addresses.contains(&want.address) && row.gateway == want.gateway => {}
        Some(row) => {
            belief.noted(router.set_veth(&row.id, want).await)?;
            belief.what.veth = Some(made(row.id.clone()));
            learned.push(Learned::Veth(made(row.id)));
        }
    }
    match belief.what.port.clone() {
        Some(port) if port.bridge == bridge || port.dynamic => return Ok(()),
        Some(port) => {
            belief.noted(router.remove_bridge_port(&port.id).await)?;
            belief.what.port = None;
            learned.push(Learned::PortGone(want.name.clone()));
        }
        None => {}
    }
    let id = belief.noted(router.add_bridge_port(bridge, &want.name, &want.comment).await)?;
    learned.push(Learned::Port(BridgePortRow {
        id,
        bridge: bridge.to_owned(),
        interface: want.name.clone(),
        dynamic: false,
        comment: want.comment.clone(),
    }));
    Ok(())
}

pub async fn remove_veth(
    router: Arc<dyn Router>,
    seen: Arc<DeviceSnapshot>,
    name: String,
    owner: String,
    doubt: &mut bool,
) -> Done {
    let mut learned = Vec::new();
    let rows = (seen.veths.values().map(Arc::as_ref), seen.ports.values().map(Arc::as_ref));
    let mut belief = Belief { what: there(&name, &owner, None, rows.0, rows.1), doubt };
    // A port that shows the name has its interface: where that is gone, it shows a number.
    *belief.doubt |= belief.what.port.is_some() && belief.what.veth.is_none();
    let mut fault = None;
    for _ in 0..TRIES {
        if *belief.doubt || fault.is_some() {
            match look(&*router, &name, &owner, None, &mut learned).await {
                Ok(found) => (belief.what, *belief.doubt) = (found, false),
                Err(fault) => return Done { learned, result: Err(fault) },
            }
        }
        match remove_once(&*router, &mut belief, &name, &owner, &mut learned).await {
            Err(again) if worth_a_look(&again) && fault.as_ref() != Some(&again) => fault = Some(again),
            result => return Done { learned, result },
        }
    }
    Done { learned, result: fault.map_or(Ok(()), Err) }
}

/// The port goes first: a port row outlives its interface and can then no longer be found by name.
async fn remove_once(
    router: &dyn Router,
    belief: &mut Belief<'_, There>,
    name: &str,
    owner: &str,
    learned: &mut Vec<Learned>,
) -> Result<(), RouterFault> {
    if let Some(row) = belief.what.veth.as_ref().filter(|row| is_foreign(row, owner)) {
        return Err(foreign(row));
    }
    let ports = belief.what.port.take().into_iter().chain(std::mem::take(&mut belief.what.orphans));
    for port in ports.filter(|port| !port.dynamic) {
        belief.noted(router.remove_bridge_port(&port.id).await)?;
        learned.push(Learned::PortGone(port.interface));
    }
    if let Some(row) = belief.what.veth.take() {
        belief.noted(router.remove_veth(&row.id).await)?;
        learned.push(Learned::VethGone(name.to_owned()));
    }
    Ok(())
}
